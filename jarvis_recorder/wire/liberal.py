"""
Common publishers' spellings of a body, translated to the form the rules accept.

The rules in `records` are the form to write. A body that they refuse is read here again: names
in another capitalisation, other words for a severity or a role, numbers as texts, contents in
parts, token counts as model vendors name them. Nothing is guessed: a value that names no kind
and no instant stays as it is, and the rules refuse it. Whatever is changed here is kept as it
was written in the record's `extra`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from functools import lru_cache
from itertools import islice
from typing import Any, Final, NamedTuple, get_args

from jarvis_recorder.wire.chats import take_content, take_message
from jarvis_recorder.wire.identity import is_unset as is_unset_identity
from jarvis_recorder.wire.records import BODIES, BODY_CLASSES, EventType, Record, Source
from jarvis_recorder.wire.times import (
    format_rfc3339,
    is_unset,
    own_instant,
    parse_strictly,
)
from jarvis_recorder.wire.topics import TOPICS, Kind, is_bound

Document = dict[str, Any]

_SEVERITIES: Final = {
    "info": "info", "information": "info", "informational": "info", "notice": "info",
    "debug": "info", "trace": "info", "verbose": "info", "none": "info", "ok": "info",
    "normal": "info",
    "warning": "warning", "warn": "warning", "unknown": "warning",
    "error": "error", "err": "error", "severe": "error",
    "critical": "critical", "crit": "critical", "alert": "critical", "emerg": "critical",
    "emergency": "critical", "panic": "critical", "fatal": "critical", "page": "critical",
    # X.733, which OpenStack and telephony follow; Zabbix; the three words that rules are labelled with.
    "cleared": "info", "clear": "info", "indeterminate": "warning", "minor": "warning",
    "major": "error", "not classified": "info", "average": "warning", "disaster": "critical",
    "low": "info", "medium": "warning", "high": "error",
    # Checkmk and Icinga; Google Cloud; java.util.logging; Red Hat's advisories.
    "unkn": "warning", "up": "info", "down": "critical", "default": "info", "config": "info",
    "fine": "info", "finer": "info", "finest": "info", "moderate": "warning",
    "important": "error",
    # The numbers of syslog (RFC 5424, 6.2.1).
    "0": "critical", "1": "critical", "2": "critical", "3": "error", "4": "warning",
    "5": "info", "6": "info", "7": "info",
}  # fmt: skip
_ROLES: Final = {
    "user": "user", "human": "user",
    "assistant": "assistant", "ai": "assistant", "model": "assistant", "bot": "assistant",
    "chatbot": "assistant",
    "system": "system", "developer": "system",
    "tool": "tool", "function": "tool", "ipython": "tool", "tool_result": "tool",
    "tool_response": "tool", "observation": "tool",
    # LangChain's classes, which it writes where it streams.
    "humanmessage": "user", "humanmessagechunk": "user", "systemmessage": "system",
    "systemmessagechunk": "system", "aimessage": "assistant", "aimessagechunk": "assistant",
    "toolmessage": "tool", "toolmessagechunk": "tool",
}  # fmt: skip
_TYPES: Final = {word: word for word in get_args(EventType)}
_SOURCES: Final = {word: word for word in get_args(Source)}

# Model vendors' names for it, without capitals and underscores.
_INPUT: Final = frozenset(
    ("prompttokens", "inputtokens", "prompttokencount", "inputtokencount", "promptevalcount")
)
_OUTPUT: Final = frozenset(
    ("completiontokens", "outputtokens", "candidatestokencount", "outputtokencount", "evalcount")
)
_TOTAL: Final = frozenset(("totaltokens", "totaltokencount"))
_USAGES: Final = frozenset(("usage", "usagemetadata", "tokenusage"))
_METADATA: Final = frozenset(("responsemetadata",))
_NESTJS: Final = frozenset(("pattern", "data", "id"))
# The conversation as OpenAI's and LangGraph's programs name it, without capitals and underscores.
_SESSIONS: Final = ("conversationid", "threadid")
# Go writes a text that was never set as an empty one; these may be left out.
_MAY_BE_UNSET: Final = ("timestamp", "severity", "session_id")
# Names often meant for a field, but ambiguous: counted and logged, not taken.
_NEAR: Final = {
    Kind.EVENT: {
        "host": "node", "hostname": "node", "nodename": "node", "instance": "node",
        "level": "severity", "loglevel": "severity", "priority": "severity",
        "severitytext": "severity", "detail": "details", "data": "details",
    },
    Kind.SNAPSHOT: {"clustername": "cluster", "clusterid": "cluster"},
    Kind.TURN: {
        "cost": "cost_usd", "totalcost": "cost_usd", "totalcostusd": "cost_usd",
        "price": "cost_usd", "tokens": "tokens_used", "tokencount": "tokens_used",
        "modelname": "model", "modelid": "model", "toolcall": "tool_calls",
        "functioncall": "tool_calls",
    },
}  # fmt: skip
_NEAR_A_TIME: Final = frozenset(
    ("time", "ts", "date", "datetime", "createdat", "occurredat", "eventtime", "sentat")
)
_SHORTEST_MISSPELT: Final = 6
# One letter more than the longest name of a field.
_LONGEST_MISSPELT: Final = 1 + max(len(name) for rules in BODIES.values() for name in rules.fields)
_LONGEST_NAME: Final = 32
_MOST_REMEMBERED: Final = 512
_MOST_SETS_REMEMBERED: Final = 256
_MOST_NAMES_REMEMBERED: Final = 4_096
# Records of collectors have some hundred labels in front of their own fields.
_NAMES_LOOKED_AT: Final = 1_024
_TURN: Final = BODIES[Kind.TURN].fields
_KEYS: Final = 2  # words of a routing key in front of its fields: cluster.event, chat.turn


class NearMiss(NamedTuple):
    """A name in `extra` that resembles a field left empty, and the number of records with it."""

    field: str
    name: str
    records: int = 1


@lru_cache(maxsize=512)
def said_by_key(kind: Kind, routing_key: bytes) -> Mapping[str, str]:
    """Return the fields that a routing key supplies where a body omits them (docs/protocol.md)."""
    if not is_bound(routing_key, _BINDINGS[kind]) or b"\0" in routing_key:
        return {}
    words = routing_key.decode("utf-8", "replace").split(".")[_KEYS:]
    if kind is Kind.SNAPSHOT:
        cluster = ".".join(words)
        return {"cluster": cluster} if cluster else {}
    if kind is Kind.TURN:
        return _known({"role": _ROLES.get(words[0].lower())} if words else {})
    event_type, severity = (*words, "", "")[:2]
    return _known(
        {"type": _TYPES.get(event_type.lower()), "severity": _SEVERITIES.get(severity.lower())}
    )


def _known(found: Mapping[str, str | None]) -> Mapping[str, str]:
    return {name: word for name, word in found.items() if word is not None}


def eased(kind: Kind, document: Document, routing_key: bytes) -> Document:
    """
    Return a body in the form the rules accept, as far as it can be translated.

    `document` is not changed. Fields that it has are never filled from elsewhere.
    """
    found = {name: value for name, value in document.items() if value is not None}
    _take_envelope(found)
    _take_other_names(kind, found)
    _drop_unset(found)
    if kind is Kind.TURN:
        take_message(found, _is_role)
        take_content(found, _is_tool)
        _take_usage(found)
        _take_session(found)
    for name, word in said_by_key(kind, routing_key).items():
        if found.get(name) in (None, ""):
            found[name] = word
    for name, read in _READ.items():
        if name in found:
            found[name] = read(found[name])
    return found


def changed(kind: Kind, document: Document, eased_document: Document) -> Document:
    """Return the entries of a body that its fields do not keep as they were written."""
    known = BODIES[kind].fields
    return {
        name: value
        for name, value in document.items()
        if name not in known or (value is not None and _differ(value, eased_document.get(name)))
    }


def _differ(written: Any, taken: Any) -> bool:
    return written is not taken and (type(written) is not type(taken) or written != taken)


class _Names(NamedTuple):
    """Findings about unknown names: is any a field in another spelling, which fields they resemble."""

    some_are_fields: bool
    resembling: tuple[NearMiss, ...]


_JUDGED: Final[dict[Kind, dict[tuple[str, ...], _Names]]] = {kind: {} for kind in Kind}


def _judged(kind: Kind, unknown: Document) -> _Names:
    """Return what is known of the unknown names of a body; publishers send few sets of them."""
    names = tuple(unknown)
    # Looked up as they are: what they are in all is measured only where they are new.
    found = _JUDGED[kind].get(names)
    return _judged_anew(kind, names) if found is None else found


def _judged_anew(kind: Kind, names: tuple[str, ...]) -> _Names:
    """Judge names, and remember that where they are not many, and none of megabytes."""
    if sum(map(len, names)) > _MOST_REMEMBERED:
        return _judge(
            kind, [name for name in names[:_NAMES_LOOKED_AT] if len(name) <= _LONGEST_NAME]
        )
    remembered = _JUDGED[kind]
    if len(remembered) >= _MOST_SETS_REMEMBERED:
        remembered.clear()
    found = remembered[names] = _judge(kind, names)
    return found


def _judge(kind: Kind, names: Sequence[str]) -> _Names:
    judged = {name: _judged_alone(kind, name) for name in reversed(names)}
    resembled = {alone.resembled: name for name, alone in judged.items()}
    return _Names(
        any(alone.is_field for alone in judged.values()),
        tuple(NearMiss(field, name) for field, name in resembled.items() if field is not None),
    )


class _Name(NamedTuple):
    """Findings about an unknown name: is it a field's in another spelling, which field it resembles."""

    is_field: bool
    resembled: str | None


