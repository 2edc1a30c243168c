"""Faults of the page that would mislead an operator at three in the morning."""

import asyncio
import re
import signal
import time

import pytest
from playwright.async_api import expect

from tests.e2e.conftest import BOTH, ago, just_now, log_in, show, snapshot
from tests.support.publisher import EVENT_KEY, event, publish
from tests.support.recorder import wait_until

pytestmark = [pytest.mark.broker, pytest.mark.browser]

NOTE_WHAT_OUTLIVES_THE_PAGE = """() => {
    const { fetch } = window;
    window.fetch = (path, options) => {
        if (options.method === "POST") sessionStorage.setItem(path, options.keepalive);
        return fetch(path, options);
    };
}"""
ROW_AT = "([x, y]) => document.elementFromPoint(x, y)?.closest('[data-row]')?.dataset.row"
# After so long without a move only what somebody does with a row keeps it in its place.
AT_REST_MS = 6_000
CLOSED = (
    "SELECT kind FROM incidents JOIN incident_conditions c ON c.id = condition_id"
    " WHERE state = 'resolved'"
)
FOCUSED_ROW = "document.activeElement.closest('[data-row]')?.dataset.row"


async def middle_of(locator):
    box = await locator.bounding_box()
    return [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2]


async def log_in_on_our_time(page):
    """Log in to a page whose time can be made to pass at once."""
    await page.clock.install()
    await page.reload()
    await log_in(page)


async def alerts(amqp_url, recorder, *summaries, **changes):
    before = recorder.count()
    messages = [(EVENT_KEY, just_now(summary, **changes), {}) for summary in summaries]
    await publish(amqp_url, *messages)
    wait_until(lambda: recorder.count() == before + len(summaries), "the alerts are recorded")


# A row that moves under a click


@BOTH
async def test_no_row_moves_under_the_pointer_and_a_button_says_what_waits(
    page, amqp_url, recorder
):
    await alerts(amqp_url, recorder, "aimed at")
    await log_in_on_our_time(page)
    aim = await middle_of(page.get_by_role("button", name="Close: aimed at"))
    await page.mouse.move(*aim)
    aimed_at = await page.evaluate(ROW_AT, aim)
    await page.clock.fast_forward(AT_REST_MS)

    await alerts(amqp_url, recorder, "much worse", severity="critical")

    await page.get_by_role("button", name="1 new").wait_for()
    await expect(page).to_have_title(re.compile(r"^\(2\)"))
    assert await page.evaluate(ROW_AT, aim) == aimed_at
    await page.get_by_role("button", name="1 new").click()
    assert "much worse" in await page.locator(".event").first.inner_text()
    assert await page.evaluate(FOCUSED_ROW) is not None


async def test_a_resolution_is_undone_and_the_next_row_has_the_focus(page, amqp_url, recorder):
    await alerts(amqp_url, recorder, "the other one", "by mistake")
    await log_in(page)
    row = page.locator(".event", has_text="by mistake")
    await row.get_by_role("button", name="Close").focus()
    await page.keyboard.press("Enter")

    await page.get_by_role("status").get_by_text("It can be undone").wait_for(state="attached")
    other = await page.locator(".event", has_text="the other one").get_attribute("data-row")
    assert await page.evaluate(FOCUSED_ROW) == other
    await row.get_by_role("button", name="Undo").click()
    await row.get_by_role("button", name="Close").wait_for()
    await show(page, "events")

    assert recorder.rows("SELECT DISTINCT state FROM incidents") == [("open",)]


async def test_a_double_click_resolves_once_and_leaving_the_view_does_not_undo_it(
    page, amqp_url, recorder
):
    await alerts(amqp_url, recorder, "twice clicked", "untouched")
    await log_in(page)
    row = page.locator(".event", has_text="twice clicked")
    await row.get_by_role("button", name="Close").dblclick()
    await row.get_by_role("button", name="Undo").wait_for()

    # Now, and not when the time for undoing is over.
    async with page.expect_request("**/resolve", timeout=5_000):
        await show(page, "events")

    wait_until(lambda: recorder.rows(CLOSED) == [("twice clicked",)], "it is closed")


