"""Bounds on connections, by a server of uvicorn and sockets that do as attackers do."""

import asyncio
import contextlib
import socket

import pytest
from uvicorn.protocols.http.h11_impl import H11Protocol

from jarvis_recorder.gateway import connection as gateway
from jarvis_recorder.monitoring import server as health
from jarvis_recorder.net import connection_limits, http_server
from jarvis_recorder.net.connection_limits import Bounded
from jarvis_recorder.net.listen_address import network_of

pytestmark = pytest.mark.long

ASK = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
LARGE = 16 * 1024 * 1024


class ByHttptools(gateway.Connection):
    most = 8
    most_of_one_address = 6


class ByH11(Bounded, H11Protocol):
    most = 8
    most_of_one_address = 6


class Application:
    """An application that answers at once, reads what it is sent, waits, or says much, as the path tells."""

    def __init__(self):
        self.goes_on = asyncio.Event()
        self.asked = 0
        self.heard = []

    async def __call__(self, scope, receive, send):
        self.asked += 1
        body = b"well"
        match scope["path"]:
            case "/read":
                while True:
                    message = await receive()
                    self.heard.append(message["type"])
                    if not message.get("more_body"):
                        break
            case "/wait" | "/wait-known":
                if scope["path"] == "/wait-known":
                    scope["state"]["caller"] = "known"
                await self.goes_on.wait()
            case "/large":
                body = b"x" * LARGE
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@pytest.fixture
def application():
    return Application()


@pytest.fixture(params=[ByHttptools, ByH11])
async def port(request, application):
    async with served(application, request.param) as port:
        yield port


@pytest.fixture
async def gateway_port(application):
    async with served(application, ByHttptools) as port:
        yield port


@pytest.fixture
async def health_port(application):
    async with served(application, health._Connection) as port:
        yield port


@contextlib.asynccontextmanager
async def served(application, protocol):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = http_server.HttpServer(
            application, protocol, proxy_headers=False, timeout_graceful_shutdown=1
        )
        task = asyncio.create_task(server.serve(sockets=[listener]))
        await until(lambda: server.started)
        yield listener.getsockname()[1]
        application.goes_on.set()
        server.should_exit = True
        await task


@contextlib.asynccontextmanager
async def connected(port, sent=b"", *, address="127.0.0.1", room=2**16):
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, local_addr=(address, 0), limit=room
    )
    writer.write(sent)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


async def end_of(reader, seconds=10):
    """Return all that comes until the server closes the connection."""
    came = b""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(seconds):
            while piece := await reader.read(65_536):
                came += piece
    return came


async def is_answered(port, address="127.0.0.1"):
    async with connected(port, ASK, address=address) as (reader, _):
        async with asyncio.timeout(60):
            return (await reader.read(65_536)).startswith(b"HTTP/1.1 200")


async def test_a_new_connection_is_answered_however_many_idle(port):
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(40):
            await stack.enter_async_context(connected(port))
        assert await is_answered(port)


async def test_a_half_said_head_gives_way_to_one_that_is_said(port):
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(40):
            await stack.enter_async_context(connected(port, b"GET / HTTP/1.1\r\nX-A: "))
        assert await is_answered(port)


async def test_one_address_takes_no_room_from_the_others(port):
    async with contextlib.AsyncExitStack() as stack:
        other, _ = await stack.enter_async_context(connected(port, address="127.0.0.2"))
        for _ in range(40):
            await stack.enter_async_context(connected(port))
        assert await is_answered(port)
        with pytest.raises(TimeoutError):
            await end_of(other, 0.2)


async def test_no_more_are_open_than_there_may_be_of_many_addresses(application, port):
    async with contextlib.AsyncExitStack() as stack:
        opened = [
            await stack.enter_async_context(connected(port, address=f"127.0.0.{number}"))
            for number in range(1, 21)
        ]
        assert await is_answered(port, "127.0.0.99")
        still = [reader for reader, _ in opened if not reader.at_eof() and not reader.exception()]
        assert len(still) <= 8


