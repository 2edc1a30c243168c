"""Lists of the page, with answers that a recorder would give: neither it nor a broker is needed."""

import asyncio
import csv
import json
import re
from collections.abc import Callable
from http import HTTPStatus
from mimetypes import guess_type
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.async_api import expect

import jarvis_recorder
from tests.e2e.conftest import ago

pytestmark = [pytest.mark.browser, pytest.mark.slow]

STATIC = Path(jarvis_recorder.__file__).parent / "gateway" / "static"
EMPTY = """<!doctype html>
<link rel="stylesheet" href="/static/style.css">
<main id="main"></main><p id="said" role="status"></p>"""
# What `caller` reads of a token: its bearer may change everything.
TOKEN = "e30.eyJyb2xlIjoib3BlcmF0b3IifQ.e30"


class Answers:
    """The answers to the page's requests, by path: `/api/…` to what makes one of its query."""

    def __init__(self) -> None:
        self.by_path: dict[str, Callable] = {}

    async def __call__(self, route):
        url = urlsplit(route.request.url)
        if url.path == "/":
            await route.fulfill(body=EMPTY, content_type="text/html")
        elif url.path.startswith("/static/"):
            file = STATIC / url.path.removeprefix("/static/")
            kind = guess_type(file)[0]
            await route.fulfill(body=file.read_bytes(), content_type=kind or "text/plain")
        elif url.path in self.by_path:
            body = self.by_path[url.path](parse_qs(url.query))
            await route.fulfill(body=json.dumps(body), content_type="application/json")
        else:
            await route.fulfill(status=HTTPStatus.NOT_FOUND, body="{}")


@pytest.fixture
def answers():
    return Answers()


@pytest.fixture
async def page(browser, answers):
    """A page of a reader in Berlin that has the modules and nothing else."""
    context = await browser.new_context(timezone_id="Europe/Berlin")
    await context.add_init_script(f"localStorage.setItem('jarvis.token', '{TOKEN}')")
    page = await context.new_page()
    page.set_default_timeout(60_000)
    await page.route("**/*", answers)
    await page.goto("http://page.test/")
    yield page
    await context.close()


async def hold_back(page, path, body):
    """Have the answers of a path wait; return what lets them go when it is set."""
    let_go = asyncio.Event()

    async def answer(route):
        await let_go.wait()
        await route.fulfill(json=body)

    await page.route(path, answer)
    return let_go


# Incidents, of which there are more than come at once


NOW_INCIDENTS = """async () => {
    const { incidentList, incidentsNow } = await import("/static/js/incidents.js");
    const { refill } = await import("/static/js/dom.js");
    const found = await incidentsNow(new AbortController().signal);
    refill(document.querySelector("main"), incidentList(found, () => {}));
}"""
OF_A_NODE = """async () => {
    const { activeIncidents } = await import("/static/js/incidents.js");
    const { signal } = new AbortController();
    const { active, total } = await activeIncidents("/api/incidents", { node: "pve1" }, signal);
    return [active.map(({ key }) => key), total];
}"""


def incidents(number, state, severity, **changes):
    """Return so many of one state and severity; each is newer than those before it."""
    return [
        {"key": f"{state}-{severity}-{n}", "state": state, "severity": severity, "count": 1,
         "kind": "THRESHOLD", "object": f"disk {n}", "node": "pve1", "cluster": None,
         "firstAt": "2026-01-20T10:00:00Z", "lastAt": "2026-01-20T10:00:00Z", "causedBy": None}
        | changes
        for n in range(number)
    ]  # fmt: skip


def listed(known):
    """Return what answers as `incidents.list` does, the newest first; the last known is that."""

    def answer(query):
        matching = [
            one
            for one in reversed(known)
            if all(one[name] in query[name] for name in ("state", "severity") if name in query)
        ]
        page = matching[: int(query["limit"][0])]
        return {"incidents": page, "total": len(matching), "nextCursor": None}

    return answer


async def test_what_no_one_has_seen_is_counted_and_shown_behind_any_number_of_seen_ones(
    page, answers
):
    known = incidents(60, "open", "critical") + incidents(200, "acknowledged", "warning")
    answers.by_path["/api/incidents"] = listed(known)

    await page.evaluate(NOW_INCIDENTS)

    await expect(page.get_by_text("60 critical open")).to_be_visible()
    await expect(page.locator(".event.critical")).to_have_count(60)
    await expect(page.get_by_text("Of 260 the worst 200 are shown.")).to_be_visible()


async def test_an_older_critical_incident_is_above_any_number_of_newer_warnings(page, answers):
    worst = incidents(1, "unknown", "critical", kind="NODE_DOWN", object=None, node="pve9")
    known = worst + incidents(300, "open", "warning") + incidents(7, "acknowledged", "critical")
    answers.by_path["/api/incidents"] = listed(known)

    await page.evaluate(NOW_INCIDENTS)

    said = page.get_by_text("1 critical, 300 warning open; pve9 is offline")
    await expect(said).to_be_visible()
    await expect(page.locator(".event").first).to_contain_text("NODE_DOWN pve9")
    keys, total = await page.evaluate(OF_A_NODE)
    assert (keys[0], len(keys), total) == ("unknown-critical-0", 200, 308)


async def test_all_is_seen_where_none_is_open_and_no_sooner(page, answers):
    answers.by_path["/api/incidents"] = listed(incidents(201, "acknowledged", "error"))

    await page.evaluate(NOW_INCIDENTS)

    await expect(page.get_by_text("Somebody has seen all that is open.")).to_be_visible()
    await expect(page.get_by_text("Of 201 the worst 200 are shown.")).to_be_visible()


async def test_nothing_is_said_to_be_open_or_seen_while_incidents_are_being_made_again(
    page, answers
):
    said = page.get_by_text("The incidents are being made again: more may be open.")
    for known, claim in (
        ([], "Nothing is open."),
        (incidents(1, "acknowledged", "error"), "Somebody"),
    ):
        for complete in (False, True):
            answer = listed(known)
            answers.by_path["/api/incidents"] = lambda query, answer=answer, complete=complete: (
                answer(query) | {"complete": complete}
            )
            await page.evaluate(NOW_INCIDENTS)
            await expect(said).to_have_count(0 if complete else 1)
            await expect(page.get_by_text(claim)).to_have_count(1 if complete else 0)


