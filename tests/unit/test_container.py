"""The image and the compose file, read as Docker would read them: no Docker is needed."""

import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from argon2 import PasswordHasher
from jsonschema.validators import validator_for

from jarvis_recorder.config.loading import load, server_url
from jarvis_recorder.storage.postgres.connections import Server

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]


def test_the_compose_file_is_one():
    schema = json.loads((ROOT / "tests/specifications/compose-spec.json").read_text())
    validator = validator_for(schema)
    validator.check_schema(schema)

    validator(schema).validate(COMPOSE)


def test_the_linter_has_nothing_to_say_about_the_image():
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], check=False, capture_output=True)

    assert (done.returncode, done.stdout) == (0, b"")


def test_where_it_is_started_a_newer_checkout_is_an_upgrade():
    """Without `--build` Compose starts the image that is there."""
    pages = [ROOT / "README.md", ROOT / "docker-compose.yml", *(ROOT / "docs").rglob("*.md")]
    typed = [
        line for page in pages for line in page.read_text().splitlines()
        if re.search(r"docker compose .*\bup -d", line)
    ]  # fmt: skip

    assert len(typed) >= 4
    assert [line for line in typed if " up -d --build --wait" not in line] == []


def test_the_check_of_the_gateway_asks_no_proxy():
    """Compose hands the proxies of its user to each container."""
    _, program, option, code = SERVICES["gateway"]["healthcheck"]["test"]
    answered = 0
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with subprocess.Popen(
            [sys.executable, option, code.replace("8080", str(port))],
            env={"http_proxy": "http://127.0.0.1:1", "PATH": ""},
        ) as check:
            asked, _ = listener.accept()
            with asked:
                answered = asked.recv(65_536).startswith(b"GET /api/health ")
                asked.sendall(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
            assert check.wait(10) == 1

    assert (program, answered) == ("python", True)


OURS = (
    "provision", "recorder", "gateway",
    "cluster-provision", "recorder-1", "recorder-2", "cluster-gateway",
)  # fmt: skip
CLUSTER = {name: service for name, service in SERVICES.items() if "profiles" in service}


@pytest.mark.parametrize("name", OURS)
def test_ours_run_with_no_more_than_they_need(name):
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "user" not in service, "the image's own user, which is not root"


def test_ports_are_open_to_this_machine_alone():
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]

    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_one_waits_for_the_other():
    """A service that ends by itself has one that waits for it, or `up --wait` would fail."""
    conditions = {
        (name, other): what["condition"]
        for name, service in SERVICES.items()
        for other, what in service.get("depends_on", {}).items()
    }
    assert conditions == {
        ("rabbitmq", "provision"): "service_completed_successfully",
        ("recorder", "rabbitmq"): "service_healthy",
        ("gateway", "recorder"): "service_healthy",
        ("rabbitmq-1", "cluster-provision"): "service_completed_successfully",
        ("rabbitmq-2", "rabbitmq-1"): "service_healthy",
        ("rabbitmq-3", "rabbitmq-1"): "service_healthy",
        **{
            (recorder, other): "service_healthy"
            for recorder in ("recorder-1", "recorder-2")
            for other in ("rabbitmq-2", "rabbitmq-3", "postgresql")
        },
        ("cluster-gateway", "recorder-1"): "service_healthy",
        ("cluster-gateway", "recorder-2"): "service_healthy",
    }


def test_the_gateway_of_the_cluster_brings_up_the_cluster_and_nothing_else():
    """The command names it alone: the services without a profile would take the same ports."""
    needed, more = set(), {"cluster-gateway"}
    while more:
        needed |= more
        more = {other for name in needed for other in SERVICES[name].get("depends_on", {})} - needed

    assert needed == set(CLUSTER)
    assert {tuple(service["profiles"]) for service in CLUSTER.values()} == {("cluster",)}


def test_the_brokers_of_the_cluster_know_each_other():
    nodes = re.findall(
        r"nodes\.\d = rabbit@(.*)", (ROOT / "deploy/rabbitmq/cluster.conf").read_text()
    )
    brokers = {name for name, service in CLUSTER.items() if service["image"].startswith("rabbitmq")}

    assert set(nodes) == brokers
    assert all(CLUSTER[name]["hostname"] == name for name in brokers)
    assert {SERVICES[name]["image"] for name in brokers} == {SERVICES["rabbitmq"]["image"]}


