"""Changes to a TOML file written by hand: every other line of it stays."""

import os
import re
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jarvis_recorder.cli.files import readable_errors, write_new
from jarvis_recorder.errors import ConfigurationError
from jarvis_recorder.runtime.ownership import acting_for, resolved
from jarvis_recorder.runtime.texts import from_toml


def set_lines(path: Path, section: str, lines: Sequence[str]) -> None:
    """
    Set these lines, `name = value` or a comment, in a section of the file.

    A new file is readable by its owner only; an existing one keeps owner and mode.

    Raises:
        ConfigurationError: The file cannot be read or written, is not TOML, or is written in a
            way that cannot be changed line by line; it is unchanged.
    """
    path = resolved(path)
    with acting_for(path):
        _set_lines(path, section, lines)


def _set_lines(path: Path, section: str, lines: Sequence[str]) -> None:
    with readable_errors(path):
        before = path.read_text(encoding="utf-8") if path.exists() else None
        status = path.stat() if before is not None else None
    there = before or ""
    try:
        expected = from_toml(there)
    except ValueError as error:
        raise ConfigurationError(f"{path}: not TOML: {error}; nothing was written") from None
    settings = expected.setdefault(section, {})
    is_section = isinstance(settings, dict)
    if is_section:
        settings |= from_toml("\n".join(lines))
    text = _with(there, section, lines)
    if not is_section or _parsed(text) != expected:
        raise ConfigurationError(
            f"{path}: [{section}] is not written as one line a setting, and was left as it is: "
            "put the settings there by hand"
        )
    with readable_errors(path):
        write_new(path, text, stat.S_IMODE(status.st_mode) if status else 0o600)
        if status is not None and os.geteuid() == 0:
            os.chown(path, status.st_uid, status.st_gid)


def require_appendable(text: str, instead: str) -> None:
    """
    Refuse output that is appended to a TOML file and would make it invalid.

    A second `>> FILE` would open a section twice.

    Raises:
        ConfigurationError: Standard output is such a file; it is unchanged.
    """
    try:
        descriptor = sys.stdout.fileno()
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        there = path.read_text("utf-8") if stat.S_ISREG(os.fstat(descriptor).st_mode) else ""
    except (OSError, ValueError):
        return
    if _parsed(there) is not None and _parsed(there + text) is None:
        raise ConfigurationError(
            f"{path} would no longer be TOML with these lines at its end, and was left as it is: "
            f"{instead} {path} sets them there"
        )


def _with(there: str, section: str, lines: Sequence[str]) -> str:
    header = re.search(rf"^\[{section}\][ \t]*(?:#.*)?$\n?", there, re.MULTILINE)
    if header is None:
        before = f"{there.rstrip()}\n\n" if there.strip() else ""
        return before + "\n".join((f"[{section}]", *lines, ""))
    following = re.compile(r"^[ \t]*\[", re.MULTILINE).search(there, header.end())
    end = following.start() if following else len(there)
    # The same comments and settings, written by an earlier run.
    names = "|".join(re.escape(line.partition(" = ")[0]) for line in lines)
    stale = re.compile(rf"^[ \t]*(?:{names})(?:[ \t]*=.*)?$\n?", re.MULTILINE)
    kept = stale.sub("", there[header.end() : end])
    start = there[: header.end()].rstrip("\n")
    return "\n".join((start, *lines, kept + there[end:]))


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        return from_toml(text)
    except ValueError:
        return None
