"""A delivery in, records and refusals out."""

import contextlib
import json
import re
import zlib
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple

from msgspec import Raw
from pydantic import ValidationError

from jarvis_recorder.wire import cloudevents, liberal
from jarvis_recorder.wire.amqp import properties
from jarvis_recorder.wire.amqp.delivery import Delivery
from jarvis_recorder.wire.cloudevents import CloudEvent
from jarvis_recorder.wire.identity import first_given
from jarvis_recorder.wire.near_misses import NearMiss, find_near_misses, has_other_names
from jarvis_recorder.wire.records import BODIES, SILENT, Body, Record, packed
from jarvis_recorder.wire.refusal import (
    MOST_REFUSED_ALONE,
    Element,
    Reason,
    Refusal,
    Refused,
    together,
)
from jarvis_recorder.wire.strict_json import (
    BYTE_ORDER_MARK,
    WrittenFloat,
    are_lines,
    lines_of,
    parse,
    raw_elements,
    raw_entries,
    split_array,
)
from jarvis_recorder.wire.topics import Kind, Topic, is_smuggled
from jarvis_recorder.wire.unpacking import (
    ANY_PACKING,
    charset_of,
    is_packed_by_itself,
    is_wide,
    may_be_packed,
    needs_unpacking,
    unpacked,
)
from jarvis_recorder.wire.validation import first_error

MAX_BATCH: Final = 10_000
_MAX_PROPERTY: Final = 255
LARGE: Final = 32 * 1024
# A table may hold a header in every two bytes. With most publishers the properties take some
# hundred bytes in all.
LONG_HEADER: Final = 2 * 1024
_HEADER_BYTES_A_VALUE: Final = 16
# To refuse a body, with the words for what is wrong, takes as long as to read a few values.
_VALUES_OF_AN_OBJECT: Final = 4
_LARGE_UNPACKED: Final = 4 * 1024
SHORT: Final = 512
_VALIDATE: Final = {
    kind: (rules.adapter.validator.validate_python, rules.fields, SILENT[kind])
    for kind, rules in BODIES.items()
}
JSON: Final = "application/json"
_WHITE: Final = b" \t\r\n"
# A CloudEvent, in it MassTransit's envelope or NestJS's, and in that the turn.
_MOST_ENVELOPED: Final = 3
# Looked up in a fifth of the time in which the beginning of a body is matched.
_USUAL_BEGINNINGS: Final = frozenset((b'{"', b"[{", b"{\n", b"{ ", b"[\n", b"[ "))
# Media types that may hold JSON too: libraries send them by default.
_JSON_TOO: Final = re.compile(
    r"application/(?:json|x-json|data|octet-stream|(?:x-)?(?:ndjson|jsonl|jsonlines)|[^/]+\+json)"
    r"|text/(?:json|x-json|plain)|binary/octet-stream|json"
).fullmatch


class Decoded(NamedTuple):
    """
    The records and refusals of one delivery.

    Both lists are filled for a batch with bad elements; otherwise one is. Of more than
    `MOST_REFUSED_ALONE` bad elements there is one refusal, of the whole message. `size` estimates
    the memory that its texts take, in bytes. `near_misses` are names that resemble a field.
    """

    records: list[Record]
    refusals: list[Refusal]
    size: int
    near_misses: Sequence[NearMiss] = ()


class _Envelope(NamedTuple):
    """Defaults for a body that omits them; the identity is decided in `identity`."""

    topic: Topic
    routing_key: bytes
    received_at: int
    property_time: int | None
    outer_id: str | None
    event: CloudEvent | None = None
    position: int | None = None
    positional_id: str | None = None


