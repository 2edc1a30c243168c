"""Incidents on the page: conditions, and not messages."""

import asyncio
import re

import pytest
from playwright.async_api import expect

from tests.e2e.conftest import BOTH, THEMES, ago, assert_fits, log_in, show, snapshot
from tests.support.publisher import EVENT_KEY, event, publish
from tests.support.recorder import wait_until

pytestmark = [pytest.mark.broker, pytest.mark.browser]


def down(minutes):
    summary = "[Monitor] NODE_DOWN: pve3 changed from online to offline"
    return event(summary=summary, severity="critical", node="pve3", timestamp=ago(minutes=minutes))


def up(minutes):
    summary = "[Monitor] NODE_UP: pve3 changed from offline to online"
    return event(
        summary=summary, type="status", severity="info", node="pve3", timestamp=ago(minutes=minutes)
    )


def crashed(vmid, minutes):
    summary = f"[Monitor] VM_CRASHED: guest ({vmid}) is gone"
    return event(summary=summary, severity="error", node="pve3", timestamp=ago(minutes=minutes))


async def tell(amqp_url, recorder, *events):
    before = recorder.count()
    await publish(amqp_url, *((EVENT_KEY, one, {}) for one in events))
    wait_until(lambda: recorder.count() == before + len(events), "they are recorded")


async def test_eight_pairs_are_one_row_that_flaps_until_it_is_over(page, amqp_url, recorder):
    pairs = [one for n in range(40, 0, -5) for one in (down(n), up(n - 2))]
    await tell(amqp_url, recorder, *pairs[:-1])
    await log_in(page)
    row = page.locator("[data-rows=incidents] > li")

    await expect(row).to_contain_text(
        re.compile(r"NODE_DOWN pve3.*flapping.*8 . since"), timeout=60_000
    )
    assert await row.count() == 1
    await expect(page.get_by_text("1 critical open; pve3 is offline")).to_be_visible()
    await expect(page).to_have_title(re.compile(r"^\(1\)"))

    await tell(amqp_url, recorder, pairs[-1])
    await expect(page.get_by_text("Nothing is open.")).to_be_visible(timeout=60_000)
    await page.get_by_text("1 over in the last day").click()
    await expect(row).to_contain_text(re.compile("lasted 37 min, online again"))


async def test_guests_of_a_node_that_is_down_are_inside_its_row(page, amqp_url, recorder):
    await tell(amqp_url, recorder, down(5), crashed(101, 5), crashed(102, 5))
    await log_in(page)
    row = page.locator("[data-rows=incidents] > li")

    await expect(row).to_have_count(1)
    await row.get_by_text("2 on it").click()
    await expect(row).to_contain_text("VM_CRASHED 101 on pve3")


async def test_what_is_seen_with_a_note_stays_so_over_a_reload_and_a_further_alert(
    page, amqp_url, recorder
):
    await tell(amqp_url, recorder, down(5))
    await log_in(page)
    await page.get_by_role("link", name="NODE_DOWN pve3").click()
    await page.get_by_label("Note").fill("on my way")
    await page.get_by_role("button", name="Seen, with this note").click()
    await expect(page.get_by_text("acknowledged by operator")).to_be_visible()

    await tell(amqp_url, recorder, down(1))
    await page.goto(page.url.partition("#")[0])
    await page.reload()

    row = page.locator("[data-rows=incidents] > li")
    await expect(row).to_contain_text(re.compile("2 . since .*seen by operator: on my way"))
    await expect(page.get_by_text("Somebody has seen all that is open.")).to_be_visible()


async def test_an_incident_shows_its_events_and_what_became_of_it(page, amqp_url, recorder):
    await tell(amqp_url, recorder, down(30), up(20), down(10))
    await log_in(page)
    await page.get_by_role("link", name="NODE_DOWN pve3").click()

    await expect(page.locator("[data-rows=of-incident] > li")).to_have_count(3)
    await expect(page.locator(".rail li")).to_have_count(3)


async def open_incident(page, amqp_url, recorder, *events):
    await tell(amqp_url, recorder, *events)
    await log_in(page)
    await page.get_by_role("link", name="NODE_DOWN pve3").click()
    await expect(page.locator("[data-rows=of-incident] > li")).to_have_count(len(events))


@BOTH
async def test_a_note_stays_as_it_is_typed_while_alerts_come(page, amqp_url, recorder):
    await open_incident(page, amqp_url, recorder, down(30))
    note = page.get_by_label("Note")
    await note.press_sequentially("on my")
    facts = page.locator("main dl").first

    await tell(amqp_url, recorder, down(20), up(15))
    await expect(facts).to_contain_text(re.compile(r"recovered\s*Alerts\s*2"))
    await expect(note).to_be_focused()
    await page.keyboard.type(" way")
    await tell(amqp_url, recorder, down(10))
    await expect(facts).to_contain_text(re.compile(r"open\s*Alerts\s*3"))
    await expect(note).to_have_value("on my way")
    await page.keyboard.press("Enter")

    await expect(facts).to_contain_text("on my way")
    await expect(page.get_by_text("acknowledged by operator: on my way")).to_be_visible()