# The same names in another order are another set of names.
@lru_cache(_MOST_NAMES_REMEMBERED)
def _judged_alone(kind: Kind, name: str) -> _Name:
    is_usage = kind is Kind.TURN and _is_usage(name)
    return _Name(is_usage or _field_of(kind, name) is not None, _resembled(kind, name))


def has_other_names(kind: Kind, unknown: Document) -> bool:
    """Say whether an unknown field has a name that is read like that of a field."""
    return _judged(kind, unknown).some_are_fields


def name_of_cost(document: Document) -> str | None:
    """Return a turn's other spelling of `cost_usd` if its value is a fraction in range."""
    for name in islice(document, _NAMES_LOOKED_AT):
        if name not in _TURN and _field_of(Kind.TURN, name) == "cost_usd":
            cost = document[name]
            is_cost = isinstance(cost, float) and (cost == 0 or 1e-30 <= cost < 1e30)
            return name if is_cost else None
    return None


def near_misses(records: Sequence[Record]) -> Sequence[NearMiss]:
    """
    Return the names that resemble a field left empty: of each field the first.

    They are kept in `extra`, but a query by the field will not find them.
    """
    found: dict[str, NearMiss] = {}
    for record in records:
        if record.extra is None:
            continue
        # Of an envelope only the message's names are its publisher's.
        envelope = name_of_message(record.extra)
        names = record.extra if envelope is None else record.extra[envelope]
        for near in _judged(record.kind, names).resembling:
            if _is_empty(record, near.field):
                before = found.get(near.field)
                found[near.field] = (
                    near if before is None else before._replace(records=before.records + 1)
                )
    return tuple(found.values()) if found else ()


