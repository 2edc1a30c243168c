"""`provision rabbitmq`: definitions of users with the permissions of their role, and topology."""

import json
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote as quoted
from typing import Annotated, Final, NamedTuple
from urllib.parse import quote

import typer

from jarvis_recorder.cli.files import readable_errors, write_new
from jarvis_recorder.cli.gateway import require_extra
from jarvis_recorder.config.loading import SYSTEM_CREDENTIALS
from jarvis_recorder.errors import ConfigurationError
from jarvis_recorder.net.addresses import check_node
from jarvis_recorder.runtime.ownership import as_owner
from jarvis_recorder.runtime.texts import from_json

_DEFINITIONS: Final = "definitions.json"
_URL: Final = "broker.url"
_ALSO: Final = "broker.also"
_PERMISSIONS: Final = "rpc.permissions"
_RECORDER: Final = "recorder"
_ADMIN: Final = "admin"
_GATEWAY: Final = "gateway"
_GATEWAY_PASSWORD: Final = "gateway-password"  # noqa: S105 - a file's name
_TOKEN_SECRET: Final = f"{_GATEWAY}/gateway.token_secret"


def register(commands: typer.Typer) -> None:
    commands.command(
        "rabbitmq",
        epilog="Example: `jarvis-recorder provision rabbitmq /root/jarvis --host broker.lan --tls`",
    )(provision)


def provision(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where to write; made if it is not there.")
    ],
    host: Annotated[
        str, typer.Option("--host", metavar="HOST[:PORT]", help="How the broker is reached.")
    ] = "localhost",
    also: Annotated[
        list[str] | None,
        typer.Option(
            "--also", metavar="HOST[:PORT]", help="Another node of its cluster. May be repeated."
        ),
    ] = None,
    vhost: Annotated[str, typer.Option("--vhost", metavar="NAME", help="The virtual host.")] = "/",
    tls: Annotated[bool, typer.Option("--tls", help="Write amqps:// URLs.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be written, and write nothing.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace what is there: every password changes.")
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Where it is there already, leave it and succeed.")
    ] = False,
    renew: Annotated[
        bool,
        typer.Option(
            "--renew", help="After an upgrade: write rights and permissions again, no passwords."
        ),
    ] = False,
    gateway: Annotated[
        bool,
        typer.Option("--gateway", help="Also write what the gateway needs, with a password to it."),
    ] = False,
    show_urls: Annotated[
        bool, typer.Option("--show-urls", help="Print the URLs too, with their passwords.")
    ] = False,
) -> None:
    """
    Write RabbitMQ's definitions with one user a role and fresh passwords.

    `definitions.json` is for the broker: users, their rights, exchanges, queues, bindings; of the
    passwords it has only salted hashes. Each role has a directory with its `broker.url`, the
    recorder's also `rpc.permissions`; it is a credentials directory as systemd makes them. With
    `--gateway` there is one more, `gateway`, with the rights of `admin`; the password for people
    is in the file `gateway-password`. With `--also`, each directory has the other nodes in
    `broker.also`, and the queue of requests is copied to them. All files are for you alone (mode
    0600). With `--renew`, which looks at no other option but `--dry-run`, `definitions.json` and
    `rpc.permissions` become those of this version, with the passwords that are there. Nothing on any
    broker is changed: what to type next is shown at the end.
    """
    also = also or []
    for node in (host, *also):
        _require_host(node)
    scheme = "amqps" if tls else "amqp"
    url = f"{scheme}://{{}}@{host}/{quote(vhost, safe='')}"
    with readable_errors(directory):
        # Written last: without it these passwords cannot be in use yet.
        is_kept = keep and not renew and (directory / _DEFINITIONS).exists()
        # A gateway that is there has to get the new password of `admin`.
        gateway = gateway or (not is_kept and (directory / _GATEWAY / _URL).exists())
        if renew:
            plan = _Plan(_renewed(directory))
        else:
            plan = _plan(directory, _files(url, also, vhost, gateway=gateway))
    if dry_run:
        _show(directory, plan, force=force)
    elif is_kept:
        typer.echo(f"{directory / _DEFINITIONS}: is there already; all is kept")
        if gateway and _TOKEN_SECRET not in plan.there:
            _add_gateway(directory, also)
    elif plan.there and not force and not keep:
        raise ConfigurationError(
            f"{directory / plan.there[0]}: is there already; nothing was written. Its passwords may "
            "be in use: name another directory, or replace all of it with --force"
        )
    else:
        _replace(directory, plan)
        _tell(directory, plan.written, show_urls=show_urls)


class _Plan(NamedTuple):
    """Texts by the names of files, the names that are taken, and files that would be wrong."""

    written: Mapping[str, str]
    there: Sequence[str] = ()
    stale: Sequence[Path] = ()


def _plan(directory: Path, written: Mapping[str, str]) -> _Plan:
    there = [name for name in written if (directory / name).exists()]
    others = [f"{Path(name).parent}/{_ALSO}" for name in written if name.endswith(_URL)]
    stale = [directory / name for name in others if name not in written]
    return _Plan(written, there, [path for path in stale if path.exists()])


def _show(directory: Path, plan: _Plan, *, force: bool) -> None:
    is_there = "would be replaced" if force else "is there: only --force would replace it"
    for name in plan.written:
        typer.echo(f"{directory / name}: {is_there if name in plan.there else 'would be written'}")
    for path in plan.stale if force else ():
        typer.echo(f"{path}: would be removed")


def _replace(directory: Path, plan: _Plan) -> None:
    """
    Remove what is stale, and write the files, the definitions last.

    What a kill leaves in between has no definitions, and `--keep` makes all of it again.
    """
    for path in plan.stale:
        _remove(path)
        typer.echo(f"{path}: removed: --also names no other node")
    before = directory / _DEFINITIONS
    if any(name.endswith(_URL) for name in plan.written) and before.exists():
        _remove(before)
    for name, text in plan.written.items():
        _write(directory / name, text)


