"""RFC 3339, its other spellings, and numbers since 1970."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jarvis_recorder.wire.times import (
    EARLIEST,
    LATEST,
    format_rfc3339,
    parse_instant,
    parse_rfc3339,
    parse_strictly,
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
        ("2026-W54-6T08:00:00Z", "its week"),
        ("2026-366T08:00:00Z", "its day"),
        ("9999-366T08:00:00Z", "its day"),
        ("0000-001T08:00:00Z", "its day"),
        ("2026-01-31", "a day alone"),
        ("Sat, 31 Jan 2026 08:00:00", "names no instant"),
        ("Sat Jan 31 08:00:00 2026", "names no instant"),
        ("Sat, 31 Jan 2026 08:00:00 EST", "the name of a zone"),
        ("2026-01-31 08:00:00 Europe/Berlin", "the name of a zone"),
        ("2026-01-31T08:00:00[Europe/Berlin]", "the name of a zone"),
        ("Saturday, 31-Jan-26 08:00:00 GMT", "RFC 3339"),
        ("31 Jan 26 09:00 +0100", "RFC 3339"),
        ("Sat Jan 31 09:00:00 CET+01:00 2026", "RFC 3339"),
        ("Sat Jan 31 09:00:00 CET 2026", "the name of a zone"),
        ("2026-01-31 9Z", "RFC 3339"),
        ("2026-01-31 900Z", "RFC 3339"),
        ("202601319:00Z", "RFC 3339"),
        ("2026-01-31 9:00", "names no instant"),
        ("31 Foo 2026 08:00:00 GMT", "RFC 3339"),
        ("31 Feb 2026 08:00:00 GMT", "its day"),
        ("31.01.2026 08:00:00", "RFC 3339"),
        ("2026-01-310800Z", "RFC 3339"),
        (" " * 100_000 + "Z", "RFC 3339"),
        ("2026-01-31T08:00:00+1", "the offset"),
        ("2026-01-31T08:00:00CET", "the offset"),
        ("2026-01-31 08:00:00 01:00", "the offset"),
        ("2026-01-31T08:00:00 01:00", "the offset"),
        ("2026-01-31T08:00.5Z", "must have seconds"),
        ("2026-13-31T08:00:00Z", "its month"),
        ("2026-02-30T08:00+00", "its day"),
        ("2026-01-31T24:00:01Z", "its hour"),
        ("2026-01-31T08:61:00Z", "its minute"),
        ("2026-01-31T08:00:61Z", "its second"),
        ("2026-01-31T08:00:00+2400", "its offset"),
        ("0000-01-31T08:00:00Z", "its year"),
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


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("2026-01-31T09:00:00+0100", "2026-01-31T08:00:00.000000Z"),
        # Rust's `time` writes the seconds of the offset, too.
        ("2026-01-31 09:00:00.0 +01:00:00", "2026-01-31T08:00:00.000000Z"),
        ("2026-01-31 9:00:00.0 +01:00:00", "2026-01-31T08:00:00.000000Z"),
        ("2026-01-31 0:00:00.25 +00:00:00", "2026-01-31T00:00:00.250000Z"),
        ("2026-01-31T09:00:00+01", "2026-01-31T08:00:00.000000Z"),
        ("2026-01-31T03:00:00.5-0500", "2026-01-31T08:00:00.500000Z"),
        ("2026-01-31T03:00:00\u221205:00", "2026-01-31T08:00:00.000000Z"),
        ("2026-01-31T08:00Z", "2026-01-31T08:00:00.000000Z"),
        ("2026-01-31t09:00+01", "2026-01-31T08:00:00.000000Z"),
        ("2026-01-31T08:00:00,25Z", "2026-01-31T08:00:00.250000Z"),
        ("2026-01-31 08:00:00.123456789 +0000 UTC", "2026-01-31T08:00:00.123456Z"),
        ("2026-01-31 08:00:00 UTC", "2026-01-31T08:00:00.000000Z"),
        ("2026-01-31T08:00:00 gmt", "2026-01-31T08:00:00.000000Z"),
        ("2026-01-31T09:00:00+01:00[Europe/Berlin]", "2026-01-31T08:00:00.000000Z"),
        ("2026-01-31T08:00Z[UTC]", "2026-01-31T08:00:00.000000Z"),
        ("2026-01-31T08:00:00.5Z[Etc/UTC]", "2026-01-31T08:00:00.500000Z"),
        (" 2026-01-31T08:00:00Z\n", "2026-01-31T08:00:00.000000Z"),
        # Go's and JavaScript's own; mail and HTTP; git, date and the log of a web server.
        ("2026-01-31 09:00:00.123456789 +0100 CET m=+0.012", "2026-01-31T08:00:00.123456Z"),
        (
            "Sat Jan 31 2026 09:00:00 GMT+0100 (Central European Time)",
            "2026-01-31T08:00:00.000000Z",
        ),
        ("Sat, 31 Jan 2026 08:00:00 GMT", "2026-01-31T08:00:00.000000Z"),
        ("31 Jan 2026 09:00 +0100 (CET)", "2026-01-31T08:00:00.000000Z"),
        ("Sat,  31 Jan 2026 08:00:00 -0000", "2026-01-31T08:00:00.000000Z"),
        ("Sun, 1 Feb 2026 08:00:00 UT", "2026-02-01T08:00:00.000000Z"),
        ("Sat Jan 31 09:00:00 2026 +0100", "2026-01-31T08:00:00.000000Z"),
        ("Sun Feb  1 08:00:00 UTC 2026", "2026-02-01T08:00:00.000000Z"),
        # Java's Date in a zone without a name; Ruby's, which Go and Twitter have too.
        ("Sat Jan 31 09:00:00 GMT+01:00 2026", "2026-01-31T08:00:00.000000Z"),
        ("Sat Jan 31 09:00:00 +0100 2026", "2026-01-31T08:00:00.000000Z"),
        ("Sat Jan 31 05:00:00 -03 2026", "2026-01-31T08:00:00.000000Z"),
        ("31/Jan/2026:09:00:00 +0100", "2026-01-31T08:00:00.000000Z"),
        ("2026/01/31 08:00:00Z", "2026-01-31T08:00:00.000000Z"),
        # ISO 8601, basic, and by the day of the year and of the week.
        ("20260131T080000Z", "2026-01-31T08:00:00.000000Z"),
        ("20260131T090000.25+0100", "2026-01-31T08:00:00.250000Z"),
        ("20260131080000Z", "2026-01-31T08:00:00.000000Z"),
        ("2026-031T08:00:00Z", "2026-01-31T08:00:00.000000Z"),
        ("2024366T080000Z", "2024-12-31T08:00:00.000000Z"),
        ("2026-W05-6T08:00:00Z", "2026-01-31T08:00:00.000000Z"),
        ("2026W056T080000Z", "2026-01-31T08:00:00.000000Z"),
    ],
)
def test_other_spellings_are_read_too_but_not_strictly(text, same):
    assert format_rfc3339(parse_rfc3339(text)) == same
    with pytest.raises(ValueError, match="RFC 3339"):
        parse_strictly(text)


@pytest.mark.parametrize("read", [parse_rfc3339, parse_strictly])
@pytest.mark.parametrize("text", ["2026-01-31T24:00:00Z", "2026-01-31 24:00:00.000+00:00"])
def test_twenty_four_is_the_end_of_the_day(read, text):
    assert format_rfc3339(read(text)) == "2026-02-01T00:00:00.000000Z"


@pytest.mark.parametrize(
    ("number", "same"),
    [
        (1_769_414_437, "2026-01-26T08:00:37.000000Z"),
        (1_769_414_437.123, "2026-01-26T08:00:37.123000Z"),
        (1_769_414_437_123, "2026-01-26T08:00:37.123000Z"),
        (1_769_414_437_123.5, "2026-01-26T08:00:37.123500Z"),
        (1_769_414_437_123_456, "2026-01-26T08:00:37.123456Z"),
        (1_769_414_437_123_456_789, "2026-01-26T08:00:37.123456Z"),
        ("1769414437", "2026-01-26T08:00:37.000000Z"),
        ("1769414437.123456789", "2026-01-26T08:00:37.123456Z"),
        ("1769414437123", "2026-01-26T08:00:37.123000Z"),
        (Decimal("1769414437.25"), "2026-01-26T08:00:37.250000Z"),
        ({"$date": "2026-01-26T09:00:37+01:00"}, "2026-01-26T08:00:37.000000Z"),
        (
            {"date": "2026-01-26 09:00:37.123000", "timezone_type": 1, "timezone": "+01:00"},
            "2026-01-26T08:00:37.123000Z",
        ),
        (
            {"date": "2026-01-26 08:00:37.123000", "timezone_type": 3, "timezone": "UTC"},
            "2026-01-26T08:00:37.123000Z",
        ),
        ({"$date": 1_769_414_437_123}, "2026-01-26T08:00:37.123000Z"),
        ({"$date": {"$numberLong": "-1000"}}, "1969-12-31T23:59:59.000000Z"),
        ({"seconds": "1769414437", "nanos": 123_456_789}, "2026-01-26T08:00:37.123456Z"),
        # Go's encoding/json of protocol buffers leaves out what is 0.
        ({"seconds": 1_769_414_437}, "2026-01-26T08:00:37.000000Z"),
        (
            {"type": "firestore/timestamp/1.0", "seconds": 1_769_414_437, "nanoseconds": 5_000},
            "2026-01-26T08:00:37.000005Z",
        ),
        ({"_seconds": 1_769_414_437, "_nanoseconds": 0}, "2026-01-26T08:00:37.000000Z"),
        ("/Date(1769414437123+0100)/", "2026-01-26T08:00:37.123000Z"),
        ("/Date(0)/", "1970-01-01T00:00:00.000000Z"),
        (946_684_800, "2000-01-01T00:00:00.000000Z"),
        ("2026-01-26T08:00:37Z", "2026-01-26T08:00:37.000000Z"),
    ],
)
def test_a_number_is_of_the_unit_that_its_magnitude_tells(number, same):
    assert format_rfc3339(parse_instant(number)) == same


@pytest.mark.parametrize(
    "number",
    [0, 7, -1_769_414_437, 20_260_131, 202_601_310_800, 20_260_131_080_000, 2**64, 2**70,
     {}, {"$date": None}, {"$date": {}}, {"$date": 2**63}, {"$date": True}, {"time": 1_769_414_437},
     {"seconds": 1_769_414_437, "nanos": 10**9}, {"seconds": None}, {"nanos": 5},
     {"seconds": 1_769_414_437, "minutes": 5}, {"seconds": 1_769_414_437, "type": "duration"}, "/Date(9" + "9" * 14,
     "/Date(999999999999999)/", {"seconds": 1, "nanos": 0.5}, True, None, [], float("nan"), float("inf"), 1e300],
)  # fmt: skip
def test_a_number_that_is_no_instant_is_refused(number):
    with pytest.raises(ValueError, match="a time"):
        parse_instant(number)


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
