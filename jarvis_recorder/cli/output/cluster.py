"""Snapshots of the cluster, of any content, and the recorder's stats."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from jarvis_recorder.cli.output.sanitize import cut
from jarvis_recorder.cli.output.screen import Column, Screen
from jarvis_recorder.cli.output.units import ago, counted, duration, size
from jarvis_recorder.wire.rpc.results import (
    Extent,
    OneSnapshot,
    SnapshotHead,
    Stats,
    StoredSnapshot,
)

# Fields that Proxmox reports in bytes; other numbers are shown unchanged.
_BYTES: Final = frozenset(("mem", "maxmem", "disk", "maxdisk", "swap", "maxswap"))
_CELL: Final = 40
_VALUE: Final = 300


def describe(snapshot: StoredSnapshot) -> str:
    """Return id, cluster and size of a snapshot as text."""
    cluster = f" of {snapshot.cluster}" if snapshot.cluster else ""
    return f"snapshot {snapshot.id}{cluster}, {size(snapshot.size_bytes)}"


def show_snapshot(screen: Screen, answer: OneSnapshot) -> None:
    """Show a snapshot: lists of objects as tables, every other field as a line."""
    one = answer.snapshot
    clock = screen.clock([one.timestamp])
    screen.heading(f"{clock.named(one.timestamp)}, {ago(one.timestamp, screen.now)}")
    screen.line((describe(one), "dim"))
    show_object(screen, one.snapshot)


def show_object(screen: Screen, members: Mapping[str, Any]) -> None:
    """Show an object: lists of objects as tables, every other member as a line."""
    plain = {name: value for name, value in members.items() if not _is_table(value)}
    if plain:
        screen.blank()
        screen.facts((name, _value(screen, name, value)) for name, value in plain.items())
    for name, value in members.items():
        if _is_table(value):
            screen.blank()
            screen.line((name, "bold"), (f" ({len(value)})", "dim"))
            show_objects(screen, value)


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)


def show_objects(screen: Screen, objects: Sequence[Mapping[str, Any]]) -> None:
    """Show objects as rows: all keys in a pipe, those that fit the width on a terminal."""
    names = list(dict.fromkeys(name for one in objects for name in one))
    rows = [[_cell(screen, name, one[name]) if name in one else "-" for name in names]
            for one in objects]  # fmt: skip
    fitting = _fitting(screen.width, names, rows) if screen.is_terminal else len(names)
    columns = [
        Column(name, justify="right" if _is_number(objects, name) else "left")
        for name in names[:fitting]
    ]
    screen.table(columns, [row[:fitting] for row in rows])
    if fitting < len(names):
        left_out = ", ".join(names[fitting:])
        screen.line((f"without room: {left_out}; --json has all", "dim"), indent=2)


def _fitting(width: int, names: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """Return how many columns fit the width, at least one."""
    used = 2
    for at, name in enumerate(names):
        used += max(len(name), *(len(row[at]) for row in rows)) + 2
        if used > width:
            return max(at, 1)
    return len(names)


def _is_number(objects: Sequence[Mapping[str, Any]], name: str) -> bool:
    return all(
        isinstance(one[name], int | float) and not isinstance(one[name], bool)
        for one in objects
        if name in one
    )


def _cell(screen: Screen, name: str, value: Any) -> str:
    text = _plain(name, value)
    return cut(text, _CELL) if screen.is_terminal else text


def _value(screen: Screen, name: str, value: Any) -> str:
    if isinstance(value, dict) and not any(isinstance(one, dict | list) for one in value.values()):
        text = ", ".join(f"{key} {_plain(key, one)}" for key, one in value.items()) or "{}"
    else:
        text = _plain(name, value)
    return cut(text, _VALUE) if screen.is_terminal else text


def _plain(name: str, value: Any) -> str:
    match value:
        case bool() | None:
            return {True: "yes", False: "no", None: "-"}[value]
        case int() if name in _BYTES:
            return size(value)
        case float():
            return f"{value:.4g}"
        case str():
            return value
    return json.dumps(value, ensure_ascii=False)


def show_stats(screen: Screen, answer: Stats) -> None:
    """Show the recorder's activity and the totals of its database."""
    activity, holdings = answer.activity, answer.holdings
    clock = screen.clock([activity.started_at])
    running = duration(screen.now - activity.started_at)
    screen.heading(f"jarvis-recorder {activity.version}: {activity.state}", "green")
    screen.facts(
        [
            # A recorder of an earlier version does not say it.
            *([("answered by", activity.instance)] if activity.instance else []),
            ("running for", f"{running}, since {clock.named(activity.started_at)}"),
            ("recorded", f"{counted(activity.stored, 'record')} since then"),
            ("sent twice", f"{activity.duplicates:,} recognised and stored once"),
            ("dead letters", f"{activity.dead_lettered:,}"),
            ("at present", f"{activity.per_second:,.1f} records/s"),
            ("lag", f"{activity.lag_seconds:,.1f} s"),
            ("database", f"{size(holdings.database_bytes)}, journal {size(holdings.wal_bytes)}"),
            ("schema", holdings.schema_version),
            ("preferences", f"{holdings.preferences:,}"),
        ]
    )
    screen.blank()
    extents = {
        "events": holdings.events,
        "turns": holdings.conversations,
        "snapshots": holdings.cluster_snapshots,
    }
    _show_extents(screen, extents)


def _show_extents(screen: Screen, extents: Mapping[str, Extent]) -> None:
    clock = screen.clock(
        moment for extent in extents.values() for moment in (extent.oldest, extent.newest)
    )
    columns = (
        Column("kept", "cyan"),
        Column("rows", justify="right"),
        Column(clock.heading("oldest")),
        Column(clock.heading("newest")),
    )
    rows = [
        (name, f"{extent.count:,}", clock.text(extent.oldest), clock.text(extent.newest))
        for name, extent in extents.items()
    ]
    screen.table(columns, rows)


def show_snapshots(
    screen: Screen, snapshots: Sequence[SnapshotHead], *, continued: bool = False
) -> None:
    """Show a page of snapshots, one a row."""
    clock = screen.clock(one.timestamp for one in snapshots)
    columns = (
        Column("id", "dim", "right"),
        Column(clock.heading()),
        Column("size", justify="right"),
        Column("cluster", "cyan", wraps=True),
    )
    rows = [
        (str(one.id), clock.text(one.timestamp), size(one.size_bytes), one.cluster or "-")
        for one in snapshots
    ]
    screen.table(columns, rows, continued=continued)
