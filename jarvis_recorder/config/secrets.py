"""Secrets among the settings: which files expose them, and settings as text without them."""

import contextlib
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote as quoted
from typing import Final

from pydantic import SecretStr

from jarvis_recorder.config import loading
from jarvis_recorder.config.settings import NAMES, Settings
from jarvis_recorder.net import amqp_url, database_url

_SERVICE_GROUP: Final = "jarvis-recorder"
# In the directory of SYSTEM_FILE; systemd hands it to the gateway.
_GATEWAY_FILE: Final = "gateway.toml"


def exposed_secrets(settings: Settings, origins: Mapping[str, str]) -> dict[Path, list[str]]:
    """Return the files with secrets that every user of the machine may read: path → settings."""
    found: dict[Path, list[str]] = {}
    for name in NAMES:
        path = _file_with_secret(name, settings, origins[name])
        with contextlib.suppress(OSError):
            if path is not None and path.stat().st_mode & stat.S_IROTH:
                found.setdefault(path, []).append(name)
    return found


def protection(path: Path, names: Sequence[str]) -> str:
    """
    Return the advice that keeps others from a file in which `exposed_secrets` found these names.

    The service can still read the file: as its own user, or as a credential that root hands it.
    """
    file = quoted(str(path))
    there = path.resolve()
    if there == loading.SYSTEM_FILE:
        return "; ".join(
            f"move {name} to {loading.SYSTEM_CREDENTIALS / name}, for root alone, and have the unit read it: "
            f"LoadCredential={name}:{loading.SYSTEM_CREDENTIALS / name}"
            for name in names
        )
    is_an_instances = there.parent == loading.SYSTEM_FILE.parent and there.name != _GATEWAY_FILE
    if (is_an_instances or "broker.key_file" in names) and path.stat().st_uid == 0:
        return f"chgrp {_SERVICE_GROUP} {file}; chmod 640 {file}"
    return f"chmod 600 {file}"


def _file_with_secret(name: str, settings: Settings, origin: str) -> Path | None:
    """Return the file that holds the secret of a setting, None if there is none."""
    if name == "broker.key_file":
        return settings.broker.key_file or settings.broker.cert_file
    section, _, field = name.partition(".")
    value = getattr(getattr(settings, section), field)
    secret = value.get_secret_value() if isinstance(value, SecretStr) else ""
    if origin == "default" or not secret or secret == redacted(name, settings):
        return None
    # The origin may also be a variable or an option: a path that does not exist.
    return Path(origin.removeprefix("credential (").removesuffix(")"))


def redacted(name: str, settings: Settings) -> str:
    """Return the value of a setting as text, without passwords."""
    section, _, field = name.partition(".")
    value = getattr(getattr(settings, section), field)
    if name == "broker.url":
        return amqp_url.redacted(value.get_secret_value())
    if name == "store.url":
        return database_url.redacted(value.get_secret_value())
    return "" if value is None else str(value)
