"""Time zones as requests name them."""

from datetime import timedelta

import pytest

from jarvis_recorder.wire.zones import find_zone


@pytest.mark.parametrize(
    ("name", "minutes"), [("Z", 0), ("+01:30", 90), ("-0930", -570), ("+5", 300), ("-23:59", -1439)]
)
def test_an_offset_is_a_zone(name, minutes):
    assert find_zone(name).utcoffset(None) == timedelta(minutes=minutes)


@pytest.mark.parametrize(
    "name", ["+01:60", "-00:99", "+24:00", "+1:5", "", "Nowhere/City", "../etc"]
)
def test_what_is_no_zone_is_none(name):
    assert find_zone(name) is None
