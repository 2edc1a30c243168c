"""The contract of a repository, kept by SQLite, by PostgreSQL and by the fake."""

import asyncio
import contextlib
import json
import sqlite3
import time
import zlib
from contextlib import closing
from itertools import count

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jarvis_recorder.errors import StorageDamaged, StorageUnavailable, StorageUncertain
from jarvis_recorder.ports import Appended
from jarvis_recorder.storage.postgres.connections import Server
from jarvis_recorder.storage.postgres.repository import PostgresRepository
from jarvis_recorder.storage.sqlite import bulk_insert
from jarvis_recorder.storage.sqlite.connections import driver_of
from jarvis_recorder.storage.sqlite.store import open_store
from jarvis_recorder.wire import identity, plain
from jarvis_recorder.wire.codec import decode
from jarvis_recorder.wire.records import Record
from jarvis_recorder.wire.refusal import Reason
from jarvis_recorder.wire.times import parse_rfc3339
from jarvis_recorder.wire.topics import TOPICS
from tests.support.amqp_bytes import delivery
from tests.support.fakes import FakeRepository
from tests.support.publisher import event

EVENTS, SNAPSHOTS, TURNS = TOPICS
REFUSE_BAD = (
    "CREATE TRIGGER no_bad BEFORE INSERT ON events WHEN new.summary = 'bad'"
    " BEGIN SELECT RAISE(ABORT, 'no'); END"
)


def record(body, topic=EVENTS, received_at=5) -> Record:
    (found,) = decode(delivery(json.dumps(body).encode()), topic, received_at).records
    return found


@pytest.fixture
def path(tmp_path):
    return tmp_path / "recorder.db"


@pytest.fixture
async def sqlite(path):
    async with open_store(path, lambda: 0) as store:
        yield store.repository


@pytest.fixture
async def postgresql(postgres_url):
    repository = PostgresRepository(Server(postgres_url))
    yield repository
    await repository.close()


@pytest.fixture(params=["sqlite", "postgresql", "fake"])
def repository(request):
    return FakeRepository() if request.param == "fake" else request.getfixturevalue(request.param)


@pytest.fixture(params=["sqlite", "postgresql"])
def durable(request):
    return request.getfixturevalue(request.param)


async def test_a_record_is_stored_once(repository):
    one = record(event(1, id="a"))

    first = await repository.append([one], 7)
    second = await repository.append([one, one], 8)

    assert (first.stored, first.duplicates, list(first.refused)) == (1, 0, [])
    assert (second.stored, second.duplicates, list(second.refused)) == (0, 2, [])


@pytest.mark.parametrize("given", [{}, {"cluster": "lab"}, {"more": 1}])
async def test_what_is_seldom_given_is_stored_for_the_events_that_give_it(path, sqlite, given):
    """Columns that are empty in all of a batch are left out of its INSERT."""
    await sqlite.append([record(event(1, id="a")), record(event(2, id="b") | given)], 7)

    with closing(sqlite3.connect(path)) as database:
        stored = database.execute(
            "SELECT cluster, extra, recorded_at, stamped FROM events"
        ).fetchall()
    extra = '{"more":1}' if "more" in given else None
    assert stored == [(None, None, 7, 0), (given.get("cluster"), extra, 7, 0)]


