"""The findings of the doctor's checks."""

from enum import StrEnum
from typing import Final, NamedTuple

# The largest batch and its share of the log must still fit when an operator hears of it.
LEAST_FREE_BYTES: Final = 16 * 1024 * 1024


class Status(StrEnum):
    """The status of a finding: ok; works, but needs attention; does not work."""

    GREEN = "green"
    YELLOW = "yellow"
    RED = "red"


class Finding(NamedTuple):
    """The result of one check; `remedy` is the fix, `exit_code` that of the doctor if it is red."""

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
