"""
Deliveries read straight from the stream, at the speed of the socket.

aiormq decodes every frame in three awaits and creates a task for every message, and one header
it cannot decode ends the connection. This reader takes the place of aiormq's stream reader.
It walks whole frames (AMQP 0-9-1, section 4.2.3: type, channel, size, payload, end octet);
the three frames that make a delivery, on a channel that asked for it, go to that channel's sink,
together with those behind them (`Stretch`). Every other byte is passed to aiormq as it came.
"""

import asyncio
import math
import sys
from collections.abc import Callable, Iterable
from struct import Struct
from typing import Final, SupportsIndex, cast

from jarvis_recorder.ports import Sink
from jarvis_recorder.wire.amqp.delivery import Delivery, Stretch, whole_deliveries
from jarvis_recorder.wire.amqp.frames import FRAME_OVERHEAD, HEADER, METHOD
from jarvis_recorder.wire.amqp.properties import body_size

_FRAME: Final = Struct(">BHI").pack
_FRAME_HEAD: Final = Struct(">BHI").unpack_from
_TAG: Final = Struct(">Q").unpack_from
# The bytes taken in one turn of the event loop. A loop reads up to 256 KiB at once; other tasks,
# such as a commit that has ended, would wait for all of that to be decoded.
_TURN_BYTES: Final = 24 * 1024
# A larger body is put together from its parts; a smaller one, cut off, waits for its end.
_MOST_IN_A_ROW: Final = 32 * 1024
_DELIVER: Final = b"\x00\x3c\x00\x3c"  # class 60 (basic), method 60 (deliver)
_GET_OK: Final = b"\x00\x3c\x00\x47"  # class 60 (basic), method 71 (get-ok)
_GET_EMPTY: Final = b"\x00\x3c\x00\x48\x00"  # class 60 (basic), method 72, an empty string
_RETURN: Final = b"\x00\x3c\x00\x32"  # class 60 (basic), method 50 (return)
_CLOSE: Final = b"\x00\x0a\x00\x32"  # class 10 (connection), method 50 (close)
_BLOCKED: Final = b"\x00\x0a\x00\x3c"  # class 10 (connection), method 60 (blocked)
_UNBLOCKED: Final = b"\x00\x0a\x00\x3d"  # class 10 (connection), method 61 (unblocked)
_HEARTBEAT: Final = b"\x08\x00\x00\x00\x00\x00\x00\xce"
_PROTOCOL_HEADER: Final = b"AMQP"
_FIRST_BYTES: Final = 8


_Complete = Callable[[bytes, bytes, bytes], None]
_Take = Callable[[Delivery], None]
_Report = Callable[[str | None], None]


class _Assembly:
    """
    A channel's message being assembled: its method first, then its header, then its body.

    `wanted` maps a method's number to the receiver of the complete message; a body of more than
    `most_bytes` is skipped. Deliveries that are whole already go to `sink`.
    """

    __slots__ = (
        "body_left",
        "header",
        "is_passed_over",
        "method",
        "most_bytes",
        "parts",
        "sink",
        "wanted",
    )

    def __init__(self) -> None:
        self.sink: Sink | None = None
        self.wanted: dict[bytes, _Complete] = {}
        self.method = b""
        self.header = b""
        self.body_left = 0
        self.most_bytes = sys.maxsize
        self.is_passed_over = False
        self.parts: list[bytes] = []


