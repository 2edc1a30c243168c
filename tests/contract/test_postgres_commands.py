"""The commands around a database on a PostgreSQL server."""

import asyncio
import json
import os
import sys
from datetime import UTC, datetime

import psycopg
import pytest
from structlog.testing import capture_logs

from jarvis_recorder import cli
from jarvis_recorder.config.loading import load, server_url
from jarvis_recorder.config.secrets import redacted
from jarvis_recorder.errors import ConfigurationError
from jarvis_recorder.net import database_url
from jarvis_recorder.storage import revisions
from jarvis_recorder.storage.postgres.checks import check
from jarvis_recorder.storage.postgres.connections import Server
from jarvis_recorder.storage.postgres.repository import PostgresRepository
from jarvis_recorder.storage.postgres.store import open_store
from jarvis_recorder.telemetry.check import Status
from jarvis_recorder.wire.records import Event, Record
from jarvis_recorder.wire.topics import Kind


@pytest.fixture
def db(postgres_url, monkeypatch, capsys):
    """Runs `jarvis-recorder db …` within this process; returns exit code, output and errors."""
    for name in os.environ:
        if name.startswith("JARVIS_RECORDER"):
            monkeypatch.delenv(name)
    # What it set up would outlive the output that this test captures.
    monkeypatch.setattr("jarvis_recorder.runtime.logging.configure", lambda *_: None)
    monkeypatch.setattr(os, "nice", lambda _: 0)

    def run(*arguments, url=postgres_url):
        words = ["db", *map(str, arguments), f"--set=store.url={url}"]
        monkeypatch.setattr(sys, "argv", ["jarvis-recorder", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return (ended.value.code or 0, *capsys.readouterr())

    return run


@pytest.fixture
def filled(postgres_url):
    """Two events, of which one is older than any retention."""
    moments = [datetime(2021, 1, 1, tzinfo=UTC), datetime.now(UTC)]
    records = [
        Record(
            Kind.EVENT,
            f"e{number}",
            int(moment.timestamp() * 1_000_000),
            False,
            Event(type="status", severity="info", source="monitor", summary="x"),
            None,
        )
        for number, moment in enumerate(moments)
    ]

    async def fill():
        repository = PostgresRepository(Server(postgres_url))
        await repository.append(records, records[-1].timestamp)
        await repository.close()

    asyncio.run(fill())


def test_tables_are_made_and_found_again(db, postgres):
    url = postgres.new_database()

    code, out, _ = db("upgrade", url=url)
    assert code == 0
    assert f"revision none → {revisions.HEAD}" in out
    assert "already at revision" in db("upgrade", url=url)[1]
    assert json.loads(db("current", "--json", url=url)[1])["revision"] == revisions.HEAD


def test_a_user_who_may_not_make_tables_is_a_wrong_setting(db, postgres):
    url = postgres.new_database()
    postgres.execute("CREATE ROLE guest LOGIN")
    try:
        code, _, err = db("upgrade", url=url.replace("//jarvis@", "//guest@"))
    finally:
        postgres.execute("DROP ROLE guest")

    assert code == 78
    assert "permission denied for schema public" in err


def test_new_tables_are_partitioned_if_the_setting_says_so(db, postgres):
    url = postgres.new_database()

    assert db("upgrade", "--set=store.partitions=month", url=url)[0] == 0

    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT relkind FROM pg_class WHERE relname = 'events'"
        ).fetchall()
    assert found == [("p",)]


def test_what_there_is_is_counted(db, filled):
    code, out, _ = db("stats", "--exact", "--json")

    assert code == 0
    found = json.loads(out)
    events = next(table for table in found["tables"] if table["name"] == "events")
    assert (events["rows"], events["oldest"][:4]) == (2, "2021")
    assert "events" in db("stats")[1]


def test_what_has_expired_is_counted_then_deleted(db, filled):
    retention = "--set=retention.info=30"
    assert json.loads(db("prune", "--dry-run", "--json", retention)[1])["gone"] == {"events": 1}

    code, out, _ = db("prune", "--yes", "--json", retention)

    assert (code, json.loads(out)["gone"]) == (0, {"events": 1})
    assert "nothing to prune" in db("prune", "--yes", retention)[1]


def test_tables_of_an_older_version_are_counted_and_not_pruned(db, postgres, monkeypatch):
    url = postgres.new_database()
    with monkeypatch.context() as patch:
        patch.setattr(revisions, "HEAD", "0001")
        assert db("upgrade", url=url)[0] == 0

    for how in ("--dry-run", "--yes"):
        code, _, err = db("prune", how, "--set=retention.info=30", url=url)
        assert (code, len(err.splitlines())) == (78, 1)
        assert "its schema is older" in err
    assert json.loads(db("stats", "--json", url=url)[1])["revision"] == "0001"


@pytest.mark.parametrize(
    "command",
    [("backup", "--to", "x"), ("restore", "x.db"), ("vacuum",), ("acknowledge",)],
    ids=lambda command: command[0],
)
def test_what_is_for_a_file_says_what_to_use_instead(db, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    code, _, err = db(*command, url="postgresql://user:geheim@db/recorder")

    assert code == 78
    assert "pg_dump" in err
    assert "geheim" not in err


@pytest.mark.parametrize(
    ("name", "value"),
    [("store.budget", "1GiB"), ("store.keep_free", "1GiB"), ("store.on_corruption", "quarantine")],
)
def test_settings_of_a_file_are_refused_with_a_server(name, value):
    loaded = load({"store.url": "postgresql://db/recorder", name: value}, {})

    with pytest.raises(ConfigurationError, match=name):
        server_url(loaded)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:geheim@db/r", "postgresql://u:***@db/r"),
        ("postgresql://u:se:c@re/t@db:5/r?sslmode=require", "postgresql://u:***@db:5/r?sslmode=require"),
        ("postgresql://u@db/r?password=geheim&sslmode=x", "postgresql://u@db/r?password=***&sslmode=x"),
        ("postgresql://a,b/r", "postgresql://a,b/r"),
        ("sqlite:////x@y:z@/r.db", "sqlite:////x@y:z@/r.db"),
    ],
)  # fmt: skip
def test_a_password_is_not_shown(url, shown):
    assert database_url.redacted(url) == shown
    assert redacted("store.url", load({"store.url": url}, {}).settings) == shown
    assert "geheim" not in repr(load({"store.url": url}, {}).settings.store)


