"""
The plain path: what nearly every message is, read in one pass.

The structs here are made from the classes in `records`, so each rule has one definition. They are
stricter than the decoder in `codec`, never laxer: a message that they take is recorded exactly as
the decoder would record it. Whatever is in doubt is left to the decoder, which alone refuses.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, Field, fields
from decimal import Decimal
from functools import lru_cache, reduce
from operator import or_
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, NamedTuple, Union, get_args, get_origin
from typing import get_type_hints as type_hints

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType
from msgspec.structs import astuple
from pydantic.fields import FieldInfo

from jarvis_recorder.wire import cloudevents
from jarvis_recorder.wire.amqp import header_templates, properties
from jarvis_recorder.wire.amqp.delivery import Delivery, Stretch, parted
from jarvis_recorder.wire.amqp.header_templates import Templates
from jarvis_recorder.wire.amqp.layout import Envelope, layout_of
from jarvis_recorder.wire.amqp.properties import Properties
from jarvis_recorder.wire.codec import (
    JSON,
    LARGE,
    LONG_HEADER,
    MAX_BATCH,
    SHORT,
    media_type,
    texts_size,
)
from jarvis_recorder.wire.identity import NIL
from jarvis_recorder.wire.liberal import said_by_key
from jarvis_recorder.wire.records import (
    BODY_CLASSES,
    OPEN,
    SILENT,
    Cost,
    Event,
    EventRow,
    Identity,
    Instant,
    OwnIdentity,
    Record,
)
from jarvis_recorder.wire.strict_json import has_many_slow_numbers, require_few_values
from jarvis_recorder.wire.times import parse_usual
from jarvis_recorder.wire.topics import Kind, Topic, is_smuggled
from jarvis_recorder.wire.unpacking import leaves_as_it_is

_DEPTH: Final = 8
_Leaf = None | bool | Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | float | str
# A value nested deeper, or with an integer beyond 64 bits, is in doubt.
_Json: Any = reduce(lambda inner, _: _Leaf | list[inner] | dict[str, inner], range(_DEPTH), _Leaf)  # type: ignore[valid-type]
# A cost that is stored as it is written: neither long nor with an exponent.
_COST: Final = re.compile(rb"(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,15})?").fullmatch

_DEFAULT_SEVERITY: Final[str] = Event.__dataclass_fields__["severity"].default

# A byte is found in a sixth of the time that `bytes` of length one take.
_BACKSLASH: Final = ord("\\")

_write: Final = msgspec.json.Encoder().encode
_set: Final = object.__setattr__
_BOUNDS: Final = ("min_length", "max_length", "ge", "le")


def _struct_type(rule: Any) -> Any:
    """
    Return the type by which msgspec checks what a field's annotation requires.

    Raises:
        TypeError: It has a rule that is not translated yet.
    """
    if rule == Instant:
        return str  # a text that `parse_usual` reads
    if rule == OwnIdentity:
        return _struct_type(Identity)
    if rule == Cost | None:
        return Raw
    if rule is Any:
        return _Json
    if get_origin(rule) is Annotated:
        base, *notes = get_args(rule)
        bounds = dict(_bounds(notes))
        return Annotated[_struct_type(base), Meta(**bounds)] if bounds else _struct_type(base)
    if get_origin(rule) in (Union, UnionType):
        return reduce(or_, map(_struct_type, get_args(rule)))
    if rule == dict[str, Any]:
        return dict[str, _Json]
    if rule in (str, int, NoneType) or get_origin(rule) is Literal:
        return rule
    raise TypeError(f"no plain path for a field that is {rule}")


def _bounds(notes: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    for note in notes:
        if not isinstance(note, FieldInfo):
            raise TypeError(f"no plain path for a field with {note}")
        for rule in note.metadata:
            name = next((name for name in _BOUNDS if hasattr(rule, name)), None)
            if name is not None:
                yield name, getattr(rule, name)
            elif not hasattr(rule, "strict"):  # msgspec always is
                raise TypeError(f"no plain path for a field with {rule}")


class _Reader(NamedTuple):
    """The parsers of one kind's bodies, and the making of a body from what they return."""

    kind: Kind
    one: msgspec.json.Decoder[Any]
    many: msgspec.json.Decoder[list[Any]]
    defaults: Sequence[tuple[str, Any]]
    """Every field, with its value where a body omits it."""


