"""
The properties of an AMQP 0-9-1 message, decoded so that an error costs only that message.

A content header is class, weight, body size, two bytes of flags, then the fields whose flag
is set, in the order of `_FIELDS` (AMQP 0-9-1, sections 2.3.5.2 and 4.2.6.1; the types inside
a table as RabbitMQ writes them). Everything here works on that payload's bytes, so what
cannot be decoded can still be passed on unchanged.
"""

import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from functools import lru_cache
from math import isfinite
from operator import itemgetter
from struct import Struct
from struct import error as struct_error
from typing import Any, Final, NamedTuple

from jarvis_recorder.wire.refusal import Reason, Refused
from jarvis_recorder.wire.times import LATEST, format_rfc3339, from_epoch

_SHORT: Final = Struct(">H").unpack_from
_LONG: Final = Struct(">I").unpack_from
_LONG_LONG: Final = Struct(">Q").unpack_from
_PACK_LONG: Final = Struct(">I").pack
_PACK_LONG_LONG: Final = Struct(">Q").pack
_PACK_SHORT: Final = Struct(">H").pack
_MILLISECONDS: Final = re.compile(r"[0-9]{1,18}", re.ASCII).fullmatch
_DELIVERY_COUNT: Final = re.compile(
    rb"\x10x-delivery-count(?:b(.)|s(.{2})|I(.{4})|[lL](.{8}))", re.DOTALL
)
FLAGS_AT: Final = 12
_FIELDS_AT: Final = 14
_MAX_TABLE_DEPTH: Final = 100

# name, flag, and how its length is found: s a short string, t a table, else bytes.
_FIELDS: Final = (
    ("content_type", 1 << 15, "s"),
    ("content_encoding", 1 << 14, "s"),
    ("headers", 1 << 13, "t"),
    ("delivery_mode", 1 << 12, 1),
    ("priority", 1 << 11, 1),
    ("correlation_id", 1 << 10, "s"),
    ("reply_to", 1 << 9, "s"),
    ("expiration", 1 << 8, "s"),
    ("message_id", 1 << 7, "s"),
    ("timestamp", 1 << 6, 8),
    ("type", 1 << 5, "s"),
    ("user_id", 1 << 4, "s"),
    ("app_id", 1 << 3, "s"),
    ("cluster_id", 1 << 2, "s"),
)
_FLAG_OF: Final = {name: flag for name, flag, _ in _FIELDS}

# How many bytes a value of each type takes; S and x, A, F carry their own length.
_FIXED: Final = {
    **dict.fromkeys(b"tbB", 1),
    **dict.fromkeys(b"su", 2),
    **dict.fromkeys(b"Iif", 4),
    **dict.fromkeys(b"lLdT", 8),
    ord("D"): 5,
    ord("V"): 0,
}
_INTEGERS: Final = b"bBsuIilL"
_SIGNED: Final = b"bsIlL"
_INTEGER: Final = Struct(">i").unpack_from
_FRACTIONS: Final = {ord("f"): Struct(">f").unpack_from, ord("d"): Struct(">d").unpack_from}
_OF_CLOUD_EVENTS: Final = (b"ce-", b"ce_", b"ce:", b"cloudevents")


class Properties(NamedTuple):
    """
    The properties of a message that the recorder reads.

    `timestamp` is in microseconds, None also if it names no instant. `headers` holds those that
    are texts, and those that may be attributes of a CloudEvent, as their values in JSON.
    """

    content_type: str | None
    content_encoding: str | None
    message_id: str | None
    timestamp: int | None
    headers: Mapping[str, Any]


class RequestProperties(NamedTuple):
    """
    The properties of a request that concern its reply and its caller.

    `correlation_id` is the field as it came, length included: it goes back as it is.
    `user_id` was verified by the broker. `expiration_ms` is None if the request has none, or
    one that no broker accepts. `timestamp` is in seconds.
    """

    reply_to: str | None
    correlation_id: bytes | None
    expiration_ms: int | None
    user_id: str | None
    timestamp: int | None = None
    content_encoding: str | None = None


_NO_HEADERS: Final[Mapping[str, Any]] = {}


def decode(header: bytes) -> Properties:
    """
    Return the properties of a content header payload.

    The whole table of headers is checked, even the ones that are not read.

    Raises:
        Refused: `undecodable`, naming the property.
    """
    fields = _slices(header)
    table = fields.get("headers")
    return Properties(
        _short_text(fields, "content_type"),
        _short_text(fields, "content_encoding"),
        _short_text(fields, "message_id"),
        instant(fields.get("timestamp")),
        _NO_HEADERS if table is None or len(table) == 4 else _read_headers(table),
    )


