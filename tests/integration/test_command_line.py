"""The commands in front of a real recorder: processes, their output, their exit codes."""

import asyncio
import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import threading
from urllib.parse import urlsplit

import pytest

from tests.support.proxy import SwallowingProxy
from tests.support.publisher import EVENT_KEY, event, publish
from tests.support.recorder import wait_until
from tests.support.scenario import FILL

pytestmark = pytest.mark.broker


def environment(url, **more):
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("JARVIS_RECORDER")
    }
    return inherited | {"JARVIS_RECORDER_BROKER__URL": url, "TZ": "Europe/Berlin"} | more


@pytest.fixture
async def jarvis(amqp_url, start_recorder):
    """Run a command against a recorder that holds what `FILL` has."""
    recorder = start_recorder(amqp_url)
    recorder.wait_for("recording")
    recorder.wait_for("answering")
    await publish(amqp_url, *FILL)
    wait_until(lambda: recorder.count("events") == 1, "the event is recorded")
    wait_until(lambda: recorder.count("conversations") == 2, "the turns are recorded")
    wait_until(lambda: recorder.count("cluster_snapshots") == 1, "the snapshot is recorded")

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "jarvis_recorder", *map(str, arguments)],
            check=False, capture_output=True, text=True, timeout=30, env=environment(amqp_url),
        )  # fmt: skip

    return run


def answer(ended):
    assert (ended.returncode, ended.stderr) == (0, "")
    return json.loads(ended.stdout)


def test_what_was_recorded_is_found(jarvis):
    (found,) = answer(jarvis("query", "events", "--severity", "critical", "--json"))["events"]
    assert found["timestamp"] == "2026-11-23T08:00:00.000000Z"

    shown = jarvis("query", "events", "--since", "2026-11-23 08:59", "--until", "2026-11-24")
    one = jarvis("query", "event", found["id"])
    sessions = jarvis("query", "sessions")
    turns = jarvis("query", "turns", "s-1")
    search = jarvis("query", "search", "power")
    usage = answer(jarvis("query", "usage", "--since", "2026-11-23", "--json"))

    assert "2026-11-23 09:00:00  critical  alert  monitor  pve1" in shown.stdout
    assert "offline" in one.stdout
    assert "s-1" in sessions.stdout
    assert turns.stdout.splitlines()[1] == "  Why did pve1 go down?"
    assert "Its power supply failed." in search.stdout
    assert usage["total"]["cost_usd"] == "0.00012"


def test_the_state_of_the_cluster_is_found(jarvis):
    at = jarvis("query", "snapshot", "--cluster", "home", "--at", "2026-11-23 09:00")
    timeline = jarvis("query", "timeline", "2026-11-23T08:00:00Z")
    listed = answer(jarvis("query", "snapshots", "--json"))["snapshots"]
    stats = jarvis("query", "stats")
    nothing = jarvis("query", "snapshot", "--cluster", "nowhere")

    assert "pve1  online" in at.stdout
    lines = timeline.stdout.splitlines()
    assert [line for line in lines if "this time" in line or "NODE_DOWN" in line] == lines[4:6]
    assert [one["cluster"] for one in listed] == ["home"]
    assert "recording" in stats.stdout
    assert (nothing.returncode, nothing.stdout) == (1, "")
    assert "query snapshots tells which there are" in nothing.stderr


def test_a_histogram_counts(jarvis):
    drawn = jarvis(
        "query", "histogram", "--since", "2026-11-23T07:00:00Z", "--until", "2026-11-23T09:00:00Z",
        "--bucket", "1h", "--by", "severity",
    )  # fmt: skip

    assert drawn.stdout.splitlines()[1:] == [
        "2026-11-23 08:00:00  0",
        f"2026-11-23 09:00:00  1  {'█' * 40}  critical 1",
    ]


