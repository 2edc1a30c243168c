"""A change is announced after its commit, at least once, in order."""

import asyncio
import contextlib
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from jarvis_recorder.errors import (
    BrokerUnavailable,
    DeadlineExceeded,
    NotConfirmed,
    StorageUnavailable,
)
from jarvis_recorder.ports import PendingNotification
from jarvis_recorder.rpc import outbox_relay
from jarvis_recorder.rpc.outbox_relay import OutboxRelay
from tests.support.fakes import FakeOutbox, FakePublisher


def change(number: int) -> PendingNotification:
    return PendingNotification(
        number, "recorder.preference.changed", f"m-{number}", f'{{"n":{number}}}'
    )


@contextlib.asynccontextmanager
async def announcing(outbox: FakeOutbox, publisher: FakePublisher):
    task = asyncio.create_task(OutboxRelay(outbox, publisher, lambda: 0).run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.001)


async def test_what_was_left_by_the_last_process_is_announced_first():
    outbox, publisher = FakeOutbox(), FakePublisher()
    outbox.put(change(1), change(2))

    async with announcing(outbox, publisher):
        await until(lambda: not outbox.notifications)
        outbox.put(change(3))
        await until(lambda: not outbox.notifications)

    assert [body for _, _, _, body in publisher.published] == [b'{"n":1}', b'{"n":2}', b'{"n":3}']
    assert {exchange for exchange, _, _, _ in publisher.published} == {"jarvis"}


async def test_nothing_leaves_the_outbox_before_it_is_confirmed():
    outbox, publisher = FakeOutbox(), FakePublisher()
    publisher.confirming.clear()
    outbox.put(change(1))

    async with announcing(outbox, publisher):
        for _ in range(20):
            await asyncio.sleep(0)
        assert outbox.notifications == [change(1)]
        publisher.confirming.set()
        await until(lambda: not outbox.notifications)


async def test_a_relay_that_ends_leaves_the_outbox_to_others():
    """Of a server it has the lock while it publishes, and the broker may be gone."""
    outbox, publisher = FakeOutbox(), FakePublisher()
    publisher.confirming.clear()
    outbox.put(change(1))

    async with announcing(outbox, publisher):
        for _ in range(20):
            await asyncio.sleep(0)
        assert outbox.released == 0

    assert outbox.released == 1


async def test_a_broker_that_confirms_nothing_does_not_keep_others_from_the_outbox(monkeypatch):
    monkeypatch.setattr(outbox_relay, "_RETRY_SECONDS", 0.0)
    monkeypatch.setattr(outbox_relay, "_ROUND_SECONDS", 0.01)
    outbox, publisher = FakeOutbox(), FakePublisher()
    publisher.confirming.clear()
    outbox.put(change(1))

    async with announcing(outbox, publisher):
        await until(lambda: outbox.released > 1)
        publisher.confirming.set()
        await until(lambda: not outbox.notifications)


async def test_an_outbox_that_cannot_be_read_in_time_is_read_again(monkeypatch):
    """Slow questions may keep every reader busy; that must not end the answering."""
    monkeypatch.setattr(outbox_relay, "_RETRY_SECONDS", 0.0)
    outbox, publisher = FakeOutbox(), FakePublisher()
    outbox.failures = [DeadlineExceeded("busy"), StorageUnavailable("locked")]
    outbox.put(change(1))

    async with announcing(outbox, publisher):
        await until(lambda: not outbox.notifications)

    assert len(publisher.published) == 1


async def test_a_refused_announcement_is_tried_again(monkeypatch):
    monkeypatch.setattr(outbox_relay, "_REFUSED_RETRY_SECONDS", 0.0)
    outbox, publisher = FakeOutbox(), FakePublisher()
    publisher.failures = [NotConfirmed("queue full")]
    outbox.put(change(1))

    async with announcing(outbox, publisher):
        await until(lambda: not outbox.notifications)

    assert len(publisher.published) == 1


class Refusing(FakePublisher):
    """A publisher whose broker refuses, or never confirms, some bodies, but hands them on."""

    def __init__(self, *refused: PendingNotification, error: Exception | None = None) -> None:
        super().__init__()
        self.refused = {one.body.encode() for one in refused}
        self._error = error

    async def publish(self, exchange, routing_key, properties, body, *, mandatory=True):
        await super().publish(exchange, routing_key, properties, body, mandatory=mandatory)
        if body in self.refused:
            if self._error is None:
                await asyncio.Event().wait()
            raise self._error

    @property
    def bodies(self) -> list[bytes]:
        return [body for *_, body in self.published]


