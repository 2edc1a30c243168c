"""Loading of the settings from every source, with the origin of each value.

Order: command line, environment, credentials directory, TOML file, default. The first source
that names a setting wins. A name that is not a setting is an error, in every source. Only a
credentials directory may hold other files, whose names are not nearly that of a setting.
"""

import difflib
import importlib.util
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from pydantic import ValidationError

from jarvis_recorder.config.settings import NAMES, Settings
from jarvis_recorder.errors import ConfigurationError
from jarvis_recorder.net import database_url
from jarvis_recorder.runtime.texts import from_toml
from jarvis_recorder.wire.validation import first_error

PREFIX: Final = "JARVIS_RECORDER_"
DELIMITER: Final = "__"
# Installed by `provision systemd`; commands on the same machine use them as well.
SYSTEM_FILE: Final = Path("/etc/jarvis-recorder/config.toml")
SYSTEM_CREDENTIALS: Final = Path("/etc/jarvis-recorder/credentials")
SERVICE_DATABASE: Final = Path("/var/lib/jarvis-recorder/recorder.db")
# As `config_file`: neither the system's file nor its credentials.
NO_FILE: Final = Path("/dev/null")
# How alike the names of a file and of a setting are where the file is most likely that setting.
_MISSPELT: Final = 0.88
_NAME: Final = re.compile(r"[\w.-]+")


class Loaded(NamedTuple):
    """The settings, and the origin of each value by name."""

    settings: Settings
    origins: Mapping[str, str]


class _Layer(NamedTuple):
    """The values of one source by dotted name; `where` has the name as that source spells it."""

    values: Mapping[str, Any]
    where: Mapping[str, str]


def load(
    overrides: Mapping[str, Any],
    environ: Mapping[str, str],
    config_file: Path | None = None,
) -> Loaded:
    """
    Merge the sources and return valid settings.

    Without `config_file` the system's file is read, and so are the system's credentials if
    `CREDENTIALS_DIRECTORY` is not set and the caller may read them: root's commands then use
    the settings of the service.

    Raises:
        ConfigurationError: A name is no setting, a value is not allowed, or a file cannot be
            read; the message names the source and the fix.
    """
    layers = (
        _from_command_line(overrides),
        _from_environment(environ),
        _from_credentials(environ.get("CREDENTIALS_DIRECTORY") or _system_credentials(config_file)),
        _from_file(config_file),
    )
    values: dict[str, Any] = {}
    origins = dict.fromkeys(NAMES, "default")
    for layer in reversed(layers):
        for name, value in layer.values.items():
            values[name] = value
            origins[name] = layer.where[name]
    settings = _validated(values, origins)
    if not settings.store.url.get_secret_value():
        path, origin = _default_path(environ)
        origins["store.url"] = origin
        settings = _validated({**values, "store.url": f"sqlite:///{path}" if path else ""}, origins)
    return Loaded(settings, origins)


def _validated(values: Mapping[str, Any], origins: Mapping[str, str]) -> Settings:
    nested: dict[str, dict[str, Any]] = {}
    for dotted, value in values.items():
        section, _, name = dotted.partition(".")
        nested.setdefault(section, {})[name] = value
    try:
        return Settings.model_validate(nested)
    except ValidationError as error:
        first = first_error(error)
        # Deeper it is a part of a list or a mapping.
        name = ".".join(first.path.split(".")[:2])
        raise ConfigurationError(f"{name}: {first.text}; set in {origins[name]}") from None


def _from_command_line(overrides: Mapping[str, Any]) -> _Layer:
    for name in overrides:
        # Text that is no name is not repeated: it may be a URL with a = in it, and its password.
        shown = name if _NAME.fullmatch(name) else "…"
        _require_known(name, f"--set {shown}", {known: known for known in NAMES})
    return _Layer(overrides, {name: f"command line (--set {name})" for name in overrides})


def _from_environment(environ: Mapping[str, str]) -> _Layer:
    values = {}
    where = {}
    for variable, value in environ.items():
        if variable.startswith(PREFIX):
            name = variable.removeprefix(PREFIX).lower().replace(DELIMITER, ".")
            _require_known(name, f"environment variable {variable}", _variables())
            values[name] = value
            where[name] = f"environment ({variable})"
    return _Layer(values, where)


def _variables() -> dict[str, str]:
    return {name: PREFIX + name.upper().replace(".", DELIMITER) for name in NAMES}


def _system_credentials(config_file: Path | None) -> str | None:
    may_read = config_file is None and os.access(SYSTEM_CREDENTIALS, os.R_OK | os.X_OK)
    return str(SYSTEM_CREDENTIALS) if may_read else None


def _from_credentials(directory: str | None) -> _Layer:
    """Read one file for each setting, named like `broker.url`, as systemd's LoadCredential does."""
    if directory is None:
        return _Layer({}, {})
    files = _names_in(Path(directory))
    values: dict[str, Any] = {}
    where: dict[str, str] = {}
    for name in NAMES:
        path = Path(directory) / name
        if name in files and _is_file(path):
            values[name] = _read(path).strip()
            where[name] = f"credential ({path})"
    # Others may be there: a key that a setting names, `gateway.toml`, an earlier value.
    missing = [name for name in NAMES if name not in values]
    for file in sorted(files - set(NAMES)):
        if near := difflib.get_close_matches(file, missing, n=1, cutoff=_MISSPELT):
            raise ConfigurationError(
                f"credential {Path(directory) / file} is not a setting; did you mean {near[0]}?"
            )
    return _Layer(values, where)


