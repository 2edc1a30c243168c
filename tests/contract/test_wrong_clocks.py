"""A clock that was wrong once destroys nothing, and records dated by it are not current."""

import asyncio
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial

import pytest

from jarvis_recorder.errors import StorageUnavailable
from jarvis_recorder.retention_policy import DAY, FUTURE, HOUR, Bounds, RetentionPolicy
from jarvis_recorder.storage.postgres.store import open_store as open_server
from jarvis_recorder.storage.postgres.trusted_time import known_good as server_known_good
from jarvis_recorder.storage.sqlite.store import open_store
from jarvis_recorder.storage.sqlite.trusted_time import known_good as file_known_good
from jarvis_recorder.wire.records import Event, Record, Snapshot, Turn
from jarvis_recorder.wire.rpc.params import (
    LatestSnapshot,
    ListEvents,
    ListIncidents,
    ListSessions,
    ListSnapshots,
    ReopenEvent,
    ReopenIncident,
    ReportUsage,
    ResolveEvent,
    ResolveIncident,
    UnresolvedEvents,
)
from jarvis_recorder.wire.times import LATEST, to_datetime
from jarvis_recorder.wire.topics import Kind
from tests.support.archive import NOW, ask, prune, retention, rows
from tests.support.engines import SQLITE, on_both
from tests.support.incidents import history, settle

YEAR = 366 * DAY


@dataclass
class Clocks:
    """The machine's clock, which may jump, and the monotonic time."""

    wall: int = NOW
    passed_seconds: float = 0.0

    def __call__(self) -> int:
        return self.wall

    def monotonic(self) -> float:
        return self.passed_seconds

    def wait(self, micros: int) -> None:
        self.wall += micros
        self.passed_seconds += micros / 1e6


@pytest.fixture
def clocks():
    return Clocks()


@pytest.fixture
def clock(clocks):
    return clocks


def event(number, at, type_="status"):
    body = Event(type=type_, severity="info", source="monitor", summary=f"event {number}")
    return Record(Kind.EVENT, f"e-{number}", at, False, body, None)


def snapshot(name, at, cluster=""):
    return Record(
        Kind.SNAPSHOT, name, at, False, Snapshot(snapshot={"is": name}, cluster=cluster), None
    )


def turn(name, at):
    body = Turn(session_id=name, role="user", content="hello", tokens_used=10)
    return Record(Kind.TURN, name, at, False, body, None)


def just_started(store, clocks, **bounds):
    """Return the retention of a recorder that has just been started."""
    policy = RetentionPolicy(events={"info": 30})
    return retention(store, clocks, Bounds(policy=policy, **bounds), clocks.monotonic)


async def prune_once(retention):
    await retention._prune(asyncio.Event())


async def count(store):
    ((found,),) = await rows(store, "SELECT count(*) FROM events")
    return found


@pytest.mark.parametrize("jump", [2 * DAY, 40 * DAY, YEAR, 12 * YEAR])
@pytest.mark.parametrize("known", [False, True], ids=["by its rows", "by what it remembers"])
async def test_a_clock_that_jumped_ahead_at_a_start_takes_nothing(
    store, clocks, jump, known, capsys
):
    await store.repository.append([event(n, NOW - n * HOUR) for n in range(29 * 24)], NOW)
    if known:
        await prune_once(just_started(store, clocks))
    clocks.wall += jump
    again = just_started(store, clocks)

    await prune_once(again)
    await store.repository.append([event(10_000, clocks.wall)], clocks.wall)
    clocks.wait(HOUR)
    await prune_once(again)

    assert await count(store) == 29 * 24 + 1
    assert "clock_not_believed" in capsys.readouterr().out


async def test_where_everything_is_kept_no_one_is_told_of_a_clock(store, clocks, capsys):
    await store.repository.append([event(1, NOW)], NOW)
    clocks.wall += YEAR

    await prune_once(retention(store, clocks, Bounds(), clocks.monotonic))

    assert "clock_not_believed" not in capsys.readouterr().out


async def test_what_was_recorded_under_the_wrong_clock_does_not_prove_it(store, clocks):
    await store.repository.append([event(n, NOW - n * HOUR) for n in range(500)], NOW)
    await prune_once(just_started(store, clocks))
    clocks.wall += YEAR
    await store.repository.append([event(10_000, clocks.wall)], clocks.wall)

    for _ in range(3):
        await prune_once(just_started(store, clocks))

    assert await count(store) == 501