def test_preferences_are_kept(jarvis):
    assert jarvis("prefs", "set", "voice", "de", "--expected-version", 0).stdout == (
        "voice is set, version 1\n"
    )
    conflict = jarvis("prefs", "set", "voice", "en", "--expected-version", 0)
    assert jarvis("prefs", "get", "voice").stdout == "de\n"
    listed = answer(jarvis("prefs", "list", "--json"))["preferences"]
    deleted = jarvis("prefs", "delete", "voice")
    missing = jarvis("prefs", "get", "voice")

    assert conflict.returncode == missing.returncode == 1
    assert "is at version 1" in conflict.stderr
    assert [(one["key"], one["updated_by"]) for one in listed] == [("voice", "guest")]
    assert deleted.stdout == "voice is deleted\n"
    assert "prefs list tells which there are" in missing.stderr


def test_an_event_is_resolved_once(jarvis):
    (found,) = answer(jarvis("query", "events", "--json"))["events"]

    by_user = jarvis("resolve", found["id"])
    again = jarvis("resolve", found["id"], "--by", "alice")
    missing = jarvis("resolve", 999)

    assert "is resolved by guest since" in by_user.stdout
    assert again.stdout == by_user.stdout
    assert missing.returncode == 1
    assert answer(jarvis("query", "events", "--unresolved", "--json"))["events"] == []


async def test_all_events_are_listed_page_by_page(jarvis, amqp_url, database):
    batch = [event(number, id=f"e-{number}") for number in range(2_500)]
    await publish(amqp_url, (EVENT_KEY, batch, {"message_id": "batch"}))
    wait_until(lambda: "2501" in jarvis("query", "events", "--all").stdout, "all are recorded")

    table = jarvis("query", "events", "--all")
    document = answer(jarvis("query", "events", "--all", "--json"))

    assert len(table.stdout.splitlines()) == 1 + 2_501
    assert len({one["id"] for one in document["events"]}) == 2_501


async def test_two_clusters_are_distinguished(jarvis, amqp_url):
    state = {"snapshot": {"nodes": []}, "timestamp": "2026-11-23T08:00:30Z"}
    await publish(
        amqp_url,
        ("cluster.snapshot.lab", state, {"message_id": "of-lab"}),
        (EVENT_KEY, event(1, cluster="lab", type="alert"), {"message_id": "alert-of-lab"}),
        (EVENT_KEY, event(2, cluster="lab", type="metric"), {"message_id": "metric-of-lab"}),
    )
    wait_until(lambda: len(listed(jarvis, "--cluster=lab")) == 2, "the events are recorded")

    unsaid = jarvis("query", "snapshot")
    assert (unsaid.returncode, unsaid.stdout) == (1, "")
    assert "there are several: name one of 'home', 'lab'" in unsaid.stderr
    for cluster in ("home", "lab"):
        shown = answer(jarvis("query", "snapshot", "--cluster", cluster, "--json"))
        assert shown["snapshot"]["cluster"] == cluster
        around = answer(
            jarvis("query", "timeline", "2026-11-23T08:01:00Z", "--cluster", cluster, "--json")
        )
        assert around["snapshot"]["cluster"] == cluster
    assert [one["message_id"] for one in listed(jarvis, "--cluster=lab", "--unresolved")] == [
        "alert-of-lab"
    ]
    assert answer(jarvis("query", "stats", "--json"))["holdings"]["clusters"] == ["home", "lab"]


HOSTILE = r"\$(touch /tmp/x)"


async def test_a_shell_is_offered_no_name_that_it_would_act_on(jarvis, amqp_url):
    turn = {"session_id": "s-9", "role": "user", "content": f"{HOSTILE} in [/etc/hosts]?"}
    await publish(
        amqp_url,
        (EVENT_KEY, event(1, node=HOSTILE, cluster=HOSTILE, timestamp=None), {"message_id": "1"}),
        (EVENT_KEY, event(2, node="vault", cluster=HOSTILE, timestamp=None), {"message_id": "2"}),
        ("chat.turn.user", turn, {"message_id": "3"}),
        ("chat.turn.user", turn | {"session_id": HOSTILE}, {"message_id": "4"}),
    )
    wait_until(lambda: len(listed(jarvis)) == 3, "the events are recorded")
    wait_until(lambda: "s-9" in jarvis("query", "sessions").stdout, "the turns are recorded")

    assert HOSTILE in jarvis("query", "events", "--cluster", HOSTILE).stdout
    for shell in ("bash", "zsh", "fish"):
        nodes = completed(amqp_url, shell, "query events --node ")
        clusters = completed(amqp_url, shell, "query events --cluster ")
        sessions = completed(amqp_url, shell, "query turns ")

        assert "vault" in nodes
        assert "home" in clusters
        assert "s-9" in sessions
        assert [one for one in "$\\`[" if one in nodes + clusters + sessions] == []
    assert '"s-9":"touch tmp x in etc hosts"' in completed(amqp_url, "zsh", "query turns ")


