"""`demo`: half an hour of cluster life on a private broker, and a report of its records."""

import asyncio
import contextlib
import json
import secrets
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from jarvis_recorder.cli.gateway import require_extra
from jarvis_recorder.cli.options import Json
from jarvis_recorder.config.loading import NO_FILE, Loaded, load
from jarvis_recorder.errors import RecorderError
from jarvis_recorder.runtime import process

Say = Callable[[str | None], None]


def register(application: typer.Typer) -> None:
    application.command(epilog="Example: `jarvis-recorder demo --keep /tmp/jarvis-demo`")(demo)


def demo(
    broker: Annotated[
        str | None,
        typer.Option(
            "--broker",
            metavar="URL",
            help="Use this broker, if its jarvis.* queues are unused, and not a private one.",
        ),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(
            "--keep",
            metavar="DIR",
            help="Keep the database in this directory; without it, it is deleted.",
        ),
    ] = None,
    ui: Annotated[
        bool,
        typer.Option("--ui", help="Keep running, with the dashboard on top, until Ctrl-C."),
    ] = False,
    listen: Annotated[
        str | None,
        typer.Option("--listen", metavar="HOST:PORT", help="Where `--ui` serves the dashboard."),
    ] = None,
    cluster: Annotated[
        bool,
        typer.Option(
            "--cluster",
            help="Start three RabbitMQ nodes, PostgreSQL and two recorders, kill one of each, and "
            "count what was lost.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """
    Play half an hour of cluster life and show what was recorded.

    Starts a private RabbitMQ node and a recorder with an empty database, publishes
    events, snapshots and chat turns, some twice, some broken, and checks what became of
    each. Takes about ten seconds and leaves nothing behind. Exit code 1 if anything is
    not as it should be. With `--ui` nothing is checked: the story continues, and the
    dashboard shows it. `--cluster` takes about a minute, and needs PostgreSQL's programs.
    """
    from jarvis_recorder.demo.node import private_node
    from jarvis_recorder.demo.runner import require_unused
    from jarvis_recorder.runtime import logging

    if ui and as_json:
        raise typer.BadParameter("--ui shows a page and --json prints one answer: name one of them")
    if listen is not None and not ui:
        raise typer.BadParameter("--listen is where --ui serves the dashboard: add --ui")
    if cluster and (ui or broker is not None or keep is not None):
        raise typer.BadParameter("--cluster has parts of its own: name no other option but --json")
    # SIGTERM while the node starts must still remove the node and its directory.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if cluster:
        _kill_one_of_each(as_json=as_json)
        return
    with contextlib.ExitStack() as stack:
        say = stack.enter_context(_spinner())
        path = stack.enter_context(_database(keep))
        password = secrets.token_hex(4)
        overrides = {"store.url": f"sqlite:///{path}", "http.listen": ""}
        if ui:
            overrides |= _gateway_settings(password, listen)
        if broker is None:
            say("Starting a private RabbitMQ node …")
        url = stack.enter_context(private_node()).url if broker is None else broker
        # The settings of this machine are not read: a demo is the same everywhere.
        settings = load(overrides | {"broker.url": url}, {}, NO_FILE)
        logging.configure("error", "auto")

        async def main() -> None:
            if broker is not None:
                await require_unused(settings.settings.broker.new_addresses())
            say("Publishing half an hour of cluster life …")
            stop = asyncio.Event()
            process.stop_on_signals(stop)
            if ui:
                await _show_dashboard(settings, stop, password, say)
            else:
                await _check(settings, stop, path, keep=keep is not None, as_json=as_json)

        process.run(main())


def _kill_one_of_each(*, as_json: bool) -> None:
    from jarvis_recorder.demo import failover
    from jarvis_recorder.demo.private_cluster import private_cluster
    from jarvis_recorder.demo.private_postgres import PrivateServer, private_server
    from jarvis_recorder.runtime import logging

    logging.configure("error", "auto")
    with contextlib.ExitStack() as stack:
        say = stack.enter_context(_spinner())
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jarvis-demo-")))
        say("Starting PostgreSQL …")
        server = stack.enter_context(private_server(PrivateServer))
        say("Starting three RabbitMQ nodes …")
        brokers = stack.enter_context(private_cluster())

        async def main() -> failover.FailoverOutcome:
            say("Starting two recorders …")
            async with failover.stage(brokers, server, directory, say) as stage:
                return await stage.perform()

        outcome = asyncio.run(main())
        say(None)
    if as_json:
        typer.echo(json.dumps(failover.as_json(outcome)))
    else:
        failover.present(outcome)
    if outcome.lost or outcome.twice:
        raise typer.Exit(RecorderError.exit_code)


async def _check(
    settings: Loaded, stop: asyncio.Event, path: Path, *, keep: bool, as_json: bool
) -> None:
    from jarvis_recorder.demo import report
    from jarvis_recorder.demo.runner import perform

    outcome = await perform(settings, path, stop, keep=keep)
    if as_json:
        typer.echo(json.dumps(report.as_json(outcome), ensure_ascii=False))
    else:
        report.present(outcome)
    if outcome.mismatches():
        raise typer.Exit(RecorderError.exit_code)


async def _show_dashboard(settings: Loaded, stop: asyncio.Event, password: str, say: Say) -> None:
    from jarvis_recorder.demo.dashboard import show_dashboard

    def ready() -> None:
        say(None)
        typer.echo(
            f"Dashboard  http://{settings.settings.gateway.listen}/\n"
            f"Password   {password}\n"
            "Ctrl-C ends it."
        )

    await show_dashboard(settings, stop, ready)


def _gateway_settings(password: str, listen: str | None) -> dict[str, str]:
    require_extra()
    from argon2 import PasswordHasher

    return {
        "gateway.password_hash": PasswordHasher().hash(password),
        "gateway.token_secret": secrets.token_urlsafe(32),
        **({} if listen is None else {"gateway.listen": listen}),
    }


@contextlib.contextmanager
def _spinner() -> Iterator[Say]:
    """Yield a function that shows the current step on a terminal; None ends the display."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status("") as status:
        yield lambda text: status.stop() if text is None else status.update(text)


@contextlib.contextmanager
def _database(directory: Path | None) -> Iterator[Path]:
    """Yield the path of a new database; delete it afterwards if no directory is given."""
    if directory is None:
        with tempfile.TemporaryDirectory(prefix="jarvis-demo-") as temporary:
            yield Path(temporary) / "recorder.db"
        return
    path = directory.absolute() / "recorder.db"
    try:
        is_there = path.exists()
    except OSError as error:
        raise typer.BadParameter(f"{path}: {error.strerror}: name another directory") from None
    if is_there:
        raise typer.BadParameter(f"{path} is there already: name a new directory")
    yield path
