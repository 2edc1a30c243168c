"""A server with a synchronous standby: what is acknowledged is on both."""

import asyncio

import psycopg
import pytest

from jarvis_recorder.errors import OutcomeUnknown, StorageUnavailable
from jarvis_recorder.storage.postgres.store import open_store
from jarvis_recorder.wire.records import Event, Record
from jarvis_recorder.wire.rpc.params import GetPreference, RecordEvent, SetPreference
from jarvis_recorder.wire.times import to_datetime
from jarvis_recorder.wire.topics import Kind
from tests.support.archive import ask
from tests.support.postgres import DURABLE, cluster, standby

pytestmark = pytest.mark.slow

NOW = 1_795_420_000_000_000
_WAITING = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


@pytest.fixture(scope="module")
def primary():
    with cluster(DURABLE) as made:
        made.execute("CREATE DATABASE recorder")
        yield made


@pytest.fixture(scope="module")
def copy(primary):
    with standby(primary) as made:
        yield made


@pytest.fixture
async def store(primary, copy):
    async with open_store(primary.url("recorder"), lambda: NOW) as store:
        yield store


def event(identity):
    body = Event(type="status", severity="info", source="monitor", summary="x")
    return Record(Kind.EVENT, identity, NOW, False, body, None)


async def waits_for_the_standby(primary, task) -> int:
    """Return the process of the server that waits; fail if the task ends without that."""
    async with await psycopg.AsyncConnection.connect(primary.url(), autocommit=True) as looking:
        while True:
            assert not task.done(), task.result()
            if found := await (await looking.execute(_WAITING)).fetchone():
                return int(found[0])
            await asyncio.sleep(0.02)


async def cancelled(primary, task) -> None:
    """Have the server give up to wait for the standby: the commit is there, and only there."""
    pid = await waits_for_the_standby(primary, task)
    primary.execute(f"SELECT pg_cancel_backend({pid})")


async def test_a_duplicate_that_the_standby_may_lack_is_not_acknowledged_without_it(
    primary, copy, store
):
    """As after a crash of the primary: the row is found, and is on one machine."""
    copy.kill()
    first = asyncio.create_task(store.repository.append([event("a")], NOW))
    await cancelled(primary, first)
    with pytest.raises(StorageUnavailable, match="synchronous replication"):
        await first

    again = asyncio.create_task(store.repository.append([event("a")], NOW))

    await waits_for_the_standby(primary, again)
    copy.start()
    assert (await again).duplicates == 1
    assert copy.execute("SELECT message_id FROM events", "recorder") == [("a",)]


async def test_of_a_change_that_no_standby_has_the_outcome_is_unknown(primary, copy, store):
    copy.kill()
    change = asyncio.create_task(ask(store, SetPreference(key="theme", value="dark"), 60))
    await cancelled(primary, change)

    with pytest.raises(OutcomeUnknown, match="synchronous replication"):
        await change

    copy.start()
    assert (await ask(store, GetPreference(key="theme"))).preference.value == "dark"


async def test_a_change_that_writes_nothing_waits_for_the_standby_too(primary, copy, store):
    """The first one is on the primary alone; it is asked for again."""
    record = RecordEvent(
        type="status", source="user", summary="x", message_id="m", timestamp=to_datetime(NOW)
    )
    copy.kill()
    first = asyncio.create_task(ask(store, record, 60))
    await cancelled(primary, first)
    with pytest.raises(OutcomeUnknown):
        await first

    again = asyncio.create_task(ask(store, record, 60))

    await waits_for_the_standby(primary, again)
    copy.start()
    await again
    assert copy.execute("SELECT 1 FROM events WHERE message_id = 'm'", "recorder") == [(1,)]
