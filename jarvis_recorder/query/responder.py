"""The loop of questions: delivery, dispatch, reply, ack."""

import asyncio
import re
from collections.abc import Mapping
from typing import Final

import structlog

from jarvis_recorder.errors import BrokerUnavailable
from jarvis_recorder.ports import Requests, Tracer
from jarvis_recorder.query.dispatcher import Dispatcher
from jarvis_recorder.wire import properties, rpc
from jarvis_recorder.wire.delivery import Delivery
from jarvis_recorder.wire.properties import RequestProperties
from jarvis_recorder.wire.refusal import Refused

log = structlog.get_logger(__name__)

DEFAULT_SECONDS: Final = 5.0
LONGEST_SECONDS: Final = 60.0
_KEEP_REPLY_SECONDS: Final = 60.0
# What is left of the time for the reply to travel in.
_TRAVEL_SHARE: Final = 0.1
_LONGEST_TRAVEL_SECONDS: Final = 0.05

# Whoever may publish to the default exchange may write to any queue, so a reply goes only
# where nothing but replies can be expected. RabbitMQ makes the first two names itself.
_REPLY_ADDRESS: Final = re.compile(
    r"amq\.rabbitmq\.reply-to(\..+)?|amq\.gen-.+|jarvis\.reply\..+", re.DOTALL
).fullmatch


class Responder:
    """
    Answers the requests of one channel, each in a task of its own.

    How many are under way is bounded by the channel's prefetch. A request is acked when its
    reply is on the way, so one that dies with the process is delivered and answered again.
    """

    def __init__(self, requests: Requests, dispatcher: Dispatcher, tracer: Tracer) -> None:
        self._requests = requests
        self._dispatcher = dispatcher
        self._tracer = tracer
        self._loop = asyncio.get_running_loop()
        self._under_way: set[asyncio.Task[None]] = set()

    def take(self, delivery: Delivery) -> None:
        """Begin to answer a request; see `ports.Sink`."""
        task = self._loop.create_task(self._serve(delivery, self._loop.time()))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def drain(self, seconds: float) -> None:
        """Return when all that was taken is answered, or the time is over and it is given up."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=seconds)
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _serve(self, delivery: Delivery, received: float) -> None:
        try:
            await self._reply(delivery, received)
            await self._requests.ack(delivery.tag)
        except BrokerUnavailable:
            # The channel is gone: the broker will deliver the request again.
            log.debug("reply_lost")

    async def _reply(self, delivery: Delivery, received: float) -> None:
        """Answer, unless nobody could hear it: then it is not even tried."""
        try:
            asked = properties.decode_request(delivery.header)
        except Refused as refused:
            log.warning("request_dropped", error=refused.error)
            return
        if asked.reply_to is not None and not _REPLY_ADDRESS(asked.reply_to):
            log.warning("request_dropped", error="reply_to is no reply queue", user=asked.user_id)
            return
        if asked.reply_to is None and not rpc.wants_no_reply(delivery.body):
            log.warning("request_dropped", error="it has no reply_to", user=asked.user_id)
            return
        until = received + _seconds_to_answer(asked)
        with self._tracer.request(delivery) as carried:
            reply = await self._dispatcher.dispatch(delivery.body, asked.user_id, until)
        if reply is not None and asked.reply_to is not None:
            answer_properties = self._reply_properties(asked, received, carried)
            await self._requests.reply(asked.reply_to, answer_properties, reply)

    def _reply_properties(
        self, asked: RequestProperties, received: float, carried: Mapping[str, str]
    ) -> bytes:
        """Let the reply vanish when nobody waits for it any more."""
        keep = _KEEP_REPLY_SECONDS
        if asked.expiration_ms is not None:
            keep = max(0.001, received + asked.expiration_ms / 1_000 - self._loop.time())
        return properties.encode_reply(asked.correlation_id, round(keep * 1_000), carried)


def _seconds_to_answer(asked: RequestProperties) -> float:
    """Return how long the work may take, so that the reply arrives before the deadline."""
    allowed = DEFAULT_SECONDS
    if asked.expiration_ms is not None:
        allowed = min(asked.expiration_ms / 1_000, LONGEST_SECONDS)
    return allowed - min(allowed * _TRAVEL_SHARE, _LONGEST_TRAVEL_SECONDS)
