"""
The methods of the recorder as coroutines, grouped as their names are.

Each takes exactly its params, by keyword, and returns its result:
`client.events.list(severity="critical", limit=10)` sends `ListEvents(severity="critical",
limit=10)` and returns an `EventPage`. The classes in `wire.rpc.params` and `wire.rpc.results`
define both; nothing of it is repeated here.
"""

import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from pydantic import ValidationError

from jarvis_recorder.client.errors import invalid
from jarvis_recorder.wire.rpc import params
from jarvis_recorder.wire.rpc.params import Params, ResultT

P = ParamSpec("P")
Item = TypeVar("Item")


class Ask(Protocol):
    """A function that sends a request and returns its result."""

    async def __call__(self, params: Params[ResultT]) -> ResultT: ...


class Group:
    """Methods whose names share their first part."""

    def __init__(self, ask: Ask) -> None:
        self.ask = ask


def asks(
    request: Callable[P, Params[ResultT]],
) -> Callable[Concatenate[Group, P], Coroutine[Any, Any, ResultT]]:
    """Return a method that takes params, sends the request and returns the result."""

    async def method(self: Group, /, *args: P.args, **kwargs: P.kwargs) -> ResultT:
        return await self.ask(made(request, *args, **kwargs))

    return described(method, request)


def pages(
    request: Callable[P, Params[ResultT]], items: Callable[[ResultT], Sequence[Item]]
) -> Callable[Concatenate[Group, P], AsyncIterator[Item]]:
    """
    Return a method that iterates over the items of every page of a request.

    `limit` is the size of a page. A page may be short, or empty, and not be the last.
    """

    async def method(self: Group, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[Item]:
        page_request: Any = made(request, *args, **kwargs)
        while page_request is not None:
            page = await self.ask(page_request)
            for item in items(page):
                yield item
            page_request = _next(page_request, page)

    return described(method, request)


def _next(request: Any, page: Any) -> Any:
    return page.next_cursor and replace(request, cursor=page.next_cursor)


def made(
    request: Callable[P, Params[ResultT]], *args: P.args, **kwargs: P.kwargs
) -> Params[ResultT]:
    """
    Return the params of a request.

    Raises:
        InvalidParameter: The rules refuse a value; it is not repeated.
    """
    try:
        return request(*args, **kwargs)
    except ValidationError as error:
        raise invalid(error) from None


Method = TypeVar("Method", bound=Callable[..., Any])


def described(method: Method, like: Callable[..., Any]) -> Method:
    """Give a method the signature and docstring of another, for `help` and for notebooks."""
    parameters = inspect.signature(like).parameters.values()
    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    method.__doc__ = like.__doc__
    method.__signature__ = inspect.Signature([itself, *parameters])  # type: ignore[attr-defined]
    return method


class Events(Group):
    """Events in the cluster."""

    list = asks(params.ListEvents)
    unresolved = asks(params.UnresolvedEvents)
    get = asks(params.GetEvent)
    record = asks(params.RecordEvent)
    resolve = asks(params.ResolveEvent)
    histogram = asks(params.EventHistogram)
    iter = pages(params.ListEvents, lambda page: page.events)
    iter_unresolved = pages(params.UnresolvedEvents, lambda page: page.events)


class Conversations(Group):
    """Conversations with the assistant."""

    sessions = asks(params.ListSessions)
    turns = asks(params.ListTurns)
    get = asks(params.GetTurn)
    search = asks(params.SearchTurns)
    usage = asks(params.ReportUsage)
    delete = asks(params.DeleteConversation)
    iter_sessions = pages(params.ListSessions, lambda page: page.sessions)
    iter_turns = pages(params.ListTurns, lambda page: page.turns)
    iter_search = pages(params.SearchTurns, lambda page: page.turns)
    iter_usage = pages(params.ReportUsage, lambda page: page.usage)


class Snapshots(Group):
    """Snapshots of the cluster's state."""

    latest = asks(params.LatestSnapshot)
    at = asks(params.SnapshotAt)
    list = asks(params.ListSnapshots)
    iter = pages(params.ListSnapshots, lambda page: page.snapshots)


class TimelineMethods(Group):
    """Snapshot, events and turns around one time."""

    around = asks(params.TimelineAround)


class Preferences(Group):
    """Preferences that the assistant remembers."""

    get = asks(params.GetPreference)
    list = asks(params.ListPreferences)
    set = asks(params.SetPreference)
    delete = asks(params.DeletePreference)
    iter = pages(params.ListPreferences, lambda page: page.preferences)