# As the installed command, whose name the completion depends on.
_JARVIS = "import sys; sys.argv = ['jarvis-recorder']; from jarvis_recorder.cli import main; main()"


def completed(url, shell, typed):
    """Return what a shell gets to evaluate or to offer when Tab is pressed."""
    line = f"jarvis-recorder {typed}"
    ended = subprocess.run(
        [sys.executable, "-c", _JARVIS],
        check=True, capture_output=True, text=True, timeout=30,
        env=environment(
            url, _JARVIS_RECORDER_COMPLETE=f"complete_{shell}", _TYPER_COMPLETE_ARGS=line,
            _TYPER_COMPLETE_FISH_ACTION="get-args", COMP_WORDS=line,
            COMP_CWORD=str(len(line.split(" ")) - 1),
        ),
    )  # fmt: skip
    assert ended.stderr == ""
    return ended.stdout


def listed(jarvis, *options):
    return answer(jarvis("query", "events", "--json", *options))["events"]


class Tail:
    """One `jarvis-recorder tail`; its lines as they come."""

    def __init__(self, url, *options):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "jarvis_recorder", "tail", "--kind", "event", *options],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(url),
        )  # fmt: skip
        self.lines = []
        self._is_enough = False
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self):
        for line in self._process.stdout:
            self.lines.append(line)
            if self._is_enough:
                break

    def stop_reading(self):
        self._is_enough = True

    def is_running(self):
        if self._is_enough and not self._reading.is_alive():
            self._process.stdout.close()
        return self._process.poll() is None

    def end(self, signum):
        self._process.send_signal(signum)
        code, errors = self._process.wait(10), self._process.stderr.read()
        self._reading.join(10)
        self._process.stdout.close()
        self._process.stderr.close()
        return code, errors


@contextlib.contextmanager
def tails(*started):
    try:
        yield started
    finally:
        for one in started:
            one._process.kill()


async def test_what_is_published_is_seen_as_it_comes(jarvis, amqp_url):
    severe = {"severity": "critical", "summary": "\x1b[2J severe\nsecond"}
    with tails(
        Tail(amqp_url, "--min-severity=error"), Tail(amqp_url, "--json"),
        Tail(amqp_url, "--severity=error", "--cluster=lab"),
    ) as (people, script, exact):  # fmt: skip
        await heard(amqp_url, people, script, exact)
        await publish(
            amqp_url,
            (EVENT_KEY, event(1), {"message_id": "1"}),
            (EVENT_KEY, event(2, **severe), {"message_id": "2"}),
            ("chat.turn.user", FILL[2][1], {"message_id": "3"}),
            (EVENT_KEY, event(4, severity="error", summary="last"), {"message_id": "4"}),
            (EVENT_KEY, event(5, cluster="lab"), {"message_id": "5"}),
            (EVENT_KEY, event(6, cluster="lab", severity="critical"), {"message_id": "6"}),
            (
                EVENT_KEY,
                event(7, cluster="lab", severity="error", summary="of lab"),
                {"message_id": "7"},
            ),
        )
        for one in (people, script, exact):
            wait_until(lambda one=one: "of lab" in one.lines[-1], "all have seen the last")

        assert people.end(signal.SIGINT) == script.end(signal.SIGTERM) == (0, "")
        assert exact.end(signal.SIGTERM) == (0, "")

    assert people.lines[-4].endswith("critical  pve2       ␛[2J severe↵second\n")
    documents = [json.loads(line) for line in script.lines[-6:]]
    assert [one["message_id"] for one in documents] == ["1", "2", "4", "5", "6", "7"]
    assert "anybody" in exact.lines[-2], "none of another cluster or severity in between"
    assert documents[1]["summary"] == severe["summary"]