async def test_a_page_that_is_closed_does_what_waits(page, gateway, amqp_url, recorder):
    await alerts(amqp_url, recorder, "closed upon")
    await log_in(page)
    await page.evaluate(NOTE_WHAT_OUTLIVES_THE_PAGE)
    await page.get_by_role("button", name="Close: ").click()
    await page.get_by_role("button", name="Undo").wait_for()

    await page.goto("about:blank")

    wait_until(lambda: recorder.rows(CLOSED) == [("closed upon",)], "it is closed")
    await page.goto(gateway.url)
    # What does not outlive the page mostly arrives, too, but not always.
    [outlives] = await page.evaluate("Object.values(sessionStorage)")
    assert outlives == "true"


async def test_a_click_under_way_is_not_lost_to_what_comes_meanwhile(page, amqp_url, recorder):
    await alerts(amqp_url, recorder, "pressed", severity="critical")
    await log_in(page)
    await page.get_by_role("button", name="Close").hover()
    await page.mouse.down()

    await alerts(amqp_url, recorder, "comes below", severity="warning")
    await page.get_by_text("comes below").wait_for()
    await page.mouse.up()

    await page.get_by_role("button", name="Undo: pressed").wait_for()


async def test_an_alert_that_another_one_resolved_is_marked_where_it_is(
    page, gateway, amqp_url, recorder
):
    await alerts(amqp_url, recorder, "stays", "goes")
    await log_in(page)
    aim = await middle_of(
        page.locator(".event", has_text="stays").get_by_role("button", name="Close")
    )
    await page.mouse.move(*aim)
    aimed_at = await page.evaluate(ROW_AT, aim)
    [(goes,)] = recorder.rows("SELECT id FROM events WHERE summary = 'goes'")
    with gateway.client() as client:
        client.post(f"/api/events/{goes}/resolve")

    await page.locator(".gone", has_text="goes").wait_for()

    assert await page.evaluate(ROW_AT, aim) == aimed_at
    await page.get_by_role("button", name="1 gone").click()
    await page.get_by_text("goes").wait_for(state="detached")


async def test_what_is_read_stays_where_it_is_while_events_come(page, amqp_url, recorder):
    await alerts(amqp_url, recorder, *(f"number {n}" for n in range(50)))
    await log_in_on_our_time(page)
    await show(page, "events")
    read = page.get_by_text("number 5", exact=True)
    await read.wait_for()
    await page.mouse.move(5, 5)
    await page.evaluate("scrollTo(0, 1500)")
    await page.clock.fast_forward(AT_REST_MS)
    before = await read.bounding_box()

    await alerts(amqp_url, recorder, *(f"further {n}" for n in range(30)))

    await page.get_by_role("button", name="30 new").wait_for()
    assert abs((await read.bounding_box())["y"] - before["y"]) < 4


async def test_a_list_no_one_is_at_continues_by_itself(page, amqp_url, recorder):
    await alerts(amqp_url, recorder, "the first")
    await log_in(page)
    await page.get_by_text("the first").wait_for()

    await alerts(amqp_url, recorder, "the second", severity="critical")

    await page.get_by_text("the second").wait_for()


async def test_a_choice_is_shown_also_where_an_event_comes_before_its_answer(
    page, amqp_url, recorder
):
    await alerts(amqp_url, recorder, "of any")
    await alerts(amqp_url, recorder, "worse", severity="critical")
    await log_in(page)
    await show(page, "events")
    await page.get_by_text("of any").hover()
    asked, told = asyncio.Event(), asyncio.Event()

    async def late(route):
        answer = await route.fetch()
        asked.set()
        await told.wait()
        await route.fulfill(response=answer)

    await page.route("**/api/memory/events?*minSeverity=critical*", late)
    await page.get_by_label("At least").select_option("critical")
    await asked.wait()
    async with page.expect_request("**/api/incidents?*"):
        await alerts(amqp_url, recorder, "worse still", severity="critical")
    told.set()

    await expect(page.locator(".event .text").last).to_have_text("worse")
    await page.get_by_role("button", name="1 new").click()
    await expect(page.locator(".event .text")).to_have_text(["worse still", "worse"])


