"""A request's bytes in, the reply's bytes out: one well-formed response to each call."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final, NamedTuple, Self

import structlog
from pydantic_core import to_json

from jarvis_recorder.errors import (
    Conflict,
    DeadlineExceeded,
    InvalidParameter,
    MoreRoomNeeded,
    NotFound,
    OutcomeUnknown,
    RecordRefused,
    ResultTooLarge,
    StorageDamaged,
    StorageUnavailable,
    StorageUncertain,
    defect,
)
from jarvis_recorder.ports import Archive
from jarvis_recorder.rpc.permissions import Permissions
from jarvis_recorder.runtime.process import give_memory_back
from jarvis_recorder.telemetry.metrics import CallMetrics
from jarvis_recorder.wire.rpc import jsonrpc
from jarvis_recorder.wire.rpc.jsonrpc import Call, Calls, Code, Malformed, RpcError
from jarvis_recorder.wire.rpc.methods import Method, adapter
from jarvis_recorder.wire.rpc.params import (
    Discover,
    ListDeadFaults,
    ListDeadLetters,
    Params,
    ReadDeadLetters,
    ReadHoldings,
    ReadStats,
    RecordEvent,
    SetPreference,
)
from jarvis_recorder.wire.rpc.results import Activity, Document, OneEvent

log = structlog.get_logger(__name__)

# Sources that are programs of their own; `user` and `jarvis` record through others.
_VOICES_OF_MACHINES: Final = frozenset(("monitor", "system"))
_LONGEST_NAME: Final = 255
_ASK_FOR_LESS: Final = "ask for less: a smaller limit, and the rest by cursor; a shorter window"
_TRY_LATER: Final = "ask again in a few seconds"

SMALL_REQUEST_BYTES: Final = 64 * 1024
# An event without its large fields; the result of any other change, without the value sent.
_EVENT_ANSWER_BYTES: Final = 256 * 1024
_SMALL_ANSWER_BYTES: Final = 8 * 1024
# More than any record that can be stored takes.
_LARGEST_ANSWER_BYTES: Final = 128 * 1024 * 1024


class Reply(NamedTuple):
    """A reply as it is published."""

    body: bytes
    content_encoding: str | None = None


async def _next_turn() -> None:
    """Return in the next turn of the event loop: a batch may need no database."""
    await asyncio.sleep(0)


Aside = Callable[[], contextlib.AbstractContextManager[None]]
"""A function whose block is entered while a request waits for another one."""


class LargeLane:
    """
    The lane for large requests and replies through the process, one at a time.

    A request that has entered holds it until the block ends: until the reply is on its way. While
    it waits to enter it is in a block of `aside`.
    """

    def __init__(self, lock: asyncio.Lock, aside: Aside) -> None:
        self._lock = lock
        self._aside = aside
        self.is_held = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.is_held:
            try:
                await asyncio.to_thread(give_memory_back)
            finally:
                self._lock.release()

    async def enter(self, until: float) -> None:
        """
        Return when no other request is in it.

        Raises:
            DeadlineExceeded: Another one was in it until then.
        """
        if self.is_held:
            return
        try:
            async with asyncio.timeout_at(until):
                with self._aside():
                    self.is_held = await self._lock.acquire()
        except TimeoutError:
            raise DeadlineExceeded("others asked for much until it was too late") from None


class Dispatcher:
    """
    A dispatcher of calls to the archive, and of those about the recorder itself.

    `failed` is done, with the cause, once the archive must no longer be used.
    """

    def __init__(
        self,
        *,
        archive: Archive,
        permissions: Permissions,
        activity: Callable[[], Activity],
        document: Callable[[], Document],
        calls: CallMetrics,
        large: asyncio.Lock,
        dead_letters: Callable[[], Awaitable[int | None]],
    ) -> None:
        """`dead_letters` returns how many wait in their queue, None if that is unknown."""
        self._archive = archive
        self._dead_letters = dead_letters
        self._permissions = permissions
        self._activity = activity
        self._document = document
        self._written_document: bytes | None = None
        self._writing_document = asyncio.Lock()
        self._calls = calls
        self._large = large
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def lane(self, aside: Aside = contextlib.nullcontext) -> LargeLane:
        """Return the lane for one request, to be left when its reply is on the way."""
        return LargeLane(self._large, aside)

    async def read(self, body: bytes, until: float, lane: LargeLane) -> Calls:
        """
        Return the calls of a body.

        A large one is read in a thread and holds the lane: it may become thirty times as much
        in memory.
        """
        if len(body) <= SMALL_REQUEST_BYTES:
            return jsonrpc.parse_calls(body)
        try:
            await lane.enter(until)
        except DeadlineExceeded as error:
            return jsonrpc.unreadable(_rpc_error(error, None))
        return await asyncio.to_thread(jsonrpc.parse_calls, body)

    async def dispatch(
        self,
        calls: Calls,
        user: str | None,
        until: float,
        lane: LargeLane | None,
        between: Callable[[], Awaitable[None]] = _next_turn,
    ) -> Reply | None:
        """
        Return the reply to the calls of a body, None if all are notifications.

        The calls of a batch run in their order, with `between` awaited after each, and their
        changes are in the database when this returns. `until` is the deadline by the event loop's
        clock. A reply above one mebibyte holds the lane; without a lane it is refused.
        """
        if not calls.is_batch:
            return await self._reply(calls.calls[0], user, until, jsonrpc.MAX_REPLY_BYTES, lane)
        room = jsonrpc.MAX_REPLY_BYTES
        replies: list[bytes] = []
        for call in calls.calls:
            reply = await self._reply(call, user, until, room, None)
            if reply is not None:
                replies.append(reply.body)
                room -= len(reply.body)
            await between()
        return Reply(b"[%b]" % b",".join(replies)) if replies else None

    def refuse(self, body: bytes) -> bytes | None:
        """Return the reply to a body whose deadline passed before work on it began."""
        return self._refusal(body, _rpc_error(DeadlineExceeded(), None))

    @staticmethod
    def pass_over(_: bytes) -> bytes:
        """Return the reply to a body that is too large to be read at all."""
        return jsonrpc.error_response(None, jsonrpc.too_large_request())

    def turn_away(self, body: bytes) -> bytes | None:
        """Return the reply to a body that exceeds the memory for waiting requests."""
        busy = RpcError(Code.UNAVAILABLE, "too much is being asked at once", hint=_TRY_LATER)
        return self._refusal(body, busy)

    def _refusal(self, body: bytes, error: RpcError) -> bytes | None:
        if len(body) > SMALL_REQUEST_BYTES:
            return jsonrpc.error_response(None, error)
        calls, is_batch = jsonrpc.parse_calls(body)
        replies = []
        for call in calls:
            if isinstance(call, Malformed):
                replies.append(jsonrpc.error_response(call.id, call.error))
                continue
            self._calls.answered(_measured(call.method), error.code, 0.0)
            if not call.is_notification:
                replies.append(jsonrpc.error_response(call.id, error))
        if not replies:
            return None
        return b"[%b]" % b",".join(replies) if is_batch else replies[0]

    async def _reply(
        self,
        call: Call | Malformed,
        user: str | None,
        until: float,
        room: int,
        lane: LargeLane | None,
    ) -> Reply | None:
        if isinstance(call, Malformed):
            return Reply(jsonrpc.error_response(call.id, call.error))
        began = time.monotonic()
        code: int | None = None
        try:
            result = await self._result(call, user, until, room, lane)
            return None if call.is_notification else await _written(call.id, result, until)
        except RpcError as error:
            code = error.code
            return None if call.is_notification else Reply(jsonrpc.error_response(call.id, error))
        finally:
            self._calls.answered(_measured(call.method), code, time.monotonic() - began)

    async def _result(
        self, call: Call, user: str | None, until: float, room: int, lane: LargeLane | None
    ) -> bytes:
        method = call.method
        if method is None:
            raise jsonrpc.unknown_method()
        self._permissions.check(user, method.name)
        params = _named(method, jsonrpc.read_params(method, call.params), user)
        if user is not None and not self._permissions.speaks_for_others(user):
            params = _attributed(method, params, user)
        if method.changes and room < _most_answered(method, params):
            raise RpcError(
                Code.RESULT_TOO_LARGE,
                "the change is not made: the reply has no room to tell of it",
                hint="put fewer calls into a batch",
            )
        try:
            return await self._answer(method, params, until, room, lane)
        except (StorageUncertain, StorageDamaged) as error:
            if not self.failed.done():
                self.failed.set_exception(error)
            raise RpcError(
                Code.UNAVAILABLE, "the database has failed", hint="an operator has to look"
            ) from error
        except Exception as error:
            raise _rpc_error(error, method) from error

    async def _answer(
        self, method: Method, params: Params[Any], until: float, room: int, lane: LargeLane | None
    ) -> bytes:
        match params:
            case Discover():
                answer = await self._discovered(method)
            case ReadStats():
                holdings = await self._archive.answer(ReadHoldings(), until, room)
                activity = adapter(Activity).dump_json(self._activity())
                answer = b'{"holdings":%b,"activity":%b}' % (holdings, activity)
            case ListDeadLetters() | ListDeadFaults():
                with_extent = ReadDeadLetters(asked=params, waiting=await self._dead_letters())
                return await self._from_archive(with_extent, until, room, lane)
            case _:
                return await self._from_archive(params, until, room, lane)
        if len(answer) > room:
            raise ResultTooLarge("there is no room for it")
        return answer

    async def _discovered(self, method: Method) -> bytes:
        """Return the document, which is generated and written once, and in a thread: it takes long."""
        async with self._writing_document:
            if self._written_document is None:
                self._written_document = await asyncio.to_thread(self._write_document, method)
            return self._written_document

    def _write_document(self, method: Method) -> bytes:
        return jsonrpc.write_answer(method, self._document())

    async def _from_archive(
        self, params: Params[Any], until: float, room: int, lane: LargeLane | None
    ) -> bytes:
        try:
            return await self._archive.answer(params, until, room)
        except MoreRoomNeeded:
            if lane is None:
                raise
        await lane.enter(until)
        return await self._archive.answer(params, until, _LARGEST_ANSWER_BYTES)


async def _written(identity: Any, result: bytes, until: float) -> Reply:
    """Return the reply that carries a result; one that no broker would accept is compressed."""
    if len(result) <= jsonrpc.MAX_MESSAGE_BYTES:
        return Reply(jsonrpc.response(identity, result))
    try:
        async with asyncio.timeout_at(until):
            return Reply(await asyncio.to_thread(jsonrpc.gzip_response, identity, result), "gzip")
    except TimeoutError:
        raise _rpc_error(DeadlineExceeded(), None) from None


def _most_answered(method: Method, params: Params[Any]) -> int:
    """Return the most bytes that the result of a change takes."""
    if method.result is OneEvent:
        return _EVENT_ANSWER_BYTES
    if isinstance(params, SetPreference):
        return _SMALL_ANSWER_BYTES + len(to_json(params.value))
    return _SMALL_ANSWER_BYTES


def _measured(method: Method | None) -> str:
    """Return the name that a call is counted under; unknown methods share one."""
    return "_OTHER" if method is None else method.name


def _named(method: Method, params: Params[Any], user: str | None) -> Params[Any]:
    """Fill in the caller's name where the params omit it."""
    if method.caller is None or getattr(params, method.caller) is not None:
        return params
    if user is None and method.needs_caller:
        raise RpcError(
            Code.INVALID_PARAMS,
            "Field required",
            path=method.caller,
            hint="or set the property user_id",
        )
    named: Params[Any] = replace(params, **{method.caller: user})  # type: ignore[type-var]
    return named


