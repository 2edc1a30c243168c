"""Checks of the database that `store.url` names."""

from collections.abc import Sequence
from pathlib import Path

from jarvis_recorder.config.loading import Loaded, sqlite_path
from jarvis_recorder.errors import RecorderError
from jarvis_recorder.storage.sqlite.admin import checks
from jarvis_recorder.telemetry.check import Finding, red


def examine(
    loaded: Loaded, secrets: Sequence[Path], *, recorder_is_at_work: bool
) -> Sequence[Finding]:
    """Return all findings about the database and its files; nothing is changed."""
    try:
        path = sqlite_path(loaded)
    except RecorderError as error:
        return [red("database", str(error), "see store.url", error.exit_code)]
    return checks.examine(path, secrets, recorder_is_at_work=recorder_is_at_work)
