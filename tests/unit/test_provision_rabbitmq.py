"""The files that `provision rabbitmq` writes, and those it leaves alone."""

import base64
import hashlib
import json
import re
import shlex
import stat
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from yarl import URL

from jarvis_recorder.broker.provisioning.definitions import definitions
from jarvis_recorder.broker.provisioning.roles import ROLES, permissions
from jarvis_recorder.cli.provision import rabbitmq
from jarvis_recorder.config.loading import load
from jarvis_recorder.config.secrets import exposed_secrets
from jarvis_recorder.errors import ConfigurationError
from jarvis_recorder.gateway.tokens import SHORTEST_SECRET
from jarvis_recorder.wire.notifications import NOTICES
from jarvis_recorder.wire.rpc.methods import METHODS
from tests.support.strangers import as_stranger

pytestmark = pytest.mark.long


def provision(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "jarvis_recorder", "provision", "rabbitmq", *map(str, arguments)],
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


@pytest.fixture
def written(tmp_path):
    directory = tmp_path / "made" / "by it"
    done = provision(directory, "--host", "broker.lan:5671", "--vhost", "a/b", "--tls")
    assert (done.returncode, done.stderr) == (0, "")
    return directory, done.stdout


def everything(directory):
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def is_of(url, users):
    """Say if the definitions have the password of a URL."""
    kept = base64.b64decode(users[url.user]["password_hash"])
    salt, digest = kept[:4], kept[4:]
    return hashlib.sha256(salt + url.password.encode()).digest() == digest


def test_each_role_has_a_url_whose_password_is_in_the_definitions_as_a_hash(written):
    directory, said = written
    users = {
        user["name"]: user
        for user in json.loads((directory / "definitions.json").read_text())["users"]
    }
    passwords = set()
    for role in ROLES:
        url = URL((directory / role.name / "broker.url").read_text().strip())
        assert (url.scheme, url.host, url.port) == ("amqps", "broker.lan", 5671)
        assert (url.user, url.raw_path) == (role.name, "/a%2Fb")
        assert is_of(url, users)
        assert url.password not in said
        passwords.add(url.password)
    assert len(passwords) == len(users) == len(ROLES)


def test_in_a_cluster_each_role_knows_the_other_nodes_and_requests_are_copied(tmp_path):
    done = provision(tmp_path, "--host", "node1", "--also", "node2:5671", "--also", "node3")
    assert (done.returncode, done.stderr) == (0, "")

    for role in ROLES:
        settings = load({}, {"CREDENTIALS_DIRECTORY": str(tmp_path / role.name)}).settings
        assert settings.broker.also == ["node2:5671", "node3"]
    queues = json.loads((tmp_path / "definitions.json").read_text())["queues"]
    assert {queue["arguments"]["x-queue-type"] for queue in queues} == {"quorum"}


def test_only_the_owner_may_read(written):
    directory, _ = written
    for path in directory.rglob("*"):
        mode = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == mode


def test_the_directory_of_the_recorder_is_a_credentials_directory(written):
    directory, _ = written
    settings = load({}, {"CREDENTIALS_DIRECTORY": str(directory / "recorder")}).settings

    assert settings.rpc.permissions == permissions()
    assert settings.broker.url.get_secret_value().startswith("amqps://recorder:")


def test_what_is_there_is_kept_unless_forced(written):
    directory, _ = written
    before = everything(directory)

    again = provision(directory)
    assert again.returncode == 78
    assert "nothing was written" in again.stderr
    assert provision(directory, "--keep").returncode == 0
    assert everything(directory) == before
    assert provision(directory, "--force").returncode == 0
    assert all(before[path] != text for path, text in everything(directory).items()
               if path.name != "rpc.permissions")  # fmt: skip


def test_after_a_forced_one_that_was_interrupted_no_password_is_of_before(written):
    """Compose's `--keep` would find definitions with other passwords, and no one could log in."""
    directory, _ = written
    last = directory / ROLES[-1].name / "broker.url"
    last.unlink()
    (last / "in the way").mkdir(parents=True)
    assert provision(directory, "--force").returncode != 0
    (last / "in the way").rmdir()
    last.rmdir()

    assert provision(directory, "--keep").returncode == 0

    document = json.loads((directory / "definitions.json").read_text())
    users = {user["name"]: user for user in document["users"]}
    for role in ROLES:
        assert is_of(URL((directory / role.name / "broker.url").read_text().strip()), users)


