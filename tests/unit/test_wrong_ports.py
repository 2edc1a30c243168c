"""Programs that answer at the address of the broker and are none: the error says what to do."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from jarvis_recorder.broker.connection import open_link
from jarvis_recorder.errors import BrokerUnavailable, ConfigurationError, RecorderError
from jarvis_recorder.net.addresses import Addresses

PATIENCE_SECONDS = 60
MANAGEMENT = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n"
# Alerts: a protocol version that is not spoken, and a message that no one expects.
TLS_ALERTS = (b"\x15\x03\x03\x00\x02\x02\x46", b"\x15\x03\x01\x00\x02\x02\x0a")


@contextlib.asynccontextmanager
async def answering(data: bytes, *, closes: bool) -> AsyncIterator[int]:
    """Answer anyone at a port with these bytes, and close the connection or leave it open."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        if not closes:
            await reader.read()
        with contextlib.suppress(ConnectionError):
            await reader.read(8)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def refusal(data: bytes, *, closes: bool) -> RecorderError:
    async with answering(data, closes=closes) as port, asyncio.timeout(PATIENCE_SECONDS):
        with pytest.raises(RecorderError, match=f"^127.0.0.1:{port} speaks ") as raised:
            async with open_link(Addresses(f"amqp://u:secret@127.0.0.1:{port}/"), "test"):
                pass
    assert "secret" not in str(raised.value)
    return raised.value


@pytest.mark.parametrize(
    ("data", "closes", "remedy"),
    [
        (MANAGEMENT, True, "speaks HTTP: name the port of AMQP"),
        (TLS_ALERTS[0], True, "speaks TLS: write amqps://"),
        (TLS_ALERTS[1], True, "speaks TLS: write amqps://"),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", False, "speaks SSH: name the port of AMQP"),
    ],
)
async def test_the_usual_wrong_ports_are_named_and_not_tried_again(data, closes, remedy):
    error = await refusal(data, closes=closes)

    assert isinstance(error, ConfigurationError)
    assert remedy in str(error)


@pytest.mark.parametrize("closes", [True, False])
async def test_any_other_protocol_may_be_there_only_for_now(closes):
    error = await refusal(b"220 mail.lan ESMTP\r\n", closes=closes)

    assert isinstance(error, BrokerUnavailable)
    assert "speaks no AMQP" in str(error)
