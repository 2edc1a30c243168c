"""
The service as its documents say, on a machine with a real systemd.

Each documented command runs as it is written, and must act on the service's own database.
"""

import json
import re
from pathlib import Path

import pytest

from tests.support.machine import CHECKOUT, as_root, machine
from tests.support.recorder import wait_until

pytestmark = [pytest.mark.broker, pytest.mark.slow]

DOCS = Path(__file__).parents[2] / "docs"
URL = "amqp://guest:guest@localhost:5672"
DATABASE = "/var/lib/jarvis-recorder/recorder.db"
BACKUPS = "/var/backups/jarvis-recorder"
LOGIN = """
from urllib.request import Request, urlopen
headers = {"content-type": "application/json"}
body = b'{"password": "correct horse"}'
asked = Request("http://127.0.0.1:8080/api/auth/login", body, headers)
print(urlopen(asked, timeout=60).read().decode())
"""
SERVICES = ("jarvis-recorder", "jarvis-recorder-backup", "jarvis-recorder-gateway")


def commands(document, heading):
    """Return the lines of the code blocks under a heading, without their comments."""
    text = (DOCS / document).read_text()
    section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)[1]
    # A block of a language is the content of a file.
    blocks = re.findall(r"^```(\w*)\n(.*?)^```\n", section, re.DOTALL | re.MULTILINE)
    lines = "".join(block for language, block in blocks if not language)
    return [line.partition("  #")[0].strip() for line in lines.splitlines()]


@pytest.fixture(scope="module")
def booted():
    """A machine with nothing of the recorder's but what install.md says."""
    root = as_root()
    if root is None:
        pytest.skip("only root, or sudo that asks for no password, can boot a machine")
    with machine(root) as made:
        # As on a small installation, where no dynamic user is in the users' database.
        made.prepare(r"sed -i 's/\bsystemd\b//' /etc/nsswitch.conf")
        # What a machine has whose broker is configured for the recorder; no private node reads it.
        made.prepare(
            "mkdir -p /etc/rabbitmq/conf.d; echo 'default_user = other' > /etc/rabbitmq/conf.d/9.conf"
        )
        _, install, _ = commands("install.md", "On Debian, as a service")[:3]
        made.prepare(f"cd {CHECKOUT}; {install} PYTHON=/usr/bin/python3")
        made.boot()
        yield made


@pytest.fixture(scope="module")
def host(booted):
    """The machine with the service running, as the first section of install.md has it."""
    booted.does("jarvis-recorder demo --json")
    booted.does("rm /etc/rabbitmq/conf.d/9.conf; systemctl start rabbitmq-server")
    _, _, provision, *start = commands("install.md", "On Debian, as a service")[:7]
    told = booted.does(provision, f"{URL}\n")
    if booted.run("unshare --user true").returncode:
        # A chroot has no user namespaces; everything else of the sandbox stays.
        for service in SERVICES:
            booted.does(
                f"mkdir -p /etc/systemd/system/{service}.service.d; printf '[Service]\\n"
                f"PrivateUsers=no\\n' > /etc/systemd/system/{service}.service.d/chroot.conf"
            )
    for command in start:
        assert f"  {command}\n" in told
        booted.does(command)
    return booted


def published(host, number, *, url=URL, **fields):
    """Publish some events and wait until the service has recorded them."""
    before = events(host)
    body = {"type": "alert", "source": "monitor", "summary": "disk is full", **fields}
    for _ in range(number):
        host.does(
            f"amqp-publish -u {url} -e jarvis -r cluster.event.alert.warning "
            f"-C application/json -b '{json.dumps(body)}'"
        )
    wait_until(lambda: events(host) == before + number, "they are recorded")


def events(host):
    """Count the events of the service's database, as the service's user sees it."""
    count = "import sqlite3; print(sqlite3.connect('{}').execute('SELECT count(*) FROM events').fetchone()[0])"
    script = count.format(DATABASE).replace("'", '"')
    return int(host.does(f"runuser -u jarvis-recorder -- python3 -c '{script}'"))


def test_the_service_records(host):
    published(host, 3)

    assert "recording: " in host.does("systemctl status jarvis-recorder")


def test_its_own_filter_lets_every_command_of_its_own_run(host):
    """The service runs as the units say; a refused system call would show in the journal."""
    published(host, 1)
    host.does("systemctl restart jarvis-recorder")
    published(host, 1)

    host.does("systemctl start jarvis-recorder-backup")

    assert host.does(f"ls {BACKUPS}").startswith("recorder-")
    assert "Operation not permitted" not in host.does("journalctl --no-pager -u 'jarvis-recorder*'")