def decode_request(header: bytes) -> RequestProperties:
    """
    Return the properties of the content header payload of a request.

    Raises:
        Refused: `undecodable`, naming the property.
    """
    fields = _slices(header)
    expiration = _short_text(fields, "expiration")
    return RequestProperties(
        _short_text(fields, "reply_to"),
        fields.get("correlation_id"),
        int(expiration) if expiration and _MILLISECONDS(expiration) else None,
        _short_text(fields, "user_id"),
        _LONG_LONG(fields["timestamp"])[0] if "timestamp" in fields else None,
        _short_text(fields, "content_encoding"),
    )


def encode_reply(
    correlation_id: bytes | None,
    expiration_ms: int,
    headers: Mapping[str, str] = _NO_HEADERS,
    content_encoding: str | None = None,
) -> bytes:
    """Return the properties of a reply in JSON; `correlation_id` is a field as it came."""
    fields = _CONTENT_TYPE_JSON | {"expiration": short_string(str(expiration_ms))}
    if content_encoding is not None:
        fields["content_encoding"] = short_string(content_encoding)
    if headers:
        table = b"".join(_text_entry(name, text.encode()) for name, text in headers.items())
        fields["headers"] = _PACK_LONG(len(table)) + table
    return _joined(
        fields if correlation_id is None else fields | {"correlation_id": correlation_id}
    )


def encode_request(
    *,
    reply_to: str,
    correlation_id: str,
    expiration_ms: int,
    app_id: str,
    user_id: str | None,
    timestamp: int,
) -> bytes:
    """
    Return the properties of a request in JSON, as `decode_request` reads them.

    `timestamp`, in seconds, is when it is published: its time is counted from there.
    """
    fields = _CONTENT_TYPE_JSON | {
        "correlation_id": short_string(correlation_id),
        "reply_to": short_string(reply_to),
        "expiration": short_string(str(expiration_ms)),
        "app_id": short_string(app_id),
        "timestamp": _PACK_LONG_LONG(timestamp),
    }
    return _joined(fields if user_id is None else fields | {"user_id": short_string(user_id)})


def encode_notification(expiration_ms: int, user_id: str | None) -> bytes:
    """Return the properties of a request in JSON that wants no reply."""
    fields = _CONTENT_TYPE_JSON | {"expiration": short_string(str(expiration_ms))}
    return _joined(fields if user_id is None else fields | {"user_id": short_string(user_id)})


