"""The run of the demo: publish the story to a recorder and collect the outcome."""

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Final

from jarvis_recorder.broker.checks import queue_depths
from jarvis_recorder.broker.session import BrokerSession, open_session
from jarvis_recorder.config.loading import Loaded
from jarvis_recorder.daemon.app import App, now
from jarvis_recorder.demo.cluster import LENGTH
from jarvis_recorder.demo.overview import overview
from jarvis_recorder.demo.report import SHOWN, DemoOutcome, ShownDeadLetter
from jarvis_recorder.demo.requests import ask_around
from jarvis_recorder.demo.story import Expected, StoryMessage, expected, tell
from jarvis_recorder.errors import ConfigurationError, RecorderError
from jarvis_recorder.net.addresses import Addresses
from jarvis_recorder.ports import Publisher
from jarvis_recorder.wire.amqp import properties
from jarvis_recorder.wire.amqp.delivery import Delivery
from jarvis_recorder.wire.topics import DEAD_QUEUE, EXCHANGE

_SETTLE_SECONDS: Final = 15.0
_LOOK_SECONDS: Final = 0.02
_UNDER_WAY: Final = 50
_MAX_LETTERS: Final = 1_000


async def require_unused(addresses: Addresses) -> None:
    """
    Check that the queues are unused: the demo deletes its database, with all it recorded.

    Raises:
        ConfigurationError: A queue of the recorder's holds messages or has a consumer.
        BrokerUnavailable: The broker cannot be reached.
    """
    for queue, messages, consumers in await queue_depths(addresses):
        if messages or consumers:
            raise ConfigurationError(
                f"queue {queue} is in use ({messages} messages, {consumers} consumers): the demo "
                "would take what belongs to others; name an unused broker or virtual host"
            )


async def perform(
    loaded: Loaded, database: Path, stop: asyncio.Event, *, keep: bool
) -> DemoOutcome:
    """
    Record the story into the database, and return the outcome once all is settled.

    Raises:
        RecorderError: The recorder ended before that, with this error.
    """
    app = App(loaded, stop)
    recording = asyncio.create_task(app.run())
    try:
        broker = loaded.settings.broker
        async with open_session(broker.new_addresses(), broker.topology, tls=broker.tls) as session:
            messages = tell(now() - LENGTH, Random(now()))  # noqa: S311 - a story, no secret
            began = time.monotonic()
            await publish(session.publisher, messages)
            published = time.monotonic()
            dead_letters = await _settled(session, app, recording, expected(messages))
            settled = time.monotonic()
            asked = await ask_around(broker.url.get_secret_value())
    finally:
        stop.set()
        await recording
    identities = {identity for message in messages for identity in message.identities}
    return DemoOutcome(
        messages=messages,
        publish_seconds=published - began,
        settle_seconds=settled - published,
        duplicates=app.status.duplicates,
        dead_letters=dead_letters,
        overview=overview(database, identities, SHOWN),
        kept=database if keep else None,
        asked=asked,
    )


async def publish(publisher: Publisher, messages: Sequence[StoryMessage]) -> None:
    """Publish in order, several messages at once, and return when all are confirmed."""
    for start in range(0, len(messages), _UNDER_WAY):
        async with asyncio.TaskGroup() as group:
            for message in messages[start : start + _UNDER_WAY]:
                group.create_task(
                    publisher.publish(
                        EXCHANGE, message.routing_key, message.properties, message.body
                    )
                )


async def _settled(
    session: BrokerSession, app: App, recording: asyncio.Task[None], story: Expected
) -> list[ShownDeadLetter]:
    """Return the dead letters once all is recorded or dead-lettered, or after a timeout."""
    dead_letters: list[Delivery] = []
    consumer = await session.consumer(DEAD_QUEUE, _MAX_LETTERS)
    await consumer.start(dead_letters.extend)
    records = sum(story.rows.values()) + story.duplicates

    def is_settled() -> bool:
        recorded = app.status.stored + app.status.duplicates
        return recorded >= records and len(dead_letters) >= len(story.dead_letters)

    await _until(is_settled, recording)
    await consumer.cancel()
    if dead_letters:
        await consumer.ack(dead_letters[-1].tag, multiple=True)
    await consumer.close()
    return [_read(dead_letter) for dead_letter in dead_letters]


async def _until(condition: Callable[[], bool], recording: asyncio.Task[None]) -> None:
    """Poll until the condition is true or a timeout passes; the report shows what is missing."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    while not condition() and time.monotonic() < deadline:
        await asyncio.wait({recording}, timeout=_LOOK_SECONDS)
        if recording.done():
            await recording
            raise RecorderError("the demo was stopped before everything was recorded")


def _read(dead_letter: Delivery) -> ShownDeadLetter:
    known = properties.decode(dead_letter.header)
    return ShownDeadLetter(known.headers, known.message_id)
