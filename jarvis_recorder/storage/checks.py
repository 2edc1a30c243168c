"""Checks of the database that `store.url` names."""

from collections.abc import Sequence
from pathlib import Path

from jarvis_recorder.config.loading import Loaded, server_url, sqlite_path
from jarvis_recorder.errors import RecorderError
from jarvis_recorder.storage.sqlite.admin import checks
from jarvis_recorder.telemetry.check import Finding, red


def examine(
    loaded: Loaded, secrets: Sequence[Path], *, recorder_is_at_work: bool
) -> Sequence[Finding]:
    """Return all findings about the database and its files; nothing is changed."""
    try:
        if (url := server_url(loaded)) is not None:
            return [*_of_server(url), *checks.permissions(secrets)]
        path = sqlite_path(loaded)
    except RecorderError as error:
        return [red("database", str(error), "see store.url", error.exit_code)]
    return checks.examine(path, secrets, recorder_is_at_work=recorder_is_at_work)


def _of_server(url: str) -> Sequence[Finding]:
    from jarvis_recorder.storage.postgres.checks import examine as examine_server

    return examine_server(url)