@pytest.mark.parametrize(
    ("url", "exposed"),
    [
        ("postgresql://db/r", True),
        ("postgresql://localhost,db/r", True),
        ("postgresql://127.evil.com/r", True),
        ("postgresql:///r?host=db", True),
        ("postgresql:///r?host=/run/postgresql,db", True),
        ("postgresql://127.0.0.1/r?hostaddr=10.0.0.7", True),
        ("postgresql://db,localhost/r?hostaddr=,127.0.0.1", True),
        ("postgresql://db/r?sslmode=prefer", True),
        ("postgresql://db/r?sslmode=verify-full", False),
        ("postgresql:///r?host=db&sslmode=require", False),
        ("postgresql://db/r?hostaddr=127.0.0.1", False),
        ("postgresql://u:p@localhost:5432/r", False),
        ("postgresql://127.0.0.2/r", False),
        ("postgresql://[::1]:5432/r", False),
        ("postgresql:///r", False),
        ("postgresql:///r?host=/run/postgresql", False),
        ("postgresql://%2Frun%2Fpostgresql/r", False),
    ],
)
def test_traffic_in_plain_text_is_noticed(url, exposed):
    assert Server(url).is_exposed is exposed


def test_traffic_in_plain_text_is_logged_and_found(postgres_url):
    urls = (postgres_url, f"{postgres_url},203.0.113.1")

    async def opened():
        for url in urls:
            async with open_store(url, lambda: 0):
                pass

    with capture_logs() as logs:
        asyncio.run(opened())
    lights = [
        finding.light for url in urls for finding in check(url) if finding.name == "encryption"
    ]

    said = [line["url"] for line in logs if line["event"] == "database_connection_not_encrypted"]
    assert said == [urls[1]]
    assert lights == [Status.GREEN, Status.YELLOW]


@pytest.mark.parametrize("url", ["postgresql://[", "postgresql://u:geheim@h:port/d?none=1"])
def test_a_url_that_is_none_is_refused_unsaid(url):
    with pytest.raises(ConfigurationError) as caught:
        Server(url)

    assert "geheim" not in str(caught.value)
