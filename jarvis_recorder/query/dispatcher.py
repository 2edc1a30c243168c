"""A request's bytes in, the reply's bytes out: one well-formed answer to each call."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import structlog

from jarvis_recorder.errors import (
    Conflict,
    DeadlineExceeded,
    InvalidParameter,
    NotFound,
    RecordRefused,
    StorageDamaged,
    StorageUnavailable,
    StorageUncertain,
)
from jarvis_recorder.measures import Calls
from jarvis_recorder.ports import Archive
from jarvis_recorder.query.permissions import Permissions
from jarvis_recorder.wire import rpc
from jarvis_recorder.wire.answers import Activity, Document, Stats
from jarvis_recorder.wire.methods import BY_NAME, Method
from jarvis_recorder.wire.questions import Discover, Question, ReadHoldings, ReadStats, RecordEvent
from jarvis_recorder.wire.rpc import Call, Code, Fault, Malformed

log = structlog.get_logger(__name__)

# Sources that are programs of their own; `user` and `jarvis` speak through others.
_VOICES_OF_MACHINES: Final = frozenset(("monitor", "system"))
_LONGEST_NAME: Final = 255
_TRY_LATER: Final = "ask again in a few seconds"


class Dispatcher:
    """
    Answers calls from the archive, and those about the recorder itself.

    `failed` is done, with the cause, once the archive must not be used any more.
    """

    def __init__(
        self,
        *,
        archive: Archive,
        permissions: Permissions,
        activity: Callable[[], Activity],
        document: Callable[[], Document],
        calls: Calls,
    ) -> None:
        self._archive = archive
        self._permissions = permissions
        self._activity = activity
        self._document = document
        self._calls = calls
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def dispatch(self, body: bytes, user: str | None, until: float) -> bytes | None:
        """
        Return the reply to a body, None where all of it are notifications.

        The calls of a batch are worked through in their order, and what they change is in the
        database when this returns. `until` is the deadline by the event loop's clock.
        """
        calls, is_batch = rpc.parse_calls(body)
        room = rpc.MAX_REPLY_BYTES
        replies: list[bytes] = []
        for call in calls:
            reply = await self._reply(call, user, until, room)
            if reply is not None:
                replies.append(reply)
                room -= len(reply)
        if not is_batch:
            return replies[0] if replies else None
        return b"[%b]" % b",".join(replies) if replies else None

    async def _reply(
        self, call: Call | Malformed, user: str | None, until: float, room: int
    ) -> bytes | None:
        if isinstance(call, Malformed):
            return rpc.error_response(call.id, call.fault)
        began = time.monotonic()
        code: int | None = None
        try:
            result = await self._result(call, user, until)
            if len(result) > room:
                raise _too_large(call.method)
        except Fault as fault:
            code = fault.code
            return None if call.is_notification else rpc.error_response(call.id, fault)
        finally:
            # Any other name would be a measure of its own.
            name = call.method if call.method in BY_NAME else "_OTHER"
            self._calls.answered(name, code, time.monotonic() - began)
        return None if call.is_notification else rpc.response(call.id, result)

    async def _result(self, call: Call, user: str | None, until: float) -> bytes:
        method = rpc.find_method(call.method)
        self._permissions.check(user, method.name)
        question = _named(method, rpc.read_params(method, call.params), user)
        if user is not None and not self._permissions.speaks_for_others(user):
            question = _attributed(method, question, user)
        try:
            return rpc.write_answer(method, await self._answer(question, until))
        except (StorageUncertain, StorageDamaged) as error:
            if not self.failed.done():
                self.failed.set_exception(error)
            raise Fault(
                Code.UNAVAILABLE, "the database has failed", hint="an operator has to look"
            ) from error
        except Exception as error:
            raise _fault(error, method) from error

    async def _answer(self, question: Question[Any], until: float) -> Any:
        match question:
            case Discover():
                return self._document()
            case ReadStats():
                holdings = await self._archive.answer(ReadHoldings(), until)
                return Stats(holdings, self._activity())
        return await self._archive.answer(question, until)


def _named(method: Method, question: Question[Any], user: str | None) -> Question[Any]:
    """Put the asker's name where the question leaves it out."""
    if method.asker is None or getattr(question, method.asker) is not None:
        return question
    if user is None and method.needs_asker:
        raise Fault(
            Code.INVALID_PARAMS,
            "Field required",
            path=method.asker,
            hint="or set the property user_id",
        )
    named: Question[Any] = replace(question, **{method.asker: user})  # type: ignore[type-var]
    return named


def _attributed(method: Method, question: Question[Any], user: str) -> Question[Any]:
    """
    Return the question as this user may ask it: under its own name, in no other's voice.

    Who it says it acts for is kept behind its own name, as a gateway acts for people.

    Raises:
        Fault: `FORBIDDEN`: it would record what only another may say.
    """
    if isinstance(question, RecordEvent):
        if question.source in _VOICES_OF_MACHINES and question.source != user:
            raise Fault(
                Code.FORBIDDEN,
                f"this user may not record as {question.source}",
                path="source",
                hint="say user or jarvis, or publish it to the exchange jarvis by a user that may",
            )
        return question
    said = method.asker and getattr(question, method.asker)
    if not said or said == user:
        return question
    name = f"{user} for {said}"[:_LONGEST_NAME]
    attributed: Question[Any] = replace(question, **{str(method.asker): name})  # type: ignore[type-var]
    return attributed


def _fault(error: Exception, method: Method) -> Fault:
    """Return what an asker hears of an error: nothing that only concerns the recorder."""
    match error:
        case NotFound():
            return Fault(Code.NOT_FOUND, str(error))
        case Conflict():
            return Fault(Code.CONFLICT, str(error), hint="read it again and decide anew")
        case InvalidParameter():
            return Fault(Code.INVALID_PARAMS, str(error), path=error.path)
        case DeadlineExceeded():
            return Fault(
                Code.DEADLINE_EXCEEDED,
                "there was no answer in time, and nothing is changed",
                hint="ask for less, or allow more in the property expiration",
            )
        case RecordRefused():
            return Fault(Code.INVALID_PARAMS, "the database cannot hold one of the values")
        case StorageUnavailable():
            return Fault(Code.UNAVAILABLE, "the database cannot be used now", hint=_TRY_LATER)
    log.error("request_failed", method=method.name, error=type(error).__name__)
    return Fault(
        Code.INTERNAL_ERROR,
        "the recorder failed on it",
        hint="its log says more; report it as a bug",
    )


def _too_large(method: str) -> Fault:
    if rpc.find_method(method).changes:
        return Fault(
            Code.RESULT_TOO_LARGE,
            f"the change is made, but the reply would be larger than {rpc.MAX_REPLY_BYTES} bytes",
            hint="do not repeat it; put fewer calls into a batch",
        )
    return Fault(
        Code.RESULT_TOO_LARGE,
        f"the reply would be larger than {rpc.MAX_REPLY_BYTES} bytes",
        hint="ask for less: a smaller limit, and the rest by cursor; a shorter window",
    )
