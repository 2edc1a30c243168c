"""A hand-written AMQP 1.0 publisher: some of its messages cannot be delivered over 0-9-1."""

import contextlib
import shutil
import socket
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

from yarl import URL

from jarvis_recorder.demo.node import PrivateNode

_AMQP, _SASL = 0, 1
_NULL = b"\x40"
# Descriptors of AMQP 1.0, parts 2 to 5.
_OPEN, _BEGIN, _ATTACH, _TRANSFER = 0x10, 0x11, 0x12, 0x14
_INIT, _SOURCE, _TARGET, _PROPERTIES, _DATA = 0x41, 0x28, 0x29, 0x73, 0x75


@contextlib.contextmanager
def node_with_amqp10() -> Iterator[PrivateNode]:
    """Run a node that accepts both versions of the protocol."""
    directory = Path(tempfile.mkdtemp(prefix="jarvis-amqp10-"))
    node = PrivateNode(directory, plugins="rabbitmq_amqp1_0")
    try:
        yield node.start()
    finally:
        node.kill()
        shutil.rmtree(directory, ignore_errors=True)


def publish_with_number(url: str, address: str, number: int, body: bytes) -> None:
    """Publish a message whose id is a number, and return once the broker has accepted it."""
    broker = URL(url)
    with socket.create_connection((broker.host, broker.port), timeout=10) as connection:
        stream = connection.makefile("rb")
        login = f"\0{broker.user}\0{broker.password}".encode()
        connection.sendall(
            b"AMQP\x03\x01\x00\x00" + _frame(_SASL, _INIT, _symbol("PLAIN"), _binary(login))
        )
        stream.read(8)
        _until(stream, 0x44)
        link = (
            _text("publisher"), _uint(0), b"\x42", _NULL, _NULL, _described(_SOURCE),
            _described(_TARGET, _text(address)), _NULL, _NULL, _uint(0),
        )  # fmt: skip
        connection.sendall(
            b"AMQP\x00\x01\x00\x00"
            + _frame(_AMQP, _OPEN, _text("test"))
            + _frame(_AMQP, _BEGIN, _NULL, _uint(0), _uint(100), _uint(100))
            + _frame(_AMQP, _ATTACH, *link)
        )
        stream.read(8)
        _until(stream, 0x13)
        nothing = (_NULL,) * 5
        properties = _described(
            _PROPERTIES, b"\x80" + struct.pack(">Q", number), *nothing, _symbol("application/json")
        )
        data = b"\x00\x53" + bytes([_DATA]) + _binary(body)
        transfer = _described(_TRANSFER, _uint(0), _uint(0), _binary(b"1"), _uint(0), b"\x42")
        connection.sendall(_framed(_AMQP, transfer + properties + data))
        _until(stream, 0x15)


def _until(stream: "socket.SocketIO", wanted: int) -> None:
    """Read frames up to the first with this descriptor."""
    while True:
        head = stream.read(4)
        assert len(head) == 4, f"closed while waiting for {wanted:#x}"
        frame = stream.read(int.from_bytes(head, "big") - 4)
        if frame[4 * (frame[0] - 1) + 2 :][:1] == bytes([wanted]):
            return


def _frame(kind: int, descriptor: int, *fields: bytes) -> bytes:
    return _framed(kind, _described(descriptor, *fields))


def _framed(kind: int, payload: bytes) -> bytes:
    return struct.pack(">IBBH", 8 + len(payload), 2, kind, 0) + payload


def _described(descriptor: int, *fields: bytes) -> bytes:
    content = b"".join(fields)
    return b"\x00\x53" + bytes([descriptor]) + b"\xd0" + struct.pack(
        ">II", 4 + len(content), len(fields)
    ) + content  # fmt: skip


def _text(text: str) -> bytes:
    return b"\xa1" + bytes([len(text)]) + text.encode()


def _symbol(text: str) -> bytes:
    return b"\xa3" + bytes([len(text)]) + text.encode()


def _binary(content: bytes) -> bytes:
    return b"\xb0" + struct.pack(">I", len(content)) + content


def _uint(number: int) -> bytes:
    return b"\x70" + struct.pack(">I", number)
