"""
Names of unknown fields that resemble a field of a body.

They are counted and logged, so that a publisher's mistake is noticed; none is taken for the field.
"""

from collections.abc import Iterator, Sequence
from dataclasses import fields
from functools import lru_cache
from typing import Final, NamedTuple

from jarvis_recorder.wire.liberal import (
    BY_PLAIN_NAME,
    LONGEST_NAME,
    NAMES_LOOKED_AT,
    USAGES,
    Document,
    field_of,
    is_usage,
    name_of_message,
    plain_name,
)
from jarvis_recorder.wire.records import BODIES, BODY_CLASSES, Record
from jarvis_recorder.wire.topics import Kind

# Names often meant for a field, but ambiguous: counted and logged, not taken.
_NEAR: Final = {
    Kind.EVENT: {
        "host": "node", "hostname": "node", "nodename": "node", "instance": "node",
        "level": "severity", "loglevel": "severity", "priority": "severity",
        "severitytext": "severity", "detail": "details", "data": "details",
    },
    Kind.SNAPSHOT: {"clustername": "cluster", "clusterid": "cluster"},
    Kind.TURN: {
        "cost": "cost_usd", "totalcost": "cost_usd", "totalcostusd": "cost_usd",
        "price": "cost_usd", "tokens": "tokens_used", "tokencount": "tokens_used",
        "modelname": "model", "modelid": "model", "toolcall": "tool_calls",
        "functioncall": "tool_calls",
    },
}  # fmt: skip
_NEAR_A_TIME: Final = frozenset(
    ("time", "ts", "date", "datetime", "createdat", "occurredat", "eventtime", "sentat")
)
_SHORTEST_MISSPELT: Final = 6
# One letter more than the longest name of a field.
_LONGEST_MISSPELT: Final = 1 + max(len(name) for rules in BODIES.values() for name in rules.fields)
_MOST_REMEMBERED: Final = 512
_MOST_SETS_REMEMBERED: Final = 256
_MOST_NAMES_REMEMBERED: Final = 4_096


class NearMiss(NamedTuple):
    """A name in `extra` that resembles a field left empty, and the number of records with it."""

    field: str
    name: str
    records: int = 1


def has_other_names(kind: Kind, unknown: Document) -> bool:
    """Say whether an unknown field has a name that is read like that of a field."""
    return _classified(kind, unknown).some_are_fields


def find_near_misses(records: Sequence[Record]) -> Sequence[NearMiss]:
    """
    Return the names that resemble a field left empty: of each field the first.

    They are kept in `extra`, but a query by the field will not find them.
    """
    found: dict[str, NearMiss] = {}
    for record in records:
        if record.extra is None:
            continue
        # Of an envelope only the message's names are its publisher's.
        envelope = name_of_message(record.extra)
        names = record.extra if envelope is None else record.extra[envelope]
        for near in _classified(record.kind, names).resembling:
            if _is_empty(record, near.field):
                before = found.get(near.field)
                found[near.field] = (
                    near if before is None else before._replace(records=before.records + 1)
                )
    return tuple(found.values()) if found else ()


def _is_empty(record: Record, field: str) -> bool:
    if field == "timestamp":
        return record.stamped
    return getattr(record.body, field) in _EMPTY[record.kind, field]


class _Names(NamedTuple):
    """Findings about unknown names: is any a field in another spelling, which fields they resemble."""

    some_are_fields: bool
    resembling: tuple[NearMiss, ...]


_CLASSIFIED: Final[dict[Kind, dict[tuple[str, ...], _Names]]] = {kind: {} for kind in Kind}


def _classified(kind: Kind, unknown: Document) -> _Names:
    """Return what is known of the unknown names of a body; publishers send few sets of them."""
    names = tuple(unknown)
    # Looked up as they are: what they are in all is measured only where they are new.
    found = _CLASSIFIED[kind].get(names)
    return _classify_new(kind, names) if found is None else found


def _classify_new(kind: Kind, names: tuple[str, ...]) -> _Names:
    """Classify names, and remember them unless they are many, or one is of megabytes."""
    if sum(map(len, names)) > _MOST_REMEMBERED:
        return _classify(
            kind, [name for name in names[:NAMES_LOOKED_AT] if len(name) <= LONGEST_NAME]
        )
    remembered = _CLASSIFIED[kind]
    if len(remembered) >= _MOST_SETS_REMEMBERED:
        remembered.clear()
    found = remembered[names] = _classify(kind, names)
    return found


def _classify(kind: Kind, names: Sequence[str]) -> _Names:
    by_name = {name: _classify_name(kind, name) for name in reversed(names)}
    resembled = {alone.resembled: name for name, alone in by_name.items()}
    return _Names(
        any(alone.is_field for alone in by_name.values()),
        tuple(NearMiss(field, name) for field, name in resembled.items() if field is not None),
    )


class _Name(NamedTuple):
    """Findings about an unknown name: is it a field's in another spelling, which field it resembles."""

    is_field: bool
    resembled: str | None


# The same names in another order are another set of names.
@lru_cache(_MOST_NAMES_REMEMBERED)
def _classify_name(kind: Kind, name: str) -> _Name:
    is_field = field_of(kind, name) is not None or (kind is Kind.TURN and is_usage(name))
    return _Name(is_field, _resembled(kind, name))


def _resembled(kind: Kind, name: str) -> str | None:
    """Return the field that a name was probably meant for, if any."""
    if name in BODIES[kind].fields:
        return None
    plain = plain_name(name)
    if kind is Kind.TURN and plain in USAGES:
        return "tokens_used"
    if plain in _NEAR_A_TIME:
        return "timestamp"
    return (
        BY_PLAIN_NAME[kind].get(plain)
        or _NEAR[kind].get(plain)
        or next(filter(None, map(_MISSPELT[kind].get, _spellings(plain))), None)
    )


def _spellings(plain: str) -> Iterator[str]:
    """Yield a word, and it without each letter in turn: words one letter apart share one."""
    yield plain
    if len(plain) > _LONGEST_MISSPELT:
        return
    for at in range(len(plain)):
        yield plain[:at] + plain[at + 1 :]


_MISSPELT: Final = {
    kind: {
        spelling: name
        for plain, name in names.items()
        if len(plain) >= _SHORTEST_MISSPELT
        for spelling in _spellings(plain)
    }
    for kind, names in BY_PLAIN_NAME.items()
}
_EMPTY: Final = {
    (kind, field.name): (None, field.default, "")
    for kind, body in BODY_CLASSES.items()
    for field in fields(body)
}