def _names_in(directory: Path) -> set[str]:
    try:
        return {path.name for path in directory.iterdir()}
    except OSError as error:
        raise ConfigurationError(
            f"credentials directory {directory}: cannot be read: {error.strerror}"
        ) from None


def _from_file(given: Path | None) -> _Layer:
    path = given or SYSTEM_FILE
    if given is None and not _is_file(path):
        return _Layer({}, {})
    try:
        document = from_toml(_read(path))
    except ValueError as error:
        raise ConfigurationError(f"{path}: not TOML: {error}") from None
    values = dict(_dotted(document, path))
    return _Layer(values, {name: str(path) for name in values})


def _dotted(document: Mapping[str, Any], path: Path) -> Iterable[tuple[str, Any]]:
    sections = {name.partition(".")[0]: name.partition(".")[0] for name in NAMES}
    for section, content in document.items():
        _require_known(section, f"section [{section}] in {path}", sections)
        if not isinstance(content, dict):
            raise ConfigurationError(f"{path}: {section} must be a section: [{section}]")
        for name, value in content.items():
            _require_known(
                f"{section}.{name}", f"{section}.{name} in {path}", {name: name for name in NAMES}
            )
            yield f"{section}.{name}", value


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ConfigurationError(f"{path}: cannot be read: {reason}") from None


def _require_known(name: str, what: str, known: Mapping[str, str]) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0)
        hint = f"; did you mean {known[near[0]]}?" if near else ""
        raise ConfigurationError(f"{what} is not a setting{hint}")


def _default_path(environ: Mapping[str, str]) -> tuple[Path | None, str]:
    """Return the default database and its origin; None without a home directory."""
    if state := environ.get("STATE_DIRECTORY"):
        return Path(state.partition(":")[0]) / "recorder.db", "environment (STATE_DIRECTORY)"
    if state := environ.get("XDG_STATE_HOME"):
        return Path(state) / "jarvis-recorder" / "recorder.db", "default"
    try:
        home = Path.home()
    except RuntimeError:
        return None, "default"
    return home / ".local" / "state" / "jarvis-recorder" / "recorder.db", "default"


def server_url(loaded: Loaded) -> str | None:
    """
    Return the URL of the database server with its password, None if the database is a file.

    Raises:
        ConfigurationError: Another setting is for a file only, or for a server only; or there is
            no driver.
    """
    store = loaded.settings.store
    url = store.url.get_secret_value()
    if not database_url.is_server(url):
        if store.by_month:
            raise ConfigurationError(
                "store.partitions is for a PostgreSQL server, and store.url names a file; set in "
                + loaded.origins["store.partitions"]
            )
        return None
    for name, is_set in (
        ("store.budget", store.budget),
        ("store.keep_free", store.keep_free),
        ("store.on_corruption", store.on_corruption != "stop"),
    ):
        if is_set:
            raise ConfigurationError(
                f"{name} is for a database file: the disk of a PostgreSQL server is looked after "
                "by its administrator; set in " + loaded.origins[name]
            )
    if importlib.util.find_spec("psycopg") is None:
        raise ConfigurationError(
            "store.url names a PostgreSQL server, and its driver is not installed: `make install`, "
            "any `make` in a checkout, and requirements-run.lock have it"
        )
    return url


def sqlite_path(loaded: Loaded) -> Path:
    """
    Return the path of the database file.

    Raises:
        ConfigurationError: `store.url` names none; or it is the default of the calling user
            while the installed service has its own, which the caller most likely means.
    """
    url = loaded.settings.store.url.get_secret_value()
    if database_url.is_server(url):
        raise ConfigurationError(
            "store.url names a PostgreSQL server, and this is for a database file: back up and "
            "restore with pg_dump or pgBackRest; the server looks after its files itself"
        )
    if not url:
        raise ConfigurationError("there is no home directory for a database: set store.url")
    scheme, separator, path = url.partition(":///")
    if scheme != "sqlite" or not separator or not path or "?" in path or "#" in path:
        raise ConfigurationError(
            "store.url must be sqlite:///relative/path or sqlite:////absolute/path, without ? or #, "
            "or postgresql://user:password@host/database"
        )
    found = Path(path).absolute()
    if loaded.origins["store.url"] == "default" and _is_service_elsewhere(found):
        raise ConfigurationError(
            f"no setting names the database, and {found} is not that of the installed service: "
            f"set store.url to sqlite:///{SERVICE_DATABASE} in {SYSTEM_FILE}, or to another with "
            "--set store.url=sqlite:////path"
        )
    return found


def _is_service_elsewhere(path: Path) -> bool:
    try:
        return path != SERVICE_DATABASE and SERVICE_DATABASE.exists()
    except PermissionError:
        # The directory exists, and is not the caller's.
        return True
