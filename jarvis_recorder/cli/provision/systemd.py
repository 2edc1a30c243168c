"""`provision systemd`: install the recorder as a service."""

import re
import sys
import sysconfig
from pathlib import Path
from typing import Annotated, Final

import typer

import jarvis_recorder
from jarvis_recorder.cli import standard_input
from jarvis_recorder.cli.files import (
    Installation,
    InstalledFile,
    make_open,
    readable_errors,
    require_untouched,
    require_writable,
    template,
    write_new,
)
from jarvis_recorder.config.loading import SERVICE_DATABASE, load
from jarvis_recorder.errors import ConfigurationError
from jarvis_recorder.net import amqp_url

_UNITS: Final = (
    "jarvis-recorder.service",
    "jarvis-recorder@.service",
    "jarvis-recorder-backup.service",
    "jarvis-recorder-backup.timer",
    "jarvis-recorder-gateway.service",
)
_PLACES: Final = {
    **{f"etc/systemd/system/{unit}": unit for unit in _UNITS},
    "etc/sysusers.d/jarvis-recorder.conf": "jarvis-recorder.sysusers",
    "etc/tmpfiles.d/jarvis-recorder.conf": "jarvis-recorder.tmpfiles",
}
_CONFIG: Final = "etc/jarvis-recorder/config.toml"
_CREDENTIAL: Final = "etc/jarvis-recorder/credentials/broker.url"
_EXECUTABLE_IN_TEMPLATES: Final = "/usr/local/bin/jarvis-recorder"
# Directories that ProtectHome= and PrivateTmp= hide from the unit.
_HIDDEN: Final = tuple(map(Path, ("/home", "/root", "/run/user", "/tmp", "/var/tmp")))  # noqa: S108

_DONE: Final = {
    InstalledFile.ABSENT: "written",
    InstalledFile.SAME: "is there already",
    InstalledFile.OURS: "replaced, an older one",
    InstalledFile.CHANGED: "replaced, with its changes",
}
_TO_DO: Final = {
    InstalledFile.ABSENT: "would be written",
    InstalledFile.SAME: "is there already",
    InstalledFile.OURS: "would be replaced, an older one",
    InstalledFile.CHANGED: "was changed: only --force would replace it",
}
_NEXT: Final = """
Next, as root:
  systemd-sysusers
  systemd-tmpfiles --create
  systemctl daemon-reload
  systemctl enable --now jarvis-recorder.service jarvis-recorder-backup.timer

The dashboard, once its file is there (docs/gateway.md):
  systemctl enable --now jarvis-recorder-gateway.service

After an upgrade:
  systemctl daemon-reload
  systemctl try-restart jarvis-recorder.service jarvis-recorder-gateway.service 'jarvis-recorder@*'

To see how it is: systemctl status jarvis-recorder; journalctl -u jarvis-recorder -f\
"""


def register(commands: typer.Typer) -> None:
    commands.command(
        "systemd",
        epilog="Example: `sudo jarvis-recorder provision systemd < url.txt`, where `url.txt` holds "
        "`amqp://user:password@broker/`.",
    )(provision)


