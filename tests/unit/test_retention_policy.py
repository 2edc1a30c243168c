"""The retention rules, against a second implementation of the same rules."""

from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st

from jarvis_recorder.retention_policy import (
    DAY,
    HOUR,
    ExpiringEvent,
    RetentionPolicy,
    SnapshotFacts,
    events_to_go,
    eviction_steps,
    snapshots_to_go,
)

NOW = 1_000 * DAY
SEVERITIES = ("info", "warning", "error", "critical")
days = st.integers(0, 40)
moments = st.integers(NOW - 50 * DAY, NOW)
keepings = st.builds(
    RetentionPolicy,
    events=st.fixed_dictionaries(dict.fromkeys(SEVERITIES, days)),
    snapshots_hourly_after=days,
    snapshots_daily_after=days,
    snapshots=days,
    turns=days,
)


@given(
    st.lists(st.tuples(moments, st.sampled_from(SEVERITIES), st.booleans()), max_size=30), keepings
)
def test_events_go_by_their_severity_and_open_alerts_never(rows, policy):
    events = [ExpiringEvent(number, *row) for number, row in enumerate(rows)]

    gone = set(events_to_go(events, policy, NOW))

    for event in events:
        allowed = policy.events[event.severity]
        too_old = allowed > 0 and NOW - event.timestamp > allowed * DAY
        assert (event.id in gone) == (too_old and not event.is_open_alert)
        if event.id in gone:
            assert event.timestamp < policy.event_horizon(NOW)


@given(st.lists(st.integers(NOW - 50 * DAY, NOW), max_size=60, unique=True), keepings)
def test_snapshots_are_thinned_and_the_newest_stays(times, policy):
    snapshots = [SnapshotFacts(at, at) for at in sorted(times)]

    gone = set(snapshots_to_go(snapshots, policy, NOW))

    def older_than(at, limit):
        return limit > 0 and NOW - at > limit * DAY

    last_of_day = {max(group) for _, group in groupby(sorted(times), lambda at: at // DAY)}
    last_of_hour = {max(group) for _, group in groupby(sorted(times), lambda at: at // HOUR)}
    for at in times:
        expected = (
            older_than(at, policy.snapshots)
            or (older_than(at, policy.snapshots_daily_after) and at not in last_of_day)
            or (older_than(at, policy.snapshots_hourly_after) and at not in last_of_hour)
        ) and at != max(times)
        assert (at in gone) == expected


def test_each_step_of_eviction_keeps_less_than_the_one_before_and_all_keep_the_last_day():
    yesterday = NOW - DAY + 1
    for one, following in zip(eviction_steps(), eviction_steps()[1:], strict=False):
        assert one != following
        for severity in SEVERITIES:
            before = one.events.get(severity, 0)
            assert not before or 0 < following.events[severity] <= before
    for policy in eviction_steps():
        event = ExpiringEvent(1, yesterday, "info", False)
        assert events_to_go([event], policy, NOW) == []
        pair = [SnapshotFacts(1, yesterday), SnapshotFacts(2, yesterday + 1)]
        assert snapshots_to_go(pair, policy, NOW) == []


def test_nothing_is_taken_unasked():
    assert RetentionPolicy().keeps_everything
    assert RetentionPolicy(events=dict.fromkeys(SEVERITIES, 0)).keeps_everything
    assert not RetentionPolicy(turns=1).keeps_everything
    assert RetentionPolicy().event_horizon(NOW) is None
