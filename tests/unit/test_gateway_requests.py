"""Times in a URL, as people and programs put them there."""

from datetime import UTC, datetime

import pytest
from pydantic import TypeAdapter, ValidationError

from jarvis_recorder.gateway.dependencies import When

_WHEN = TypeAdapter(When)


@pytest.mark.parametrize(
    "written",
    [
        "2026-01-26T09:00:37+01:00",
        "2026-01-26T09:00:37 01:00",
        "2026-01-26 09:00:37 01:00",
        "2026-01-26t09:00:37.000 01:00",
        "2026-01-26T08:00:37 00:00",
        "2026-01-26T08:00:37Z",
        "2026-01-26 08:00:37Z",
    ],
)
def test_a_plus_sign_that_a_url_made_a_space_is_one_again(written):
    assert _WHEN.validate_python(written) == datetime(2026, 1, 26, 8, 0, 37, tzinfo=UTC)


@pytest.mark.parametrize("written", ["2026-01-26 09:00", "2026-01-26 01:00", "2026 01", "now 01"])
def test_a_time_without_an_offset_stays_none(written):
    with pytest.raises(ValidationError):
        _WHEN.validate_python(written)


def test_a_day_is_one_of_utc():
    assert _WHEN.validate_python("2026-01-26") == datetime(2026, 1, 26, tzinfo=UTC)