def decode(delivery: Delivery, topic: Topic, received_at: int, *, as_text: bool = False) -> Decoded:
    """
    Return the records and the refusals of a delivery.

    Never raises: any bytes become records or refusals. With `as_text` the records are `packed`.
    """
    try:
        decoded = _decode(delivery, topic, received_at)
        for record in decoded.records:
            if record.extra is not None:
                near_misses = find_near_misses(decoded.records)
                decoded = decoded._replace(near_misses=near_misses) if near_misses else decoded
                break
        if as_text:
            decoded.records[:] = map(packed, decoded.records)
        return decoded
    except Refused as refused:
        return Decoded([], [Refusal(refused.reason, refused.error)], len(delivery.body))
    except Exception as error:  # noqa: BLE001 - the edge of a message: it must not stop the queue
        fault = f"the recorder failed on it: {type(error).__name__}"
        return Decoded([], [Refusal(Reason.INTERNAL, fault)], len(delivery.body))


def smuggled(delivery: Delivery, topic: Topic) -> Decoded | None:
    """Return the refusal of a delivery that bypassed the topic permissions, else None."""
    if not is_smuggled(delivery.exchange, delivery.routing_key, (topic.binding,)):
        return None
    error = (
        f"the routing key does not begin as {topic.binding} does: it came by a header CC or BCC, "
        "which is not taken; publish it by its own routing key"
    )
    return Decoded([], [Refusal(Reason.INVALID, error)], len(delivery.body))


def _decode(delivery: Delivery, topic: Topic, received_at: int) -> Decoded:
    _, _, _, routing_key, header, body = delivery
    claimed_type, encoding, message_id, timestamp, headers = properties.decode(header)
    if not routing_key.isascii():
        _check_utf8(routing_key)
    if claimed_type is not None and claimed_type != JSON:
        encoding = _with_charset(encoding, claimed_type)
    is_usual = body[:2] in _USUAL_BEGINNINGS
    if (
        encoding is not None
        or len(body) > topic.max_bytes
        or (not is_usual and needs_unpacking(body))
    ):
        body = unpacked(body, encoding, topic.max_bytes)
    envelope = _Envelope(topic, routing_key, received_at, timestamp, message_id)
    content_type = media_type(claimed_type)
    if content_type != JSON:
        return _decode_events(content_type, body, envelope)
    if headers and (attributes := cloudevents.binary_attributes(headers)):
        event = cloudevents.from_binary(attributes, _parse(body, topic.kind))
        return Decoded([_record(event.data, envelope._replace(event=event))], [], texts_size(body))
    try:
        if body[:1] != b"{" and _is_array(body):
            return _batch(body, envelope, _record)
        document = _parse(body, topic.kind)
    except Refused as refused:
        # Whatever is wrong with one line, the others are messages of their own.
        if refused.reason is Reason.TOO_LARGE or not are_lines(body, claimed_type):
            raise
        return _one_by_one(lines_of(body), texts_size(body), envelope, _record)
    return Decoded([_record(document, envelope)], [], texts_size(body))


def _with_charset(encoding: str | None, content_type: str | None) -> str | None:
    """Return a content encoding, and behind it the charset of the content type if there is one."""
    charset = None if content_type is None else charset_of(content_type)
    if charset is None:
        return encoding
    return charset if encoding is None else f"{encoding},{charset}"


def _decode_events(content_type: str, body: bytes, envelope: _Envelope) -> Decoded:
    if content_type == cloudevents.STRUCTURED:
        document = _parse(body, envelope.topic.kind)
        return Decoded([_record_of_event(document, envelope)], [], texts_size(body))
    if content_type == cloudevents.BATCH:
        return _batch(body, envelope, _record_of_event)
    raise Refused(
        Reason.UNSUPPORTED_ENCODING,
        "property content_type must be application/json, application/cloudevents+json "
        "or application/cloudevents-batch+json, or one that may be JSON, such as text/plain",
    )


def _is_array(body: bytes) -> bool:
    return body.removeprefix(BYTE_ORDER_MARK).lstrip(_WHITE)[:1] == b"["


def is_large(delivery: Delivery) -> bool:
    """Return whether decoding a delivery, or a few like it, would block the event loop too long."""
    header, body = delivery.header, delivery.body
    if len(header) > LONG_HEADER or len(header) + len(body) > LARGE:
        return True
    if not may_be_packed(header, body):
        return False
    if not is_packed_by_itself(body):
        return True
    start, has_more = _start_of(body)
    return has_more or len(start) > _LARGE_UNPACKED


