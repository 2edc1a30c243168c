"""
Dead letters: reading them, and restoring the original message for a replay.

The recorder gives the reason in `x-recorder-reason`; without it, the broker dead-lettered the
message and gives the reason in its own headers. Any publisher may have written either, so no
header is trusted to say where a message goes.
"""

import re
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from typing import Final, NamedTuple

from jarvis_recorder.wire.amqp import properties
from jarvis_recorder.wire.amqp.delivery import Delivery
from jarvis_recorder.wire.codec import Decoded, decode
from jarvis_recorder.wire.refusal import Refused
from jarvis_recorder.wire.times import parse_rfc3339, to_datetime
from jarvis_recorder.wire.topics import (
    DEAD_EXCHANGE,
    EXCHANGE,
    LARGEST_BYTES,
    TOPICS,
    Topic,
    is_bound,
)
from jarvis_recorder.wire.unpacking import unpacked

MOST_INDEXED: Final = 10_000
"""The most dead letters that an index of them holds, the newest."""

REPLAYS: Final = "x-recorder-replays"
_OURS: Final = "x-recorder-"
# Kept for a replay: the original user and expiration.
_KEPT: Final = frozenset(("x-recorder-user-id", "x-recorder-expiration"))
# Added by the broker each time; in a replay it would take them for the message's own history.
_OF_BROKER: Final = ("x-death", "x-first-death-", "x-last-death-")
# More routing keys: with the permissions of the replaying user they could lead anywhere.
_ROUTES: Final = frozenset(("CC", "BCC"))
_COUNTERS: Final = frozenset(("x-delivery-count", "x-acquired-count"))
_ID_LENGTH: Final = 12
_MOST_ERROR: Final = 1_024
_MOST_NAME: Final = 255
_NUMBER: Final = re.compile(r"[0-9]+")
_BY_QUEUE: Final = {topic.queue: topic for topic in TOPICS}


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """
    A dead letter without its body.

    `id` is a digest of the message, so it never changes; dead letters that are identical to
    the last byte share one. Of a body larger than any that is recorded only the size counts, since
    it may not have been read. `reason` is one of `Reason`, or of the broker: `expired`,
    `rejected`, `delivery_limit`, `maxlen`; `unknown` if none is given. `replays` counts the
    earlier replays after which it came back.
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
    """The message that is published to replay a dead letter."""

    routing_key: str
    properties: bytes
    body: bytes


def read_dead_letter(delivery: Delivery) -> DeadLetter:
    """Return the description of a dead letter; never raises, whatever its bytes are."""
    try:
        found = properties.headers(delivery.header)
        others = properties.others(delivery.header)
    except Refused:
        found, others = {}, {}
    texts = {name: value for name, value in found.items() if isinstance(value, str)}
    reason = texts.get("x-recorder-reason") or texts.get("x-first-death-reason", "unknown")
    replays = texts.get(REPLAYS, "0")
    return DeadLetter(
        identity_of(delivery),
        reason,
        texts.get("x-recorder-error", "given up by the broker"),
        delivery.routing_key.decode("utf-8", "replace"),
        texts.get("x-recorder-exchange", texts.get("x-first-death-exchange", "")),
        _first_key(delivery, texts),
        _time(texts.get("x-recorder-received-at")),
        others.get("message_id"),
        _size(delivery),
        int(replays) if replays.isdecimal() and len(replays) < 10 else 0,
    )


def read_published(delivery: Delivery, routing_key: str, letter: bytes, body: bytes) -> DeadLetter:
    """Return the description of a dead letter as it is published, in place of a delivery."""
    # A content header begins with class, weight and body size.
    head = delivery.header[:4] + len(body).to_bytes(8, "big")
    published = Delivery(
        0, False, DEAD_EXCHANGE.encode(), routing_key.encode(), head + letter, body
    )
    return read_dead_letter(published)


def bounded(letter: DeadLetter) -> DeadLetter:
    """Return a dead letter whose texts are short, and such that any database takes them."""
    return replace(
        letter,
        reason=_cleaned(letter.reason, _MOST_NAME),
        error=_cleaned(letter.error, _MOST_ERROR),
        queue=_cleaned(letter.queue, _MOST_NAME),
        exchange=_cleaned(letter.exchange, _MOST_NAME),
        routing_key=_cleaned(letter.routing_key, _MOST_NAME),
        message_id=None if letter.message_id is None else _cleaned(letter.message_id, _MOST_NAME),
    )


def fault_of(error: str) -> str:
    """Return an error with N for each number: those of one cause differ in nothing else."""
    return _NUMBER.sub("N", error)[:_MOST_NAME]


def reset_delivery_count(delivery: Delivery) -> bytes:
    """Return the properties of a dead letter without the broker's delivery counters."""
    try:
        return properties.with_headers(delivery.header, {}, dropped=_COUNTERS.__contains__)
    except Refused:
        return properties.unchanged(delivery.header)