async def test_what_is_seen_is_not_counted_as_open(page, answers):
    known = incidents(2, "open", "error") + incidents(3, "acknowledged", "error")
    answers.by_path["/api/incidents"] = listed(known)

    await page.evaluate(NOW_INCIDENTS)

    await expect(page.get_by_text("2 error open", exact=True)).to_be_visible()
    await expect(page.get_by_text("are shown")).to_have_count(0)


async def test_a_long_outage_that_is_over_since_today_is_among_those_of_the_last_day(page, answers):
    """Its one alert is of the day before, and there are newer ones of others."""

    def over(kind, alert, end):
        times = {"firstAt": ago(hours=alert), "lastAt": ago(hours=alert)}
        return incidents(1, "recovered", "error", kind=kind, recoveredAt=ago(hours=end), **times)

    before = [*over("DISK_FULL", 50, 40), *over("NODE_DOWN", 30, 0.2)]
    known = before + [one for _ in range(10) for one in over("VM_CRASHED", 2, 1)]

    def answer(query):
        since = query.get("since", [""])[0]
        return listed([one for one in known if one["lastAt"] >= since])(query)

    answers.by_path["/api/incidents"] = answer

    await page.evaluate(NOW_INCIDENTS)

    await page.get_by_text("11 over in the last day", exact=True).click()
    rows = page.locator("[data-rows=incidents] .event .text")
    await expect(rows).to_contain_text(["NODE_DOWN", *["VM_CRASHED"] * 10])


# What was asked for before has been seen by its answer.
ASKED = "fetch('/api/nothing')"


@pytest.fixture
async def asked(page):
    """The addresses that a page asks for, without its files."""
    found = []

    def note(request):
        url = urlsplit(request.url)
        if url.path.startswith("/api/"):
            found.append(f"{url.path}?{url.query}")

    page.on("request", note)
    return found


# What an answer leaves out, and lists by pages


ITS_EVENTS = """async () => {
    const { get } = await import("/static/js/api.js");
    const { refill } = await import("/static/js/dom.js");
    const { eventRow } = await import("/static/js/event-row.js");
    window.again = async () => {
        const { events } = await get("/api/incidents/get");
        const rows = events.map((event) => eventRow(event, window.again, { open: true }));
        refill(document.querySelector("main"), rows);
    };
    await window.again();
}"""
SAID = """async () => {
    const { transcript } = await import("/static/js/transcript.js");
    const { signal } = new AbortController();
    window.kept = transcript(document.querySelector("main"), signal, "long", "");
}"""
SEARCHED = """async () => {
    const { conversations } = await import("/static/js/views/conversations.js");
    const { signal } = new AbortController();
    conversations(document.querySelector("main"), new URLSearchParams("q=word"), signal);
}"""
CONVERSATION = """async () => {
    const { conversations } = await import("/static/js/views/conversations.js");
    const { signal } = new AbortController();
    conversations(document.querySelector("main"), new URLSearchParams("session=long"), signal);
}"""
CUT_EVENT = {
    "id": 1, "timestamp": "2026-01-20T10:00:00Z", "type": "alert", "severity": "error",
    "source": "monitor", "summary": "too long", "details": None, "resolved": False,
    "omitted": ["details"],
}  # fmt: skip


def said(number, content, **changes):
    return {
        "id": number, "sessionId": "long", "timestamp": "2026-01-20T10:00:00Z",
        "role": "assistant", "content": content, "model": None, "tokensUsed": None,
        "costUsd": None, "toolCalls": None, "omitted": [],
    } | changes  # fmt: skip


async def test_details_that_are_shown_stay_where_an_answer_leaves_them_out(page, answers):
    found = {"summary": "too long"}
    answers.by_path["/api/incidents/get"] = lambda _: {"events": [CUT_EVENT | found]}
    whole = CUT_EVENT | {"details": '{"all": "of it"}', "omitted": []}
    answers.by_path["/api/events/1"] = lambda _: {"event": whole}
    await page.evaluate(ITS_EVENTS)

    await page.get_by_role("button", name="Show details").click()

    details = page.get_by_label("Details", exact=True)
    await expect(details).to_contain_text("of it")
    found["summary"] = "said again"
    await page.evaluate("again()")
    await expect(page.get_by_text("said again")).to_be_visible()
    await expect(details).to_contain_text("of it")


async def test_details_that_are_shown_are_not_those_of_another_event_of_that_number(page, answers):
    """A restored database gives a number again."""
    found = {}
    answers.by_path["/api/incidents/get"] = lambda _: {"events": [CUT_EVENT | found]}
    answers.by_path["/api/events/1"] = lambda _: {"event": CUT_EVENT | {"details": "of the first"}}
    await page.evaluate(ITS_EVENTS)
    await page.get_by_role("button", name="Show details").click()
    await expect(page.get_by_label("Details", exact=True)).to_contain_text("of the first")

    found |= {"summary": "the other", "timestamp": "2026-01-21T10:00:00Z"}
    await page.evaluate("again()")

    await expect(page.get_by_text("the other")).to_be_visible()
    await expect(page.get_by_label("Details", exact=True)).to_have_count(0)
    await expect(page.get_by_role("button", name="Show details")).to_be_visible()


async def test_a_turn_that_is_shown_whole_stays_so_while_others_come(page, answers):
    turns = [said(1, "the beginning …", omitted=["content"])]
    answers.by_path["/api/conversations/long/turns"] = lambda _: {
        "turns": turns,
        "nextCursor": None,
    }
    answers.by_path["/api/turns/1"] = lambda _: {"turn": said(1, "the beginning and the end")}
    await page.evaluate(SAID)
    await page.get_by_role("button", name="Show all").click()
    await expect(page.get_by_text("the beginning and the end")).to_be_visible()

    turns.append(said(2, "one more"))
    await page.evaluate("kept.refresh()")

    await expect(page.get_by_text("one more")).to_be_visible()
    await expect(page.get_by_text("the beginning and the end")).to_be_visible()


def told(number):
    """Return what answers as the turns of a conversation do, and how many each answer had."""
    turns, served = [said(n, f"turn {n}") for n in range(number)], []

    def answer(query):
        begin = int(query.get("cursor", ["0"])[0])
        end = begin + int(query["limit"][0])
        served.append(len(turns[begin:end]))
        return {"turns": turns[begin:end], "nextCursor": str(end) if end < len(turns) else None}

    return turns, served, answer


