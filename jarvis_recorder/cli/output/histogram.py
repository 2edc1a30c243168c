"""A histogram of events: columns on a terminal, one bar a line elsewhere."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, tzinfo
from itertools import accumulate
from typing import Final, NamedTuple

from rich.text import Text

from jarvis_recorder.cli.output.screen import Screen
from jarvis_recorder.cli.output.units import TimeFormat, counted, duration
from jarvis_recorder.wire.rpc.results import Bucket, Histogram
from jarvis_recorder.wire.times import LATEST, to_datetime

_SEVERITIES: Final = {
    "critical": "red", "error": "dark_orange", "warning": "yellow", "info": "green",
}  # fmt: skip
_COLOURS: Final = ("cyan", "magenta", "yellow", "green", "blue", "red", "white")
_EIGHTHS: Final = " ▁▂▃▄▅▆▇█"
_ACROSS: Final = " ▏▎▍▌▋▊▉█"
_ROWS: Final = 10
_BAR: Final = 40
_BAR_BESIDE_NUMBERS: Final = 24
_WIDEST: Final = 8


class _Series(NamedTuple):
    """
    One value of the field that events are counted by; the first series is drawn at the bottom.

    A series without a name counts the events of no other series.
    """

    name: str | None
    label: str
    colour: str
    total: int


def show_histogram(
    screen: Screen, answer: Histogram, by: str | None, zone: tzinfo | None = None
) -> None:
    """
    Show a histogram; `by` is the field that its buckets are counted by.

    Its times are of `zone`, whose days the buckets are, or of the screen's if that is None.
    """
    buckets = answer.buckets
    span = timedelta(seconds=answer.bucket_seconds)
    # The last bucket may end after the latest time that can be represented.
    end = buckets[-1].start + min(span, to_datetime(LATEST) - buckets[-1].start)
    clock = screen.clock([buckets[0].start, end], zone)
    total = sum(bucket.count for bucket in buckets)
    series = _series(buckets, by, total)
    screen.heading(
        f"{counted(total, 'event')}, {clock.text(buckets[0].start)} to {clock.named(end)}"
    )
    if not total:
        screen.note("No event fits. Try an earlier --since, or fewer filters.")
    elif screen.is_terminal and (screen.has_colours or by is None):
        _Chart(screen, answer, series, clock).show()
    else:
        screen.drawing(_bars(answer, series, clock))


def _series(buckets: Sequence[Bucket], by: str | None, total: int) -> list[_Series]:
    if by is None:
        return [_Series(None, "", "cyan", total)]
    totals: Counter[str] = Counter()
    for bucket in buckets:
        totals.update(bucket.by)
    if by == "severity":
        names = sorted(totals, key=lambda name: [*_SEVERITIES, name].index(name))
    else:
        names = [name for name, _ in totals.most_common()]
    kept = names if len(names) <= len(_COLOURS) else names[: len(_COLOURS) - 1]
    colours = _SEVERITIES if by == "severity" else dict(zip(kept, _COLOURS, strict=False))
    series = [
        _Series(name, name or "none named", colours.get(name, "white"), totals[name])
        for name in kept
    ]
    rest = total - sum(one.total for one in series)
    return [*series, _Series(None, "others", "bright_black", rest)] if rest > 0 else series


def _counts(buckets: Sequence[Bucket], series: Sequence[_Series]) -> list[int]:
    """Return the number of events of each series in these buckets."""
    named = [
        sum(bucket.by.get(one.name, 0) for bucket in buckets)
        for one in series
        if one.name is not None
    ]
    rest = sum(bucket.count for bucket in buckets) - sum(named)
    return named if len(named) == len(series) else [*named, rest]


def _bars(answer: Histogram, series: Sequence[_Series], clock: TimeFormat) -> Iterator[Text]:
    """Yield a line for each bucket: start, count, bar, counts of the series."""
    highest = max(bucket.count for bucket in answer.buckets) or 1
    width = len(f"{highest:,}")
    longest = _BAR if len(series) == 1 else _BAR_BESIDE_NUMBERS
    for bucket in answer.buckets:
        bar = _bar(bucket.count / highest, longest)
        counts = zip(series, _counts([bucket], series), strict=True)
        parts = ", ".join(f"{one.label} {count:,}" for one, count in counts if count and one.label)
        line = f"{clock.text(bucket.start)}  {bucket.count:>{width},}  {bar}  {parts}"
        yield Text(line.rstrip())


def _bar(share: float, longest: int) -> str:
    eighths = max(round(share * longest * 8), 1) if share else 0
    bar = "█" * (eighths // 8) + _ACROSS[eighths % 8].strip()
    return f"{bar:<{longest}}"


class _Chart:
    """Columns in eighths of a row; if two series meet in one cell, one is its background."""

    def __init__(
        self, screen: Screen, answer: Histogram, series: Sequence[_Series], clock: TimeFormat
    ) -> None:
        self._screen = screen
        self._series = series
        self._clock = clock
        margin = len(f"{max(bucket.count for bucket in answer.buckets) * 100:,}") + 2
        room = max(screen.width - margin - 1, 10)
        together = -(-len(answer.buckets) // room)
        groups = [
            answer.buckets[at : at + together] for at in range(0, len(answer.buckets), together)
        ]
        self._span = timedelta(seconds=answer.bucket_seconds * together)
        self._starts = [group[0].start for group in groups]
        self._columns = [_counts(group, series) for group in groups]
        self._highest = max(map(sum, self._columns)) or 1
        self._width = max(1, min(room // len(groups), _WIDEST))
        self._margin = max(len(f"{self._highest:,}"), 1) + 1

    def show(self) -> None:
        self._screen.blank()
        self._screen.drawing(self._rows())
        self._screen.drawing(self._axis())
        self._screen.drawing(self._legend())

    def _rows(self) -> Iterator[Text]:
        tops = [self._tops(counts) for counts in self._columns]
        labels = {_ROWS - 1: f"{self._highest:,}", 0: ""}
        if self._highest >= 4 and self._highest % 2 == 0:
            labels[_ROWS // 2 - 1] = f"{self._highest / 2:,.0f}"
        for row in range(_ROWS - 1, -1, -1):
            tick = "┤" if labels.get(row) else "│"
            line = Text.assemble((f"{labels.get(row, ''):>{self._margin}}{tick}", "dim"))
            for column in tops:
                line.append_text(self._cell(column, row * 8))
            yield line

    def _tops(self, counts: Sequence[int]) -> list[int]:
        """Return the top of each series of a column, in eighths of a row; at least one if it has events."""
        tops: list[int] = []
        for end, count in zip(accumulate(counts), counts, strict=True):
            below = tops[-1] if tops else 0
            tops.append(max(round(end / self._highest * _ROWS * 8), below + bool(count)))
        return [min(top, _ROWS * 8) for top in tops]

    def _cell(self, tops: Sequence[int], floor: int) -> Text:
        height = tops[-1] - floor
        if height <= 0:
            return Text(" " * self._width)
        lower = next(at for at, top in enumerate(tops) if top > floor)
        filled = min(tops[lower] - floor, 8)
        style = self._series[lower].colour
        if filled < min(height, 8):
            upper = next(at for at, top in enumerate(tops) if top > floor + filled)
            if height >= 8:
                style = f"{style} on {self._series[upper].colour}"
            else:  # A cell holds two colours but not also a gap: keep the lower, the more severe.
                filled = height
        return Text(_EIGHTHS[filled] * self._width, style)

    def _axis(self) -> Iterator[Text]:
        """Yield the axis and as many of its times as fit."""
        pattern = _pattern(self._starts, self._span)
        label = len(self._clock.text(self._starts[0], pattern))
        every = -(-(label + 3) // self._width)
        line, times = "", ""
        for at, start in enumerate(self._starts):
            marked = at % every == 0
            line += ("┬" if marked else "─") + "─" * (self._width - 1)
            if marked and at * self._width + label <= len(self._starts) * self._width + 1:
                times = f"{times:<{at * self._width}}{self._clock.text(start, pattern)}"
        yield Text(f"{'0':>{self._margin}}└{line}", "dim")
        yield Text(f"{'':>{self._margin}} {times}", "dim")

    def _legend(self) -> Iterator[Text]:
        line = Text(f"{'':>{self._margin}} ")
        for one in self._series:
            if one.label:
                line.append("■ ", one.colour)
                line.append(f"{one.label} {one.total:,}   ")
        yield line.append(f"a column is {duration(self._span)}", "dim")


def _pattern(starts: Sequence[datetime], span: timedelta) -> str:
    """Return the shortest time format that keeps the times of the axis distinct."""
    if span >= timedelta(days=1):
        return "%Y-%m-%d"
    if starts[-1] - starts[0] >= timedelta(days=1):
        return "%m-%d %H:%M"
    return "%H:%M:%S" if span < timedelta(minutes=1) else "%H:%M"
