"""The differences between two snapshots of a cluster, found by stable keys."""

from collections.abc import Iterator
from functools import partial
from typing import Any, Final, NamedTuple

from pydantic_core import from_json, to_json

from jarvis_recorder.errors import NotFound, ResultTooLarge
from jarvis_recorder.storage.queries.reading import Pace, Queries, Query, Reading
from jarvis_recorder.storage.queries.snapshots import (
    SnapshotText,
    cluster_of,
    snapshot_text,
    too_large_to_compare,
)
from jarvis_recorder.wire.rpc.params import DiffSnapshots
from jarvis_recorder.wire.rpc.results import Step

# The most that two snapshots take together as JSON, and their most values as `_values` counts them:
# as objects values take up to thirty times as much. A snapshot of a thousand guests has some 25,000.
MOST_BYTES: Final = 8 * 1024 * 1024
MOST_VALUES: Final = 120_000
_FRAME_BYTES: Final = 4_096

# What tells the elements of a list apart, first the keys that survive a migration or a new name.
_KEYS: Final = (
    ("vmid",),
    ("storage", "node"),
    ("storage",),
    ("id",),
    ("name",),
    ("node",),
)

Path = tuple[Step, ...]


class Difference(NamedTuple):
    """A value at a path that only the second one has, only the first one, or both, unlike."""

    kind: str
    path: Path
    old: Any = None
    new: Any = None


def diff_snapshots(reading: Reading, params: DiffSnapshots) -> bytes:
    """
    Return what is added, removed and changed between the snapshots in force at two times.

    Raises:
        InvalidParameter: There are several clusters, and none is named.
        NotFound: The cluster has no snapshot so old as one of the times.
        ResultTooLarge: The snapshots are too large to be compared, or the result is.
    """
    cluster = cluster_of(reading, params.cluster)
    texts = [snapshot_text(reading, cluster, at, MOST_BYTES) for at in (params.from_, params.to)]
    if None in texts:
        raise NotFound("there is no such snapshot: snapshots.list tells which there are")
    first, second = (one for one in texts if one is not None)
    parts = reading.aside(partial(_parts, reading, first, second, params.tolerance))
    return b'{%b,"before":%b,"after":%b}' % (b",".join(parts), first.head, second.head)


def _parts(
    reading: Reading, first: SnapshotText, second: SnapshotText, tolerance: float
) -> list[bytes]:
    """Return the differences of each kind as a member of the result."""
    found: dict[str, list[bytes]] = {"added": [], "removed": [], "changed": []}
    room = reading.room - _FRAME_BYTES
    for one in _differences_of(first, second, tolerance):
        reading.go_on()
        line = _written(one)
        room -= len(line) + 1
        if room < 0:
            raise ResultTooLarge(
                "the differences do not fit into a reply",
                "choose a larger tolerance, or times that are closer",
            )
        found[one.kind].append(line)
    return [b'"%b":[%b]' % (kind.encode(), b",".join(lines)) for kind, lines in found.items()]


def _differences_of(
    first: SnapshotText, second: SnapshotText, tolerance: float
) -> Iterator[Difference]:
    if first.text == second.text:
        return
    if (
        len(first.text) + len(second.text) > MOST_BYTES
        or _values(first.text, second.text) > MOST_VALUES
    ):
        raise too_large_to_compare()
    yield from differences(from_json(first.text), from_json(second.text), tolerance)


def _values(*texts: bytes) -> int:
    """Return an upper bound of the number of values: each but the first has one of these."""
    return sum(text.count(sign) for text in texts for sign in (b",", b"[", b"{", b":"))


def _written(one: Difference) -> bytes:
    fields: dict[str, Any] = {"path": one.path}
    if one.kind == "changed":
        fields |= {"from": one.old, "to": one.new}
    else:
        fields["value"] = one.new if one.kind == "added" else one.old
    return to_json(fields)


def differences(old: Any, new: Any, tolerance: float = 0, path: Path = ()) -> Iterator[Difference]:
    """
    Yield the differences between two JSON values.

    Objects are compared by member. Lists of objects that a key tells apart are compared by it,
    whatever their order; other lists of the same length by place. Numbers are the same if they
    differ by no more than `tolerance`, a share of the larger one.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        yield from _of_members(old, new, tolerance, path, {name: name for name in (*old, *new)})
    elif isinstance(old, list) and isinstance(new, list) and (key := _key_of(old, new)):
        first, second = _by_key(old, key), _by_key(new, key)
        steps: dict[Any, Step] = {
            values: dict(zip(key, values, strict=True)) for values in (*first, *second)
        }
        yield from _of_members(first, second, tolerance, path, steps)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for place, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from differences(before, after, tolerance, (*path, place))
    elif not _same(old, new, tolerance):
        yield Difference("changed", path, old, new)


def _of_members(
    old: dict[Any, Any], new: dict[Any, Any], tolerance: float, path: Path, steps: dict[Any, Step]
) -> Iterator[Difference]:
    for name, step in steps.items():
        at = (*path, step)
        if name not in new:
            yield Difference("removed", at, old=old[name])
        elif name not in old:
            yield Difference("added", at, new=new[name])
        else:
            yield from differences(old[name], new[name], tolerance, at)


def _key_of(*lists: list[Any]) -> tuple[str, ...] | None:
    """Return the members that tell apart the elements of each of the lists, None if none do."""
    elements = [one for each in lists for one in each]
    if not elements or not all(isinstance(one, dict) for one in elements):
        return None
    return next((key for key in _KEYS if all(_tells_apart(key, each) for each in lists)), None)


def _tells_apart(key: tuple[str, ...], elements: list[dict[str, Any]]) -> bool:
    values = [tuple(one.get(name) for name in key) for one in elements]
    # A number and its text are two keys, and true is no number.
    plain = all(type(part) in (str, int) for parts in values for part in parts)
    return plain and len(set(values)) == len(values)


def _by_key(elements: list[dict[str, Any]], key: tuple[str, ...]) -> dict[Any, Any]:
    return {tuple(one[name] for name in key): one for one in elements}


def _same(old: Any, new: Any, tolerance: float) -> bool:
    numbers = (int, float)
    if type(old) in numbers and type(new) in numbers:
        if old == new or not tolerance:
            return bool(old == new)
        try:
            return bool(abs(old - new) <= tolerance * max(abs(old), abs(new)))
        except OverflowError:  # an integer beyond any float
            return False
    return type(old) is type(new) and bool(old == new)


QUERIES: Final[Queries] = {DiffSnapshots: Query(diff_snapshots, Pace.SCAN)}