def topic_of(delivery: Delivery) -> Topic | None:
    """Return the topic of the queue that a dead letter came from, None if it has none."""
    return _BY_QUEUE.get(delivery.routing_key.decode("utf-8", "replace"))


def to_message(delivery: Delivery, topic: Topic, body: bytes | None = None) -> ReplayMessage:
    """
    Return the original message, to be published to `jarvis` like any other.

    It keeps its identity, so a message recorded meanwhile is not stored twice, and it counts
    its replays. A new `body` is uncompressed.
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
    """Return the records or refusals that a message would become; `now` is in microseconds."""
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
    """Return the body `unpacked`, or as it came if that fails or exceeds `most` bytes."""
    try:
        encoding = properties.others(delivery.header).get("content_encoding")
        return unpacked(delivery.body, encoding, most)
    except Refused:
        return delivery.body


def _cleaned(text: str, most: int) -> str:
    # No database holds a lone surrogate, and PostgreSQL no NUL.
    return text[:most].replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def identity_of(delivery: Delivery) -> str:
    """Return the `id` of a dead letter."""
    try:
        stable = properties.with_headers(
            delivery.header, {}, dropped=_COUNTERS.__contains__, in_order=True
        )
    except Refused:
        stable = properties.unchanged(delivery.header)
    size = _size(delivery)
    body = delivery.body if size <= LARGEST_BYTES else b"%d" % size
    # Part by part: the body may have megabytes, and is not copied.
    digest = sha256(b"%d." % len(stable))
    for part in (stable, body, delivery.routing_key):
        digest.update(part)
    return digest.hexdigest()[:_ID_LENGTH]


def _size(delivery: Delivery) -> int:
    """Return the size of a body, also where it was not read."""
    # A content header begins with class, weight and body size.
    return len(delivery.body) or int.from_bytes(delivery.header[4:12], "big")


def _first_key(delivery: Delivery, headers: dict[str, str]) -> str:
    if (ours := headers.get("x-recorder-routing-key")) is not None:
        return ours
    try:
        return (properties.first_routing_key(delivery.header) or b"").decode("utf-8", "replace")
    except Refused:
        return ""


def _time(text: str | None) -> datetime | None:
    try:
        return None if text is None else to_datetime(parse_rfc3339(text))
    except ValueError:
        return None


def _is_bound(routing_key: str, topic: Topic) -> bool:
    # Any publisher could have written this key; U+FFFD marks bytes that were not UTF-8.
    return is_bound(routing_key.encode(), topic.binding) and "\ufffd" not in routing_key


def _any_key(topic: Topic) -> str:
    return topic.binding.replace("#", "replayed")


def _is_dead_letter_header(name: str) -> bool:
    """Return whether a header was added by dead-lettering, or would route the replay elsewhere."""
    if name.startswith(_OURS):
        return name not in _KEPT
    return name in _COUNTERS or name in _ROUTES or name.startswith(_OF_BROKER)
