"""The problem that a caller of the gateway gets for an error, and the line in its log."""

import json

from fastapi import Request
from structlog.testing import capture_logs

from jarvis_recorder.gateway.problems import answer_problem


def failed() -> Exception:
    try:
        raise KeyError("secret")
    except KeyError as error:
        return error


async def test_a_defect_is_a_problem_for_the_caller_and_its_place_is_in_the_log():
    request = Request({"type": "http", "method": "GET", "path": "/", "headers": []})

    with capture_logs() as logs:
        answered = await answer_problem(request, failed())

    assert answered.status_code == 500
    assert "secret" not in bytes(answered.body).decode() + json.dumps(logs)
    (line,) = logs
    assert line["error"].startswith("KeyError in test_gateway_problems.py:")
    assert line["error"].endswith(", failed")