async def test_no_more_than_the_end_of_a_conversation_is_asked_for_again(page, answers):
    turns, served, answers.by_path["/api/conversations/long/turns"] = told(900)
    await page.evaluate(SAID)
    await page.get_by_text("turn 899", exact=True).wait_for()
    for number in (900, 901):
        served.clear()
        turns.append(said(number, f"turn {number}"))
        await page.evaluate("kept.refresh()")
        await page.get_by_text(f"turn {number}", exact=True).wait_for()

    assert sum(served) < 200
    await page.get_by_role("button", name="Show earlier ones (800)").click()
    await expect(page.locator(".turn")).to_have_count(202)


async def test_a_conversation_is_not_asked_for_again_where_another_one_goes_on(
    page, answers, asked
):
    turns, _, answers.by_path["/api/conversations/long/turns"] = told(2)
    sessions = [{"sessionId": "long", "title": "Long", "turns": 2, "lastAt": ago()}]
    answers.by_path["/api/conversations"] = lambda _: {"sessions": sessions, "nextCursor": None}
    await page.evaluate(CONVERSATION)
    await page.get_by_text("turn 1", exact=True).wait_for()
    await page.get_by_text("2 turns").wait_for()

    async with page.expect_response("**/api/conversations?*"):
        await page.evaluate(PUBLISHED, ["turn", {"sessionId": "another"}])
    await page.evaluate(ASKED)
    assert len([one for one in asked if "/long/turns?limit=1000" in one]) == 1
    turns.append(said(2, "turn 2"))
    await page.evaluate(PUBLISHED, ["turn", {"sessionId": "long"}])

    await page.get_by_text("turn 2", exact=True).wait_for()


async def test_a_search_shows_more_than_its_first_page(page, answers):
    pages = {"": (range(50), "next"), "next": (range(50, 60), None)}

    def answer(query):
        numbers, cursor = pages[query.get("cursor", [""])[0]]
        turns = [
            {"turn": said(n, "a word"), "snippet": f"word {n}.", "highlights": []} for n in numbers
        ]
        return {"turns": turns, "nextCursor": cursor}

    answers.by_path["/api/conversations/search"] = answer
    await page.evaluate(SEARCHED)
    await expect(page.locator(".turn")).to_have_count(50)

    await page.get_by_role("button", name="Show more").click()

    await expect(page.locator(".turn")).to_have_count(60)
    await expect(page.get_by_role("button", name="Show more")).to_have_count(0)


# The search over everything


PALETTE = """async () => {
    const { openPalette } = await import("/static/js/palette.js");
    openPalette([["events", "Events"], ["moment", "Moment"]]);
}"""


async def test_enter_that_ends_a_composition_takes_no_place(page):
    await page.evaluate(PALETTE)
    box = page.get_by_role("combobox", name="Search or go to")
    chosen = page.locator("[aria-selected=true]")
    for key in ("ArrowDown", "Enter"):
        await box.dispatch_event(
            "keydown", {"key": key, "isComposing": True, "bubbles": True, "cancelable": True}
        )
    await expect(chosen).to_have_text("View Events")

    await box.press("Enter")

    await expect(box).to_have_count(0)
    await page.wait_for_url("**/#/events")


async def late_place(page):
    """Look for pve3 before the conversations are there; return the box and what has them come."""
    sessions = [{"sessionId": "one", "title": "pve3 is slow"}]
    let_go = await hold_back(page, "**/api/conversations?*", {"sessions": sessions})
    await page.evaluate(PALETTE)
    box = page.get_by_role("combobox", name="Search or go to")
    await box.fill("pve3")

    async def come():
        let_go.set()
        await page.get_by_role("option", name="Conversation pve3 is slow").wait_for()

    return box, come


async def test_what_comes_late_is_the_first_that_fits_until_a_place_is_aimed_at(page):
    _, come = await late_place(page)

    await come()

    await expect(page.locator("[aria-selected=true]")).to_have_text("Conversation pve3 is slow")


async def test_what_comes_late_leaves_the_place_that_enter_takes(page):
    box, come = await late_place(page)
    await box.press("ArrowDown")
    chosen = page.locator("[aria-selected=true]")
    await expect(chosen).to_have_text("Said pve3")

    await come()
    await expect(chosen).to_have_text("Said pve3")
    await box.press("Enter")

    await page.wait_for_url("**/#/conversations?q=pve3")


async def test_what_comes_late_moves_no_place_under_the_pointer(page):
    _, come = await late_place(page)
    said = page.get_by_role("option", name="Said pve3")
    await said.hover()
    before = await said.bounding_box()

    await come()

    assert await said.bounding_box() == before
    await said.click()
    await page.wait_for_url("**/#/conversations?q=pve3")


# From and To in the night of autumn that has an hour twice


FORM = """async (address) => {
    const { filterForm, read } = await import("/static/js/filters.js");
    window.chosen = null;
    const form = filterForm((changed) => { window.chosen = changed; });
    document.querySelector("main").replaceChildren(form.element);
    form.show(read(new URLSearchParams(address)));
}"""
TIMES = """async (address) => {
    const { bounds, filterForm, notShown, read, written } = await import("/static/js/filters.js");
    const params = new URLSearchParams(address);
    const filters = read(params);
    const form = filterForm(() => {});
    document.querySelector("main").replaceChildren(form.element);
    form.show(filters, notShown(params));
    const { range, since, until } = written(filters);
    const [from, to] = bounds(filters).map((one) => Date.parse(one));
    return { range, since, until, hours: (to - from) / 3_600_000, ends: to - Date.now() };
}"""
EVENTS = """async (address) => {
    const { events } = await import("/static/js/views/events.js");
    const main = document.querySelector("main");
    const update = events(main, new URLSearchParams(address), new AbortController().signal);
    window.choose = (address) => {
        location.hash = `#/events?${address}`;
        update(new URLSearchParams(address));
    };
}"""
RECORDED = """async () => {
    const { live } = await import("/static/js/live.js");
    live.dispatchEvent(new CustomEvent("event", { detail: { type: "alert" } }));
}"""
AUTUMN_NIGHT = "since=2026-10-25T00:10:00.250Z&until=2026-10-25T01:40:00Z"
SHOWN = """async (given) => {
    const { toInput } = await import("/static/js/format.js");
    const field = document.createElement("input");
    Object.assign(field, { type: "datetime-local", step: 1 });
    return given.map((moment) => {
        field.value = toInput(moment);
        return field.value === toInput(moment);
    });
}"""
SHOWN_AS_READ = """async (given) => {
    const { fromInput, toInput } = await import("/static/js/format.js");
    return given.map((text) => toInput(fromInput(text, "")));
}"""
TYPED = """async (address) => {
    const { filterForm, read } = await import("/static/js/filters.js");
    window.asked = [];
    let filters = read(new URLSearchParams(address));
    const form = filterForm((changed) => {
        window.asked.push(changed.since);
        filters = { ...filters, ...changed };
        form.show(filters);
    });
    document.querySelector("main").replaceChildren(form.element);
    form.show(filters);
}"""
CHANGED_TO = """(field, text) => {
    field.value = text;
    field.dispatchEvent(new Event("change", { bubbles: true }));
}"""
FROM_INPUT = """async (given) => {
    const { fromInput } = await import("/static/js/format.js");
    return given.map(([text, near]) => fromInput(text, near));
}"""