class DeliveryReader(asyncio.StreamReader):
    """
    A stream reader that keeps deliveries and passes everything else on.

    `last_seen` is the loop's time when bytes last came, whatever they were. `close_reason`
    is the code and text of the broker's Connection.Close, if it sent one: aiormq keeps them to
    itself while a connection is being opened. `first_bytes` tell which protocol the other side
    speaks; where it is not AMQP the connection is dropped at once.
    """

    def __init__(self, *, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._event_loop = loop
        self._now: Callable[[], float] = loop.time
        self._connection: asyncio.Transport | None = None
        self._assemblies: dict[int, _Assembly] = {}
        self._waiting = b""
        self._walked = 0
        self._turn_is_due = False
        # Not `_paused`: that is the base class's own, by which it resumes reading.
        self._flow_is_paused = False
        self._resumed_at = -math.inf
        self._blind: bool | None = None
        self._passed_heartbeat_at = 0.0
        self.last_seen = loop.time()
        self.close_reason: tuple[int, str] | None = None
        self.first_bytes = b""
        self._report_alarm: _Report = lambda _: None

    def deliver_to(self, channel: int, sink: Sink, most_bytes: int = sys.maxsize) -> None:
        """
        Pass the deliveries of a channel to `sink` from now on, complete and in order.

        One with a body of more than `most_bytes` comes without it: only its header gives the
        size.
        """

        def complete(method: bytes, header: bytes, body: bytes) -> None:
            sink([_delivery(method, header, body)])

        assembly = self._assembly(channel)
        assembly.sink = sink
        assembly.most_bytes = most_bytes
        assembly.wanted[_DELIVER] = complete

    def fetch_to(self, channel: int, take: _Take, most_bytes: int = sys.maxsize) -> None:
        """
        Pass what `basic.get` fetches on a channel to `take`; aiormq sees an empty queue.

        One with a body of more than `most_bytes` comes without it.
        """
        empty = _FRAME(METHOD, channel, len(_GET_EMPTY)) + _GET_EMPTY + b"\xce"

        def complete(method: bytes, header: bytes, body: bytes) -> None:
            take(_fetched(method, header, body))
            super(DeliveryReader, self).feed_data(empty)

        assembly = self._assembly(channel)
        assembly.most_bytes = most_bytes
        assembly.wanted[_GET_OK] = complete

    def return_to(self, channel: int, returned: Callable[[bytes], None]) -> None:
        """Pass `returned` the header of each message that the broker returns on a channel."""
        self._assembly(channel).wanted[_RETURN] = lambda _, header, __: returned(header)

    def report_alarm(self, report: _Report) -> None:
        """
        Have the broker's alarm reported from now on: its reason as it begins, None as it ends.

        The broker tells a connection that it reads nothing of it once something was published
        there, and never one that only consumes.
        """
        self._report_alarm = report

    def _assembly(self, channel: int) -> _Assembly:
        return self._assemblies.setdefault(channel, _Assembly())

    def set_transport(self, transport: asyncio.BaseTransport) -> None:
        super().set_transport(transport)
        # uvloop's transports have its methods without being its subclasses.
        self._connection = cast(asyncio.Transport, transport)

    def pause(self) -> None:
        """Leave arriving bytes in the socket; the broker stops sending when that is full."""
        self._flow_is_paused = True
        self._stop_reading()

    def resume(self) -> None:
        """Resume reading."""
        self._flow_is_paused = False
        self._resumed_at = self._now()
        self._read_again()

    @property
    def may_be_amqp(self) -> bool:
        """False once the other side has sent something that begins neither as a frame nor as AMQP."""
        first = self.first_bytes[:1]
        return first <= _HEARTBEAT[:1] or first == _PROTOCOL_HEADER[:1]

    @property
    def flowing_seconds(self) -> float:
        """Return for how long the flow has not been paused; 0.0 while it is."""
        return 0.0 if self._flow_is_paused else self._now() - self._resumed_at

    def abort(self) -> None:
        """Drop the connection without closing it in AMQP, as if the other side were gone."""
        if self._connection is not None:
            self._connection.abort()

    def feed_data(self, data: Iterable[SupportsIndex]) -> None:
        # Every event loop passes bytes; the base class only allows more types.
        assert isinstance(data, bytes)
        self.last_seen = self._now()
        if self._blind is None:
            # Only the very first bytes count: a body may hold these letters anywhere.
            self._blind = data.startswith(_PROTOCOL_HEADER)
            self.first_bytes = data[:_FIRST_BYTES]
            if not self.may_be_amqp:
                # It may wait for more, as we would for the end of a frame that is none.
                self.abort()
        if self._blind:
            # The broker speaks another protocol version, or no frames at all: aiormq reports it.
            super().feed_data(data)
            return
        self._waiting = self._waiting[self._walked :] + data if self._waiting else data
        self._walked = 0
        if not self._turn_is_due:
            self._take_turn()

    def feed_eof(self) -> None:
        while self._waiting and self._walk_waiting():
            pass
        super().feed_eof()

    def _take_turn(self) -> None:
        """Take some of the waiting bytes, and leave the rest to the next turn of the loop."""
        was_due = self._turn_is_due
        self._turn_is_due = self._walk_waiting()
        if self._turn_is_due:
            self._event_loop.call_soon(self._take_turn)
            if not was_due:
                self._stop_reading()
        elif was_due:
            self._read_again()

    def _stop_reading(self) -> None:
        if self._connection is not None and not self._connection.is_closing():
            self._connection.pause_reading()

    def _read_again(self) -> None:
        """Resume reading, unless the flow is paused or a turn is due; either resumes it later."""
        if self._flow_is_paused or self._turn_is_due:
            return
        if self._connection is not None and not self._connection.is_closing():
            self._connection.resume_reading()

    def _walk_waiting(self) -> bool:
        """Take whole frames for one turn; return whether there may be more of them."""
        begun = self._walked
        self._walked = self._walk(self._waiting, begun)
        if self._walked == len(self._waiting):
            self._waiting = b""
            self._walked = 0
            return False
        return self._walked - begun >= _TURN_BYTES

    def _walk(self, data: bytes, position: int) -> int:
        """Take whole frames from `data` for one turn; return where the next one begins."""
        assemblies = self._assemblies
        passed = position
        limit = position + _TURN_BYTES
        end = len(data)
        delivered = False
        while end - position >= FRAME_OVERHEAD and position < limit:
            kind, channel, size = _FRAME_HEAD(data, position)
            stop = position + size + FRAME_OVERHEAD
            if stop > end:
                break
            assembly = assemblies.get(channel)
            if kind == METHOD and assembly is not None and assembly.sink is not None:
                most = min(assembly.most_bytes, _MOST_IN_A_ROW)
                found = whole_deliveries(data, position, limit, channel, most)
                if found.starts:
                    self._pass_on(data, passed, position)
                    assembly.sink(Stretch(data[position : found.end], found.starts, found.outlines))
                    delivered = True
                    position = passed = found.end
                    continue
                if found.is_cut:
                    break
            if assembly is not None and (
                data[position + 7 : position + 11] in assembly.wanted
                if kind == METHOD
                else assembly.method
            ):
                self._pass_on(data, passed, position)
                passed = stop
                delivered = True
                self._assemble(assembly, kind, data[position + 7 : stop - 1])
            elif channel == 0:
                self._note(data[position + 7 : position + 11], data[position + 11 : stop - 1])
            position = stop
        self._pass_on(data, passed, position)
        if delivered:
            self._keep_alive()
        return position

    def _note(self, method: bytes, arguments: bytes) -> None:
        """Note what the broker says of the whole connection; aiormq gets it, too."""
        if method == _CLOSE:
            self.close_reason = _close_reason(arguments)
        elif method == _BLOCKED:
            self._report_alarm(_short_text(arguments))
        elif method == _UNBLOCKED:
            self._report_alarm(None)

    def _pass_on(self, data: bytes, begin: int, end: int) -> None:
        """Pass to aiormq what is none of ours."""
        if end > begin:
            super().feed_data(data[begin:end])

    @staticmethod
    def _assemble(assembly: _Assembly, kind: int, payload: bytes) -> None:
        if kind == METHOD:
            assembly.method = payload
            return
        if kind == HEADER:
            assembly.header = payload
            assembly.body_left = body_size(payload)
            assembly.is_passed_over = assembly.body_left > assembly.most_bytes
            if assembly.body_left:
                return
            body = b""
        elif len(payload) == assembly.body_left and not (assembly.parts or assembly.is_passed_over):
            body = payload
        else:
            if not assembly.is_passed_over:
                assembly.parts.append(payload)
            assembly.body_left -= len(payload)
            if assembly.body_left > 0:
                return
            body = b"".join(assembly.parts)
            assembly.parts = []
        method = assembly.method
        assembly.method = b""
        assembly.wanted[method[:4]](method, assembly.header, body)

    def _keep_alive(self) -> None:
        """
        Show aiormq a heartbeat, at most every second, while deliveries flow.

        It never sees those deliveries, and would take a busy connection for a dead one.
        """
        if self.last_seen - self._passed_heartbeat_at >= 1.0:
            self._passed_heartbeat_at = self.last_seen
            super().feed_data(_HEARTBEAT)


def _close_reason(arguments: bytes) -> tuple[int, str]:
    """Read reply code and reply text of Connection.Close."""
    return int.from_bytes(arguments[:2], "big"), _short_text(arguments[2:])


def _short_text(data: bytes) -> str:
    """Read a short string, which begins with its length."""
    return data[1 : 1 + data[0]].decode("utf-8", "replace")


def _delivery(method: bytes, header: bytes, body: bytes) -> Delivery:
    """Build from Basic.Deliver: consumer tag, delivery tag, redelivered, exchange, routing key."""
    return _from_tag_on(method, 5 + method[4], len(method), header, body)


def _fetched(method: bytes, header: bytes, body: bytes) -> Delivery:
    """Build from Basic.GetOk: delivery tag, redelivered, exchange, routing key, message count."""
    return _from_tag_on(method, 4, len(method) - 4, header, body)


def _from_tag_on(method: bytes, tag_at: int, end: int, header: bytes, body: bytes) -> Delivery:
    exchange_at = tag_at + 10
    key_at = exchange_at + method[exchange_at - 1] + 1
    return Delivery(
        _TAG(method, tag_at)[0],
        method[tag_at + 8] == 1,
        method[exchange_at : key_at - 1],
        method[key_at:end],
        header,
        body,
    )