def _reader(kind: Kind) -> _Reader:
    body = BODY_CLASSES[kind]
    rules = type_hints(body, include_extras=True)
    plain = msgspec.defstruct(
        body.__name__,
        [
            (field.name, _struct_type(rules[field.name]))
            if _is_required(field) and field.name != SILENT[kind]
            else (field.name, _struct_type(rules[field.name]) | UnsetType, UNSET)
            for field in fields(body)
        ],
        kw_only=True,
        forbid_unknown_fields=True,
        gc=False,
    )
    return _Reader(
        kind,
        msgspec.json.Decoder(plain),
        msgspec.json.Decoder(list[plain]),  # type: ignore[valid-type]
        [(field.name, None if _is_required(field) else field.default) for field in fields(body)],
    )


def _is_required(field: Field[Any]) -> bool:
    return field.default is MISSING


_EVENT: Final = _reader(Kind.EVENT)
_READERS: Final = {kind: _reader(kind) for kind in (Kind.SNAPSHOT, Kind.TURN)}
_TEMPLATES: Final[Templates] = {}


class Plain(NamedTuple):
    """The records of a plain delivery, `packed`, or rows already; their texts take `size` bytes."""

    records: Sequence[Record | EventRow]
    size: int


def decode(delivery: Delivery, topic: Topic, received_at: int) -> Plain | None:
    """
    Return the records of a plain delivery, None where it is in doubt.

    They are those that `codec.decode` returns, but for the spelling of what may be any JSON.
    """
    _, _, _, routing_key, header, body = delivery
    if len(body) > topic.max_bytes or not routing_key.isascii():
        return None
    try:
        known = _known(header)
        if known is None:
            return None
        identity, time = known
        require_few_values(body)
        if len(body) > LARGE and has_many_slow_numbers(body):
            return None
        time = received_at if time is None else time
        if topic.kind is Kind.EVENT:
            return _rows(body, routing_key, identity, time)
        reader = _READERS[topic.kind]
        is_batch = body.startswith(b"[")
        found = reader.many.decode(body) if is_batch else [reader.one.decode(body)]
        _write_open(found, OPEN[topic.kind])
        if not 0 < len(found) <= MAX_BATCH or not _is_once(found, body, _write(found).count(b'"')):
            return None
        envelope = _Envelope(topic.kind, routing_key, time, identity, is_batch)
        records = [_record(reader, one, envelope, at) for at, one in enumerate(found)]
    except Exception:  # noqa: BLE001 - whatever it is, the decoder looks at it
        return None
    return Plain(records, texts_size(body))


def _rows(body: bytes, routing_key: bytes, identity: str | None, time: int) -> Plain | None:
    """
    Return the rows of an event or of an array of them, None where it is in doubt.

    Raises:
        ValueError: It is in doubt.
    """
    severity = _severity(routing_key)
    if not body.startswith(b"["):
        found = _EVENT.one.decode(body)
        row, quotes = _row(found, identity, None, time, severity)
        rows = [row]
    else:
        found = _EVENT.many.decode(body)
        if not 0 < len(found) <= MAX_BATCH:
            return None
        prefix = None if identity is None else f"{identity}/"
        rows, quotes = [], 0
        for index, one in enumerate(found):
            positional = None if prefix is None else f"{prefix}{index}"
            row, its_quotes = _row(one, None, positional, time, severity)
            rows.append(row)
            quotes += its_quotes
    return Plain(rows, texts_size(body)) if _is_once(found, body, quotes) else None