def _renewed(directory: Path) -> dict[str, str]:
    """
    Return the definitions and `rpc.permissions` of this version, with the passwords that are there.

    Raises:
        ConfigurationError: The directory has no definitions of `provision rabbitmq`.
    """
    from jarvis_recorder.broker.provisioning.definitions import definitions
    from jarvis_recorder.broker.provisioning.roles import permissions

    path = directory / _DEFINITIONS
    try:
        with readable_errors(path):
            before = from_json(path.read_text(encoding="utf-8"))
        vhost = before["vhosts"][0]["name"]
        hashes = {user["name"]: user["password_hash"] for user in before["users"]}
    except (ValueError, LookupError, TypeError):
        raise ConfigurationError(f"{path}: not written by `provision rabbitmq`") from None
    in_a_cluster = (directory / _RECORDER / _ALSO).exists()
    document = definitions(vhost, hashes, in_a_cluster=in_a_cluster)
    return {
        f"{_RECORDER}/{_PERMISSIONS}": _as_text(permissions()),
        _DEFINITIONS: _as_text(document),
    }


def _as_text(document: object) -> str:
    return json.dumps(document, indent=2) + "\n"


def _add_gateway(directory: Path, also: Sequence[str]) -> None:
    """Add the gateway's files to a directory that was provisioned without them."""
    admin = directory / _ADMIN / _URL
    with readable_errors(admin):
        url = admin.read_text(encoding="utf-8")
    for name, text in _gateway_files(url, also).items():
        _write(directory / name, text)
        typer.echo(f"{directory / name}: written, for its owner only")


def _gateway_files(url: str, also: Sequence[str]) -> dict[str, str]:
    """Return the gateway's files; the token secret is last, so its presence means all are there."""
    require_extra()
    from argon2 import PasswordHasher

    password = secrets.token_urlsafe(12)
    return {
        _GATEWAY_PASSWORD: f"{password}\n",
        **_broker_files(_GATEWAY, url, also),
        f"{_GATEWAY}/gateway.password_hash": PasswordHasher().hash(password) + "\n",
        _TOKEN_SECRET: secrets.token_urlsafe(32) + "\n",
    }


def _broker_files(role: str, url: str, also: Sequence[str]) -> dict[str, str]:
    files = {f"{role}/{_URL}": url}
    return files | {f"{role}/{_ALSO}": json.dumps(also) + "\n"} if also else files


def _files(url: str, also: Sequence[str], vhost: str, *, gateway: bool) -> dict[str, str]:
    """Return the files to write, path → text, with fresh passwords."""
    from jarvis_recorder.broker.provisioning.definitions import definitions, password_hash
    from jarvis_recorder.broker.provisioning.roles import ROLES, permissions

    passwords = {role.name: secrets.token_urlsafe(24) for role in ROLES}
    hashes = {
        name: password_hash(password, secrets.token_bytes(4))
        for name, password in passwords.items()
    }
    files = {f"{_RECORDER}/{_PERMISSIONS}": _as_text(permissions())}
    for name, password in passwords.items():
        files |= _broker_files(name, url.format(f"{name}:{password}") + "\n", also)
    if gateway:
        files |= _gateway_files(files[f"{_ADMIN}/{_URL}"], also)
    document = definitions(vhost, hashes, in_a_cluster=bool(also))
    files[_DEFINITIONS] = _as_text(document)
    return files


def _require_host(host: str) -> None:
    try:
        check_node(host)
    except ValueError as error:
        raise typer.BadParameter(f"--host and --also {error}") from None


@as_owner
def _write(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_new(path, text, 0o600)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be written: {error.strerror}") from None


@as_owner
def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be removed: {error.strerror}") from None


def _tell(directory: Path, written: Mapping[str, str], *, show_urls: bool) -> None:
    for name, text in written.items():
        shown = f": {text.strip()}" if show_urls and name.endswith(_URL) else ""
        typer.echo(f"{directory / name}: written, for its owner only{shown}")
    typer.echo(_next(directory, with_gateway=_TOKEN_SECRET in written))


def _next(directory: Path, *, with_gateway: bool) -> str:
    """Return the commands that put the files in force; what they replace is removed last."""

    def at(name: str) -> str:
        return quoted(str(directory.absolute() / name))

    # Debian's rabbitmqctl reads it as the user `rabbitmq`, for whom the directory is closed.
    copy = "/var/lib/rabbitmq/jarvis.json"
    lines = [
        "",
        "Next, on the broker, as root:",
        f"  install -o rabbitmq -g rabbitmq -m 0400 {at(_DEFINITIONS)} {copy}",
        f"  rabbitmqctl import_definitions {copy}",
        f"  rm {copy}",
        "",
        "Then the recorder, and any caller:",
        f"  CREDENTIALS_DIRECTORY={at(_RECORDER)} jarvis-recorder run",
        f"  CREDENTIALS_DIRECTORY={at('dashboard')} jarvis-recorder tail",
    ]
    if with_gateway:
        lines.append(f"  CREDENTIALS_DIRECTORY={at(_GATEWAY)} jarvis-recorder gateway")
    return "\n".join(
        [
            *lines,
            "",
            "Where `provision systemd` has installed it (rpc.permissions: docs/install.md):",
            f"  install -m 0600 {at(f'{_RECORDER}/{_URL}')} {SYSTEM_CREDENTIALS}/",
            "  systemctl restart jarvis-recorder",
            "",
            "When no one uses it any more, on the broker:",
            "  rabbitmqctl delete_user guest",
        ]
    )
