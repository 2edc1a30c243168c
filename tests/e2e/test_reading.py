"""Readability of the page: writing directions, titles, places, dates, omissions."""

import csv
import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import expect

from tests.e2e.conftest import (
    ARTEFACTS,
    BOTH,
    Seen,
    ago,
    assert_accessible,
    just_now,
    log_in,
    show,
    told,
)
from tests.support.publisher import EVENT_KEY, event, publish
from tests.support.recorder import wait_until

pytestmark = [pytest.mark.broker, pytest.mark.browser]

ARABIC = "تم تشغيل الآلة"
DIRECTION = "element => getComputedStyle(element).direction"


def turn(session, role, content, at):
    moment = at.isoformat().replace("+00:00", "Z")
    body = {"session_id": session, "role": role, "content": content, "timestamp": moment}
    return (f"chat.turn.{role}", body, {})


async def long_conversation(amqp_url, recorder, number):
    began = datetime.now(UTC) - timedelta(hours=1)
    turns = [
        turn("long", ("user", "assistant")[n % 2], f"turn {n}.", began + timedelta(seconds=n))
        for n in range(number)
    ]
    await publish(amqp_url, *turns)
    wait_until(lambda: recorder.count("conversations") == number, "all turns are recorded")


@BOTH
async def test_recorded_text_runs_in_the_direction_of_its_letters(page, amqp_url, recorder):
    now = datetime.now(UTC)
    await publish(
        amqp_url,
        (EVENT_KEY, just_now(ARABIC), {}),
        turn("arabic", "user", ARABIC, now),
        turn("arabic", "assistant", "It runs.", now + timedelta(seconds=1)),
    )
    wait_until(lambda: recorder.count("conversations") == 2, "the turns are recorded")
    await log_in(page)
    event = page.locator(".event .text", has_text=ARABIC)
    assert await event.evaluate(DIRECTION) == "rtl"

    await show(page, "conversations?session=arabic")

    said = page.locator(".turn .said p")
    await said.nth(1).wait_for()
    assert [await said.nth(n).evaluate(DIRECTION) for n in (0, 1)] == ["rtl", "ltr"]
    await page.locator("h2", has_text=ARABIC).wait_for()


async def test_conversations_have_their_first_words_for_titles(page, amqp_url, recorder):
    now = datetime.now(UTC)
    session = "0b9af0a4-2f5b-4f0f-8a1e-0d6f6c5f7a11"
    await publish(
        amqp_url,
        turn(session, "system", "You are JARVIS.", now),
        turn(session, "user", "Why is\n  pve3 down?", now + timedelta(seconds=1)),
    )
    wait_until(lambda: recorder.count("conversations") == 2, "the turns are recorded")
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await log_in(page)
    await show(page, "conversations")

    await page.get_by_role("link", name="Why is pve3 down?").click()
    await page.get_by_role("heading", name="Why is pve3 down?").wait_for()
    assert session not in await page.locator("main").inner_text()

    await page.get_by_role("button", name="Copy id").click()
    await page.get_by_role("status").get_by_text("Copied").wait_for(state="attached")
    assert await page.evaluate("navigator.clipboard.readText()") == session


MARKDOWN = """\
## Diagnosis

The node **pve1** lost its link: [bug](https://bugs.example/1), [trap](javascript:document.title=1).

```bash
pvecm status > out && cat <out
```

| port | errors |
|------|-------:|
| 1/0/7 | 1284 |

- [x] set `noout`

<script>document.title = 1</script> <img src=x onerror="document.title=1">
![logo](https://elsewhere.example/x.png) &lt;b&gt;
"""