def most_values(delivery: Delivery) -> int:
    """
    Return about how many values a delivery that is not large holds: elements, entries, lines.

    Its objects and its headers count as the values that take as long to decode.
    """
    return _values_of(delivery.body) + len(delivery.header) // _HEADER_BYTES_A_VALUE


def _values_of(body: bytes) -> int:
    text = _start_of(body)[0] if is_packed_by_itself(body) else body
    has_commas = text.lstrip()[:1] in (b"{", b"[") or is_wide(text)
    # In EBCDIC a comma is another byte.
    if not has_commas:
        return max(1, len(text))
    of_objects = text.count(b"{") * _VALUES_OF_AN_OBJECT
    return 1 + text.count(b",") + text.count(b"\n") + of_objects


def _start_of(body: bytes) -> tuple[bytes, bool]:
    """Return the first bytes of a packed body, and whether another member follows the first."""
    member = zlib.decompressobj(wbits=ANY_PACKING)
    try:
        start = member.decompress(body, _LARGE_UNPACKED + 1)
    except zlib.error:
        return b"", False
    return start, bool(member.unused_data)


def texts_size(text: bytes) -> int:
    """Return the memory that the strings of a text may take: 4 bytes a character if one needs them."""
    is_wide = len(text) > SHORT and (not text.isascii() or b"\\u" in text)
    return 4 * len(text) if is_wide else len(text)


def elements_of(
    delivery: Delivery, topic: Topic, wanted: Iterable[tuple[int, str | None]]
) -> list[Element]:
    """
    Return the elements of a batch that some of its records were decoded from.

    `wanted` holds position and identity of each. The batch is split once: it takes long where
    the delivery is large.
    """
    known = properties.decode(delivery.header)
    encoding = _with_charset(known.content_encoding, known.content_type)
    text = unpacked(delivery.body, encoding, topic.max_bytes)
    pieces = _pieces_of(text)
    if media_type(known.content_type) == cloudevents.BATCH:
        return [Element(pieces[position], None, cloudevents.STRUCTURED) for position, _ in wanted]
    return [
        Element(pieces[position], _as_property(identity), JSON) for position, identity in wanted
    ]


def _pieces_of(text: bytes) -> list[bytes]:
    """Return the elements of a batch that was decoded: of an array, else of lines."""
    if not _is_array(text):
        return lines_of(text)
    try:
        return split_array(text)
    except Refused:
        return lines_of(text)


def _as_property(identity: str | None) -> str | None:
    """Return an identity if it fits a short string; a longer one is in the body, or is lost."""
    fits = identity is not None and len(identity.encode()) <= _MAX_PROPERTY
    return identity if fits else None


def _check_utf8(routing_key: bytes) -> None:
    try:
        routing_key.decode()
    except UnicodeDecodeError:
        raise Refused(Reason.UNDECODABLE, "the routing key is not UTF-8") from None


def _require(condition: bool, error: str) -> None:
    if not condition:
        raise Refused(Reason.INVALID, error)


@lru_cache(maxsize=256)
def media_type(content_type: str | None) -> str:
    """
    Return the media type without parameters; JSON is UTF-8 whatever they say (RFC 8259, 8.1).

    A type that may hold JSON counts as JSON: the body decides.
    """
    if content_type is None:
        return JSON
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type in (cloudevents.STRUCTURED, cloudevents.BATCH):
        return media_type
    return JSON if not media_type or _JSON_TOO(media_type) else media_type


def _parse(text: bytes, kind: Kind) -> Any:
    document = parse(text)
    # Looked for only if a cost may be present; an escape could hide its name.
    if kind is Kind.TURN and (b"ost" in text or b"OST" in text or b"\\u" in text):
        _keep_costs(document, text.removeprefix(BYTE_ORDER_MARK))
    return document


