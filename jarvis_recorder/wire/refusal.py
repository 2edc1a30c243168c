"""Refusals of messages that cannot be recorded, and their reasons."""

from enum import StrEnum
from typing import Final, NamedTuple

MOST_REFUSED_ALONE: Final = 500
"""The elements of one message that may be refused each by itself; of more the message is, whole."""


class Reason(StrEnum):
    """The `x-recorder-reason` of a dead letter."""

    NOT_JSON = "not_json"
    INVALID = "invalid"
    TOO_LARGE = "too_large"
    UNSUPPORTED_ENCODING = "unsupported_encoding"
    UNDECODABLE = "undecodable"
    ID_COLLISION = "id_collision"
    REFUSED_BY_STORAGE = "refused_by_storage"
    INTERNAL = "internal"


class Element(NamedTuple):
    """One element of a batch as a message of its own; its `message_id` keeps its identity."""

    body: bytes
    message_id: str | None
    content_type: str


class Refusal(NamedTuple):
    """
    A message, or one element of it, that cannot be recorded.

    `error` is for people: it says where, and never repeats a value of the message.
    Without an `element` the whole message is refused.
    """

    reason: Reason
    error: str
    element: Element | None = None


def together(count: int, first: Refusal) -> Refusal:
    """Return one refusal of a whole message, in place of those of so many of its elements."""
    error = f"{count} elements are refused, together as one message; {first.error}"
    return Refusal(first.reason, error)


class Refused(Exception):
    """The reason for a refusal, raised by the check that found it."""

    def __init__(self, reason: Reason, error: str) -> None:
        super().__init__(error)
        self.reason = reason
        self.error = error