def add_rows(
    rows: list[Record | EventRow], stretch: Stretch, number: int, topic: Topic, received_at: int
) -> tuple[int, int]:
    """
    Add the row of each plain event of a stretch, from `number` on, until one is in doubt.

    Return the number of the next delivery, and the bytes that the texts of the rows take. The
    rows are those that `codec.decode` leads to, but for the spelling of `details`.
    """
    read, add = _EVENT.one.decode, rows.append
    held = len(rows)
    size = 0
    route = severity = None
    try:
        for its_route, identity, time, body in _envelopes(stretch, number):
            if its_route is not route:
                route = its_route
                severity = _said_by_route(topic, route)
            if severity is None:
                break
            found = read(body)
            row, quotes = _row(
                found, identity, None, received_at if time is None else time, severity
            )
            if not _is_once(found, body, quotes):
                break
            size += texts_size(body) if len(body) > SHORT else len(body)
            # Last: a delivery that fails before is looked at again, by the decoder.
            add(row)
    except Exception:  # noqa: BLE001, S110 - whatever it is, the decoder looks at it
        pass
    return number + len(rows) - held, size


def _envelopes(stretch: Stretch, number: int) -> Iterator[Envelope]:
    """
    Yield each delivery from `number` on as route, identity, time and body, until one is in doubt.

    Raises:
        Refused, ValueError: That one cannot be decoded.
    """
    while number < len(stretch):
        header, body = stretch.header(number), stretch.body(number)
        # First: to decode a table of thousands of headers would take long.
        if len(header) > LONG_HEADER or len(header) + len(body) > LARGE:
            return
        template = _TEMPLATES.get(len(header))
        known = _known(header)
        if known is None:
            return
        yield stretch.route(number), *known, body
        number += 1
        # One that was learnt only now may be as seldom as its trace.
        if template is not None and template is _TEMPLATES.get(len(header)):
            layout = layout_of(stretch, number - 1, template)
            number = yield from layout.alike(stretch, number, LARGE - len(header))


@lru_cache(maxsize=256)
def _said_by_route(topic: Topic, route: bytes) -> str | None:
    """Return the severity of events that omit it, None if such deliveries are in doubt."""
    exchange, routing_key = parted(route)
    if not routing_key.isascii() or is_smuggled(exchange, routing_key, (topic.binding,)):
        return None
    return _severity(routing_key)


def _severity(routing_key: bytes) -> str:
    return said_by_key(Kind.EVENT, routing_key).get("severity", _DEFAULT_SEVERITY)


def _row(  # noqa: PLR0912 - a branch for each field that may be left out; calls would cost more
    found: Any, outer_id: str | None, positional_id: str | None, time: int, severity: str
) -> tuple[EventRow, int]:
    """
    Return the row of an event, and the number of quotes in it where no key stands twice.

    Raises:
        ValueError: It is in doubt.
    """
    # Every key and every text has two quotes; three fields are required.
    quotes = 12
    identity, text, kind, level, source, summary, node, details, cluster = astuple(found)
    if identity is UNSET:
        identity = None
    else:
        quotes += 2 if identity is None else 4
        if identity == NIL:
            raise ValueError("an identity that was never set")
    if level is UNSET:
        level = severity
    else:
        quotes += 4
    if node is UNSET:
        node = None
    else:
        quotes += 2 if node is None else 4
    if cluster is UNSET:
        cluster = None
    else:
        quotes += 2 if cluster is None else 4
    if details is UNSET:
        details = None
    elif details is None:
        quotes += 2
    else:
        details = _write(details)
        quotes += 2 + details.count(b'"')
        details = details.decode()
    stamped = 1
    if text is not UNSET:
        quotes += 2
        if text is not None:
            quotes += 2
            stamped = 0
            time = parse_usual(text)
    row = (
        # As in `identity.first_given`: a CloudEvent is never plain, nor is an identity too long.
        outer_id or identity or positional_id,
        time,
        stamped,
        kind,
        level,
        source,
        node,
        summary,
        details,
        cluster or None,
        None,
    )
    return row, quotes