def _is_empty(record: Record, field: str) -> bool:
    if field == "timestamp":
        return record.stamped
    return getattr(record.body, field) in _EMPTY[record.kind, field]


def _plain(name: str) -> str:
    """Return a name in the form its spellings share: sessionId, session-id, Session_ID."""
    return "".join(filter(str.isalnum, name[:_LONGEST_NAME])).lower()


def _field_of(kind: Kind, name: str) -> str | None:
    """Return the field that a name is another spelling of, if any."""
    return _BY_PLAIN_NAME[kind].get(_plain(name)) if len(name) <= _LONGEST_NAME else None


def _is_usage(name: str) -> bool:
    plain = _plain(name)
    return any(plain in names for names in (_USAGES, _METADATA, _INPUT, _OUTPUT, _TOTAL))


def _resembled(kind: Kind, name: str) -> str | None:
    """Return the field that a name was probably meant for, if any."""
    if name in BODIES[kind].fields:
        return None
    plain = _plain(name)
    if kind is Kind.TURN and plain in _USAGES:
        return "tokens_used"
    if plain in _NEAR_A_TIME:
        return "timestamp"
    return (
        _BY_PLAIN_NAME[kind].get(plain)
        or _NEAR[kind].get(plain)
        or next(filter(None, map(_MISSPELT[kind].get, _spellings(plain))), None)
    )