async def test_a_tail_says_where_something_may_be_missing(jarvis, amqp_url):
    proxy = SwallowingProxy(urlsplit(amqp_url).port)
    async with proxy as port:
        with tails(Tail(f"amqp://guest:guest@127.0.0.1:{port}/", "--json")) as (one,):
            await heard(amqp_url, one)
            proxy.cut()
            async with asyncio.timeout(60):
                while "after the gap" not in one.lines[-1]:
                    await publish(amqp_url, (EVENT_KEY, event(1, summary="after the gap"), {}))
                    await asyncio.sleep(0.1)

            code, said = await asyncio.to_thread(one.end, signal.SIGINT)

    assert (code, said) == (0, "Listening again; what was published meanwhile is in `query`.\n")


async def test_a_reader_that_has_enough_ends_a_tail_in_silence(jarvis, amqp_url):
    with tails(Tail(amqp_url, "--json")) as (one,):
        await heard(amqp_url, one)
        one.stop_reading()

        async with asyncio.timeout(60):
            while one.is_running():
                await publish(amqp_url, (EVENT_KEY, event(1), {}))
                await asyncio.sleep(0.1)

        assert one.end(0) == (0, "")


def test_head_gets_its_lines_and_ends_the_command_in_silence(jarvis, amqp_url):
    command = f"{sys.executable} -m jarvis_recorder query events --all --json"
    script = f"{{ {command}; echo $? > /dev/stderr; }} | head -c 5"
    ended = subprocess.run(
        ["/bin/sh", "-c", script], check=True, capture_output=True, text=True, timeout=30,
        env=environment(amqp_url),
    )  # fmt: skip

    assert (ended.stdout, ended.stderr) == ('{"eve', "0\n")


async def heard(url, *tails):
    """Publish until all have heard something: from then on they miss nothing."""
    for number in range(200):
        body = event(0, severity="error", summary="anybody there?", cluster="lab")
        await publish(url, (EVENT_KEY, body, {"message_id": f"try-{number}"}))
        if all(one.lines for one in tails):
            return
        await asyncio.sleep(0.1)
    raise AssertionError("nobody listens")


def test_on_a_terminal_there_are_colours_and_nothing_recorded_acts(jarvis, amqp_url):
    jarvis("prefs", "set", "nasty", "\x1b]0;title\x07 \u202e")
    leader, follower = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "jarvis_recorder", "prefs", "get", "nasty"],
        stdout=follower, stderr=follower, env=environment(amqp_url, TERM="xterm-256color"),
    ) as process:  # fmt: skip
        os.close(follower)
        shown = b""
        with contextlib.suppress(OSError):
            while chunk := os.read(leader, 4_096):
                shown += chunk
        os.close(leader)
        assert process.wait(10) == 0

    text = shown.decode()
    assert "␛]0;title␇ �" in text
    assert "\x1b]0;" not in text
    assert "\x1b[2mversion 1" in text


def test_a_recorder_that_is_not_there_ends_with_69(broker_url, amqp_url):
    def run(url, *arguments):
        return subprocess.run(
            [sys.executable, "-m", "jarvis_recorder", *arguments],
            check=False, capture_output=True, text=True, timeout=30, env=environment(url),
        )  # fmt: skip

    for command in (["query", "stats"], ["tail"]):
        no_broker = run("amqp://localhost:1/", *command)
        assert no_broker.returncode == 69
        assert len(no_broker.stderr.splitlines()) == 1
        assert "RabbitMQ" in no_broker.stderr
    no_answer = run(amqp_url, "query", "stats", "--timeout", "0.5")

    assert no_answer.returncode == 69
    assert len(no_answer.stderr.splitlines()) == 1
