"""The command line as its users meet it: a process, its output, its exit code."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest
from typer.testing import CliRunner

from jarvis_recorder import __version__, cli
from jarvis_recorder.config.settings import NAMES
from jarvis_recorder.demo import report, story
from jarvis_recorder.demo.overview import Overview
from jarvis_recorder.storage import revisions
from jarvis_recorder.storage.sqlite.lock import create_file, locked

pytestmark = pytest.mark.long

SCHEMAS = Path(__file__).parents[2] / "schemas"
SECRET = "amqp://jarvis:geheim@localhost:1/"


class Answer(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def jarvis(monkeypatch, capsys):
    """Run a command within this process, which spares its start; not for one that logs."""
    for name in os.environ:
        if name.startswith("JARVIS_RECORDER"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*arguments, **environment):
        monkeypatch.setattr(sys, "argv", ["jarvis-recorder", *map(str, arguments)])
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return Answer(ended.value.code, *capsys.readouterr())

    return run


def _started_by(program):
    if program is None:
        return [sys.executable, "-m", "jarvis_recorder"]
    return [Path(sys.executable).with_name(program)]


def process(*arguments, program=None, **environment):
    """Run a command as a process, without settings from outside."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("JARVIS_RECORDER")
    }
    return subprocess.run(
        [*_started_by(program), *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env=inherited | {"COLUMNS": "100", "NO_COLOR": "1"} | environment,
    )


@pytest.mark.parametrize(
    "command",
    [
        "--version",
        "--help",
        "query events --help",
        "config show",
        "doctor --set broker.url=amqp://127.0.0.1:1/",
    ],
)
def test_a_command_that_no_one_reads_ends_in_silence(command, tmp_path):
    """As `| head` does it: the reader closes its end before the command has printed."""
    reading, writing = os.pipe()
    os.close(reading)
    with subprocess.Popen(
        [sys.executable, "-m", "jarvis_recorder", *command.split()],
        stdout=writing, stderr=subprocess.PIPE, text=True,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
    ) as process:  # fmt: skip
        os.close(writing)
        _, errors = process.communicate(timeout=60)

    assert (process.returncode, errors) == (0, "")


@pytest.mark.parametrize(
    "command",
    ["--version", "config --help", "config show", "config show --json", "schema export ."],
)
def test_a_full_disk_under_the_output_is_said_in_a_line(command, tmp_path):
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "jarvis_recorder", *command.split()],
            check=False, stdout=full, stderr=subprocess.PIPE, text=True, cwd=tmp_path, timeout=60,
        )  # fmt: skip

    assert (ended.returncode, ended.stderr) == (
        1,
        "jarvis-recorder: the output cannot be written: No space left on device\n",
    )


@pytest.mark.parametrize(
    ("command", "without", "code"),
    [
        ("config check", ">&-", 0),
        ("config check", "2>&-", 0),
        ("config check", "<&- >&- 2>&-", 0),
        # As with an empty input.
        ("gateway passwd", "<&-", 2),
        ("provision systemd --root .", "<&-", 78),
    ],
)
def test_a_closed_stream_is_an_empty_one(command, without, code, tmp_path):
    """As a scheduler starts its jobs."""
    ended = subprocess.run(
        ["sh", "-c", f'exec "$@" {without}', "sh", sys.executable, "-m", "jarvis_recorder",
         *command.split()],
        check=False, capture_output=True, text=True, cwd=tmp_path, timeout=60,
    )  # fmt: skip

    assert ended.returncode == code, ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("query hi", ["histogram"]),
        ("query events --severity ", ["info", "warning", "error", "critical"]),
        ("query events --min-", ["--min-severity"]),
        ("tail --kind ", ["event", "snapshot", "turn"]),
    ],
)
def test_a_shell_completes_commands_options_and_values(typed, offered):
    ended = process(
        _JARVIS_RECORDER_COMPLETE="complete_bash",
        COMP_WORDS=f"jarvis-recorder {typed}",
        COMP_CWORD=str(len(typed.split(" "))),
        program="jarvis-recorder",
    )

    assert ended.stdout.split() == offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_of_a_shell_is_printed_for_it(shell):
    ended = process(_JARVIS_RECORDER_COMPLETE=f"source_{shell}", program="jarvis-recorder")

    assert ended.returncode == 0
    assert f"_JARVIS_RECORDER_COMPLETE=complete_{shell}" in ended.stdout


@pytest.fixture
def store(tmp_path):
    """The option that names a database which is not there yet."""
    return f"--set=store.url=sqlite:///{tmp_path / 'state' / 'recorder.db'}"