async def test_the_longest_identities_are_stored_in_every_table(durable):
    """An index of a server is bounded in bytes, and text of few repetitions is not compressed."""
    longest = "".join(chr(0x4E00 + one) for one in range(identity._MAX_BYTES // 3))
    given = identity.first_given(None, longest, None, None)
    bodies = [event(), {"snapshot": {}}, {"session_id": "s", "role": "user", "content": "x"}]
    records = [
        record(body, topic, received_at)._replace(message_id=given)
        for topic, body in zip((EVENTS, SNAPSHOTS, TURNS), bodies, strict=True)
        for received_at in (5, 6)
    ]

    stored = await durable.append(records, 7)

    assert (stored.stored, stored.refused) == (3, [])


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


async def test_ten_thousand_times_under_one_identity_are_told_apart_in_little_time(sqlite):
    """Not by comparing each with each: ten times as many would take a hundred times as long."""
    row = record(event(1, id="a"))
    batch = [row._replace(timestamp=row.timestamp + number) for number in range(10_000)]
    await sqlite.append(batch, 7)

    seconds = {}
    for many in (1_000, 10_000):
        began = time.process_time()
        again = await sqlite.append(batch[:many], 8)
        seconds[many] = time.process_time() - began
        assert (again.stored, again.duplicates) == (0, many)

    assert seconds[10_000] < 30 * seconds[1_000]


async def test_where_the_body_has_no_time_identity_alone_decides(repository):
    body = event(1, id="a", timestamp=None)
    await repository.append([record(body, received_at=5)], 5)

    again = await repository.append([record(body, received_at=6)], 6)
    other = await repository.append([record(body | {"node": "x"}, received_at=7)], 7)

    assert (again.stored, again.duplicates) == (0, 1)
    assert [refused.reason for refused in other.refused] == [Reason.ID_COLLISION]


async def test_a_stamped_record_and_a_dated_one_may_be_the_same(repository):
    """The first one's identity came from a property, the other's from the body."""
    dated = record(event(1, id="a"))
    stamped = record(event(1, id="a", timestamp=None), received_at=dated.timestamp)

    appended = await repository.append([stamped, dated], 7)

    assert (appended.stored, appended.duplicates, list(appended.refused)) == (1, 1, [])


@pytest.mark.parametrize("changes", [{"weight": 1}, {"details": {"metric": 1}}, {"node": None}])
async def test_any_difference_is_a_difference(repository, changes):
    await repository.append([record(event(1, id="a"))], 7)

    appended = await repository.append([record(event(1, id="a", **changes))], 8)

    assert [refused.reason for refused in appended.refused] == [Reason.ID_COLLISION]


async def test_collisions_are_found_in_every_kind(repository):
    at = event(1)["timestamp"]
    turn = {"id": "a", "session_id": "s", "role": "user", "content": "hi", "timestamp": at}
    snapshot = {"id": "a", "snapshot": {"n": 1}, "timestamp": at}
    await repository.append([record(turn, TURNS), record(snapshot, SNAPSHOTS)], 7)

    appended = await repository.append(
        [
            record(snapshot | {"cluster": "other"}, SNAPSHOTS),
            record(turn | {"cost_usd": "0.1"}, TURNS),
            record(snapshot, SNAPSHOTS),
            record(snapshot | {"snapshot": {"n": 2}}, SNAPSHOTS),
            record(turn, TURNS),
        ],
        8,
    )

    assert (appended.stored, appended.duplicates) == (0, 2)
    assert sorted(refused.position for refused in appended.refused) == [0, 1, 3]


async def test_redelivered_rows_are_found_where_sqlite_takes_few_variables(sqlite, monkeypatch):
    """As before SQLite 3.32."""

    def limited(connection):
        driver = driver_of(connection)
        driver.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 999)
        return driver

    monkeypatch.setattr(bulk_insert, "driver_of", limited)
    untimed = [record(event(1, id=f"u{n}", timestamp=None), received_at=5) for n in range(500)]
    await sqlite.append(untimed, 7)

    again = await sqlite.append(untimed, 8)

    assert (again.stored, again.duplicates) == (0, 500)


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


@pytest.mark.parametrize("count", [1, 19, 20, 121, 499, 500, 501, 1_621, 5_000])
async def test_however_many_there_are(repository, count):
    many = [record(event(number, id=f"id-{number}")) for number in range(count)]
    other = record(event(count - 1, id=f"id-{count - 1}", summary="other"))

    assert (await repository.append(many, 7)).stored == count
    again = await repository.append([*many, record(event(0, id="new")), other], 8)
    assert (again.stored, again.duplicates) == (1, count)
    assert [refused.position for refused in again.refused] == [count + 1]


@pytest.mark.parametrize("nameless", [1, 600])
async def test_duplicates_are_found_among_many_without_identity(repository, nameless):
    named = record(event(1, id="a"))
    batch = [record(event(1))] * nameless + [named, named]

    appended = await repository.append(batch, 7)

    assert (appended.stored, appended.duplicates) == (nameless + 1, 1)


async def test_nothing_at_all_can_be_appended(repository):
    assert summary(await repository.append([], 7)) == (0, 0, [])


@pytest.mark.parametrize(
    ("topic", "body", "field"),
    [
        (EVENTS, event(1, id="a"), "details"),
        (SNAPSHOTS, {"id": "a"}, "snapshot"),
        (TURNS, {"id": "a", "session_id": "s", "role": "tool", "content": ""}, "tool_calls"),
    ],
)
async def test_json_is_compared_by_value(durable, topic, body, field):
    """A message that comes again after an upgrade may have its numbers spelt otherwise."""

    def written(text):
        one = record(body | {field: {}, "timestamp": event(1)["timestamp"]}, topic)
        object.__setattr__(one.body, field, text)
        return one

    await durable.append([written(b'{"n":[1e+16,1.5e+300,1,18446744073709551617]}')], 7)

    same = written(b'{"n":[1e16,1.5e300,1,18446744073709551617]}')
    others = [
        b'{"n":[10000000000000000,1.5e300,1,18446744073709551617]}',
        b'{"n":[1e16,1.5e300,1.0,18446744073709551617]}',
        b'{"n":[1e16,1.5e300,true,18446744073709551617]}',
        b'{"n":[1e16,1.5e300,1,18446744073709551616]}',
        b'{"n":[1e17,1.5e300,1,18446744073709551617]}',
        b'{"n":["1e16",1.5e300,1,18446744073709551617]}',
    ]
    appended = await durable.append([same, *map(written, others)], 8)
    assert appended.duplicates == 1
    assert [refused.position for refused in appended.refused] == [1, 2, 3, 4, 5, 6]


async def test_snapshots_are_compressed_and_read_back(sqlite, path):
    state = {"nodes": [{"name": "pve1", "cpu": 0.5}] * 40}
    snapshot = record({"snapshot": state, "cluster": "home", "id": "s"}, SNAPSHOTS)

    await sqlite.append([snapshot], 7)

    again = await sqlite.append([snapshot], 8)
    other = snapshot._replace(body=record({"snapshot": {}, "cluster": "home"}, SNAPSHOTS).body)
    assert again.duplicates == 1
    assert (await sqlite.append([other], 8)).refused[0].reason is Reason.ID_COLLISION
    with closing(sqlite3.connect(path)) as connection:
        ((stored, size),) = connection.execute("SELECT snapshot, size_bytes FROM cluster_snapshots")
    assert json.loads(zlib.decompress(stored)) == state
    assert len(stored) < size


@pytest.fixture
def unwilling(request, repository, path):
    """A repository that refuses events with the summary `bad`."""
    if isinstance(repository, FakeRepository):
        repository.unwanted = {"bad"}
        yield repository
    elif isinstance(repository, PostgresRepository):
        with postgresql_that_refuses_bad(request.getfixturevalue("postgres_url")):
            yield repository
    else:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(REFUSE_BAD)
        yield repository


@contextlib.contextmanager
def postgresql_that_refuses_bad(url):
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER TABLE events ADD CONSTRAINT no_bad CHECK (summary <> 'bad')")
        try:
            yield
        finally:
            connection.execute("ALTER TABLE events DROP CONSTRAINT no_bad")


@pytest.mark.parametrize(
    ("count", "bad"), [(1, [0]), (2, [1]), (37, [5, 30]), (40, []), (700, [0, 499, 500, 699])]
)
async def test_the_records_that_the_database_refuses_are_found(unwilling, count, bad):
    batch = [record(event(number, id=f"id-{number}")) for number in range(count)]
    for at in bad:
        batch[at] = record(event(at, id=f"id-{at}", summary="bad"))

    appended = await unwilling.append(batch, 7)
    again = await unwilling.append(batch, 8)

    refused = [(at, Reason.REFUSED_BY_STORAGE) for at in bad]
    assert (appended.stored, appended.duplicates) == (count - len(bad), 0)
    assert [(found.position, found.reason) for found in appended.refused] == refused
    assert (again.stored, again.duplicates) == (0, count - len(bad))
    assert [(found.position, found.reason) for found in again.refused] == refused


async def test_a_refused_record_keeps_no_collision_from_being_found(unwilling):
    appended = await unwilling.append(
        [
            record(event(1, id="a")),
            record(event(2, id="b", summary="bad")),
            record(event(1, id="a", node="x")),
            record(event(1, id="a")),
        ],
        7,
    )

    assert (appended.stored, appended.duplicates) == (1, 1)
    assert [(found.position, found.reason) for found in appended.refused] == [
        (1, Reason.REFUSED_BY_STORAGE),
        (2, Reason.ID_COLLISION),
    ]


# The time of some dated events, which may be that of a receipt too.
SOME_TIME = parse_rfc3339("2026-01-01T00:00:01Z")


def small_events(*receipts):
    return st.builds(
        lambda name, summary, at, received_at, details: record(
            {"type": "alert", "source": "user", "id": name, "summary": summary}
            | ({"timestamp": f"2026-01-01T00:00:0{at}Z"} if at else {})
            | ({"details": details} if details is not None else {}),
            received_at=received_at,
        ),
        st.sampled_from("abc"),
        st.sampled_from(["x", "y", "bad"]),
        st.integers(0, 2),
        st.sampled_from(receipts),
        st.sampled_from([None, 1, 1.0, True]),
    )


@contextlib.asynccontextmanager
async def sqlite_that_refuses_bad(path):
    async with open_store(path, lambda: 0) as store:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(REFUSE_BAD)
        yield store.repository


@contextlib.asynccontextmanager
async def postgresql_repository_that_refuses_bad(url):
    repository = PostgresRepository(Server(url))
    with postgresql_that_refuses_bad(url):
        yield repository
        await repository.close()


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_each_database_and_the_fake_agree_on_everything(engine, path, request):
    """For any batches of partly equal records: the same counts, the same refusals."""
    examples = count()
    # On PostgreSQL an undated event that is received at the very time of a dated one of its
    # identity is the same event from then on: see docs/grow.md.
    events = small_events(1, SOME_TIME if engine == "sqlite" else SOME_TIME + 1)

    @settings(max_examples=50)
    @given(st.lists(st.lists(events, max_size=6), max_size=4))
    def agree(batches):
        fake, example = FakeRepository(), next(examples)
        fake.unwanted = {"bad"}
        for batch in batches:
            named = [found._replace(message_id=f"{example}-{found.message_id}") for found in batch]
            outcomes = [runner.run(repository.append(named, 7)) for repository in (real, fake)]
            assert summary(outcomes[0]) == summary(outcomes[1])

    with asyncio.Runner() as runner:
        if engine == "sqlite":
            opened = sqlite_that_refuses_bad(path)
        else:
            opened = postgresql_repository_that_refuses_bad(request.getfixturevalue("postgres_url"))
        real = runner.run(opened.__aenter__())
        try:
            agree()
        finally:
            runner.run(opened.__aexit__(None, None, None))


def summary(appended: Appended) -> tuple[int, int, list[tuple[int, Reason]]]:
    refused = sorted((found.position, found.reason) for found in appended.refused)
    return appended.stored, appended.duplicates, refused


async def test_what_is_stored_is_exactly_what_came(sqlite, path):
    text = (
        b'{"session_id": "s", "role": "tool", "content": "\\u00fc \xf0\x9f\x90\x8e", "id": "t",'
        b' "cost_usd": 0.12345678901234567890, "tokens_used": 9223372036854775807,'
        b' "tool_calls": [1.0, 1, true, null, "\xc3\xbc"], "weight": {"b": 1, "a": 2}}'
    )
    turn = decode(delivery(text), TURNS, 5).records[0]
    alert = record(event(1, id="e", details=[], node=None), received_at=6)

    await sqlite.append([turn, alert], 7)

    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT * FROM conversations").fetchall() == [
            (
                1, "t", "s", 5, 1, "tool", "\u00fc \N{HORSE}", None, 2**63 - 1, None, None,
                "0.12345678901234567890", '[1.0,1,true,null,"\u00fc"]',
                '{"weight":{"b":1,"a":2}}', 7,
            )
        ]  # fmt: skip
        assert connection.execute("SELECT * FROM events").fetchall() == [
            (
                1, "e", alert.timestamp, 0, "alert", "warning", "monitor", None,
                event(1)["summary"], "[]", 0, None, None, None, 7, None,
            )
        ]  # fmt: skip


