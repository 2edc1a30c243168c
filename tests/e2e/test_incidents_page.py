"""Incidents on the page: conditions, and not messages."""

import re

import pytest
from playwright.async_api import expect

from tests.e2e.conftest import ago, log_in, snapshot
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
    await page.get_by_role("button", name="1 h").click()
    await expect(page.get_by_text("silenced", exact=True)).to_be_visible()
    wait_until(lambda: recorder.count("silences") == 1, "it is silenced")


async def test_clusters_with_an_incident_come_first(page, amqp_url, recorder):
    of_beta = {"summary": "[Monitor] THRESHOLD: disk on b1 at 91%", "node": "b1"}
    alert = event(**of_beta, cluster="beta", timestamp=ago(minutes=5))
    shown = [snapshot(name, f"{name[0]}1", seconds=1) for name in ("alpha", "beta", "gamma")]
    await publish(amqp_url, (EVENT_KEY, alert, {}), *shown)
    wait_until(lambda: recorder.count("incidents") == 1, "the incident is open")
    wait_until(lambda: recorder.count("cluster_snapshots") == 3, "the snapshots are recorded")

    await log_in(page)

    await expect(page.locator("h3.cluster")).to_have_text(["beta", "alpha", "gamma"])