async def choose(page, field, text):
    """Have a field of times changed to a text; return what is asked for then."""
    time = page.get_by_label(field, exact=True)
    await time.evaluate(CHANGED_TO, text)
    return await page.evaluate("chosen")


@pytest.mark.parametrize(
    ("field", "text", "since", "until"),
    [
        ("From", "2026-10-25T02:20:00", "2026-10-25T00:20:00.000Z", "2026-10-25T01:40:00Z"),
        ("From", "2026-10-25T02:45:00", "2026-10-25T00:45:00.000Z", "2026-10-25T01:40:00Z"),
        ("To", "2026-10-25T02:50:00", "2026-10-25T00:10:00.250Z", "2026-10-25T01:50:00.000Z"),
    ],
)
async def test_one_of_from_and_to_is_changed_and_the_other_stays(page, field, text, since, until):
    await page.evaluate(FORM, AUTUMN_NIGHT)

    chosen = await choose(page, field, text)

    assert chosen == {"range": "", "since": since, "until": until}
    await expect(page.get_by_role("alert")).to_have_count(0)


async def test_from_after_to_is_said_and_waits_for_the_other(page):
    await page.evaluate(FORM, AUTUMN_NIGHT)

    assert await choose(page, "From", "2026-10-25T12:00:00") is None
    await expect(page.get_by_role("alert")).to_have_text("“From” has to be before “To”.")

    chosen = await choose(page, "To", "2026-10-25T13:00:00")
    assert (chosen["since"], chosen["until"]) == (
        "2026-10-25T11:00:00.000Z", "2026-10-25T12:00:00.000Z",
    )  # fmt: skip
    await expect(page.get_by_role("alert")).to_have_count(0)


async def test_a_text_that_two_moments_have_is_the_nearer_one(page):
    twice = "2026-10-25T02:30"
    given = [
        (twice, ""), (twice, "2026-10-25T00:31:00Z"), (twice, "2026-10-25T01:31:00Z"),
        ("2026-03-29T03:30", "2026-03-29T09:00:00Z"), ("", "2026-03-29T09:00:00Z"),
    ]  # fmt: skip

    assert await page.evaluate(FROM_INPUT, given) == [
        "2026-10-25T00:30:00.000Z", "2026-10-25T00:30:00.000Z", "2026-10-25T01:30:00.000Z",
        "2026-03-29T01:30:00.000Z", "",
    ]  # fmt: skip


async def test_a_time_that_is_only_shown_is_the_same_when_it_is_read(page):
    given = ["2026-01-20T10:00:00Z", "2026-01-20T10:05:00.250Z", "2026-01-20T10:00:05Z"]

    assert await page.evaluate(SHOWN, given) == [True, True, True]


async def test_a_time_before_the_standard_ones_is_shown_as_it_is_read(page):
    given = ["0002-11-28T03:00", "0202-11-28T00:00", "1890-06-01T12:00:05", "2026-11-28T03:00"]

    assert await page.evaluate(SHOWN_AS_READ, given) == given


async def test_a_year_that_is_typed_is_asked_for_when_it_is_complete(page):
    await page.evaluate(TYPED, "since=2025-11-20T10:00:05Z&until=2026-10-20T10:00:00Z")
    await page.get_by_label("From", exact=True).focus()
    # To the year, which is behind month and day.
    for key in ("Tab", "Tab", *"2024"):
        await page.keyboard.press(key)

    await expect(page.get_by_label("From", exact=True)).to_have_value("2024-11-20T11:00:05")
    assert await page.evaluate("asked") == ["2024-11-20T10:00:05.000Z"]


@pytest.mark.parametrize(
    ("view", "field"),
    [(["views/moment", "moment", []], "Time"), (["views/compare", "compare", []], "From")],
)
async def test_no_moment_is_gone_to_while_its_year_is_typed(page, view, field):
    await page.evaluate(VIEWS, view)
    time = page.get_by_label(field, exact=True)

    await time.evaluate(CHANGED_TO, "0202-11-20T11:00")
    assert await page.evaluate("location.hash") == ""

    await time.evaluate(CHANGED_TO, "2025-11-20T11:00")
    assert "=2025-11-20T10%3A00%3A00.000Z" in await page.evaluate("location.hash")


# The times of an address


async def test_times_without_an_end_go_on_until_now(page):
    times = await page.evaluate(TIMES, "since=2026-01-20T10:00:00Z")

    assert (times.get("range"), times["since"], times["until"]) == (
        None,
        "2026-01-20T10:00:00Z",
        "",
    )
    assert abs(times["ends"]) < 60_000
    await expect(page.get_by_label("From", exact=True)).to_have_value("2026-01-20T11:00")
    await expect(page.get_by_label("To", exact=True)).to_have_value("")
    await expect(page.get_by_role("alert")).to_have_count(0)


@pytest.mark.parametrize("until", [None, "2126-01-20T10:00:00Z"])
async def test_what_is_recorded_comes_into_times_that_have_not_ended(page, answers, until):
    asked = []

    def events(query):
        asked.append(query)
        return {"events": [], "nextCursor": None}

    answers.by_path["/api/memory/events"] = events
    end = f"&until={until}" if until else ""
    await page.evaluate(EVENTS, f"since=2026-01-20T10:00:00Z{end}")
    await page.get_by_text("No event fits").wait_for()

    async with page.expect_response("**/api/memory/events?*"):
        await page.evaluate(RECORDED)

    times = {(query["since"][0], query.get("until", [None])[0]) for query in asked}
    assert times == {("2026-01-20T10:00:00Z", until)}