def provision(
    root: Annotated[
        Path, typer.Option("--root", metavar="DIR", help="Install below this directory.")
    ] = Path("/"),
    executable: Annotated[
        Path | None,
        typer.Option(
            "--executable", metavar="FILE", help="What the units start, instead of this command."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace also what someone has changed.")
    ] = False,
) -> None:
    """
    Install the recorder as a service of systemd, with a daily backup.

    Writes the units, what makes their user and directories, the settings by which every command
    on this machine finds the service's database, and the broker's URL as a credential that only
    root can read: it is asked for, or read from standard input. Settings and credential that
    are there already are kept. Nothing is started; what to type next is shown at the end.
    """
    program = _executable(executable, root)
    planned = [
        Installation(root / place, template("systemd", name).replace(
            _EXECUTABLE_IN_TEMPLATES, str(program)))
        for place, name in _PLACES.items()
    ]  # fmt: skip
    states = {file: file.state() for file in planned}
    config, credential = root / _CONFIG, root / _CREDENTIAL
    if dry_run:
        for file, state in states.items():
            typer.echo(f"{file.path}: {_TO_DO[state]}")
        with readable_errors(config):
            kept = "is there already" if config.exists() else "would be written"
        typer.echo(f"{config}: {kept}")
        with readable_errors(credential):
            kept = "is there already" if credential.exists() else "would be asked for and written"
        typer.echo(f"{credential}: {kept}")
        return
    if not force:
        require_untouched(
            [file.path for file, state in states.items() if state is InstalledFile.CHANGED]
        )
    _install(states, config, credential)
    typer.echo(_NEXT)


def _install(states: dict[Installation, InstalledFile], config: Path, credential: Path) -> None:
    for path in (*(file.path for file in states), config, credential):
        require_writable(path)
    # Settings that cannot be read are refused before anything is replaced.
    lacks_database = _lacks_database(config)
    with readable_errors(credential):
        url = None if credential.exists() else _asked_url()
    for file, state in states.items():
        if state is not InstalledFile.SAME:
            file.install()
        typer.echo(f"{file.path}: {_DONE[state]}")
    _install_settings(config, lacks_database=lacks_database)
    if url is None:
        typer.echo(f"{credential}: is there already, and kept")
        return
    with readable_errors(credential):
        make_open(credential.parent.parent)
        credential.parent.mkdir(mode=0o700, exist_ok=True)
        write_new(credential, url + "\n", 0o600)
    typer.echo(f"{credential}: written, for root only")


def _lacks_database(config: Path) -> bool:
    """
    Say if there are settings already, which name no `store.url`.

    Raises:
        ConfigurationError: They cannot be read.
    """
    with readable_errors(config):
        is_there = config.exists()
    return is_there and load({}, {}, config).origins["store.url"] == "default"


def _install_settings(config: Path, *, lacks_database: bool) -> None:
    with readable_errors(config):
        if not config.exists():
            make_open(config.parent)
            write_new(config, template("systemd", "jarvis-recorder.toml"), 0o644)
            typer.echo(f"{config}: written")
            return
    typer.echo(f"{config}: is there already, and kept")
    if lacks_database:
        typer.echo(
            f"{config}: names no store.url, by which commands find the service's database: "
            f'[store] url = "sqlite:///{SERVICE_DATABASE}"'
        )


def _asked_url() -> str:
    """Prompt for the broker's URL without echo, or read it from a pipe."""
    if sys.stdin.isatty():
        typer.echo("The broker's URL, such as amqp://user:password@broker/; it is not shown.")
        url = typer.prompt("broker.url", hide_input=True)
    else:
        url = standard_input.read_line()
    try:
        amqp_url.check(url.strip())
    except ValueError as error:
        raise ConfigurationError(
            f"standard input: the broker's URL {error}; nothing was written"
        ) from None
    return str(url.strip())


def _executable(given: Path | None, root: Path) -> Path:
    """
    Return the command that the units start.

    Raises:
        ConfigurationError: It does not exist, or the service could not see it.
    """
    program = given or Path(sysconfig.get_path("scripts")) / "jarvis-recorder"
    if not re.fullmatch(r"/[\w./+-]+", str(program)):
        raise ConfigurationError(
            f"--executable {str(program)!r}: must be an absolute path of letters, digits, . _ + -"
        )
    if root != Path("/"):
        return program
    if not program.is_file():
        raise ConfigurationError(f"{program}: no such command: name it with --executable")
    parts = [program.resolve()]
    if given is None:
        parts += [Path(sys.executable).resolve(), Path(jarvis_recorder.__file__).resolve()]
    for part in parts:
        if any(part.is_relative_to(hidden) for hidden in _HIDDEN):
            raise ConfigurationError(
                f"{part}: the service has no access to home directories: install it for all "
                "users (in a checkout, as root: make install), or name another command with "
                "--executable"
            )
        _require_open(part)
    return program


def _require_open(path: Path) -> None:
    """
    Check that a file is not for root alone, as under a strict umask.

    Raises:
        ConfigurationError: The file, or a directory that it is in, is closed to other users.
    """
    for each in (*reversed(path.parents), path):
        needed = 0o001 if each.is_dir() else 0o004
        if not each.stat().st_mode & needed:
            raise ConfigurationError(
                f"{each}: closed to other users, so the service could not start it: "
                "install it again, after `umask 022`"
            )