def _attributed(method: Method, params: Params[Any], user: str) -> Params[Any]:
    """
    Return the params as this user may send them: under its own name, from no other's source.

    The name that it acts for is kept after its own, as a gateway acts for people.

    Raises:
        RpcError: `FORBIDDEN`: the source is one that only another user may record as.
    """
    if isinstance(params, RecordEvent):
        if params.source in _VOICES_OF_MACHINES and params.source != user:
            raise RpcError(
                Code.FORBIDDEN,
                f"this user may not record as {params.source}",
                path="source",
                hint="say user or jarvis, or publish it to the exchange jarvis by a user that may",
            )
        return params
    said = method.caller and getattr(params, method.caller)
    if not said or said == user:
        return params
    name = f"{user} for {said}"[:_LONGEST_NAME]
    attributed: Params[Any] = replace(params, **{str(method.caller): name})  # type: ignore[type-var]
    return attributed


def _rpc_error(error: Exception, method: Method | None) -> RpcError:
    """Return what a caller hears of an error: nothing that only concerns the recorder."""
    match error:
        case NotFound():
            return RpcError(Code.NOT_FOUND, str(error))
        case Conflict():
            return RpcError(Code.CONFLICT, str(error), hint="read it and decide again")
        case InvalidParameter():
            return RpcError(Code.INVALID_PARAMS, str(error), path=error.path)
        case DeadlineExceeded():
            return RpcError(
                Code.DEADLINE_EXCEEDED,
                "there was no answer in time, and nothing is changed",
                hint="ask for less, or allow more in the property expiration",
            )
        case OutcomeUnknown():
            return RpcError(
                Code.OUTCOME_UNKNOWN,
                "the change was being made when the time was over or the database was lost: whether it "
                "is made is unknown",
                hint="read before you send it again, or allow more in the property expiration",
            )
        case MoreRoomNeeded():
            return RpcError(
                Code.RESULT_TOO_LARGE,
                f"the record is larger than {jsonrpc.MAX_REPLY_BYTES} bytes",
                hint="ask for it once more, by itself and not in a batch",
            )
        case ResultTooLarge():
            return RpcError(
                Code.RESULT_TOO_LARGE,
                str(error)
                if error.hint
                else f"the reply would be larger than {jsonrpc.MAX_REPLY_BYTES} bytes",
                hint=error.hint or _ASK_FOR_LESS,
            )
        case RecordRefused():
            return RpcError(Code.INVALID_PARAMS, "the database cannot hold one of the values")
        case StorageUnavailable():
            return RpcError(Code.UNAVAILABLE, "the database cannot be used now", hint=_TRY_LATER)
    name = None if method is None else method.name
    log.error("request_failed", method=name, error=defect(error))
    return RpcError(
        Code.INTERNAL_ERROR,
        "the recorder failed on it",
        hint="its log says where; report it as a bug",
    )