@BOTH
async def test_markdown_is_laid_out_and_no_html_in_it(page, amqp_url, recorder):
    now = datetime.now(UTC)
    arabic = f"{ARABIC} **pve1**\n\nIt runs."
    await publish(
        amqp_url,
        turn("md", "user", arabic, now),
        turn("md", "assistant", MARKDOWN, now + timedelta(seconds=1)),
        turn("md", "assistant", ">" * 5_000, now + timedelta(seconds=2)),
        turn("md", "assistant", "a" * 200_000, now + timedelta(seconds=3)),
    )
    wait_until(lambda: recorder.count("conversations") == 4, "the turns are recorded")
    await log_in(page)
    await show(page, "conversations/md")

    said = page.locator(".turn .said").nth(1)
    await said.get_by_role("heading", name="Diagnosis").wait_for()
    assert await said.locator("pre").all_inner_texts() == ["pvecm status > out && cat <out"]
    assert await said.locator("td").all_inner_texts() == ["1/0/7", "1284"]
    assert await said.locator("a").all_inner_texts() == ["bug"]
    assert await page.locator("main script, main img, main iframe").count() == 0
    text = await said.inner_text()
    assert "##" not in text
    assert "<script>document.title = 1</script>" in text
    assert "[picture: logo] <b>" in text
    assert await page.get_by_role("img", name="done").count() == 1
    lines = page.locator(".turn .said").first.locator("p")
    assert [await lines.nth(n).evaluate(DIRECTION) for n in (0, 1)] == ["rtl", "ltr"]
    assert await page.locator(".turn").count() == 4
    await page.screenshot(path=ARTEFACTS / "markdown.png", full_page=True)
    await assert_accessible(page)


async def test_a_title_that_comes_with_the_list_is_not_asked_for(page, amqp_url, recorder):
    await publish(amqp_url, turn("named", "user", "Why?", datetime.now(UTC)))
    wait_until(lambda: recorder.count("conversations") == 1, "the turn is recorded")
    asked = []

    async def with_title(route):
        answer = await route.fetch()
        page_of_them = await answer.json()
        page_of_them["sessions"][0]["title"] = "Named by\n the recorder"
        await route.fulfill(response=answer, json=page_of_them)

    await page.route("**/api/conversations?*", with_title)
    page.on("request", lambda request: asked.append(request.url))
    await log_in(page)
    await show(page, "conversations")

    await page.get_by_role("link", name="Named by the recorder").wait_for()
    assert not [url for url in asked if url.endswith("/turns?limit=5")]


async def test_a_long_conversation_opens_at_its_end_and_continues_there(page, amqp_url, recorder):
    await long_conversation(amqp_url, recorder, 600)
    await log_in(page)
    await show(page, "conversations?session=long")
    last = page.get_by_text("turn 599.", exact=True)
    await last.wait_for()
    await page.wait_for_function("() => scrollY > 0")

    box = await last.bounding_box()
    assert 0 < box["y"] < 900
    assert await page.locator("*").count() <= 3_000

    await page.get_by_role("button", name="Show earlier ones (500)").scroll_into_view_if_needed()
    before = await page.get_by_text("turn 500.", exact=True).bounding_box()
    await page.get_by_role("button", name="Show earlier ones (500)").click()
    await page.get_by_text("turn 400.", exact=True).wait_for()
    after = await page.get_by_text("turn 500.", exact=True).bounding_box()
    assert abs(after["y"] - before["y"]) < 4
    assert await page.locator(".turn").count() == 200

    await publish(amqp_url, turn("long", "user", "and one more", datetime.now(UTC)))
    await page.get_by_text("and one more").wait_for()


async def test_a_hit_opens_its_conversation_where_it_was_said(page, amqp_url, recorder):
    await long_conversation(amqp_url, recorder, 300)
    await log_in(page)
    await show(page, "conversations?q=turn+42")
    hit = page.locator(".turn", has_text="turn 42.")
    await hit.get_by_role("link").click()

    marked = page.locator(".turn[aria-current]")
    await marked.get_by_text("turn 42.", exact=True).wait_for()
    await page.wait_for_function("() => scrollY > 0")
    assert 250 < (await marked.bounding_box())["y"] < 650


async def test_metrics_are_left_out_until_they_are_asked_for(page, amqp_url, recorder):
    await told(amqp_url, recorder)
    metrics = recorder.rows("SELECT count(*) FROM events WHERE type = 'metric'")[0][0]
    others = recorder.count() - metrics
    await log_in(page)
    await show(page, "events")
    await page.get_by_text(f"{others} events", exact=True).wait_for()
    await page.locator(".event").first.wait_for()
    # Details may hold the word, too.
    shown = page.locator(".event").filter(
        has=page.locator("dd", has_text=re.compile("^metric only"))
    )
    assert await shown.count() == 0

    await page.get_by_role("link", name=f"Show {metrics} metrics, too").click()

    await page.get_by_text(f"{others + metrics} events", exact=True).wait_for()
    await shown.first.wait_for()
    assert "type=any" in page.url