def encode_message(message_id: str, timestamp: int, app_id: str = "jarvis-recorder") -> bytes:
    """Return the properties of a durable message in JSON; `timestamp` is in microseconds."""
    return _joined(
        _CONTENT_TYPE_JSON
        | {
            "delivery_mode": b"\x02",
            "message_id": short_string(message_id),
            "timestamp": _PACK_LONG_LONG(timestamp // 1_000_000),
            "app_id": short_string(app_id),
        }
    )


def span(header: bytes, name: str) -> tuple[int, int]:
    """
    Return where the field of a property begins and ends, length included, or would do so.

    Raises:
        Refused: `undecodable`: the fields cannot be separated.
    """
    fields = _slices(header)
    flag = _FLAG_OF[name]
    start = _FIELDS_AT + sum(len(fields[one]) for one in fields if _FLAG_OF[one] > flag)
    return start, start + len(fields.get(name, b""))


def body_size(header: bytes) -> int:
    """Return the number of body bytes that a content header payload announces."""
    size: int = _LONG_LONG(header, 4)[0]
    return size


def is_without_body(header: bytes, body: bytes) -> bool:
    """Return whether a message came without the body that its content header announces."""
    return not body and body_size(header) > 0


def unchanged(header: bytes) -> bytes:
    """Return the properties part of `header`, whatever it holds."""
    return header[FLAGS_AT:]


def with_headers(
    header: bytes,
    added: Mapping[str, bytes],
    replaced: Mapping[str, str | None] | None = None,
    dropped: Callable[[str], bool] = lambda _: False,
    *,
    in_order: bool = False,
) -> bytes:
    """
    Return the properties part of `header` with headers added, everything else as it was.

    With `in_order` the headers are sorted by name, as those are that a quorum queue returns.

    `replaced` gives short string properties a new value, or removes them; `dropped` returns
    whether a header is removed. Headers of the same name are replaced. Two properties would not
    survive a second publishing and become headers instead: `user_id`, which the broker accepts
    from that user only, as `x-recorder-user-id`; `expiration`, by which the message would
    vanish, as `x-recorder-expiration`.

    Raises:
        Refused: `undecodable`: the fields cannot even be separated.
    """
    fields = _slices(header)
    added = dict(added)
    for name in ("user_id", "expiration"):
        if (value := fields.pop(name, None)) is not None:
            added[f"x-recorder-{name.replace('_', '-')}"] = value[1:]
    for name, text in (replaced or {}).items():
        fields.pop(name, None)
        if text is not None:
            fields[name] = short_string(text)
    entries = [
        (key, entry)
        for key, entry in _entries(fields.get("headers", b"\0\0\0\0"))
        if (name := key.decode("utf-8", "replace")) not in added and not dropped(name)
    ]
    entries += ((name.encode(), _text_entry(name, value)) for name, value in added.items())
    if in_order:
        entries.sort(key=itemgetter(0))
    table = b"".join(entry for _, entry in entries)
    fields["headers"] = _PACK_LONG(len(table)) + table
    return _joined(fields)


def headers(header: bytes) -> dict[str, str | int | None]:
    """
    Return every header, as far as it is text or a whole number; None is any other value.

    Raises:
        Refused: `undecodable`: they cannot be separated.
    """
    table = _slices(header).get("headers", b"\0\0\0\0")
    return {key.decode("utf-8", "replace"): _readable(value) for key, value in _values(table)}


def delivery_count(header: bytes) -> int:
    """Return how often a quorum queue delivered it before and got it back unsettled."""
    try:
        count = headers(header).get("x-delivery-count")
    except Refused:
        return 0
    return count if isinstance(count, int) else 0


def apparent_delivery_count(header: bytes) -> int:
    """
    Return the same as `delivery_count`, without going through a table that may be long.

    Of several that look like that header the highest counts: no publisher can hide the queue's
    own among others.
    """
    counts = (found[found.lastindex or 0] for found in _DELIVERY_COUNT.finditer(header))
    return max((int.from_bytes(count, "big", signed=True) for count in counts), default=0)


def _readable(value: bytes) -> str | int | None:
    if value[:1] == b"S":
        return value[5:].decode("utf-8", "replace")
    if value[:1] in (b"t", b"b", b"s", b"I", b"l", b"L"):
        return int.from_bytes(value[1:], "big", signed=True)
    return None


def others(header: bytes) -> dict[str, str]:
    """
    Return every property but the headers, as text for people.

    Raises:
        Refused: `undecodable`: they cannot be separated.
    """
    found = {}
    for name, field in _slices(header).items():
        if name in ("delivery_mode", "priority", "timestamp"):
            found[name] = str(int.from_bytes(field, "big"))
        elif name != "headers":
            found[name] = field[1:].decode("utf-8", "replace")
    return found


def first_routing_key(header: bytes) -> bytes | None:
    """
    Return the routing key that a message had before the broker dead-lettered it first.

    Source: RabbitMQ's header `x-death`, an array of tables with `routing-keys`, newest first.

    Raises:
        Refused: `undecodable`: the headers cannot be separated.
    """
    table = _slices(header).get("headers", b"\0\0\0\0")
    deaths = [value for key, value in _values(table) if key == b"x-death" and value[:1] == b"A"]
    for death in reversed([item for value in deaths for item in _items(value[1:])]):
        for key, keys in _values(death[1:]) if death[:1] == b"F" else ():
            if key == b"routing-keys" and keys[:1] == b"A":
                for found in _items(keys[1:]):
                    return found[5:]
    return None


def _values(table: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield key and value of each field, the type in front of the value."""
    for key, entry in _entries(table):
        yield key, entry[1 + len(key) :]


def _joined(fields: Mapping[str, bytes]) -> bytes:
    """Return flags and fields in the order of the specification."""
    flags = 0
    for name in fields:
        flags |= _FLAG_OF[name]
    return _PACK_SHORT(flags) + b"".join(fields[name] for name, _, _ in _FIELDS if name in fields)


def short_string(text: str) -> bytes:
    """Return an AMQP short string: its length in one byte, then the text."""
    raw = text.encode()
    return bytes([len(raw)]) + raw


_CONTENT_TYPE_JSON: Final = {"content_type": short_string("application/json")}


@lru_cache(maxsize=256)
def _layout(flags: int) -> tuple[tuple[str, str | int], ...]:
    """Return name and size of the fields that these flags announce; a publisher sends few sets."""
    return tuple((name, size) for name, flag, size in _FIELDS if flags & flag)


def _slices(header: bytes) -> dict[str, bytes]:
    """Return the bytes of each field that is present, lengths included."""
    try:
        flags: int = _SHORT(header, FLAGS_AT)[0]
        position = _FIELDS_AT
        fields: dict[str, bytes] = {}
        for name, size in _layout(flags):
            if size == "s":
                end = position + 1 + header[position]
            elif size == "t":
                end = position + 4 + _LONG(header, position)[0]
            else:
                end = position + int(size)
            fields[name] = header[position:end]
            position = end
    except (struct_error, IndexError):
        raise _undecodable("the properties are cut short") from None
    if flags & 0b11 or position != len(header):
        raise _undecodable("the properties do not fill their frame")
    return fields


def _undecodable(error: str) -> Refused:
    return Refused(Reason.UNDECODABLE, error)


def _short_text(fields: Mapping[str, bytes], name: str) -> str | None:
    """Return a short string, None where it is absent or empty."""
    field = fields.get(name)
    if field is None or len(field) == 1:
        return None
    try:
        return field[1:].decode()
    except UnicodeDecodeError:
        raise _undecodable(f"property {name} is not UTF-8") from None


def _text(raw: bytes, what: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise _undecodable(f"{what} is not UTF-8") from None


def instant(field: bytes | None) -> int | None:
    """Return the instant of a timestamp in seconds, or in the unit that its magnitude implies."""
    if field is None:
        return None
    number: int = _LONG_LONG(field)[0]
    # Seconds, as nearly all are, need no look at the other units.
    return number * 1_000_000 if 10**9 <= number < 10**10 else from_epoch(number)


def _read_headers(table: bytes) -> Mapping[str, Any]:
    _check_tables(table)
    found: dict[str, Any] = {}
    for key, value in _values(table):
        if value[:1] == b"S":
            found[_text(key, "a header key")] = value[5:].decode("utf-8", "replace")
        elif key[:1] in b"cC" and key[:11].lower().startswith(_OF_CLOUD_EVENTS):
            found[_text(key, "a header key")] = _as_json(value)
    return found


def _as_json(value: bytes) -> Any:
    """Return a value of a checked table as the JSON format of CloudEvents would have it."""
    kind, content = value[0], value[1:]
    if kind == ord("T"):
        return _moment(_LONG_LONG(content)[0])
    if kind == ord("t"):
        return content != b"\0"
    if kind in _INTEGERS:
        return int.from_bytes(content, "big", signed=kind in _SIGNED)
    if kind in _FRACTIONS:
        return _fraction(_FRACTIONS[kind](content)[0])
    if kind == ord("D"):
        return str(Decimal(_INTEGER(content, 1)[0]).scaleb(-content[0]))
    if kind in b"Sx":
        return _text_or_base64(content[4:])
    if kind == ord("A"):
        return [_as_json(item) for item in _items(content)]
    if kind == ord("F"):
        return {key.decode("utf-8", "replace"): _as_json(inner) for key, inner in _values(content)}
    return None


def _moment(number: int) -> Any:
    """Return a timestamp as text; read in seconds, AMQP's unit, if its magnitude implies none."""
    micros = from_epoch(number)
    micros = number * 1_000_000 if micros is None else micros
    return format_rfc3339(micros) if micros <= LATEST else number


def _fraction(number: float) -> Any:
    return number if isfinite(number) else str(number)


def _text_or_base64(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return b64encode(raw).decode()


def _check_tables(table: bytes) -> None:
    """Check the keys and the nesting of a table, level by level."""
    tables = [(ord("F"), table)]
    for _ in range(_MAX_TABLE_DEPTH):
        deeper: list[tuple[int, bytes]] = []
        for kind, content in tables:
            values = _items(content) if kind == ord("A") else _checked_values(content)
            deeper.extend((value[0], value[1:]) for value in values if value[0] in b"AF")
        if not deeper:
            return
        tables = deeper
    raise _undecodable(f"headers are nested deeper than {_MAX_TABLE_DEPTH} levels")


def _checked_values(table: bytes) -> Iterator[bytes]:
    for key, value in _values(table):
        _text(key, "a header key")
        yield value


def _entries(table: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield key and whole entry of each field of a table that starts with its length."""
    position = 4
    while position < len(table):
        key_end = position + 1 + table[position]
        end = _value_end(table, key_end)
        yield table[position + 1 : key_end], table[position:end]
        position = end


def _items(array: bytes) -> Iterator[bytes]:
    """Yield each value of an array that starts with its length, its type in front."""
    position = 4
    while position < len(array):
        end = _value_end(array, position)
        yield array[position:end]
        position = end


def _value_end(data: bytes, position: int) -> int:
    """Return the end of the value whose type is at `position`."""
    try:
        kind = data[position]
        size = _FIXED[kind] if kind in _FIXED else _variable_size(kind, data, position + 1)
    except (struct_error, IndexError):
        raise _undecodable("a header is cut short") from None
    end = position + 1 + size
    if end > len(data):
        raise _undecodable("a header is cut short")
    return end


def _variable_size(kind: int, data: bytes, position: int) -> int:
    if kind not in b"SxAF":
        raise _undecodable("a header is of an unknown type")
    size: int = _LONG(data, position)[0]
    return 4 + size


def _text_entry(name: str, text: bytes) -> bytes:
    key = name.encode()
    return bytes([len(key)]) + key + b"S" + _PACK_LONG(len(text)) + text
