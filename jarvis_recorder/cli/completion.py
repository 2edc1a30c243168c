"""Completion of nodes, clusters and conversations, which a running recorder knows."""

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

import typer

from jarvis_recorder.cli.rpc import ask, load_connection
from jarvis_recorder.errors import RecorderError
from jarvis_recorder.wire.rpc.params import EventMatrix, ListSessions, Params, ReadStats

# A shell waits for it; what is not known by then is typed.
_SECONDS: Final = 2.0
_WEEK: Final = timedelta(days=7)
_MOST: Final = 50

ResultT = TypeVar("ResultT")
Complete = Callable[[typer.Context, str], list[tuple[str, str]]]
"""Returns the values that begin as what is typed, each with a help."""


def complete_node(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return the nodes with events in the last week."""
    now = datetime.now(UTC)
    found = _asked(ctx, EventMatrix(since=now - _WEEK, until=now, buckets=1))
    nodes = found.nodes if found else ()
    return [
        (one.node, one.cluster or "")
        for one in nodes
        if one.node is not None and one.node.startswith(incomplete)
    ]


def complete_cluster(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return the clusters that are recorded."""
    found = _asked(ctx, ReadStats())
    clusters = found.holdings.clusters if found else ()
    return [(one, "") for one in clusters if one and one.startswith(incomplete)]


def complete_session(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return the latest conversations, with their titles."""
    found = _asked(ctx, ListSessions(limit=_MOST))
    sessions = found.sessions if found else ()
    return [
        (one.session_id, one.title or "")
        for one in sessions
        if one.session_id.startswith(incomplete)
    ]


OF_PARAMS: Final[dict[str, Complete]] = {
    "node": complete_node,
    "cluster": complete_cluster,
    "session_id": complete_session,
}
"""The completion of a param by its name."""


def _asked(ctx: typer.Context, params: Params[ResultT]) -> ResultT | None:
    """Return the recorder's result, None if there is none: a shell is told nothing of errors."""
    given: dict[str, Any] = ctx.params
    with contextlib.suppress(RecorderError, typer.BadParameter):
        whom = load_connection(given.get("config"), given.get("set_"), _SECONDS)
        return ask(whom, params)
    return None
