"""
What a dead letter is, and how it becomes the message again that it was.

The recorder says why in `x-recorder-reason`; where that is missing the broker itself gave the
message up, and says why in headers of its own. Either may have been written by anybody, so
nothing here is trusted to say where a message goes.
"""

from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Final, NamedTuple

from jarvis_recorder.wire.amqp import properties
from jarvis_recorder.wire.amqp.delivery import Delivery
from jarvis_recorder.wire.codec import Decoded, decode
from jarvis_recorder.wire.refusal import Refused
from jarvis_recorder.wire.times import parse_rfc3339, to_datetime
from jarvis_recorder.wire.topics import EXCHANGE, TOPICS, Topic, is_bound
from jarvis_recorder.wire.unpacking import unpacked

REPLAYS: Final = "x-recorder-replays"
_OURS: Final = "x-recorder-"
# What a message keeps: who had published it, and how often it was replayed.
_KEPT: Final = frozenset(("x-recorder-user-id", "x-recorder-expiration"))
# What the broker adds each time, and would take for the message's own history.
_OF_BROKER: Final = ("x-death", "x-first-death-", "x-last-death-")
# More routing keys, by which the rights of who replays would carry a letter anywhere.
_ROUTES: Final = frozenset(("CC", "BCC"))
_COUNTERS: Final = frozenset(("x-delivery-count", "x-acquired-count"))
_ID_LENGTH: Final = 12
_BY_QUEUE: Final = {topic.queue: topic for topic in TOPICS}


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """
    A dead letter without its body.

    `id` is made of the message itself, so it is the same at each look; letters that are alike
    to the last byte share one. `reason` is one of `Reason`, or of the broker: `expired`,
    `rejected`, `delivery_limit`, `maxlen`; `unknown` where nobody says. `replays` counts how
    often it was replayed before and came back.
    """

    id: str
    reason: str
    error: str
    queue: str
    exchange: str
    routing_key: str
    received_at: datetime | None
    message_id: str | None
    size_bytes: int
    replays: int


class ReplayMessage(NamedTuple):
    """What is published to replay a letter."""

    routing_key: str
    properties: bytes
    body: bytes


def read_dead_letter(delivery: Delivery) -> DeadLetter:
    """Return what a dead letter says of itself; never raises, whatever its bytes are."""
    try:
        found = properties.headers(delivery.header)
        others = properties.others(delivery.header)
    except Refused:
        found, others = {}, {}
    texts = {name: value for name, value in found.items() if isinstance(value, str)}
    reason = texts.get("x-recorder-reason") or texts.get("x-first-death-reason", "unknown")
    replays = texts.get(REPLAYS, "0")
    return DeadLetter(
        _identity(delivery),
        reason,
        texts.get("x-recorder-error", "given up by the broker"),
        delivery.routing_key.decode("utf-8", "replace"),
        texts.get("x-recorder-exchange", texts.get("x-first-death-exchange", "")),
        _first_key(delivery, texts),
        _moment(texts.get("x-recorder-received-at")),
        others.get("message_id"),
        len(delivery.body),
        int(replays) if replays.isdecimal() and len(replays) < 10 else 0,
    )


def reset_delivery_count(delivery: Delivery) -> bytes:
    """Return the properties of the same letter, with the broker's count of returns gone."""
    try:
        return properties.with_headers(delivery.header, {}, dropped=_COUNTERS.__contains__)
    except Refused:
        return properties.unchanged(delivery.header)


def topic_of(delivery: Delivery) -> Topic | None:
    """Return the topic that a letter had come by, None where it is none of the recorder's."""
    return _BY_QUEUE.get(delivery.routing_key.decode("utf-8", "replace"))


def to_message(delivery: Delivery, topic: Topic, body: bytes | None = None) -> ReplayMessage:
    """
    Return the message that the letter was, to be published to `jarvis` like any other.

    With its identity, so that what was recorded meanwhile is not stored twice, and with a
    count of its replays. A new `body` is not packed.
    """
    letter = read_dead_letter(delivery)
    key = letter.routing_key if _is_bound(letter.routing_key, topic) else _any_key(topic)
    replaced = {} if body is None else {"content_encoding": None}
    added = {REPLAYS: str(letter.replays + 1).encode()}
    try:
        header = properties.with_headers(delivery.header, added, replaced, _is_dead_letter_header)
    except Refused:
        header = properties.unchanged(delivery.header)
    return ReplayMessage(key, header, delivery.body if body is None else body)


def validate_replay(delivery: Delivery, topic: Topic, message: ReplayMessage, now: int) -> Decoded:
    """Return what recording would make of a message; `now` is in microseconds."""
    # A content header begins with class, weight and body size.
    head = delivery.header[:4] + len(message.body).to_bytes(8, "big")
    return decode(
        Delivery(
            0,
            False,
            EXCHANGE.encode(),
            message.routing_key.encode(),
            head + message.properties,
            message.body,
        ),
        topic,
        now,
    )


def readable_body(delivery: Delivery, most: int) -> bytes:
    """Return the body unpacked, as it came where it cannot be or would be larger than `most`."""
    try:
        encoding = properties.others(delivery.header).get("content_encoding")
        return unpacked(delivery.body, encoding, most)
    except Refused:
        return delivery.body


def _identity(delivery: Delivery) -> str:
    stable = reset_delivery_count(delivery)
    digest = sha256(b"%d.%b%b" % (len(stable), stable, delivery.body))
    digest.update(delivery.routing_key)
    return digest.hexdigest()[:_ID_LENGTH]


def _first_key(delivery: Delivery, headers: dict[str, str]) -> str:
    if (ours := headers.get("x-recorder-routing-key")) is not None:
        return ours
    try:
        return (properties.first_routing_key(delivery.header) or b"").decode("utf-8", "replace")
    except Refused:
        return ""


def _moment(text: str | None) -> datetime | None:
    try:
        return None if text is None else to_datetime(parse_rfc3339(text))
    except ValueError:
        return None


def _is_bound(routing_key: str, topic: Topic) -> bool:
    # Whoever wrote it could have named any key; and U+FFFD stands for what was no text.
    return is_bound(routing_key.encode(), topic.binding) and "\ufffd" not in routing_key


def _any_key(topic: Topic) -> str:
    return topic.binding.replace("#", "replayed")


def _is_dead_letter_header(name: str) -> bool:
    """Say whether a header was added when the message died, or would carry it elsewhere now."""
    if name.startswith(_OURS):
        return name not in _KEPT
    return name in _COUNTERS or name in _ROUTES or name.startswith(_OF_BROKER)