@BOTH
async def test_an_event_that_is_read_stays_open_and_in_its_place(page, amqp_url, recorder):
    await open_incident(page, amqp_url, recorder, down(30), down(20))
    rows = page.locator("[data-rows=of-incident] > li")
    await rows.last.locator("summary").click()
    await rows.last.get_by_role("link", name="Link to it").hover()
    before = await rows.last.bounding_box()

    await tell(amqp_url, recorder, up(15), down(10))

    news = page.get_by_role("button", name="new")
    await news.wait_for()
    assert await rows.last.bounding_box() == before
    await news.click()
    await expect(rows).to_have_count(4)
    await expect(rows.last.locator("details")).to_have_attribute("open", "")


@BOTH
async def test_silences_that_come_late_move_nothing_that_is_read(page, amqp_url, recorder):
    come = asyncio.Event()

    async def late(route):
        await come.wait()
        await route.continue_()

    await page.route("**/api/incidents/silences*", late)
    await open_incident(page, amqp_url, recorder, down(30), down(20))
    await expect(page.get_by_role("button", name="Silence for 1 h")).to_be_visible()
    last = page.locator("[data-rows=of-incident] > li").last
    before = await last.bounding_box()

    async with page.expect_response("**/api/incidents/silences*"):
        come.set()
    await page.evaluate("new Promise(requestAnimationFrame)")

    assert await last.bounding_box() == before


@THEMES
async def test_a_silence_is_undone_listed_and_ended(page, amqp_url, recorder, theme):
    await page.emulate_media(color_scheme=theme)
    await open_incident(page, amqp_url, recorder, down(5))
    await page.get_by_role("button", name="Silence for 4 h").focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name="Undo")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name="Silence for 4 h")).to_be_focused()
    await page.get_by_role("button", name="Silence for 1 h").click()
    await expect(page.get_by_text("silenced", exact=True)).to_be_visible()
    assert recorder.count("silences") == 1

    await page.get_by_role("button", name="End it: pve3/NODE_DOWN").wait_for()
    await assert_fits(page, f"incident-{theme}")
    await show(page, "now")
    await page.get_by_text("Nothing is open.").wait_for()
    await assert_fits(page, f"silenced-{theme}")
    await page.get_by_role("link", name="1 silenced").click()
    await expect(page.locator("[data-rows=incidents] > li")).to_contain_text("NODE_DOWN pve3")
    await expect(page.locator("[data-rows=silences] > li")).to_contain_text("by operator")
    await assert_fits(page, f"silences-{theme}")
    await page.get_by_role("button", name="End it: pve3/NODE_DOWN").click()
    await show(page, "now")

    await page.get_by_text("1 critical open; pve3 is offline").wait_for()
    await expect(page.get_by_role("link", name="1 silenced")).to_have_count(0)


async def test_an_incident_shows_what_was_measured_in_it(page, amqp_url, recorder):
    snapshots = [snapshot("home", "pve3", minutes=10 * n) for n in range(9)]
    await publish(amqp_url, *snapshots)
    wait_until(lambda: recorder.count("cluster_snapshots") == 9, "the snapshots are recorded")
    hot = "[Monitor] THRESHOLD: cpu of pve3 above 90 %"
    await tell(amqp_url, recorder, event(summary=hot, node="pve3", timestamp=ago(minutes=45)))
    await log_in(page)
    await page.get_by_role("link", name="THRESHOLD cpu on pve3").click()

    await page.get_by_role("heading", name="CPU of node pve3").wait_for()
    await page.locator(".series canvas").wait_for()
    await assert_fits(page, "measured")
    await page.get_by_role("link", name="All that was measured").click()
    await page.get_by_role("heading", name="Node pve3 of home").wait_for()


async def test_clusters_with_an_incident_come_first(page, amqp_url, recorder):
    of_beta = {"summary": "[Monitor] THRESHOLD: disk on b1 at 91%", "node": "b1"}
    alert = event(**of_beta, cluster="beta", timestamp=ago(minutes=5))
    shown = [snapshot(name, f"{name[0]}1", seconds=1) for name in ("alpha", "beta", "gamma")]
    await publish(amqp_url, (EVENT_KEY, alert, {}), *shown)
    wait_until(lambda: recorder.count("incidents") == 1, "the incident is open")
    wait_until(lambda: recorder.count("cluster_snapshots") == 3, "the snapshots are recorded")

    await log_in(page)

    await expect(page.locator("h3.cluster")).to_have_text(["beta", "alpha", "gamma"])
