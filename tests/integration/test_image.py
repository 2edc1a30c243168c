"""
The image, built by buildah on a base made from Debian, and its services run by crun.

No registry of images is asked for anything, and no Docker is needed. The services are those of
`docker-compose.yml`, with volumes in a temporary directory and a private node for its broker.
"""

import json
import shutil
import tempfile
from pathlib import Path

import httpx
import pytest
import yaml

from jarvis_recorder.demo.node import PrivateNode
from tests.support import containers
from tests.support.containers import Container, Unpacked
from tests.support.engines import rows
from tests.support.gateway import free_port
from tests.support.publisher import EVENT_KEY, event, publish
from tests.support.recorder import wait_until

SERVICES = yaml.safe_load((containers.ROOT / "docker-compose.yml").read_text())["services"]

pytestmark = [
    pytest.mark.broker,
    pytest.mark.slow,
    pytest.mark.skipif(containers.missing() != "", reason=containers.missing()),
]


@pytest.fixture(scope="module")
def image():
    containers.make_base()
    containers.build_image()
    unpacked = Unpacked()
    yield unpacked
    unpacked.remove()


@pytest.fixture(scope="module")
def volumes():
    directory = Path(tempfile.mkdtemp(prefix="jarvis-volumes-"))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def broker(image, volumes):
    """A node with the users that the service `provision` makes, as the compose file has it."""
    directory = Path(tempfile.mkdtemp(prefix="jarvis-rabbitmq-"))
    definitions = volumes / "credentials" / "definitions.json"
    node = PrivateNode(directory, configuration=f"load_definitions = {definitions}\n")
    service = dict(SERVICES["provision"])
    service["command"] = [*service["command"], "--host", f"127.0.0.1:{node.port}"]
    provision = Container(image, service, volumes)
    try:
        assert provision.process.wait(120) == 0, provision.said()
        yield node.start()
    finally:
        provision.kill()
        node.kill()
        shutil.rmtree(directory)


@pytest.fixture
def start(image, volumes):
    """Start services of the compose file; those still running are killed at the end."""
    started = []

    def start(service, **environment):
        started.append(Container(image, service, volumes, **environment))
        return started[-1]

    yield start
    for container in started:
        container.kill()


@pytest.fixture
def recorder(start, broker):
    """The recorder of the compose file, ready."""
    container = start(SERVICES["recorder"], JARVIS_RECORDER_HTTP__LISTEN=f"127.0.0.1:{free_port()}")
    container.wait_until_healthy()
    return container


async def record_one(volumes, summary):
    """Publish an event as the monitor, and wait until it is on disk."""
    url = (volumes / "credentials" / "monitor" / "broker.url").read_text().strip()
    await publish(url, (EVENT_KEY, event(summary=summary), {"message_id": summary}))
    wait_until(lambda: summary in summaries(volumes), "it is recorded")


def summaries(volumes):
    found = rows(volumes / "recorder" / "recorder.db", "SELECT summary FROM events")
    return [summary for (summary,) in found]


async def test_the_image_records_and_ends_with_0(recorder, volumes):
    await record_one(volumes, "recorded in a container")

    served = recorder.environment["JARVIS_RECORDER_HTTP__LISTEN"]
    assert httpx.get(f"http://{served}/readyz").status_code == 200
    assert recorder.stop() == 0, recorder.said()
    assert summaries(volumes) == ["recorded in a container"]


def test_it_has_no_rights_and_writes_to_its_volume_alone(recorder):
    status = recorder.status()

    assert status["Uid"].split() == ["10001"] * 4
    assert status["Gid"].split() == ["10001"] * 4
    assert status["NoNewPrivs"] == "1"
    assert {int(status[which], 16) for which in ("CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    for place in ("/", "/opt/jarvis-recorder", "/run/credentials"):
        done = recorder.run("touch", f"{place}/written")
        assert (done.returncode, "Read-only file system" in done.stderr) == (1, True), place


def test_it_is_not_healthy_without_its_broker(start, broker):
    container = start(
        SERVICES["recorder"],
        JARVIS_RECORDER_HTTP__LISTEN=f"127.0.0.1:{free_port()}",
        JARVIS_RECORDER_BROKER__URL="amqp://recorder@127.0.0.1:1/",
    )
    wait_until(lambda: "not ready" in container.health().stdout, "it answers")

    assert container.health().returncode == 1
    assert container.stop() == 0, container.said()


async def test_the_dashboard_opens_with_the_password_that_was_made(start, recorder, volumes):
    """As an operator: what was recorded is there, and the dead letters can be looked at."""
    await record_one(volumes, "seen on the dashboard")
    port = free_port()
    service = json.loads(json.dumps(SERVICES["gateway"]).replace(" 8080,", f" {port},"))
    gateway = start(service, JARVIS_RECORDER_GATEWAY__LISTEN=f"127.0.0.1:{port}")
    gateway.wait_until_healthy()

    password = (volumes / "credentials" / "gateway-password").read_text().strip()
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        wrong = client.post("/api/auth/login", json={"password": "not it, surely"})
        assert wrong.status_code == 401
        token = client.post("/api/auth/login", json={"password": password}).json()["token"]
        client.headers["Authorization"] = f"Bearer {token}"
        events = client.get("/api/memory/events").json()["events"]
        assert "seen on the dashboard" in [event["summary"] for event in events]
        assert client.get("/api/dead-letters").status_code == 200
        assert client.get("/").status_code == 200
    assert recorder.stop() == 0, recorder.said()
    # It asks the recorder once a second at most: a moment longer it goes by the last answer.
    wait_until(lambda: gateway.health().returncode == 1, "it sees that the recorder is gone")
    assert gateway.stop() == 0, gateway.said()