def _keep_costs(document: Any, text: bytes | Raw) -> None:
    """Keep the digits of each turn's cost as they were written."""
    if not isinstance(document, list):
        _keep_cost(_way_to_cost(document), text)
        return
    ways = [_way_to_cost(element) for element in document]
    if any(ways):
        for way, raw in zip(ways, raw_elements(text), strict=True):
            _keep_cost(way, raw)


_Way = Sequence[tuple[dict[str, Any], str | None]]


def _keep_cost(way: _Way, text: bytes | Raw) -> None:
    for document, inner in way:
        entries = raw_entries(text)
        if (name := _name_of_cost(document)) is not None:
            document[name] = WrittenFloat(document[name], bytes(entries[name]).decode())
        if inner is not None:
            text = entries[inner]


def _way_to_cost(document: Any) -> _Way:
    """
    Return the objects from a document to the innermost with a cost, each with its name of the next.

    Empty where there is no cost. No envelope is looked into that no one reads: a small body may hold
    a hundred, one in another.
    """
    way: list[tuple[dict[str, Any], str | None]] = []
    while isinstance(document, dict) and len(way) < _MOST_ENVELOPED:
        inner = _inner(document)
        way.append((document, inner))
        document = None if inner is None else document[inner]
    while way and _name_of_cost(way[-1][0]) is None:
        way.pop()
    return way


def _inner(document: dict[str, Any]) -> str | None:
    """Return the name of the entry that holds a turn, where the document is its envelope."""
    name = "data" if "specversion" in document else liberal.name_of_message(document)
    return name if name is not None and isinstance(document.get(name), dict) else None


def _name_of_cost(document: dict[str, Any]) -> str | None:
    """Return the name of a cost that was parsed as a double, if there is one."""
    if "cost_usd" in document:
        return "cost_usd" if isinstance(document["cost_usd"], float) else None
    return liberal.name_of_cost(document)


def _record_of_event(document: Any, envelope: _Envelope) -> Record:
    event = cloudevents.from_structured(document, partial(_parse, kind=envelope.topic.kind))
    return _record(event.data, envelope._replace(event=event))


def _record(document: Any, envelope: _Envelope) -> Record:
    if not isinstance(document, dict):
        raise Refused(Reason.INVALID, "the body must be a JSON object")
    topic, routing_key, received_at, property_time, _, event, position, _ = envelope
    kind = topic.kind
    validate, known, silent = _VALIDATE[kind]
    whole = document
    # A cluster may be unnamed: an empty name counts as omitted if the routing key has one.
    is_silent = silent not in document or (kind is Kind.SNAPSHOT and document[silent] == "")
    if is_silent and (said := liberal.said_by_key(kind, routing_key).get(silent)):
        whole = {**document, silent: said}
    try:
        body = validate(whole)
    except ValidationError:
        if event is None and cloudevents.is_structured(document):
            return _record_of_event(document, envelope)
        body, extra = _eased(document, envelope)
    else:
        extra = None
        if not document.keys() <= known:
            if event is None and cloudevents.is_structured(document):
                # Its attributes may be a body, too. Where its data is none, the body is this.
                with contextlib.suppress(Refused):
                    return _record_of_event(document, envelope)
            body, extra = _with_others(document, body, envelope)
    time = body.timestamp
    if event is not None:
        time = event.time if time is None else time
        extra = {**(extra or {}), "cloudevent": event.attributes}
    stamped = time is None
    if time is None:
        time = received_at if property_time is None else property_time
    identity = first_given(
        envelope.outer_id,
        envelope.event.identity if envelope.event else None,
        body.id,
        envelope.positional_id,
    )
    return Record(kind, identity, time, stamped, body, extra, position)


def _eased(document: dict[str, Any], envelope: _Envelope) -> tuple[Body, Any]:
    """
    Return the body of a document read liberally, and the original of what that changed.

    Raises:
        Refused: `invalid`: it is no body in any accepted spelling.
    """
    kind = envelope.topic.kind
    eased = liberal.eased(kind, document, envelope.routing_key)
    try:
        body = _VALIDATE[kind][0](eased)
    except ValidationError as error:
        raise Refused(Reason.INVALID, str(first_error(error))) from None
    return body, liberal.changed(kind, document, eased) or None


