"""
Common publishers' spellings of a body, translated to the form the rules accept.

The rules in `records` are the form to write. A body that they refuse is read here again: names
in another capitalisation, other words for a severity or a role, numbers as texts, contents in
parts, token counts as model vendors name them. Nothing is guessed: a value that names no kind
and no instant stays as it is, and the rules refuse it. Whatever is changed here is kept as it
was written in the record's `extra`.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from itertools import islice
from typing import Any, Final, get_args

from jarvis_recorder.wire.chats import take_content, take_message
from jarvis_recorder.wire.identity import is_unset as is_unset_identity
from jarvis_recorder.wire.records import BODIES, EventType, Source
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
USAGES: Final = frozenset(("usage", "usagemetadata", "tokenusage"))
_METADATA: Final = frozenset(("responsemetadata",))
_NESTJS: Final = frozenset(("pattern", "data", "id"))
# The conversation as OpenAI's and LangGraph's programs name it, without capitals and underscores.
_SESSIONS: Final = ("conversationid", "threadid")
# Go writes a text that was never set as an empty one; these may be left out.
_MAY_BE_UNSET: Final = ("timestamp", "severity", "session_id")
LONGEST_NAME: Final = 32
# Records of collectors have some hundred labels in front of their own fields.
NAMES_LOOKED_AT: Final = 1_024
_TURN: Final = BODIES[Kind.TURN].fields
_KEYS: Final = 2  # words of a routing key in front of its fields: cluster.event, chat.turn


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


def name_of_cost(document: Document) -> str | None:
    """Return a turn's other spelling of `cost_usd` if its value is a fraction in range."""
    for name in islice(document, NAMES_LOOKED_AT):
        if name not in _TURN and field_of(Kind.TURN, name) == "cost_usd":
            cost = document[name]
            is_cost = isinstance(cost, float) and (cost == 0 or 1e-30 <= cost < 1e30)
            return name if is_cost else None
    return None


def plain_name(name: str) -> str:
    """Return a name in the form its spellings share: sessionId, session-id, Session_ID."""
    return "".join(filter(str.isalnum, name[:LONGEST_NAME])).lower()


def field_of(kind: Kind, name: str) -> str | None:
    """Return the field that a name is another spelling of, if any."""
    return BY_PLAIN_NAME[kind].get(plain_name(name)) if len(name) <= LONGEST_NAME else None


def is_usage(name: str) -> bool:
    """Return whether a name is a model vendor's for tokens, or for what holds their counts."""
    plain = plain_name(name)
    return any(plain in names for names in (USAGES, _METADATA, _INPUT, _OUTPUT, _TOTAL))


def _take_other_names(kind: Kind, found: Document) -> None:
    for name in list(islice(found, NAMES_LOOKED_AT)):
        if name not in BODIES[kind].fields and (field := field_of(kind, name)) is not None:
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
        plain_name(name): name
        for name in reversed([*islice(found, NAMES_LOOKED_AT)])
        if len(name) <= LONGEST_NAME
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
    for name, value in [*islice(found.items(), NAMES_LOOKED_AT)]:
        plain = plain_name(name) if len(name) <= LONGEST_NAME else ""
        if plain in _METADATA and isinstance(value, dict):
            _take_metadata(found, value, counts)
        elif plain in USAGES and isinstance(value, dict):
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
    for name, value in islice(metadata.items(), NAMES_LOOKED_AT):
        if len(name) <= LONGEST_NAME and plain_name(name) in USAGES and isinstance(value, dict):
            _count_all(value, counts)
    if isinstance(model := metadata.get("model_name", metadata.get("model")), str):
        found.setdefault("model", model)


def _count_all(usage: Document, counts: dict[str, int]) -> None:
    for name, count in islice(usage.items(), NAMES_LOOKED_AT):
        _count_tokens(plain_name(name), count, counts)


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
BY_PLAIN_NAME: Final = {
    kind: {plain_name(name): name for name in rules.fields if name != "id"}
    for kind, rules in BODIES.items()
}