def test_the_recorders_of_the_cluster_share_a_database_that_no_one_else_reaches(tmp_path):
    server = CLUSTER["postgresql"]
    socket = Path(server["volumes"][1].split(":")[1])
    settings = CLUSTER["recorder-1"]["environment"]

    assert CLUSTER["recorder-2"]["environment"] == settings
    url = server_url(load({"store.url": settings["JARVIS_RECORDER_STORE__URL"]}, {}))
    assert not Server(url).is_exposed
    assert url.endswith(f"/recorder?host={Path('/') / socket.relative_to('/var')}")
    holders = {
        name
        for name, service in SERVICES.items()
        for mount in service["volumes"]
        if mount.startswith("postgresql-socket:")
    }
    assert holders == {"postgresql", "recorder-1", "recorder-2"}
    assert server["network_mode"] == "none"


def test_what_is_to_stay_is_in_volumes_that_are_declared():
    mounts = [mount for service in SERVICES.values() for mount in service["volumes"]]
    named = {mount.split(":")[0] for mount in mounts if not mount.startswith(".")}

    assert named == set(COMPOSE["volumes"])
    for mount in mounts:
        if mount.startswith("."):
            assert (ROOT / mount.split(":")[0]).is_file()


def test_no_password_is_written_in_it():
    text = (ROOT / "docker-compose.yml").read_text() + (ROOT / "Dockerfile").read_text()

    assert re.search(r"(?i)password\s*[:=]|_PASS\b|guest|://[^/\s]*:[^/\s]*@", text) is None


@pytest.mark.parametrize("service", ["provision", "cluster-provision"])
def test_the_arguments_of_provision_are_understood(tmp_path, service):
    """The very arguments of the compose file, twice: a second start keeps what the first made."""
    arguments = [
        str(tmp_path / "p") if argument == "/provisioned" else argument
        for argument in SERVICES[service]["command"]
    ]

    def files():
        subprocess.run([sys.executable, "-m", "jarvis_recorder", *arguments], check=True)
        return {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}

    first = files()
    assert first == files()
    url = first[tmp_path / "p" / "recorder" / "broker.url"]
    first_broker = "rabbitmq" if service == "provision" else "rabbitmq-1"
    assert re.fullmatch(rf"amqp://recorder:[\w-]{{32}}@{first_broker}/%2F\n", url)
    is_one_of_several = tmp_path / "p" / "recorder" / "broker.also" in first
    assert is_one_of_several == (service == "cluster-provision")
    assert tmp_path / "p" / "definitions.json" in first
    password = first[tmp_path / "p" / "gateway-password"].strip()
    hashed = first[tmp_path / "p" / "gateway" / "gateway.password_hash"].strip()
    assert PasswordHasher().verify(hashed, password)


HANDED = {
    "recorder": "recorder", "gateway": "gateway",
    "cluster-recorder": "recorder-1", "cluster-gateway": "cluster-gateway",
}  # fmt: skip


def test_what_a_service_is_handed_is_a_directory_of_its_own_in_the_image():
    """A volume has the rights of the directory it begins as; the image makes them all."""
    made = SERVICES["provision"]["volumes"] + SERVICES["cluster-provision"]["volumes"]
    dockerfile = (ROOT / "Dockerfile").read_text()

    for name, service in HANDED.items():
        credentials = SERVICES[service]["volumes"][-1]
        volume, handed, mode = credentials.split(":")
        assert (volume, mode) == (f"{name}-credentials", "ro")
        assert SERVICES[service]["environment"]["CREDENTIALS_DIRECTORY"] == handed
        role = name.removeprefix("cluster-")
        assert f"{volume}:/provisioned/{role}" in made
        assert re.search(rf"install --directory [^&]* /provisioned/{role}\b", dockerfile)


def test_what_is_copied_into_the_image_is_let_through():
    allowed = {
        line[1:].rstrip("/")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copied = {
        source.removeprefix("./")
        for line in (ROOT / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    }
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)


@pytest.mark.parametrize("name", ["requirements-run.lock", "requirements-build.lock"])
def test_the_image_has_what_was_tested(name):
    """The same versions, with the same hashes, as the lock that the tests run with."""
    locked = packages(ROOT / "requirements.lock")

    assert packages(ROOT / name).items() <= locked.items()


def packages(path):
    """Return each requirement with its hashes, without its markers."""
    found = {}
    for block in re.split(r"\n(?=[a-z])", path.read_text()):
        name = re.match(r"[\w.-]+(\[\w+\])?==[\w.]+", block)
        found[name[0]] = frozenset(re.findall(r"sha256:[0-9a-f]{64}", block))
    return found
