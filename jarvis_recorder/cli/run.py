"""`run`: the recorder as a daemon."""

import asyncio
import contextlib
import signal
from typing import Annotated

import typer

from jarvis_recorder.cli.options import ConfigFile, Overrides, loaded
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
            "port 5672 where that is free.",
        ),
    ] = False,
) -> None:
    """
    Record until stopped (Ctrl-C or SIGTERM).

    Connects to RabbitMQ, declares its queues, and has every message committed in the
    database before it is acknowledged.
    """
    from jarvis_recorder.daemon.app import App
    from jarvis_recorder.demo.node import private_node
    from jarvis_recorder.runtime import logging

    with contextlib.ExitStack() as stack:
        overrides = list(set_ or ())
        if private_broker:
            # Until the recorder handles the signals itself: leave no node behind.
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            node = stack.enter_context(private_node(usual_port=True))
            typer.echo(
                f"private broker at {node.url}; for other commands and clients:\n"
                f"  export JARVIS_RECORDER_BROKER__URL={node.url}",
                err=True,
            )
            overrides.append(f"broker.url={node.url}")
        settings = loaded(config, overrides)
        logging.configure(settings.settings.log.level, settings.settings.log.format)

        async def main() -> None:
            stop = asyncio.Event()
            process.stop_on_signals(stop)
            await App(settings, stop).run()

        process.run(main())