async def test_a_clock_that_jumps_while_it_runs_takes_nothing(store, clocks):
    await store.repository.append([event(n, NOW - n * HOUR) for n in range(500)], NOW)
    running = just_started(store, clocks)
    await prune_once(running)
    clocks.wait(HOUR)
    clocks.wall += YEAR

    await prune_once(running)

    assert await count(store) == 500


async def test_a_clock_of_1970_takes_nothing_and_the_right_one_is_believed_again(store, clocks):
    await store.repository.append([event(0, NOW - 31 * DAY), event(1, NOW)], NOW)
    clocks.wall = DAY
    await prune_once(just_started(store, clocks))
    assert await count(store) == 2

    clocks.wall = NOW + HOUR
    await prune_once(just_started(store, clocks))

    assert await count(store) == 1


async def test_a_night_or_a_weekend_without_power_needs_no_one(store, clocks):
    """It prunes as usual after being on for as long as it was off, at most."""
    await store.repository.append([event(n, NOW - n * DAY) for n in range(60)], NOW)
    await prune_once(just_started(store, clocks))
    assert await count(store) == 31
    clocks.wall += 3 * DAY
    running = just_started(store, clocks)

    for _ in range(3 * 24 + 1):
        await prune_once(running)
        clocks.wait(HOUR)
    await prune_once(running)

    # There are no events for six of the thirty days.
    assert await count(store) == 30 - 6


async def test_what_was_recorded_before_the_clock_was_set_does_not_end_pruning(store, clocks):
    """On its first start a machine's clock is at 1970 until the network is up."""
    clocks.wall = HOUR
    running = just_started(store, clocks)
    await store.repository.append([event(1, clocks.wall)], clocks.wall)
    await prune_once(running)
    clocks.wall = NOW
    await store.repository.append([event(2, NOW - 31 * DAY), event(3, NOW)], HOUR)

    await prune_once(running)

    assert await count(store) == 1


async def test_a_machine_that_is_on_for_half_an_hour_a_day_prunes_each_time(store, clocks):
    await store.repository.append([event(n, NOW - n * DAY) for n in range(60)], NOW)
    for _ in range(20):
        await prune_once(just_started(store, clocks))
        clocks.wall += DAY

    # The last start was one day earlier.
    assert await count(store) == 31 - 19


async def test_a_full_budget_says_that_the_clock_may_be_why_and_the_command_lets_it_go_on(
    path, clocks
):
    """Only a budget is set, so that nothing would be pruned by age."""
    long_ago = time.time_ns() // 1_000 - YEAR
    clocks.wall = long_ago + YEAR
    async with open_store(path, clocks) as store:
        records = [event(n, clocks.wall - 2 * DAY + n) for n in range(3_000)]
        await store.repository.append(records, long_ago)
        full = just_started(store, clocks, budget=500_000)
        await full._keep_to_budget(asyncio.Event())
        with pytest.raises(StorageUnavailable, match=r"clock is right.*db prune --yes"):
            await store.repository.append([event(9_999, clocks.wall)], clocks.wall)

    jarvis_prune(f"sqlite:///{path}", "--yes", "--set=store.budget=500000", retention=())

    async with open_store(path, clocks) as store:
        await just_started(store, clocks, budget=500_000)._keep_to_budget(asyncio.Event())
        await store.repository.append([event(9_999, clocks.wall)], clocks.wall)


async def test_a_budget_does_not_take_the_true_last_day_by_a_wrong_clock(sqlite_store, clocks):
    records = [event(n, NOW - (n % 20) * HOUR) for n in range(2_000)]
    await sqlite_store.repository.append(records, NOW)
    clocks.wall += YEAR

    await just_started(sqlite_store, clocks, budget=200_000)._keep_to_budget(asyncio.Event())

    assert await count(sqlite_store) == 2_000


