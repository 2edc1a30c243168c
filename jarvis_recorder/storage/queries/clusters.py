"""The clusters there are, and the one that a question is about."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Column, ColumnElement, Select, func, select

from jarvis_recorder.errors import InvalidParameter
from jarvis_recorder.storage.queries.reading import Reading
from jarvis_recorder.storage.tables import cluster_snapshots, events

# As many as a message names, and an answer lists: a publisher may invent any number.
MOST_NAMED: Final = 100


def known_clusters(reading: Reading) -> list[str]:
    """
    Return the names of the clusters that snapshots and events are of, in their order.

    The name of a cluster without one is empty. Of events only those that name a cluster count:
    see `concerns` for all others.
    """
    found = {*clusters_of_snapshots(reading), *_names(reading, events.c.cluster)}
    return sorted(found)[:MOST_NAMED]


def clusters_of_snapshots(reading: Reading) -> list[str]:
    """Return the names of the clusters that snapshots are of, in their order."""
    return _names(reading, cluster_snapshots.c.cluster)


def chosen_cluster(named: str | None, known: list[str]) -> str:
    """
    Return the cluster that a question names, else the only one there is.

    Raises:
        InvalidParameter: There are several; says which.
    """
    if named is not None:
        return named
    if len(known) > 1:
        names = ", ".join(repr(name) if name else "'' (which has no name)" for name in known)
        raise InvalidParameter("cluster", f"there are several: name one of {names}")
    return known[0] if known else ""


def concerns(cluster: str, known: Sequence[str]) -> list[ColumnElement[bool]]:
    """
    Return the conditions under which an event is of a cluster, or may be.

    An event that names no cluster is of the one without a name, where snapshots are of that. It is
    of the only cluster there is. Where there are several, and each has a name, it may be of any:
    it is left out of none, for who looks at one of them would miss it.
    """
    named = events.c.cluster
    if list(known) == [cluster]:
        return []
    if not cluster:
        return [named.is_(None)]
    if "" in known or cluster not in known:
        return [named == cluster]
    # So written that no index fits it: the one of clusters has no events without any.
    return [func.coalesce(named, cluster) == cluster]


def _names(reading: Reading, column: Column[str]) -> list[str]:
    """Return the values of an indexed column, each found by one step in its index."""
    names: list[str] = []
    name = _first(reading, select(func.min(column)).where(column.is_not(None)))
    while name is not None and len(names) < MOST_NAMED:
        names.append(name)
        name = _first(reading, select(func.min(column)).where(column > name))
    return names


def _first(reading: Reading, statement: Select[str]) -> str | None:
    reading.go_on()
    return reading.connection.execute(statement).scalar()
