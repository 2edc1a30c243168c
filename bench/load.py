"""The messages, and a publisher fast enough to keep ahead of every contender."""

import asyncio
import contextlib
import random
import socket
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from struct import Struct
from typing import Any, Final, NamedTuple, Self
from uuid import uuid4

from pamqp import commands, frame
from yarl import URL

from jarvis_recorder.broker.session import open_session
from jarvis_recorder.net.addresses import Addresses
from jarvis_recorder.wire.topics import EXCHANGE, TOPICS, Kind

FIRST_EVENT: Final = datetime(2026, 1, 31, tzinfo=UTC)
BETWEEN_EVENTS: Final = timedelta(milliseconds=10)

_QUEUES: Final = {topic.kind: topic.queue for topic in TOPICS}
_CHANNEL: Final = 1
_WINDOW: Final = 4_000
_AT_ONCE: Final = 250

_METHOD, _HEADER, _BODY = 1, 2, 3
_FRAME: Final = Struct(">BHI")
# Class basic, weight, body size, property flags: content type, delivery mode, message id.
_CONTENT: Final = Struct(">HHQH")
_PROPERTIES: Final = 1 << 15 | 1 << 12 | 1 << 7
_JSON: Final = b"\x10application/json"
_PERSISTENT: Final = b"\x02"


class Message(NamedTuple):
    """A message to publish."""

    message_id: str
    body: bytes


class Load(NamedTuple):
    """
    Messages of one kind, the table that they are stored in, and the column that is always filled.

    `body` returns the body with a number, filled up to so many bytes.
    """

    queue: str
    routing_key: str
    table: str
    column: str
    body: Callable[[int, int], bytes]


def _event(number: int, size: int) -> bytes:
    """Return the body of one event, about 260 bytes by itself."""
    timestamp = _timestamp(number)
    node = f"node-{number % 12:02}"
    cpu, memory = number * 7 % 101, number * 13 % 97
    begin = (
        f'{{"type":"metric","severity":"info","source":"monitor","timestamp":"{timestamp}",'
        f'"node":"{node}","summary":"{node} cpu at {cpu} %, memory at {memory} %",'
        f'"details":{{"cpu_percent":{cpu},"memory_percent":{memory},"pods":{number % 40},'
        f'"interface":"eth0"'
    )
    more = (
        f',"output":"{_filling(number, size - len(begin) - 14)}"' if size > len(begin) + 14 else ""
    )
    return f"{begin}{more}}}}}".encode()


