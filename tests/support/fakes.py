"""Fakes for tests that control time or failures."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from jarvis_recorder.errors import (
    BrokerUnavailable,
    DeadlineExceeded,
    MoreRoomNeeded,
    NotTried,
    ResultTooLarge,
    StorageUnavailable,
)
from jarvis_recorder.ports import Appended, PendingNotification, RefusedRecord, Sink
from jarvis_recorder.wire.amqp.delivery import Delivery
from jarvis_recorder.wire.dead_letter import DeadLetter
from jarvis_recorder.wire.records import EVENT_COLUMNS, Event, EventRow, Record
from jarvis_recorder.wire.refusal import Reason
from jarvis_recorder.wire.rpc.methods import adapter
from jarvis_recorder.wire.rpc.params import Params
from jarvis_recorder.wire.rpc.results import OneSnapshot
from jarvis_recorder.wire.topics import Kind


class FakeIndex:
    """An index of dead letters that only remembers them."""

    def __init__(self) -> None:
        self.noted: list[DeadLetter] = []

    def note(self, letter: DeadLetter) -> None:
        self.noted.append(letter)


class FakeCount:
    """A count of the dead letters, None while it is unknown."""

    def __init__(self) -> None:
        self.waiting: int | None = None

    async def __call__(self) -> int | None:
        return self.waiting


class FakeConsumer:
    """A channel with RabbitMQ's rules: a tag is settled once, and must be outstanding."""

    def __init__(self, effects: list[str] | None = None) -> None:
        self.effects = [] if effects is None else effects
        self.queue: list[Delivery] = []
        self.outstanding: set[int] = set()
        self.settled: list[int] = []
        self.gone = False

    def hand_over(self, tag: int) -> None:
        self.outstanding.add(tag)

    async def start(self, sink: Sink) -> None: ...

    async def ready(self) -> int:
        return len(self.queue)

    async def fetch(self) -> Delivery | None:
        return self.queue.pop(0) if self.queue else None

    async def cancel(self) -> None: ...

    async def close(self) -> None: ...

    async def ack(self, tag: int, *, multiple: bool = False) -> None:
        self._settle(tag, multiple)
        self.effects.append(f"ack {'to ' if multiple else ''}{tag}")

    async def reject(self, tag: int) -> None:
        self._settle(tag, multiple=False)
        self.effects.append(f"reject {tag}")

    def _settle(self, tag: int, multiple: bool) -> None:
        if self.gone:
            raise BrokerUnavailable("the channel is gone")
        assert tag in self.outstanding, f"406 unknown delivery tag {tag}"
        tags = {other for other in self.outstanding if other <= tag} if multiple else {tag}
        self.outstanding -= tags
        self.settled += sorted(tags)


class FakePublisher:
    """Confirms, unless set to hold back or given failures to raise first."""

    def __init__(self, effects: list[str] | None = None) -> None:
        self.effects = [] if effects is None else effects
        self.published: list[tuple[str, str, bytes, bytes]] = []
        self.failures: list[Exception] = []
        self.confirming = asyncio.Event()
        self.confirming.set()

    async def publish(
        self,
        exchange: str,
        routing_key: str,
        properties: bytes,
        body: bytes,
        *,
        mandatory: bool = True,
    ) -> None:
        if self.failures:
            raise self.failures.pop(0)
        await self.confirming.wait()
        self.published.append((exchange, routing_key, properties, body))
        self.effects.append(f"dead-letter {body.decode('utf-8', 'replace')}")


class _Call:
    """A call of `append`, and the one under way before it."""

    def __init__(self, before: "_Call | None") -> None:
        self.before = before
        self.has_ended = asyncio.Event()
        self.has_failed = False


