"""Notifications that the recorder publishes once a change is committed."""

from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from jarvis_recorder.wire.rpc import examples
from jarvis_recorder.wire.rpc.results import OneEvent, Preference

EVENT_RESOLVED: Final = "recorder.event.resolved"
EVENT_REOPENED: Final = "recorder.event.reopened"
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
        PREFERENCE_CHANGED,
        ChangedPreference,
        "A preference is set or deleted.",
        {"preference": examples.PREFERENCE},
    ),
)
