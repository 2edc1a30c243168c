"""The figures of `/metrics`, for people."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from jarvis_recorder.cli.output.screen import Column, Screen
from jarvis_recorder.cli.output.units import size
from jarvis_recorder.errors import RecorderError
from jarvis_recorder.telemetry import metrics
from jarvis_recorder.telemetry.metrics import Metric


class Figures(NamedTuple):
    """A recorder's figures since its start; times in seconds, None where there is none."""

    version: str
    state: str
    ready: bool
    stored: int
    duplicates: int
    batches: int
    records_in_batch: float | None
    commit_seconds: float | None
    oldest_unacked_seconds: float
    announcements_waiting: int | None
    database_bytes: int | None
    wal_bytes: int | None
    disk_free_bytes: int | None
    settled: Mapping[str, int]
    dead_lettered: Mapping[str, int]
    calls: Mapping[str, tuple[int, float]]
    """Method → number of calls, mean duration in seconds."""


def read(text: str) -> list[Sample]:
    """
    Parse the metrics of a recorder.

    Raises:
        RecorderError: The text is not a recorder's.
    """
    try:
        samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
    except (ValueError, KeyError, IndexError):
        samples = []
    if not any(sample.name == metrics.BUILD.name for sample in samples):
        raise RecorderError("what answers is no recorder: see what listens at http.listen")
    return samples


def figures(samples: Iterable[Sample]) -> Figures:
    """Return the figures that the samples hold."""
    by_name: dict[str, list[Sample]] = {}
    for sample in samples:
        by_name.setdefault(sample.name, []).append(sample)

    def one(metric: Metric, part: str = "") -> float | None:
        found = by_name.get(metric.name + part)
        return found[0].value if found else None

    def whole(metric: Metric, part: str = "") -> int | None:
        value = one(metric, part)
        return None if value is None else round(value)

    def mean(metric: Metric) -> float | None:
        count, total = one(metric, "_count"), one(metric, "_sum")
        return total / count if count and total is not None else None

    def each(metric: Metric, label: str) -> dict[str, int]:
        samples = by_name.get(metric.name, ())
        return {s.labels[label]: round(s.value) for s in samples if label in s.labels}

    return Figures(
        version=by_name[metrics.BUILD.name][0].labels.get("version", ""),
        state=_state(by_name.get(metrics.STATE.name, ())),
        ready=one(metrics.READY) == 1,
        stored=whole(metrics.STORED) or 0,
        duplicates=whole(metrics.DUPLICATES) or 0,
        batches=whole(metrics.BATCH_RECORDS, "_count") or 0,
        records_in_batch=mean(metrics.BATCH_RECORDS),
        commit_seconds=mean(metrics.COMMIT_SECONDS),
        oldest_unacked_seconds=one(metrics.OLDEST_UNACKED) or 0.0,
        announcements_waiting=whole(metrics.ANNOUNCEMENTS_WAITING),
        database_bytes=whole(metrics.DATABASE_BYTES),
        wal_bytes=whole(metrics.WAL_BYTES),
        disk_free_bytes=whole(metrics.DISK_FREE_BYTES),
        settled=each(metrics.CONSUMED, "messaging_destination_name"),
        dead_lettered=each(metrics.DEAD_LETTERED, "reason"),
        calls=_calls(by_name),
    )


def _state(samples: Iterable[Sample]) -> str:
    return next((s.labels.get("state", "") for s in samples if s.value == 1), "unknown")


def _calls(by_name: Mapping[str, list[Sample]]) -> dict[str, tuple[int, float]]:
    name = metrics.CALL_SECONDS.name
    counts: dict[str, float] = {}
    sums: dict[str, float] = {}
    for totals, suffix in ((counts, "_count"), (sums, "_sum")):
        for sample in by_name.get(name + suffix, ()):
            method = sample.labels.get("rpc_method", "")
            totals[method] = totals.get(method, 0.0) + sample.value
    return {
        method: (round(count), sums.get(method, 0.0) / count)
        for method, count in counts.items()
        if count
    }


def show_figures(screen: Screen, found: Figures) -> None:
    """Show the figures: first the totals, then each queue, reason and method."""
    colour = "green" if found.ready else "red"
    ready = "ready" if found.ready else "not ready: `jarvis-recorder health` says why"
    screen.heading(f"jarvis-recorder {found.version}: {found.state}, {ready}", colour)
    screen.facts(
        [
            ("recorded", f"{found.stored:,} records in {found.batches:,} batches"),
            ("sent twice", f"{found.duplicates:,} recognised and stored once"),
            ("in a batch", _number(found.records_in_batch, "records on average")),
            ("a commit", _milliseconds(found.commit_seconds)),
            ("oldest unacked", f"{found.oldest_unacked_seconds:.1f} s"),
            ("to announce", _number(found.announcements_waiting, "changes")),
            ("database", f"{_bytes(found.database_bytes)}, journal {_bytes(found.wal_bytes)}"),
            ("disk", f"{_bytes(found.disk_free_bytes)} free"),
        ]
    )
    _show_counts(screen, "queue", "settled", found.settled)
    dead = {reason: count for reason, count in found.dead_lettered.items() if count}
    if dead:
        _show_counts(screen, "dead-lettered as", "messages", dead)
    if found.calls:
        columns = (
            Column("method", "cyan"),
            Column("calls", justify="right"),
            Column("on average", justify="right"),
        )
        rows = [
            (method, f"{count:,}", _milliseconds(seconds))
            for method, (count, seconds) in sorted(found.calls.items())
        ]
        screen.blank()
        screen.table(columns, rows)


def _show_counts(screen: Screen, what: str, how_many: str, counts: Mapping[str, int]) -> None:
    columns = (Column(what, "cyan"), Column(how_many, justify="right"))
    screen.blank()
    screen.table(columns, [(name, f"{count:,}") for name, count in counts.items()])


def _number(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:,.0f} {unit}"


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1_000:,.1f} ms"


def _bytes(value: Any) -> str:
    return "-" if value is None else size(value)
