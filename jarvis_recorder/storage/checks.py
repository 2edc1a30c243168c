"""Checks of the database that `store.url` names."""

import contextlib
import stat
from collections.abc import Sequence
from pathlib import Path
from shlex import quote as quoted
from typing import Final

from jarvis_recorder.config.loading import Loaded, server_url, sqlite_path
from jarvis_recorder.config.secrets import exposed_secrets, protection
from jarvis_recorder.config.settings import bounds_of
from jarvis_recorder.errors import RecorderError
from jarvis_recorder.incidents.rules import load_rules
from jarvis_recorder.storage.sqlite.admin import checks
from jarvis_recorder.telemetry.check import Finding, green, red, yellow

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def check(loaded: Loaded, *, recorder_is_at_work: bool | None) -> Sequence[Finding]:
    """
    Return all findings about the database, its files, and those of the settings.

    Nothing is changed. With `recorder_is_at_work`, one consumes from the broker, and a lock is
    taken to be its own; None says that this could not be seen.
    """
    rules = _rules(loaded)
    try:
        if (url := server_url(loaded)) is not None:
            return [*rules, *_of_server(url), _permissions(loaded, None)]
        path = sqlite_path(loaded)
    except RecorderError as error:
        return [*rules, red("database", str(error), "see store.url", error.exit_code)]
    bounds = bounds_of(loaded.settings)
    found = checks.check(path, bounds, recorder_is_at_work=recorder_is_at_work)
    return [*rules, *found, _permissions(loaded, path)]


def _rules(loaded: Loaded) -> Sequence[Finding]:
    """Check the file of rules: a recorder whose settings name one does not start without it."""
    incidents = loaded.settings.incidents
    if incidents.rules is None:
        return []
    try:
        load_rules(incidents.rules, incidents.quiet_hours)
    except RecorderError as error:
        return [red("rules", str(error), "see docs/incidents.md", error.exit_code)]
    return [green("rules", f"{incidents.rules} is read")]


def _permissions(loaded: Loaded, database: Path | None) -> Finding:
    open_ones = {path: protection(path, names) for path, names in exposed_secrets(*loaded).items()}
    with contextlib.suppress(OSError):
        if database is not None and database.stat().st_mode & _OTHERS:
            open_ones[database] = f"chmod 600 {quoted(str(database))}"
    if not open_ones:
        return green("permissions", "no one else may look into the files")
    text = f"others may look into {', '.join(map(str, open_ones))}"
    return yellow("permissions", text, "; ".join(open_ones.values()))


def _of_server(url: str) -> Sequence[Finding]:
    from jarvis_recorder.storage.postgres.checks import check as check_server

    return check_server(url)
