"""Connections to PostgreSQL that open slowly, and reads that wait for one."""

import asyncio
import contextlib
import socket

import psycopg
import pytest
from sqlalchemy import text

from jarvis_recorder.errors import DeadlineExceeded, StorageUnavailable
from jarvis_recorder.storage.postgres.connections import Server
from jarvis_recorder.storage.postgres.health import HealthProbe
from jarvis_recorder.storage.postgres.readers import READERS, PostgresReaders


@pytest.fixture
def silent():
    """The port of a host that takes connections and never says anything, as a frozen machine."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
async def readers():
    """Makes the readers of a URL."""
    made = []

    def make(url):
        engine = Server(url).engine(READERS)
        made.append((PostgresReaders(engine, "server"), engine))
        return made[-1]

    yield make
    for one, engine in made:
        await one.close()
        await engine.dispose()


def one(reading):
    return reading.connection.exec_driver_sql("SELECT 1").scalar_one()


def in_time(seconds):
    return asyncio.get_running_loop().time() + seconds


def behind(url, port, **parameters):
    """Return a URL whose first host is at this port, and the second that of another URL."""
    path = url.partition("?host=")[2]
    more = "".join(f"&{name}={value}" for name, value in parameters.items())
    return url.replace(f"?host={path}", f"?host=127.0.0.1,{path}&port={port},5432{more}")


async def test_a_connection_that_takes_longer_than_a_read_is_there_for_later_ones(
    readers, postgres_url, silent
):
    """Else no request would be answered again where the first of two machines is lost."""
    reading, _ = readers(behind(postgres_url, silent, connect_timeout=2))
    results = []
    async with asyncio.timeout(60):
        while not results:
            with contextlib.suppress(DeadlineExceeded):
                results.append(await reading.run(one, in_time(0.3)))

    assert results == [1]


async def test_no_connection_that_is_being_opened_holds_up_the_end(readers, postgres_url, silent):
    reading, _ = readers(behind(postgres_url, silent, connect_timeout=600))
    with pytest.raises(DeadlineExceeded):
        await reading.run(one, in_time(0.1))

    async with asyncio.timeout(60):
        await reading.close()


def test_one_of_several_hosts_is_given_up_before_a_request_is():
    def seconds(url):
        return psycopg.conninfo.conninfo_to_dict(Server(url).conninfo)["connect_timeout"]

    assert seconds("postgresql://a,b/r") == "3"
    assert seconds("postgresql://a/r") == "5"
    assert seconds("postgresql://a,b/r?connect_timeout=9") == "9"


async def test_a_read_waits_for_a_connection_as_long_as_it_may(readers, postgres_url):
    reading, engine = readers(postgres_url)
    engine.pool._timeout = 0.01

    def slowly(reading):
        return reading.connection.execute(text("SELECT 1 FROM pg_sleep(0.5)")).scalar_one()

    found = await asyncio.gather(
        *(reading.run(slowly, in_time(60)) for _ in range(2 * READERS)), return_exceptions=True
    )

    assert found == [1] * 2 * READERS


async def test_a_pool_that_has_no_connection_left_is_unavailable(postgres_url):
    engine = Server(postgres_url).engine(1)
    engine.pool._timeout = 0.01
    async with engine.connect():
        with pytest.raises(StorageUnavailable, match="server: all connections are in use"):
            await HealthProbe(engine, "server").look()
    await engine.dispose()