async def test_a_request_with_a_token_does_not_give_way(application, gateway_port):
    known = b"GET /wait-known HTTP/1.1\r\nHost: x\r\n\r\n"
    async with contextlib.AsyncExitStack() as stack:
        waiting = []
        for number in range(6):
            reader, _ = await stack.enter_async_context(connected(gateway_port, known))
            waiting.append(reader)
            await until(lambda: application.asked == number + 1)  # noqa: B023 - waited for at once
        one_more, _ = await stack.enter_async_context(connected(gateway_port))
        assert await end_of(one_more) == b""
        application.goes_on.set()

        for reader in waiting:
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")


async def test_requests_that_wait_without_a_token_shut_no_one_out(application, gateway_port):
    async with contextlib.AsyncExitStack() as stack:
        for number in range(20):
            ask = connected(gateway_port, b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
            await stack.enter_async_context(ask)
            await until(lambda: application.asked == number + 1)  # noqa: B023 - waited for at once
        assert await is_answered(gateway_port)


async def test_descriptors_are_left_for_others(port, monkeypatch):
    monkeypatch.setattr(connection_limits.resource, "getrlimit", lambda _: (8, 8))
    async with contextlib.AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(connected(port)) for _ in range(6)]
        assert await is_answered(port)
        assert sum(reader.at_eof() or bool(reader.exception()) for reader, _ in opened) >= 3


async def test_a_head_has_to_come_in_time_though_it_trickles(port, monkeypatch):
    monkeypatch.setattr(connection_limits, "HEAD_SECONDS", 0.5)
    async with connected(port, b"GET / HTTP/1.1\r\n") as (reader, writer):
        trickle = asyncio.create_task(_trickle(writer, b"a: b\r\n"))
        came = await end_of(reader)
        trickle.cancel()

    assert came == b""


async def test_a_connection_that_says_nothing_is_closed_without_a_word(port, monkeypatch):
    """A browser that connects ahead would take a word for an answer to what it asks next."""
    monkeypatch.setattr(connection_limits, "HEAD_SECONDS", 0.1)
    async with connected(port) as (reader, _):
        assert await end_of(reader) == b""


async def test_the_next_head_has_its_time_too(port, monkeypatch):
    monkeypatch.setattr(connection_limits, "HEAD_SECONDS", 0.5)
    async with connected(port, ASK) as (reader, writer):
        await reader.readuntil(b"well")
        writer.write(b"GET / HT")
        assert await end_of(reader, 4) == b""


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 9999\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"]
)
async def test_a_body_has_to_come_in_time_though_it_trickles(
    application, port, monkeypatch, framing
):
    monkeypatch.setattr(connection_limits, "BODY_SECONDS", 0.5)
    head = POST.replace(b" / ", b" /read ") + framing
    async with connected(port, head) as (reader, writer):
        trickle = asyncio.create_task(_trickle(writer, b"1\r\n \r\n"))
        came = await end_of(reader)
        trickle.cancel()

    assert came.startswith(b"HTTP/1.1 408")
    await until(lambda: application.heard[-1:] == ["http.disconnect"])


async def test_a_body_that_no_one_reads_has_to_end_in_time(port, monkeypatch):
    monkeypatch.setattr(connection_limits, "HEAD_SECONDS", 0.5)
    async with connected(port, POST + b"Content-Length: 9999\r\n\r\n") as (reader, writer):
        await reader.readuntil(b"well")
        trickle = asyncio.create_task(_trickle(writer, b" "))
        await end_of(reader)
        trickle.cancel()


