"""The requests that the options of a command make, and the output of their results."""

import contextlib
import json
import re
import shlex
import sys
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

import pytest

from jarvis_recorder import cli
from jarvis_recorder.cli import rpc, time_options
from jarvis_recorder.cli.rpc import in_words_of_commands
from jarvis_recorder.errors import (
    BrokerUnavailable,
    Conflict,
    DeadlineExceeded,
    NotFound,
    ProtocolError,
    RecorderError,
    ReplyTimeout,
    ResultTooLarge,
)
from jarvis_recorder.runtime import logging
from jarvis_recorder.wire.rpc import params, results
from jarvis_recorder.wire.rpc.methods import METHODS
from tests.unit.test_views import AT, EVENT, RESOLVED, SNAPSHOT, TURN

FOUND = results.FoundTurn(TURN, "a word", [(0, 1)])
URL = "--set=broker.url=amqp://monitor:geheim@broker/"


class Ended(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


class Recorder:
    """A client that answers each request with the next of `answers`, and remembers the requests."""

    def __init__(self):
        self.asked = []
        self.answers = []

    async def ask(self, question):
        self.asked.append(question)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def recorder(monkeypatch):
    recorder = Recorder()

    @asynccontextmanager
    async def connected(options):
        recorder.options = options
        yield recorder

    monkeypatch.setattr(rpc, "connected", connected)
    # It is the whole process's, and other tests read what is logged.
    monkeypatch.setattr(logging, "configure", lambda *_: None)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield recorder
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def jarvis(recorder, monkeypatch, capsys):
    def run(*arguments, answer=()):
        recorder.answers[:] = answer if isinstance(answer, list) else [answer]
        monkeypatch.setattr(sys, "argv", ["jarvis-recorder", *map(str, arguments), URL])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return Ended(ended.value.code, *capsys.readouterr())

    return run


NO_EVENTS = results.EventPage([], None)
NONE = results.Extent(0, None, None)
NO_TIMELINE = results.Timeline(AT, AT, AT, None, [], [], truncated=False)


def test_options_become_a_request(jarvis, recorder):
    ended = jarvis(
        "query", "events", "--type=alert", "--severity=critical", "--source=monitor",
        "--node=pve1", "--unresolved", "--since=2026-11-23T08:00:00Z", "--until=2026-11-24",
        "--text=NODE_DOWN", "--limit=7", "--timeout=1.5", answer=NO_EVENTS,
    )  # fmt: skip

    assert ended.returncode == 0, ended.stderr
    (asked,) = recorder.asked
    assert asked.until.astimezone().isoformat().startswith("2026-11-24T00:00:00")
    assert asked == params.ListEvents(
        type="alert", severity="critical", source="monitor", node="pve1", resolved=False,
        since=datetime(2026, 11, 23, 8, tzinfo=UTC), until=asked.until, text="NODE_DOWN", limit=7,
    )  # fmt: skip
    assert recorder.options == rpc.RequestOptions(
        "amqp://monitor:geheim@broker/", 1.5, as_json=False
    )


@pytest.mark.parametrize(
    ("command", "question", "answer"),
    [
        (
            "query histogram --since 2026-11-23 --until 2026-11-24 --bucket 5m --type alert",
            params.EventHistogram(
                since=AT.replace(hour=0),
                until=AT.replace(hour=0) + timedelta(days=1),
                bucket_seconds=300,
                type="alert",
            ),
            results.Histogram(300, [results.Bucket(AT, 1, {})]),
        ),
        ("query event 12", params.GetEvent(id=12), results.OneEvent(EVENT)),
        (
            "query events --unresolved --cluster home --min-severity error",
            params.ListEvents(type="alert", resolved=False, cluster="home", min_severity="error"),
            NO_EVENTS,
        ),
        (
            "query events --type alert --type action --node a --node b --exclude source:user",
            params.ListEvents(type=["alert", "action"], node=["a", "b"], exclude="source:user"),
            NO_EVENTS,
        ),
        (
            "query matrix 2026-11-23 2026-11-24 --buckets 2",
            params.EventMatrix(
                since=AT.replace(hour=0), until=AT.replace(hour=0) + timedelta(days=1), buckets=2
            ),
            results.Matrix(
                [results.MatrixNode("pve1", "home", [results.Cell("error", 2)] * 2)], 43_200
            ),
        ),
        (
            "query diff 2026-11-23 2026-11-24 --tolerance 0.1",
            params.DiffSnapshots(
                from_=AT.replace(hour=0), to=AT.replace(hour=0) + timedelta(days=1), tolerance=0.1
            ),
            results.SnapshotDifferences(
                [results.ValueAt(["vms", {"vmid": 1}], {"vmid": 1})],
                [],
                [results.Change(["a", 0], 1, 2)],
                results.SnapshotHead(1, "home", AT, 5),
                results.SnapshotHead(2, "home", AT, 5),
            ),
        ),
        (
            "query series node pve1 cpu mem 2026-11-23 2026-11-24 --points 9",
            params.MeasureSeries(
                kind="node",
                name="pve1",
                measures=["cpu", "mem"],
                since=AT.replace(hour=0),
                until=AT.replace(hour=0) + timedelta(days=1),
                points=9,
            ),
            results.Series([results.Point(AT, cpu=results.Extremes(0.1, 0.2, 0.3))], 9_600),
        ),
        (
            "query forecast storage ceph used --limit 100",
            params.ForecastMeasure(kind="storage", name="ceph", measure="used", limit=100),
            results.Forecast(True, 2.0, 76.0, 100.0, AT, AT, None),
        ),
        ("query events --unresolved --type any", params.ListEvents(resolved=False), NO_EVENTS),
        (
            "query events --unresolved --type metric",
            params.ListEvents(type="metric", resolved=False),
            NO_EVENTS,
        ),
        ("query events --resolved", params.ListEvents(resolved=True), NO_EVENTS),
        (
            "query turns s-1 --newest --around 7",
            params.ListTurns(session_id="s-1", order="newest", around=7),
            results.TurnPage([TURN], None),
        ),
        ("query turns s-1", params.ListTurns(session_id="s-1"), results.TurnPage([TURN], None)),
        (
            "query search power supply --session s-1 --limit 3",
            params.SearchTurns(query="power supply", session_id="s-1", limit=3),
            results.FoundTurns([]),
        ),
        ("query snapshot", params.LatestSnapshot(), results.OneSnapshot(SNAPSHOT)),
        (
            "query snapshot --at 2026-11-23T08:00:00Z --cluster home",
            params.SnapshotAt(timestamp=AT, cluster="home"),
            results.OneSnapshot(SNAPSHOT),
        ),
        (
            "query timeline 2026-11-23T08:00:00Z --window 30m --node pve1 --cluster lab",
            params.TimelineAround(timestamp=AT, window_seconds=1_800, node="pve1", cluster="lab"),
            NO_TIMELINE,
        ),
        (
            "query histogram --since 2026-11-23T08:00:00Z --until 2026-11-23T09:00:00Z --by=node",
            params.EventHistogram(since=AT, until=AT + timedelta(hours=1), by="node"),
            results.Histogram(300, [results.Bucket(AT, 1, {"pve1": 1})]),
        ),
        (
            "query usage --since 2026-11-23T08:00:00Z --by day --cluster lab",
            params.ReportUsage(since=AT, by="day", cluster="lab"),
            results.UsageReport([], results.Usage(None, 0, 0, 0, 0, 0)),
        ),
        (
            "prefs list --prefix voice.",
            params.ListPreferences(prefix="voice."),
            results.PreferencePage([], None),
        ),
        (
            "prefs set a b --expected-version 0",
            params.SetPreference(key="a", value="b", expected_version=0),
            results.OnePreference(results.Preference("a", "b", AT, None, 1)),
        ),
        ("prefs delete a", params.DeletePreference(key="a"), results.Deleted(1)),
        (
            "resolve 77 --by alice",
            params.ResolveEvent(id=77, resolved_by="alice"),
            results.OneEvent(RESOLVED),
        ),
        ("resolve 77", params.ResolveEvent(id=77), results.OneEvent(RESOLVED)),
        ("reopen 77", params.ReopenEvent(id=77), results.OneEvent(EVENT)),
    ],
)
def test_every_command_asks_its_request(jarvis, recorder, command, question, answer):
    ended = jarvis(*command.split(), answer=answer)

    assert (ended.returncode, recorder.asked) == (0, [question])
    assert ended.stdout + ended.stderr


@pytest.mark.parametrize(
    "command",
    [
        "query events --severity dreadful",
        "query events --exclude type:rumour",
        "query matrix today yesterday",
        "query events --limit 0",
        "query events --limit 5 --all",
        "query events --since 2x",
        "query events --text=",
        "query event 0",
        "query event first",
        "query timeline",
        "query timeline soon",
        "query timeline now --window 2d",
        "query histogram --since 5m --until 10m",
        "query events --since today --until yesterday",
        "query sessions --since 2026-11-24 --until 2026-11-23",
        "query snapshots --since 1h --until 2h",
        "query usage --since 2026-11-24 --until 2026-11-23",
        "query histogram --since 30d --bucket 1s",
        "query search",
        "query usage --by week",
        "query events --timeout 0",
        "prefs set key",
        "prefs get",
        "resolve",
        "reopen",
        "reopen 0",
        "tail --kind rumour",
        "tail --kind turn --severity error",
    ],
)
def test_wrong_usage_ends_with_2_and_asks_nothing(jarvis, recorder, command):
    ended = jarvis(*command.split())

    assert ended.returncode == 2
    assert "Usage:" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert recorder.asked == []


NO_USAGE = results.UsageReport([], results.Usage(None, 0, 0, 0, 0, 0))


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("query histogram", results.Histogram(300, [results.Bucket(AT, 1, {})])),
        ("query usage", NO_USAGE),
    ],
)
def test_a_stretch_that_would_begin_before_the_calendar_begins_with_it(
    jarvis, recorder, command, answer
):
    ended = jarvis(*command.split(), "--until=0001-01-01T12:00:00Z", answer=answer)

    assert ended.returncode == 0, ended.stderr
    assert recorder.asked[0].since == datetime(1, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("command", "machine", "asked"),
    [
        ("query usage --by day", "Europe/Berlin", "Europe/Berlin"),
        ("query usage --by day", ":Asia/Kolkata", "Asia/Kolkata"),
        ("query usage --by day", "XYZ-5:30", "+0530"),
        ("query usage --by day", "UTC", None),
        ("query usage --by day --time-zone UTC", "Europe/Berlin", "UTC"),
        ("query usage --by day --json", "Europe/Berlin", None),
        ("query usage --by model", "Europe/Berlin", None),
    ],
)
def test_days_are_those_of_the_machine_but_for_scripts(
    jarvis, recorder, monkeypatch, command, machine, asked
):
    monkeypatch.setenv("TZ", machine)
    time.tzset()

    ended = jarvis(*command.split(), answer=NO_USAGE)

    assert ended.returncode == 0, ended.stderr
    assert recorder.asked[0].time_zone == asked


