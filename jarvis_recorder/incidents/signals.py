"""Signals: what an event says of a condition, by the rules."""

import re
from collections.abc import Iterable, Mapping
from enum import IntEnum
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from jarvis_recorder.incidents.rules import Rule, Rules
from jarvis_recorder.wire.measures import ObjectKind
from jarvis_recorder.wire.records import Severity

_TAG: Final = re.compile(r"\s{0,8}(?:\[[^\]]{0,64}\]\s{0,8})?([A-Z][A-Z0-9_]{1,63}):\s", re.ASCII)
# By itself or with its unit: that of `pve2` or `sda1` tells one object from another.
_NUMBER: Final = re.compile(r"(?<![\w.-])\d+(?:[.,:]\d+)*(?=[A-Za-zµ]{0,3}(?!\w))")
_SPACE: Final = re.compile(r"\s+")
_OBJECT: Final = re.compile(
    r"\b(?:pool|storage|disk|device|datastore|mount|service|VM|CT) ([\w./:-]{1,100})"
)
# A change of state says how it is now.
_CHANGES: Final = ("currentState", "current_state", "newState", "new_state")
_STATES: Final = ("state", "status")
_WELL: Final = frozenset(
    ("ok", "healthy", "normal", "recovered", "resolved", "cleared", "info", "good", "nominal")
)
# A full storage is available, and a guest whose processor is busy is running: of an object that is
# up this says that it is well only where the condition is to be down.
_UP: Final = frozenset(
    ("up", "online", "running", "started", "available", "active", "connected", "mounted")
)
_OBJECTS: Final = (
    "vmid", "guest", "vm", "storage", "pool", "datastore", "mountpoint", "device", "disk",
    "service", "unit", "job", "interface", "metric", "alertname", "check",
)  # fmt: skip
_LONGEST: Final = 200
_KEPT: Final = 180
# In the place of the node: a cluster alone would look like one.
_NO_NODE: Final = "-"
_LARGEST: Final = 10**18
_LONGEST_SUMMARY: Final = 250


class Effect(IntEnum):
    """The effect of a signal, in the order in which those of one time take place."""

    PROBLEM = 0
    RECOVERY = 1
    ACKNOWLEDGE = 2
    RESOLVE = 3
    REOPEN = 4


class Condition(NamedTuple):
    """
    A condition that something may be in, by its key.

    It is `guessed` unless the publisher named it. `evidence` is the kind of object in a snapshot
    that shows whether it is so, `shown_as` the name it has there. One that `covers` is the cause of
    those of the guests on its node.
    """

    key: str
    kind: str
    node: str | None
    object: str | None
    cluster: str | None
    guessed: bool
    evidence: ObjectKind | None
    shown_as: str | None
    covers: bool


class EventFacts(NamedTuple):
    """The fields of an event that decide about its signal; `subject` is a CloudEvent's."""

    type: str
    severity: Severity
    node: str | None
    cluster: str | None
    summary: str
    details: Any
    subject: str | None


class Signal(NamedTuple):
    """
    Something that happened to a condition, at a time in microseconds.

    If a person resolved an event, `of` is the time of that event's problem. The signal closes an
    incident only if that problem is its newest.
    """

    at: int
    effect: Effect
    severity: Severity = "info"
    by: str | None = None
    note: str | None = None
    of: int | None = None

    def order(self) -> tuple[int, int]:
        """Return the place among the signals of its condition, whatever came first."""
        return self.at, self.effect


def read_event(event: EventFacts, rules: Rules) -> tuple[Condition, Effect] | None:
    """
    Return the condition that an event is about and its effect, None for an event of no condition.

    Only an alert is a problem. An alert of severity info, or one whose details say that all is
    well, is a recovery; so is another event that names the condition, or its tag, and says that.
    """
    if event.type == "metric":
        return None
    details: Mapping[str, Any] = event.details if isinstance(event.details, dict) else {}
    tag = _tag(event.summary)
    named = _text(details.get("incident")) or _text(event.subject)
    rule = rules.recoveries.get(tag) or rules.problems.get(tag)
    effect = _effect(event, details, rules, tag, is_named=bool(named))
    if effect is None:
        return None
    return _condition(event, details, rule, tag, named), effect