@pytest.mark.parametrize(
    ("address", "hours"),
    [
        ("until=2026-01-20T10:00:00Z", 24),
        ("since=yesterday-ish", 24),
        ("since=1", 24),
        ("since=2026-01-20T10:00:00Z&until=tomorrow", 24),
        ("since=2026-01-20T10:00:00Z&until=2026-01-20T09:00:00Z&range=6", 6),
        ("range=48", 24),
    ],
)
async def test_times_that_cannot_be_shown_are_said(page, address, hours):
    times = await page.evaluate(TIMES, address)

    assert round(times["hours"], 2) == hours
    await expect(page.get_by_role("alert")).to_have_text(
        f"The address asks for times that cannot be shown. These are the last {hours} hours."
    )


async def test_times_that_are_shown_say_nothing(page):
    for address in (
        "",
        "range=6",
        "since=2026-01-20T09:00:00Z&until=2026-01-20T10:00:00Z",
        "since=2026-01-20T09:00:00+01:00&until=2026-01-21",
    ):
        await page.evaluate(TIMES, address)
        await expect(page.get_by_role("alert")).to_have_count(0)


@pytest.mark.parametrize(
    ("name", "address", "words"),
    [
        ("moment", "at=yesterday", "This is now."),
        ("moment", "at=1700000000", "This is now."),
        ("moment", "at=1", "This is now."),
        ("moment", "at=yesterday&event=1", "This is the time of the event."),
        ("compare", "a=yesterday&b=2026-01-20", "first time that cannot be shown"),
        ("compare", "a=2026-01-20&b=1", "second time that cannot be shown"),
    ],
)
async def test_a_moment_that_cannot_be_shown_is_said(page, name, address, words):
    await page.evaluate(VIEWS, [f"views/{name}", name, [], address])

    await expect(page.get_by_role("alert")).to_contain_text(words)


@pytest.mark.parametrize(
    ("name", "address", "fields"),
    [
        ("moment", "at=2026-01-20T10:00:00.000001%2B01:00", {"Time": "2026-01-20T10:00"}),
        ("moment", "at=2026-01-20T10:00:00+01:00", {"Time": "2026-01-20T10:00"}),
        ("moment", "at=2026-01-20", {"Time": "2026-01-20T01:00"}),
        (
            "compare", "a=2026-01-20T10:00:00+01:00&b=2026-01-20T10:00Z",
            {"From": "2026-01-20T10:00", "To (now where it is empty)": "2026-01-20T11:00"},
        ),
    ],
)  # fmt: skip
async def test_a_moment_that_is_shown_says_nothing(page, name, address, fields):
    await page.evaluate(VIEWS, [f"views/{name}", name, [], address])

    for field, value in fields.items():
        await expect(page.get_by_label(field, exact=True)).to_have_value(value)
    await expect(page.get_by_role("alert")).to_have_count(0)


# Events that are followed


PUBLISHED = """async ([name, detail]) => {
    const { live } = await import("/static/js/live.js");
    live.dispatchEvent(new CustomEvent(name, { detail }));
}"""


def recorded(minute, **changes):
    """Return the event of a minute of the day, whose number it is."""
    return {
        "id": minute, "timestamp": f"2026-01-20T{minute // 60:02}:{minute % 60:02}:00.000000Z",
        "type": "alert", "severity": "error", "source": "monitor", "node": "pve1", "cluster": "home",
        "summary": f"number {minute}", "details": None, "resolved": False, "resolvedAt": None,
        "resolvedBy": None, "omitted": [],
    } | changes  # fmt: skip


def newest_first(known, *, looks_through=1_000):
    """Return what answers as `events.list` does, and looks through so many and no more."""

    def answer(query):
        [before] = query.get("cursor", ["~"])
        severe = ["warning", "error", "critical"] if "minSeverity" in query else None
        behind = sorted(
            (one for one in known if one["timestamp"] < before),
            key=lambda one: one["timestamp"],
            reverse=True,
        )
        looked_at = behind[:looks_through]
        fitting = [
            one
            for one in looked_at
            if (severe is None or one["severity"] in severe)
            and query.get("resolved") in (None, [str(one["resolved"]).lower()])
        ]
        page = fitting[: int(query["limit"][0])]
        is_full = len(page) < len(fitting)
        is_all = not is_full and looked_at == behind
        end = (page if is_full else looked_at)[-1:]
        return {
            "events": page,
            "nextCursor": None if is_all else end[0]["timestamp"],
            "lookedTo": None if is_all or is_full else end[0]["timestamp"],
        }

    return answer


async def test_an_alert_that_another_one_resolved_is_no_more_among_the_unresolved(page, answers):
    known = [recorded(minute) for minute in range(70)]
    answers.by_path["/api/memory/events"] = newest_first(known)
    await page.evaluate(EVENTS, "resolved=false&since=2026-01-20T00:00:00Z")
    await page.get_by_role("button", name="Show older ones").click()
    rows = page.locator(".event")
    await expect(rows).to_have_count(70)

    for minute in (60, 5):
        known[minute] |= {"resolved": True, "resolvedAt": "2026-01-20T12:00:00Z"}
        await page.evaluate(PUBLISHED, ["resolved", known[minute]])

    # A button says so while somebody is at them.
    await page.get_by_role("button", name="2 gone").click()
    await expect(rows).to_have_count(68)
    await expect(page.get_by_text("number 60", exact=True)).to_have_count(0)


async def test_more_rows_than_are_followed_by_themselves_stay_while_events_come(page, answers):
    known = [recorded(minute) for minute in range(600)]
    answers.by_path["/api/memory/events"] = newest_first(known)
    await page.evaluate(EVENTS, "since=2026-01-20T00:00:00Z")
    rows = page.locator(".event")
    for number in range(100, 551, 50):
        await page.get_by_role("button", name="Show older ones").click()
        await expect(rows).to_have_count(number)

    known.append(recorded(600))
    await page.evaluate(PUBLISHED, ["event", known[-1]])
    await page.get_by_role("button", name="1 new", exact=True).wait_for()
    await page.get_by_role("button", name="Show older ones").click()

    await expect(rows).to_have_count(601)


async def test_rows_that_are_shown_until_others_come_say_nothing_of_those(page, answers):
    known = [recorded(minute) for minute in range(59)]
    known.append(recorded(59, omitted=["details"]))
    answers.by_path["/api/memory/events"] = newest_first(known)
    answers.by_path["/api/events/59"] = lambda _: {"event": recorded(59, details="all")}
    await page.evaluate(EVENTS, "since=2026-01-20T00:00:00Z")
    await page.locator(".event", has_text="number 59").locator("summary").click()
    let_go = await hold_back(
        page, "**/api/memory/events?*", {"events": [recorded(7)], "nextCursor": None}
    )
    async with page.expect_request("**/api/memory/events?*"):
        await page.evaluate("choose('since=2026-01-20T00:00:00Z&node=pve2')")

    await page.get_by_role("button", name="Show older ones").click()
    await expect(page.locator(".events ~ .failed")).to_have_count(0)
    async with page.expect_response("**/api/events/59"):
        await page.get_by_role("button", name="Show details").click()
    await expect(page.get_by_role("button", name="Show details")).to_be_enabled()
    await expect(page.locator(".event")).to_have_count(50)

    let_go.set()
    await expect(page.locator(".event")).to_have_count(1)


