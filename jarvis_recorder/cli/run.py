"""`run`: the recorder as a daemon."""

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from jarvis_recorder.cli.options import ConfigFile, Overrides, loaded
from jarvis_recorder.config.loading import NO_FILE, Loaded
from jarvis_recorder.net.listen_address import host_and_port
from jarvis_recorder.runtime import process


def register(application: typer.Typer) -> None:
    application.command(
        epilog="Example: `jarvis-recorder run --set broker.url=amqp://jarvis:…@broker/`"
    )(run)


def run(
    config: ConfigFile = None,
    set_: Overrides = None,
    private_broker: Annotated[
        bool,
        typer.Option(
            "--private-broker",
            help="Start an empty RabbitMQ node for this run alone, to try things out; on the usual "
            "port 5672 where that is free. Settings and credentials of this machine's service are "
            "not read.",
        ),
    ] = False,
) -> None:
    """
    Record until stopped (Ctrl-C or SIGTERM).

    Connects to RabbitMQ, declares its queues, and has every message committed in the
    database before it is acknowledged.
    """
    from jarvis_recorder.daemon.app import App
    from jarvis_recorder.runtime import logging

    with contextlib.ExitStack() as stack:
        if private_broker:
            settings = stack.enter_context(_with_private_broker(config, set_))
        else:
            settings = loaded(config, set_)
        logging.configure(settings.settings.log.level, settings.settings.log.format)

        async def main() -> None:
            stop = asyncio.Event()
            process.stop_on_signals(stop)
            await App(settings, stop).run()

        process.run(main())


@contextlib.contextmanager
def _with_private_broker(config: Path | None, set_: list[str] | None) -> Iterator[Loaded]:
    """
    Run a broker, and yield the settings of a recorder that uses it.

    Neither file nor credentials of this machine's service are read. Without a `http.listen` of the
    caller's, health and metrics have another port where the usual one is taken.
    """
    from jarvis_recorder.demo.node import free_ports, is_free, private_node

    # Until the recorder handles the signals itself: leave no node behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with private_node(usual_port=True) as node:
        overrides = [*(set_ or ()), f"broker.url={node.url}"]
        exports = [f"JARVIS_RECORDER_BROKER__URL={node.url}"]
        settings = loaded(config or NO_FILE, overrides)
        is_usual = settings.origins["http.listen"] == "default"
        if is_usual and not is_free(host_and_port(settings.settings.http.listen)[1]):
            listen = f"127.0.0.1:{free_ports(1)[0]}"
            settings = loaded(config or NO_FILE, [*overrides, f"http.listen={listen}"])
            exports.append(f"JARVIS_RECORDER_HTTP__LISTEN={listen}")
        typer.echo(
            f"private broker at {node.url}; for other commands and clients:\n"
            + "\n".join(f"  export {variable}" for variable in exports),
            err=True,
        )
        yield settings