def _spellings(plain: str) -> Iterator[str]:
    """Yield a word, and it without each letter in turn: words one letter apart share one."""
    yield plain
    if len(plain) > _LONGEST_MISSPELT:
        return
    for at in range(len(plain)):
        yield plain[:at] + plain[at + 1 :]


def _take_other_names(kind: Kind, found: Document) -> None:
    for name in list(islice(found, _NAMES_LOOKED_AT)):
        if name not in BODIES[kind].fields and (field := _field_of(kind, name)) is not None:
            found.setdefault(field, found[name])


def _drop_unset(found: Document) -> None:
    """Drop what the publisher's program wrote for a field that was never set."""
    for name in _MAY_BE_UNSET:
        if found.get(name) == "":
            del found[name]
    if is_unset_identity(found.get("id")):
        found.pop("id", None)


def _take_session(found: Document) -> None:
    named = {
        _plain(name): name
        for name in reversed([*islice(found, _NAMES_LOOKED_AT)])
        if len(name) <= _LONGEST_NAME
    }
    for plain in _SESSIONS:
        if plain in named:
            found.setdefault("session_id", found[named[plain]])


def _take_envelope(found: Document) -> None:
    """Take the fields of a message out of MassTransit's envelope, or out of NestJS's."""
    match name_of_message(found):
        case "message":
            # Of its own entries no other: its `conversationId` is new for each message.
            outer_id = found.get("messageId")
            _take_off(found, "message")
            if is_unset_identity(found.get("id")):
                found["id"] = outer_id
        case "data":
            # Not its `id`: that is of a request, and another one when it is sent again.
            _take_off(found, "data")


def _take_off(found: Document, envelope: str) -> None:
    message = found[envelope]
    found.clear()
    found.update((name, value) for name, value in message.items() if value is not None)


def name_of_message(document: Document) -> str | None:
    """Return the entry that holds the message in MassTransit's envelope, or in NestJS's."""
    match document:
        case {"messageType": list(), "message": dict()}:
            return "message"
        case {"pattern": str() | dict(), "data": dict()} if document.keys() <= _NESTJS:
            return "data"
    return None


def _take_usage(found: Document) -> None:
    """Take the counts of tokens as OpenAI, Anthropic, Google and Ollama report them."""
    counts: dict[str, int] = {}
    for name, value in [*islice(found.items(), _NAMES_LOOKED_AT)]:
        plain = _plain(name) if len(name) <= _LONGEST_NAME else ""
        if plain in _METADATA and isinstance(value, dict):
            _take_metadata(found, value, counts)
        elif plain in _USAGES and isinstance(value, dict):
            # Cohere's usage has the tokens apart from those to pay for.
            inner_counts = value.get("tokens")
            _count_all(inner_counts if isinstance(inner_counts, dict) else value, counts)
        else:
            _count_tokens(plain, value, counts)
    if not counts:
        return
    if {"input_tokens", "output_tokens"} <= counts.keys():
        counts.setdefault("tokens_used", counts["input_tokens"] + counts["output_tokens"])
    for name, count in counts.items():
        found.setdefault(name, count)


