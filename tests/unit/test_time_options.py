"""Times as they are typed."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jarvis_recorder.cli.time_options import parse_coming_time, parse_duration, parse_time

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
        ("2h30m", datetime(2026, 11, 23, 6, 30, tzinfo=UTC)),
        ("1d12h", datetime(2026, 11, 21, 21, 0, tzinfo=UTC)),
        ("today", datetime(2026, 11, 22, 23, 0, tzinfo=UTC)),
        ("today 03:00", datetime(2026, 11, 23, 2, 0, tzinfo=UTC)),
        ("yesterday", datetime(2026, 11, 21, 23, 0, tzinfo=UTC)),
        ("Yesterday 3:00", datetime(2026, 11, 22, 2, 0, tzinfo=UTC)),
        ("yesterday 03:00:30", datetime(2026, 11, 22, 2, 0, 30, tzinfo=UTC)),
        ("2026-01-31 03:00", datetime(2026, 1, 31, 2, 0, tzinfo=UTC)),
        ("1w", datetime(2026, 11, 16, 9, 0, tzinfo=UTC)),
        ("2026-11-23", datetime(2026, 11, 22, 23, 0, tzinfo=UTC)),
        ("2026-11-23 08:00", datetime(2026, 11, 23, 7, 0, tzinfo=UTC)),
        ("2026-07-01T08:00:30", datetime(2026, 7, 1, 6, 0, 30, tzinfo=UTC)),
        (" 2026-11-23 08:00:00.25 ", datetime(2026, 11, 23, 7, 0, 0, 250_000, tzinfo=UTC)),
        ("2026-11-23T08:00:00Z", datetime(2026, 11, 23, 8, 0, tzinfo=UTC)),
        ("2026-11-23T08:00:00.000001+05:30", datetime(2026, 11, 23, 2, 30, 0, 1, tzinfo=UTC)),
        ("1769414437", datetime(2026, 1, 26, 8, 0, 37, tzinfo=UTC)),
        ("1769414437123", datetime(2026, 1, 26, 8, 0, 37, 123_000, tzinfo=UTC)),
    ],
)
def test_a_time_is_what_people_mean_by_it(typed, meant):
    assert parse_time(typed, NOW, BERLIN) == meant


@pytest.mark.parametrize(
    "typed",
    ["", "tomorrow", "yesterday 25:00", "2h2h", "30m2h", "2x", "-2h", "2h ago", "2026-13-01", "2026-11-23 25:00", "2026-02-30",
     "99999999w", "0001-01-01", "08:00", "٣h", "20260131", "202601310800"],
)  # fmt: skip
def test_what_is_no_time_is_answered_with_how_to_write_one(typed):
    with pytest.raises(ValueError, match="TIME is `30m`"):
        parse_time(typed, NOW, BERLIN)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("now", NOW),
        ("30m", datetime(2026, 11, 23, 9, 30, tzinfo=UTC)),
        ("4h", datetime(2026, 11, 23, 13, 0, tzinfo=UTC)),
        ("1d12h", datetime(2026, 11, 24, 21, 0, tzinfo=UTC)),
        ("22:00", datetime(2026, 11, 23, 21, 0, tzinfo=UTC)),
        ("9:00", datetime(2026, 11, 24, 8, 0, tzinfo=UTC)),
        ("10:00:01", datetime(2026, 11, 23, 9, 0, 1, tzinfo=UTC)),
        ("Today 22:00", datetime(2026, 11, 23, 21, 0, tzinfo=UTC)),
        ("tomorrow", datetime(2026, 11, 23, 23, 0, tzinfo=UTC)),
        ("tomorrow 06:00", datetime(2026, 11, 24, 5, 0, tzinfo=UTC)),
        ("2026-11-24", datetime(2026, 11, 23, 23, 0, tzinfo=UTC)),
        (" 2026-11-24 08:00 ", datetime(2026, 11, 24, 7, 0, tzinfo=UTC)),
        ("2026-11-24T08:00:00Z", datetime(2026, 11, 24, 8, 0, tzinfo=UTC)),
        ("1796000000", datetime(2026, 11, 30, 0, 53, 20, tzinfo=UTC)),
    ],
)
def test_a_time_to_come_is_what_people_mean_by_it(typed, meant):
    assert parse_coming_time(typed, NOW, BERLIN) == meant


@pytest.mark.parametrize(
    "typed",
    [
        "today",
        "today 09:59",
        "2026-11-23",
        "2026-11-23 08:00",
        "2026-11-23T08:59:59Z",
        "1769414437",
    ],
)
def test_a_time_that_has_passed_is_none_to_come(typed):
    with pytest.raises(ValueError, match=r"has passed. TIME is `30m`.*from now on"):
        parse_coming_time(typed, NOW, BERLIN)


@pytest.mark.parametrize("typed", ["", "yesterday", "25:00", "8", "-2h", "2h ago", "99999999w"])
def test_what_is_no_time_to_come_is_answered_with_how_to_write_one(typed):
    with pytest.raises(ValueError, match=r"is no time. TIME is `30m`.*from now on"):
        parse_coming_time(typed, NOW, BERLIN)


@pytest.mark.parametrize("parse", [parse_time, parse_coming_time])
@given(typed=st.text(max_size=30))
def test_whatever_is_typed_is_a_time_or_a_value_error(parse, typed):
    try:
        moment = parse(typed, NOW, BERLIN)
    except ValueError:
        return
    assert moment.tzinfo is not None


@pytest.mark.parametrize(
    ("now", "typed", "meant"),
    [
        # The clocks went forward at 02:00 local, and back at 03:00.
        ("2026-03-29T10:00:00Z", "today 02:30", "2026-03-29T01:30:00Z"),
        ("2026-10-25T10:00:00Z", "today 02:30", "2026-10-25T00:30:00Z"),
        ("2026-10-26T10:00:00Z", "yesterday", "2026-10-24T22:00:00Z"),
    ],
)
def test_a_local_time_is_one_time_also_when_the_clocks_change(now, typed, meant):
    now, meant = datetime.fromisoformat(now), datetime.fromisoformat(meant)

    assert parse_time(typed, now, BERLIN) == meant


@pytest.mark.parametrize(
    ("now", "typed", "meant"),
    [
        ("2026-03-29T00:30:00Z", "02:30", "2026-03-29T01:30:00Z"),
        ("2026-03-29T01:30:01Z", "02:30", "2026-03-30T00:30:00Z"),
        # It is 02:30 twice.
        ("2026-10-25T00:10:00Z", "02:30", "2026-10-25T00:30:00Z"),
        ("2026-10-25T00:40:00Z", "today 02:30", "2026-10-25T01:30:00Z"),
        ("2026-10-25T01:40:00Z", "02:30", "2026-10-26T01:30:00Z"),
    ],
)
def test_the_next_time_of_day_is_so_also_when_the_clocks_change(now, typed, meant):
    now, meant = datetime.fromisoformat(now), datetime.fromisoformat(meant)

    assert parse_coming_time(typed, now, BERLIN) == meant


def test_a_time_that_a_table_shows_can_be_typed_again():
    moment = datetime(2026, 11, 23, 7, 12, 7, tzinfo=UTC)

    shown = f"{moment.astimezone(BERLIN):%Y-%m-%d %H:%M:%S}"

    assert parse_time(shown, NOW, BERLIN) == moment


@pytest.mark.parametrize(
    ("typed", "seconds"),
    [("90", 90), ("90s", 90), ("10m", 600), ("2h", 7_200), ("1d", 86_400), ("2h30m", 9_000)],
)
def test_a_duration_has_a_unit_or_is_of_seconds(typed, seconds):
    assert parse_duration(typed) == timedelta(seconds=seconds)


@pytest.mark.parametrize("typed", ["", "m", "1.5h", "-1", "ten"])
def test_what_is_no_duration_is_said_to_be_none(typed):
    with pytest.raises(ValueError, match="no duration such as"):
        parse_duration(typed)
