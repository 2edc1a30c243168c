"""The loop of requests: delivery, dispatch, reply, ack, or a refusal while there is time."""

import asyncio
import contextlib
import math
import re
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from functools import partial
from heapq import heappop, heappush
from typing import Any, Final, NamedTuple, TypeGuard

import structlog

from jarvis_recorder.errors import BrokerUnavailable
from jarvis_recorder.ports import Clock, Requests, Tracer
from jarvis_recorder.rpc.dispatcher import SMALL_REQUEST_BYTES, Dispatcher, LargeLane, Reply
from jarvis_recorder.wire.amqp import properties
from jarvis_recorder.wire.amqp.delivery import Deliveries, Delivery
from jarvis_recorder.wire.amqp.properties import RequestProperties
from jarvis_recorder.wire.refusal import Refused
from jarvis_recorder.wire.rpc import jsonrpc

log = structlog.get_logger(__name__)

DEFAULT_SECONDS: Final = 5.0
LONGEST_SECONDS: Final = 60.0
_KEEP_REPLY_SECONDS: Final = 60.0
# A refusal that is a little late is better than none.
_GRACE_SECONDS: Final = 1.0
# The share of the time that is left for the reply to travel in.
_TRAVEL_SHARE: Final = 0.1
_LONGEST_TRAVEL_SECONDS: Final = 0.1
# A refusal costs time, too: the more requests wait, the earlier the first of them is refused.
_REFUSAL_SECONDS: Final = 0.0005
# The bytes of small requests that are read in one turn of the event loop, to be answered or
# refused. One with nearly no bytes takes as long as the least.
_TURN_BYTES: Final = 64 * 1024
_LEAST_BYTES: Final = _TURN_BYTES // 20
_LOOK_SECONDS: Final = 0.02
# As the loop was late it will be again: replies are due that much earlier. Half is forgotten in a
# second, and no more is taken off than a few times what is left for travelling.
_FORGOTTEN_BY_HALF_SECONDS: Final = 1.0
_MOST_LATENESS_IN_TRAVELS: Final = 3
# The limit for all small requests together, and for all large ones, which wait for one another:
# any more are turned away at once. Left in the broker, they would expire without a reply.
_MOST_HELD_BYTES: Final = 8 * 1024 * 1024
# Batches that wait between two calls, each with up to a mebibyte of replies.
_MOST_GIVEN_WAY: Final = 64

# The recorder may publish to the default exchange, hence to any queue, so a reply goes only
# where nothing but replies can be expected. RabbitMQ generates the first two names itself.
_REPLY_ADDRESS: Final = re.compile(
    r"amq\.rabbitmq\.reply-to(\..+)?|amq\.gen-.+|jarvis\.reply\..+", re.DOTALL
).fullmatch
_DIRECT: Final = "amq.rabbitmq.reply-to."


class _Taken(NamedTuple):
    """
    A request that waits for its turn; the one with the earliest deadline comes first.

    `until` and `deadline`, at which its caller stops waiting, are on the event loop's clock. A
    batch that waits between two of its calls has `turn`, which is set once it may go on.
    """

    until: float
    number: int
    deadline: float
    delivery: Delivery
    asked: RequestProperties | Refused
    turn: asyncio.Future[None] | None = None


