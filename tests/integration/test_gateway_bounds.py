"""The gateway under attack from people without a token, or with a reader's; the others are served."""

import asyncio
import contextlib
import gzip
import re
import resource
import signal
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.gateway import PASSWORD, READER_PASSWORD, Gateway
from tests.support.publisher import publish
from tests.support.recorder import wait_until

pytestmark = [pytest.mark.broker, pytest.mark.slow]

MIB = 1024 * 1024
EVENTS = "/api/memory/events"
MORE_BYTES = 64 * MIB
"""More than a gateway takes at rest; one that is not bounded takes hundreds."""


@pytest.fixture
def operator(gateway):
    with gateway.client() as client:
        yield client


@pytest.fixture
def reader_token(gateway):
    with gateway.client(READER_PASSWORD) as client:
        return client.headers["Authorization"]


@contextlib.contextmanager
def sockets(gateway, count, sent=b"", *, room=None):
    """Open connections that send this and then do nothing."""
    with contextlib.ExitStack() as stack:
        opened = []
        for _ in range(count):
            one = stack.enter_context(socket.socket())
            if room:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
            one.settimeout(5)
            one.connect(("127.0.0.1", gateway.port))
            # One that has given way by now takes nothing.
            with contextlib.suppress(OSError):
                one.sendall(sent)
            opened.append(one)
        yield opened


def is_closed(one):
    one.setblocking(False)
    try:
        while piece := one.recv(65_536):
            del piece
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def answer_of(one, seconds=20):
    """Return what is answered until the connection is closed or silent."""
    came = b""
    one.settimeout(seconds)
    with contextlib.suppress(OSError):
        while piece := one.recv(65_536):
            came += piece
    return came


def peak_bytes(gateway):
    status = Path(f"/proc/{gateway.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) * 1024


@contextlib.contextmanager
def bounded_memory(gateway, more=MORE_BYTES):
    """Assert that the gateway's memory stays within what it was and so much more."""
    Path(f"/proc/{gateway.process.pid}/clear_refs").write_text("5")
    before = peak_bytes(gateway)
    yield
    assert peak_bytes(gateway) - before < more


def request(method, path, *fields, token=""):
    authorization = [f"Authorization: {token}"] if token else []
    lines = [f"{method} {path} HTTP/1.1", "Host: x", *authorization, *fields, "", ""]
    return "\r\n".join(lines).encode()


def descriptors(gateway):
    return sum(1 for _ in Path(f"/proc/{gateway.process.pid}/fd").iterdir())


def test_idle_connections_shut_no_one_out(gateway, operator):
    for sent in (b"", b"GET / HTTP/1.1\r\nHost: x\r\nX-A: "):
        with sockets(gateway, 600, sent), gateway.client(None) as other:
            assert operator.get("/api/stats").status_code == 200
            assert other.get("/api/health").status_code == 200

    resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE, (128, 128))
    with sockets(gateway, 400):
        assert operator.get("/api/stats").status_code == 200
        assert descriptors(gateway) < 110


@pytest.mark.slow
def test_a_head_has_ten_seconds_and_a_body_thirty(gateway, operator):
    body = request("POST", "/api/auth/login", "Content-Type: application/json", "Content-Length: 9")
    began = time.monotonic()
    with (
        sockets(gateway, 5, b"GET / HTTP/1.1\r\nX-A: ") as heads,
        sockets(gateway, 5, body) as bodies,
    ):
        assert all(answer_of(one) == b"" for one in heads)
        assert 9 < time.monotonic() - began < 14
        assert all(answer_of(one, 40).startswith(b"HTTP/1.1 408") for one in bodies)
        assert 29 < time.monotonic() - began < 36


def test_a_token_is_asked_for_before_the_body_is_read(gateway, reader_token):
    fields = ("Content-Type: application/json", f"Content-Length: {MIB}")
    for method, path in (("POST", EVENTS), ("PUT", "/api/memory/preferences/a")):
        for token, status in (("", b"401"), ("Bearer x", b"401"), (reader_token, b"403")):
            head = request(method, path, *fields, token=token)
            with sockets(gateway, 1, head + b'{"a":') as (one,):
                assert one.recv(12)[9:12] == status


