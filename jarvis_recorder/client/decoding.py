"""Deliveries of a subscription, decoded to records or notifications. Pure."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import TypeAdapter
from pydantic_core import from_json

from jarvis_recorder.wire.amqp.delivery import Delivery
from jarvis_recorder.wire.codec import decode
from jarvis_recorder.wire.records import SEVERITIES, Record, Severity
from jarvis_recorder.wire.refusal import Refused
from jarvis_recorder.wire.rpc.results import (
    OneEvent,
    OneIncident,
    OnePreference,
    Preference,
    StoredEvent,
    StoredIncident,
)
from jarvis_recorder.wire.topics import TOPICS, Kind, Topic, is_bound

NOTIFICATIONS: Final = "recorder.#"
_ONE_EVENT: Final = TypeAdapter(OneEvent)
_ONE_INCIDENT: Final = TypeAdapter(OneIncident)
_ONE_PREFERENCE: Final = TypeAdapter(OnePreference)


@dataclass(frozen=True, slots=True)
class EventRecorded:
    """An event has been recorded by a request, and so was never published."""

    event: StoredEvent


@dataclass(frozen=True, slots=True)
class EventResolved:
    """An event has been resolved."""

    event: StoredEvent


@dataclass(frozen=True, slots=True)
class EventReopened:
    """The resolution of an event has been undone."""

    event: StoredEvent


IncidentChange = Literal["opened", "acknowledged", "recovered", "resolved"]


@dataclass(frozen=True, slots=True)
class IncidentChanged:
    """The state of an incident has changed."""

    change: IncidentChange
    incident: StoredIncident


@dataclass(frozen=True, slots=True)
class PreferenceChanged:
    """A preference has been set."""

    preference: Preference


@dataclass(frozen=True, slots=True)
class PreferenceDeleted:
    """A preference is gone."""

    key: str


Notification = (
    EventRecorded
    | EventResolved
    | EventReopened
    | IncidentChanged
    | PreferenceChanged
    | PreferenceDeleted
)


_INCIDENTS: Final[dict[bytes, IncidentChange]] = {
    b"recorder.incident.opened": "opened",
    b"recorder.incident.acknowledged": "acknowledged",
    b"recorder.incident.recovered": "recovered",
    b"recorder.incident.resolved": "resolved",
}


def bindings(kinds: Collection[Kind]) -> list[str]:
    """Return the binding keys that records of these kinds are published under."""
    return [topic.binding for topic in TOPICS if topic.kind in kinds]


class RecordReader:
    """
    A decoder of deliveries that returns the records that pass every filter given.

    A record without a severity, a node or a cluster does not pass a filter for one.
    """

    def __init__(
        self,
        *,
        severity: Severity | None,
        node: str | None,
        cluster: str | None = None,
        now: Callable[[], int],
    ) -> None:
        self._severities = SEVERITIES[SEVERITIES.index(severity) :] if severity else None
        self._node = node
        self._cluster = cluster
        self._now = now

    def __call__(self, delivery: Delivery) -> Iterable[Record]:
        decoded = decode(delivery, _topic(delivery.routing_key), self._now())
        if decoded.refusals and not decoded.records:
            raise Refused(decoded.refusals[0].reason, decoded.refusals[0].error)
        return [record for record in decoded.records if self._passes(record)]

    def _passes(self, record: Record) -> bool:
        if self._severities and getattr(record.body, "severity", None) not in self._severities:
            return False
        if self._cluster is not None and self._cluster != _cluster(record):
            return False
        return self._node is None or getattr(record.body, "node", None) == self._node


def _cluster(record: Record) -> str | None:
    """Return the cluster of an event or a snapshot, empty if it names none."""
    return getattr(record.body, "cluster", "") or "" if record.kind is not Kind.TURN else None


def _topic(routing_key: bytes) -> Topic:
    """Return the topic that a routing key belongs to, as the broker would bind it."""
    for topic in TOPICS:
        if is_bound(routing_key, topic.binding):
            return topic
    raise ValueError("no records are published under this routing key")


def read_notification(delivery: Delivery) -> Iterable[Notification]:
    """
    Return the notification in a delivery, none if this version does not know it.

    Raises:
        ValueError: The body does not match the routing key.
    """
    match delivery.routing_key:
        case b"recorder.event.recorded":
            return [EventRecorded(_ONE_EVENT.validate_json(delivery.body).event)]
        case b"recorder.event.resolved":
            return [EventResolved(_ONE_EVENT.validate_json(delivery.body).event)]
        case b"recorder.event.reopened":
            return [EventReopened(_ONE_EVENT.validate_json(delivery.body).event)]
        case key if (change := _INCIDENTS.get(key)) is not None:
            return [IncidentChanged(change, _ONE_INCIDENT.validate_json(delivery.body).incident)]
        case b"recorder.preference.changed":
            return [_preference(from_json(delivery.body))]
    return []


def _preference(document: Any) -> Notification:
    match document:
        case {"preference": {"key": str(key), "deleted": True}}:
            return PreferenceDeleted(key)
    return PreferenceChanged(_ONE_PREFERENCE.validate_python(document).preference)
