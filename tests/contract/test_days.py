"""Days of a time zone have 23, 24 or 25 hours, and each event and turn is in its own."""

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from jarvis_recorder.errors import InvalidParameter
from jarvis_recorder.storage.queries.reading import Reading
from jarvis_recorder.wire.records import SEVERITIES
from jarvis_recorder.wire.rpc.params import EventHistogram, ReportUsage
from jarvis_recorder.wire.times import format_datetime
from tests.support.archive import ask
from tests.support.stored import TURNS, at, event, put, turn

DAY = 86_400
# Clock changes at two, at midnight, over midnight, by half an hour, by a whole day, and none.
CHANGES = [
    ("Europe/Berlin", datetime(2026, 3, 29, 1, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 10, 25, 1, tzinfo=UTC)),
    ("Africa/Cairo", datetime(2026, 4, 23, 22, tzinfo=UTC)),
    ("America/Havana", datetime(2026, 11, 1, 5, tzinfo=UTC)),
    ("America/St_Johns", datetime(2008, 11, 2, 2, 31, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, 15, tzinfo=UTC)),
    ("Pacific/Apia", datetime(2011, 12, 30, 10, tzinfo=UTC)),
    ("Asia/Kolkata", datetime(2026, 3, 29, 1, tzinfo=UTC)),
]


def around(change):
    """Return times of four days around a clock change, close together near it."""
    near = [
        change + timedelta(minutes=15 * n, seconds=side) for n in range(-8, 9) for side in (-1, 0)
    ]
    return near + [change + timedelta(hours=n, minutes=7) for n in range(-48, 48)]


def day_of(moment, zone):
    return moment.astimezone(ZoneInfo(zone)).date().isoformat()


@pytest.mark.parametrize(("zone", "change"), CHANGES)
async def test_each_turn_counts_for_its_local_day(store, zone, change):
    moments = around(change)
    for number, moment in enumerate(moments):
        body = turn(timestamp=format_datetime(moment), content=str(number), tokens_used=1)
        await put(store, body, topic=TURNS)

    for since, until in (
        (moments[0] - timedelta(days=9), None),
        (datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)),
    ):
        question = ReportUsage(since=since, until=until, by="day", time_zone=zone)
        found = await ask(store, question)
        expected = Counter(day_of(moment, zone) for moment in moments)
        assert [(one.key, one.tokens_used) for one in found.usage] == sorted(expected.items())


@pytest.mark.parametrize(("zone", "change"), CHANGES)
async def test_a_bucket_of_a_day_is_a_local_day(store, zone, change):
    moments = around(change)
    await put(store, *(event(timestamp=format_datetime(moment)) for moment in moments))

    found = await ask(
        store,
        EventHistogram(
            since=min(moments),
            until=max(moments) + timedelta(seconds=1),
            bucket_seconds=DAY,
            time_zone=zone,
        ),
    )

    expected = Counter(day_of(moment, zone) for moment in moments)
    assert [one.count for one in found.buckets if one.count] == [
        count for _, count in sorted(expected.items())
    ]
    for bucket in found.buckets:
        local = bucket.start.astimezone(ZoneInfo(zone))
        earlier = (bucket.start - timedelta(seconds=1)).astimezone(ZoneInfo(zone))
        assert local.date() > earlier.date(), "it begins with the day"


async def test_a_day_has_as_many_hours_as_its_clocks_say(store):
    async def hours(since):
        question = EventHistogram(
            since=since, until=since + timedelta(days=3), bucket_seconds=DAY,
            time_zone="Europe/Berlin",
        )  # fmt: skip
        starts = [one.start for one in (await ask(store, question)).buckets]
        return [(later - earlier).total_seconds() / 3_600 for earlier, later in pairwise(starts)]

    assert await hours(datetime(2026, 3, 28, tzinfo=UTC)) == [24, 23, 24]
    assert await hours(datetime(2026, 10, 24, tzinfo=UTC)) == [24, 25, 24]


@pytest.mark.parametrize("zone", ["+02:00", "+0200", "+2", "Europe/Berlin"])
async def test_an_offset_or_a_name_is_a_zone(store, zone):
    late = datetime(2026, 7, 1, 22, 30, tzinfo=UTC)
    await put(store, turn(timestamp=format_datetime(late)), topic=TURNS)

    async def days(time_zone):
        question = ReportUsage(since=late - timedelta(days=1), by="day", time_zone=time_zone)
        return [one.key for one in (await ask(store, question)).usage]

    assert await days(zone) == ["2026-07-02"]
    assert await days(None) == await days("UTC") == await days("-00:30") == ["2026-07-01"]


async def test_stretches_of_hours_are_equally_long_whatever_the_clocks_do(store):
    since = datetime(2026, 10, 24, 22, tzinfo=UTC)
    question = EventHistogram(
        since=since, until=since + timedelta(days=1), bucket_seconds=3_600,
        time_zone="Europe/Berlin",
    )  # fmt: skip

    starts = [one.start for one in (await ask(store, question)).buckets]

    assert starts == [since + timedelta(hours=n) for n in range(24)]


@pytest.mark.parametrize("zone", ["Europe/Nowhere", "Europe", "+25:00", "Mars"])
async def test_a_zone_that_is_none_is_said_to_be(store, zone):
    day = datetime(2026, 7, 1, tzinfo=UTC)
    for question in (
        ReportUsage(since=day, by="day", time_zone=zone),
        EventHistogram(
            since=day, until=day + timedelta(days=2), bucket_seconds=DAY, time_zone=zone
        ),
        EventHistogram(since=day, until=day + timedelta(hours=2), time_zone=zone),
    ):
        with pytest.raises(InvalidParameter, match="Europe/Berlin") as refused:
            await ask(store, question)
        assert refused.value.path == "time_zone"


async def test_the_first_and_the_last_day_there_are_have_a_name(store):
    for moment in ("0001-01-01T00:00:01Z", "9999-12-31T23:59:59Z"):
        await put(store, turn(timestamp=moment), topic=TURNS)
    since, until = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC)

    for zone in ("Pacific/Kiritimati", "Pacific/Pago_Pago", "+14", "-12"):
        question = ReportUsage(since=since, until=until, by="day", time_zone=zone)
        found = await ask(store, question)
        assert [one.key[:4] for one in found.usage] == ["0001", "9999"]


@pytest.mark.parametrize("by", [None, "severity", "node"])
async def test_buckets_counted_each_alone_are_those_counted_together(sqlite_store, monkeypatch, by):
    chance = random.Random(1)
    bodies = [
        event(
            chance.choice((chance.randrange(-60, 7_260), chance.randrange(120) * 60, 7_200)),
            type="alert",
            severity=chance.choice(SEVERITIES),
            node=chance.choice(("pve1", "pve2", "PVE1", None)),
        )
        for _ in range(500)
    ]
    await put(sqlite_store, *bodies)
    asked = [
        EventHistogram(since=at(0.5), until=at(7_200), bucket_seconds=seconds, by=by, **more)
        for seconds in (60, 3_600, 86_400)
        for more in ({}, {"time_zone": "Europe/Berlin"}, {"type": "alert", "node": "pve2"})
    ]

    alone = [await ask(sqlite_store, one) for one in asked]
    monkeypatch.setattr(Reading, "groups_by_sorting", False)
    together = [await ask(sqlite_store, one) for one in asked]

    assert alone == together
    assert all(sum(bucket.count for bucket in one.buckets) > 50 for one in alone)
