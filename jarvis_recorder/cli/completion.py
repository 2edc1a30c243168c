"""
Completion of nodes, clusters and conversations, which a running recorder knows.

Any publisher chooses their names, and the completion of zsh evaluates what it is given. Offered is
only what no shell acts on.
"""

import contextlib
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

import typer

from jarvis_recorder.cli.rpc import ask, load_options
from jarvis_recorder.errors import RecorderError
from jarvis_recorder.wire.rpc.params import EventMatrix, ListSessions, Params, ReadStats

# A shell waits for it; what is not known by then is typed.
_SECONDS: Final = 2.0
_WEEK: Final = timedelta(days=7)
_MOST: Final = 50
# A value that begins with a hyphen would be read as an option.
_IS_HARMLESS: Final = re.compile(r"[\w.@%+/][\w.@%+=,:/-]*").fullmatch
_NOT_IN_HELP: Final = re.compile(r"[^\w.,-]+")

ResultT = TypeVar("ResultT")
Complete = Callable[[typer.Context, str], list[tuple[str, str]]]
"""Returns the values that begin as what is typed, each with a help."""


def complete_node(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return the nodes with events in the last week."""
    now = datetime.now(UTC)
    found = _asked(ctx, EventMatrix(since=now - _WEEK, until=now, buckets=1))
    nodes = found.nodes if found else ()
    return _offered(incomplete, ((one.node or "", one.cluster) for one in nodes))


def complete_cluster(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return the clusters that are recorded."""
    found = _asked(ctx, ReadStats())
    clusters = found.holdings.clusters if found else ()
    return _offered(incomplete, ((one, None) for one in clusters))


def complete_session(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return the latest conversations, with their titles."""
    found = _asked(ctx, ListSessions(limit=_MOST))
    sessions = found.sessions if found else ()
    return _offered(incomplete, ((one.session_id, one.title) for one in sessions))


OF_PARAMS: Final[dict[str, Complete]] = {
    "node": complete_node,
    "cluster": complete_cluster,
    "session_id": complete_session,
}
"""The completion of a param by its name."""


def _offered(incomplete: str, stored: Iterable[tuple[str, str | None]]) -> list[tuple[str, str]]:
    """Return the harmless values that begin as what is typed, each with a harmless help."""
    return [
        (value, _NOT_IN_HELP.sub(" ", text or "").strip())
        for value, text in stored
        if value.startswith(incomplete) and _IS_HARMLESS(value)
    ]


def _asked(ctx: typer.Context, params: Params[ResultT]) -> ResultT | None:
    """Return the recorder's result, None if there is none: a shell is told nothing of errors."""
    given: dict[str, Any] = ctx.params
    with contextlib.suppress(RecorderError, typer.BadParameter):
        options = load_options(given.get("config"), given.get("set_"), _SECONDS)
        return ask(options, params)
    return None
