"""Measures over time: a line of columns for each, with its smallest and largest value."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from rich.text import Text

from jarvis_recorder.cli.output.screen import Screen
from jarvis_recorder.cli.output.units import counted, duration, size
from jarvis_recorder.wire.measures import MEASURES
from jarvis_recorder.wire.rpc.results import Extremes, Forecast, Point, Series

_EIGHTHS: Final = "▁▂▃▄▅▆▇█"
_BYTES: Final = frozenset(MEASURES) - {"cpu", "online"}
_MOST_COLUMNS: Final = 200
_LEAST_COLUMNS: Final = 20
_BESIDE: Final = 40
_DAY: Final = timedelta(days=1)


def show_series(screen: Screen, answer: Series) -> None:
    """Show each measure as columns of its means, from its smallest value to its largest."""
    points = answer.points
    if not points:
        screen.note("No snapshot has such values. Try another time, name or measure.")
        return
    span = timedelta(seconds=answer.bucket_seconds)
    clock = screen.clock([points[0].at, points[-1].at])
    screen.heading(f"{clock.text(points[0].at)} to {clock.named(points[-1].at)}")
    columns = max(_LEAST_COLUMNS, min(screen.width - _BESIDE, _MOST_COLUMNS))
    first, last = points[0].at, points[-1].at
    buckets = (last - first) // span + 1
    together = -(-buckets // columns)
    screen.drawing(_lines(points, span * together))
    screen.note(f"One column for {duration(span * together)}; a gap has no values.")


def _lines(points: Sequence[Point], width: timedelta) -> Iterator[Text]:
    for measure in MEASURES:
        found = [(one.at, values) for one in points if (values := getattr(one, measure))]
        if not found:
            continue
        low = min(values.min for _, values in found)
        high = max(values.max for _, values in found)
        columns: dict[int, list[Extremes]] = {}
        for at, values in found:
            columns.setdefault((at - points[0].at) // width, []).append(values)
        number = (points[-1].at - points[0].at) // width + 1
        drawn = "".join(_column(columns.get(one), low, high) for one in range(number))
        yield Text.assemble(
            (f"{measure:8}", "cyan"),
            drawn,
            (f"  {_value(measure, low)} to {_value(measure, high)}", "dim"),
        )


def _column(found: Sequence[Extremes] | None, low: float, high: float) -> str:
    if not found:
        return " "
    mean = sum(one.mean for one in found) / len(found)
    share = (mean - low) / (high - low) if high > low else 0.0
    return _EIGHTHS[round(share * (len(_EIGHTHS) - 1))]


def _value(measure: str, value: float) -> str:
    return size(round(value)) if measure in _BYTES else f"{value:.3g}"


def show_forecast(screen: Screen, answer: Forecast) -> None:
    """Show in how many days the limit is reached, as a range, or the reason for which none is known."""
    share = f"{answer.value / answer.limit:.1%} of the limit"
    if answer.measured_at is not None and screen.now - answer.measured_at >= 2 * _DAY:
        age = counted((screen.now - answer.measured_at) // _DAY, "day")
        screen.line(f"Last measured {age} ago: {share} then.")
        return
    filled = f"{share} now"
    if answer.per_day is None:
        screen.line(f"Not growing: {filled}.")
        return
    growth = f"{filled}, {answer.per_day / answer.limit:.2%} more each day"
    soonest, likely, latest = (
        _days(at, screen.now) for at in (answer.soonest_at, answer.full_at, answer.latest_at)
    )
    screen.line(f"Full in {likely}, between {soonest} and {latest}: {growth}.")


def _days(at: datetime | None, now: datetime) -> str:
    if at is None:
        return "more than ten years"
    return counted(max(round((at - now) / _DAY), 0), "day")
