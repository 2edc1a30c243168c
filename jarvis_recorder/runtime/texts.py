"""TOML and JSON that people wrote: whatever the parser cannot read is a `ValueError`."""

import json
import tomllib
from collections.abc import Callable
from typing import Any


def from_toml(text: str) -> dict[str, Any]:
    """
    Parse a TOML document.

    Raises:
        ValueError: It is none, or is nested too deeply, or a number in it is too long.
    """
    document: dict[str, Any] = _parsed(tomllib.loads, text)
    return document


def from_json(text: str) -> Any:
    """
    Parse a JSON document.

    Raises:
        ValueError: As `from_toml`.
    """
    return _parsed(json.loads, text)


def _parsed(parse: Callable[[str], Any], text: str) -> Any:
    try:
        return parse(text)
    except (tomllib.TOMLDecodeError, json.JSONDecodeError):
        raise
    except RecursionError:
        raise ValueError("what it holds is nested too deeply") from None
    except ValueError:
        # Python reads decimal numbers of up to 4,300 digits; its words for it name no line.
        raise ValueError("a number in it has too many digits") from None
