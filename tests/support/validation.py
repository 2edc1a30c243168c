"""JSON Schema validation, with times checked as by the recorder."""

from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

from jarvis_recorder.wire.times import parse_rfc3339

_FORMATS = FormatChecker(formats=())


@_FORMATS.checks("date-time", raises=ValueError)
def _is_time(value: Any) -> bool:
    if isinstance(value, str):
        parse_rfc3339(value)
    return True


def admits(schema: dict[str, Any], value: Any) -> bool:
    return Draft202012Validator(schema, format_checker=_FORMATS).is_valid(value)


def objection(schema: dict[str, Any], value: Any) -> str:
    """Return a schema's objection to a value, empty if it is valid."""
    errors = Draft202012Validator(schema, format_checker=_FORMATS).iter_errors(value)
    return "; ".join(f"{error.json_path}: {error.message}" for error in errors)