@pytest.mark.parametrize("command", [["query", "events"], ["query", "histogram"], ["tail"]])
def test_help_names_the_values_there_are_and_no_types_of_python(jarvis, command):
    text = jarvis(*command, "--help", COLUMNS="200").stdout

    assert "<info|warning|error|critical>" in text
    assert "Annotated" not in text


def test_it_says_which_version_it_is():
    answer = process("--version")

    assert (answer.returncode, answer.stdout) == (0, f"jarvis-recorder {__version__}\n")


@pytest.mark.parametrize(
    ("command", "mentioned"),
    [
        ([], ["run", "demo", "query", "prefs", "resolve", "tail", "db", "schema", "config"]),
        (["query"], ["events", "turns", "sessions", "search", "snapshot", "timeline", "stats"]),
        (
            ["query", "events"],
            ["--severity", "--since", "2h30m", "yesterday", "Example"],
        ),
        (["query", "histogram"], ["--bucket", "--by", "Example"]),
        (["prefs"], ["list", "get", "set", "delete"]),
        (["prefs", "set"], ["--expected-version", "Example"]),
        (["tail"], ["--kind", "--severity", "--json", "Example"]),
        (["run"], ["--config", "--set", "--private-broker"]),
        (["demo"], ["--broker", "--keep", "--json"]),
        (["db"], ["backup", "restore", "verify", "vacuum", "stats", "upgrade", "current"]),
        (["db", "backup"], ["--to", "--keep", "--json", "Example"]),
        (["db", "verify"], ["--json", "Example"]),
        (["schema"], ["export", "show"]),
        (["config"], ["show", "check"]),
        (["config", "show"], ["--json", "environment"]),
    ],
)
def test_every_command_explains_itself(jarvis, command, mentioned):
    answer = jarvis(*command, "--help")

    assert answer.returncode == 0
    assert answer.stderr == ""
    assert [word for word in mentioned if word not in answer.stdout] == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["dance"],
        ["run", "--loudly"],
        ["config", "show", "--set", "log.level"],
        ["schema", "show", "evnt"],
        ["schema", "show"],
    ],
)
def test_wrong_usage_ends_with_2(jarvis, arguments):
    answer = jarvis(*arguments)

    assert answer.returncode == 2
    assert "Usage:" in answer.stderr


def test_a_wrong_configuration_ends_with_78_and_one_line(jarvis):
    for command in (
        ["config", "check"], ["config", "show"], ["db", "current"], ["run"], ["query", "stats"],
        ["prefs", "list"], ["tail"],
    ):  # fmt: skip
        answer = jarvis(*command, JARVIS_RECORDER_LOG__LEVEL="loud")

        assert answer.returncode == 78
        (line,) = answer.stderr.splitlines()
        assert line.startswith("jarvis-recorder: log.level: ")
        assert line.endswith("set in environment (JARVIS_RECORDER_LOG__LEVEL)")


def test_a_right_configuration_is_said_to_be(jarvis, store):
    answer = jarvis("config", "check", store)

    assert answer.returncode == 0
    assert answer.stdout == f"the configuration is valid: 1 of {len(NAMES)} settings given\n"


def test_a_store_that_cannot_be_is_found_by_the_check(jarvis):
    answer = jarvis("config", "check", "--set=store.url=mysql://h/db")

    assert answer.returncode == 78
    assert "store.url must be sqlite:///" in answer.stderr


def test_the_settings_are_shown_with_their_origin_and_without_their_secrets(jarvis):
    answer = jarvis("config", "show", "--json", JARVIS_RECORDER_BROKER__URL=SECRET)

    assert answer.returncode == 0
    assert "geheim" not in answer.stdout
    settings = {one.pop("name"): one for one in json.loads(answer.stdout)}
    assert tuple(settings) == NAMES
    assert settings["broker.url"]["value"] == "amqp://jarvis:***@localhost:1/"
    assert settings["broker.url"]["origin"] == "environment (JARVIS_RECORDER_BROKER__URL)"
    assert settings["log.level"]["origin"] == "default"
    assert all(one["description"] for one in settings.values())


def test_the_settings_are_shown_as_a_table(jarvis):
    answer = jarvis("config", "show", JARVIS_RECORDER_BROKER__URL=SECRET)

    assert answer.returncode == 0
    assert [name for name in NAMES if name not in answer.stdout] == []
    assert "geheim" not in answer.stdout


@pytest.mark.parametrize("on", [{}, {"FORCE_COLOR": "1"}], ids=["a pipe", "a terminal"])
def test_the_settings_are_shown_whole(jarvis, on):
    path = f"/srv/{'very-' * 20}long/recorder.db"
    answer = jarvis("config", "show", f"--set=store.url=sqlite:///{path}", **on)

    assert path in re.sub(r"\x1b\[[\d;]*m|\s", "", answer.stdout)


