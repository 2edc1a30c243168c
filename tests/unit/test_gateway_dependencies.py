"""Times and time zones in a URL, as people and programs put them there."""

from datetime import UTC, datetime

import pytest
from pydantic import TypeAdapter, ValidationError

from jarvis_recorder.gateway.dependencies import When, with_plus

_WHEN = TypeAdapter(When)


@pytest.mark.parametrize(
    "written",
    [
        "2026-01-26T09:00:37+01:00",
        "2026-01-26T09:00:37 01:00",
        "2026-01-26T09:00:37 0100",
        "2026-01-26T09:00:37 01",
        "2026-01-26 09:00:37 01:00",
        "2026-01-26t09:00:37.000 01:00",
        "2026-01-26T08:00:37 00:00",
        "2026-01-26T08:00:37Z",
        "2026-01-26 08:00:37Z",
        "1769414437",
        "1769414437000",
    ],
)
def test_a_plus_sign_that_a_url_made_a_space_is_one_again(written):
    assert _WHEN.validate_python(written) == datetime(2026, 1, 26, 8, 0, 37, tzinfo=UTC)


@pytest.mark.parametrize("written", ["2026-01-26 09:00", "2026-01-26 01:00", "2026 01", "now 01"])
def test_a_time_without_an_offset_stays_none(written):
    with pytest.raises(ValidationError):
        _WHEN.validate_python(written)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (" 02:00", "+02:00"),
        (" 5", "+5"),
        ("+02:00", "+02:00"),
        ("Europe/Berlin", "Europe/Berlin"),
        ("2026-01-26 01:00", "2026-01-26 01:00"),
        ("T10:00" * 20_000 + " x", "T10:00" * 20_000 + " x"),
        (None, None),
    ],
)
def test_an_offset_alone_gets_its_plus_sign_back_and_nothing_else_does(written, meant):
    assert with_plus(written) == meant


def test_a_day_is_one_of_utc():
    assert _WHEN.validate_python("2026-01-26") == datetime(2026, 1, 26, tzinfo=UTC)
