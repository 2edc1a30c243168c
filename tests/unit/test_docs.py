"""The documents say what the code does."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from jarvis_recorder.config.settings import NAMES
from jarvis_recorder.wire.rpc.methods import METHODS

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]


def test_what_is_made_from_the_code_is_up_to_date():
    made = subprocess.run(
        [sys.executable, ROOT / "tools" / "make-docs", "--check"],
        check=False, capture_output=True, text=True,
    )  # fmt: skip

    assert made.returncode == 0, made.stdout


def test_every_setting_and_every_method_is_described():
    settings = (ROOT / "docs" / "settings.md").read_text()
    methods = (ROOT / "docs" / "methods.md").read_text()

    assert [name for name in NAMES if f"`{name}`" not in settings] == []
    assert [one.name for one in METHODS if f"### {one.name}\n" not in methods] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
        assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
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