def test_bodies_that_do_not_end_take_no_memory(gateway, operator):
    fields = ("Content-Type: application/json", f"Content-Length: {MIB}")
    body = b'{"a":"' + b"x" * (MIB - 100)
    with bounded_memory(gateway):
        with sockets(gateway, 200, request("POST", EVENTS, *fields) + body):
            assert operator.get("/api/stats").status_code == 200
        token = operator.headers["Authorization"]
        with sockets(gateway, 60, request("POST", EVENTS, *fields, token=token) + body) as opened:
            wait_until(lambda: sum(map(is_closed, opened)) > 50, "most are refused")
        wait_until(lambda: operator.post(EVENTS, json={}).status_code == 400, "there is room again")


def test_a_login_is_small(gateway):
    with gateway.client(None) as client:
        answer = client.post("/api/auth/login", json={"password": "x" * 20_000})

    assert answer.status_code == 413


CHUNKED = request(
    "POST", "/api/auth/login", "Content-Type: application/json", "Transfer-Encoding: chunked"
)
ENDLESS = {
    "field": (b"GET / HTTP/1.1\r\nX-A: ", b"a" * 65_536),
    "fields": (b"GET / HTTP/1.1\r\n", b"a: b\r\n" * 10_000),
    "target": (b"GET /", b"a" * 65_536),
    "requests": (b"", request("GET", "/") * 2_000),
    "chunks": (CHUNKED, b"1\r\n \r\n" * 10_000),
    "trailers": (CHUNKED + b"0\r\n", b"a: b\r\n" * 10_000),
    "trailer": (CHUNKED + b"0\r\na: ", b"b" * 65_536),
    "chunk extension": (CHUNKED + b"1;", b"b" * 65_536),
    "refused body": (request("POST", EVENTS, "Content-Length: 99999999999"), b"a" * 65_536),
    "upgrade": (request("GET", "/", "Connection: upgrade", "Upgrade: websocket"), b"a" * 65_536),
    "tunnel": (b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", b"a" * 65_536),
}


def test_what_does_not_end_is_cut(gateway, operator):
    with bounded_memory(gateway):
        for what, (begin, piece) in ENDLESS.items():
            with sockets(gateway, 20, begin) as opened:
                assert all(is_cut(one, piece) for one in opened), what
                assert operator.get("/api/stats").status_code == 200
    assert gateway.log.stat().st_size < 20_000


def is_cut(one, piece):
    try:
        for _ in range(64 * MIB // len(piece)):
            one.sendall(piece)
    except OSError:
        return True
    return False


def test_replies_that_are_not_taken_are_bounded(gateway, operator):
    """Each is of nearly a mebibyte; what the kernel holds of it is not the gateway's."""
    for number in range(25):
        operator.put(f"/api/memory/preferences/{number}", json={"value": "x" * 35_000})
    token = operator.headers["Authorization"]
    ask = request("GET", "/api/memory/preferences", token=token)
    with bounded_memory(gateway, 160 * MIB), sockets(gateway, 200, ask, room=4_096):
        wait_until(lambda: operator.get("/api/stats").status_code == 200, "others are answered")


def test_one_readers_streams_shut_out_no_one(gateway, operator, reader_token):
    look = request("GET", "/api/live", token=reader_token)
    with bounded_memory(gateway), sockets(gateway, 205, look, room=4_096) as opened:
        wait_until(lambda: sum(map(is_closed, opened)) == 155, "the oldest gave way")
        with operator.stream("GET", "/api/live") as stream:
            assert stream.status_code == 200
        with gateway.client(READER_PASSWORD) as reader, reader.stream("GET", "/api/live") as other:
            assert other.status_code == 200


def test_the_bodies_of_streams_are_dropped_and_hold_up_no_one(gateway, operator, reader_token):
    """Four of them are all that the bodies of requests may take together."""
    head = request("GET", "/api/live", f"Content-Length: {MIB}", token=reader_token)
    recorded = {"type": "alert", "source": "monitor", "summary": "s"}

    with sockets(gateway, 8, head + bytes(MIB)) as streams:
        assert all(one.recv(12)[9:12] == b"200" for one in streams)
        for _ in range(20):
            assert operator.post(EVENTS, json=recorded).status_code == 201


def test_many_logins_at_once_take_little_and_the_right_one_is_let_in(gateway):
    def login(password):
        with gateway.client(None) as client:
            return client.post("/api/auth/login", json={"password": password}).status_code

    with bounded_memory(gateway, 160 * MIB), ThreadPoolExecutor(30) as pool:
        wrong = [pool.submit(login, "wrong") for _ in range(30)]
        codes = Counter(one.result() for one in wrong)

    assert login(PASSWORD) == 200
    assert codes == {401: 5, 429: 25}


def forwarded(gateway, addresses, password="wrong"):
    with gateway.client(None) as client:
        return [
            client.post(
                "/api/auth/login",
                json={"password": password},
                headers={"X-Forwarded-For": address},
            ).status_code
            for address in addresses
        ]


def test_the_limit_of_logins_is_not_evaded_by_a_header(gateway):
    codes = forwarded(gateway, (f"192.0.2.{number}" for number in range(8)))

    assert codes == [401] * 5 + [429] * 3


def test_behind_a_trusted_proxy_each_address_has_a_limit_of_its_own(amqp_url, recorder, tmp_path):
    gateway = Gateway(amqp_url, tmp_path, 'gateway.trusted_proxies=["127.0.0.1"]')
    try:
        first = forwarded(gateway, ["192.0.2.1"] * 6)
        other = forwarded(gateway, ["192.0.2.2"])
        # What the proxy itself did not see comes before what it did.
        forged = forwarded(gateway, (f"192.0.2.{number}, 192.0.2.1" for number in range(9, 12)))
    finally:
        gateway.kill()

    assert (first, other, forged) == ([401] * 5 + [429], [401], [429] * 3)


def test_health_is_answered_however_many_ask_for_it(gateway, recorder):
    """Without a recorder each waits for one and the same question, and not for a minute."""
    recorder.process.send_signal(signal.SIGSTOP)
    try:
        ask = request("GET", "/api/health", "Prefer: wait=60")
        with sockets(gateway, 300, ask), gateway.client(None) as client:
            assert client.get("/api/health").status_code == 503
    finally:
        recorder.process.send_signal(signal.SIGCONT)


def test_messages_that_take_long_to_decode_stop_no_one(amqp_url, gateway, recorder):
    """Twenty kilobytes of them, of which each takes a large part of a second, and no page is open."""
    heavy = gzip.compress(b"[" + b"0," * 9_999 + b"0]")
    message = ("cluster.event.alert.error", heavy, {"content_encoding": "gzip"})
    # It would take them too, and most of the processor.
    recorder.process.send_signal(signal.SIGSTOP)
    longest = 0.0
    try:
        with gateway.client(None) as client, bounded_memory(gateway):
            asyncio.run(publish(amqp_url, *[message] * 100))
            until = time.monotonic() + 10
            while time.monotonic() < until:
                began = time.monotonic()
                assert client.get("/api/stats").status_code == 401
                longest = max(longest, time.monotonic() - began)
    finally:
        recorder.process.send_signal(signal.SIGCONT)

    assert longest < 2


def test_a_look_at_the_dead_letters_leaves_them_all_when_its_caller_goes(
    amqp_url, gateway, operator
):
    bad = [("cluster.event.alert.error", b"{bad %d" % number, {}) for number in range(300)]
    asyncio.run(publish(amqp_url, *bad))

    def listed():
        return operator.get("/api/dead-letters").json()["total"]

    wait_until(lambda: listed() == 300, "all are dead")
    token = operator.headers["Authorization"]
    for _ in range(5):
        with sockets(gateway, 1, request("GET", "/api/dead-letters", token=token)):
            # Others are answered while it looks.
            assert operator.get("/api/stats").status_code == 200

    assert listed() == 300