def test_in_a_pipe_each_setting_is_a_line(jarvis):
    answer = jarvis("config", "show", JARVIS_RECORDER_LOG__LEVEL="debug")

    _, *lines = answer.stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(NAMES)
    (line,) = (line for line in lines if line.startswith("log.level"))
    assert line.split()[1:4] == ["debug", "environment", "(JARVIS_RECORDER_LOG__LEVEL)"]


@pytest.mark.parametrize("command", ["current", "verify", "stats", "vacuum"])
def test_a_database_that_is_not_there_ends_with_69_and_is_not_made(store, tmp_path, command):
    answer = process("db", command, store)

    assert answer.returncode == 69
    assert "recorder.db: no such database" in answer.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_database_is_made_once(store, tmp_path):
    first = process("db", "upgrade", store)
    second = process("db", "upgrade", store)

    path = tmp_path / "state" / "recorder.db"
    assert (first.returncode, first.stdout) == (0, f"{path}: revision none → {revisions.HEAD}\n")
    assert (second.returncode, second.stdout) == (
        0,
        f"{path}: already at revision {revisions.HEAD}\n",
    )
    assert first.stderr == second.stderr == ""


def test_the_revision_is_reported(store, tmp_path):
    process("db", "upgrade", store)

    current = json.loads(process("db", "current", store, "--json").stdout)

    path = tmp_path / "state" / "recorder.db"
    assert current == {
        "path": str(path),
        "revision": revisions.HEAD,
        "head": revisions.HEAD,
        "size_bytes": path.stat().st_size,
    }