class Responder:
    """
    The responder to the requests of one channel, so many at a time; the others wait here.

    Here because a request's time runs out while it waits, and only here can it be refused in
    time. Requests beyond the memory limit are turned away. A request is acked when its
    reply is on the way, so one that dies with the process is delivered and answered again. Its
    second reply to a direct address leaves after its ack: the first one may have ended the
    connection.
    """

    def __init__(
        self,
        requests: Requests,
        dispatcher: Dispatcher,
        tracer: Tracer,
        *,
        clock: Clock,
        concurrency: int,
    ) -> None:
        self._requests = requests
        self._dispatcher = dispatcher
        self._tracer = tracer
        self._clock = clock
        self._concurrency = concurrency
        self._loop = asyncio.get_running_loop()
        self._waiting: list[_Taken] = []
        self._working = 0
        self._given_way = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._refusing: asyncio.Task[None] | None = None
        self._taken = 0
        self._late = 0.0
        self._late_at = self._loop.time()
        """The event loop was late by so many seconds, and when."""
        self._held_bytes = {False: 0, True: 0}
        self._turn_bytes_left = _TURN_BYTES

    def take(self, deliveries: Deliveries) -> None:
        """Begin to answer requests, have them wait, or turn them away; see `ports.Sink`."""
        for delivery in deliveries:
            self._take(delivery)

    def _take(self, delivery: Delivery) -> None:
        received = self._loop.time()
        try:
            asked: RequestProperties | Refused = properties.decode_request(delivery.header)
        except Refused as refused:
            asked = refused
        allowed = DEFAULT_SECONDS if isinstance(asked, Refused) else self._seconds_left(asked)
        travel = min(allowed * _TRAVEL_SHARE, _LONGEST_TRAVEL_SECONDS)
        deadline = received + allowed
        self._taken += 1
        taken = _Taken(deadline - travel, self._taken, deadline, delivery, asked)
        has_room = self._holds(delivery)
        if properties.body_size(delivery.header) > jsonrpc.MAX_REQUEST_BYTES:
            self._start(self._settle(taken, self._passed_over))
            return
        if not has_room:
            self._start(self._settle(taken, self._turned_away))
            return
        heappush(self._waiting, taken)
        self._start_worker()
        if self._refusing is None or self._refusing.done():
            self._refusing = self._start(self._refuse_in_time())

    async def drain(self, seconds: float) -> None:
        """Return when all requests taken are answered, or are given up as the time is over."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        self._waiting.clear()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _seconds_left(self, asked: RequestProperties) -> float:
        """Return how long the caller still waits; its time counts from publishing."""
        if asked.expiration_ms is None:
            return DEFAULT_SECONDS
        allowed = asked.expiration_ms / 1_000
        waited = 0.0
        if asked.timestamp is not None:
            # Whole seconds: it may have been published up to a second later.
            waited = self._clock() / 1_000_000 - asked.timestamp - 1
        # The broker would not have delivered one that waited longer: another clock is wrong.
        return min(allowed - waited if 0 < waited < allowed else allowed, LONGEST_SECONDS)

    async def _work(self) -> None:
        """Answer one request after the other while any waits."""
        try:
            # One that waited for the lane goes on though its place is another's by now.
            while self._waiting and self._working <= self._concurrency:
                taken = heappop(self._waiting)
                if taken.turn is not None:
                    # It goes on in this place.
                    taken.turn.set_result(None)
                    return
                await self._turn_for(taken.delivery)
                # Nothing is begun, and nothing changed, if the reply would come too late.
                is_over = self._until(taken) <= self._loop.time()
                await self._settle(taken, self._refused if is_over else self._answered)
                # Otherwise thousands that need no database would be answered in one turn.
                await asyncio.sleep(0)
        finally:
            # In the same turn as the last look: the next request finds a worker, or starts one.
            self._working -= 1

    async def _refuse_in_time(self) -> None:
        """Refuse requests whose turn will not come in time, and see how late the loop is."""
        while self._waiting or self._working:
            if not self._waiting:
                await self._look_again_in(_LOOK_SECONDS)
                continue
            first = self._until(self._waiting[0]) - len(self._waiting) * _REFUSAL_SECONDS
            early = first - self._loop.time()
            if early > 0:
                await self._look_again_in(min(early, _LOOK_SECONDS))
                continue
            taken = heappop(self._waiting)
            if taken.turn is not None:
                # Each of its calls that are left is refused.
                taken.turn.set_result(None)
                continue
            await self._turn_for(taken.delivery)
            await self._settle(taken, self._refused)

    async def _give_way(self, taken: _Taken, lane: LargeLane) -> None:
        """
        Let requests that are due before it have this batch's place, between two of its calls.

        Not while it holds the lane, for which they may wait.
        """
        await asyncio.sleep(0)
        is_next = not self._waiting or taken < self._waiting[0]
        if is_next or lane.is_held or self._given_way == _MOST_GIVEN_WAY:
            return
        turn = self._loop.create_future()
        heappush(self._waiting, taken._replace(turn=turn))
        self._given_way += 1
        try:
            with self._giving_place():
                await turn
        finally:
            self._given_way -= 1

    @contextlib.contextmanager
    def _giving_place(self) -> Iterator[None]:
        """Let another request have a worker's place while its own waits in the block."""
        self._working -= 1
        self._start_worker()
        try:
            yield
        finally:
            self._working += 1

    def _start_worker(self) -> None:
        """Have the next request answered, unless none waits or all places are taken."""
        if self._waiting and self._working < self._concurrency:
            self._working += 1
            self._start(self._work())

    async def _turn_for(self, delivery: Delivery) -> None:
        """Return in a turn of the loop in which few bytes are read yet, and count this one's."""
        while self._turn_bytes_left <= 0:  # noqa: ASYNC110 - one turn later there is room
            await asyncio.sleep(0)
        if self._turn_bytes_left == _TURN_BYTES:
            self._loop.call_soon(self._begin_turn)
        # A large one is read in a thread, or not at all.
        size = 0 if _is_large(delivery) else len(delivery.body)
        self._turn_bytes_left -= max(size, _LEAST_BYTES)

    def _begin_turn(self) -> None:
        self._turn_bytes_left = _TURN_BYTES

    async def _look_again_in(self, seconds: float) -> None:
        due = self._loop.time() + seconds
        await asyncio.sleep(seconds)
        now = self._loop.time()
        if now - due >= self._lateness():
            self._late, self._late_at = now - due, now

    def _lateness(self) -> float:
        """Return by how much the loop may be late again, as other processes have the processor."""
        passed = self._loop.time() - self._late_at
        return self._late * math.pow(0.5, passed / _FORGOTTEN_BY_HALF_SECONDS)

    def _until(self, taken: _Taken) -> float:
        """Return the time by which a reply has to leave."""
        travel = taken.deadline - taken.until
        return taken.until - min(self._lateness(), _MOST_LATENESS_IN_TRAVELS * travel)

    async def _settle(self, taken: _Taken, by: Callable[[_Taken], Awaitable[bool]]) -> None:
        """Have a request replied to by a function that returns whether it has acked it, too."""
        try:
            if not await by(taken):
                await self._requests.ack(taken.delivery.tag)
        except BrokerUnavailable:
            # The channel is gone: the broker delivers the request again, if it is not acked.
            log.debug("reply_lost")
        finally:
            self._held_bytes[_is_large(taken.delivery)] -= taken.delivery.held_bytes

    async def _answered(self, taken: _Taken) -> bool:
        """Answer, unless no reply could reach the caller: then it is not even tried."""
        delivery, asked = taken.delivery, taken.asked
        if not _can_be_heard(asked):
            return False
        until = self._until(taken)
        async with self._dispatcher.lane(self._giving_place) as lane:
            calls = await self._dispatcher.read(delivery.body, until, lane)
            if asked.reply_to is None and not jsonrpc.wants_no_reply(calls):
                log.warning("request_dropped", error="it has no reply_to", user=asked.user_id)
                return False
            # A reply that was too large for this broker may have closed the channel before.
            large = None if delivery.redelivered else lane
            with self._tracer.request(delivery) as carried:
                reply = await self._dispatcher.dispatch(
                    calls, asked.user_id, until, large, partial(self._give_way, taken, lane)
                )
            return reply is not None and await self._reply(taken, asked, reply, carried)

    async def _refused(self, taken: _Taken) -> bool:
        return await self._answered_with(taken, self._dispatcher.refuse)

    async def _passed_over(self, taken: _Taken) -> bool:
        """Refuse a body that is too large, of which only the size is known."""
        return await self._answered_with(taken, self._dispatcher.pass_over)

    async def _turned_away(self, taken: _Taken) -> bool:
        return await self._answered_with(taken, self._dispatcher.turn_away)

    async def _answered_with(self, taken: _Taken, refusal: Callable[[bytes], bytes | None]) -> bool:
        asked = taken.asked
        if not _can_be_heard(asked) or asked.reply_to is None:
            return False
        body = refusal(taken.delivery.body)
        return body is not None and await self._reply(taken, asked, Reply(body), {})

    async def _reply(
        self, taken: _Taken, asked: RequestProperties, reply: Reply, carried: Mapping[str, str]
    ) -> bool:
        """Send a reply; return whether the request is acked already."""
        if asked.reply_to is None:
            return False
        # The reply expires when its caller no longer waits.
        keep = _KEEP_REPLY_SECONDS
        if asked.expiration_ms is not None:
            keep = max(0.0, taken.deadline - self._loop.time()) + _GRACE_SECONDS
        answer_properties = properties.encode_reply(
            asked.correlation_id, round(keep * 1_000), carried, reply.content_encoding
        )
        may_end_connection = taken.delivery.redelivered and _is_direct(asked.reply_to)
        if may_end_connection:
            await self._requests.ack(taken.delivery.tag)
        await self._requests.reply(asked.reply_to, answer_properties, reply.body)
        return may_end_connection

    def _holds(self, delivery: Delivery) -> bool:
        """Count the bytes of a request until it is settled; return whether it may wait here."""
        is_large = _is_large(delivery)
        self._held_bytes[is_large] += delivery.held_bytes
        return self._held_bytes[is_large] <= _MOST_HELD_BYTES


def _is_direct(reply_to: str) -> bool:
    """
    Return whether a reply goes to a caller's own channel.

    RabbitMQ ends the connection that sends one (`INTERNAL_ERROR`) to a node which is not of its
    cluster, as in a request that a shovel has brought.
    """
    return reply_to.startswith(_DIRECT)


def _is_large(delivery: Delivery) -> bool:
    return len(delivery.body) > SMALL_REQUEST_BYTES


def _can_be_heard(asked: RequestProperties | Refused) -> TypeGuard[RequestProperties]:
    """Return whether a reply could reach the caller, who may want none; log it if not."""
    if isinstance(asked, Refused):
        log.warning("request_dropped", error=asked.error)
        return False
    if asked.reply_to is not None and not _REPLY_ADDRESS(asked.reply_to):
        log.warning("request_dropped", error="reply_to is no reply queue", user=asked.user_id)
        return False
    return True