async def test_kinds_of_events_come_in_one_order_page_by_page(page, amqp_url, recorder):
    kinds = ("alert", "action", "status")
    events = [
        (EVENT_KEY, event(summary=f"number {n}", type=kinds[n % 3], timestamp=ago(seconds=n)), {})
        for n in range(120)
    ]
    await publish(amqp_url, *events)
    wait_until(lambda: recorder.count() == 120, "all are recorded")
    await log_in(page)
    await show(page, "events")

    for shown in (50, 100):
        await page.get_by_text(f"number {shown - 1}", exact=True).wait_for()
        assert await page.locator(".event").count() == shown
        await page.get_by_role("button", name="Show older ones").click()
    await page.get_by_text("number 119", exact=True).wait_for()

    texts = await page.locator(".event .text").all_inner_texts()
    assert texts == [f"number {n}" for n in range(120)]


async def test_an_event_has_an_address(page, gateway, amqp_url, recorder):
    await publish(amqp_url, (EVENT_KEY, just_now("to be sent around", node="pve3"), {}))
    wait_until(lambda: recorder.count() == 1, "it is recorded")
    await log_in(page)
    await show(page, "events")
    await page.locator("summary", has_text="to be sent around").click()
    await page.get_by_role("link", name="Link to it").click()
    await page.wait_for_url(re.compile(r"#/events/\d+$"))
    await page.reload()

    await page.get_by_role("heading", name=re.compile(r"Event \d+")).wait_for()
    await page.locator("dd", has_text="pve3").wait_for()
    await page.go_back()
    await page.get_by_role("heading", name="Events", exact=True).first.wait_for()


async def test_open_alerts_are_counted_in_the_title_of_every_view(page, amqp_url, recorder):
    await log_in(page)
    await show(page, "conversations")
    assert await page.title() == "Conversations · jarvis recorder"

    await publish(amqp_url, (EVENT_KEY, just_now("one"), {}), (EVENT_KEY, just_now("two"), {}))

    await page.wait_for_function("() => document.title === '(2) Conversations · jarvis recorder'")
    icon = await page.locator("link[rel=icon]").get_attribute("href")
    assert icon.endswith("/icon-alert.svg")


def newest_and_lines_of(number):
    """Return as many events, a minute apart, and one metric."""
    events = [
        event(summary=f"number {n}", type="status", timestamp=ago(minutes=n)) for n in range(number)
    ]
    return [(EVENT_KEY, one, {}) for one in [*events, just_now("a measure", type="metric")]]


@BOTH
async def test_on_a_telephone_events_begin_in_the_upper_half(page, amqp_url, recorder):
    await publish(amqp_url, *newest_and_lines_of(5))
    wait_until(lambda: recorder.count() == 6, "they are recorded")
    await page.set_viewport_size({"width": 390, "height": 900})
    await log_in(page)
    await show(page, "events")
    await page.get_by_role("link", name="Show 1 metrics, too").wait_for()
    await page.locator(".chart canvas").wait_for()

    assert (await page.locator(".event").first.bounding_box())["y"] < 500
    words = page.get_by_label("Node", exact=True)
    assert not await words.is_visible()
    await page.get_by_role("button", name="Filters").click()
    await words.wait_for()


@BOTH
async def test_back_leads_to_the_rows_that_were_read(page, amqp_url, recorder):
    await publish(amqp_url, *newest_and_lines_of(120))
    wait_until(lambda: recorder.count() == 121, "they are recorded")
    await log_in(page)
    await show(page, "events")
    await page.get_by_role("button", name="Show older ones").click()
    read = page.locator("summary", has=page.get_by_text("number 80", exact=True))
    await read.click()
    await read.scroll_into_view_if_needed()
    await page.evaluate("scrollBy(0, 200)")
    # A driver may scroll to what it clicks.
    away = page.locator("details[open]").get_by_role("link", name="See the moment")
    await away.hover()
    before = await read.bounding_box()
    await away.click()
    await page.get_by_role("heading", name="Moment").wait_for()

    await page.go_back()

    await page.locator("details[open] summary").get_by_text("number 80", exact=True).wait_for()
    await page.locator(".chart canvas").wait_for()
    assert await page.locator(".event").count() == 100
    assert await page.locator("details[open]").count() == 1
    assert abs((await read.bounding_box())["y"] - before["y"]) < 50


