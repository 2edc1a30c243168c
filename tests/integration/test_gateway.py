"""The gateway over HTTP, in front of a running recorder."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pytest

from jarvis_recorder.client import RecorderClient
from tests.support import scenario
from tests.support.gateway import PASSWORD, READER_PASSWORD
from tests.support.publisher import publish
from tests.support.recorder import wait_until

pytestmark = pytest.mark.broker

SAMPLES = Path(__file__).parents[1] / "samples"
EXCHANGES = [json.loads(line) for line in (SAMPLES / "origin-rest.jsonl").read_text().splitlines()]
ALERT = {"type": "alert", "severity": "critical", "source": "monitor", "summary": "NODE_DOWN"}


@pytest.fixture
def operator(gateway):
    with gateway.client() as client:
        yield client


def shape(value, path="body"):
    """Return each path in a value with the types found there; of a list all elements alike."""
    found = {(path, type(value).__name__)}
    match value:
        case dict():
            for name, inner in value.items():
                found |= shape(inner, f"{path}.{name}")
        case list():
            for inner in value:
                found |= shape(inner, f"{path}[]")
    return found


def replayed(client, token, request):
    headers = dict(request.get("headers", {}))
    if request.get("authenticated"):
        headers["Authorization"] = f"Bearer {token}"
    content = {}
    if "raw_body" in request:
        content = {"content": request["raw_body"]}
        headers["Content-Type"] = "application/json"
    elif "body" in request:
        right = request["body"].get("password") == "jarvis"
        content = {"json": {"password": PASSWORD} if right else request["body"]}
    return client.request(request["method"], request["path"], headers=headers, **content)


def test_what_the_original_answered_is_answered_again(gateway):
    token = None
    with gateway.client(None) as client:
        for exchange in EXCHANGES:
            request, expected = exchange["request"], exchange["response"]
            answer = replayed(client, token, request)
            where = f"{request['method']} {request['path']}"

            assert answer.status_code == expected["status"], (where, answer.text)
            body = answer.json()
            if "_text" not in expected["body"]:
                assert shape(expected["body"]) <= shape(body), where
            token = body.get("token", token)


@pytest.mark.parametrize(("word", "severity"), [("notice", "info"), ("unknown", "warning")])
def test_words_of_other_systems_for_a_severity_are_taken(operator, word, severity):
    body = {**ALERT, "severity": word}

    recorded = operator.post("/api/memory/events", json=body).json()["event"]

    assert recorded["severity"] == severity


def test_a_word_that_is_no_severity_is_refused(operator):
    refused = operator.post("/api/memory/events", json={**ALERT, "severity": "purple"})

    assert refused.status_code == 400
    assert "severity" in refused.json()["error"]


def test_times_go_out_in_utc_and_details_as_text(operator):
    details = '{"previousState": "online"}'

    event = operator.post("/api/memory/events", json={**ALERT, "details": details}).json()["event"]

    assert event["timestamp"].endswith("Z")
    assert abs(datetime.fromisoformat(event["timestamp"]) - datetime.now(UTC)).seconds < 60
    assert json.loads(event["details"]) == {"previousState": "online"}


def test_filters_combine(operator):
    for node in ("pve1", "pve2"):
        for severity in ("info", "error"):
            operator.post("/api/memory/events", json={**ALERT, "node": node, "severity": severity})

    found = operator.get("/api/memory/events", params={"node": "pve1", "severity": "error"})

    assert [(one["node"], one["severity"]) for one in found.json()["events"]] == [("pve1", "error")]


def test_clusters_types_and_severities_are_distinguished(operator):
    for cluster in ("home", "lab"):
        for type_, severity in (("alert", "error"), ("metric", "info")):
            body = {**ALERT, "type": type_, "severity": severity, "cluster": cluster}
            operator.post("/api/memory/events", json=body).raise_for_status()

    def events(path, **params):
        found = operator.get(f"/api/memory/events{path}", params=params).json()["events"]
        return [(one["cluster"], one["type"]) for one in found]

    assert events("", cluster="lab", minSeverity="warning") == [("lab", "alert")]
    assert len(events("/unresolved")) == 4, "every type, as the original answers"
    assert events("/unresolved", type="alert", cluster="home") == [("home", "alert")]
    for path in ("/api/timeline?timestamp=2026-11-23T08:00:00 01:00", "/api/snapshots/latest"):
        refused = operator.get(path)
        assert refused.status_code == 400
        assert "'home', 'lab'" in refused.json()["error"]
    around = operator.get("/api/timeline?timestamp=2026-11-23T08:00:00+01:00&cluster=lab")
    assert around.json()["timestamp"] == "2026-11-23T07:00:00.000000Z"
    assert operator.get("/api/stats").json()["holdings"]["clusters"] == ["home", "lab"]


def test_a_time_is_a_number_too_and_kept_as_it_was_written(operator, recorder):
    for written in (1_769_414_437, "2026-01-26T09:00:37+0100"):
        body = {**ALERT, "timestamp": written}
        event = operator.post("/api/memory/events", json=body).json()["event"]
        assert event["timestamp"] == "2026-01-26T08:00:37.000000Z"
    for since, found in ((1_769_414_437, 2), (1_769_414_438_000, 0)):
        listed = operator.get("/api/memory/events", params={"since": since, "until": "2026-02-01"})
        assert len(listed.json()["events"]) == found
    for wrong in (5, 20_260_131, "2026-01-26"):
        refused = operator.post("/api/memory/events", json={**ALERT, "timestamp": wrong})
        assert refused.status_code == 400
        assert "timestamp" in refused.json()["error"]

    kept = [
        json.loads(extra)["timestamp"] for (extra,) in recorder.rows("SELECT extra FROM events")
    ]
    assert kept == [1_769_414_437, "2026-01-26T09:00:37+0100"]


def test_days_are_those_of_the_time_zone_that_is_named(operator):
    body = {**ALERT, "timestamp": "2026-07-01T22:30:00Z"}
    operator.post("/api/memory/events", json=body).raise_for_status()
    wanted = "since=2026-07-01&until=2026-07-03&bucketSeconds=86400"

    def starts(zone):
        found = operator.get(f"/api/events/histogram?{wanted}{zone}").json()["buckets"]
        return [one["start"] for one in found if one["count"]]

    assert starts("") == ["2026-07-01T00:00:00.000000Z"]
    for zone in ("Europe/Berlin", "+02:00", "%2B02:00"):
        assert starts(f"&timeZone={zone}") == ["2026-07-01T22:00:00.000000Z"]
    unknown = operator.get(f"/api/events/histogram?{wanted}&timeZone=Mars")
    assert (unknown.status_code, "Europe/Berlin" in unknown.json()["error"]) == (400, True)


def test_an_idempotency_key_records_once(operator):
    answers = [
        operator.post("/api/memory/events", json=ALERT, headers={"Idempotency-Key": "k-1"})
        for _ in range(2)
    ]

    assert answers[0].json() == answers[1].json()
    assert len(operator.get("/api/memory/events").json()["events"]) == 1


@pytest.mark.parametrize("identity", ["id", "message_id", "messageId"])
def test_an_event_is_read_as_the_method_reads_it(operator, recorder, identity):
    body = {
        "Type": "alert", "source": "monitor", "summary": "s", "Severity": "critical",
        "node": 5, "extra": {"a": 1}, "shelf": 3, identity: "e-1",
    }  # fmt: skip

    answers = [operator.post("/api/memory/events", json=body) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [201, 201], answers[0].text
    event = answers[0].json()["event"]
    assert event == answers[1].json()["event"]
    assert (event["severity"], event["node"]) == ("critical", "5")
    ((message_id, extra),) = recorder.rows("SELECT message_id, extra FROM events")
    assert message_id == "e-1"
    assert json.loads(extra) == {
        "a": 1, "shelf": 3, "Type": "alert", "Severity": "critical", "node": 5
    }  # fmt: skip


def test_an_idempotency_key_counts_before_an_identity_in_the_body(operator, recorder):
    headers = {"Idempotency-Key": "k-1"}

    operator.post("/api/memory/events", json={**ALERT, "id": "e-1"}, headers=headers)

    assert recorder.rows("SELECT message_id FROM events") == [("k-1",)]


async def test_a_cursor_of_long_names_is_taken_back(amqp_url, recorder, operator):
    turns = [
        ("chat.turn", {"session_id": name * 255, "role": "user", "content": "hi"}, {})
        for name in "一二三"
    ]
    await publish(amqp_url, *turns)
    await asyncio.to_thread(wait_until, lambda: recorder.count("conversations") == 3, "recorded")

    seen, cursor = [], None
    while cursor is not None or not seen:
        params = {"limit": 1} | ({"cursor": cursor} if cursor else {})
        page = operator.get("/api/conversations", params=params)
        assert page.status_code == 200, page.text
        seen += [one["sessionId"][0] for one in page.json()["sessions"]]
        cursor = page.json()["nextCursor"]

    assert sorted(seen) == sorted("一二三")


def test_a_time_in_a_body_is_not_read_as_one_in_a_url(operator):
    lost_plus = {"until": "2036-12-01T08:00:00 02:00", "node": "pve1"}
    assert operator.post("/api/incidents/silence", json=lost_plus).status_code == 400
    for until in (2_111_000_000, "2036-11-23T05:33:20Z", "2036-11-24"):
        body = {"until": until, "node": "pve1"}
        assert operator.post("/api/incidents/silence", json=body).status_code == 200


def test_pages_go_on_by_cursor(operator):
    for number in range(5):
        operator.post("/api/memory/events", json={**ALERT, "summary": f"event {number}"})

    seen, cursor = [], None
    while True:
        params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = operator.get("/api/memory/events", params=params).json()
        seen += [one["summary"] for one in page["events"]]
        cursor = page["nextCursor"]
        if cursor is None:
            break

    assert seen == [f"event {number}" for number in (4, 3, 2, 1, 0)]


async def test_everything_recorded_can_be_seen(amqp_url, recorder, operator):
    await publish(amqp_url, *scenario.FILL)
    await asyncio.to_thread(wait_until, lambda: recorder.count("conversations") == 2, "recorded")

    def get(path, **params):
        answer = operator.get(f"/api/{path}", params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    (session,) = get("conversations")["sessions"]
    turns = get(f"conversations/{session['sessionId']}/turns")["turns"]
    found = get("conversations/search", q="power supply")["turns"]
    usage = get("conversations/usage", since="2026-01-01", by="model")
    snapshot = get("snapshots/latest", cluster=get("snapshots")["snapshots"][0]["cluster"])
    event = get("memory/events")["events"][0]
    around = get("timeline", timestamp=event["timestamp"])
    buckets = get("events/histogram", since="2026-11-23", until="2026-11-24", by="severity")

    assert len(turns) == 2
    assert found[0]["highlights"]
    assert usage["total"]["turns"] == 2
    assert snapshot["snapshot"]["snapshot"]
    assert event["id"] in [one["id"] for one in around["events"]]
    assert sum(bucket["count"] for bucket in buckets["buckets"]) == 1
    assert get("stats")["holdings"]["conversations"]["count"] == 2


def test_an_event_is_resolved_by_the_caller(operator):
    number = operator.post("/api/memory/events", json=ALERT).json()["event"]["id"]

    resolved = operator.post(f"/api/events/{number}/resolve").json()["event"]

    assert (resolved["resolved"], resolved["resolvedBy"]) == (True, "operator")
    assert operator.get(f"/api/events/{number}").json()["event"] == resolved
    assert operator.get("/api/memory/events/unresolved").json()["events"] == []
    assert operator.post(f"/api/events/{number}/reopen").json()["event"]["resolved"] is False


def test_a_newer_preference_is_not_overwritten(operator):
    path = "/api/memory/preferences/ui.theme"
    operator.put(path, json={"value": "dark"})

    conflict = operator.put(path, json={"value": "light", "expectedVersion": 7})

    assert conflict.status_code == 409
    assert conflict.headers["content-type"] == "application/problem+json"
    assert operator.get(path).json()["preference"]["value"] == "dark"
    assert operator.delete(path).json() == {"deleted": 1}
    assert operator.get(path).status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/api/memory/preferences/ui.theme", {"value": "red", "expectedversion": 3}),
        ("POST", "/api/dead-letters/replay", {"all": True, "reasons": "not_json"}),
        ("POST", "/api/dead-letters/4f1c09ab27de/check", {"body": "{}", "force": True}),
        ("POST", "/api/incidents/silence", {"until": "2026-01-26T00:00:00Z", "nodes": "pve1"}),
        ("GET", "/api/memory/events?min_severity=error", None),
        ("GET", "/api/dead-letters?reasons=not_json", None),
        ("GET", "/api/live?since=2026-01-26", None),
    ],
)
def test_a_name_that_a_route_does_not_have_is_refused(operator, recorder, method, path, body):
    answer = operator.request(method, path, json=body)

    assert answer.status_code == 400
    name = path.partition("?")[2].partition("=")[0] or list(body)[-1]
    assert answer.json()["error"].startswith(f"{name}: ")
    assert recorder.count("preferences") == 0


def test_an_event_keeps_the_fields_that_its_route_does_not_have(operator, recorder):
    operator.post("/api/memory/events", json={**ALERT, "shelf": 3}).raise_for_status()
    operator.get("/api/health?from=monitor").raise_for_status()

    assert json.loads(recorder.rows("SELECT extra FROM events")[0][0]) == {"shelf": 3}


def test_a_reader_reads_and_changes_nothing(gateway):
    with gateway.client(READER_PASSWORD) as reader:
        assert reader.get("/api/memory/events").status_code == 200
        for method, path, body in (
            ("POST", "/api/memory/events", ALERT),
            ("POST", "/api/events/1/resolve", {}),
            ("POST", "/api/events/1/reopen", {}),
            ("PUT", "/api/memory/preferences/a", {"value": "b"}),
            ("DELETE", "/api/memory/preferences/a", None),
            ("DELETE", "/api/conversations/s-1/turns", None),
        ):
            assert reader.request(method, path, json=body).status_code == 403, path


async def test_dead_letters_are_seen_and_replayed(amqp_url, gateway, operator):
    await publish(amqp_url, *((scenario.FILL[1][0], b"{bad %d" % n, {}) for n in range(3)))

    def listed():
        answer = operator.get("/api/dead-letters", params={"limit": 2})
        assert answer.status_code == 200, answer.text
        return answer.json()

    await asyncio.to_thread(wait_until, lambda: listed()["total"] == 3, "all are dead")
    page = listed()
    letter = operator.get(f"/api/dead-letters/{page['letters'][0]['id']}").json()["letter"]
    nothing = operator.post("/api/dead-letters/replay", json={})
    replayed = operator.post("/api/dead-letters/replay", json={"reason": "not_json"})
    with gateway.client(READER_PASSWORD) as reader:
        refused = reader.post("/api/dead-letters/replay", json={"all": True})

    assert page["counts"] == {"not_json": 3}
    assert len(page["letters"]) == 2
    assert (letter["body"], letter["bodyIsText"]) == ("{bad 2", True)
    assert letter["headers"]["x-recorder-reason"] == "not_json"
    assert nothing.json() == {"replayed": 0, "left": 0}
    assert replayed.json() == {"replayed": 3, "left": 0}
    assert refused.status_code == 403
    assert operator.get("/api/dead-letters/000000000000").status_code == 404
    await asyncio.to_thread(
        wait_until, lambda: {one["replays"] for one in listed()["letters"]} == {1}, "came back"
    )


async def test_a_dead_letter_is_edited_checked_and_replayed(amqp_url, gateway, operator, recorder):
    good = json.dumps({**ALERT, "summary": "mended"})
    await publish(amqp_url, (scenario.FILL[1][0], good[:-1].encode(), {"message_id": "mended-1"}))

    def letters():
        return operator.get("/api/dead-letters").json()["letters"]

    await asyncio.to_thread(wait_until, lambda: len(letters()) == 1, "it is dead")
    path = f"/api/dead-letters/{letters()[0]['id']}"

    wrong = operator.post(f"{path}/check", json={"body": "{bad"}).json()["error"]
    right = operator.post(f"{path}/check", json={"body": good}).json()
    refused = operator.post(f"{path}/replay", json={"body": "{bad"})
    untouched = len(letters())
    with gateway.client(READER_PASSWORD) as reader:
        forbidden = [
            reader.post(f"{path}/{action}", json={"body": good}).status_code
            for action in ("check", "replay")
        ]
    replayed = operator.post(f"{path}/replay", json={"body": good})

    assert "not JSON" in wrong
    assert right == {"error": None}
    assert (refused.status_code, refused.json()["error"]) == (
        400,
        f"it would be refused again: {wrong}",
    )
    assert untouched == 1
    assert forbidden == [403, 403]
    assert replayed.json() == {"replayed": 1, "left": 0}
    stored = ("mended-1", "mended")
    await asyncio.to_thread(
        wait_until,
        lambda: stored in recorder.rows("SELECT message_id, summary FROM events"),
        "it is recorded under its own identity",
    )
    gone = operator.post(f"{path}/replay", json={"body": good})
    assert gone.status_code == 404


def test_twenty_wrong_logins_are_limited_and_the_right_one_is_let_in(gateway):
    with gateway.client(None) as client:
        answers = [
            client.post("/api/auth/login", json={"password": f"wrong-{number}"})
            for number in range(20)
        ]
        right = client.post("/api/auth/login", json={"password": PASSWORD})

    assert [answer.status_code for answer in answers] == [401] * 5 + [429] * 15
    assert int(answers[-1].headers["retry-after"]) > 0
    assert right.status_code == 200


def test_any_key_and_any_session_can_be_named(operator):
    operator.put("/api/memory/preferences/a", json={"value": "another"})
    for key in ("a\nb", "a\n", "\n", "a/b", "ü", "a b", "a%2Fb", "a?b#c"):
        path = f"/api/memory/preferences/{quote(key, safe='')}"

        assert operator.put(path, json={"value": "dark"}).json()["preference"]["key"] == key
        assert operator.get(path).json()["preference"]["value"] == "dark"
        assert operator.delete(path).json() == {"deleted": 1}
        turns = operator.get(f"/api/conversations/{quote(key, safe='')}/turns")
        assert turns.json()["turns"] == []
    assert operator.get("/api/memory/preferences/a").json()["preference"]["value"] == "another"


@pytest.mark.parametrize(
    "body",
    [
        b"{not json", b"[]", b'"text"', b"", b'{"type":"alert","type":"alert"}', b"\xff",
        b'{"type":"alert","source":"monitor","summary":"x","details":NaN}',
        b'{"type":"alert","source":"monitor","summary":"a\\u0000b"}',
        b'{"type":"alert","source":"monitor","summary":""}',
        b'{"type":"alert","source":"monitor","summary":"x","details":' + b"[" * 9_000,
    ],
)  # fmt: skip
def test_a_bad_body_is_the_callers_mistake(operator, body):
    answer = operator.post(
        "/api/memory/events", content=body, headers={"Content-Type": "application/json"}
    )

    assert answer.status_code == 400
    assert answer.json()["error"]


def test_a_body_that_is_too_large_is_refused(operator):
    answer = operator.post("/api/memory/events", json={**ALERT, "details": "x" * 1_100_000})

    assert answer.status_code == 413


def test_answers_tell_browsers_to_be_careful(gateway):
    with gateway.client(None) as client:
        answer = client.get("/api/memory/events")

    assert answer.headers["content-security-policy"].startswith("default-src 'self'")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in answer.headers


def test_a_recorder_that_is_away_is_said_and_comes_back(
    amqp_url, start_recorder, recorder, operator
):
    recorder.kill()
    away = operator.get("/api/memory/events", headers={"Prefer": "wait=1"})
    health = operator.get("/api/health", headers={"Prefer": "wait=1"})

    start_recorder(amqp_url).wait_for("answering")
    back = operator.get("/api/memory/events")

    assert (away.status_code, health.status_code) == (503, 503)
    assert int(away.headers["retry-after"]) > 0
    assert "recorder" in away.json()["error"]
    assert back.status_code == 200


def events_of(stream, most, *, without=()):
    """Read server-sent events until there are enough, except for some kinds."""
    found = []
    name = None
    for line in stream.iter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            if name in without:
                continue
            found.append((name, json.loads(line.removeprefix("data: "))))
            if len(found) == most:
                return found
    raise AssertionError(f"the stream ended after {found}")


async def test_what_continues_is_streamed(amqp_url, gateway, operator):
    def listen():
        with operator.stream("GET", "/api/live") as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            listening.set_result(None)
            # An incident is told of once it is folded: before the others, or behind them.
            return events_of(stream, 6, without={"incident", "resync"})

    loop = asyncio.get_running_loop()
    listening = _ThreadsafeFuture(loop)
    heard = asyncio.create_task(asyncio.to_thread(listen))
    await listening.future
    await publish(amqp_url, scenario.FILL[1])
    async with RecorderClient(amqp_url) as client:
        # By another gateway, for example.
        await client.events.record(type="action", source="user", summary="restarted")
    with gateway.client() as other:
        number = other.post("/api/memory/events", json=ALERT).json()["event"]["id"]
        other.post(f"/api/events/{number}/resolve")
        other.post(f"/api/events/{number}/reopen")
        other.put("/api/memory/preferences/ui.theme", json={"value": "dark"})
    kinds = [kind for kind, _ in await asyncio.wait_for(heard, 60)]

    assert sorted(kinds) == ["event"] * 3 + ["preference", "reopened", "resolved"]


def test_page_and_answers_are_compressed_and_the_stream_is_not(operator):
    for number in range(50):
        operator.post("/api/memory/events", json={**ALERT, "details": {"number": number}})

    for path in ("/", "/static/js/main.js", "/static/vendor/uplot/uPlot.esm.js"):
        assert operator.get(path).headers["content-encoding"] == "gzip", path
    small = operator.get("/api/memory/events")
    plain = operator.get("/api/memory/events", headers={"Accept-Encoding": "identity"})
    assert plain.json() == small.json()
    assert "content-encoding" not in plain.headers
    assert int(small.headers["content-length"]) < int(plain.headers["content-length"]) / 5
    # That it is not held back either is seen where something goes on.
    with operator.stream("GET", "/api/live") as stream:
        assert "content-encoding" not in stream.headers


class _ThreadsafeFuture:
    """A future that a thread may finish."""

    def __init__(self, loop):
        self.future = loop.create_future()
        self._loop = loop

    def set_result(self, value):
        self._loop.call_soon_threadsafe(self.future.set_result, value)


def test_the_stream_wants_a_token_too(gateway):
    with gateway.client(None) as client:
        assert client.get("/api/live").status_code == 401


async def test_a_page_that_stops_reading_holds_up_no_one_and_hears_what_it_missed(
    amqp_url, gateway
):
    """More comes than the kernel and the gateway keep for it."""
    key, event, _ = scenario.FILL[1]
    body = {**event, "summary": "x" * 8_000}
    with gateway.client() as stalled, stalled.stream("GET", "/api/live") as stream:
        assert stream.status_code == 200
        await publish(amqp_url, *((key, body, {"message_id": f"m-{n}"}) for n in range(1_500)))
        with gateway.client() as other:
            assert other.get("/api/memory/events").status_code == 200
        lines = stream.iter_lines()
        assert "event: event" in lines
        assert "event: resync" in lines


def test_it_stops_when_told_though_a_page_looks(gateway, operator):
    with operator.stream("GET", "/api/live") as stream:
        assert stream.status_code == 200
        assert gateway.stop() == 0
