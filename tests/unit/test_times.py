"""RFC 3339, as strict as it is written."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jarvis_recorder.wire.times import (
    EARLIEST,
    LATEST,
    format_rfc3339,
    parse_rfc3339,
    to_datetime,
    to_micros,
)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("2026-01-31T08:00:00Z", "2026-01-31T08:00:00.000000Z"),
        ("2026-01-31t08:00:00.5z", "2026-01-31T08:00:00.500000Z"),
        ("2026-01-31 09:00:00+01:00", "2026-01-31T08:00:00.000000Z"),
        ("2026-01-31T08:00:00.123456789Z", "2026-01-31T08:00:00.123456Z"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00.000000Z"),
        ("2017-01-01T00:59:60.25+01:00", "2017-01-01T00:00:00.250000Z"),
        ("2026-01-31T08:00:00-00:00", "2026-01-31T08:00:00.000000Z"),
        ("2026-01-31T08:00:00+23:59", "2026-01-30T08:01:00.000000Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000Z"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_a_time_is_read_in_every_spelling(text, same):
    assert format_rfc3339(parse_rfc3339(text)) == same


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("2026-01-31T08:00:00", "names no instant"),
        ("2026-01-31 08:00:00", "names no instant"),
        ("2026-02-30T08:00:00Z", "real day"),
        ("2026-01-31T25:00:00Z", "real day"),
        ("2026-01-31T08:00:61Z", "real day"),
        ("2026-01-31T08:61:60Z", "real day"),
        ("2026-W05-6T08:00:00Z", "RFC 3339"),
        ("20260131T080000Z", "RFC 3339"),
        ("2026-01-31T08:00:00+0100", "RFC 3339"),
        ("1700000000", "RFC 3339"),
        ("٢٠٢٦-01-31T08:00:00Z", "RFC 3339"),
        ("2026-01-31T08:00:00+01:60", "RFC 3339"),
        ("2026-01-31T08:00:00+24:00", "real day"),
        ("9999-12-31T23:59:60Z", "years 1 to 9999"),
        ("0001-01-01T00:00:00+01:00", "years 1 to 9999"),
        ("9999-12-31T23:59:59-01:00", "years 1 to 9999"),
        ("", "RFC 3339"),
    ],
)
def test_what_names_no_instant_is_refused(text, why):
    with pytest.raises(ValueError, match=why):
        parse_rfc3339(text)


@given(st.integers(EARLIEST, LATEST))
def test_every_instant_survives_the_round_trip(micros):
    assert parse_rfc3339(format_rfc3339(micros)) == micros
    assert to_micros(to_datetime(micros)) == micros


offsets = st.integers(-(24 * 60 - 1), 24 * 60 - 1).map(
    lambda minutes: timezone(timedelta(minutes=minutes))
)


@given(st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=st.just(UTC) | offsets))  # noqa: DTZ001
def test_it_agrees_with_datetime(moment):
    assert to_datetime(parse_rfc3339(moment.isoformat())) == moment


@given(st.text(alphabet="0123456789-:+.TZtz ", max_size=32) | st.text(max_size=40))
def test_any_text_is_an_instant_or_refused(text):
    try:
        micros = parse_rfc3339(text)
    except ValueError:
        return
    assert EARLIEST <= micros <= LATEST


def test_the_epoch_is_zero():
    assert to_micros(datetime(1970, 1, 1, tzinfo=UTC)) == 0