async def test_whoever_stops_waiting_stops_no_transaction(durable):
    """The transaction continues: only the result would be lost, and the next call is served."""
    waiting = asyncio.create_task(durable.append([record(event(1, id="a"))], 7))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    again = await durable.append([record(event(1, id="a"))], 8)

    assert (again.stored, again.duplicates) == (0, 1)


async def test_a_locked_database_stores_nothing_and_works_again(path, monkeypatch):
    monkeypatch.setattr("jarvis_recorder.storage.sqlite.connections._BUSY_SECONDS", 0.01)
    async with open_store(path, lambda: 0) as store:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StorageUnavailable, match="SQLITE_BUSY"):
                await store.repository.append([record(event(1, id="a"))], 7)
            await store.writer.answers()
            other.execute("ROLLBACK")

        assert (await store.repository.append([record(event(1, id="a"))], 7)).stored == 1


async def test_a_file_that_was_replaced_takes_nothing_that_would_be_acked(sqlite, path):
    """A file deleted while it is open continues to take commits that no one will find."""
    await sqlite.append([record(event(1, id="a"))], 7)
    path.rename(path.with_name("moved.db"))

    for _ in range(2):
        with pytest.raises(StorageDamaged, match="moved, replaced or deleted"):
            await sqlite.append([record(event(2, id="b"))], 7)