def _snapshot(number: int, size: int) -> bytes:
    machines = ",".join(
        f'{{"name":"vm-{each}","status":"running","cpu":{(number * 7 + each * 13) % 997 / 1000},'
        f'"memory":{(number * 31 + each * 1_000_003) % 68_719_476_736},"node":"pve{each % 25}"}}'
        for each in range(max(1, size // 88))
    )
    return (
        f'{{"cluster":"lab","timestamp":"{_timestamp(number)}",'
        f'"snapshot":{{"machines":[{machines}]}}}}'
    ).encode()


def _turn(number: int, size: int) -> bytes:
    role = ("user", "assistant")[number % 2]
    begin = (
        f'{{"session_id":"session-{number // 40}","role":"{role}","model":"a-model",'
        f'"timestamp":"{_timestamp(number)}","tokens_used":{number % 2_000},"content":"'
    )
    return f'{begin}{_filling(number, max(20, size - len(begin) - 2))}"}}'.encode()


def _timestamp(number: int) -> str:
    """Return the time of a message, 10 ms after the one before it."""
    return (FIRST_EVENT + number * BETWEEN_EVENTS).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _filling(number: int, size: int) -> str:
    """Return words, others for each number."""
    start = number * 31 % 4_096
    return (_words() * ((start + size) // len(_words()) + 1))[start : start + size]


@cache
def _words() -> str:
    chance = random.Random(1)
    letters = "etaoinshrdlucmfwypvbgk"
    return " ".join("".join(chance.choices(letters, k=chance.randint(2, 9))) for _ in range(3_000))


EVENTS: Final = Load(_QUEUES[Kind.EVENT], "cluster.event.metric", "events", "details", _event)
SNAPSHOTS: Final = Load(
    _QUEUES[Kind.SNAPSHOT], "cluster.snapshot.lab", "cluster_snapshots", "snapshot", _snapshot
)
TURNS: Final = Load(_QUEUES[Kind.TURN], "chat.turn.lab", "conversations", "content", _turn)


def messages_of_now() -> Iterator[Message]:
    """Yield events for ever, each with the current time."""
    while True:
        body = (
            f'{{"type":"metric","severity":"info","source":"monitor","node":"node-1",'
            f'"timestamp":"{datetime.now(UTC).isoformat()}","summary":"cpu at 40 %"}}'
        )
        yield Message(uuid4().hex, body.encode())


def messages(events: int, in_one: int = 1, load: Load = EVENTS, size: int = 0) -> Iterator[Message]:
    """Yield messages with so many records in all, `in_one` in each message."""
    for start in range(0, events, in_one):
        bodies = [load.body(number, size) for number in range(start, min(start + in_one, events))]
        body = bodies[0] if in_one == 1 else b"[" + b",".join(bodies) + b"]"
        yield Message(str(uuid4()), body)


class Publisher:
    """
    A blocking connection that publishes with confirms and inspects the queue.

    aiormq makes a future for every publish; here a confirm costs no more than reading it.
    """

    def __init__(
        self, connection: socket.socket, virtual_host: str, user: str, word: str, load: Load
    ) -> None:
        self._queue = load.queue
        self._connection = connection
        self._incoming = connection.makefile("rb")
        connection.sendall(b"AMQP\x00\x00\x09\x01")
        start: Any = self._read()
        self.broker_version = _text(start.server_properties["version"])
        self._send(commands.Connection.StartOk({}, "PLAIN", f"\0{user}\0{word}"), channel=0)
        self._read()
        self._send(commands.Connection.TuneOk(2047, 131_072, 0), channel=0)
        self._send(commands.Connection.Open(virtual_host), channel=0)
        self._read()
        self._call(commands.Channel.Open())
        self._call(commands.Confirm.Select())
        publish = commands.Basic.Publish(exchange=EXCHANGE, routing_key=load.routing_key)
        self._publish = frame.marshal(publish, _CHANNEL)
        self._published = 0
        self._unconfirmed: set[int] = set()

    @classmethod
    @contextlib.contextmanager
    def connected(cls, url: str, load: Load = EVENTS) -> Iterator[Self]:
        """Connect while entered."""
        address = URL(url)
        with socket.create_connection((address.host, address.port), timeout=60) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            yield cls(connection, "/", address.user or "", address.password or "", load)

    def publish(self, messages: Iterable[Message]) -> None:
        """Send messages; afterwards at most `_WINDOW` are unconfirmed."""
        parts: list[bytes] = []
        for message in messages:
            parts += self._frames(message)
            self._published += 1
            self._unconfirmed.add(self._published)
        self._connection.sendall(b"".join(parts))
        self.confirm(_WINDOW)

    def confirm(self, left: int = 0) -> None:
        """Wait until at most `left` messages are unconfirmed."""
        while len(self._unconfirmed) > left:
            answer = self._read()
            if not isinstance(answer, commands.Basic.Ack):
                raise ConnectionError(f"the broker answers a publish with {answer}")
            if answer.multiple:
                self._unconfirmed = {tag for tag in self._unconfirmed if tag > answer.delivery_tag}
            else:
                self._unconfirmed.discard(answer.delivery_tag)

    def ready(self) -> int:
        """Return the number of ready messages in the queue."""
        declared: Any = self._call(commands.Queue.Declare(queue=self._queue, passive=True))
        return int(declared.message_count)

    def delete_queue(self) -> None:
        """Delete the queue with all its messages."""
        self._call(commands.Queue.Delete(queue=self._queue))

    @staticmethod
    def _frame(kind: int, payload: bytes) -> bytes:
        return _FRAME.pack(kind, _CHANNEL, len(payload)) + payload + b"\xce"

    def _frames(self, message: Message) -> tuple[bytes, bytes, bytes]:
        message_id = message.message_id.encode()
        header = b"".join(
            (
                _CONTENT.pack(60, 0, len(message.body), _PROPERTIES),
                _JSON,
                _PERSISTENT,
                bytes((len(message_id),)),
                message_id,
            )
        )
        return self._publish, self._frame(_HEADER, header), self._frame(_BODY, message.body)

    def _call(self, method: Any) -> Any:
        self._send(method, channel=_CHANNEL)
        return self._read()

    def _send(self, method: Any, *, channel: int) -> None:
        self._connection.sendall(frame.marshal(method, channel))

    def _read(self) -> Any:
        head = self._incoming.read(_FRAME.size)
        if len(head) < _FRAME.size:
            raise ConnectionError("the broker closed the connection")
        data = head + self._incoming.read(_FRAME.unpack(head)[2] + 1)
        method = frame.unmarshal(data)[2]
        if isinstance(method, commands.Connection.Close | commands.Channel.Close):
            raise ConnectionError(method.reply_text)
        return method


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def declare(url: str) -> None:
    """Declare the recorder's topology with its own code."""

    async def once() -> None:
        async with open_session(Addresses(url), "declare"):
            pass

    asyncio.run(once())


def fill(url: str, messages: Iterable[Message], load: Load = EVENTS) -> Iterator[int]:
    """
    Publish messages to a new queue, yielding the number published so far.

    At the end every message is confirmed and in the queue.
    """
    declare(url)
    with Publisher.connected(url, load) as publisher:
        publisher.delete_queue()
        declare(url)
        count = 0
        chunk: list[Message] = []
        for message in messages:
            chunk.append(message)
            if len(chunk) == _AT_ONCE:
                publisher.publish(chunk)
                count += len(chunk)
                chunk.clear()
                yield count
        publisher.publish(chunk)
        count += len(chunk)
        publisher.confirm()
        if publisher.ready() != count:
            raise ConnectionError(f"{publisher.ready()} of {count} messages are in the queue")
        yield count
