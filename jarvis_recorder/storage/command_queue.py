"""Changes in the order of their requests; all that wait share one transaction."""

import asyncio
import contextlib
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection

from jarvis_recorder.errors import (
    DeadlineExceeded,
    OutcomeUnknown,
    StorageDamaged,
    StorageUnavailable,
    StorageUncertain,
)
from jarvis_recorder.ports import Clock
from jarvis_recorder.storage.commands import CHANGES
from jarvis_recorder.storage.engine import EngineStatements, NoRoomForIt, Work, Writer
from jarvis_recorder.wire.rpc.params import (
    AcknowledgeIncident,
    Params,
    ReconcileDeadLetters,
    RecordEvent,
    ReopenIncident,
    ResolveIncident,
    SetPreference,
    SilenceIncidents,
)

CommandOutcome = Any | Exception

_GROWING: Final = (
    RecordEvent,
    SetPreference,
    ReconcileDeadLetters,
    AcknowledgeIncident,
    ResolveIncident,
    ReopenIncident,
    SilenceIncidents,
)


@dataclass(frozen=True, eq=False, slots=True)
class _Waiting:
    """A change whose caller waits for the outcome."""

    params: Params[Any]
    outcome: asyncio.Future[Any]


class CommandQueue:
    """
    A queue of changes, made many in one transaction, because the sync to disk costs most.

    No timer, as in recording: what arrives during one commit is the next group, so a single
    change is made at once. Each has its own savepoint: if one is refused, the others are kept.
    """

    def __init__(
        self, writer: Writer, statements: EngineStatements, clock: Clock, changed: asyncio.Event
    ) -> None:
        """`changed` is set after each group: it may have left notifications."""
        self._writer = writer
        self._statements = statements
        self._clock = clock
        self._changed = changed
        self._waiting: list[_Waiting] = []
        self._working: asyncio.Task[None] | None = None

    async def make(self, params: Params[Any], until: float) -> bytes:
        """
        Make a change, and return its result once it is committed.

        Raises:
            DeadlineExceeded: It had not begun by `until`: nothing is changed.
            OutcomeUnknown: It was under way at `until`, and is finished all the same.
            RecorderError: It is refused, or nothing of its group could be committed.
        """
        if isinstance(params, _GROWING):
            self._writer.require_room()
        waiting = _Waiting(params, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())
        try:
            async with asyncio.timeout_at(until):
                answer: bytes = await asyncio.shield(waiting.outcome)
                return answer
        except TimeoutError:
            if waiting in self._waiting:
                raise DeadlineExceeded("others were writing until it was too late") from None
            raise OutcomeUnknown("the change was being made when the time was over") from None
        finally:
            # No one waits for it any more. Once taken, it is no longer in the list.
            with contextlib.suppress(ValueError):
                self._waiting.remove(waiting)

    async def _work(self) -> None:
        while self._waiting:
            group: list[_Waiting] = []
            try:
                outcomes = await self._writer.run_gathered(partial(self._gather, group))
            except Exception as error:  # noqa: BLE001 - raised to each caller
                outcomes = [error] * len(group)
            self._changed.set()
            if any(isinstance(outcome, NoRoomForIt) for outcome in outcomes):
                self._writer.crowded.set()
            for one, outcome in zip(group, outcomes, strict=True):
                _settle(one.outcome, outcome)

    def _gather(self, group: list[_Waiting]) -> Work[list[CommandOutcome]]:
        """Take all waiting changes into `group`, and return the work that makes them."""
        group += self._waiting
        self._waiting.clear()
        asked = [one.params for one in group]
        make = partial(self._make, self._clock())
        return lambda connection: [make(params, connection) for params in asked]

    def _make(self, now: int, params: Params[Any], connection: Connection) -> CommandOutcome:
        """Return the result or the change's own error; raise one that concerns the whole group."""
        change = CHANGES[type(params)]
        try:
            with self._writer.attempt(connection):
                answer = change(connection, params, now, self._statements)
                if isinstance(params, _GROWING):
                    self._writer.require_bounds(connection)
                return answer
        except NoRoomForIt as error:
            return error
        except (StorageUnavailable, StorageUncertain, StorageDamaged):
            raise
        except Exception as error:  # noqa: BLE001 - raised to its caller only
            return error


def _settle(future: asyncio.Future[Any], outcome: CommandOutcome) -> None:
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
        # Marks the exception as retrieved, in case the caller has gone.
        future.exception()
    else:
        future.set_result(outcome)
