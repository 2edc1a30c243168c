"""Answers as people read them, and times as they type them."""

from datetime import UTC, datetime, timedelta

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from jarvis_recorder.cli import views
from jarvis_recorder.cli.asking import made
from jarvis_recorder.cli.moments import moment
from jarvis_recorder.wire import answers
from jarvis_recorder.wire.questions import ListEvents

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("now", NOW),
        ("30m", NOW - timedelta(minutes=30)),
        ("7d", NOW - timedelta(days=7)),
        ("2026-11-23T09:00:00+01:00", datetime(2026, 11, 23, 8, tzinfo=UTC)),
        ("2026-11-23T08:00:00Z", datetime(2026, 11, 23, 8, tzinfo=UTC)),
    ],
)
def test_a_time_means_a_moment(text, meant):
    assert moment(text, NOW) == meant


@pytest.mark.parametrize("text", ["", "soon", "5 m", "999999w", "2026-13-01", "-2h"])
def test_what_is_no_time_is_wrong_usage(text):
    with pytest.raises(typer.BadParameter, match="is no time"):
        moment(text, NOW)


@given(st.text(max_size=300))
def test_nothing_recorded_steers_the_terminal(content):
    assert views.safe(content).isprintable()


def test_control_characters_are_written_out():
    assert views.safe("a\x1b[2Jb\nc\u202e") == r"a\x1b[2Jb↵c\u202e"


def printed(*parts) -> str:
    out = Console(width=100, force_terminal=False, highlight=False, markup=False)
    with out.capture() as capture:
        for part in parts:
            out.print(part)
    return capture.get()


def test_a_histogram_draws_each_bucket_in_proportion():
    buckets = [
        answers.Bucket(NOW, 4, {"info": 3, "critical": 1}),
        answers.Bucket(NOW, 2, {"info": 2}),
        answers.Bucket(NOW, 0, {}),
    ]
    out = Console(width=100)

    lines = printed(*views.histogram(out, answers.Histogram(60, buckets))).splitlines()

    assert [line.count("█") for line in lines[1:4]] == [74, 37, 0]
    assert "■ critical  ■ info" in lines[-1]


def test_markup_in_a_summary_is_only_text():
    event = answers.StoredEvent(
        1, None, NOW, False, "alert", "error", "monitor", "pve1", "[red]x[/red] :smile:",
        None, True, NOW, "ada", None, NOW,
    )  # fmt: skip

    text = printed(views.events(Console(width=100), [event]))

    assert "[red]x[/red] :smile:" in text
    assert "by ada" in text


def test_highlights_are_marked_where_the_search_found_them():
    turn = answers.StoredTurn(
        1, None, "s", NOW, False, "user", "x", None, None, None, None, None, None, None, NOW
    )
    found = answers.FoundTurn(turn, "the power is gone", [(4, 9)])
    out = Console(width=100, force_terminal=True, color_system="standard")
    with out.capture() as capture:
        out.print(views.search(out, [found]))

    assert "\x1b[1;33mpower\x1b[0m" in capture.get()


def test_a_wrong_option_names_itself():
    with pytest.raises(typer.BadParameter, match="--severity: Input should be"):
        made(ListEvents, severity="bad")