NODE = """async (path) => {
    const { thing } = await import("/static/js/views/thing.js");
    const main = document.querySelector("main");
    thing(main, new URLSearchParams(), new AbortController().signal, path);
}"""


async def test_a_node_has_its_critical_events_behind_any_number_of_metrics(page, answers):
    metrics = [recorded(minute, type="metric", severity="info") for minute in range(10, 60)]
    answers.by_path |= {
        "/api/memory/events": newest_first([recorded(5), *metrics], looks_through=20),
        "/api/stats": lambda _: {"holdings": {"clusters": ["home"]}},
    }
    await page.evaluate(NODE, ["nodes", "home", "pve1"])

    await page.get_by_role("link", name="number 5").wait_for()


@pytest.mark.parametrize(
    ("number", "severity", "looks_through", "words"),
    [
        (101, "error", 1_000, "The newest 100 are shown."),
        (60, "info", 2, "None fits back to"),
        (50, "info", 3, "Nothing worth a warning."),
    ],
)
async def test_a_node_says_how_far_its_events_are_shown(
    page, answers, number, severity, looks_through, words
):
    known = [recorded(minute, severity=severity) for minute in range(number)]
    answers.by_path |= {
        "/api/memory/events": newest_first(known, looks_through=looks_through),
        "/api/stats": lambda _: {"holdings": {"clusters": ["home"]}},
    }
    await page.evaluate(NODE, ["nodes", "home", "pve1"])

    said = page.get_by_text(re.compile("are shown|None fits|Nothing worth"))
    await expect(said).to_have_count(1)
    await expect(said).to_contain_text(words)


# Regions whose answers are slower than what happens


KEPT = """async () => {
    const { keep } = await import("/static/js/load.js");
    const { signal } = new AbortController();
    window.asked = [];
    const ask = (ended) => new Promise((answer) => asked.push({ answer, ended }));
    window.kept = keep(document.querySelector("main"), signal, ask, (words) => words);
}"""
ANSWERED = "([at, words]) => asked[at].answer(words)"
NUMBER = "asked.length"


async def test_a_region_is_filled_though_more_happens_than_can_be_asked_for(page):
    await page.evaluate(KEPT)

    await page.evaluate("() => { kept.refresh(); kept.refresh(); }")
    assert await page.evaluate(NUMBER) == 1
    await page.evaluate(ANSWERED, [0, "before that"])

    await expect(page.get_by_text("before that")).to_be_visible()
    # Once for all that came meanwhile.
    assert await page.evaluate(NUMBER) == 2
    await page.evaluate(ANSWERED, [1, "after that"])
    await expect(page.get_by_text("after that")).to_be_visible()
    assert await page.evaluate(NUMBER) == 2


async def test_what_the_reader_asks_for_ends_what_is_under_way(page):
    await page.evaluate(KEPT)

    await page.evaluate("kept.load()")

    assert await page.evaluate("asked.map(({ ended }) => ended.aborted)") == [True, False]
    await page.evaluate(ANSWERED, [1, "what is asked for"])
    await page.evaluate(ANSWERED, [0, "what was asked for before"])
    await expect(page.get_by_text("what is asked for")).to_be_visible()
    assert await page.evaluate(NUMBER) == 2


# An action, undone in haste


UNDOABLE = """async () => {
    const { undoable } = await import("/static/js/undo.js");
    const work = async () => {};
    const action = { key: "k", verb: "Resolve", past: "resolved", what: "an alert", work };
    document.querySelector("main").append(undoable(action));
}"""


async def test_a_double_click_on_undo_begins_nothing_again(page):
    await page.evaluate(UNDOABLE)
    await page.get_by_role("button", name="Resolve").click()

    await page.get_by_role("button", name="Undo").dblclick()

    await expect(page.get_by_role("button", name="Resolve")).to_be_visible()
    await page.get_by_role("button", name="Resolve").press("Enter")
    await expect(page.get_by_role("button", name="Undo")).to_be_visible()


# Dead letters, of which one looks at several


DEAD_LETTERS = """async (address) => {
    const { deadLetters } = await import("/static/js/views/dead-letters.js");
    const { signal } = new AbortController();
    const params = new URLSearchParams(address);
    window.update = deadLetters(document.querySelector("main"), params, signal);
}"""
UPDATED = "(address) => update(new URLSearchParams(address))"
SAID_BY_THE_PULSE = """async (name) => {
    const { pulse } = await import("/static/js/pulse.js");
    pulse.dispatchEvent(new Event(name));
}"""
IN_UTC = """async (inUtc) => {
    const { setUtc } = await import("/static/js/zone.js");
    setUtc(inUtc);
}"""


def dead_letter(name, **changes):
    return {
        "id": name, "receivedAt": "2026-01-20T10:00:00Z", "reason": "not_json", "error": "not JSON",
        "routingKey": "r", "queue": "q", "exchange": "e", "messageId": name, "sizeBytes": 8,
        "replays": 0, "properties": {}, "headers": {}, "body": "{no json", "bodyIsText": True,
        "bodyIsWhole": True,
    } | changes  # fmt: skip


@pytest.fixture
def letters(answers):
    """Two dead letters of any fault."""
    known = [dead_letter("one"), dead_letter("two")]
    answers.by_path["/api/dead/list"] = lambda _: {"letters": known, "nextCursor": None}
    answers.by_path["/api/dead/faults"] = lambda _: {
        "faults": [], "waiting": 0, "indexed": 0, "complete": True, "truncated": False
    }  # fmt: skip
    for letter in known:
        answers.by_path[f"/api/dead-letters/{letter['id']}"] = lambda _, it=letter: {"letter": it}
    return known


async def test_no_other_fault_is_replayed_than_the_one_that_was_asked_about(page, letters, asked):
    await page.evaluate(DEAD_LETTERS, "fault=mine")
    await page.get_by_role("button", name="Replay all of them").click()
    dialog = page.get_by_role("dialog")
    await dialog.wait_for()

    await page.evaluate(UPDATED, "fault=another")
    await page.get_by_role("heading", name="another").wait_for()
    await dialog.get_by_role("button", name="Replay").click()
    await dialog.wait_for(state="detached")
    await page.evaluate(ASKED)

    assert [one for one in asked if "limit=500" in one or "replay" in one] == []


