"""
Every documented exit code, from a process of its own, with one line and no traceback.

Python's own rules differ between versions, such as what an `except*` makes of an error: so these
run with each version the project is tried with.
"""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import aio_pika
import pytest

from jarvis_recorder.broker.topology import QUEUES
from jarvis_recorder.storage.sqlite.lock import create_file, locked
from tests.conftest import delete_queues
from tests.support import files
from tests.support.gateway import free_port
from tests.support.secure_broker import Papers, secure_node

pytestmark = pytest.mark.slow

NOWHERE = "amqp://guest:guest@127.0.0.1:1/"


@pytest.fixture
def jarvis(tmp_path):
    """Run a command on the test's database; whatever ends it, it shows no traceback."""

    def run(*arguments, url=NOWHERE):
        settings = (
            f"store.url=sqlite:///{tmp_path / 'state' / 'recorder.db'}",
            f"broker.url={url}",
            f"http.listen=127.0.0.1:{free_port()}",
        )
        environment = {
            f"JARVIS_RECORDER_{name.upper().replace('.', '__')}": value
            for name, value in (setting.split("=", 1) for setting in settings)
        }
        done = subprocess.run(
            [sys.executable, "-m", "jarvis_recorder", *map(str, arguments)],
            check=False, capture_output=True, text=True, timeout=60,
            env=os.environ | {"JARVIS_RECORDER_LOG__LEVEL": "error"} | environment,
        )  # fmt: skip
        assert "Traceback" not in done.stdout + done.stderr, done.stderr
        return done

    return run


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "state" / "recorder.db"
    path.parent.mkdir(mode=0o700)
    return path


def ended(done, code, *said):
    assert done.returncode == code, done.stdout + done.stderr
    for words in said:
        assert words in done.stderr


# 0: done


def test_a_command_that_has_done_its_work_ends_with_0(jarvis, database):
    ended(jarvis("--version"), 0)
    ended(jarvis("config", "check"), 0)
    ended(jarvis("db", "upgrade"), 0)
    ended(jarvis("db", "verify"), 0)


@pytest.mark.broker
def test_a_recorder_that_is_asked_to_stop_ends_with_0(recorder):
    assert recorder.stop() == 0


@pytest.mark.broker
def test_the_demo_and_the_doctor_end_with_0_where_all_is_well(jarvis, amqp_url, database):
    ended(jarvis("demo", "--broker", amqp_url), 0)
    create_file(database)
    ended(jarvis("doctor", url=amqp_url), 0)


# 1: failed


def test_a_database_that_is_damaged_ends_with_1(jarvis, database):
    files.make(database, 1_000)
    files.overwrite_pages(database, 3)

    ended(jarvis("db", "verify"), 1)
    ended(jarvis("run"), 1, "damaged")
    ended(jarvis("run"), 1, "db acknowledge")


def test_a_row_that_could_not_be_imported_ends_with_1(jarvis, database, tmp_path):
    source = tmp_path / "jarvis.db"
    shutil.copy(Path(__file__).parents[1] / "samples" / "origin-2026-01.db", source)
    source.chmod(0o600)
    with closing(sqlite3.connect(source)) as original, original:
        original.execute("UPDATE events SET timestamp = 'yesterday' WHERE id = 1")

    ended(jarvis("import", source), 1)


@pytest.mark.broker
def test_what_is_not_there_ends_with_1(jarvis, recorder, amqp_url):
    ended(jarvis("resolve", 4711, url=amqp_url), 1, "4711")


# 2: wrong usage


@pytest.mark.parametrize(
    "arguments",
    [["--no-such-option"], ["no-such-command"], ["run", "--set", "log.level"], ["db", "backup"]],
)
def test_wrong_usage_ends_with_2(jarvis, arguments):
    ended(jarvis(*arguments), 2)


# 69: broker or database unreachable


def test_a_broker_that_is_not_there_ends_a_request_with_69(jarvis, database):
    ended(jarvis("query", "events"), 69)
    ended(jarvis("dead", "list"), 69)
    ended(jarvis("doctor"), 69)


def test_a_recorder_that_is_not_there_ends_its_health_with_69(jarvis):
    ended(jarvis("health"), 69, "no recorder answers")
    ended(jarvis("stats"), 69, "no recorder answers")


def test_an_address_that_is_not_there_yet_ends_with_69(jarvis, amqp_url):
    done = jarvis("run", f"--set=broker.url={amqp_url}", "--set=http.listen=192.0.2.7:9464")

    ended(done, 69, "http.listen: cannot listen on 192.0.2.7:9464")


def test_a_database_that_is_not_there_ends_with_69(jarvis, database):
    ended(jarvis("db", "verify"), 69, "no such database")


# 75: another recorder holds the database


def test_a_database_that_another_holds_ends_with_75(jarvis, database):
    create_file(database)
    with locked(database):
        ended(jarvis("run"), 75, "another")
        ended(jarvis("db", "vacuum"), 75)


# 78: the configuration is wrong


@pytest.mark.parametrize("setting", ["log.level=loud", "store.url=mysql://h/db", "log.lebel=info"])
def test_a_setting_that_is_wrong_ends_with_78(jarvis, setting):
    ended(jarvis("run", "--set", setting), 78, setting.split("=", maxsplit=1)[0])


@pytest.mark.broker
def test_a_gateway_without_a_password_ends_with_78(jarvis, amqp_url):
    ended(jarvis("gateway", url=amqp_url), 78, "gateway passwd")


@pytest.mark.broker
def test_a_wrong_password_ends_with_78(jarvis, database, amqp_url):
    url = amqp_url.replace("guest:guest", "guest:wrong")

    ended(jarvis("run", url=url), 78, "wrong user or password")
    ended(jarvis("query", "events", url=url), 78, "wrong user or password")
    ended(jarvis("doctor", url=url), 78)


@pytest.mark.broker
def test_a_virtual_host_that_is_missing_ends_with_78(jarvis, database, amqp_url):
    ended(jarvis("run", url=f"{amqp_url}nowhere"), 78, "nowhere")


@pytest.mark.broker
def test_a_queue_that_is_missing_ends_with_78(jarvis, database, amqp_url):
    done = jarvis("run", "--set", "broker.topology=passive", url=amqp_url)

    # Recording and answering look at the same time.
    ended(done, 78, "NOT_FOUND - no ", 'set broker.topology = "declare"')


@pytest.mark.broker
async def test_a_queue_with_other_arguments_ends_with_78(jarvis, database, amqp_url):
    name = QUEUES[0].name
    async with await aio_pika.connect(amqp_url) as connection:
        await (await connection.channel()).declare_queue(name, durable=True)
    try:
        ended(jarvis("run", url=amqp_url), 78, name)
    finally:
        await delete_queues(amqp_url)


@pytest.mark.broker
def test_an_authority_that_is_not_the_brokers_ends_with_78(jarvis, database, tmp_path):
    papers, strangers = Papers(tmp_path / "papers"), Papers(tmp_path / "strangers")
    definitions = tmp_path / "definitions.json"
    definitions.write_text(json.dumps({}))
    with secure_node(papers, definitions, strict=False) as node:
        url = f"amqps://guest:guest@localhost:{node.tls_port}/"
        ended(jarvis("run", "--set", f"broker.ca_file={strangers.ca_file}", url=url), 78)
