"""
A method of the recorder as a coroutine of a client, typed by the class of its params.

It takes exactly its params, by keyword, and returns its result:
`client.events.list(severity="critical", limit=10)` sends `ListEvents(severity="critical",
limit=10)` and returns an `EventPage`.
"""

import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from dataclasses import MISSING, fields, is_dataclass, replace
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from pydantic import ValidationError

from jarvis_recorder.client.errors import invalid
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


def rpc_method(
    request: Callable[P, Params[ResultT]],
) -> Callable[Concatenate[Group, P], Coroutine[Any, Any, ResultT]]:
    """Return a method that takes params, sends the request and returns the result."""

    async def method(self: Group, /, *args: P.args, **kwargs: P.kwargs) -> ResultT:
        return await self.ask(build_params(request, *args, **kwargs))

    return copy_signature(method, request)


def paged_method(
    request: Callable[P, Params[ResultT]], items: Callable[[ResultT], Sequence[Item]]
) -> Callable[Concatenate[Group, P], AsyncIterator[Item]]:
    """
    Return a method that iterates over the items of every page of a request.

    `limit` is the size of a page. A page may be short, or empty, and not be the last.
    """

    async def method(self: Group, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[Item]:
        page_request: Any = build_params(request, *args, **kwargs)
        while page_request is not None:
            page = await self.ask(page_request)
            for item in items(page):
                yield item
            page_request = _next(page_request, page)

    return copy_signature(method, request)


def _next(request: Any, page: Any) -> Any:
    return page.next_cursor and replace(request, cursor=page.next_cursor)


def build_params(
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


def copy_signature(method: Method, like: Callable[..., Any]) -> Method:
    """Give a method the signature and docstring of another, for `help` and for notebooks."""
    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    method.__doc__ = like.__doc__
    method.__signature__ = inspect.Signature([itself, *_parameters(like)])  # type: ignore[attr-defined]
    return method


def _parameters(function: Callable[..., Any]) -> Iterable[inspect.Parameter]:
    if not is_dataclass(function):
        return inspect.signature(function).parameters.values()
    # pydantic gives a class no signature that it completes at its first use.
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=field.type,
        )
        for field in fields(function)
    ]
