"""The output of results: on terminals, in pipes, and whatever was recorded."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jarvis_recorder.cli.output.cluster import show_snapshot, show_stats
from jarvis_recorder.cli.output.conversations import (
    show_found,
    show_sessions,
    show_turns,
    show_usage,
)
from jarvis_recorder.cli.output.dead_letters import show_dead_letter
from jarvis_recorder.cli.output.events import EventTable, show_event
from jarvis_recorder.cli.output.histogram import show_histogram
from jarvis_recorder.cli.output.incidents import (
    history_of,
    show_incident,
    show_incidents,
    show_silences,
)
from jarvis_recorder.cli.output.preferences import show_preference, show_preferences
from jarvis_recorder.cli.output.records import record_json, show_record
from jarvis_recorder.cli.output.sanitize import cut
from jarvis_recorder.cli.output.series import show_forecast
from jarvis_recorder.cli.output.timeline import show_timeline
from jarvis_recorder.cli.output.units import TimeFormat, ago, duration, size
from jarvis_recorder.client.dead_letter_replay import FoundDeadLetter
from jarvis_recorder.wire.amqp.delivery import Delivery
from jarvis_recorder.wire.dead_letter import read_dead_letter
from jarvis_recorder.wire.records import Event, Record, Snapshot, Turn
from jarvis_recorder.wire.rpc import results
from jarvis_recorder.wire.topics import Kind
from tests.support.amqp_bytes import content_header
from tests.support.screens import CET, NOW, Seen

AT = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
EVENT = results.StoredEvent(
    id=1204, message_id="m-1", timestamp=AT, stamped=False, type="alert", severity="critical",
    source="monitor", node="pve1", summary="[Monitor] NODE_DOWN: pve1 changed to offline",
    details={"previousState": "online"}, resolved=False, resolved_at=None, resolved_by=None,
    extra=None, recorded_at=AT + timedelta(seconds=1),
)  # fmt: skip
RESOLVED = replace(
    EVENT, id=77, severity="warning", node=None, summary="disk of vault above 95 %",
    timestamp=AT - timedelta(minutes=5), resolved=True, resolved_at=AT, resolved_by="alice",
)  # fmt: skip
TURN = results.StoredTurn(
    id=1, message_id=None, session_id="s-1", timestamp=AT + timedelta(minutes=1), stamped=False,
    role="assistant", content="Its power supply failed.\n\tShall I\r\ncall?", model="qwen",
    tokens_used=30, input_tokens=20, output_tokens=10, cost_usd=Decimal("0.00012"),
    tool_calls=[{"name": "wake"}], extra=None, recorded_at=AT,
)  # fmt: skip
SNAPSHOT = results.StoredSnapshot(
    id=9, message_id=None, cluster="home", timestamp=AT - timedelta(seconds=12), stamped=False,
    snapshot={
        "quorum": {"quorate": True, "nodes": 2},
        "nodes": [{"name": "pve1", "cpu": 0.5, "maxmem": 16 * 2**30},
                  {"name": "vault", "cpu": 0.25, "maxmem": 8 * 2**30, "note": "old"}],
    },
    size_bytes=4_500, extra=None, recorded_at=AT,
)  # fmt: skip


def histogram(*counts: dict[str, int], seconds=60):
    return results.Histogram(
        seconds,
        [
            results.Bucket(AT + timedelta(seconds=seconds * at), sum(by.values()), by)
            for at, by in enumerate(counts)
        ],
    )


def test_events_on_a_narrow_terminal():
    screen = Seen(80)

    EventTable()(screen, [EVENT, RESOLVED])

    assert (
        screen.text
        == """\
   id  time (CET)           severity  node  summary
 ──────────────────────────────────────────────────────────────────────────────
 1204  2026-11-23 09:00:00  critical  pve1  [Monitor] NODE_DOWN: pve1 changed
                                            to offline
   77  2026-11-23 08:55:00  warning   -     ✓ disk of vault above 95 %"""
    )


def test_events_on_a_wide_terminal():
    screen = Seen(120)

    EventTable()(screen, [EVENT, RESOLVED])

    heading, _, first, second = screen.text.splitlines()
    assert heading.split() == [
        *["id", "time", "(CET)", "severity", "type", "source", "node", "resolved", "by", "summary"]
    ]
    assert first.endswith(
        "monitor  pve1  -            [Monitor] NODE_DOWN: pve1 changed to offline"
    )
    assert "alice" in second


def test_events_in_a_pipe_are_a_line_each_and_whole():
    screen = Seen()
    long = replace(EVENT, summary="a\nb " * 2_000)

    show_events = EventTable()
    show_events(screen, [EVENT, RESOLVED])
    show_events(screen, [long], continued=True)

    assert screen.text.startswith("""\
  ID  TIME (CET)           SEVERITY  TYPE   SOURCE   NODE  RESOLVED BY  SUMMARY
