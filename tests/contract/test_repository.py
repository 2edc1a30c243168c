"""What a repository promises, kept by SQLite and by the fake that stands in for it."""

import json
import sqlite3
from contextlib import closing

import pytest

from jarvis_recorder.errors import StorageUnavailable
from jarvis_recorder.storage.repository import open_repository
from jarvis_recorder.wire.codec import decode
from jarvis_recorder.wire.records import Record
from jarvis_recorder.wire.refusal import Reason
from jarvis_recorder.wire.topics import TOPICS
from tests.support.amqp_bytes import delivery
from tests.support.fakes import FakeRepository
from tests.support.publisher import event

EVENTS, SNAPSHOTS, TURNS = TOPICS


def record(body, topic=EVENTS, received_at=5) -> Record:
    (found,) = decode(delivery(json.dumps(body).encode()), topic, received_at).records
    return found


@pytest.fixture
def path(tmp_path):
    return tmp_path / "recorder.db"


@pytest.fixture
async def sqlite(path):
    async with open_repository(path) as repository:
        yield repository


@pytest.fixture(params=["sqlite", "fake"])
def repository(request):
    return FakeRepository() if request.param == "fake" else request.getfixturevalue("sqlite")


async def test_a_record_is_stored_once(repository):
    one = record(event(1, id="a"))

    first = await repository.append([one], 7)
    second = await repository.append([one, one], 8)

    assert (first.stored, first.duplicates, list(first.refused)) == (1, 0, [])
    assert (second.stored, second.duplicates, list(second.refused)) == (0, 2, [])


async def test_twins_in_one_batch_are_stored_once(repository):
    one = record(event(1, id="a"))

    appended = await repository.append([one, one, record(event(2, id="b"))], 7)

    assert (appended.stored, appended.duplicates) == (2, 1)


async def test_another_body_under_an_identity_is_a_collision(repository):
    await repository.append([record(event(1, id="a"))], 7)

    appended = await repository.append(
        [record(event(2, id="b")), record(event(1, id="a", summary="x"))], 8
    )

    assert appended.stored == 1
    (refused,) = appended.refused
    assert (refused.position, refused.reason) == (1, Reason.ID_COLLISION)


async def test_collisions_inside_one_batch_are_found(repository):
    appended = await repository.append(
        [record(event(1, id="a")), record(event(1, id="a", node="x"))], 8
    )

    assert (appended.stored, appended.duplicates) == (1, 0)
    assert [refused.position for refused in appended.refused] == [1]


async def test_another_time_under_an_identity_is_another_message(repository):
    appended = await repository.append(
        [record(event(1, id="a")), record(event(2, id="a", summary=event(1)["summary"]))], 7
    )

    assert appended.stored == 2


async def test_where_the_body_has_no_time_identity_alone_decides(repository):
    body = event(1, id="a", timestamp=None)
    await repository.append([record(body, received_at=5)], 5)

    again = await repository.append([record(body, received_at=6)], 6)
    other = await repository.append([record(body | {"node": "x"}, received_at=7)], 7)

    assert (again.stored, again.duplicates) == (0, 1)
    assert [refused.reason for refused in other.refused] == [Reason.ID_COLLISION]


async def test_without_identity_each_is_stored(repository):
    nameless = record(event(1))

    appended = await repository.append([nameless, nameless], 7)

    assert appended.stored == 2


async def test_kinds_do_not_collide(repository):
    kinds = [
        record(event(1, id="a")),
        record({"id": "a", "snapshot": {"n": 1}, "timestamp": event(1)["timestamp"]}, SNAPSHOTS),
        record({"id": "a", "session_id": "s", "role": "user", "content": "hi"}, TURNS),
        record(event(2, id="b")),
    ]

    assert (await repository.append(kinds, 7)).stored == 4
    assert (await repository.append(kinds, 8)).duplicates == 4


@pytest.mark.parametrize("count", [1, 19, 20, 121, 500, 1_621])
async def test_however_many_there_are(repository, count):
    many = [record(event(number, id=f"id-{number}")) for number in range(count)]

    assert (await repository.append(many, 7)).stored == count
    again = await repository.append([*many, record(event(0, id="new"))], 8)
    assert (again.stored, again.duplicates) == (1, count)


async def test_snapshots_are_compressed_and_read_back(sqlite, path):
    state = {"nodes": [{"name": "pve1", "cpu": 0.5}] * 40}
    snapshot = record({"snapshot": state, "cluster": "home", "id": "s"}, SNAPSHOTS)

    await sqlite.append([snapshot], 7)

    assert json.loads(await sqlite.latest_snapshot("home")) == state
    assert await sqlite.latest_snapshot("elsewhere") is None
    again = await sqlite.append([snapshot], 8)
    other = snapshot._replace(body=record({"snapshot": {}, "cluster": "home"}, SNAPSHOTS).body)
    assert again.duplicates == 1
    assert (await sqlite.append([other], 8)).refused[0].reason is Reason.ID_COLLISION
    with closing(sqlite3.connect(path)) as connection:
        ((stored, size),) = connection.execute(
            "SELECT length(snapshot), size_bytes FROM cluster_snapshots"
        )
    assert stored < size


async def test_the_record_that_the_database_refuses_is_found(sqlite, path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "CREATE TRIGGER no_bad BEFORE INSERT ON events WHEN new.summary = 'bad'"
            " BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
    batch = [record(event(number, id=f"id-{number}")) for number in range(37)]
    for bad in (5, 30):
        batch[bad] = record(event(bad, id=f"id-{bad}", summary="bad"))

    appended = await sqlite.append(batch, 7)

    assert appended.stored == 35
    assert [(refused.position, refused.reason) for refused in appended.refused] == [
        (5, Reason.REFUSED_BY_STORAGE),
        (30, Reason.REFUSED_BY_STORAGE),
    ]
    assert (await sqlite.counts())["events"] == 35


async def test_a_locked_database_stores_nothing_and_works_again(sqlite, path, monkeypatch):
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageUnavailable, match="SQLITE_BUSY"):
            await sqlite.append([record(event(1, id="a"))], 7)
        with pytest.raises(StorageUnavailable, match="SQLITE_BUSY"):
            await sqlite.probe()
        other.execute("ROLLBACK")

    await sqlite.probe()
    assert (await sqlite.append([record(event(1, id="a"))], 7)).stored == 1


async def test_readers_cannot_write(sqlite):
    async with sqlite._reader.connect() as connection:
        with pytest.raises(Exception, match="readonly"):
            await connection.exec_driver_sql("DELETE FROM events")