async def drawn_by_a_german(browser, gateway):
    """Return a page of a reader in Berlin that notes what is drawn, and what it complains of."""
    context = await browser.new_context(locale="de-DE", timezone_id="Europe/Berlin")
    # What is drawn can only be read while it is drawn.
    await context.add_init_script("""
        globalThis.drawn = [];
        const draw = CanvasRenderingContext2D.prototype.fillText;
        CanvasRenderingContext2D.prototype.fillText = function (text, ...place) {
            drawn.push(text);
            return draw.call(this, text, ...place);
        };
    """)
    page = await context.new_page()
    page.set_default_timeout(60_000)
    seen = Seen(page, gateway.url)
    await page.goto(gateway.url)
    await log_in(page)
    return page, seen


async def wait_for_drawn(page, pattern):
    await page.wait_for_function(
        "wanted => drawn.some((text) => new RegExp(`^${wanted}$`).test(text))", arg=pattern
    )


@BOTH
async def test_the_axis_is_in_the_readers_language(browser, gateway, amqp_url, recorder):
    await publish(amqp_url, (EVENT_KEY, just_now("one"), {}))
    wait_until(lambda: recorder.count() == 1, "it is recorded")
    page, seen = await drawn_by_a_german(browser, gateway)

    for query, wanted in (("range=6", r"\d\d:\d\d"), ("range=168", r"\d{1,2}\. \w+\.?")):
        await page.evaluate("drawn.length = 0")
        await show(page, f"events?{query}")
        await wait_for_drawn(page, wanted)
        assert not [text for text in await page.evaluate("drawn") if re.search("[ap]m", text)]
    assert seen.errors == []
    await page.context.close()


@BOTH
async def test_axis_list_and_fields_are_in_utc_together(browser, gateway, amqp_url, recorder):
    one = event(summary="one", timestamp="2026-01-20T23:30:00Z")
    await publish(amqp_url, (EVENT_KEY, one, {}))
    wait_until(lambda: recorder.count() == 1, "it is recorded")
    page, seen = await drawn_by_a_german(browser, gateway)
    await show(page, "events?since=2026-01-20T23:10:00Z&until=2026-01-20T23:50:00Z")
    time = page.locator(".event time").first
    await expect(time).to_have_text(re.compile(r"^21\..*, 00:30:00$"))
    await wait_for_drawn(page, r"00:\d\d")
    await wait_for_drawn(page, r"21\. Jan\.")
    until = page.get_by_label("To", exact=True)
    assert (await until.input_value()).startswith("2026-01-21T00:50")

    await page.evaluate("drawn.length = 0")
    await page.get_by_role("button", name="Times: local").click()

    await expect(time).to_have_text(re.compile(r"^20\..*, 23:30:00$"))
    await wait_for_drawn(page, r"23:\d\d")
    await wait_for_drawn(page, r"20\. Jan\.")
    assert (await until.input_value()).startswith("2026-01-20T23:50")
    assert seen.errors == []
    await page.context.close()


