"""The documents say what the code does."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer

from jarvis_recorder.broker.topology import EXCHANGES, QUEUES
from jarvis_recorder.cli import database
from jarvis_recorder.config.settings import NAMES, Settings
from jarvis_recorder.errors import RecorderError
from jarvis_recorder.spec import openrpc
from jarvis_recorder.storage.tables import metadata
from jarvis_recorder.wire.refusal import Reason
from jarvis_recorder.wire.rpc.jsonrpc import Code
from jarvis_recorder.wire.rpc.methods import METHODS

ROOT = Path(__file__).parents[2]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("**/*.md"))]
NAMED = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


@pytest.mark.parametrize("tool", ["make-client", "make-docs", "make-man"])
def test_what_is_made_from_the_code_is_up_to_date(tool):
    made = subprocess.run(
        [sys.executable, ROOT / "tools" / tool, "--check"],
        check=False, capture_output=True, text=True,
    )  # fmt: skip

    assert made.returncode == 0, made.stdout


def test_every_setting_and_every_method_is_described():
    settings = (ROOT / "docs" / "settings.md").read_text()
    methods = (ROOT / "docs" / "methods.md").read_text()

    assert [name for name in NAMES if f"`{name}`" not in settings] == []
    assert [one.name for one in METHODS if f"### {one.name}\n" not in methods] == []


PROTOCOL = (ROOT / "docs" / "protocol.md").read_text()


def row(first: str) -> str:
    """Return the row of a table in docs/protocol.md that begins with a name."""
    (found,) = re.findall(rf"^\| `?{re.escape(first)}`? \|.*$", PROTOCOL, re.MULTILINE)
    return found


def test_the_protocol_has_every_exchange_and_every_queue_with_its_arguments():
    for exchange in EXCHANGES:
        assert f"| {exchange.type}, durable |" in row(exchange.name)
    for queue in QUEUES:
        assert f"| `{queue.exchange}`: `{queue.routing_key}` |" in row(queue.name)
        assert f"| {queue.arguments['x-queue-type']}, durable |" in row(queue.name)
        assert [key for key in queue.arguments if f"`{key}`" not in PROTOCOL] == []


@pytest.mark.parametrize("method", openrpc.document()["methods"], ids=lambda method: method["name"])
def test_the_protocol_has_every_method_and_its_params(method):
    params = row(method["name"]).split(" | ")[1]
    required = {one["name"] for one in method["params"] if one.get("required")}

    assert set(re.findall(r"\*\*`(\w+)`", params)) == required
    assert [one["name"] for one in method["params"] if f"`{one['name']}`" not in params] == []


def test_the_protocol_has_every_reason_every_error_code_and_every_exit_code():
    for value in (*Reason, *Code):
        assert row(str(value))
    kinds = RecorderError.__subclasses__()
    assert {row(str(kind.exit_code)) for kind in kinds}


@pytest.mark.parametrize(
    "table", ["events", "conversations", "cluster_snapshots", "preferences"]
)  # fmt: skip
def test_the_protocol_has_every_column(table):
    named = re.findall(r"`(\w+)`", row(table).split(" | ")[1])
    assert set(named) == {column.name for column in metadata.tables[table].columns}


@NAMED
def test_links_lead_somewhere(document):
    for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]+))?\)", document.read_text()):
        path = document.parent / target if target else document
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), f"{target}#{anchor}"


@pytest.mark.parametrize("name", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_the_files_that_are_named_exist(name):
    named = re.findall(r"`([a-z_/]+(?:/|\.py))`", (ROOT / name).read_text())
    places = (ROOT, ROOT / "jarvis_recorder")

    assert named
    assert [one for one in named if not any((place / one).exists() for place in places)] == []


def test_the_site_has_every_page():
    nav = re.findall(r"^ +- (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    pages = [path.name for path in (ROOT / "docs").glob("*.md")]

    assert sorted(nav) == sorted([*pages, "decisions/README.md"])


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) < 90


def anchors(document: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a document."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_no_one_is_told_to_install_what_no_lock_has():
    """No index has our name: a stranger could register it. And bare Debian has no `pip`."""
    told = [
        line
        for path in (*DOCUMENTS, *(ROOT / "jarvis_recorder").glob("**/*.py"))
        for line in re.findall(r"\S*\bpip (?:install|wheel)\b[^`\n]*", path.read_text("utf-8"))
    ]
    by_name = re.compile(r"'?(?:jarvis[-_.]recorder|\.)(?:\[.*)?'?")

    assert told
    assert [line for line in told if not line.startswith("/")] == []
    assert [line for line in told if any(map(by_name.fullmatch, line.split()))] == []


def test_an_instance_has_in_its_file_what_it_does_not_read_elsewhere():
    """`run --config` reads that file alone, as the header of the unit says."""
    text = (ROOT / "docs" / "grow.md").read_text()
    (example,) = re.findall(
        r"^```toml\n# /etc/jarvis-recorder/one.toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL
    )
    unit = (ROOT / "deploy" / "systemd" / "jarvis-recorder@.service").read_text()

    named = {section: set(settings) for section, settings in tomllib.loads(example).items()}

    Settings.model_validate(tomllib.loads(example))
    assert {"also"} <= named["broker"]
    assert {"permissions"} <= named["rpc"]
    assert "retention" in named
    assert "instead of config.toml" in unit.partition("[Unit]")[0]


@NAMED
def test_commands_of_the_database_that_are_named_exist(document):
    """As `db NAME`, with or without the command's name before it."""
    named = re.findall(r"(?:`|jarvis-recorder )db ([a-z]+)", document.read_text())

    assert {*named} <= {*typer.main.get_group(database.commands).commands}


@NAMED
def test_settings_that_are_named_exist(document):
    sections = {name.partition(".")[0] for name in NAMES}
    named = re.findall(r"`([a-z]+\.[a-z_]+)(?:`| = )", document.read_text())
    known = {*NAMES, *(method.name for method in METHODS)}
    files = (".db", ".toml", ".json", ".jsonl", ".md", ".py")
    unknown = [
        name for name in named
        if name.partition(".")[0] in sections and name not in known and not name.endswith(files)
    ]  # fmt: skip
    assert unknown == []


def test_a_package_index_shows_the_readme_without_links_that_lead_nowhere():
    """It has neither the documents nor the picture, so their links are absolute there."""
    told = subprocess.run(
        [sys.executable, "-m", "hatchling", "metadata"],
        check=True, capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    metadata = json.loads(told.stdout)

    source = metadata["urls"]["Source"]
    links = re.findall(r"\]\(([^)]+)\)", metadata["readme"]["text"])
    assert f"{source}/docs/dashboard.png" in links
    assert [link for link in links if not link.startswith(f"{source}/")] == []
    assert metadata["authors"]


def test_no_one_is_told_to_keep_other_backups_than_the_timer_does():
    """It removes what is beyond its own number in that directory, also what was made by hand."""
    unit = (ROOT / "deploy" / "systemd" / "jarvis-recorder-backup.service").read_text()
    ((directory, kept),) = re.findall(r"^ExecStart=.* --to (\S+) --keep (\d+)$", unit, re.MULTILINE)
    by_hand = re.compile(rf"^jarvis-recorder db backup --to {directory}(.*)$", re.MULTILINE)
    operate = (ROOT / "docs" / "operate.md").read_text()

    assert [rest for path in DOCUMENTS for rest in by_hand.findall(path.read_text())] == [""]
    assert f"keeps the newest {kept} backups of that directory" in operate