def test_the_timer_makes_a_backup(host):
    before = host.does(f"ls {BACKUPS}").split()
    timer = "/etc/systemd/system/jarvis-recorder-backup.timer.d"
    host.does(
        f"mkdir -p {timer}; printf '[Timer]\\nOnCalendar=\\nOnActiveSec=1s\\nAccuracySec=100ms\\n"
        f"RandomizedDelaySec=0\\n' > {timer}/soon.conf; systemctl daemon-reload; "
        "systemctl restart jarvis-recorder-backup.timer"
    )

    wait_until(lambda: host.does(f"ls {BACKUPS}").split() != before, "the timer has elapsed")


def test_roots_commands_act_on_the_services_database_and_broker(host):
    published(host, 1)

    for command in commands("operate.md", "Backup and restore"):
        if command.startswith("jarvis-recorder db restore"):
            newest = host.does(f"ls {BACKUPS}").split()[-1]
            command = f"jarvis-recorder db restore {BACKUPS}/{newest}"  # noqa: PLW2901
        said = host.does(command)
        if "verify" in command or "restore" in command:
            assert DATABASE in said

    published(host, 1)
    assert DATABASE in host.does("jarvis-recorder doctor")


def test_the_import_fills_the_services_database(host):
    before = events(host)

    for command in commands("install.md", "From the system before the recorder"):
        said = host.does(f"cp tests/samples/origin-2026-01.db /tmp/jarvis.db; cd /tmp; {command}")
        if "import" in command:
            assert DATABASE in said

    assert events(host) > before
    published(host, 1)


def test_dead_letters_are_those_of_the_services_broker(host):
    work_off_dead_letters(host, URL)


def work_off_dead_letters(host, url, user=""):
    """Publish junk, and give each documented command after the words that name its user."""
    for _ in range(2):
        host.does(f"amqp-publish -u {url} -e jarvis -r cluster.event.a.b -b junk")
    look = f"{user} jarvis-recorder dead list"
    wait_until(lambda: "not_json" in host.does(look), "it is dead-lettered")
    identity = json.loads(host.does(f"{look} --json"))["letters"][0]["id"]

    for command in commands("operate.md", "Dead letters"):
        command = command.replace("4f1c09ab27de", identity)  # noqa: PLW2901
        # At a terminal it opens an editor, and asks before it drops something.
        command = command.replace("--edit", "").replace("dead drop", "dead drop --yes")  # noqa: PLW2901
        host.does(f"cd $(mktemp -d); {user} {command}")

    assert '"letters": []' in host.does(f"{look} --json")


def test_an_upgrade_restarts_with_the_same_database(host):
    before = events(host)

    # Installing needs the network, which this machine has not.
    _, *upgrade = commands("install.md", "Upgrade")
    for command in upgrade[: upgrade.index("systemctl stop jarvis-recorder")]:
        host.does(command)

    published(host, 1)
    assert events(host) == before + 1


def test_the_gateway_serves_as_a_dynamic_user_without_a_home(host):
    passwd, broker, start = commands("gateway.md", "As a service")
    host.does(passwd, "correct horse\n")
    host.does(broker.replace("dashboard:…@broker/", "guest:guest@localhost/"))
    host.does(start)

    wait_until(lambda: "token" in host.run("python3 -", LOGIN).stdout, "it lets in")


def test_the_service_keeps_recording_as_a_user_of_its_own_when_guest_is_gone(host):
    for command in commands("install.md", "Users and rights on the broker"):
        host.does(command.replace("broker.lan --tls", "localhost"))
    monitor = host.does("cat /root/jarvis/monitor/broker.url").strip()

    published(host, 1, url=monitor)
    assert "guest" not in host.does("rabbitmqctl list_users")
    assert host.run("jarvis-recorder query faults").returncode != 0
    work_off_dead_letters(host, monitor, "CREDENTIALS_DIRECTORY=/root/jarvis/admin")
    assert "CREDENTIALS_DIRECTORY=/root/jarvis/admin" in (DOCS / "operate.md").read_text()


def test_nothing_was_put_into_roots_home(host):
    assert host.run("find /root/.local/state/jarvis-recorder").returncode != 0
