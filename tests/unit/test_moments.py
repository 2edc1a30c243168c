"""Times as they are typed."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jarvis_recorder.cli.moments import parse_duration, parse_moment

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("now", NOW),
        ("30m", datetime(2026, 11, 23, 8, 30, tzinfo=UTC)),
        ("2h", datetime(2026, 11, 23, 7, 0, tzinfo=UTC)),
        ("7d", datetime(2026, 11, 16, 9, 0, tzinfo=UTC)),
        ("90s", datetime(2026, 11, 23, 8, 58, 30, tzinfo=UTC)),
        ("1w", datetime(2026, 11, 16, 9, 0, tzinfo=UTC)),
        ("2026-11-23", datetime(2026, 11, 22, 23, 0, tzinfo=UTC)),
        ("2026-11-23 08:00", datetime(2026, 11, 23, 7, 0, tzinfo=UTC)),
        ("2026-07-01T08:00:30", datetime(2026, 7, 1, 6, 0, 30, tzinfo=UTC)),
        (" 2026-11-23 08:00:00.25 ", datetime(2026, 11, 23, 7, 0, 0, 250_000, tzinfo=UTC)),
        ("2026-11-23T08:00:00Z", datetime(2026, 11, 23, 8, 0, tzinfo=UTC)),
        ("2026-11-23T08:00:00.000001+05:30", datetime(2026, 11, 23, 2, 30, 0, 1, tzinfo=UTC)),
    ],
)
def test_a_time_is_what_people_mean_by_it(typed, meant):
    assert parse_moment(typed, NOW, BERLIN) == meant


@pytest.mark.parametrize(
    "typed",
    ["", "yesterday", "2x", "-2h", "2h ago", "2026-13-01", "2026-11-23 25:00", "2026-02-30",
     "99999999w", "0001-01-01", "08:00", "٣h"],
)  # fmt: skip
def test_what_is_no_time_is_answered_with_how_to_write_one(typed):
    with pytest.raises(ValueError, match="TIME is `30m`"):
        parse_moment(typed, NOW, BERLIN)


@given(st.text(max_size=30))
def test_whatever_is_typed_is_a_moment_or_a_value_error(typed):
    try:
        moment = parse_moment(typed, NOW, BERLIN)
    except ValueError:
        return
    assert moment.tzinfo is not None


def test_a_time_that_a_table_shows_can_be_typed_again():
    moment = datetime(2026, 11, 23, 7, 12, 7, tzinfo=UTC)

    shown = f"{moment.astimezone(BERLIN):%Y-%m-%d %H:%M:%S}"

    assert parse_moment(shown, NOW, BERLIN) == moment


@pytest.mark.parametrize(
    ("typed", "seconds"), [("90", 90), ("90s", 90), ("10m", 600), ("2h", 7_200), ("1d", 86_400)]
)
def test_a_duration_has_a_unit_or_is_of_seconds(typed, seconds):
    assert parse_duration(typed) == timedelta(seconds=seconds)


@pytest.mark.parametrize("typed", ["", "m", "1.5h", "-1", "ten"])
def test_what_is_no_duration_is_said_to_be_none(typed):
    with pytest.raises(ValueError, match="no duration such as"):
        parse_duration(typed)
