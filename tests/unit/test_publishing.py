"""Publishing many records: how much of them is in flight together."""

import asyncio

import pytest

from jarvis_recorder.client import new_event, new_snapshot
from jarvis_recorder.client.publishing import Window, publish_all
from jarvis_recorder.errors import InvalidParameter

MIB = 1024 * 1024


class Broker:
    """Confirms records in their order, one each time all tasks wait for it."""

    def __init__(self):
        self.in_flight = []
        self.most = 0
        self.confirmed = []

    async def publish(self, record):
        self.in_flight.append(record)
        self.most = max(self.most, len(self.in_flight))
        while self.in_flight[0] is not record:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        self.in_flight.remove(record)
        self.confirmed.append(record.message_id)
        return record.message_id


def snapshot(mib):
    return new_snapshot({"text": "x" * round(mib * MIB)})


@pytest.mark.parametrize(
    ("make", "count", "most"),
    [
        (lambda: snapshot(3), 20, 5),
        (lambda: snapshot(0.9), 30, 17),
        (lambda: snapshot(20), 3, 1),
        (lambda: new_event(type="status", source="user", summary="x"), 1_200, 500),
        (
            lambda: new_event(
                type="status", source="user", summary="x", extra={"more": "x" * 3 * MIB}
            ),
            10,
            5,
        ),
    ],
)
async def test_the_window_is_bounded_in_number_and_in_bytes(make, count, most):
    """A record waits outside of it, before its deadline begins and before it is written."""
    broker = Broker()
    records = [make() for _ in range(count)]

    assert await publish_all(broker.publish, iter(records)) == count

    assert broker.confirmed == [one.message_id for one in records]
    assert broker.most == most


async def test_a_record_that_cannot_be_written_fails_in_its_turn():
    broker = Broker()
    event = new_event(type="status", source="user", summary="x")
    wrong = new_event(type="status", source="user", summary="x", details=object())

    async def publish(record):
        if record is wrong:
            raise InvalidParameter("details", "this cannot be sent as JSON")
        return await broker.publish(record)

    with pytest.raises(InvalidParameter):
        await publish_all(publish, [event, wrong])

    assert broker.confirmed == [event.message_id]


def test_a_window_takes_one_of_any_size():
    window = Window(2, 10)

    assert window.has_room(11)
    window.add(11)
    assert not window.has_room(0)
    window.remove(11)
    window.add(4)
    assert window.has_room(6)
    assert not window.has_room(7)
    window.add(6)
    assert not window.has_room(0)