1204  2026-11-23 09:00:00  critical  alert  monitor  pve1  -            [Monitor] NODE_DOWN: \
pve1 changed to offline
  77  2026-11-23 08:55:00  warning   alert  monitor  -     alice        disk of vault above 95 %
""")
    lines = screen.text.splitlines()
    assert len(lines) == 4
    assert lines[3].endswith("a↵b a↵b")
    assert len(lines[3]) > 8_000


@pytest.mark.parametrize("width", [0, 80])
def test_events_of_several_clusters_name_theirs(width):
    screen = Seen(width)

    EventTable()(screen, [replace(EVENT, cluster="home"), RESOLVED])

    heading, *rows = screen.text.splitlines()
    assert "cluster  node" in heading.lower()
    assert [any(cells in row for row in rows) for cells in ("home     pve1", "-        -")] == [
        True, True,
    ]  # fmt: skip


def test_a_column_of_clusters_begins_with_the_page_that_has_a_second_one():
    screen = Seen()
    home, lab = (replace(EVENT, cluster=name) for name in ("home", "lab"))
    show_events = EventTable()

    for number, page in enumerate([[home], [home], [lab], [lab]]):
        show_events(screen, page, continued=number > 0)

    first, one, two, second, three, four = screen.text.splitlines()
    assert "CLUSTER" not in first
    assert "CLUSTER" in second
    assert ["home" in line for line in (one, two)] == [False, False]
    assert ["lab" in line for line in (three, four)] == [True, True]


def test_a_terminal_too_narrow_for_a_table_gets_whole_lines():
    screen = Seen(40)

    EventTable()(screen, [EVENT])

    assert screen.text.endswith("[Monitor] NODE_DOWN: pve1 changed to offline")


def test_one_event_with_all_that_is_known():
    screen = Seen(80)

    show_event(screen, results.OneEvent(RESOLVED))

    assert "2026-11-23 08:55:00 CET, 1 h 5 min ago" in screen.text
    assert "resolved    2026-11-23 09:00:00 CET by alice" in screen.text
    assert '"previousState": "online"' in screen.text


def test_turns_read_as_a_conversation():
    screen = Seen(80)

    show_turns(screen, [TURN, replace(TURN, role="user", tool_calls=None, content="Yes.")])

    assert (
        screen.text
        == """\
assistant  2026-11-23 09:01:00 CET · qwen · 20 tokens in, 10 out · 0.00012 USD
  Its power supply failed.
      Shall I
  call?
  tool calls: [{"name": "wake"}]