def details_read(rules: Rules) -> frozenset[str]:
    """Return the names in the details of an event that decide about its signal."""
    own = (name for rule in rules.rules for names in rule.object for name in names.split("+"))
    return frozenset(("incident", *_CHANGES, *_STATES, *_OBJECTS, *own))


def _tag(summary: str) -> str:
    found = _TAG.match(summary)
    return found[1] if found else ""


def _effect(
    event: EventFacts, details: Mapping[str, Any], rules: Rules, tag: str, *, is_named: bool
) -> Effect | None:
    if tag in rules.recoveries:
        return Effect.RECOVERY
    rule = rules.problems.get(tag)
    is_well = event.severity == "info" or _says_well(
        details, _WELL | _UP if rule and rule.evidence else _WELL
    )
    if event.type == "alert":
        return Effect.RECOVERY if is_well else Effect.PROBLEM
    return Effect.RECOVERY if is_well and (is_named or tag) else None


def _says_well(details: Mapping[str, Any], words: frozenset[str]) -> bool:
    return bool(_words(details, _CHANGES) & (_WELL | _UP) or _words(details, _STATES) & words)


def _words(details: Mapping[str, Any], names: Iterable[str]) -> set[str]:
    return {value.lower() for name in names if isinstance(value := details.get(name), str)}


def _condition(
    event: EventFacts, details: Mapping[str, Any], rule: Rule | None, tag: str, named: str | None
) -> Condition:
    kind = rule.kind if rule else tag or _masked(event.summary)
    about = _object(event.summary, details, rule, has_tag=bool(tag))
    evidence = rule.evidence if rule else None
    node = event.node
    if not node and rule and rule.node_text:
        node = _found(rule.node_text, event.summary)
    return Condition(
        named or _key(event.cluster, node, kind, about),
        kind,
        node,
        about,
        event.cluster or None,
        not named,
        evidence,
        _shown_as(evidence, node, about),
        bool(rule and rule.covers),
    )


def _shown_as(evidence: ObjectKind | None, node: str | None, about: str | None) -> str | None:
    match evidence:
        case "node":
            return node
        case "storage":
            return f"{node}/{about}" if node and about and "/" not in about else about
        case _:
            return about if evidence else None


def _masked(summary: str) -> str:
    """Return a summary with N for each number: those of one condition differ in nothing else."""
    short = _SPACE.sub(" ", summary[:_LONGEST_SUMMARY]).strip()
    return _NUMBER.sub("N", short)[:_LONGEST] or "event"


def _object(
    summary: str, details: Mapping[str, Any], rule: Rule | None, *, has_tag: bool
) -> str | None:
    for names in _OBJECTS if rule is None else rule.object:
        found = [_text(details.get(name)) for name in names.split("+")]
        if all(found):
            return _bounded("/".join(map(str, found)))
    if rule is None:
        # The masked summary tells one object without a tag from another.
        return _found(_OBJECT, summary) if has_tag else None
    return _found(rule.text, summary) if rule.text else None


def _found(pattern: str | re.Pattern[str], summary: str) -> str | None:
    found = re.search(pattern, summary[:_LONGEST_SUMMARY])
    return _bounded(found[1]) if found and found[1] else None


def _text(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    # Python writes out no integer of thousands of digits.
    if isinstance(value, int) and not -_LARGEST < value < _LARGEST:
        return None
    # PostgreSQL stores no NUL; another program may have stored one as an escape in JSON.
    return _bounded(str(value).replace("\0", "")) or None


def _key(cluster: str | None, node: str | None, kind: str, about: str | None) -> str:
    place = (cluster, node or _NO_NODE) if cluster else (node,)
    return _bounded("/".join(filter(None, (*place, kind, about))))


def _bounded(name: str) -> str:
    """Return a name, or of a long one the beginning with a digest: its end may be what tells."""
    if len(name) <= _LONGEST:
        return name
    return f"{name[:_KEPT]}~{blake2b(name.encode(), digest_size=8).hexdigest()}"
