"""The known clusters, and the one that a request concerns."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

from sqlalchemy import Column, ColumnElement, Select, func, select

from jarvis_recorder.errors import InvalidParameter
from jarvis_recorder.storage.queries.reading import Reading
from jarvis_recorder.storage.tables import cluster_snapshots, events

# A limit on the names in an error text or a result: a publisher may invent any number.
MOST_NAMED: Final = 100


def known_clusters(reading: Reading) -> list[str]:
    """
    Return the names of the clusters of snapshots and events, sorted.

    The unnamed cluster's name is empty. An event without a cluster adds none; see `concerns`.
    """
    found = {*clusters_of_snapshots(reading), *_names(reading, events.c.cluster)}
    return sorted(found)[:MOST_NAMED]


def clusters_of_snapshots(reading: Reading) -> list[str]:
    """Return the names of the clusters of snapshots, sorted."""
    return _names(reading, cluster_snapshots.c.cluster)


def chosen_cluster(named: str | None, known: list[str]) -> str:
    """
    Return the cluster that a request names, or else the only one known.

    Raises:
        InvalidParameter: There are several; the message lists them.
    """
    if named is not None:
        return named
    if len(known) > 1:
        names = ", ".join(repr(name) if name else "'' (which has no name)" for name in known)
        raise InvalidParameter("cluster", f"there are several: name one of {names}")
    return known[0] if known else ""


def concerns(cluster: str, known: Sequence[str]) -> list[ColumnElement[bool]]:
    """
    Return the conditions for an event to concern a cluster, certainly or possibly.

    If only one cluster is known, every event concerns it. An event without a cluster concerns
    the unnamed one if there are snapshots of that. If there are several and all have names, it
    may concern any: it is shown with each, so that no one misses it.
    """
    named = events.c.cluster
    if list(known) == [cluster]:
        return []
    if not cluster:
        return [named.is_(None)]
    if "" in known or cluster not in known:
        return [named == cluster]
    # Written to fit no index: the one of clusters omits events without a cluster.
    return [func.coalesce(named, cluster) == cluster]


def clusters_behind(reading: Reading, name: str | None) -> Iterator[str]:
    """Yield the clusters of snapshots behind a name, in order, or all."""
    return _names_behind(reading, cluster_snapshots.c.cluster, name)


def _names(reading: Reading, column: Column[str]) -> list[str]:
    return [*islice(_names_behind(reading, column, None), MOST_NAMED)]


def _names_behind(reading: Reading, column: Column[str], name: str | None) -> Iterator[str]:
    """Yield the distinct values of an indexed column, each found by one index lookup."""
    while True:
        following = column.is_not(None) if name is None else column > name
        name = _first(reading, select(func.min(column)).where(following))
        if name is None:
            return
        yield name


def _first(reading: Reading, statement: Select[str]) -> str | None:
    reading.go_on()
    return reading.connection.execute(statement).scalar()