user  2026-11-23 09:01:00 CET · qwen · 20 tokens in, 10 out · 0.00012 USD
  Yes."""
    )


def test_what_was_left_out_is_named_with_the_command_that_shows_it():
    turn, event = Seen(), Seen()

    show_turns(turn, [replace(TURN, omitted=["tool_calls", "content"])])
    show_event(event, results.OneEvent(replace(EVENT, id=7, omitted=["details", "extra"])))

    assert f"not shown whole: tool calls, content; `query turn {TURN.id}` shows it" in turn.text
    assert "not shown: details, further fields; `query event 7` shows it" in event.text


def test_a_timeline_has_the_time_in_its_place():
    screen = Seen(80)
    answer = results.Timeline(
        AT, AT - timedelta(minutes=5), AT + timedelta(minutes=5), SNAPSHOT, [RESOLVED, EVENT],
        [TURN], truncated=True,
    )  # fmt: skip

    show_timeline(screen, answer)

    assert [
        " ".join(line.split()[1:]) for line in screen.text.splitlines()[6:] if line[1].isdigit()
    ] == [
        "-5 min warning - disk of vault above 95 %",
        "▶ this time",
        "critical pve1 [Monitor] NODE_DOWN: pve1 changed to",
        "+1 min assistant s-1 Its power supply failed.↵ Shall",
    ]
    assert "in force: snapshot 9 of home, 4.4 KiB" in screen.text
    assert "(12 s before)" in " ".join(screen.text.split())
    assert "smaller --window" in screen.notes


def test_a_timeline_tells_events_that_name_no_cluster_from_those_that_do():
    screen = Seen()
    home = replace(EVENT, cluster="home")

    for events in ([home, home], [RESOLVED, home]):
        show_timeline(screen, results.Timeline(AT, AT, AT, None, events, [TURN], truncated=False))

    assert screen.text.count("CLUSTER") == 1
    assert "warning    -        -      disk of vault" in screen.text
    assert "critical   home     pve1" in screen.text


def test_a_snapshot_is_tables_and_lines():
    screen = Seen(80)

    show_snapshot(screen, results.OneSnapshot(SNAPSHOT))

    assert "quorum  quorate yes, nodes 2" in screen.text
    assert "pve1    0.5  16.0 GiB  -" in screen.text
    assert "vault  0.25   8.0 GiB  old" in screen.text


def test_columns_of_a_snapshot_that_have_no_room_are_named():
    nodes = [{f"column{number}": "x" * 20 for number in range(9)}]
    answer = results.OneSnapshot(replace(SNAPSHOT, snapshot={"nodes": nodes}))
    narrow, pipe = Seen(80), Seen()

    show_snapshot(narrow, answer)
    show_snapshot(pipe, answer)

    assert max(map(len, narrow.text.splitlines())) <= 80
    assert "without room: column3, column4" in narrow.text
    assert "COLUMN8" in pipe.text


def test_usage_is_added_up():
    screen = Seen()
    one = results.Usage("qwen", 2, 1_234, 1_000, 234, Decimal("0.10"))
    other = replace(one, key=None)
    total = results.Usage(None, 4, 2_468, 2_000, 468, Decimal("0.20"))

    show_usage(screen, results.UsageReport([one, other], total), "model")

    assert (
        screen.text
        == """\
MODEL           TURNS  TOKENS     IN  OUT  COST IN USD
qwen                2   1,234  1,000  234         0.10
no model named      2   1,234  1,000  234         0.10
all                 4   2,468  2,000  468         0.20"""
    )


def test_sessions_and_stats_say_what_there_is():
    screen = Seen()
    session = results.Session(
        "s-1", AT, AT + timedelta(seconds=65), 4, "Why is pve1 down?", ["opus", "qwen"], [],
        Decimal("0.00012"),
    )  # fmt: skip
    extent = results.Extent(1_234, AT, AT)
    holdings = results.Holdings(extent, extent, results.Extent(0, None, None), 2, 4_096, 0, "0003")
    activity = results.Activity("1.0", "recording", AT, 1_000, 13, 2, 0.25, 1.5, "pve1:42")

    show_sessions(screen, [session])
    show_stats(screen, results.Stats(holdings, activity))

    lines = screen.text.splitlines()
    assert lines[:2] == [
        "SESSION  TITLE              LAST (CET)              LASTED  TURNS  MODELS      TOOLS  COST USD",
        "s-1      Why is pve1 down?  2026-11-23 09:01:05  1 min 5 s      4  opus, qwen  -       0.00012",
    ]
    assert lines[2] == "jarvis-recorder 1.0: recording"
    assert "running for   1 h, since 2026-11-23 09:00:00 CET" in lines
    assert "answered by   pve1:42" in lines
    assert "lag           1.5 s" in lines
    assert "database      4.0 KiB, journal 0 B" in lines
    assert lines[-1].split() == ["snapshots", "0", "-", "-"]


def test_what_was_sought_is_marked():
    screen = Seen(80, colours=True)
    found = results.FoundTurn(TURN, "its power supply", [(4, 9)])

    show_found(screen, [found])

    assert "its \x1b[1;33mpower\x1b[0m supply" in screen.raw


def test_a_histogram_in_a_pipe_is_a_bar_a_line():
    screen = Seen()

    show_histogram(screen, histogram({"info": 6}, {}, {"error": 1, "info": 2}), "severity")

    assert (
        screen.text
        == """\
