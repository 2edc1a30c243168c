"""REST does what its document says, whatever it is asked."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.publisher import EVENT_KEY, event, publish
from tests.support.recorder import wait_until

pytestmark = [pytest.mark.broker, pytest.mark.slow]

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")


async def test_it_answers_as_documented_and_never_by_500(amqp_url, recorder, gateway, tmp_path):
    await publish(amqp_url, (EVENT_KEY, event(), {}), (EVENT_KEY, b"no json", {}))
    wait_until(lambda: recorder.count() == 1, "it is recorded")
    with gateway.client() as client:
        token = client.headers["Authorization"]
    found = subprocess.run(
        [
            *(SCHEMATHESIS, "run", f"{gateway.url}/api/openapi.json"),
            *("--header", f"Authorization: {token}"),
            # It never ends; it has tests of its own.
            *("--exclude-path", "/api/live"),
            # Which cursor belongs to a question, and what is later than what, no schema says.
            *("--exclude-checks", "positive_data_acceptance"),
            *("--phases", "examples,coverage,fuzzing", "--max-examples", "15"),
            *("--generation-deterministic", "--continue-on-failure", "--no-color"),
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
    )
    assert found.returncode == 0, found.stdout