def test_a_histogram_of_days_is_one_of_local_days(jarvis, recorder, monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()

    jarvis("query", "histogram", answer=results.Histogram(300, [results.Bucket(AT, 1, {})]))

    assert recorder.asked[0].time_zone == "Europe/Berlin"


@pytest.mark.parametrize(("machine", "asked"), [("", None), (":", None), (None, "Europe/Berlin")])
def test_an_empty_time_zone_is_utc_and_none_is_that_of_the_machine(
    jarvis, recorder, monkeypatch, machine, asked
):
    monkeypatch.setattr(time_options, "realpath", lambda _: "/usr/share/zoneinfo/Europe/Berlin")
    monkeypatch.delenv("TZ")
    if machine is not None:
        monkeypatch.setenv("TZ", machine)
    time.tzset()

    jarvis("query", "usage", "--by", "day", answer=NO_USAGE)

    assert recorder.asked[0].time_zone == asked


def test_a_time_zone_that_is_a_circle_of_links_is_none(jarvis, recorder, monkeypatch, tmp_path):
    circle = tmp_path / "localtime"
    circle.symlink_to(circle)
    monkeypatch.setenv("TZ", str(circle))
    time.tzset()

    ended = jarvis("query", "usage", "--by", "day", answer=NO_USAGE)

    assert ended.returncode == 0, ended.stderr
    assert recorder.asked[0].time_zone is None


@pytest.mark.parametrize("colon", ["", ":"])
def test_a_time_zone_may_be_given_as_a_file(jarvis, recorder, monkeypatch, tmp_path, colon):
    """As Debian has it: the file is a link to the zone, and its days know daylight saving."""
    for number, zone in enumerate(("Europe/Berlin", "posix/Europe/Berlin")):
        link = tmp_path / f"localtime{number}"
        link.symlink_to(tmp_path / "zoneinfo" / zone)
        monkeypatch.setenv("TZ", f"{colon}{link}")
        jarvis("query", "usage", "--by", "day", answer=NO_USAGE)

    monkeypatch.setenv("TZ", f"{colon}{tmp_path}/zoneinfo/Asia/Kolkata")
    jarvis("query", "usage", "--by", "day", answer=NO_USAGE)

    assert [one.time_zone for one in recorder.asked] == [
        "Europe/Berlin", "Europe/Berlin", "Asia/Kolkata",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("zone", "first", "shown"),
    [
        ("UTC", "2026-11-22T00:00:00Z", "2026-11-22 00:00:00"),
        ("Z", "2026-11-22T00:00:00Z", "2026-11-22 00:00:00"),
        ("Asia/Kolkata", "2026-11-21T18:30:00Z", "2026-11-22 00:00:00"),
        ("+0530", "2026-11-21T18:30:00Z", "2026-11-22 00:00:00"),
        ("-3", "2026-11-22T03:00:00Z", "2026-11-22 00:00:00"),
        (None, "2026-11-22T05:00:00Z", "2026-11-22 00:00:00"),
        # The recorder may know one that this machine does not.
        ("Mars/Olympus", "2026-11-21T18:30:00Z", "2026-11-21 18:30:00"),
        ("+99", "2026-11-21T18:30:00Z", "2026-11-21 18:30:00"),
    ],
)
def test_a_day_of_a_histogram_has_its_date_in_the_zone_asked_for(
    jarvis, monkeypatch, zone, first, shown
):
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    start = datetime.fromisoformat(first)
    buckets = [results.Bucket(start + timedelta(days=at), 1, {}) for at in range(2)]
    option = () if zone is None else (f"--time-zone={zone}",)

    ended = jarvis(
        "query", "histogram", "--since=3d", "--bucket=1d", *option,
        answer=results.Histogram(86_400, buckets),
    )  # fmt: skip

    _, line, _ = ended.stdout.splitlines()
    assert line.startswith(f"{shown}  1")


SILENCED = results.OneSilence(results.Silence(None, "pve3", None, None, AT, AT, None, None))


def test_a_silence_ends_a_while_from_now(jarvis, recorder):
    began = datetime.now(UTC)
    ended = jarvis("incidents", "silence", "4h", "--node=pve3", "--since=1h", answer=SILENCED)

    assert ended.returncode == 0, ended.stderr
    (asked,) = recorder.asked
    assert timedelta(0) <= asked.until - began - timedelta(hours=4) < timedelta(minutes=1)
    assert timedelta(0) <= asked.since - began - timedelta(hours=1) < timedelta(minutes=1)


def test_a_silence_ends_at_the_next_such_time_of_day_or_now(jarvis, recorder):
    began = datetime.now(UTC)
    jarvis("incidents", "silence", "22:00", "--node=pve3", answer=SILENCED)
    jarvis("incidents", "silence", "now", "--node=pve3", answer=SILENCED)

    later, now = (asked.until for asked in recorder.asked)
    assert (later.hour, later.minute) == (22, 0)
    assert timedelta(0) < later - began <= timedelta(days=1, minutes=1)
    assert timedelta(0) <= now - began < timedelta(minutes=1)


def test_incidents_of_several_nodes_and_kinds_are_listed(jarvis, recorder):
    answer = results.IncidentPage([], None, 0)
    ended = jarvis(
        "incidents", "list", "--node=pve1", "--node=pve2", "--kind=NODE_DOWN", answer=answer
    )

    assert ended.returncode == 0, ended.stderr
    (asked,) = recorder.asked
    assert asked == params.ListIncidents(node=["pve1", "pve2"], kind=["NODE_DOWN"])


def test_that_incidents_are_being_made_again_is_said_and_not_that_there_is_none(jarvis):
    meanwhile = jarvis(
        "incidents", "list", answer=results.IncidentPage([], None, 0, complete=False)
    )
    after = jarvis("incidents", "list", answer=results.IncidentPage([], None, 0))

    assert "being made again" in meanwhile.stderr
    assert "There is none" not in meanwhile.stderr
    assert after.stderr == "There is none that fits.\n"


@pytest.mark.parametrize("until", ["yesterday", "2026-01-26T10:00:00Z", "2026-01-26 10:00"])
def test_a_silence_that_has_ended_is_wrong_usage(jarvis, recorder, until):
    ended = jarvis("incidents", "silence", until, "--node=pve3")

    assert (ended.returncode, recorder.asked) == (2, [])
    assert "from now on" in " ".join(ended.stderr.replace("│", "").split())


@pytest.mark.long
@pytest.mark.parametrize(
    "method", [one for one in METHODS if one.words()], ids=lambda one: one.name
)
def test_a_command_is_helped_by_an_example_that_it_takes(jarvis, recorder, method):
    helped = jarvis(*method.words().split(), "--help").stdout
    found = re.search(
        r"Examples?: (jarvis-recorder .*?)(?:\. |, jarvis|\.? ?$)", " ".join(helped.split())
    )
    typed = shlex.split(found[1])[1:]

    ended = jarvis(*typed, answer=RecorderError("asked"))

    assert len(recorder.asked) == 1, (typed, ended.stderr)


@pytest.mark.parametrize(
    ("command", "example"),
    [
        ("query snapshots", "query snapshots --cluster home --since 7d. TIME is 30m"),
        ("query matrix", "query matrix 7d now --buckets 2"),
        ("query diff", "query diff 7d now"),
        ("incidents silence", "incidents silence 4h"),
    ],
)
def test_times_in_an_example_are_written_as_people_write_them(jarvis, command, example):
    assert example in " ".join(jarvis(*command.split(), "--help").stdout.split())


@pytest.mark.parametrize(
    ("command", "exit_code"),
    [("reopen", "no such event."), ("incidents get", "no such incident."), ("query stats", None)],
)
def test_the_help_of_what_names_one_says_how_it_ends_without_it(jarvis, command, exit_code):
    helped = " ".join(jarvis(*command.split(), "--help").stdout.split())

    assert (f"Exit code 1 if there is {exit_code}" in helped) is (exit_code is not None)


def test_the_commands_of_a_group_have_the_order_of_the_methods(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["jarvis-recorder", "query", "--help"])
    with pytest.raises(SystemExit):
        cli.main()

    names = re.findall(r"^[│ ] *([a-z]+)  +[A-Z]", capsys.readouterr().out, re.MULTILINE)
    assert names[:4] == ["events", "event", "histogram", "matrix"]
    assert names[-1] == "stats"


@pytest.mark.parametrize("command", ["query events", "query sessions", "query snapshots"])
def test_a_since_after_its_until_is_said_to_be(jarvis, command):
    ended = jarvis(*command.split(), "--since=2026-11-24T00:00:00Z", "--until=2026-11-23T00:00:00Z")

    said = " ".join(ended.stderr.replace("│", " ").split())
    assert "--since (2026-11-24T00:00:00.000000Z) is later than --until (2026-11-23T00:" in said


def test_more_than_a_page_is_asked_for_page_by_page(jarvis, recorder):
    pages = [
        results.EventPage([EVENT] * 1_000, "one"),
        results.EventPage([], "two"),
        results.EventPage([EVENT] * 200, "three"),
    ]

    ended = jarvis("query", "events", "--limit=1200", answer=pages)

    assert [(one.limit, one.cursor) for one in recorder.asked] == [
        (1_000, None), (200, "one"), (200, "two"),
    ]  # fmt: skip
    assert len(ended.stdout.splitlines()) == 1 + 1_200
    assert "1,200 shown; there may be more: --limit, --all" in ended.stderr


def test_all_pages_are_one_json_document(jarvis, recorder):
    pages = [
        results.EventPage([], "one"),
        results.EventPage([EVENT], "two"),
        results.EventPage([RESOLVED], None),
    ]

    ended = jarvis("query", "events", "--all", "--json", answer=pages)

    document = json.loads(ended.stdout)
    assert [one["id"] for one in document["events"]] == [1204, 77]
    assert document["next_cursor"] is None
    assert [one.limit for one in recorder.asked] == [1_000] * 3


@pytest.mark.parametrize(
    ("command", "answer", "tried"),
    [
        ("query events", NO_EVENTS, "earlier --since"),
        ("query sessions", results.SessionPage([], None), "earlier --since"),
        ("query turns s-9", results.TurnPage([], None), "query sessions"),
        ("query search x", results.FoundTurns([]), "fewer of them"),
        ("query snapshots", results.SnapshotPage([], None), "earlier --since"),
        ("prefs list", results.PreferencePage([], None), "prefs set KEY VALUE"),
        ("prefs list --prefix x", results.PreferencePage([], None), "begins with 'x'"),
    ],
)
def test_nothing_is_said_to_be_nothing_and_what_to_try(jarvis, command, answer, tried):
    ended = jarvis(*command.split(), answer=answer)
    document = jarvis(*command.split(), "--json", answer=answer)

    assert (ended.returncode, ended.stdout) == (0, "")
    assert tried in ended.stderr
    (items,) = (value for value in json.loads(document.stdout).values() if value is not None)
    assert items == []
    assert document.stderr == ""


def test_all_pages_are_lines_of_json(jarvis, recorder):
    pages = [
        results.EventPage([EVENT], "more"),
        results.EventPage([], "and more"),
        results.EventPage([RESOLVED], None),
    ]

    ended = jarvis("query", "events", "--all", "--jsonl", answer=pages)

    assert [json.loads(line)["id"] for line in ended.stdout.splitlines()] == [1204, 77]
    assert ended.stderr == ""


def test_lines_of_json_that_are_not_all_say_so_elsewhere(jarvis):
    page = results.EventPage([EVENT], "more")

    ended = jarvis("query", "events", "--limit", "1", "--jsonl", answer=page)

    assert len(ended.stdout.splitlines()) == 1
    assert "there may be more" in ended.stderr


def test_a_timeline_has_the_changes_between_its_ends(jarvis, recorder):
    head = results.SnapshotHead(1, "home", AT, 5)
    changes = results.SnapshotDifferences(
        [], [], [results.Change(["nodes", {"name": "pve1"}, "status"], "online", "offline")],
        head, head,
    )  # fmt: skip
    around = results.Timeline(
        AT, AT - timedelta(minutes=5), AT + timedelta(minutes=5), SNAPSHOT, [EVENT], [],
        truncated=False,
    )  # fmt: skip

    ended = jarvis("query", "timeline", "2026-11-23T08:00:00Z", answer=[around, changes])
    without = jarvis("query", "timeline", "now", answer=[around, NotFound("none so old")])

    assert recorder.asked[1] == params.DiffSnapshots(
        from_=around.since, to=around.until, cluster="home", tolerance=1.0
    )
    assert '~ nodes pve1 status: "online" → "offline"' in ended.stdout
    assert (without.returncode, "→" in without.stdout) == (0, False)


@pytest.mark.parametrize(
    "error",
    [
        ResultTooLarge("snapshots.diff: more than 8 MiB"),
        DeadlineExceeded("snapshots.diff: too late"),
        ReplyTimeout("snapshots.diff: no answer"),
        ProtocolError("snapshots.diff: there is no such method"),
        BrokerUnavailable("snapshots.diff: the connection is lost"),
    ],
)
def test_a_timeline_is_shown_also_where_its_ends_cannot_be_compared(jarvis, error):
    around = results.Timeline(AT, AT, AT, SNAPSHOT, [EVENT], [], truncated=False)

    ended = jarvis("query", "timeline", "2026-11-23T08:00:00Z", answer=[around, error])

    assert ended.returncode == 0
    assert EVENT.summary in ended.stdout
    assert ended.stderr == f"not compared: {error}\n".replace("snapshots.diff", "query diff")


@pytest.mark.parametrize(
    ("typed", "answer", "offered"),
    [
        (
            "query events --node pv",
            results.Matrix(
                [
                    results.MatrixNode("pve1", "home", []),
                    results.MatrixNode("vault", "home", []),
                    results.MatrixNode(None, None, []),
                ],
                60,
            ),
            ["pve1"],
        ),
        (
            "query matrix --cluster ",
            results.Stats(
                results.Holdings(NONE, NONE, NONE, 0, 0, 0, "0007", ["", "home", "lab"]),
                results.Activity("1", "recording", AT, 0, 0, 0, 0, 0),
            ),
            ["home", "lab"],
        ),
        (
            "query turns s-",
            results.SessionPage(
                [
                    results.Session("s-1", AT, AT, 1, "Is it down?"),
                    results.Session("t-1", AT, AT, 1),
                ],
                None,
            ),
            ["s-1"],
        ),
        ("query turns s-", ReplyTimeout("no answer"), []),
    ],
)
def test_the_shell_completes_what_the_recorder_knows(complete, typed, answer, offered):
    shown = complete("bash", typed, answer)

    assert (shown.out.split(), shown.err) == (offered, "")


@pytest.fixture
def complete(recorder, monkeypatch, capsys):
    """Return what the completion of a shell prints when Tab is pressed after what is typed."""

    def complete(shell, typed, answer):
        recorder.answers = [answer]
        words = f"jarvis-recorder {typed}".split(" ")
        monkeypatch.setenv("_JARVIS_RECORDER_COMPLETE", f"complete_{shell}")
        monkeypatch.setenv("COMP_WORDS", " ".join(words))
        monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
        monkeypatch.setenv("_TYPER_COMPLETE_ARGS", " ".join(words))
        monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
        with pytest.raises(SystemExit):
            cli._application()([], prog_name="jarvis-recorder")
        return capsys.readouterr()

    return complete


HOSTILE = [
    r"\$(touch /tmp/x)", "$(id)", "`id`", "a;id", "a|id", "a&", "a>b", "a b", "a\nb", "a'b", 'a"b',
    "a\\", "~root", "*", "{a,b}", "(id)", "[a]", "!!", "#a", "=ls", "--config=/tmp/x", "\x1b[2J", "",
]  # fmt: skip
HARMLESS = ["pve1", "node.example.org", "signal:group-7", "büro_2", "user@host", "a/b+c=1,2"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize(
    ("typed", "answer_with"),
    [
        (
            "query events --node ",
            lambda values: results.Matrix(
                [results.MatrixNode(one, "$(id)", []) for one in values], 60
            ),
        ),
        (
            "query matrix --cluster ",
            lambda values: results.Stats(
                results.Holdings(NONE, NONE, NONE, 0, 0, 0, "0007", values),
                results.Activity("1", "recording", AT, 0, 0, 0, 0, 0),
            ),
        ),
        (
            "query turns ",
            lambda values: results.SessionPage(
                [results.Session(one, AT, AT, 1, r"\$(id) `id`") for one in values], None
            ),
        ),
    ],
)
def test_a_shell_is_offered_nothing_that_it_would_act_on(complete, shell, typed, answer_with):
    """The completion of zsh evaluates what is printed, and any publisher names a node."""
    hostile = complete(shell, typed, answer_with(HOSTILE))
    both = complete(shell, typed, answer_with([*HOSTILE, *HARMLESS]))
    alone = complete(shell, typed, answer_with(HARMLESS))

    assert hostile.out.strip() in ("", "_files")
    assert both == alone
    offered = alone.out.replace(r"\\:", ":")
    assert [one for one in HARMLESS if one not in offered] == []
    assert [one for one in "$`([" if one in offered.removeprefix("_arguments '*: :((")] == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_title_of_any_characters_is_a_help(complete, shell):
    titles = [
        "What is in [/etc/hosts]?",
        r"\$(touch /tmp/x)",
        "[red]",
        "a\n'\"b",
        "Größe, 2.5 - ok",
        None,
    ]
    sessions = [results.Session(f"s-{at}", AT, AT, 1, title) for at, title in enumerate(titles)]

    shown = complete(shell, "query turns ", results.SessionPage(sessions, None))

    assert shown.err == ""
    assert [one for one in sessions if one.session_id not in shown.out] == []
    if shell != "bash":
        helps = ["What is in etc hosts", "touch tmp x", "red", "a b", "Größe, 2.5 - ok"]
        assert [one for one in helps if one not in shown.out] == []
    assert [one for one in "$`\\[/" if one in shown.out] == []


def test_json_is_the_answer_and_nothing_else(jarvis):
    nasty = results.Preference("k", "\x1b[2J \u202e \x9b ä\n", AT, None, 3)

    ended = jarvis("prefs", "get", "k", "--json", answer=results.OnePreference(nasty))

    assert json.loads(ended.stdout) == {
        "preference": {
            "key": "k", "value": "\x1b[2J \u202e \x9b ä\n", "updated_by": None, "version": 3,
            "updated_at": "2026-11-23T08:00:00.000000Z",
        }
    }  # fmt: skip
    assert "\x9b" not in ended.stdout
    assert "\u202e" not in ended.stdout
    assert "ä" in ended.stdout


def test_a_preference_in_a_pipe_is_its_value(jarvis):
    one = results.Preference("k", "first\n\tsecond", AT, None, 3)

    assert jarvis("prefs", "get", "k", answer=results.OnePreference(one)).stdout == (
        "first\n\tsecond\n"
    )


def test_usage_has_the_lines_of_every_page(jarvis, recorder):
    def used(key, turns=1):
        return results.Usage(key, turns, 0, 0, 0, Decimal(0))

    pages = [
        results.UsageReport([used("a")], used(None, 3), "1"),
        results.UsageReport([used("b")], used(None, 3), "2"),
        results.UsageReport([used("c")], used(None, 3), None),
    ]
    ended = jarvis("query", "usage", "--by", "session", "--json", answer=pages)

    found = json.loads(ended.stdout)
    assert [line["key"] for line in found["usage"]] == ["a", "b", "c"]
    assert (found["total"]["turns"], found["next_cursor"]) == (3, None)
    assert [question.cursor for question in recorder.asked] == [None, "1", "2"]


def test_a_search_continues_where_a_page_ends_early(jarvis, recorder):
    pages = [results.FoundTurns([FOUND], "1"), results.FoundTurns([FOUND, FOUND], None)]
    ended = jarvis("query", "search", "a", "word", "--limit", "3", "--json", answer=pages)

    assert len(json.loads(ended.stdout)["turns"]) == 3
    assert [(one.limit, one.cursor) for one in recorder.asked] == [(3, None), (2, "1")]


@pytest.fixture
def piped(monkeypatch, tmp_path):
    """Make standard input of these bytes, decoded as an encoding."""
    with contextlib.ExitStack() as opened:

        def piped(given, encoding="utf-8"):
            (tmp_path / "stdin").write_bytes(given)
            stdin = opened.enter_context((tmp_path / "stdin").open(encoding=encoding))
            monkeypatch.setattr(sys, "stdin", stdin)

        yield piped


@pytest.mark.parametrize(
    ("given", "encoding", "value"),
    [
        (b"first\nsecond\n", "utf-8", "first\nsecond"),
        (b"a\r\nb\rc\r\n", "utf-8", "a\r\nb\rc\r"),
        ("grün".encode(), "utf-8", "grün"),
        (b"gr\xfcn", "latin-1", "grün"),
    ],
)
def test_a_preference_is_read_from_standard_input_as_it_is(
    jarvis, recorder, piped, given, encoding, value
):
    piped(given, encoding)
    stored = results.OnePreference(results.Preference("k", "", AT, None, 1))

    ended = jarvis("prefs", "set", "k", "-", answer=stored)

    assert ended.stdout == "k is set, version 1\n"
    assert recorder.asked == [params.SetPreference(key="k", value=value)]


def test_standard_input_that_is_no_text_is_wrong_usage(jarvis, recorder, piped):
    piped(b"gr\xfcn")

    ended = jarvis("prefs", "set", "k", "-")

    assert (ended.returncode, recorder.asked) == (2, [])
    assert "standard input is not UTF-8" in ended.stderr


def test_deleting_what_is_not_there_is_said_and_no_failure(jarvis):
    ended = jarvis("prefs", "delete", "k", answer=results.Deleted(0))

    assert (ended.returncode, ended.stdout) == (0, "k was not set\n")


@pytest.mark.parametrize(
    ("error", "code"),
    [(NotFound("there is no event 9"), 1), (Conflict("version 3"), 1), (ReplyTimeout("late"), 69)],
)
def test_a_failure_is_one_line_and_its_exit_code(jarvis, error, code):
    ended = jarvis("query", "event", "9", answer=error)

    assert ended.returncode == code
    assert ended.stderr == f"jarvis-recorder: {error}\n"


def test_a_failure_that_quotes_what_was_recorded_is_harmless(jarvis):
    ended = jarvis("query", "event", "9", answer=NotFound("no \x1b[2J\nevent"))

    assert ended.stderr == "jarvis-recorder: no ␛[2J↵event\n"


def test_failures_speak_of_commands():
    assert in_words_of_commands("snapshots.at: none: snapshots.list tells which there are") == (
        "query snapshot: none: query snapshots tells which there are"
    )


LETTER = results.IndexedDeadLetter(
    "4f1c09ab27de", "not_json", "not JSON at line 3", "not JSON at line N",
    "jarvis.recorder.events", "jarvis", "cluster.event.alert.info", AT, None, 17, 0, 1,
)  # fmt: skip
FAULT = results.DeadLetterFault(
    "not_json", "jarvis.recorder.events", "not JSON at line N", 3, AT, AT, LETTER.id
)


def test_the_index_of_dead_letters_is_shown_with_what_it_lacks(jarvis):
    page = results.IndexedDeadLetters([LETTER], None, 9, 1, complete=False)
    faults = results.DeadLetterFaults([FAULT], 9, 3, complete=False, truncated=True)
    listed = jarvis("query", "dead", answer=page)
    counted = jarvis("query", "faults", answer=faults)

    assert "not JSON at line 3" in listed.stdout
    assert "The index has 1, and 9 wait in the queue" in " ".join(listed.stderr.split())
    assert "not JSON at line N" in counted.stdout
    assert "The index has 3, and 9 wait in the queue" in " ".join(counted.stderr.split())
    assert "--limit" in counted.stderr


def test_a_complete_index_of_dead_letters_is_shown_without_a_remark(jarvis):
    page = results.IndexedDeadLetters([LETTER], None, 1, 1, complete=True)
    none = results.DeadLetterFaults([], 0, 0, complete=True)
    unknown = results.IndexedDeadLetters([], None, None, 1, complete=False)

    assert jarvis("query", "dead", answer=page).stderr == ""
    assert jarvis("query", "faults", answer=none).stderr == "There is none that fits.\n"
    assert "is unknown now" in jarvis("query", "dead", answer=unknown).stderr


def test_a_page_as_json_has_its_other_members(jarvis):
    page = results.IndexedDeadLetters([LETTER], None, 9, 1, complete=False)
    shown = json.loads(jarvis("query", "dead", "--json", answer=page).stdout)

    assert shown.pop("letters")[0]["id"] == LETTER.id
    assert shown == {"next_cursor": None, "waiting": 9, "indexed": 1, "complete": False}
