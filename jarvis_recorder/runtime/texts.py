"""TOML and JSON that people wrote: whatever the parser cannot read is a `ValueError`."""

import json
import tomllib
from typing import Any, Final

_TOO_DEEP: Final = "what it holds is nested too deeply"
_TOO_LONG: Final = "a number in it has too many digits"


def from_toml(text: str) -> dict[str, Any]:
    """
    Parse a TOML document.

    Raises:
        ValueError: It is none, or is nested too deeply, or a number in it is too long.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    except ValueError:
        # Python reads decimal numbers of up to 4,300 digits; its words for it name no line.
        raise ValueError(_TOO_LONG) from None


def from_json(text: str) -> Any:
    """
    Parse a JSON document.

    Raises:
        ValueError: It is none, or is nested too deeply, or a number in it is too long.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    except ValueError:
        raise ValueError(_TOO_LONG) from None