def test_a_forced_one_leaves_nothing_of_the_broker_before(tmp_path):
    """Or the recorder turns to a node of that cluster, and the gateway shows a former password."""
    assert provision(tmp_path, "--host", "node1", "--also", "node2", "--gateway").returncode == 0
    before = everything(tmp_path)

    foreseen = provision(tmp_path, "--host", "other", "--force", "--dry-run").stdout
    assert everything(tmp_path) == before
    done = provision(tmp_path, "--host", "other", "--force")

    assert (done.returncode, done.stderr) == (0, "")
    for role in (*(role.name for role in ROLES), "gateway"):
        also = tmp_path / role / "broker.also"
        assert not also.exists()
        assert f"{also}: removed" in done.stdout
        assert f"{also}: would be removed" in foreseen
        assert f"{tmp_path / role / 'broker.url'}: would be replaced" in foreseen
    url = (tmp_path / "gateway" / "broker.url").read_text()
    assert url == (tmp_path / "admin" / "broker.url").read_text()
    assert URL(url.strip()).host == "other"
    assert [path for path, text in everything(tmp_path).items()
            if before[path] == text and path.name != "rpc.permissions"] == []  # fmt: skip


@pytest.mark.parametrize("also", [[], ["--also=node2"]])
def test_after_an_upgrade_rights_are_written_again_and_no_passwords(tmp_path, also):
    assert provision(tmp_path, "--vhost=a/b", *also).returncode == 0
    made = everything(tmp_path)
    path = tmp_path / "definitions.json"
    older = json.loads(path.read_text())
    older["permissions"][0]["write"] = "^$"
    path.write_text(json.dumps(older))
    (tmp_path / "recorder" / "rpc.permissions").write_text("{}")

    assert provision(tmp_path, "--renew", "--dry-run").returncode == 0
    assert json.loads(path.read_text()) == older
    done = provision(tmp_path, "--renew")

    assert (done.returncode, done.stderr) == (0, "")
    assert everything(tmp_path) == made
    assert str(path) in done.stdout
    assert "broker.url: written" not in done.stdout


@pytest.mark.parametrize(
    "there",
    [
        None,
        "",
        "[]",
        '{"vhosts": []}',
        '{"vhosts": 1}',
        pytest.param("[" * 100_000, id="deep"),
    ],
)
def test_without_definitions_there_are_no_passwords_to_write_again(tmp_path, there):
    if there is not None:
        (tmp_path / "definitions.json").write_text(there)

    done = provision(tmp_path, "--renew")

    assert (done.returncode, len(done.stderr.splitlines())) == (78, 1)
    assert f"{tmp_path / 'definitions.json'}: " in done.stderr


def test_half_of_it_is_made_whole(written):
    """The definitions come last: without them no broker has heard of these passwords."""
    directory, _ = written
    (directory / "definitions.json").unlink()
    before = everything(directory)

    assert provision(directory, "--keep").returncode == 0
    assert (directory / "definitions.json").exists()
    assert (
        everything(directory)[directory / "chat" / "broker.url"]
        != (before[directory / "chat" / "broker.url"])
    )


def test_what_the_gateway_needs_is_a_credentials_directory_too(tmp_path):
    done = provision(tmp_path, "--gateway")

    settings = load({}, {"CREDENTIALS_DIRECTORY": str(tmp_path / "gateway")}).settings
    password = (tmp_path / "gateway-password").read_text().strip()
    hashed = settings.gateway.password_hash.get_secret_value()
    assert PasswordHasher().verify(hashed, password)
    assert len(settings.gateway.token_secret.get_secret_value()) >= SHORTEST_SECRET
    assert settings.broker.url.get_secret_value().startswith("amqp://admin:")
    assert password not in done.stdout
    assert f"CREDENTIALS_DIRECTORY={tmp_path / 'gateway'} jarvis-recorder gateway" in done.stdout
    test_only_the_owner_may_read((tmp_path, ""))


def test_a_gateway_is_added_to_users_that_are_kept(written):
    directory, _ = written
    before = everything(directory)

    assert provision(directory, "--keep", "--gateway").returncode == 0
    added = everything(directory)
    assert before.items() <= added.items()
    url = (directory / "gateway" / "broker.url").read_text()
    assert url == (directory / "admin" / "broker.url").read_text()
    assert provision(directory, "--keep", "--gateway").returncode == 0
    assert everything(directory) == added, "and it is kept as well"


def test_a_gateway_is_not_added_where_the_url_of_the_admin_is_no_text(written):
    directory, _ = written
    url = directory / "admin" / "broker.url"
    url.write_bytes(b"amqp://gr\xfcn@broker/")

    refused = provision(directory, "--keep", "--gateway")

    assert refused.returncode == 78
    assert refused.stderr == f"jarvis-recorder: {url}: not UTF-8; nothing was written\n"
    assert not (directory / "gateway").exists()


