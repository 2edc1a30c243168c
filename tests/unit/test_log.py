"""The log lines as their readers see them."""

import contextlib
import json
import os
import subprocess
import sys

import pytest
import structlog

from jarvis_recorder.runtime import logging


@pytest.fixture
def said(tmp_path, monkeypatch):
    """Log a line of each level to a file; return the lines."""

    def run(*, journal, form="auto"):
        with (tmp_path / "log").open("w+") as stream:
            file = os.fstat(stream.fileno())
            monkeypatch.setenv("JOURNAL_STREAM", f"{file.st_dev}:{file.st_ino + (not journal)}")
            logging.configure("debug", form, stream)
            logger = structlog.get_logger()
            for level in ("debug", "info", "warning", "error", "critical"):
                getattr(logger, level)("happened", text="two\nlines")
            stream.seek(0)
            return stream.read().splitlines()

    yield run
    structlog.reset_defaults()


@pytest.mark.parametrize("form", ["auto", "json"])
def test_the_journal_gets_json_with_the_priority_in_front(said, form):
    lines = said(journal=True, form=form)

    assert [line[:3] for line in lines] == ["<7>", "<6>", "<4>", "<3>", "<3>"]
    assert [json.loads(line[3:])["text"] for line in lines] == ["two\nlines"] * 5


def test_what_ends_a_command_is_an_error_to_the_journal(tmp_path):
    with (tmp_path / "log").open("w") as stream:
        file = os.fstat(stream.fileno())
        subprocess.run(
            [sys.executable, "-m", "jarvis_recorder", "run", "--set", "log.level=loud"],
            check=False,
            stderr=stream,
            env=os.environ | {"JOURNAL_STREAM": f"{file.st_dev}:{file.st_ino}"},
        )

    assert (tmp_path / "log").read_text().startswith("<3>jarvis-recorder: log.level: ")


def test_a_stream_that_is_not_the_journal_gets_plain_json(said):
    """The variable is inherited; whoever redirects a stream has it nevertheless."""
    assert [json.loads(line)["level"] for line in said(journal=False)][:2] == ["debug", "info"]


def test_a_flood_of_lines_alike_is_cut_and_counted(tmp_path):
    now = 1_000.0
    limit = logging.RepeatLimit(lambda: now)

    def log(count, level="info", **line):
        """Return what passes of so many lines."""
        passed = []
        for _ in range(count):
            with contextlib.suppress(structlog.DropEvent):
                passed.append(limit(None, level, dict(line)))
        return passed

    letter = {"event": "dead_lettered", "queue": "events", "reason": "not_json"}
    assert len(log(5_000, **letter)) == 30
    assert len(log(1, **letter | {"queue": "turns"})) == 1, "another queue"
    assert len(log(1, **letter | {"reason": "invalid"})) == 1, "another reason"
    assert len(log(100, "debug", **letter)) == 100

    now += 60
    (first, *others) = log(20, **letter)
    assert first["not_logged"] == 4_970
    assert [one for one in others if "not_logged" in one] == []
    assert len(log(20, **letter)) == 10
    for number in range(5_000):
        log(1, event="intake_stopped", reason=f"{number} bytes are free")
    assert len(limit._counted) <= 1_000
    now += 3_600
    assert log(1, **letter | {"queue": "turns"}) == [letter | {"queue": "turns"}]