def _is_once(found: Any, body: bytes, quotes: int) -> bool:
    """
    Return whether no key stands twice in a body and no text holds a NUL.

    `quotes` are those of what was read. Each key that stands twice adds some to the body.
    """
    if _BACKSLASH in body:
        if b"\\u0000" in body or b"\\u0022" in body:
            return False
        # A text may hold quotes, too.
        quotes = _write(found).count(b'"')
    return body.count(b'"') == quotes


def _known(header: bytes) -> tuple[str | None, int | None] | None:
    """
    Return the identity and the time of a message whose properties hold nothing else to heed.

    Raises:
        Refused, ValueError: They cannot be decoded.
    """
    known = header_templates.read(_TEMPLATES, header)
    if known is None:
        decoded = properties.decode(header)
        if not _is_plain(decoded):
            return None
        header_templates.learn(_TEMPLATES, header, decoded)
        known = decoded.message_id, decoded.timestamp
    return None if known[0] is not None and "\0" in known[0] else known


def _is_plain(known: Properties) -> bool:
    """Return whether the body is JSON as it is, and by itself."""
    encoding = known.content_encoding
    return (
        media_type(known.content_type) == JSON
        and (encoding is None or leaves_as_it_is(encoding))
        and not cloudevents.binary_attributes(known.headers)
    )


def _write_open(found: Sequence[Any], field: str) -> None:
    """Replace the field that may be any JSON by its text."""
    for one in found:
        value = getattr(one, field)
        if value is not None and value is not UNSET:
            setattr(one, field, Raw(_write(value)))


class _Envelope(NamedTuple):
    """Defaults for the bodies of one message."""

    kind: Kind
    routing_key: bytes
    time: int
    identity: str | None
    is_batch: bool


def _record(reader: _Reader, found: Any, envelope: _Envelope, position: int) -> Record:
    """
    Return the record of a body.

    Raises:
        ValueError: It is in doubt.
    """
    kind, routing_key, default_time, outer_id, is_batch = envelope
    # Not by a call of the class, which would validate it again.
    body: Any = object.__new__(BODY_CLASSES[kind])
    for name, default in reader.defaults:
        value = getattr(found, name)
        _set(body, name, default if value is UNSET else value)
    open_value = getattr(body, OPEN[kind])
    if open_value is not None:
        _set(body, OPEN[kind], bytes(open_value))
    if kind is Kind.TURN and body.cost_usd is not None:
        _set(body, "cost_usd", _cost(bytes(body.cost_usd)))
    if body.id == NIL:
        raise ValueError("an identity that was never set")
    silent = SILENT[kind]
    if getattr(found, silent) in (UNSET, ""):
        _set(body, silent, _said(kind, routing_key, silent, getattr(body, silent)))
    stamped = body.timestamp is None
    if not stamped:
        _set(body, "timestamp", parse_usual(body.timestamp))
    time = default_time if stamped else body.timestamp
    if not is_batch:
        return Record(kind, outer_id or body.id, time, stamped, body, None)
    identity = body.id
    if identity is None and outer_id is not None:
        identity = f"{outer_id}/{position}"
    return Record(kind, identity, time, stamped, body, None, position)


def _cost(text: bytes) -> Decimal | None:
    if text == b"null":
        return None
    if not _COST(text):
        raise ValueError("a cost in doubt")
    return Decimal(text.decode())


def _said(kind: Kind, routing_key: bytes, field: str, default: Any) -> Any:
    said = said_by_key(kind, routing_key).get(field, default)
    if said is None:
        raise ValueError("a required field that no one supplies")
    return said