async def test_every_commit_is_synced(sqlite):
    """Only a power cut would show it, not a kill: WAL and synchronous=FULL, always."""
    for pragma, wanted in (("synchronous", 2), ("journal_mode", "wal")):
        found = await sqlite._writer.run(
            lambda connection, pragma=pragma: connection.exec_driver_sql(
                f"PRAGMA {pragma}"
            ).scalar()
        )
        assert found == wanted


async def test_after_an_outcome_that_is_unknown_nothing_is_taken_any_more(sqlite):
    def fail(_):
        raise StorageUncertain("the sync failed")

    with pytest.raises(StorageUncertain):
        await sqlite._writer.run(fail)

    with pytest.raises(StorageUncertain):
        await sqlite.append([record(event(1, id="a"))], 7)


async def test_a_row_of_the_plain_path_is_the_record_it_would_have_been(sqlite, path):
    """Rows alone, rows among records, and either after the other."""

    def row(body):
        (found,) = plain.decode(delivery(json.dumps(body).encode()), EVENTS, 5).records
        return found

    bodies = [event(number, id=f"e-{number}", details={"n": [1.5]}) for number in range(4)]
    turn = record({"session_id": "s", "role": "user", "content": "hi", "id": "t"}, TURNS)

    assert (await sqlite.append([row(bodies[0]), row(bodies[1])], 7)).stored == 2
    mixed = [record(bodies[0]), turn, row(bodies[1] | {"node": "x"}), row(bodies[2])]
    appended = await sqlite.append([*mixed, record(bodies[3]), row(bodies[3])], 8)

    assert (appended.stored, appended.duplicates) == (3, 2)
    assert [refused.position for refused in appended.refused] == [2]
    with closing(sqlite3.connect(path)) as connection:
        query = "SELECT message_id, details, recorded_at FROM events ORDER BY id"
        rows = connection.execute(query).fetchall()
    assert rows == [(f"e-{at}", '{"n":[1.5]}', 7 if at < 2 else 8) for at in range(4)]