def _take_metadata(found: Document, metadata: Document, counts: dict[str, int]) -> None:
    """Take model and usage from what LangChain keeps of a model's response."""
    for name, value in islice(metadata.items(), _NAMES_LOOKED_AT):
        if len(name) <= _LONGEST_NAME and _plain(name) in _USAGES and isinstance(value, dict):
            _count_all(value, counts)
    if isinstance(model := metadata.get("model_name", metadata.get("model")), str):
        found.setdefault("model", model)


def _count_all(usage: Document, counts: dict[str, int]) -> None:
    for name, count in islice(usage.items(), _NAMES_LOOKED_AT):
        _count_tokens(_plain(name), count, counts)


def _count_tokens(plain: str, value: Any, counts: dict[str, int]) -> None:
    count = _whole(value)
    if type(count) is not int or not 0 <= count < 2**63:
        return
    for field, names in (
        ("input_tokens", _INPUT), ("output_tokens", _OUTPUT), ("tokens_used", _TOTAL),
    ):  # fmt: skip
        if plain in names:
            counts.setdefault(field, count)


def _is_role(value: Any) -> bool:
    return isinstance(value, str) and value.lower() in _ROLES


def _is_tool(value: Any) -> bool:
    return isinstance(value, str) and _ROLES.get(value.lower()) == "tool"


def _word(words: Mapping[str, str]) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, str | int):
            return value
        return words.get(str(value).strip().lower(), value)

    return read


def _time(value: Any) -> Any:
    if isinstance(value, str) and not is_unset(value):
        with suppress(ValueError):
            parse_strictly(value)
            return value
    with suppress(ValueError):
        micros = own_instant(value)
        return None if micros is None else format_rfc3339(micros)
    return value


def _text(value: Any) -> Any:
    """Return the text of a number, or of MongoDB's identity: those of many databases are no texts."""
    if isinstance(value, dict) and value.keys() == {"$oid"}:
        return value["$oid"]
    return str(value) if type(value) is int else value


def _whole(value: Any) -> Any:
    """Return the whole number of a text, or of the float that JavaScript makes of one."""
    if isinstance(value, str) and len(value) < 20 and value.isascii() and value.isdecimal():
        return int(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value


_READ: Final[Mapping[str, Callable[[Any], Any]]] = {
    "timestamp": _time,
    "id": _text,
    "session_id": _text,
    "node": _text,
    "cluster": _text,
    "type": _word(_TYPES),
    "severity": _word(_SEVERITIES),
    "source": _word(_SOURCES),
    "role": _word(_ROLES),
    "tokens_used": _whole,
    "input_tokens": _whole,
    "output_tokens": _whole,
}
_BINDINGS: Final = {topic.kind: topic.binding for topic in TOPICS}
# As an identity, a device's own `ID` would make many messages one.
_BY_PLAIN_NAME: Final = {
    kind: {_plain(name): name for name in rules.fields if name != "id"}
    for kind, rules in BODIES.items()
}
_MISSPELT: Final = {
    kind: {
        spelling: name
        for plain, name in names.items()
        if len(plain) >= _SHORTEST_MISSPELT
        for spelling in _spellings(plain)
    }
    for kind, names in _BY_PLAIN_NAME.items()
}
_EMPTY: Final = {
    (kind, field.name): (None, field.default, "")
    for kind, body in BODY_CLASSES.items()
    for field in fields(body)
}