async def test_a_letter_is_looked_for_once_however_often_the_recorder_is_back(page, letters, asked):
    await page.evaluate(DEAD_LETTERS, "fault=mine")
    first = page.locator("[data-row='letter-one']")
    await first.locator("summary").first.click()
    await first.get_by_label("Body").wait_for()

    await page.evaluate(SAID_BY_THE_PULSE, "away")
    await first.locator(".stale").wait_for()
    async with page.expect_response("**/api/dead/list*"):
        await page.evaluate(SAID_BY_THE_PULSE, "back")
    await expect(page.locator(".stale")).to_have_count(0)
    await page.evaluate(ASKED)

    assert [one for one in asked if "dead-letters" in one] == ["/api/dead-letters/one?"]


async def test_a_letter_of_a_fault_that_was_left_is_looked_for_no_more(page, letters):
    await page.route("**/api/dead-letters/one", lambda _: None)
    await page.evaluate(DEAD_LETTERS, "fault=mine")
    async with page.expect_request("**/api/dead-letters/one"):
        await page.locator("[data-row='letter-one'] summary").first.click()

    async with page.expect_event("requestfailed") as ended:
        await page.evaluate(UPDATED, "fault=another")

    assert (await ended.value).url.endswith("/api/dead-letters/one")


async def test_a_letter_is_edited_on_whatever_zone_is_chosen(page, letters):
    await page.evaluate(DEAD_LETTERS, "fault=mine")
    first = page.locator("[data-row='letter-one']")
    await first.locator("summary").first.click()
    await first.get_by_role("button", name="Edit").click()
    field = first.get_by_role("textbox", name="Body")
    await field.fill("{}")
    received = first.locator("summary time")
    await expect(received).to_contain_text("11:00:00")

    await page.evaluate(IN_UTC, True)
    await expect(received).to_contain_text("10:00:00")
    letters[1]["error"] = "said again"
    await page.evaluate(SAID_BY_THE_PULSE, "back")
    await page.get_by_text("said again").wait_for()

    await expect(field).to_have_value("{}")
    await expect(received).to_contain_text("10:00:00")


# A note that could not be saved


async def test_a_note_that_could_not_be_saved_is_still_there(page, answers):
    [found] = incidents(1, "open", "error", note="the old one", guessed=False)
    answer = {"incident": found, "transitions": [], "truncated": False, "events": []}
    answers.by_path["/api/incidents/get"] = lambda _: answer | {"nextCursor": None}
    await page.evaluate(VIEWS, ["views/incident", "incident", ["incidents", found["key"]]])
    note = page.get_by_label("Note")
    await expect(note).to_have_value("the old one")
    await note.fill("typed at three in the morning")
    await page.get_by_role("button", name="Seen, with this note").click()
    await page.get_by_role("alert").wait_for()

    found["count"] = 77
    await page.evaluate(PUBLISHED, ["incident", {}])

    await expect(page.locator("dl").first).to_contain_text("77")
    await expect(note).to_have_value("typed at three in the morning")


# The newest state, whatever time it is here


VIEWS = """async ([module, name, path, address = ""]) => {
    const { [name]: view } = await import(`/static/js/${module}.js`);
    const main = document.querySelector("main");
    view(main, new URLSearchParams(address), new AbortController().signal, path);
}"""


@pytest.mark.parametrize(
    "view",
    [
        ["views/inventory", "guests", []],
        ["views/thing", "thing", ["nodes", "home", "pve1"]],
        ["views/compare", "compare", []],
    ],
)
async def test_the_newest_snapshot_is_what_the_recorder_says_it_is(page, answers, view):
    """A browser's clock that is behind would ask for an older one, or for one before the first."""
    newest = "2126-01-20T10:00:00.000000Z"
    guest = {"vmid": 100, "name": "web", "node": "pve1", "status": "running"}
    snapshot = {"cluster": "home", "timestamp": newest, "snapshot": {"vms": [guest]}}

    def differences(query):
        assert query["to"] == [newest]
        before, after = {"timestamp": "2026-01-20T10:00:00Z"}, {"timestamp": newest}
        added = [{"path": ["vms", {"vmid": 100}], "value": guest}]
        return {"before": before, "after": after, "added": added, "removed": [], "changed": []}

    answers.by_path |= {
        "/api/stats": lambda _: {"holdings": {"clusters": ["home"]}},
        "/api/snapshots/latest": lambda _: {"snapshot": snapshot},
        "/api/snapshots/diff": differences,
    }
    await page.evaluate(VIEWS, view)

    await page.get_by_text(re.compile("web")).first.wait_for()


async def test_of_large_snapshots_the_newest_of_each_cluster_is_kept(page, answers):
    newest = {}
    asked = []

    def whole(query):
        [at] = query["timestamp"]
        asked.append(at)
        return {"snapshot": newest["head"] | {"snapshot": {"nodes": [{"name": at[:10]}]}}}

    def overview(_):
        lines = {"usualGapSeconds": 30, "firstAt": None, "lines": []}
        found = [{"cluster": "home", "snapshot": newest["head"], **lines}]
        return {"clusters": found, "truncated": False}

    answers.by_path |= {"/api/snapshots/overview": overview, "/api/snapshots/at": whole}
    for day in (20, 20, 21, 20):
        at = f"2026-01-{day}T10:00:00Z"
        newest["head"] = {"id": day, "cluster": "home", "timestamp": at, "omitted": ["snapshot"]}
        await page.evaluate("document.querySelector('main').replaceChildren()")
        await page.evaluate(VIEWS, ["views/now", "now", []])
        await page.get_by_text(at[:10], exact=True).wait_for()

    assert asked == ["2026-01-20T10:00:00Z", "2026-01-21T10:00:00Z", "2026-01-20T10:00:00Z"]


# Preferences and saved views, which others change meanwhile


PREFERENCES = """async () => {
    const { preferences } = await import("/static/js/views/preferences.js");
    preferences(document.querySelector("main"), null, new AbortController().signal);
}"""
SAVED_VIEWS = """async () => {
    const { savedList } = await import("/static/js/saved.js");
    document.querySelector("main").append(savedList(new AbortController().signal));
}"""
CHANGED = """async () => {
    const { live } = await import("/static/js/live.js");
    live.dispatchEvent(new CustomEvent("preference", { detail: {} }));
}"""


