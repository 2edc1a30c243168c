"""`health` and `stats`, against a recorder and against what is none."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.support.engines import on_both
from tests.support.publisher import EVENT_KEY, event, publish
from tests.support.recorder import wait_until


def jarvis(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "jarvis_recorder", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.broker
@on_both
async def test_a_recorder_at_work_and_one_that_cannot_write(amqp_url, start_recorder, recorded):
    recorder = start_recorder(amqp_url)
    served = recorder.wait_for("health_served")
    there = f"--set=http.listen={served['host']}:{served['port']}"
    wait_until(lambda: recorder.readiness()["ready"], "ready")
    await publish(
        amqp_url,
        (EVENT_KEY, event(1), {"message_id": "one"}),
        (EVENT_KEY, b"junk", {"message_id": "two"}),
    )
    wait_until(lambda: json.loads(jarvis("stats", "--json", there).stdout)["stored"], "recorded")

    well = jarvis("health", there)
    assert (well.returncode, "FAIL" in well.stdout) == (0, False)
    wait_until(
        lambda: json.loads(jarvis("stats", "--json", there).stdout)["dead_lettered"]["not_json"],
        "dead-lettered",
    )
    shown = jarvis("stats", there)
    assert shown.returncode == 0
    assert "1 records in" in shown.stdout
    assert "not_json" in shown.stdout
    assert "\x1b" not in shown.stdout

    with recorded.away():
        wait_until(lambda: not recorder.readiness()["ready"], "not ready")
        ill = jarvis("health", "--json", there)
    answer = json.loads(ill.stdout)
    assert (ill.returncode, answer["ready"]) == (1, False)
    assert [check["name"] for check in answer["checks"] if not check["ok"]] == ["storage"]


def test_where_nothing_listens_it_ends_with_69():
    answer = jarvis("health", "--set=http.listen=127.0.0.1:1")
    assert (answer.returncode, answer.stdout) == (69, "")
    assert "no recorder answers at 127.0.0.1:1 (Connection refused)" in answer.stderr


def test_where_no_one_is_to_be_asked_it_ends_with_78():
    answer = jarvis("stats", "--set=http.listen=")
    assert answer.returncode == 78
    assert "http.listen is empty" in answer.stderr


@pytest.fixture
def stranger() -> Iterator[str]:
    """Something else that answers HTTP."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'{"ready": true, "checks": [{"name": 1}]} \x1b[31m'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("command", ["health", "stats"])
def test_what_is_no_recorder_is_reported(stranger, command):
    answer = jarvis(command, f"--set=http.listen={stranger}")
    assert (answer.returncode, answer.stdout) == (1, "")
    assert "what answers is no recorder" in answer.stderr