async def test_what_waits_of_an_earlier_choice_is_not_shown_for_another(page, amqp_url, recorder):
    await alerts(amqp_url, recorder, "the first")
    await log_in(page)
    await show(page, "events")
    await page.get_by_text("the first").hover()
    await alerts(amqp_url, recorder, "the second")
    news = page.get_by_role("button", name="1 new")
    await news.wait_for()

    await page.route("**/api/memory/events?*minSeverity=critical*", lambda _: None)
    await page.get_by_label("At least").select_option("critical")

    await news.wait_for(state="hidden")


# The wrong cluster


async def test_every_cluster_is_shown_by_its_name_however_long_it_is_silent(
    page, amqp_url, recorder
):
    busy = [snapshot("home", "pve1", seconds=n) for n in range(120, 0, -1)]
    silent = [snapshot("offsite", "off1", days=8), snapshot("lab", "lab-a", hours=7)]
    await publish(amqp_url, *silent, *busy)
    wait_until(lambda: recorder.count("cluster_snapshots") == 122, "the snapshots are recorded")

    await log_in(page)

    await page.locator("h3.cluster").first.wait_for()
    assert await page.locator("h3.cluster").all_inner_texts() == ["home", "lab", "offsite"]


async def test_a_time_shows_the_cluster_of_its_event_and_lets_one_choose(page, amqp_url, recorder):
    await publish(
        amqp_url,
        snapshot("lab", "lab-a", minutes=3),
        snapshot("home", "pve1", minutes=2),
        (EVENT_KEY, event(summary="lab-a is hot", node="lab-a", timestamp=ago(minutes=1)), {}),
    )
    wait_until(lambda: recorder.count("cluster_snapshots") == 2, "the snapshots are recorded")
    wait_until(lambda: recorder.count() == 1, "the event is recorded")
    await log_in(page)
    await page.get_by_text("lab-a is hot").click()
    await page.get_by_role("link", name="See the moment").click()

    await page.get_by_role("heading", name="Cluster lab").wait_for()
    await page.locator(".machine", has_text="lab-a").wait_for()
    assert await page.locator(".machine", has_text="pve1").count() == 0
    assert "no cluster named" in await page.locator(".around .chosen").inner_text()

    await page.get_by_role("combobox", name="Cluster").select_option("home")
    await page.get_by_role("heading", name="Cluster home").wait_for()
    assert await page.locator(".machine").all_inner_texts() != []
    assert await page.locator(".machine", has_text="lab-a").count() == 0
    assert "cluster=home" in page.url


async def test_a_cluster_without_a_name_is_one_of_several(page, amqp_url, recorder):
    await publish(amqp_url, snapshot("", "alone", minutes=3), snapshot("home", "pve1", minutes=2))
    wait_until(lambda: recorder.count("cluster_snapshots") == 2, "the snapshots are recorded")
    await log_in(page)
    await show(page, "moment?cluster=home")
    await page.get_by_role("heading", name="Cluster home").wait_for()

    await page.get_by_role("combobox", name="Cluster").select_option("unnamed cluster")

    await page.locator(".machine", has_text="alone").wait_for()
    assert await page.locator(".machine").count() == 1


async def test_an_event_without_a_cluster_is_of_the_one_without_a_name(page, amqp_url, recorder):
    await publish(
        amqp_url,
        snapshot("", "pve1", minutes=3),
        snapshot("home", "pve1", "pve2", minutes=2),
        (EVENT_KEY, event(summary="pve2 is hot", node="pve2", timestamp=ago(minutes=1)), {}),
    )
    wait_until(lambda: recorder.count("cluster_snapshots") == 2, "the snapshots are recorded")
    wait_until(lambda: recorder.count() == 1, "the event is recorded")
    await log_in(page)
    await page.get_by_text("pve2 is hot").click()
    await page.get_by_role("link", name="See the moment").click()

    await page.get_by_role("heading", name="Cluster unnamed cluster").wait_for()
    await page.locator(".around .chosen", has_text="pve2 is hot").wait_for()


