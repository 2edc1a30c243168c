"""The doctor's findings on a real broker and a real disk, one fault after another."""

import fcntl
import json
import os
import re
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, contextmanager

import aio_pika
import pytest

from jarvis_recorder.demo.node import private_node
from tests.support.recorder import RecorderProcess

pytestmark = pytest.mark.broker


@pytest.fixture(scope="module")
def node():
    with private_node() as node:
        yield node


@pytest.fixture(scope="module")
def at_work(node, tmp_path_factory):
    """A recorder at work; what is examined beside it changes nothing of its."""
    recorder = RecorderProcess(node.url, tmp_path_factory.mktemp("state") / "recorder.db")
    recorder.wait_for("recording")
    recorder.wait_for("answering")
    yield recorder
    recorder.kill()


def examined(url, database, *settings):
    """Return the exit code, and the findings by name."""
    options = (f"broker.url={url}", f"store.url=sqlite:///{database}", *settings)
    ended = subprocess.run(
        [sys.executable, "-m", "jarvis_recorder", "doctor", "--json"]
        + [part for option in options for part in ("--set", option)],
        check=False, capture_output=True, text=True, timeout=40,
    )  # fmt: skip
    assert ended.stdout, ended.stderr
    findings = json.loads(ended.stdout)["findings"]
    return ended.returncode, {one["name"]: one for one in findings}


def reds(findings):
    return sorted(name for name, one in findings.items() if one["light"] == "red")


def test_all_is_well_next_to_a_recorder_at_work(node, at_work):
    code, findings = examined(node.url, at_work.path)

    assert (code, reds(findings)) == (0, [])
    assert findings["consumers"]["light"] == "green"
    assert "a recorder at work" in findings["lock"]["detail"]
    assert re.fullmatch(r"connected to RabbitMQ [34]\.\d.*", findings["broker"]["detail"])
    assert not at_work.logged("session_lost")
    assert at_work.process.poll() is None


def test_a_policy_that_would_delete_the_queues(node, at_work, monkeypatch):
    node.ctl("set_policy", "expire", "^jarvis", '{"expires": 3600000}')
    try:
        for name, value in node._environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("PATH", f"{node._scripts}:{node._environment['PATH']}")

        code, findings = examined(node.url, at_work.path)
    finally:
        node.ctl("clear_policy", "expire")

    assert (code, reds(findings)) == (0, [])
    assert findings["policy expire"]["light"] == "yellow"
    assert "jarvis.recorder.events" in findings["policy expire"]["detail"]
    assert "clear_policy -p / expire" in findings["policy expire"]["remedy"]


async def test_nothing_is_made_on_an_empty_broker(tmp_path):
    with private_node() as node:
        code, findings = examined(node.url, tmp_path / "recorder.db")
        assert node.ctl("list_queues", "name").split() in ([], ["name"])

    assert (code, reds(findings)) == (0, [])
    assert findings["queue jarvis.recorder.events"]["light"] == "yellow"
    assert not (tmp_path / "recorder.db").exists()


def test_a_broker_that_is_down(tmp_path):
    code, findings = examined("amqp://guest:guest@127.0.0.1:1/", tmp_path / "recorder.db")

    assert (code, reds(findings)) == (69, ["broker"])
    assert "systemctl status" in findings["broker"]["remedy"]
    assert findings["directory"]["light"] == "green"


def test_a_wrong_password(node, tmp_path):
    code, findings = examined(
        node.url.replace("guest:guest", "guest:wrong"), tmp_path / "recorder.db"
    )

    assert (code, reds(findings)) == (78, ["broker"])
    assert "wrong user or password" in findings["broker"]["detail"]


def test_no_right_to_a_queue(node, at_work, tmp_path):
    node.ctl("add_user", "few", "rights")
    node.ctl(
        "set_permissions", "few", "^jarvis", "^jarvis$", "^jarvis.recorder.(snap|turn|rpc|dead)"
    )
    url = node.url.replace("guest:guest", "few:rights")

    code, findings = examined(url, tmp_path / "recorder.db")

    assert code == 78
    assert reds(findings) == [
        "exchange jarvis.dead", "queue jarvis.recorder.events", "the default exchange",
    ]  # fmt: skip
    assert "no right" in findings["queue jarvis.recorder.events"]["detail"]
    assert "set_permissions" in findings["queue jarvis.recorder.events"]["remedy"]


async def test_a_queue_with_other_arguments(tmp_path):
    with private_node() as node:
        connection = await aio_pika.connect(node.url, timeout=60)
        async with connection:
            channel = await connection.channel()
            await channel.declare_queue("jarvis.recorder.turns", durable=True)
        code, findings = examined(node.url, tmp_path / "recorder.db")

    assert (code, reds(findings)) == (78, ["queue jarvis.recorder.turns"])
    assert "other arguments" in findings["queue jarvis.recorder.turns"]["detail"]
    assert "delete_queue jarvis.recorder.turns" in findings["queue jarvis.recorder.turns"]["remedy"]


@contextmanager
def disk(directory, options):
    if os.geteuid() != 0:
        pytest.skip("only root can mount a file system")
    directory.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True)


def test_a_read_only_directory(node, tmp_path):
    with disk(tmp_path / "disk", "ro") as directory:
        code, findings = examined(node.url, directory / "recorder.db")

    assert (code, reds(findings)) == (69, ["directory"])
    assert "Read-only file system" in findings["directory"]["detail"]


def test_a_full_disk(node, tmp_path):
    with disk(tmp_path / "disk", "size=4m") as directory:
        code, findings = examined(node.url, directory / "recorder.db")

    assert (code, reds(findings)) == (69, ["room"])


def test_a_foreign_lock(tmp_path):
    lock = tmp_path / "recorder.db.lock"
    lock.write_text(json.dumps({"pid": os.getpid(), "since": "now"}))
    with lock.open() as file, private_node() as node:
        fcntl.flock(file, fcntl.LOCK_EX)
        code, findings = examined(node.url, tmp_path / "recorder.db")

    assert (code, reds(findings)) == (75, ["lock"])
    assert str(os.getpid()) in findings["lock"]["detail"]


def test_a_newer_schema(node, tmp_path):
    path = tmp_path / "recorder.db"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE alembic_version (version_num TEXT)")
        db.execute("INSERT INTO alembic_version VALUES ('9999')")
    code, findings = examined(node.url, path)

    assert (code, reds(findings)) == (78, ["schema"])
    assert "newer recorder" in findings["schema"]["detail"]
    assert findings["permissions"]["remedy"] == f"chmod 600 {path}"


def test_a_damaged_file(node, tmp_path):
    path = tmp_path / "recorder.db"
    path.write_bytes(b"no database at all" * 500)
    code, findings = examined(node.url, path)

    assert code == 1
    assert reds(findings) == ["database"]


def test_it_ends_though_the_broker_hangs(tmp_path):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        url = f"amqp://guest:guest@127.0.0.1:{silent.getsockname()[1]}/"
        code, findings = examined(url, tmp_path / "recorder.db")

    assert (code, reds(findings)) == (69, ["broker"])
    assert time.monotonic() - began < 20
    assert findings["room"]["light"] != "red"