async def test_a_reply_has_to_be_taken_in_time(port, monkeypatch):
    monkeypatch.setattr(connection_limits, "_TAKING_SECONDS", 0.5)
    large = ASK.replace(b" / ", b" /large ")
    async with connected(port, large) as (reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()
        await asyncio.sleep(2.5)
        writer.transport.resume_reading()
        assert len(await end_of(reader)) < LARGE


async def test_what_waits_to_be_taken_is_bounded_for_all_together(port, monkeypatch):
    monkeypatch.setattr(connection_limits, "_MOST_UNSENT_BYTES", LARGE)
    large = ASK.replace(b" / ", b" /large ")
    async with contextlib.AsyncExitStack() as stack:
        first, writer = await stack.enter_async_context(connected(port, large))
        await first.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()
        second, _ = await stack.enter_async_context(connected(port, large))

        assert len(await _exactly(second, LARGE)) == LARGE
        writer.transport.resume_reading()
        assert len(await end_of(first)) < LARGE


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\na: " + b"b" * 40_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\na: " + b"b" * 400_000,
        b"GET / HTTP/1.1\r\n" + b"".join(b"a: %b\r\n" % (b"b" * 1_000) for _ in range(40)),
        b"GET /" + b"b" * 40_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 101 + b"\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"a: b\r\n" * 101,
        POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\na: " + b"b" * 400_000,
        POST + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"b" * 400_000,
        b"\r\n" * 20_000,
    ],
    ids=["field", "endless field", "fields", "target", "number of fields", "number of trailers",
         "trailer", "chunk extension", "empty lines"],
)  # fmt: skip
async def test_a_head_that_is_too_large_is_refused(gateway_port, head):
    async with connected(gateway_port, head) as (reader, _):
        assert b"HTTP/1.1 431" in await end_of(reader)
    assert await is_answered(gateway_port)


async def test_a_head_that_just_fits_is_answered(gateway_port):
    fields = b"".join(b"a: %b\r\n" % (b"b" * 310) for _ in range(100))
    async with connected(gateway_port, b"GET / HTTP/1.1\r\n" + fields + b"\r\n") as (reader, _):
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")


async def test_only_so_much_is_let_pass_of_a_body_that_no_one_reads(gateway_port):
    async with connected(gateway_port, POST + b"Content-Length: 99999999\r\n\r\n") as (
        reader,
        writer,
    ):
        await reader.readuntil(b"well")
        writer.write(b"x" * 1_100_000)
        assert (await end_of(reader)).startswith(b"HTTP/1.1 413")


async def test_only_so_many_requests_wait_for_one_another(application, gateway_port):
    wait = b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n"
    async with connected(gateway_port, wait + ASK * 8) as (few, _):
        async with connected(gateway_port, wait + ASK * 5_000) as (many, _):
            assert await end_of(many) == b""
        application.goes_on.set()
        async with asyncio.timeout(60):
            for _ in range(9):
                await few.readuntil(b"well")


@pytest.mark.parametrize(
    "sent",
    [
        POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 10_000,
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 8_000 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\na: " + b"b" * 40_000 + b"\r\n\r\n",
        POST + b"Content-Length: 99999\r\n\r\n" + b"x" * 50_000,
        ASK * 1_500,
    ],
    ids=["chunks", "fields", "field", "body", "requests"],
)
async def test_of_what_comes_at_once_the_server_of_health_reads_little(
    application, health_port, sent
):
    """Its parser is Python on the recorder's loop: a read's worth of chunks took half a second."""
    async with connected(health_port, sent) as (reader, _):
        assert b"HTTP/1.1 200" not in await end_of(reader)
    assert application.asked == 0
    assert await is_answered(health_port)


async def test_who_asks_for_health_again_is_answered_each_time(health_port):
    async with connected(health_port) as (reader, writer):
        for _ in range(100):
            writer.write(ASK.replace(b"\r\n\r\n", b"\r\na: " + b"b" * 1_000 + b"\r\n\r\n"))
            async with asyncio.timeout(60):
                await reader.readuntil(b"well")


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("x" * 200, "x" * 64),
    ],
)
def test_an_address_of_ipv6_is_its_network(host, network):
    assert network_of(host) == network


async def _trickle(writer, piece):
    while True:
        writer.write(piece)
        await asyncio.sleep(0.05)


async def _exactly(reader, size):
    async with asyncio.timeout(60):
        await reader.readuntil(b"\r\n\r\n")
        return await reader.readexactly(size)