@pytest.mark.parametrize("error", [NotConfirmed("queue full"), None])
async def test_of_those_published_at_once_only_what_is_not_confirmed_is_published_again(
    monkeypatch, error
):
    """All other subscribers would get the others again, each second."""
    monkeypatch.setattr(outbox_relay, "_REFUSED_RETRY_SECONDS", 0.0)
    monkeypatch.setattr(outbox_relay, "_RETRY_SECONDS", 0.0)
    monkeypatch.setattr(outbox_relay, "_ROUND_SECONDS", 60.0 if error else 0.05)
    outbox, publisher = FakeOutbox(), Refusing(change(1), error=error)
    outbox.put(*(change(number) for number in range(3)))

    async with announcing(outbox, publisher):
        await until(lambda: publisher.bodies.count(b'{"n":1}') > 3)
        assert outbox.notifications == [change(1)]
        publisher.refused.clear()
        await until(lambda: not outbox.notifications)

    assert publisher.bodies.count(b'{"n":0}') == publisher.bodies.count(b'{"n":2}') == 1


async def test_a_queue_that_stays_full_holds_up_no_others(monkeypatch):
    """The broker refuses each that one of its queues refuses, and all others have it."""
    monkeypatch.setattr(outbox_relay, "_REFUSED_RETRY_SECONDS", 0.0)
    monkeypatch.setattr(outbox_relay, "_PATIENCE_SECONDS", 0.05)
    changes = [change(number) for number in range(250)]
    outbox, publisher = FakeOutbox(), Refusing(*changes, error=NotConfirmed("queue full"))
    outbox.put(*changes)

    with capture_logs() as lines:
        async with announcing(outbox, publisher):
            await until(lambda: not outbox.notifications)

    assert {*publisher.bodies} == {one.body.encode() for one in changes}
    assert publisher.bodies.count(changes[-1].body.encode()) == 1
    assert [line["event"] for line in lines] == [
        "announcement_delayed",
        "announcements_given_up",
        "announcement_resumed",
    ]


async def test_what_cannot_be_removed_is_not_published_again(monkeypatch):
    """A full disk lets the outbox be read, and nothing be deleted."""
    monkeypatch.setattr(outbox_relay, "_RETRY_SECONDS", 0.0)
    outbox, publisher = FakeOutbox(), FakePublisher()
    outbox.removing.clear()
    outbox.put(change(1))

    async with announcing(outbox, publisher):
        await until(lambda: outbox.released > 3)
        outbox.removing.set()
        await until(lambda: not outbox.notifications)

    assert len(publisher.published) == 1


async def test_a_delay_is_logged_when_it_begins_changes_its_kind_and_ends(monkeypatch):
    """A server that is away for an hour must not fill the log with a line a second."""
    monkeypatch.setattr(outbox_relay, "_RETRY_SECONDS", 0.0)
    outbox, publisher = FakeOutbox(), FakePublisher()
    outbox.failures = [StorageUnavailable(f"away, try {n}") for n in range(5)]
    outbox.failures += [DeadlineExceeded("busy")] * 3
    outbox.put(change(1))

    with capture_logs() as lines:
        async with announcing(outbox, publisher):
            await until(lambda: not outbox.notifications and lines[-1]["log_level"] == "info")
            outbox.failures = [StorageUnavailable("away again")]
            outbox.put(change(2))
            await until(lambda: not outbox.notifications and len(lines) == 5)

    assert [(line["event"], line.get("error")) for line in lines] == [
        ("announcement_delayed", "away, try 0"),
        ("announcement_delayed", "busy"),
        ("announcement_resumed", None),
        ("announcement_delayed", "away again"),
        ("announcement_resumed", None),
    ]


async def test_what_a_lost_connection_leaves_is_announced_on_the_next():
    """Not with the next change: when a broker goes down there is most to tell."""
    outbox, publisher = FakeOutbox(), FakePublisher()
    publisher.failures = [BrokerUnavailable("gone")]
    outbox.put(change(1))
    async with announcing(outbox, publisher) as task:
        with pytest.raises(BrokerUnavailable):
            await task
    assert outbox.notifications == [change(1)]

    async with announcing(outbox, publisher):
        await until(lambda: not outbox.notifications)