def _with_others(
    document: dict[str, Any], body: Body, envelope: _Envelope
) -> tuple[Body, dict[str, Any]]:
    """Return a valid body and its unknown fields; another spelling of a field fills that field."""
    kind = envelope.topic.kind
    known = _VALIDATE[kind][1]
    extra = {name: value for name, value in document.items() if name not in known}
    if has_other_names(kind, extra):
        with contextlib.suppress(Refused):
            return _eased(document, envelope)
    return body, extra


_DecodeOne = Callable[[Any, _Envelope], Record]


def _batch(text: bytes, envelope: _Envelope, decode_one: _DecodeOne) -> Decoded:
    """Decode an array as a whole if every element is valid, else element by element."""
    try:
        elements = _parse(text, envelope.topic.kind)
    except Refused:
        return _one_by_one(split_array(text), texts_size(text), envelope, decode_one)
    _check_length(elements)
    try:
        return Decoded(
            [
                decode_one(element, _element_envelope(envelope, index))
                for index, element in enumerate(elements)
            ],
            [],
            texts_size(text),
        )
    except Refused:
        return _one_by_one(split_array(text), texts_size(text), envelope, decode_one)


def _check_length(elements: Any) -> None:
    _require(isinstance(elements, list), "a batch must be a JSON array")
    _require(len(elements) > 0, "the batch is empty")
    if len(elements) > MAX_BATCH:
        raise Refused(Reason.TOO_LARGE, f"the batch has more than {MAX_BATCH} elements")


def _element_envelope(envelope: _Envelope, index: int) -> _Envelope:
    positional = None if envelope.outer_id is None else f"{envelope.outer_id}/{index}"
    return envelope._replace(outer_id=None, position=index, positional_id=positional)


def _one_by_one(
    pieces: list[bytes], size: int, envelope: _Envelope, decode_one: _DecodeOne
) -> Decoded:
    _check_length(pieces)
    decoded = Decoded([], [], size)
    refused = 0
    # Ten thousand that are alike are a few bytes of gzip: a bad one is looked at once.
    faults: dict[bytes, Refusal] = {}
    for index, piece in enumerate(pieces):
        inner = _element_envelope(envelope, index)
        found = faults.get(piece) or _decode_element(piece, inner, decode_one)
        if isinstance(found, Record):
            decoded.records.append(found)
            continue
        faults[piece] = found
        refused += 1
        if refused <= MOST_REFUSED_ALONE:
            error = f"element {index}: {found.error}"
            element = _as_message(piece, inner, decode_one)
            decoded.refusals.append(Refusal(found.reason, error, element))
    if refused > MOST_REFUSED_ALONE:
        decoded.refusals[:] = [together(refused, decoded.refusals[0])]
    return decoded


def _decode_element(piece: bytes, envelope: _Envelope, decode_one: _DecodeOne) -> Record | Refusal:
    try:
        return decode_one(_parse(piece, envelope.topic.kind), envelope)
    except Refused as refused:
        return Refusal(refused.reason, refused.error)


def _as_message(piece: bytes, envelope: _Envelope, decode_one: _DecodeOne) -> Element:
    """Return the element as a message that would be decoded to the same identity."""
    if decode_one is _record_of_event or _is_event(piece):
        return Element(piece, None, cloudevents.STRUCTURED)
    return Element(piece, _own_id(piece) or _as_property(envelope.positional_id), JSON)


def _is_event(piece: bytes) -> bool:
    """Return whether an element of an array claims to be a CloudEvent."""
    try:
        element = json.loads(piece)
    except (ValueError, RecursionError):
        return False
    return isinstance(element, dict) and cloudevents.is_structured(element)


def _own_id(piece: bytes) -> str | None:
    """Return the `id` of an element, None if it cannot be read or does not fit a property."""
    try:
        element = json.loads(piece)
        own = element.get("id") if isinstance(element, dict) else None
        return own if isinstance(own, str) and 0 < len(own.encode()) <= 255 else None
    except (ValueError, RecursionError):
        return None