def test_the_broker_is_given_a_copy_that_it_can_read(written):
    """Debian's `rabbitmqctl` reads as the user `rabbitmq`, for whom root's directory is closed."""
    directory, said = written
    told = [shlex.split(line) for line in said.splitlines() if line.startswith("  ")]
    (copied,) = (words for words in told if "rabbitmq" in words)
    (imported,) = (words for words in told if "import_definitions" in words)

    assert copied[:5] == ["install", "-o", "rabbitmq", "-g", "rabbitmq"]
    assert copied[-2:] == [str(directory / "definitions.json"), imported[-1]]
    assert imported[-1].startswith("/var/lib/rabbitmq/")
    assert ["rm", imported[-1]] in told


def test_the_service_gets_its_address_before_guest_is_deleted(written):
    """With `guest` gone its login would be refused, and nothing would start it again."""
    directory, said = written
    service, guest = said.split("rabbitmqctl delete_user guest")[0], said.splitlines()[-1]

    url = shlex.quote(str(directory / "recorder" / "broker.url"))
    assert f"{url} /etc/jarvis-recorder/credentials/\n  systemctl restart" in service
    assert guest == "  rabbitmqctl delete_user guest"


def test_the_documented_lines_put_address_and_permissions_in_force(tmp_path):
    installed = tmp_path / "etc"
    (installed / "credentials").mkdir(parents=True)
    (installed / "config.toml").write_text('[log]\nlevel = "debug"\n')
    assert provision(tmp_path / "jarvis").returncode == 0
    text = (Path(__file__).parents[2] / "docs" / "install.md").read_text()
    (block,) = re.findall(r"^```\n([^`]*permissions = [^`]*)^systemctl .*\n```", text, re.MULTILINE)

    for real, here in (("/root/jarvis", tmp_path / "jarvis"), ("/etc/jarvis-recorder", installed)):
        block = block.replace(real, str(here))
    subprocess.run(["/bin/sh", "-euc", block], check=True)

    loaded = load(
        {}, {"CREDENTIALS_DIRECTORY": str(installed / "credentials")}, installed / "config.toml"
    )
    assert loaded.settings.rpc.permissions == permissions()
    assert loaded.settings.broker.url.get_secret_value().startswith("amqp://recorder:")
    assert exposed_secrets(*loaded) == {}


def test_a_dry_run_writes_nothing(tmp_path):
    done = provision(tmp_path / "new", "--dry-run")

    assert (done.returncode, done.stderr) == (0, "")
    assert "new/chat/broker.url: would be written" in done.stdout
    assert not (tmp_path / "new").exists()


def test_the_urls_are_shown_to_who_asks_for_them(tmp_path):
    done = provision(tmp_path, "--show-urls")

    assert (tmp_path / "chat" / "broker.url").read_text().strip() in done.stdout


@pytest.mark.parametrize("host", ["", "a b", "a/b", "user:x@host", "host?x=1", "host:0"])
def test_what_is_no_host_is_wrong_usage(tmp_path, host):
    assert provision(tmp_path, "--host", host).returncode == 2
    assert not list(tmp_path.iterdir())


def test_a_directory_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").touch()
    done = provision(tmp_path / "file" / "below")

    assert done.returncode == 78
    assert "cannot be written: Not a directory" in done.stderr


def test_every_role_is_held_to_keys_on_the_exchange():
    """Without a topic permission RabbitMQ lets any key through."""
    made = definitions("/", {})

    assert {(held["user"], held["exchange"]) for held in made["topic_permissions"]} == {
        (role.name, "jarvis") for role in ROLES
    }
    assert not any("administrator" in user["tags"] for user in made["users"])


@pytest.mark.parametrize("notice", NOTICES, ids=lambda notice: notice.routing_key)
def test_every_notification_may_be_published_and_heard(notice):
    made = definitions("/", {})
    held = {one["user"]: one for one in made["topic_permissions"]}

    assert re.search(held["recorder"]["write"], notice.routing_key)
    for user in ("dashboard", "admin"):
        assert re.search(held[user]["read"], notice.routing_key)
        assert not re.search(held[user]["write"], notice.routing_key)


def test_the_dashboard_may_ask_whatever_changes_nothing():
    """Else a list would refer its reader to a method that the reader may not ask."""
    (dashboard,) = (role for role in ROLES if role.name == "dashboard")
    reads = [method.name for method in METHODS if not method.changes]

    assert [
        name for name in reads if not any(fnmatch(name, one) for one in dashboard.methods)
    ] == []


@pytest.mark.parametrize("options", [{}, {"dry_run": True}, {"keep": True}, {"renew": True}])
def test_a_directory_that_is_closed_is_named_to_a_user_who_is_not_root(reachable, options):
    closed = reachable / "root"
    closed.mkdir(mode=0o700)

    with pytest.raises(ConfigurationError, match="Permission denied: run it as root"):
        as_stranger(rabbitmq.provision, closed / "jarvis", **options)
