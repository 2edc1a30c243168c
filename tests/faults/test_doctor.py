"""The doctor's findings on a real broker and a real disk, one fault after another."""

import asyncio
import fcntl
import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, contextmanager

import aio_pika
import pytest

from jarvis_recorder.broker import checks
from jarvis_recorder.broker.connection import SYSTEM_TLS
from jarvis_recorder.broker.topology import QUEUES
from jarvis_recorder.demo.node import private_node
from jarvis_recorder.net.addresses import Addresses
from jarvis_recorder.storage.sqlite.lock import create_file, locked
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
        check=False, capture_output=True, text=True, timeout=60,
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


@pytest.fixture
def ctl_is_the_nodes(node, monkeypatch):
    """Have `rabbitmqctl` lead to the node, as it does for root on a broker's machine."""
    for name, value in node._environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{node._scripts}:{node._environment['PATH']}")


def test_a_policy_that_would_delete_the_queues(node, at_work, ctl_is_the_nodes):
    node.ctl("set_policy", "expire", "^jarvis", '{"expires": 3600000}')
    try:
        code, findings = examined(node.url, at_work.path)
    finally:
        node.ctl("clear_policy", "expire")

    assert (code, reds(findings)) == (0, [])
    assert findings["policy expire"]["light"] == "yellow"
    assert "jarvis.recorder.events" in findings["policy expire"]["detail"]
    assert "clear_policy -p / expire" in findings["policy expire"]["remedy"]


async def test_an_exchange_that_was_deleted_and_made_again(node, at_work, ctl_is_the_nodes):
    """The broker drops all that is published, and confirms it."""
    connection = await aio_pika.connect(node.url, timeout=60)
    async with connection:
        channel = await connection.channel()
        await channel.exchange_delete("jarvis")
        exchange = await channel.declare_exchange("jarvis", "topic", durable=True)
        try:
            code, findings = await asyncio.to_thread(examined, node.url, at_work.path)
        finally:
            for queue in QUEUES:
                if queue.exchange == exchange.name:
                    bound = await channel.get_queue(queue.name, ensure=False)
                    await bound.bind(exchange, queue.routing_key)

    assert (code, reds(findings)) == (0, [])
    assert findings["bindings"]["light"] == "yellow"
    assert "jarvis.recorder.events, " in findings["bindings"]["detail"]


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


def test_a_port_that_another_program_has(tmp_path):
    """Without it the recorder ends at once. One at work would have it."""
    with private_node() as node:
        with socket.create_server(("127.0.0.1", 0)) as other:
            listen = f"http.listen=127.0.0.1:{other.getsockname()[1]}"
            taken = examined(node.url, tmp_path / "recorder.db", listen)[1]["port"]
        free = examined(node.url, tmp_path / "recorder.db", listen)[1]["port"]

    assert (taken["light"], free["light"]) == ("yellow", "green")
    assert "Address already in use" in taken["detail"]


def test_a_wrong_password(node, tmp_path):
    code, findings = examined(
        node.url.replace("guest:guest", "guest:wrong"), tmp_path / "recorder.db"
    )

    assert (code, reds(findings)) == (78, ["broker"])
    assert "wrong user or password" in findings["broker"]["detail"]


def test_no_right_to_a_queue(node, at_work, tmp_path):
    node.ctl("add_user", "few", "rights")
    node.ctl(
        "set_permissions", "few", "^jarvis", "^jarvis(.(rpc|recorder.*))?$",
        "^jarvis(.(dead|rpc|recorder.(snap|turn|rpc|dead).*))?$",
    )  # fmt: skip
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


async def publish_dead(url, body):
    connection = await aio_pika.connect(url, timeout=60)
    async with connection:
        channel = await connection.channel()
        dead = await channel.get_exchange("jarvis.dead", ensure=False)
        await dead.publish(aio_pika.Message(body), "jarvis.recorder.events")


async def take_dead(url):
    """Take the oldest dead letter out of its queue."""
    connection = await aio_pika.connect(url, timeout=60)
    async with connection:
        channel = await connection.channel()
        queue = await channel.get_queue("jarvis.recorder.dead", ensure=False)
        return await queue.get(no_ack=True)


async def test_a_message_that_waits_is_not_touched(node, at_work):
    """RabbitMQ counts each return: from 4.0 to 4.2 it drops a dead letter at the twentieth."""
    await publish_dead(node.url, b"kept")

    code, findings = await asyncio.to_thread(examined, node.url, at_work.path)
    kept = await take_dead(node.url)

    assert (code, reds(findings)) == (0, [])
    assert findings["queue jarvis.recorder.dead"]["detail"] == "1 messages wait"
    assert (kept.body, kept.redelivered) == (b"kept", False)
    assert not kept.headers.get("x-delivery-count")


async def test_no_right_to_a_queue_in_which_messages_wait(node, at_work, tmp_path):
    """It is why they wait."""
    node.ctl("add_user", "blind", "rights")
    node.ctl("set_permissions", "blind", ".*", ".*", "^jarvis(.dead|.rpc|.recorder.[estr].*)?$")
    await publish_dead(node.url, b"unread")
    try:
        url = node.url.replace("guest:guest", "blind:rights")
        code, findings = await asyncio.to_thread(examined, url, tmp_path / "recorder.db")
    finally:
        await take_dead(node.url)

    assert (code, reds(findings)) == (78, ["queue jarvis.recorder.dead"])
    assert "no right" in findings["queue jarvis.recorder.dead"]["detail"]


