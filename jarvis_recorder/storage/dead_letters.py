"""The index of the dead letters, written next to recording; their queue is the truth."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Any, Final, NamedTuple

import structlog
from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, update

from jarvis_recorder.errors import OutcomeUnknown, RecordRefused, StorageUnavailable
from jarvis_recorder.ports import Clock
from jarvis_recorder.runtime.process import any_of, set_within
from jarvis_recorder.storage.engine import EngineStatements, NoRoomForIt, Writer
from jarvis_recorder.storage.tables import dead_letters
from jarvis_recorder.wire.dead_letter import MOST_INDEXED, DeadLetter, bounded, fault_of
from jarvis_recorder.wire.rpc.methods import adapter
from jarvis_recorder.wire.rpc.params import ReconcileDeadLetters
from jarvis_recorder.wire.rpc.results import Reconciled
from jarvis_recorder.wire.times import to_datetime

log = structlog.get_logger(__name__)

_MOST_NOTED_BYTES: Final = 10 * 1024 * 1024
# What one takes in memory besides the characters of its texts.
_NOTED_BYTES: Final = 700
_AT_ONCE: Final = 1_000
# A flood of dead letters takes a small part of the writer's time, whatever their number.
_PAUSE_SECONDS: Final = 1.0
_AGAIN_SECONDS: Final = 10.0
_LAST_SECONDS: Final = 2.0

_columns: Final = dead_letters.c


class _Noted(NamedTuple):
    """A dead letter that the broker has confirmed, and when."""

    letter: DeadLetter
    at: datetime

    def size(self) -> int:
        """Return about how many bytes it takes in memory."""
        letter = self.letter
        texts = (letter.reason, letter.error, letter.queue, letter.exchange, letter.routing_key)
        return _NOTED_BYTES + len(letter.message_id or "") + sum(map(len, texts))


class EngineDeadLetterIndex:
    """
    The implementation of `ports.DeadLetterIndex` on any engine.

    The rows are written soon after, in transactions of their own. A dead letter is not indexed if
    the process ends before, or if too many wait: then the index is behind its queue.
    """

    def __init__(self, writer: Writer, clock: Clock) -> None:
        self._writer = writer
        self._clock = clock
        self._noted: deque[_Noted] = deque()
        self._room = _MOST_NOTED_BYTES
        self._any = asyncio.Event()

    def note(self, letter: DeadLetter) -> None:
        """Index a dead letter soon; see `ports.DeadLetterIndex`."""
        noted = _Noted(bounded(letter), to_datetime(self._clock()))
        if noted.size() <= self._room:
            self._room -= noted.size()
            self._noted.append(noted)
            self._any.set()

    async def run(self, stop: asyncio.Event) -> None:
        """
        Write what is noted until `stop` is set; while the database is unavailable it waits.

        Raises:
            StorageUncertain, StorageDamaged: As `Writer.run`.
        """
        while not stop.is_set():
            await any_of(stop, self._any)
            pause = _PAUSE_SECONDS
            try:
                await self._write()
            except (StorageUnavailable, OutcomeUnknown) as error:
                log.warning("dead_letters_not_indexed", error=str(error), waiting=len(self._noted))
                pause = _AGAIN_SECONDS
            await set_within(stop, pause)

    async def finish(self) -> None:
        """Write what is still noted, if that is possible soon; raises nothing."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(_LAST_SECONDS):
                while self._noted:
                    await self._write()

    async def _write(self) -> None:
        """Index the oldest that are noted; on an error they stay noted."""
        some = list(islice(self._noted, _AT_ONCE))
        if some:
            self._writer.require_room()
            try:
                await self._writer.run(partial(self._add, some))
            except NoRoomForIt:
                self._writer.crowded.set()
                raise
            except RecordRefused as error:
                log.error("dead_letters_not_indexed", error=str(error), letters=len(some))
            for _ in some:
                self._room += self._noted.popleft().size()
        if not self._noted:
            self._any.clear()

    def _add(self, noted: Sequence[_Noted], connection: Connection) -> None:
        _insert(connection, (_row(one.letter, 1, one.at) for one in noted))
        self._writer.require_bounds(connection)


def reconcile(
    connection: Connection, params: ReconcileDeadLetters, now: int, _: EngineStatements
) -> bytes:
    """Make a part of the index the same as its queue, except for what is newer than the look."""
    began = to_datetime(now - round(params.began_seconds_ago * 1_000_000))
    waiting = {letter.id: letter for letter in params.letters}
    part = select(_columns.id, _columns.letter, _columns.copies, _columns.indexed_at).where(
        *_part(params)
    )
    indexed = {row.letter: row for row in connection.execute(part)}
    gone = [
        row.id for row in indexed.values() if row.letter not in waiting and row.indexed_at < began
    ]
    connection.execute(delete(dead_letters).where(_columns.id.in_(gone)))
    for identity in waiting.keys() & indexed.keys():
        copies, row = waiting[identity].copies, indexed[identity]
        if copies != row.copies:
            by_id = update(dead_letters).where(_columns.id == row.id)
            connection.execute(by_id.values(copies=copies))
    at = to_datetime(now)
    added = _insert(connection, (_row(_letter(one), one.copies, at) for one in params.letters))
    return adapter(Reconciled).dump_json(Reconciled(added, len(gone)))


def _part(params: ReconcileDeadLetters) -> list[ColumnElement[bool]]:
    part: list[ColumnElement[bool]] = []
    if params.after is not None:
        part.append(_columns.letter > params.after)
    if params.up_to is not None:
        part.append(_columns.letter <= params.up_to)
    return part


def _letter(waiting: Any) -> DeadLetter:
    return DeadLetter(**{name: getattr(waiting, name) for name in DeadLetter.__dataclass_fields__})


def _row(letter: DeadLetter, copies: int, at: datetime) -> dict[str, Any]:
    values = asdict(letter)
    return {
        "letter": values.pop("id"),
        "copies": copies,
        "fault": fault_of(letter.error),
        "timestamp": letter.received_at or at,
        "indexed_at": at,
        **values,
    }


def _insert(connection: Connection, rows: Iterable[dict[str, Any]]) -> int:
    """Insert the rows that are new, prune the index to its bound, and return how many were new."""
    given = {row["letter"]: row for row in rows}
    there = select(_columns.letter).where(_columns.letter.in_(given))
    for letter in connection.execute(there).scalars().all():
        del given[letter]
    if given:
        connection.execute(insert(dead_letters), list(given.values()))
        _prune(connection)
    return len(given)


def _prune(connection: Connection) -> None:
    count = connection.execute(select(func.count()).select_from(dead_letters)).scalar_one()
    if count > MOST_INDEXED:
        oldest = (
            select(_columns.id)
            .order_by(_columns.timestamp, _columns.id)
            .limit(count - MOST_INDEXED)
        )
        connection.execute(delete(dead_letters).where(_columns.id.in_(oldest)))