async def test_the_legend_counts_and_leads_to_one_severity_and_a_bar_says_what_it_is(
    page, amqp_url, recorder
):
    events = [just_now(f"number {n}", severity="error" if n % 3 else "warning") for n in range(9)]
    await publish(amqp_url, *((EVENT_KEY, one, {}) for one in events))
    wait_until(lambda: recorder.count() == 9, "they are recorded")
    await log_in(page)
    await show(page, "events?range=1")
    chart = page.locator(".chart")
    await chart.locator("canvas").wait_for()
    bars = chart.locator(".u-over")
    width = (await bars.bounding_box())["width"]

    # The newest bar, or one before it where the page was slow to come.
    tip, said = page.locator(".tip"), re.compile(": 6 error, 3 warning$")
    for x in range(int(width) - 4, int(width) // 2, -4):
        await bars.hover(position={"x": x, "y": 20})
        await page.evaluate("new Promise(requestAnimationFrame)")
        if said.search(await tip.text_content() or ""):
            break
    await expect(tip).to_have_text(said)
    await bars.hover(position={"x": 200, "y": 20})
    await expect(page.locator(".tip")).to_have_text(re.compile(": nothing$"))
    await page.locator(".legend").get_by_role("link", name="warning 3").click()

    await expect(page.locator(".event")).to_have_count(3)
    await page.wait_for_url(re.compile("severity=warning"))


async def test_what_is_filtered_is_saved_to_a_file_that_no_spreadsheet_runs(
    page, amqp_url, recorder
):
    formula = just_now('=HYPERLINK("http://x")', severity="error", details={"a": 'b, "c"\n'})
    others = [just_now(f"number {n}", severity="info") for n in range(700)]
    await publish(amqp_url, *((EVENT_KEY, one, {}) for one in [*others, formula]))
    wait_until(lambda: recorder.count() == 701, "they are recorded")
    await log_in(page)
    await show(page, "events?range=1")

    async with page.expect_download() as lines:
        await page.get_by_role("button", name="Save as JSON Lines").click()
    await page.get_by_text("701 saved.").wait_for()
    await page.goto(page.url.replace("range=1", "range=1&severity=error"))
    await expect(page.locator(".event")).to_have_count(1)
    async with page.expect_download() as table:
        await page.get_by_role("button", name="Save as CSV").click()

    saved = (await (await lines.value).path()).read_text().splitlines()
    assert len({json.loads(line)["id"] for line in saved}) == 701
    with (await (await table.value).path()).open(newline="", encoding="utf-8-sig") as file:
        head, row = csv.reader(file)
    event = dict(zip(head, row, strict=True))
    assert event["summary"] == '\'=HYPERLINK("http://x")'
    assert json.loads(event["details"]) == {"a": 'b, "c"\n'}
    assert (event["severity"], event["node"]) == ("error", formula.get("node", ""))


async def test_a_view_whose_module_did_not_come_is_there_once_the_network_is_back(page):
    """A browser may keep that an import failed: only a page that is loaded again asks once more."""
    await log_in(page)
    await page.get_by_text("recording", exact=True).wait_for()
    await page.context.set_offline(True)
    await page.get_by_role("link", name="Events").click()
    await page.get_by_text("This view could not be loaded.").wait_for()
    await page.get_by_role("button", name="Load the page again").wait_for()
    await page.get_by_text("The recorder is away").wait_for()

    await page.context.set_offline(False)

    await page.get_by_text("No event fits these filters.").wait_for()
    assert any("Failed to fetch" in one for one in page.seen.errors)
    page.seen.errors.clear()


async def test_a_conversation_is_read_as_it_is_where_what_lays_it_out_did_not_come(
    page, amqp_url, recorder
):
    await publish(amqp_url, turn("told", "user", "**loud** and clear", datetime.now(UTC)))
    wait_until(lambda: recorder.count("conversations") == 1, "it is recorded")
    await log_in(page)
    await page.route("**/marked.esm.js", lambda route: route.abort())

    await show(page, "conversations?session=told")

    await page.locator(".said", has_text="**loud** and clear").wait_for()
    await page.unroute("**/marked.esm.js")
    await page.get_by_role("button", name="Load the page again").click()
    await page.locator("strong", has_text="loud").wait_for()


async def test_a_chart_and_a_search_that_did_not_come_are_said(page):
    await log_in(page)
    for part in ("uPlot.esm", "palette"):
        await page.route(f"**/{part}.js", lambda route: route.abort())
    again = page.get_by_role("button", name="Load the page again")

    await page.get_by_role("button", name="Search").click()
    await again.click()
    await page.get_by_role("heading", name="Incidents").wait_for()
    await expect(again).to_have_count(0)
    await show(page, "events")

    await again.wait_for()
