"""The demo with the dashboard: the story, repeated until it is stopped."""

import asyncio
from collections.abc import Callable
from random import Random
from typing import Final

from jarvis_recorder.broker.session import open_session
from jarvis_recorder.client import RecorderClient
from jarvis_recorder.config.loading import Loaded
from jarvis_recorder.config.settings import BrokerSettings
from jarvis_recorder.daemon.app import App, now
from jarvis_recorder.demo.cluster import LENGTH
from jarvis_recorder.demo.runner import publish
from jarvis_recorder.demo.story import tell
from jarvis_recorder.gateway.server import serve
from jarvis_recorder.ports import Publisher
from jarvis_recorder.runtime.process import first_of, raise_first
from jarvis_recorder.wire.topics import EXCHANGE

# Half an hour in six minutes: fast enough to watch, slow enough to read.
_PACE: Final = 5


async def show_dashboard(loaded: Loaded, stop: asyncio.Event, ready: Callable[[], None]) -> None:
    """
    Record and serve while the story repeats; call `ready` once its first half hour is published.

    Raises:
        ConfigurationError: The gateway's address is not available.
        RecorderError: The recorder ended by itself, with this error.
    """
    parts = [
        asyncio.create_task(App(loaded, stop).run()),
        asyncio.create_task(serve(loaded.settings, stop)),
        asyncio.create_task(_live(loaded.settings.broker, ready)),
    ]
    try:
        await first_of(stop, *parts)
        await raise_first(*parts)
    finally:
        stop.set()
        parts[-1].cancel()
        await asyncio.gather(*parts, return_exceptions=True)


async def _live(broker: BrokerSettings, ready: Callable[[], None]) -> None:
    url = broker.url.get_secret_value()
    async with (
        open_session(broker.new_addresses(), broker.topology, tls=broker.tls) as session,
        RecorderClient(url, tls=broker.tls) as client,
    ):
        await publish(session.publisher, tell(now() - LENGTH, _chance()))
        ready()
        while True:
            await _tell_live(session.publisher)
            await _resolve_all(client)


async def _tell_live(publisher: Publisher) -> None:
    """Publish each message of a half hour at its time."""
    began = now()
    for message in tell(began, _chance(), _PACE):
        await asyncio.sleep((began + message.at // _PACE - now()) / 1e6)
        await publisher.publish(EXCHANGE, message.routing_key, message.properties, message.body)


async def _resolve_all(client: RecorderClient) -> None:
    """Resolve the half hour's open alerts, as the assistant does once the node is back."""
    async for event in client.events.iter_unresolved():
        if event.type == "alert":
            await client.events.resolve(id=event.id, resolved_by="jarvis")


def _chance() -> Random:
    return Random(now())  # noqa: S311 - a story, no secret