class FakeRepository:
    """
    Records in memory, by the rules of `ports.Repository`.

    It is unavailable for the first `failures` calls, and refuses events with a summary in
    `unwanted` as a database may refuse a row. `outcomes` are the errors of the next calls, None
    for a success. While `disk` is not set, no call ends.
    """

    def __init__(self, effects: list[str] | None = None) -> None:
        self.effects = [] if effects is None else effects
        self.stored: list[Record] = []
        self.failures = 0
        self.released = 0
        self.outcomes: list[Exception | None] = []
        self.disk = asyncio.Event()
        self.disk.set()
        self.under_way: list[_Call] = []
        self.unwanted: set[str] = set()
        self._by_identity: dict[str | None, list[Record]] = defaultdict(list)

    async def append(self, records: Sequence[Record | EventRow], recorded_at: int) -> Appended:
        call = _Call(self.under_way[-1] if self.under_way else None)
        self.under_way.append(call)
        try:
            await self.disk.wait()
            if call.before is not None:
                await call.before.has_ended.wait()
                if call.before.has_failed:
                    raise NotTried("a call before it has failed")
            return self._append(records)
        except BaseException:
            call.has_failed = True
            raise
        finally:
            self.under_way.remove(call)
            call.has_ended.set()

    def release_memory(self) -> None:
        self.released += 1

    def _append(self, records: Sequence[Record | EventRow]) -> Appended:
        if self.failures:
            self.failures -= 1
            raise StorageUnavailable("database is locked")
        if self.outcomes and (error := self.outcomes.pop(0)) is not None:
            raise error
        stored = duplicates = 0
        refused = []
        skipped = []
        records = [*map(_record, records)]
        for position, record in enumerate(records):
            if getattr(record.body, "summary", None) in self.unwanted:
                refused.append(RefusedRecord(position, Reason.REFUSED_BY_STORAGE, "unwanted"))
                continue
            namesakes = self._by_identity[record.message_id]
            if any(_same_identity(other, record) for other in namesakes):
                skipped.append((position, record))
            else:
                self.stored.append(record)
                namesakes.append(record)
                stored += 1
        # Judged once all are stored: a later record of the batch may be equal to this one.
        for position, record in skipped:
            twins = (t for t in self._by_identity[record.message_id] if _same_identity(t, record))
            if any(_content(twin) == _content(record) for twin in twins):
                duplicates += 1
            else:
                refused.append(RefusedRecord(position, Reason.ID_COLLISION, "taken"))
        self.effects.append(f"commit {','.join(str(record.message_id) for record in records)}")
        return Appended(stored, duplicates, refused)


def _record(record: Record | EventRow) -> Record:
    if isinstance(record, Record):
        return record
    row = dict(zip(EVENT_COLUMNS, record, strict=True))
    details = row["details"] and row["details"].encode()
    names = ("type", "severity", "source", "summary", "node", "cluster")
    body = Event(details=details, **{name: row[name] for name in names})
    return Record(Kind.EVENT, *record[:3], body, None)


def _same_identity(stored: Record, record: Record) -> bool:
    return (
        record.message_id is not None
        and stored.message_id == record.message_id
        and stored.kind is record.kind
        and (stored.timestamp == record.timestamp or (stored.stamped and record.stamped))
    )


def _content(record: Record) -> str:
    """Return the content of a record without id and time; `repr` distinguishes 1, 1.0 and True."""
    return repr((replace(record.body, id=None, timestamp=None), record.extra))


class FakeFlow:
    def __init__(self) -> None:
        self.effects: list[str] = []

    def pause(self) -> None:
        self.effects.append("pause")

    def resume(self) -> None:
        self.effects.append("resume")


class CannedArchive:
    """
    An archive that returns the result set for each class of request, or raises it if it is an error.

    A result with more bytes than its room is refused as by the real one; a snapshot as a record,
    which gets more room.
    """

    def __init__(self) -> None:
        self.answers: dict[type, Any] = {}
        self.asked: list[Params[Any]] = []
        self.deadlines: list[float] = []
        self.answering = asyncio.Event()
        self.answering.set()

    async def answer(self, question: Params[Any], until: float, room: int) -> bytes:
        self.asked.append(question)
        self.deadlines.append(until)
        try:
            async with asyncio.timeout_at(until):
                await self.answering.wait()
        except TimeoutError:
            raise DeadlineExceeded from None
        answer = self.answers[type(question)]
        if isinstance(answer, Exception):
            raise answer
        text = adapter(type(answer)).dump_json(answer)
        if len(text) > room:
            raise MoreRoomNeeded if isinstance(answer, OneSnapshot) else ResultTooLarge
        return text


class FakeRequests(FakeConsumer):
    """A queue of requests without a broker: keeps the replies and the settled tags."""

    def __init__(self) -> None:
        super().__init__()
        self.replies: list[tuple[str, bytes, bytes]] = []

    async def reply(self, to: str, properties: bytes, body: bytes) -> None:
        if self.gone:
            raise BrokerUnavailable("the channel is gone")
        self.replies.append((to, properties, body))
        self.effects.append("reply")


class FakeOutbox:
    """Notifications in memory, by the rules of `ports.Outbox`."""

    def __init__(self) -> None:
        self.notifications: list[PendingNotification] = []
        self.failures: list[Exception] = []
        self.removing = asyncio.Event()
        self.removing.set()
        self.released = 0
        self._something = asyncio.Event()

    def put(self, *notifications: PendingNotification) -> None:
        self.notifications += notifications
        self._something.set()

    async def wait(self) -> None:
        await self._something.wait()
        self._something.clear()

    async def waiting(self, limit: int) -> list[PendingNotification]:
        if self.failures:
            raise self.failures.pop(0)
        return self.notifications[:limit]

    async def announced(self, notifications: Sequence[PendingNotification]) -> None:
        if not self.removing.is_set():
            raise StorageUnavailable("the disk is full")
        self.notifications = [kept for kept in self.notifications if kept not in notifications]

    async def release(self) -> None:
        self.released += 1