# "live" while nothing is recorded


@BOTH
async def test_a_recorder_that_hangs_is_said_to_be_away(page, amqp_url, recorder):
    await alerts(amqp_url, recorder, "seen before")
    await log_in(page)
    pill = page.locator("#live")
    await page.get_by_text("recording", exact=True).wait_for()
    await page.locator(".loading").first.wait_for(state="detached")
    row = page.locator(".event")
    before = await row.bounding_box()

    recorder.process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    await pill.get_by_text("away since").wait_for(timeout=10_000)
    print(f"away after {time.monotonic() - began:.1f} s")

    assert await page.get_by_text("recording", exact=True).count() == 0
    regions = await page.locator(".kept").count()
    assert regions == await page.locator(".kept.stale").get_by_text("as of").count()
    assert await row.bounding_box() == before
    assert "away" in await page.title()

    recorder.process.send_signal(signal.SIGCONT)
    began = time.monotonic()
    await page.get_by_text("recording", exact=True).wait_for(timeout=20_000)
    await page.locator(".stale").first.wait_for(state="detached", timeout=20_000)
    print(f"back after {time.monotonic() - began:.1f} s")
    await page.get_by_text("The recorder is away").wait_for(state="hidden")


async def test_a_browser_without_a_network_says_so(page):
    await log_in(page)
    await page.get_by_text("recording", exact=True).wait_for()
    # What was never shown cannot turn grey.
    await page.get_by_text("Nothing is open.").wait_for()

    await page.context.set_offline(True)

    await page.get_by_text("away since").wait_for()
    await page.locator(".stale").first.wait_for()
    await page.context.set_offline(False)
    await page.get_by_text("recording", exact=True).wait_for()


async def test_a_recorder_that_answers_but_does_not_record_is_away(page, amqp_url, recorder):
    async def without_storage(route):
        answer = await route.fetch()
        stats = await answer.json()
        stats["activity"]["state"] = "storage_unavailable"
        await route.fulfill(response=answer, json=stats)

    await page.route("**/api/stats", without_storage)
    await log_in(page)

    await page.get_by_role("alert").get_by_text("storage unavailable").wait_for()
    assert await page.get_by_text("recording", exact=True).count() == 0


async def test_a_recorder_to_which_nothing_comes_is_quiet(page, amqp_url, recorder):
    await publish(amqp_url, (EVENT_KEY, event(timestamp=ago(hours=3)), {}))
    wait_until(lambda: recorder.count() == 1, "it is recorded")

    await log_in(page)

    await page.locator("#live").get_by_text("quiet since").wait_for()


async def test_a_state_that_is_older_than_usual_says_so(page, amqp_url, recorder):
    await publish(
        amqp_url,
        *(snapshot("stuck", "a", minutes=n) for n in (21, 20, 19, 18)),
        *(snapshot("fresh", "b", seconds=n) for n in (90, 60, 30, 1)),
    )
    wait_until(lambda: recorder.count("cluster_snapshots") == 8, "the snapshots are recorded")

    await log_in(page)

    await page.locator("h3:text('stuck') + p").get_by_text("older than usual").wait_for()
    assert await page.get_by_text("older than usual").count() == 1


@BOTH
async def test_who_logs_out_does_so_in_all_tabs(page, gateway):
    await log_in(page)
    other = await page.context.new_page()
    other.set_default_timeout(60_000)
    ended = []
    other.on("requestfailed", lambda request: ended.append(request.url))
    other.on("requestfinished", lambda request: ended.append(request.url))
    async with other.expect_request("**/api/live") as asked:
        await other.goto(gateway.url)
    # Without `cache: "no-store"` Firefox has it wait for the other tab's.
    async with asyncio.timeout(15):
        await (await asked.value).response()
    await other.get_by_text("recording", exact=True).wait_for()

    await page.get_by_role("button", name="Log out").click()

    await other.get_by_label("Password").wait_for()
    assert await other.locator(".kept").count() == 0
    assert gateway.url + "/api/live" in ended
    await log_in(page)
    await other.get_by_role("heading", name="Incidents").wait_for()
