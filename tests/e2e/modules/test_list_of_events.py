"""Events that are followed, what an answer leaves out of them, and events as a file."""

import csv
import re
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.async_api import expect

from tests.support.page_modules import EVENTS, PUBLISHED, hold_back

pytestmark = [pytest.mark.browser, pytest.mark.slow]


FILTERS = {
    "severity", "minSeverity", "type", "source", "node", "cluster", "resolved", "exclude", "text",
}  # fmt: skip


# Events that are followed


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


# What an answer leaves out


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
CUT_EVENT = {
    "id": 1, "timestamp": "2026-01-20T10:00:00Z", "type": "alert", "severity": "error",
    "source": "monitor", "summary": "too long", "details": None, "resolved": False,
    "omitted": ["details"],
}  # fmt: skip


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


# Addresses


@pytest.mark.parametrize(
    "part",
    [
        "severity=loud", "minSeverity=loud", "type=x", "source=x", "resolved=maybe",
        "resolved=constructor", "exclude=foo:x", "exclude=node", "exclude=5", "exclude=a+b:c",
        "exclude=type:any", "severity=in%22fo",
    ],
)  # fmt: skip
async def test_what_an_address_has_that_is_not_understood_filters_nothing(
    page, answers, asked, part
):
    known = [recorded(60, summary="what fits")]
    answers.by_path["/api/memory/events"] = newest_first(known)
    await page.evaluate(EVENTS, f"{part}&node=pve1&exclude=cluster:&resolved=false&text=what+fits")
    await page.get_by_text("what fits").wait_for()

    [address] = [one for one in asked if one.startswith("/api/memory/events")]
    query = parse_qs(urlsplit(address).query, keep_blank_values=True)
    assert {name: query[name] for name in query.keys() & FILTERS} == {
        "type": ["alert", "action", "status"], "node": ["pve1"], "exclude": ["cluster:"],
        "text": ["what fits"],
    } | ({} if part.startswith("resolved") else {"resolved": ["false"]})  # fmt: skip
    line = page.get_by_role("searchbox", name="Words and filters")
    assert (await line.input_value()).startswith("node:pve1")
    await expect(page.locator("#not-understood")).to_be_visible()