def jarvis_prune(url, *arguments, retention=("--set=retention.info=30",)):
    return subprocess.run(
        [sys.executable, "-m", "jarvis_recorder", "db", "prune", *arguments,
         *retention, f"--set=store.url={url}"],
        check=True, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.fixture
def opened(engine, request, clocks):
    """Opens the test's database; returns its store."""
    if engine == SQLITE:
        return partial(open_store, request.getfixturevalue("path"), clocks)
    return partial(open_server, request.getfixturevalue("postgres_url"), clocks)


@on_both
@pytest.mark.parametrize("number", [0, 700])
async def test_the_command_says_that_the_clock_is_right(opened, engine, clocks, number):
    url = f"sqlite:///{opened.args[0]}" if engine == SQLITE else opened.args[0]
    long_ago = time.time_ns() // 1_000 - YEAR
    clocks.wall = time.time_ns() // 1_000
    async with opened() as store:
        await store.repository.append([event(n, long_ago) for n in range(number)], long_ago)
        await prune_once(just_started(store, clocks))
        assert await count(store) == number

    gone = json.loads(jarvis_prune(url, "--yes", "--json").stdout)["gone"]

    assert gone == ({"events": number} if number else {})
    known_good = file_known_good if engine == SQLITE else server_known_good
    async with opened() as store:
        known = await store.writer.run(known_good)
    assert abs(known - clocks.wall) < HOUR


async def test_a_recorder_that_runs_hears_that_the_clock_is_right(
    postgresql_store, clocks, postgres_url
):
    store, clocks.wall = postgresql_store, time.time_ns() // 1_000
    long_ago = clocks.wall - YEAR
    await store.repository.append([event(n, long_ago) for n in range(700)], long_ago)
    running = just_started(store, clocks)
    await prune_once(running)
    assert await count(store) == 700

    await asyncio.to_thread(
        jarvis_prune, postgres_url, "--yes", retention=("--set=retention.turns=1",)
    )
    await prune_once(running)

    assert await count(store) == 0


@pytest.mark.parametrize("future", [NOW + DAY, NOW + 12 * YEAR, LATEST])
async def test_nothing_of_the_future_is_in_force(store, clocks, future):
    await store.repository.append([snapshot("before", NOW - HOUR), snapshot("future", future)], NOW)
    assert (await ask(store, LatestSnapshot())).snapshot.snapshot == {"is": "before"}

    await store.repository.append([snapshot("after", NOW - 1)], NOW)

    assert (await ask(store, LatestSnapshot())).snapshot.snapshot == {"is": "after"}
    clocks.wall = future
    of_then = {"is": "after" if future == LATEST else "future"}
    assert (await ask(store, LatestSnapshot())).snapshot.snapshot == of_then, "until then"


async def test_a_clock_a_little_ahead_is_in_force(store):
    """Also a clock that takes its local time for UTC."""
    await store.repository.append(
        [snapshot("before", NOW - HOUR), snapshot("ahead", NOW + 14 * HOUR)], NOW
    )

    assert (await ask(store, LatestSnapshot())).snapshot.snapshot == {"is": "ahead"}


async def test_where_all_is_of_the_future_the_last_received_is_in_force(store, clocks):
    """The recorder's own clock is a year behind."""
    clocks.wall = NOW - YEAR
    await store.repository.append([snapshot("later", NOW + HOUR)], clocks.wall)
    await store.repository.append([snapshot("received last", NOW)], clocks.wall)

    assert (await ask(store, LatestSnapshot())).snapshot.snapshot == {"is": "received last"}


async def test_a_clock_that_is_not_set_hides_nothing(store, clocks):
    """It is at 1970 until the network is up."""
    await store.repository.append([event(1, NOW), snapshot("now", NOW), turn("now", NOW)], NOW)
    clocks.wall = HOUR

    assert len((await ask(store, ListEvents())).events) == 1
    assert len((await ask(store, ListSnapshots())).snapshots) == 1
    assert len((await ask(store, ListSessions())).sessions) == 1
    assert (await ask(store, LatestSnapshot())).snapshot.snapshot == {"is": "now"}


async def test_what_is_of_the_future_is_first_in_no_list_and_never_of_the_last_hour(store):
    far = NOW + YEAR
    await store.repository.append(
        [
            event(1, far, "alert"), event(2, NOW - 2 * HOUR), event(3, NOW),
            snapshot("far", far), snapshot("now", NOW),
            turn("far", far), turn("now", NOW),
        ],
        NOW,
    )  # fmt: skip
    hour_ago = to_datetime(NOW - HOUR)

    def summaries(page):
        return [one.summary for one in page.events]

    assert summaries(await ask(store, ListEvents())) == ["event 3", "event 2"]
    assert summaries(await ask(store, ListEvents(since=hour_ago))) == ["event 3"]
    ends = to_datetime(far + FUTURE)
    assert summaries(await ask(store, ListEvents(until=ends)))[0] == "event 1"
    assert summaries(await ask(store, UnresolvedEvents()))[0] == "event 1", "an alert stays one"
    assert len((await ask(store, ListSnapshots())).snapshots) == 1
    assert [one.session_id for one in (await ask(store, ListSessions())).sessions] == ["now"]
    assert (await ask(store, ReportUsage(since=hour_ago))).total.tokens_used == 10


async def test_what_is_dated_in_the_future_is_as_old_as_its_recording(store, clocks):
    """A publisher's clock was a year ahead: it would be kept for a year longer."""
    long_ago, lately, ahead = NOW - 31 * DAY, NOW - 29 * DAY, NOW + YEAR
    for recorded_at, name in ((long_ago, "old"), (lately, "new")):
        records = [
            event(name, ahead + recorded_at - NOW),
            event(f"{name}-alert", ahead, "alert"),
            turn(name, ahead + recorded_at - NOW),
            nodes(name, ahead + recorded_at - NOW),
        ]
        await store.repository.append(records, recorded_at)
    policy = RetentionPolicy(events={"info": 30}, turns=30, snapshots=30)

    gone = await prune(store, policy, NOW)

    assert gone == {"events": 1, "conversations": 1, "cluster_snapshots": 1}
    left = await rows(store, "SELECT summary FROM events ORDER BY summary")
    assert left == [("event new",), ("event new-alert",), ("event old-alert",)]
    assert await rows(store, "SELECT session_id FROM conversations") == [("new",)]
    assert len(await rows(store, "SELECT start FROM snapshot_measures")) == 1


async def test_snapshots_of_the_future_are_thinned_and_one_of_each_cluster_stays(store):
    recorded_at = NOW - 31 * DAY
    for cluster in ("home", "lab"):
        records = [snapshot(f"{cluster}{n}", NOW + YEAR + n, cluster) for n in range(1_200)]
        await store.repository.append(records, recorded_at)

    await prune(store, RetentionPolicy(snapshots_daily_after=30), NOW)

    left = "SELECT cluster, count(*) FROM cluster_snapshots GROUP BY cluster ORDER BY cluster"
    assert await rows(store, left) == [("home", 1), ("lab", 1)]


async def test_a_budget_full_of_the_future_goes_on(path, clocks):
    async with open_store(path, clocks) as store:
        await store.repository.append([event(0, NOW)], NOW)
        await prune_once(just_started(store, clocks))
        records = [event(n, NOW + YEAR + n) for n in range(1, 3_000)]
        await store.repository.append(records, NOW - 2 * DAY)
        full = just_started(store, clocks, budget=500_000)
        await full._keep_to_budget(asyncio.Event())

        await store.repository.append([event(9_999, NOW)], NOW)


def nodes(name, at):
    body = Snapshot(snapshot={"nodes": [{"name": "pve1", "status": "online", "cpu": 0.5}]})
    return Record(Kind.SNAPSHOT, name, at, False, body, None)


async def test_the_newest_snapshot_of_the_present_stays_whatever_comes_from_the_future(store):
    await store.repository.append(
        [
            snapshot("older", NOW - 400 * DAY),
            snapshot("newest", NOW - 399 * DAY),
            snapshot("future", NOW + YEAR),
        ],
        NOW,
    )

    await prune(store, RetentionPolicy(snapshots=30), NOW)

    assert (await ask(store, LatestSnapshot())).snapshot.snapshot == {"is": "newest"}
    assert (await ask(store, ListSnapshots())).snapshots[0].timestamp == to_datetime(
        NOW - 399 * DAY
    )


@pytest.fixture
async def watched(store, clocks):
    """A store whose clock was right when it last pruned, and is a year ahead by now."""
    await store.repository.append([event(0, NOW)], NOW)
    await prune_once(just_started(store, clocks))
    await keep(store, clocks, alert("down", "NODE_DOWN"))
    clocks.wall += YEAR
    return store


def alert(name, tag, at=None, type_="alert"):
    """Return an event about a node; without a time of its own it has that of its recording."""
    body = Event(
        type=type_, severity="critical", source="monitor", node="pve1", summary=f"{tag}: pve1"
    )
    return name, at, body


async def keep(store, clocks, *found):
    """Record events, and fold them."""
    records = [
        Record(Kind.EVENT, name, clocks.wall if at is None else at, at is None, body, None)
        for name, at, body in found
    ]
    await store.repository.append(records, clocks.wall)
    await settle(store)


async def the_incident(store):
    (incident,) = (await ask(store, ListIncidents())).incidents
    return incident


async def announced(store):
    return [one.routing_key for one in await store.outbox.waiting(1_000)]


async def test_an_incident_resolved_by_a_clock_ahead_opens_again_with_the_next_alert(
    watched, clocks
):
    await ask(watched, ResolveIncident(key="pve1/NODE_DOWN"))
    clocks.wall = NOW + HOUR
    told = await announced(watched)

    await keep(watched, clocks, alert("down again", "NODE_DOWN"))

    incident = await the_incident(watched)
    assert (incident.state, incident.count) == ("open", 2)
    told_now = (await announced(watched))[len(told) :]
    story = (await history(watched)).transitions
    assert told_now == ["recorder.incident.opened"]
    assert [one.state for one in story] == ["open", "resolved", "open"]


@pytest.mark.parametrize("by_event", [False, True])
async def test_what_people_did_by_a_clock_ahead_keeps_its_order(watched, clocks, by_event):
    closed, opened = (
        (ResolveEvent(id=2), ReopenEvent(id=2))
        if by_event
        else (ResolveIncident(key="pve1/NODE_DOWN"), ReopenIncident(key="pve1/NODE_DOWN"))
    )
    await ask(watched, opened)
    await ask(watched, closed)
    clocks.wall += HOUR
    await ask(watched, opened)
    await settle(watched)
    assert (await the_incident(watched)).state == "open"
    clocks.wall = NOW + HOUR

    await keep(watched, clocks, alert("up", "NODE_UP", type_="status"))

    incident = await the_incident(watched)
    assert (incident.state, incident.recovered_at) == ("recovered", to_datetime(NOW + HOUR))


async def test_an_event_resolved_by_a_clock_ahead_closes_no_later_alert(watched, clocks):
    await ask(watched, ResolveEvent(id=2))
    await settle(watched)
    clocks.wall = NOW + HOUR

    await keep(watched, clocks, alert("down again", "NODE_DOWN"))

    incident = await the_incident(watched)
    assert (incident.state, incident.count) == ("open", 2)


async def test_an_alert_recorded_by_a_clock_ahead_ends_with_the_next_recovery(watched, clocks):
    """The alert has no time of its own."""
    await keep(watched, clocks, alert("down again", "NODE_DOWN"))
    await ask(watched, ResolveEvent(id=3))
    await ask(watched, ReopenEvent(id=3))
    await settle(watched)
    clocks.wall = NOW + HOUR

    await keep(watched, clocks, alert("up", "NODE_UP", type_="status"))

    incident = await the_incident(watched)
    assert (incident.state, incident.count) == ("recovered", 2)
    assert incident.last_at < incident.recovered_at == to_datetime(NOW + HOUR)


async def test_a_snapshot_ends_what_a_clock_ahead_has_dated(watched, clocks):
    await keep(watched, clocks, alert("down again", "NODE_DOWN"))
    clocks.wall = NOW + HOUR
    shown = Snapshot(snapshot={"nodes": [{"name": "pve1", "status": "online"}]})
    await watched.incidents.step()
    at = clocks.wall + 1
    await watched.repository.append([Record(Kind.SNAPSHOT, "s", at, False, shown, None)], at)
    await settle(watched)

    assert (await the_incident(watched)).state == "recovered"


async def test_a_clock_that_is_behind_changes_no_time_of_an_incident(watched, clocks):
    """A battery is empty: the machine is at last year until the network is up."""
    clocks.wall = NOW + HOUR
    await prune_once(just_started(watched, clocks))
    await ask(watched, ResolveIncident(key="pve1/NODE_DOWN"))
    clocks.wall = NOW - YEAR

    await keep(watched, clocks, alert("down again", "NODE_DOWN"))

    assert (await history(watched)).incident.resolved_at == to_datetime(NOW + HOUR)
