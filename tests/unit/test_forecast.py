"""The forecast of a measure's growth."""

import random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from jarvis_recorder.storage.forecast import Value, forecast

HOUR = 3_600.0
DAY = 24 * HOUR


def filling(days, rate, *, sawtooth=0.0, every=2.0, noise=0.0, seed=7):
    """Return hourly values that grow by `rate` a day; every few days what came on top is deleted."""
    chance = random.Random(seed)
    return [
        Value(
            hour * HOUR,
            20 + rate * hour / 24 + sawtooth * (hour / 24 % every) + chance.gauss(0, noise),
        )
        for hour in range(days * 24)
    ]


@settings(deadline=None, max_examples=25)
@given(
    st.integers(14, 60), st.floats(0.5, 3), st.floats(0, 1), st.floats(1, 4), st.integers(0, 999)
)
def test_growth_with_deletions_is_foretold_within_a_tenth(days, rate, part, every, seed):
    values = filling(days, rate, sawtooth=part * rate, every=every, noise=rate / 20, seed=seed)
    now = values[-1].at

    growth = forecast(values, 1_000, now)

    assert growth.per_day == pytest.approx(rate, rel=0.1)
    left = (1_000 - 20) / rate * DAY - now
    assert growth.likely == pytest.approx(left, rel=0.1)
    assert growth.soonest <= growth.likely <= growth.latest


@settings(deadline=None, max_examples=25)
@given(st.floats(0, 90), st.floats(0, 1), st.floats(0, 5), st.integers(0, 999))
def test_what_does_not_grow_is_silent(height, noise, shrinking, seed):
    chance = random.Random(seed)
    values = [
        Value(hour * HOUR, height - shrinking * hour / 24 + chance.gauss(0, noise))
        for hour in range(720)
    ]

    assert forecast(values, 100, values[-1].at) is None


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.floats(-1e18, 1e18), max_size=40), st.floats(0, 1e18, exclude_min=True),
)  # fmt: skip
def test_any_values_have_an_answer(heights, limit):
    values = [Value(600.0 * number, height) for number, height in enumerate(heights)]

    growth = forecast(values, limit, 600.0 * len(values))

    assert growth is None or 0 <= growth.soonest <= growth.likely


@settings(deadline=None, max_examples=25)
@given(st.integers(14, 60), st.floats(0.5, 30), st.floats(0.5, 7), st.integers(0, 999))
def test_what_is_filled_and_deleted_again_does_not_grow(days, height, every, seed):
    # Of fewer deletions nobody can tell whether they keep up with the growth.
    assume(days >= 4 * every)
    values = filling(days, 0, sawtooth=height / every, every=every, noise=height / 50, seed=seed)

    assert forecast(values, 100, values[-1].at) is None


def test_the_time_left_counts_from_the_height_after_a_deletion():
    values = [one if one.at < 2 * DAY else Value(one.at, one.value - 15) for one in filling(30, 2)]
    now = values[-1].at

    growth = forecast(values, 100, now)

    assert growth.likely == pytest.approx((100 - values[-1].value) / 2 * DAY, rel=0.1)


def test_a_single_deletion_of_much_does_not_turn_growth_into_none():
    values = filling(30, 2)
    values = [one if one.at < 25 * DAY else Value(one.at, one.value - 30) for one in values]

    assert forecast(values, 100, values[-1].at) is not None


def test_what_is_full_is_full_now():
    growth = forecast(filling(30, 2), 50, 30 * DAY)

    assert growth.likely == 0


def test_a_few_values_tell_nothing():
    assert forecast([Value(one * HOUR, one) for one in range(7)], 100, 7 * HOUR) is None


@pytest.mark.parametrize("copied", [8, 15, 22])
def test_what_was_copied_once_does_not_grow(copied):
    values = [Value(hour * HOUR, 20.0 if hour < copied * 24 else 60.0) for hour in range(720)]

    assert forecast(values, 100, values[-1].at) is None


@settings(deadline=None, max_examples=25)
@given(st.floats(0, 7), st.floats(0, 10), st.integers(0, 999))
def test_what_grows_by_a_step_each_week_is_foretold_within_a_tenth(begin, noise, seed):
    chance = random.Random(seed)
    values = [
        Value(
            number * HOUR / 6,
            100 + 100 * ((number / 144 + begin) // 7) + chance.gauss(0, noise),
        )
        for number in range(30 * 144)
    ]

    growth = forecast(values, 1_000, values[-1].at)

    assert growth.per_day == pytest.approx(100 / 7, rel=0.1)


@settings(deadline=None, max_examples=25)
@given(st.floats(0, 30), st.floats(0, 36), st.floats(1, 60))
def test_a_copy_that_takes_hours_does_not_grow(began, hours, size):
    values = [
        Value(hour * HOUR, 20 + size * min(max((hour - began * 24) / max(hours, 1), 0), 1))
        for hour in range(720)
    ]

    assert forecast(values, 100, values[-1].at) is None
