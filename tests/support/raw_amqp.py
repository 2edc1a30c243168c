"""Hand-written AMQP, for messages that no client library would send."""

import socket
import struct
from types import TracebackType
from typing import Self

from pamqp import commands, frame
from yarl import URL

_BASIC = 60


class RawPublisher:
    """A blocking connection with one channel in confirm mode; bytes are sent as given."""

    def __init__(self, url: str) -> None:
        address = URL(url)
        self._socket = socket.create_connection((address.host, address.port), timeout=60)
        self._buffer = b""
        self._socket.sendall(b"AMQP\x00\x00\x09\x01")
        self._expect("Connection.Start")
        login = f"\0{address.user}\0{address.password}"
        self._send(commands.Connection.StartOk({}, "PLAIN", login, "en_US"), 0)
        self._expect("Connection.Tune")
        self._send(commands.Connection.TuneOk(10, 131_072, 0), 0)
        self._send(commands.Connection.Open("/"), 0)
        self._expect("Connection.OpenOk")
        self._send(commands.Channel.Open(), 1)
        self._expect("Channel.OpenOk")
        self._send(commands.Confirm.Select(), 1)
        self._expect("Confirm.SelectOk")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def publish(
        self, exchange: bytes, routing_key: bytes, flags: int, properties: bytes, body: bytes
    ) -> None:
        """Publish and return once the broker has confirmed."""
        method = struct.pack(">HHH", _BASIC, 40, 0) + _short(exchange) + _short(routing_key)
        header = struct.pack(">HHQH", _BASIC, 0, len(body), flags) + properties
        out = _frame(1, method + b"\0") + _frame(2, header)
        for start in range(0, len(body), 131_000):
            out += _frame(3, body[start : start + 131_000])
        self._socket.sendall(out)
        self._expect("Basic.Ack")

    def _send(self, method: frame.FrameTypes, channel: int) -> None:
        self._socket.sendall(frame.marshal(method, channel))

    def _expect(self, name: str) -> None:
        while True:
            consumed, _, method = (
                frame.unmarshal(self._buffer) if len(self._buffer) > 7 else (0, 0, None)
            )
            if method is not None:
                self._buffer = self._buffer[consumed:]
                assert method.name == name, (method.name, getattr(method, "reply_text", ""))
                return
            received = self._socket.recv(65_536)
            assert received, f"connection closed while waiting for {name}"
            self._buffer += received


def _frame(kind: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", kind, 1, len(payload)) + payload + b"\xce"


def _short(text: bytes) -> bytes:
    return bytes([len(text)]) + text
