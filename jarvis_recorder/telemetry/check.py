"""What an examination finds."""

from enum import StrEnum
from typing import Final, NamedTuple

# The largest batch and its share of the log must still fit when an operator hears of it.
LEAST_FREE_BYTES: Final = 16 * 1024 * 1024


class Status(StrEnum):
    """How it stands: well; works, but look at it; does not work."""

    GREEN = "green"
    YELLOW = "yellow"
    RED = "red"


class Finding(NamedTuple):
    """One thing that was looked at; `remedy` is what to type or do, `exit_code` says of what kind."""

    name: str
    light: Status
    detail: str
    remedy: str = ""
    exit_code: int = 0


def green(name: str, detail: str) -> Finding:
    return Finding(name, Status.GREEN, detail)


def yellow(name: str, detail: str, remedy: str = "") -> Finding:
    return Finding(name, Status.YELLOW, detail, remedy)


def red(name: str, detail: str, remedy: str, exit_code: int) -> Finding:
    return Finding(name, Status.RED, detail, remedy, exit_code)