def held(**values):
    """Return what answers as `preferences.list` does; a value with its version."""
    preferences = [
        {"key": key, "value": value, "version": version, "updatedAt": "2026-01-20T10:00:00Z"}
        for key, (value, version) in values.items()
    ]
    return lambda _: {"preferences": preferences, "nextCursor": None}


@pytest.fixture
def preferences(answers):
    """Have a page know these preferences from now on."""

    def known(**values):
        answers.by_path["/api/memory/preferences"] = held(**values)

    return known


async def test_no_preference_moves_under_the_pointer(page, preferences):
    preferences(b=("2", 1), c=("3", 1))
    await page.evaluate(PREFERENCES)
    aim = page.get_by_role("button", name="Delete c")
    await aim.hover()
    before = await aim.bounding_box()

    preferences(a=("1", 1), b=("2", 1), c=("3", 1))
    await page.evaluate(CHANGED)

    news = page.get_by_role("button", name="1 new")
    await news.wait_for()
    assert await aim.bounding_box() == before
    await news.click()
    await expect(page.get_by_role("button", name="Edit a")).to_be_visible()


async def test_what_is_typed_stays_while_others_change_preferences(page, preferences):
    preferences(b=("old", 1), c=("3", 1))
    await page.evaluate(PREFERENCES)
    await page.get_by_role("button", name="Edit b").click()
    value = page.get_by_role("textbox", name="Value of b")
    await page.keyboard.press("Home")
    await page.keyboard.type("my ")

    preferences(a=("1", 1), b=("theirs", 2), c=("3", 1))
    await page.evaluate(CHANGED)
    await page.get_by_role("button", name="1 new").wait_for()
    await page.keyboard.type("very ")
    # They are gone: what is edited stays as it would be added.
    preferences(a=("1", 1))
    await page.evaluate(CHANGED)
    await page.get_by_role("button", name="gone").wait_for()
    await page.keyboard.type("own ")
    await page.get_by_label("New preference").fill("b")
    await page.get_by_role("button", name="Add").click()

    await expect(page.locator(".preferences > li")).to_have_count(2)
    await expect(value).to_be_focused()
    await expect(value).to_have_value("my very own old")
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.locator(".preferences > li")).to_have_count(1)


async def test_more_preferences_than_are_listed_are_said_and_found_by_how_they_begin(page, answers):
    def answer(query):
        [begin] = query.get("prefix", [""])
        if begin:
            return held(**{name: ("1", 1) for name in ["zone.b"] if name.startswith(begin)})(query)
        first = held(**{f"a.{n:04}": ("1", 1) for n in range(5_000)})(query)
        return first | {"nextCursor": "next"}

    answers.by_path["/api/memory/preferences"] = answer
    await page.evaluate(PREFERENCES)
    first = page.get_by_text("These are the first 5,000.")
    await first.wait_for()

    await page.get_by_label("Find").fill("zone")
    await page.get_by_text("zone.b", exact=True).wait_for()
    await expect(first).to_have_count(0)

    await page.get_by_label("Find").fill("zoned")
    await page.get_by_text("None begins so.").wait_for()
    await page.get_by_label("Find").fill("")
    await first.wait_for()


async def test_no_saved_view_moves_under_the_pointer(page, preferences):
    preferences(**{"view.mine": ("#/events?text=mine", 1)})
    await page.evaluate(SAVED_VIEWS)
    mine = page.get_by_role("link", name="mine")
    await mine.hover()
    before = await mine.bounding_box()

    preferences(**{
        "view.before": ("#/events?text=before", 1), "view.mine": ("#/events?text=mine", 1)
    })  # fmt: skip
    await page.evaluate(CHANGED)

    news = page.get_by_role("button", name="1 new")
    await news.wait_for()
    assert await mine.bounding_box() == before
    await news.click()
    await expect(page.get_by_role("listitem")).to_have_text(["before", "mine"])


async def test_a_view_that_another_one_saved_is_replaced_only_where_that_is_confirmed(
    page, preferences
):
    kept = {"value": "#/events?text=theirs", "version": 4}

    async def answer(route):
        if route.request.method == "PUT":
            given = route.request.post_data_json
            if given.get("expectedVersion", kept["version"]) != kept["version"]:
                await route.fulfill(status=HTTPStatus.CONFLICT, json={"error": "another version"})
                return
            kept.update(value=given["value"], version=kept["version"] + 1)
        await route.fulfill(json={"preference": {"key": "view.shared", **kept}})

    async def save():
        await page.get_by_role("button", name="Save this view").click()
        await page.get_by_label("Name of the view").fill("shared")
        await page.keyboard.press("Enter")
        await page.get_by_text("There is a view “shared” already.").wait_for()

    await page.route("**/api/memory/preferences/view.shared", answer)
    preferences()
    await page.evaluate("location.hash = '#/events?text=mine'")
    await page.evaluate(SAVED_VIEWS)

    await save()
    await page.get_by_role("button", name="Cancel").click()
    await page.get_by_role("dialog").wait_for(state="detached")
    assert kept == {"value": "#/events?text=theirs", "version": 4}

    await save()
    async with page.expect_response(lambda one: one.request.method == "PUT"):
        await page.get_by_role("button", name="Replace").click()
    assert kept == {"value": "#/events?text=mine", "version": 5}


# Events as a file


SAVED = """async (events) => {
    const { CSV } = await import("/static/js/export.js");
    return CSV.write(events);
}"""


async def test_a_file_has_each_column_filled_and_is_read_as_utf_8(page):
    event = {
        "id": 5, "timestamp": "2026-01-20T10:00:00Z", "type": "alert", "severity": "error",
        "source": "monitor", "node": "pve1", "cluster": "home", "summary": "Größe, 5 ≤ 6",
        "details": None, "resolved": True, "resolvedAt": "2026-01-20T11:00:00Z",
        "resolvedBy": "operator", "omitted": ["details"],
    }  # fmt: skip
    whole = event | {"details": '{"a":1}', "omitted": []}

    text = await page.evaluate(SAVED, [event, whole])

    assert text.startswith("\ufefftimestamp,")
    first, second = csv.DictReader(text.removeprefix("\ufeff").splitlines())
    as_texts = {name: str(value) for name, value in event.items()} | {"resolved": "true"}
    assert first == as_texts | {"details": "", "omitted": "details"}
    assert second == as_texts | {"details": '{"a":1}', "omitted": ""}
