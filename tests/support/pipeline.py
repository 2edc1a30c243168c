"""Everything between a channel and a database, with both ends in hand."""

import asyncio
import json
from collections.abc import Callable

from pamqp import commands, header

from jarvis_recorder.ingest.dead_letter_publisher import DeadLetterPublisher
from jarvis_recorder.ingest.intake import Intake
from jarvis_recorder.ingest.recorder import Recorder
from jarvis_recorder.ingest.settlement import Settlement
from jarvis_recorder.telemetry.status import RecorderStatus
from jarvis_recorder.telemetry.tracing import NoopTracer
from jarvis_recorder.wire.amqp.delivery import Delivery
from jarvis_recorder.wire.records import identity_of
from jarvis_recorder.wire.topics import TOPICS
from tests.support.amqp_bytes import content_header, delivery, stretch
from tests.support.fakes import FakeConsumer, FakeFlow, FakeIndex, FakePublisher, FakeRepository
from tests.support.publisher import event

LONGEST_TURN_SECONDS = 0.1


class Pipeline:
    """Everything between a channel and a database, with both ends in hand."""

    def __init__(self, *, in_stretches: bool = False) -> None:
        self._in_stretches = in_stretches
        self.effects: list[str] = []
        self.consumer = FakeConsumer(self.effects)
        self.publisher = FakePublisher(self.effects)
        self.repository = FakeRepository(self.effects)
        self.flow = FakeFlow()
        self.status = RecorderStatus()
        self.large = asyncio.Lock()
        self.intake = Intake(self.flow, lambda: 0, self.large, self.status)
        self.settlement = Settlement(TOPICS[0], self.consumer)
        self.index = FakeIndex()
        self.dead_letters = DeadLetterPublisher(self.publisher, self.status, self.index)
        self.recorder = Recorder(
            tracer=NoopTracer(),
            intake=self.intake,
            repository=self.repository,
            dead_letters=self.dead_letters,
            status=self.status,
            clock=lambda: 0,
            large=self.large,
            full_seconds=60.0,
        )
        self._sink = self.intake.sink(self.settlement)
        self._tag = 0

    def receive(self, *messages: str, header: bytes | None = None) -> None:
        """Deliver events with these names; a name that begins with `junk` is the whole body."""
        for name in messages:
            body = name if name.startswith("junk") else json.dumps(event(id=name))
            self.deliver(body.encode(), header)

    def use_window(self, size: int) -> None:
        """Let the broker hand over no more than so many unsettled deliveries."""
        self.settlement = Settlement(TOPICS[0], self.consumer, size)
        self._sink = self.intake.sink(self.settlement)

    def deliver(
        self,
        body: bytes,
        header: bytes | None = None,
        *,
        exchange: bytes = b"jarvis",
        routing_key: bytes = b"cluster.event.alert.info",
        **properties: str,
    ) -> None:
        """Deliver a message with this body, and with this header where there is one."""
        self._tag += 1
        self.consumer.hand_over(self._tag)
        message = delivery(body, self._tag, **properties)
        message = message._replace(exchange=exchange, routing_key=routing_key)
        if header is None:
            self.hand_over(message)
        else:
            self._sink([message._replace(header=header)])

    def hand_over(self, *messages: Delivery) -> None:
        """Hand over messages that have come together."""
        in_a_row = self._in_stretches and all(one.body for one in messages)
        self._sink(stretch(messages) if in_a_row else messages)

    async def run(self) -> list[str]:
        """Record all that was received; return what happened."""
        self.intake.close()
        await self.recorder.run()
        await self.dead_letters.drain(5)
        return self.effects


def unmarshalled(letter: bytes) -> commands.Basic.Properties:
    parsed = header.ContentHeader()
    parsed.unmarshal(content_header()[:12] + letter)
    return parsed.properties


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0)


async def turns_of_the_loop(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def finished(pipeline: Pipeline, working: asyncio.Task[None]) -> list[str]:
    """Let the disk answer and the recorder end; return what happened."""
    pipeline.intake.close()
    pipeline.repository.disk.set()
    await working
    await pipeline.dead_letters.drain(5)
    return pipeline.effects


def stored(pipeline: Pipeline) -> str:
    return "".join(str(identity_of(record)) for record in pipeline.repository.stored)
