"""Servers of PostgreSQL that refuse a recorder for good, and those that are away."""

import asyncio
import socket
import threading

import psycopg
import pytest

from jarvis_recorder.errors import ConfigurationError, StorageUnavailable
from jarvis_recorder.storage.postgres.checks import check
from jarvis_recorder.storage.postgres.connections import Server, require_server
from jarvis_recorder.storage.postgres.errors import is_not_allowed
from jarvis_recorder.telemetry.check import Status
from tests.support.postgres import cluster

HBA = """
local all jarvis,nologin,guest trust
local all rejected reject
local guarded recorder scram-sha-256
"""


@pytest.fixture(scope="module")
def guarded():
    """A server that takes `recorder` into the database `guarded` with its password alone."""
    with cluster() as made:
        made.execute("CREATE ROLE recorder LOGIN PASSWORD 'x'")
        made.execute("CREATE ROLE guest LOGIN")
        made.execute("CREATE ROLE nologin")
        made.execute("CREATE DATABASE guarded OWNER recorder")
        made.execute("REVOKE CONNECT ON DATABASE guarded FROM PUBLIC")
        (made.directory / "data" / "pg_hba.conf").write_text(HBA)
        made.execute("SELECT pg_reload_conf()")
        yield made


@pytest.fixture
def without_tls():
    """The port of a host that says that it has no TLS."""

    def refuse():
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.recv(8)
                connection.sendall(b"N")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=refuse)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize(
    ("user", "said"),
    [
        ("recorder", "no password supplied"),
        ("recorder:y", "password authentication failed"),
        ("nologin", "is not permitted to log in"),
        ("rejected", "pg_hba.conf rejects"),
        ("stranger", "no pg_hba.conf entry"),
        ("guest", "permission denied for database"),
    ],
)
async def test_a_user_who_is_refused_is_a_wrong_setting(guarded, user, said):
    url = guarded.url("guarded").replace("//jarvis@", f"//{user}@")

    await require_refused(url, said)


async def test_a_server_without_the_tls_that_is_asked_for_is_a_wrong_setting(without_tls):
    url = f"postgresql://u@127.0.0.1:{without_tls}/d?sslmode=require"

    await require_refused(url, "SSL was required")


async def require_refused(url, said):
    with pytest.raises(ConfigurationError, match=said):
        await require_server(Server(url))
    (finding,) = await asyncio.to_thread(check, url)
    assert (finding.light, finding.exit_code) == (Status.RED, 78)
    assert "pg_hba.conf" in finding.remedy


async def test_a_host_that_refuses_says_nothing_of_one_that_is_away(guarded):
    url = guarded.url("guarded").replace("//jarvis@", "//recorder:y@")
    away = url.replace("?host=", "?host=/nonexistent,")

    with pytest.raises(StorageUnavailable) as caught:
        await require_server(Server(away))

    assert "/nonexistent" in str(caught.value)
    assert "authentication failed" in str(caught.value)
    (finding,) = await asyncio.to_thread(check, away)
    assert finding.exit_code == 69


async def test_a_host_whose_name_is_not_found_is_away(guarded, monkeypatch):
    async def found_nowhere(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", found_nowhere)
    url = guarded.url("guarded").replace("//jarvis@", "//recorder:y@")

    with pytest.raises(StorageUnavailable, match="authentication failed"):
        await require_server(Server(url.replace("?host=", "?host=db1,")))


async def test_several_hosts_that_all_refuse_are_a_wrong_setting(guarded, tmp_path):
    other = tmp_path / "other"
    other.symlink_to(guarded.directory)
    url = guarded.url("guarded").replace("//jarvis@", "//recorder:y@")

    await require_refused(f"{url},{other}", "authentication failed")


def test_a_host_with_several_addresses_refuses_by_one_of_them():
    """As `localhost`, where the server listens at one of the two."""
    refused = 'FATAL:  password authentication failed for user "u"'
    away = "Connection refused\n\tIs the server running on that host?"
    found = psycopg.OperationalError(
        f"{refused}\nMultiple connection attempts failed. All failures were:\n"
        f"- host: 'localhost', port: '5432', hostaddr: '::1': {away}\n"
        f"- host: 'localhost', port: '5432', hostaddr: '127.0.0.1': {refused}\n"
    )

    assert is_not_allowed(found, 1)
    assert not is_not_allowed(found, 2)
