"""A COMMIT lost on the wire is answered by what the database says."""

import tempfile
from pathlib import Path

import pytest

from jarvis_recorder.errors import OutcomeUnknown, StorageUnavailable
from jarvis_recorder.storage.postgres import writer
from jarvis_recorder.storage.postgres.store import open_store
from jarvis_recorder.storage.postgres.writer import PostgresWriter
from jarvis_recorder.wire.records import Event, Record
from jarvis_recorder.wire.rpc.params import GetPreference, RecordEvent, SetPreference
from jarvis_recorder.wire.topics import Kind
from tests.support.archive import NOW, ask, clock, rows
from tests.support.commit_proxy import CommitProxy, Loss
from tests.support.postgres import cluster

DARK = SetPreference(key="theme", value="dark", expected_version=0)


@pytest.fixture
async def proxy(postgres):
    # A short path, as that of a Unix socket has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="jarvis-proxy-", dir="/tmp") as directory:
        proxy = CommitProxy(postgres.directory, Path(directory))
        async with proxy.listening():
            yield proxy


@pytest.fixture
async def store(postgres, postgres_url, proxy):
    """The store of a recorder that reaches the server through the proxy."""
    there = postgres_url.replace(str(postgres.directory), str(proxy.directory))
    async with open_store(there, clock) as store:
        yield store


@pytest.fixture
def fragile():
    """A server that writes nothing of a transaction to disk before its COMMIT."""
    with cluster(("autovacuum = off", "wal_writer_delay = 10s")) as made:
        yield made


@pytest.fixture
async def crashing(fragile):
    """The store on that server."""
    async with open_store(fragile.new_database(), clock) as store:
        yield store


def crash(server):
    server.kill()
    server.start()


def next_number(server):
    """Commit a transaction of another recorder, and return its number."""
    ((number,),) = server.execute("SELECT pg_current_xact_id()::text")
    return int(number)


def remember(connection):
    """Change something, and return the number of the transaction."""
    connection.exec_driver_sql("INSERT INTO known_time VALUES (now())")
    return int(connection.exec_driver_sql("SELECT pg_current_xact_id()::text").scalar_one())


async def stored(store):
    return (await ask(store, GetPreference(key="theme"))).preference.version


async def test_a_change_that_was_committed_is_reported_as_made(store, proxy):
    proxy.lose_next(Loss.AFTER_COMMIT)

    made = await ask(store, DARK)

    assert made.preference.version == await stored(store) == 1
    assert len(await store.outbox.waiting(9)) == 1


async def test_a_change_that_was_not_committed_is_reported_as_not_made(store, proxy):
    proxy.lose_next(Loss.BEFORE_COMMIT)

    with pytest.raises(StorageUnavailable, match="before COMMIT"):
        await ask(store, DARK)

    assert await rows(store, "SELECT count(*) FROM preferences") == [(0,)]
    assert (await ask(store, DARK)).preference.version == 1


async def test_where_no_one_can_be_asked_the_outcome_is_reported_as_unknown(
    store, proxy, monkeypatch
):
    monkeypatch.setattr(writer, "_ASKS", 3)
    proxy.lose_next(Loss.AFTER_COMMIT)
    proxy.is_closed = True

    with pytest.raises(OutcomeUnknown):
        await ask(store, DARK)

    proxy.is_closed = False
    assert await stored(store) == 1


async def test_an_event_recorded_on_request_is_recorded_once(store, proxy):
    params = RecordEvent(type="action", source="user", summary="restarted", message_id="m")
    proxy.lose_next(Loss.AFTER_COMMIT)

    first = await ask(store, params)

    assert (await ask(store, params)).event == first.event
    assert await rows(store, "SELECT count(*) FROM events") == [(1,)]
    (told,) = await store.outbox.waiting(9)
    assert told.routing_key == "recorder.event.recorded"


@pytest.mark.parametrize(("loss", "new"), [(Loss.AFTER_COMMIT, 0), (Loss.BEFORE_COMMIT, 3)])
async def test_a_batch_is_tried_again_and_stored_once(store, proxy, loss, new):
    body = Event(type="status", severity="info", source="monitor", summary="x")
    batch = [Record(Kind.EVENT, f"e{number}", NOW, False, body, None) for number in range(3)]
    proxy.lose_next(loss)

    with pytest.raises(StorageUnavailable):
        await store.repository.append(batch, NOW)

    again = await store.repository.append(batch, NOW)
    assert (again.stored, again.duplicates) == (new, 3 - new)
    assert await rows(store, "SELECT count(*) FROM events") == [(3,)]


async def test_a_change_that_a_crash_has_undone_is_reported_as_not_made(crashing, fragile):
    def crashed(connection):
        remember(connection)
        crash(fragile)

    with pytest.raises(StorageUnavailable, match="before COMMIT"):
        await crashing.writer.run(crashed)

    assert await rows(crashing, "SELECT count(*) FROM known_time") == [(0,)]


async def test_what_another_has_committed_under_its_number_is_not_taken_for_it(crashing, fragile):
    """After a crash the server gives out again each number that its log does not hold."""

    def crashed(connection):
        number = remember(connection)
        crash(fragile)
        while (taken := next_number(fragile)) < number:
            pass
        assert taken == number

    with pytest.raises(OutcomeUnknown):
        await crashing.writer.run(crashed)

    assert await rows(crashing, "SELECT count(*) FROM known_time") == [(0,)]


async def test_a_commit_is_looked_up_after_a_restart_that_was_no_crash(
    crashing, fragile, monkeypatch
):
    commit = PostgresWriter._commit

    async def lost(self, connection, *, with_standbys):
        monkeypatch.undo()
        await commit(self, connection, with_standbys=with_standbys)
        fragile.stop("fast")
        fragile.start()
        await connection.exec_driver_sql("SELECT")

    monkeypatch.setattr(PostgresWriter, "_commit", lost)

    await crashing.writer.run(remember)

    assert await rows(crashing, "SELECT count(*) FROM known_time") == [(1,)]
