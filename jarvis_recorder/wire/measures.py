"""The measures that a snapshot holds: numbers of its nodes, guests and storages."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Literal, NamedTuple

ObjectKind = Literal["node", "guest", "storage"]
Measure = Literal["cpu", "mem", "maxmem", "disk", "maxdisk", "used", "total", "online"]

Growing = Literal["cpu", "mem", "disk", "used"]
"""A measure that has a limit."""

# Migration 0006 fills its table by these: one added here needs a list of its own there.
MEASURES: Final[tuple[Measure, ...]] = (
    "cpu", "mem", "maxmem", "disk", "maxdisk", "used", "total", "online",
)  # fmt: skip
_OF_MACHINES: Final[tuple[Measure, ...]] = ("cpu", "mem", "maxmem", "disk", "maxdisk", "online")
MEASURES_OF: Final[dict[ObjectKind, tuple[Measure, ...]]] = {
    "node": _OF_MACHINES,
    "guest": _OF_MACHINES,
    "storage": ("used", "total", "online"),
}

LIMITS: Final[dict[str, Measure]] = {"mem": "maxmem", "disk": "maxdisk", "used": "total"}
"""The measure that says how large another one can become."""

_UP: Final = frozenset(("online", "running", "available", "active"))
# Proxmox names the sizes of a storage in either way.
_OTHER_NAMES: Final = {"used": "disk", "total": "maxdisk"}
# Beyond it a database could not add up the values of a stretch.
_LARGEST: Final = 1e18
# Nearer to 0 a mean could be one that no double holds, which PostgreSQL refuses to compute.
_SMALLEST: Final = 1e-100
_LONGEST_NAME: Final = 255
_MOST_OBJECTS: Final = 5_000

Values = tuple[float | None, ...]
"""A value for each of `MEASURES`, None where the object has none."""


class Measured(NamedTuple):
    """The values of one node, guest or storage."""

    kind: ObjectKind
    name: str
    values: Values


def measured(snapshot: Any) -> Iterator[Measured]:
    """
    Yield the values of the objects in a snapshot, of 5,000 at most.

    A node goes by its name, a guest by its `vmid`, a storage by its name: behind that of its node
    and a slash, unless it is shared. What is not as expected is left out.
    """
    if not isinstance(snapshot, dict):
        return
    left = _MOST_OBJECTS
    for kind, member, name_of in _LISTS:
        objects = snapshot.get(member)
        for one in objects if isinstance(objects, list) else ():
            if not isinstance(one, dict) or not (name := name_of(one)):
                continue
            if (left := left - 1) < 0:
                return
            wanted = MEASURES_OF[kind]
            values = tuple(_value(one, each) if each in wanted else None for each in MEASURES)
            if any(value is not None for value in values) and len(name) <= _LONGEST_NAME:
                yield Measured(kind, name, values)


def _value(one: Mapping[str, Any], measure: Measure) -> float | None:
    if measure == "online":
        status = one.get("status")
        return float(status in _UP) if isinstance(status, str) else None
    value = one.get(measure)
    if value is None:
        value = one.get(_OTHER_NAMES.get(measure, measure))
    # True is no number.
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not -_LARGEST < value < _LARGEST:
        return None
    return float(value) if abs(value) >= _SMALLEST else 0.0


def _node(one: Mapping[str, Any]) -> str:
    return _text(one.get("name")) or _text(one.get("node"))


def _guest(one: Mapping[str, Any]) -> str:
    vmid = one.get("vmid")
    return str(vmid) if type(vmid) is int else _text(vmid)


def _storage(one: Mapping[str, Any]) -> str:
    name = _text(one.get("storage")) or _text(one.get("name"))
    node = _text(one.get("node"))
    return f"{node}/{name}" if name and node and not one.get("shared") else name


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


_LISTS: Final[tuple[tuple[ObjectKind, str, Callable[[Mapping[str, Any]], str]], ...]] = (
    ("node", "nodes", _node),
    ("guest", "vms", _guest),
    ("guest", "guests", _guest),
    ("storage", "storages", _storage),
)
