"""
CloudEvents 1.0 in its three modes over AMQP.

Source: CloudEvents 1.0.2 core, JSON format and AMQP protocol binding. The binding is written
for AMQP 1.0 properties; over 0-9-1 its attributes travel as headers, and as `ce-` by habit.
"""

from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from jarvis_recorder.wire.refusal import Reason, Refused
from jarvis_recorder.wire.times import own_instant

STRUCTURED: Final = "application/cloudevents+json"
BATCH: Final = "application/cloudevents-batch+json"
_PREFIXES: Final = ("ce-", "ce_", "ce:", "cloudevents:", "cloudevents_", "cloudevents-")
_ENVELOPE: Final = frozenset(("specversion", "datacontenttype", "time", "data", "data_base64"))
_TEXTS: Final = ("specversion", "id", "source", "type")


class CloudEvent(NamedTuple):
    """The data and attributes of a CloudEvent; `time` is in microseconds."""

    identity: str
    time: int | None
    data: Any
    attributes: dict[str, Any]


def binary_attributes(headers: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return the CloudEvent attributes in the headers, empty if the message is no CloudEvent.

    A `specversion` makes it one. Names match in any capitalisation: brokers and libraries
    change it, and the name of an attribute is always lower case.
    """
    attributes: dict[str, Any] = {}
    for key, value in headers.items():
        if key[:1] in "cC":
            name = key.lower()
            for prefix in _PREFIXES:
                if name.startswith(prefix):
                    attributes[name[len(prefix) :]] = value
                    break
    if "specversion" not in attributes:
        return {}
    for name in _TEXTS:
        # A header may be a number where the attribute is a text.
        if isinstance(attributes.get(name), int | float):
            attributes[name] = str(attributes[name])
    return attributes


def is_structured(document: Mapping[str, Any]) -> bool:
    """Return whether a JSON object claims to be a CloudEvent."""
    return "specversion" in document and ("data" in document or "data_base64" in document)


def from_binary(attributes: dict[str, Any], data: Any) -> CloudEvent:
    """
    Return the CloudEvent of binary mode: attributes from headers, data from the body.

    Raises:
        Refused: `invalid`, naming the attribute.
    """
    for name in ("id", "source", "type"):
        if not (isinstance(attributes.get(name), str) and attributes[name]):
            raise _invalid(f"CloudEvent attribute {name} must be a text that is not empty")
    if attributes.get("specversion") not in ("1.0", "1"):
        raise _invalid("CloudEvent attribute specversion must be 1.0")
    kept = {name: value for name, value in attributes.items() if name not in _ENVELOPE}
    # A body has none, but a header may.
    if _holds_nul(kept):
        raise _invalid("a CloudEvent attribute holds a NUL character")
    written = attributes.get("time")
    time = _time(written)
    if time is None and written is not None:
        kept["time"] = written
    return CloudEvent(f"{attributes['source']}#{attributes['id']}", time, data, kept)


def from_structured(event: Any, parse: Callable[[bytes], Any]) -> CloudEvent:
    """
    Return the CloudEvent that a JSON object describes.

    `parse` reads data sent as base64 or as a string; a sender unaware that its data is JSON
    sends a string.

    Raises:
        Refused: `invalid`, naming the attribute.
    """
    if not isinstance(event, dict):
        raise _invalid("a CloudEvent must be a JSON object")
    data = event.get("data")
    if data is None and "data_base64" in event:
        data = _from_base64(event["data_base64"], parse)
    elif isinstance(data, str) and data.lstrip().startswith("{"):
        data = parse(data.encode())
    return from_binary(event, data)


def _holds_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(_holds_nul(name) or _holds_nul(inner) for name, inner in value.items())
    return isinstance(value, list) and any(map(_holds_nul, value))


def _from_base64(text: Any, parse: Callable[[bytes], Any]) -> Any:
    try:
        raw = b64decode(text, validate=True)
    except (ValueError, TypeError):
        raise _invalid("data_base64 must be base64") from None
    return parse(raw)


def _time(value: Any) -> int | None:
    # Go writes a text that was never set as an empty one.
    if value is None or value == "":
        return None
    try:
        return own_instant(value)
    except ValueError as error:
        raise _invalid(f"CloudEvent attribute time: {error}") from None


def _invalid(error: str) -> Refused:
    return Refused(Reason.INVALID, error)
