"""Notifications that the recorder publishes once a change is committed."""

from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from jarvis_recorder.wire.rpc import examples
from jarvis_recorder.wire.rpc.results import OneEvent, OneIncident, Preference

EVENT_RECORDED: Final = "recorder.event.recorded"
EVENT_RESOLVED: Final = "recorder.event.resolved"
EVENT_REOPENED: Final = "recorder.event.reopened"
INCIDENT_OPENED: Final = "recorder.incident.opened"
INCIDENT_ACKNOWLEDGED: Final = "recorder.incident.acknowledged"
INCIDENT_RECOVERED: Final = "recorder.incident.recovered"
INCIDENT_RESOLVED: Final = "recorder.incident.resolved"
PREFERENCE_CHANGED: Final = "recorder.preference.changed"


@dataclass(frozen=True, slots=True)
class DeletedPreference:
    """A preference that is gone."""

    key: str
    deleted: Literal[True]


@dataclass(frozen=True, slots=True)
class ChangedPreference:
    """A preference as it is now, or that it is gone."""

    preference: Preference | DeletedPreference


class Notification(NamedTuple):
    """One kind of notification: its routing key, its body, its occasion, and an example as JSON."""

    routing_key: str
    body: type[Any]
    occasion: str
    example: dict[str, Any]


NOTICES: Final = (
    Notification(
        EVENT_RECORDED,
        OneEvent,
        "An event is recorded by a request; one that was published is not announced again.",
        {"event": examples.EVENT},
    ),
    Notification(
        EVENT_RESOLVED,
        OneEvent,
        "An event is resolved for the first time.",
        {"event": examples.RESOLVED},
    ),
    Notification(
        EVENT_REOPENED,
        OneEvent,
        "The resolution of an event is undone.",
        {"event": examples.EVENT},
    ),
    Notification(
        INCIDENT_OPENED,
        OneIncident,
        "A condition becomes a problem, or does again; a person opens an incident again.",
        {"incident": examples.INCIDENT},
    ),
    Notification(
        INCIDENT_ACKNOWLEDGED,
        OneIncident,
        "A person has seen an incident.",
        {"incident": examples.ACKNOWLEDGED},
    ),
    Notification(
        INCIDENT_RECOVERED,
        OneIncident,
        "A condition is no problem any more.",
        {"incident": examples.RECOVERED},
    ),
    Notification(
        INCIDENT_RESOLVED,
        OneIncident,
        "A person resolves an incident, or its rule does.",
        {"incident": examples.CLOSED},
    ),
    Notification(
        PREFERENCE_CHANGED,
        ChangedPreference,
        "A preference is set or deleted.",
        {"preference": examples.PREFERENCE},
    ),
)