def test_no_right_to_bind(node, at_work, tmp_path):
    """The recorder binds its queues as it starts, for which it reads the exchange."""
    node.ctl("add_user", "unbound", "rights")
    node.ctl("set_permissions", "unbound", ".*", ".*", "^jarvis.(dead|rpc|recorder.*)$")
    url = node.url.replace("guest:guest", "unbound:rights")

    code, findings = examined(url, tmp_path / "recorder.db")
    taken, as_it_is = examined(url, tmp_path / "recorder.db", "broker.topology=passive")

    topics = ("events", "snapshots", "turns")
    assert (code, reds(findings)) == (78, [f"queue jarvis.recorder.{topic}" for topic in topics])
    assert (taken, reds(as_it_is)) == (0, [])


def test_no_right_to_declare_an_exchange(node, at_work, tmp_path):
    node.ctl("add_user", "few_made", "rights")
    node.ctl("set_permissions", "few_made", "^jarvis.", ".*", ".*")
    url = node.url.replace("guest:guest", "few_made:rights")

    code, findings = examined(url, tmp_path / "recorder.db")

    assert (code, reds(findings)) == (78, ["exchange jarvis"])
    assert "set_permissions" in findings["exchange jarvis"]["remedy"]


@pytest.mark.parametrize(("kind", "durable"), [("fanout", True), ("topic", False)])
async def test_an_exchange_with_other_settings(node, at_work, tmp_path, kind, durable):
    """A publisher has made it first, in a virtual host of its own."""
    vhost = f"{kind}-{durable}"
    node.ctl("add_vhost", vhost)
    node.ctl("set_permissions", "-p", vhost, "guest", ".*", ".*", ".*")
    url = f"{node.url.rstrip('/')}/{vhost}"
    connection = await aio_pika.connect(url, timeout=60)
    async with connection:
        channel = await connection.channel()
        await channel.declare_exchange("jarvis", kind, durable=durable)
        code, findings = await asyncio.to_thread(examined, url, tmp_path / "recorder.db")
        node.ctl("delete_vhost", vhost)

    assert (code, reds(findings)) == (78, ["exchange jarvis"])
    assert "other settings" in findings["exchange jarvis"]["detail"]


def test_an_alarm_of_the_broker_is_named(node, at_work):
    node.ctl("set_vm_memory_high_watermark", "absolute", "1MB")
    try:
        code, findings = examined(node.url, at_work.path)
    finally:
        node.ctl("set_vm_memory_high_watermark", "0.6")

    assert (code, reds(findings)) == (69, ["alarm"])
    assert findings["alarm"]["detail"].endswith("low on memory")
    assert findings["consumers"]["light"] == findings["lock"]["light"] == "green"


async def test_a_connection_that_is_lost_meanwhile(node, at_work, monkeypatch):
    look, names = checks._queue, []

    async def lose(link, queue, mode):
        names.append(queue.name)
        if len(names) == 2:
            await asyncio.to_thread(node.ctl, "close_all_user_connections", "looker", "over")
        return await look(link, queue, mode)

    monkeypatch.setattr(checks, "_queue", lose)
    node.ctl("add_user", "looker", "rights")
    node.ctl("set_permissions", "looker", ".*", ".*", ".*")
    url = node.url.replace("guest:guest", "looker:rights")

    seen = await checks.check(Addresses(url), SYSTEM_TLS, "declare")

    assert seen.findings[-1].name == "broker"
    assert seen.findings[-1].exit_code == 69
    assert "connection lost" in seen.findings[-1].detail
    assert f"queue {names[0]}" in {one.name for one in seen.findings}
    assert seen.recorder_is_at_work is None


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


@pytest.mark.parametrize("text", [None, "[[", "[[rules]]\nunknown = 1"])
def test_rules_that_are_not_read(node, tmp_path, text):
    file = tmp_path / "rules.toml"
    if text is not None:
        file.write_text(text)

    code, findings = examined(node.url, tmp_path / "recorder.db", f"incidents.rules={file}")

    assert (code, reds(findings)) == (78, ["rules"])
    assert str(file) in findings["rules"]["detail"]


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


def test_a_lock_is_not_suspected_while_no_one_can_say_who_holds_it(tmp_path):
    path = create_file(tmp_path / "recorder.db")
    with locked(path):
        code, findings = examined("amqp://guest:guest@127.0.0.1:1/", path)

    assert (code, reds(findings)) == (69, ["broker"])
    assert findings["lock"]["light"] == "yellow"
    assert "cannot be seen without the broker" in findings["lock"]["detail"]


def test_a_recorder_that_takes_from_no_queue_is_not_to_be_ended(tmp_path):
    """It waits for its own broker, and holds the lock, as it should."""
    recorder = RecorderProcess("amqp://guest:guest@127.0.0.1:1/", tmp_path / "recorder.db")
    try:
        recorder.wait_for("broker_unavailable")
        with private_node() as node:
            code, findings = examined(node.url, recorder.path)
    finally:
        recorder.kill()

    assert (code, reds(findings)) == (0, [])
    assert findings["lock"]["light"] == "yellow"
    assert "takes from no queue" in findings["lock"]["detail"]


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
    assert time.monotonic() - began < 60
    assert findings["room"]["light"] != "red"
