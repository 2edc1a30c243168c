"""The growth of a measure, and the time at which it reaches its limit. Pure."""

from collections.abc import Sequence
from itertools import combinations, groupby, pairwise
from statistics import median, median_low
from typing import Final, NamedTuple

# Of fewer values, or in a shorter time, nothing can be told.
_LEAST_VALUES: Final = 8
# Pairs grow with the square: of more values the medians of groups are compared.
_MOST_VALUES: Final = 120
# A growth over the whole time by less than this part of the limit is none.
_FLAT: Final = 0.005
# The parts of the later half in which growth in steps is looked for, and how much faster than the
# mean a step is.
_PARTS: Final = 8
_STEEP: Final = 1.5
# The part of the growth rates that the range leaves out at each end.
_OUTSIDE: Final = 0.25
_DAY: Final = 86_400.0
_HORIZON: Final = 3_650 * _DAY


class Value(NamedTuple):
    """A value and its time in seconds."""

    at: float
    value: float


class Growth(NamedTuple):
    """The growth a day, and the seconds until the limit is reached: soonest, likely, latest."""

    per_day: float
    soonest: float
    likely: float
    latest: float

    def times(self, now: float) -> tuple[float | None, ...]:
        """Return the three as times; those in more than ten years are None."""
        lasting = (self.soonest, self.likely, self.latest)
        return tuple(None if one > _HORIZON else now + one for one in lasting)


def forecast(values: Sequence[Value], limit: float, now: float) -> Growth | None:
    """
    Return the growth of the values, oldest first; None if they do not grow.

    The rate is the median of those between two values (Theil and Sen) that are half of the time or
    more apart: what is deleted now and then moves it little. The range is that of the middle half
    of the rates, all of which have to grow.
    """
    few = _medians(values)
    if len(few) < _LEAST_VALUES:
        return None
    span = few[-1].at - few[0].at
    rates = sorted(
        (b.value - a.value) / (b.at - a.at)
        for a, b in combinations(few, 2)
        if b.at - a.at >= span / 2 and b.at > a.at
    )
    if not rates:
        return None
    rate = median(rates)
    slow, fast = (rates[round((len(rates) - 1) * part)] for part in (_OUTSIDE, 1 - _OUTSIDE))
    # Where a quarter of them say otherwise, it is noise or comes and goes.
    if slow <= 0 or rate * span < _FLAT * limit or not (_goes_on(few, rate) or _climbs(few, rate)):
        return None
    # Of the last quarter, so that the very last deletion does not decide, and an old one is known.
    recent = few[-max(len(few) // 4, 1) :]
    height = median(one.value - rate * (one.at - now) for one in recent)
    left = max(limit - height, 0.0)
    return Growth(rate * _DAY, left / fast, left / rate, left / slow)


def _goes_on(values: Sequence[Value], rate: float) -> bool:
    """Return whether the later half mostly grows from one time to the next: a single copy does not."""
    later = values[len(values) // 2 :]
    apart = max(len(values) // 10, 1)
    rates = [
        (b.value - a.value) / (b.at - a.at)
        for a, b in zip(later, later[apart:], strict=False)
        if b.at > a.at
    ]
    return bool(rates) and median(rates) >= rate / 4


def _climbs(values: Sequence[Value], rate: float) -> bool:
    """
    Return whether the later half rises in steps, as with a copy each week: in two parts or more.

    These are apart from each other: a single copy may take hours.
    """
    if len(values) < 2 * _PARTS:
        return False
    cuts = [len(values) * part // (2 * _PARTS) for part in range(_PARTS - 1, 2 * _PARTS + 1)]
    levels = [
        Value(
            median_low(one.at for one in values[begin:end]),
            median_low(one.value for one in values[begin:end]),
        )
        for begin, end in pairwise(cuts)
    ]
    rises = [b.value - a.value >= _STEEP * rate * (b.at - a.at) for a, b in pairwise(levels)]
    return sum(is_rise for is_rise, _ in groupby(rises)) > 1


def _medians(values: Sequence[Value]) -> list[Value]:
    together = -(-len(values) // _MOST_VALUES) or 1
    groups = [values[at : at + together] for at in range(0, len(values), together)]
    return [
        Value(median(one.at for one in group), median(one.value for one in group))
        for group in groups
    ]