@pytest.mark.parametrize("command", [["upgrade"], ["vacuum"], ["restore", "saved.db"]])
def test_a_database_that_is_held_ends_with_75(store, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    create_file(tmp_path / "saved.db")
    path = tmp_path / "state" / "recorder.db"
    create_file(path)
    with locked(path):
        answer = process("db", *command, store)

    assert answer.returncode == 75
    assert f"process {os.getpid()}" in answer.stderr


def test_the_schemas_are_exported_as_they_are_kept(jarvis, tmp_path):
    answer = jarvis("schema", "export", tmp_path / "new" / "schemas")

    assert answer.returncode == 0
    written = files(tmp_path / "new" / "schemas")
    assert written == files(SCHEMAS)
    assert len(written) == len(answer.stdout.splitlines())


def files(directory):
    return {
        path.relative_to(directory): path.read_text("utf-8") for path in directory.rglob("*.json")
    }


@pytest.mark.parametrize("name", ["asyncapi", "openrpc", "rpc/events.list.params"])
def test_every_document_is_shown_as_it_is_kept(jarvis, name):
    assert jarvis("schema", "show", name).stdout == (SCHEMAS / f"{name}.json").read_text("utf-8")


def test_one_schema_is_shown(jarvis):
    answer = jarvis("schema", "show", "turn-batch")

    assert answer.returncode == 0
    assert json.loads(answer.stdout)["$id"] == "urn:jarvis-recorder:schema:turn-batch"


def test_a_broker_that_is_not_there_ends_the_demo_with_69():
    answer = process("demo", "--broker", "amqp://localhost:1/")

    assert answer.returncode == 69
    assert "the broker cannot be reached" in answer.stderr


def test_the_demo_leaves_a_database_that_is_there_alone(tmp_path):
    (tmp_path / "recorder.db").touch()

    answer = process("demo", "--broker", "amqp://localhost:1/", "--keep", tmp_path)

    assert answer.returncode == 2
    assert "name a new directory" in " ".join(answer.stderr.replace("│", " ").split())


@pytest.mark.parametrize("options", [["--ui", "--json"], ["--listen", "127.0.0.1:1"]])
def test_the_demo_refuses_options_that_would_do_nothing(options):
    answer = process("demo", *options)

    assert answer.returncode == 2
    assert "--ui" in answer.stderr


def test_the_demo_says_what_is_not_as_expected(capsys):
    """One row too few, one too many under an identity, no dead letters: each is a line."""
    messages = story.tell(0, Random(1))
    rows = {"events": 177, "conversations": 13, "cluster_snapshots": 60}
    copies = {one: 1 for message in messages for one in message.identities}
    twice = messages[0].identities[0]
    outcome = report.DemoOutcome(
        messages=messages,
        publish_seconds=0.1,
        settle_seconds=0.1,
        duplicates=13,
        dead_letters=[report.ShownDeadLetter({}, None)],
        overview=Overview(rows, [], [], [], 0, 0, copies | {twice: 2}),
        kept=None,
    )

    mismatches = outcome.mismatches()
    report.present(outcome)

    assert "events: 177 rows instead of 178" in mismatches
    assert f"2 rows instead of 1: identity {twice}" in mismatches
    assert "0 dead letters instead of 1: not JSON, as not_json" in mismatches
    assert "an unexpected dead letter: by the broker" in mismatches
    assert len(mismatches) == 3 + 10
    assert "Not as expected" in capsys.readouterr().out
    assert report.as_json(outcome)["as_expected"] is False


def test_a_daemon_starts_without_loading_rich():
    script = (
        "import sys; from jarvis_recorder import cli; cli._load_structlog_alone();"
        "cli._application(); import jarvis_recorder.daemon.app;"
        "print('structlog' in sys.modules, 'rich' in sys.modules); import rich"
    )

    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert loaded.stdout.split() == ["True", "False"]


@pytest.mark.parametrize("word", cli._ALONE)
def test_a_command_is_the_same_loaded_alone_or_among_all(word):
    alone, among_all = (
        CliRunner().invoke(cli._application(words), [word, "--help"]) for words in ([word], [])
    )

    assert alone.exit_code == 0
    assert alone.output == among_all.output


@pytest.mark.parametrize("words", ["run --help", "query events --help", "db upgrade"])
def test_a_terminal_that_is_not_utf8_shows_what_it_can(tmp_path, words):
    done = subprocess.run(
        [sys.executable, "-m", "jarvis_recorder", *words.split()],
        check=False, capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "latin-1",
             "JARVIS_RECORDER_STORE__URL": f"sqlite:///{tmp_path}/recorder.db"},
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("words", ["db verify", "db stats", "import"])
def test_a_file_may_have_a_name_that_is_not_utf8(tmp_path, words):
    created = tmp_path / "created.db"
    create_file(created)
    named = os.fsencode(tmp_path) + b"/m\xfcller.db"
    environment = {**os.environ, "JARVIS_RECORDER_STORE__URL": f"sqlite:///{created}"}
    made = [sys.executable, "-m", "jarvis_recorder", "db", "upgrade"]
    subprocess.run(made, check=True, capture_output=True, env=environment)
    created.rename(os.fsdecode(named))
    given = [named] if words == "import" else [b"--set=store.url=sqlite:///" + named]

    done = subprocess.run(
        [sys.executable, "-m", "jarvis_recorder", *words.split(), *given],
        check=False, capture_output=True, env=environment,
    )  # fmt: skip

    assert b"Traceback" not in done.stderr
    assert done.returncode == (0 if words != "import" else 1)


def test_a_daemon_starts_without_loading_the_other_commands():
    script = (
        "import sys; from jarvis_recorder import cli; cli._application(['run']);"
        "print(*(name for name in sys.modules if name.startswith('jarvis_recorder.cli.')))"
    )

    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert set(loaded.stdout.split()) == {"jarvis_recorder.cli.run", "jarvis_recorder.cli.options"}


def test_an_export_that_fails_leaves_no_file_and_may_be_repeated(tmp_path):
    export = ("dead", "export", tmp_path / "dead.jsonl", "--set=broker.url=amqp://127.0.0.1:1/")

    first, second = process(*export), process(*export)

    assert list(tmp_path.iterdir()) == []
    assert (first.returncode, second.returncode) == (69, 69)
    assert second.stderr == first.stderr


def test_more_dead_letters_than_can_be_held_are_wrong_usage(jarvis):
    ended = jarvis("dead", "list", "--limit", 10**20)

    assert (ended.returncode, ended.stdout) == (2, "")
    assert "--limit" in ended.stderr


@pytest.mark.parametrize("option", ["--config=/nonexistent.toml", "--set=no.such=1"])
def test_settings_of_the_gateway_before_another_command_are_wrong_usage(jarvis, option):
    ended = jarvis("gateway", option, "passwd")

    assert (ended.returncode, ended.stdout) == (2, "")
    assert "passwd reads no settings" in " ".join(ended.stderr.replace("│", "").split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("replay 4f1c09ab27de --edit --body fixed.json", "exclude each other"),
        ("replay 4f1c09ab27de --all", "--all alone"),
        ("replay --reason not_json --body=", "name its ID"),
        ("drop --all --reason not_json", "--all alone"),
        ("drop", "say which"),
    ],
)
def test_options_of_dead_letters_that_contradict_each_other_are_wrong_usage(jarvis, words, said):
    ended = jarvis("dead", *words.split())

    assert (ended.returncode, ended.stdout) == (2, "")
    assert said in " ".join(ended.stderr.replace("│", "").split())