9 events, 2026-11-23 09:00:00 to 2026-11-23 09:03:00 CET
2026-11-23 09:00:00  6  ████████████████████████  info 6
2026-11-23 09:01:00  0
2026-11-23 09:02:00  3  ████████████              error 1, info 2"""
    )


@pytest.mark.parametrize("width", [0, 40])
def test_a_histogram_may_reach_to_the_end_of_the_last_year(width):
    screen = Seen(width)
    start = datetime(9999, 12, 31, tzinfo=UTC)

    show_histogram(screen, results.Histogram(31_536_000, [results.Bucket(start, 1, {})]), None)

    assert "1 event, 9999-12-31" in screen.text


def test_a_histogram_on_a_terminal_is_drawn_in_columns():
    screen = Seen(40)

    show_histogram(screen, histogram({"": 8}, {"": 4}, {"": 1}, {"": 0}), None)

    assert screen.text.splitlines()[2:] == [
        " 8┤████████",
        "  │████████",
        "  │████████",
        "  │████████",
        "  │████████",
        " 4┤████████████████",
        "  │████████████████",
        "  │████████████████",
        "  │████████████████▂▂▂▂▂▂▂▂",
        "  │████████████████████████",
        " 0└┬───────┬───────┬───────┬───────",
        "   09:00   09:01   09:02   09:03",
        "   a column is 1 min",
    ]


def test_a_histogram_by_severity_is_stacked_in_colours_with_the_severest_below():
    screen = Seen(40, colours=True)

    show_histogram(screen, histogram({"info": 11, "critical": 5}), "severity")

    chart = screen.raw.splitlines()[2:]
    red, yellow, both = "\x1b[31m████████", "\x1b[32m████████", "\x1b[31;42m▁▁▁▁▁▁▁▁"
    assert [yellow in line for line in chart[:10]] == [True] * 6 + [False] * 4
    assert both in chart[6]
    assert all(red in line for line in chart[7:10])
    assert chart[12].index("critical 5") < chart[12].index("info 11")


def test_a_histogram_of_nothing_says_so():
    screen = Seen(80)

    show_histogram(screen, histogram({}, {}), "node")

    assert "0 events" in screen.text
    assert "Try an earlier --since" in screen.notes


def test_a_histogram_of_many_nodes_names_the_most_and_adds_up_the_others():
    screen = Seen()

    show_histogram(screen, histogram({f"n{n}": 20 - n for n in range(12)} | {"": 30}), "node")

    assert screen.text.endswith("none named 30, n0 20, n1 19, n2 18, n3 17, n4 16, others 84")


@settings(max_examples=60)
@given(
    width=st.sampled_from([40, 80, 120, 200]),
    buckets=st.integers(1, 400),
    by=st.sampled_from([None, "severity", "node"]),
    colours=st.booleans(),
    seed=st.integers(0, 1_000),
    seconds=st.sampled_from([1, 60, 3_600, 86_400]),
)
def test_a_histogram_fits_and_shows_whatever_happened(width, buckets, by, colours, seed, seconds):
    draw = Random(seed)
    names = ["critical", "error", "info", "", "n\x1b[2J"]
    counts = [
        {name: draw.choice([1, 3, 10**6]) for name in names if draw.random() < 0.3}
        for _ in range(buckets)
    ]
    screen, plain = Seen(width, colours=colours), Seen(width)
    answer = histogram(*counts, seconds=seconds)

    show_histogram(screen, answer, by)
    show_histogram(plain, answer, by)

    assert max(map(len, plain.text.splitlines())) <= width
    assert "\x1b[2J" not in screen.raw


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            results.Forecast(
                True, 2.0, 76.0, 100.0,
                NOW + timedelta(days=9), NOW + timedelta(days=12), NOW + timedelta(days=16),
            ),
            "Full in 12 days, between 9 days and 16 days: 76.0% of the limit now, 2.00% more each day.",
        ),
        (
            results.Forecast(True, 0.01, 1.0, 100.0, NOW + timedelta(days=1), None, None),
            (
                "Full in more than ten years, between 1 day and more than ten years: 1.0% of the "
                "limit now, 0.01% more each day."
            ),
        ),
        (
            results.Forecast(False, None, 50.0, 100.0, None, None, None),
            "Not growing: 50.0% of the limit now.",
        ),
        (
            results.Forecast(
                True, 2.0, 90.0, 100.0, NOW - timedelta(days=9), NOW - timedelta(days=8), None,
                measured_at=NOW - timedelta(days=12, hours=5),
            ),
            "Last measured 12 days ago: 90.0% of the limit then.",
        ),
    ],
)  # fmt: skip
def test_a_forecast_is_a_range_or_says_that_nothing_grows(answer, said):
    screen = Seen(None)

    show_forecast(screen, answer)

    assert screen.text.strip() == said


def incident(**fields):
    values = {
        "key": "pve3/NODE_DOWN@2026-11-23T08:00:00Z", "state": "open", "severity": "critical",
        "kind": "NODE_DOWN", "node": "pve3", "object": None, "cluster": None, "count": 8,
        "first_at": AT, "last_at": AT, "recovered_at": None, "flapping": False,
        "acknowledged_by": None, "note": None, "guessed": True, "evidence_at": None,
        "caused_by": None, "acknowledged_at": None, "resolved_at": None, "resolved_by": None,
    }  # fmt: skip
    return results.StoredIncident(**values | fields)


def test_incidents_are_a_row_each_with_their_state_and_since_when():
    screen = Seen(120)

    show_incidents(
        screen, [incident(flapping=True), incident(recovered_at=AT + timedelta(minutes=41))]
    )

    first, second = screen.text.splitlines()[-2:]
    assert "open, flapping  critical" in first
    assert "pve3" in first
    assert "41 min" in second


def test_an_incident_shows_who_has_seen_it_and_what_became_of_it():
    one = incident(state="acknowledged", acknowledged_by="anna", note="on my way")
    screen = Seen(80)

    show_incident(screen, results.OneIncident(one))
    said = history_of(
        results.IncidentHistory(
            [], None, one,
            [
                results.IncidentTransition(AT, "open", None, None),
                results.IncidentTransition(AT, "acknowledged", "anna", "on my way"),
            ],
            truncated=False,
        )
    )  # fmt: skip

    assert "by anna" in screen.text
    assert said.endswith("Z open → 2026-11-23 08:00:00Z acknowledged by anna (on my way)")


def test_silences_say_for_whom_from_when_and_until_when():
    """One that is planned is not in force."""
    screen = Seen(120)
    end = AT + timedelta(hours=2)

    show_silences(screen, [results.Silence(None, "pve1", None, None, AT, end, "memory", "anna")])

    assert "09:00:00" in screen.text
    assert "11:00:00" in screen.text

    assert "any" in screen.text
    assert "pve1" in screen.text
    assert "memory" in screen.text


def test_preferences_show_their_values():
    one = results.Preference("prompt", "Be brief.\nBe kind.", AT, "alice", 3)
    listed, single = Seen(100), Seen(80)

    show_preferences(listed, [one])
    show_preference(single, results.OnePreference(one))

    assert "prompt        3  2026-11-23 09:00:00  alice  Be brief.↵Be kind." in listed.text
    assert single.text == "Be brief.\nBe kind."
    assert single.notes == "version 3, set by alice 2026-11-23 09:00:00 CET, 1 h ago\n"


def test_a_record_is_one_line_and_cut_where_the_terminal_ends():
    body = Event(type="alert", severity="error", source="monitor", summary="x\ny" * 99, node="pve1")
    record = Record(Kind.EVENT, "m", 1_795_420_800_000_000, False, body, {"rack": 7})
    screen = Seen(60)

    show_record(screen, record)

    assert len(screen.text.splitlines()) == 1
    assert len(screen.text) == 60
    assert screen.text.startswith("09:00:00 error     pve1       x↵yx↵y")
    assert json.loads(record_json(record, "ascii")) == {
        "kind": "event", "message_id": "m", "timestamp": "2026-11-23T08:00:00.000000Z",
        "stamped": False, "type": "alert", "severity": "error", "source": "monitor",
        "summary": "x\ny" * 99, "node": "pve1", "details": None, "extra": {"rack": 7},
        "cluster": None,
    }  # fmt: skip


def test_a_turn_and_a_snapshot_are_records_too():
    turn = Turn(session_id="s", role="user", content="Why?", cost_usd=Decimal("1E-7"))
    state = Snapshot(snapshot={"nodes": [1, 2], "quorate": True})
    screen = Seen()

    show_record(screen, Record(Kind.TURN, None, 0, True, turn, None))
    show_record(screen, Record(Kind.SNAPSHOT, None, 0, True, state, None))

    assert screen.text.splitlines() == [
        "01:00:00 user      s          Why?",
        "01:00:00 snapshot  -          2 nodes, quorate",
    ]
    written = record_json(Record(Kind.TURN, None, 0, True, turn, None), "utf-8")
    assert json.loads(written)["cost_usd"] == "0.0000001"


def test_long_text_is_cut():
    assert cut("abcdef", 6) == "abcdef"
    assert cut("abcdefg", 6) == "abcde…"


def test_the_zone_is_said_once_unless_it_changes():
    from zoneinfo import ZoneInfo

    summer = AT - timedelta(days=60)
    same, mixed = TimeFormat([AT], CET), TimeFormat([AT, summer, None], ZoneInfo("Europe/Berlin"))

    assert (same.heading(), same.text(AT), same.named(AT)) == (
        "time (CET)", "2026-11-23 09:00:00", "2026-11-23 09:00:00 CET",
    )  # fmt: skip
    assert mixed.heading("last") == "last (local)"
    assert mixed.text(AT) == mixed.named(AT) == "2026-11-23 09:00:00 CET"
    assert mixed.text(summer) == "2026-09-24 10:00:00 CEST"
    assert mixed.named(None) == "-"


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0, "0 s"), (0.4, "0 s"), (59, "59 s"), (60, "1 min"), (61, "1 min 1 s"), (3_700, "1 h 1 min"),
     (86_400, "1 d"), (90_061, "1 d 1 h"), (12 * 31_536_000 + 86_400, "12 y 1 d"), (-5, "0 s")],
)  # fmt: skip
def test_a_duration_has_two_units_at_most(seconds, written):
    assert duration(timedelta(seconds=seconds)) == written


def test_what_lies_ahead_is_not_ago():
    assert ago(NOW - timedelta(hours=1), NOW) == "1 h ago"
    assert ago(NOW + timedelta(minutes=2), NOW) == "2 min ahead"


@pytest.mark.parametrize(
    ("count", "written"),
    [(0, "0 B"), (1_023, "1023 B"), (1_024, "1.0 KiB"), (1_048_525, "1.0 MiB"), (2**40, "1.0 TiB")],
)
def test_a_size_has_the_unit_that_suits_it(count, written):
    assert size(count) == written


@pytest.mark.parametrize("character", ["é", "本", "🦊"])
def test_a_dead_letter_is_shown_as_text_also_where_it_is_cut_within_a_character(character):
    """The first 4,000 bytes are shown."""
    for before in range(3_995, 4_001):
        body = ("x" * before + character * 9).encode()
        screen = Seen()

        show_dead_letter(screen, letter_with(body), whole=False)

        shown = "x" * before + character * ((4_000 - before) // len(character.encode()))
        assert screen.text.splitlines()[-1].strip() == shown
        assert f"the first {len(shown.encode()):,} of {len(body):,} bytes" in screen.notes


def test_a_dead_letter_that_is_no_text_is_shown_as_bytes():
    screen = Seen()

    show_dead_letter(screen, letter_with(b"\xff" * 5_000), whole=False)

    assert screen.text.splitlines()[-1].startswith("   00000f90  ff ff")
    assert "the first 4,000 of 5,000 bytes" in screen.notes


def letter_with(body):
    header = content_header(len(body), headers={"x-recorder-reason": "invalid"})
    delivery = Delivery(1, False, b"jarvis.dead", b"jarvis.recorder.events", header, body)
    return FoundDeadLetter(read_dead_letter(delivery), delivery)
