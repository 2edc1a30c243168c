"""Nodes, guests and storages: tables of them, and what was measured over time."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import expect

from tests.e2e.conftest import BOTH, THEMES, ago, assert_fits, just_now, log_in, show, snapshot
from tests.support.publisher import EVENT_KEY, event, publish
from tests.support.recorder import wait_until

pytestmark = [pytest.mark.broker, pytest.mark.browser]

TEXTS = "cells => cells.map(({textContent}) => textContent)"


def guest(number, **changes):
    return {
        "vmid": number,
        "name": f"guest-{number}",
        "node": "pve1",
        "status": "running",
        "cpu": number % 7 / 10,
        "mem": number * 2**20,
        "maxmem": 2**30,
    } | changes


def storage(name, full, **changes):
    one = {"storage": name, "node": "pve1", "used": int(full * 2**40), "total": 2**40}
    return one | changes


GUESTS = [
    guest(101),
    guest(102, status="stopped"),
    guest(103, status="stopped", template=1),
    guest(104, status="stopped", onboot=0),
    guest(105, node="pve2"),
]
STORAGES = [storage("tank", 0.9), storage("local", 0.2), storage("nfs", 0.86, shared=1)]


def cluster(name, at, guests=(), storages=(), **node):
    nodes = [{"name": "pve1", "status": "online", "cpu": 0.2, "mem": 2**30, "disk": 2**33} | node]
    state = {"nodes": nodes, "vms": list(guests), "storages": list(storages)}
    return ("cluster.snapshot", {"snapshot": state, "timestamp": at, "cluster": name}, {})


async def recorded(amqp_url, recorder, *snapshots):
    await publish(amqp_url, *snapshots)
    wait_until(
        lambda: recorder.count("cluster_snapshots") == len(snapshots), "the snapshots are recorded"
    )


async def names(page):
    return await page.locator(".inventory tbody th").evaluate_all(TEXTS)


@BOTH
async def test_guests_are_sorted_and_filtered_by_the_address_and_by_keys(page, amqp_url, recorder):
    one = cluster("home", ago(minutes=1), GUESTS, STORAGES)
    await recorded(amqp_url, recorder, one, cluster("lab", ago(minutes=1), [guest(201)]))
    await log_in(page)
    await page.get_by_role("link", name="1 down").wait_for()
    await page.get_by_role("link", name="5 guests").click()
    await page.get_by_text("5 of 6 · 1 down · 2 at rest").wait_for()
    assert "cluster=home" in page.url

    await page.get_by_role("button", name="Memory").click()
    await page.get_by_role("button", name="Memory").click()
    await page.wait_for_url(re.compile("sort=-mem"))
    assert await names(page) == [f"guest-{number}" for number in (105, 104, 103, 102, 101)]
    assert await page.locator("[aria-sort=descending]").inner_text() == "Memory ▾"
    await page.reload()
    await page.get_by_text("5 of 6").wait_for()
    assert (await names(page))[0] == "guest-105"

    assert await page.locator(".inventory tbody [tabindex='0']").count() == 1
    await page.get_by_role("link", name="guest-105").focus()
    await page.keyboard.press("ArrowDown")
    await expect(page.get_by_role("link", name="guest-104")).to_be_focused()
    await page.keyboard.press("End")
    await expect(page.get_by_role("link", name="guest-101")).to_be_focused()

    # Its row is made again, all others stay, and Tab still leads to it.
    await page.get_by_label("Name").focus()
    busy = [guest(101, cpu=0.99), *GUESTS[1:]]
    await publish(amqp_url, cluster("home", ago(), busy, STORAGES))
    row = page.locator(".inventory tbody tr", has_text="guest-101")
    await expect(row).to_contain_text("99 %")
    await expect(page.locator(".inventory tbody [tabindex='0']")).to_have_text(["guest-101"])

    await page.get_by_label("State").select_option("down")
    await expect(page.locator(".inventory tbody th")).to_have_text(["guest-102"])
    await page.go_back()
    await expect(page.locator(".inventory tbody th")).to_have_count(5)
    await page.get_by_label("Name").press_sequentially("PVE2")
    await page.keyboard.press("Enter")
    await expect(page.locator(".inventory tbody th")).to_have_text(["guest-105"])
    await show(page, "guests")
    await expect(page.locator(".inventory tbody th")).to_have_count(6)
    await assert_fits(page, "guests")


async def test_storages_that_are_nearly_full_are_marked(page, amqp_url, recorder):
    await recorded(amqp_url, recorder, cluster("home", ago(minutes=1), GUESTS, STORAGES))
    await log_in(page)
    await page.get_by_role("link", name="▲ 2 above 85 %").click()
    await expect(page.locator(".inventory tbody th")).to_have_text(["tank", "nfs"])
    assert await page.get_by_text("▲ 90 %").count() == 1

    await show(page, "storages?sort=used")
    await expect(page.locator(".inventory tbody th")).to_have_text(["local", "nfs", "tank"])
    assert await page.locator(".inventory .warning").count() == 2
    await assert_fits(page, "storages")

    await page.get_by_role("link", name="tank").click()
    await page.get_by_role("heading", name="Storage pve1/tank of home").wait_for()
    await page.locator(".series canvas").nth(1).wait_for()
    await page.get_by_role("combobox", name="Time").select_option("168")
    await page.wait_for_url(re.compile("storages/home/pve1%2Ftank.range=168"))
    await page.get_by_text("As a table").wait_for()


@BOTH
async def test_the_measures_of_a_node_have_one_time_axis_and_a_table(page, amqp_url, recorder):
    began = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=20)
    snapshots = []
    for n in range(120):
        at = (began + timedelta(minutes=10 * n)).isoformat().replace("+00:00", "Z")
        state = {"status": "offline", "cpu": 0} if 60 <= n < 72 else {"cpu": 0.2 + n / 1000}
        snapshots.append(cluster("home", at, **state))
    await recorded(amqp_url, recorder, *snapshots)
    hot = just_now("it is hot", node="pve1", cluster="home", severity="error")
    await publish(amqp_url, (EVENT_KEY, hot, {}))
    wait_until(lambda: recorder.count() == 1, "the event is recorded")
    answers = []

    async def note(response):
        if "/api/snapshots/series" in response.url:
            answers.append(await response.body())

    page.on("response", note)
    await log_in(page)
    await page.locator(".machine").get_by_role("link", name="pve1").click()
    charts = page.locator(".series figure")
    await charts.locator("canvas").nth(2).wait_for()
    await page.get_by_role("link", name="it is hot", exact=True).wait_for()

    page.remove_listener("response", note)
    assert await charts.count() == 3
    assert len(answers) == 1
    assert len(answers[0]) <= 60 * 1024
    over = charts.first.locator(".u-over")
    await over.scroll_into_view_if_needed()
    box = await over.bounding_box()
    await page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    await expect(charts.locator("output")).to_have_text([re.compile(r"\d")] * 3)

    points = json.loads(answers[0])["points"]
    await page.get_by_text("As a table").click()
    rows = page.get_by_role("table", name="Means").locator("tbody tr")
    assert await rows.count() == len(points)
    cells = await rows.last.locator("td").evaluate_all(TEXTS)
    assert cells[0].startswith(f"{round(points[0]['cpu']['mean'] * 100, 1):g} %")
    assert len([point for point in points if point["online"]["mean"] < 1]) in range(4, 14)
    await assert_fits(page, "node")

    await page.get_by_role("combobox", name="Time").select_option("168")
    await page.wait_for_url(re.compile("range=168"))
    await charts.locator("canvas").nth(2).wait_for()


@THEMES
async def test_a_storage_says_when_it_is_full_as_a_range(page, amqp_url, recorder, theme):
    held = [0.5 + 0.01 * n / 4 + n % 3 / 100 for n in range(48)]
    snapshots = [
        cluster("home", ago(days=12 - n / 4), [], [storage("tank", full), storage("flat", 0.5)])
        for n, full in enumerate(held)
    ]
    await recorded(amqp_url, recorder, *snapshots)
    await page.emulate_media(color_scheme=theme)
    await log_in(page)
    await show(page, "storages")
    await page.get_by_role("link", name="tank").click()
    await page.get_by_text(re.compile(r"Full in \d+ to \d+ days if it grows as in")).wait_for()
    await page.get_by_role("combobox", name="Time").select_option("720")
    await page.locator(".series canvas").nth(1).wait_for()
    await assert_fits(page, f"storage-{theme}")

    await page.evaluate("location.hash = '#/storages/home/pve1%2Fflat'")
    await page.get_by_text("Not growing, as far as its last 30 days show: 512 GiB of").wait_for()
    await page.evaluate("location.hash = '#/storages/home/nowhere'")
    await page.get_by_text("Nothing is known of its growth.").wait_for()


@THEMES
async def test_the_strip_leads_to_a_node_with_its_incidents_guests_and_events(
    page, amqp_url, recorder, theme
):
    """Its monitor names no cluster, and there is only one."""
    down = "[Monitor] NODE_DOWN: pve1 changed from online to offline"
    up = "[Monitor] NODE_UP: pve1 changed from offline to online"
    hot = "[Monitor] THRESHOLD: cpu of pve1 above 90 %"
    told = [(down, "critical", "alert"), (up, "info", "status"), (hot, "warning", "alert")]
    await recorded(amqp_url, recorder, cluster("home", ago(minutes=40), GUESTS))
    events = [
        event(node="pve1", summary=summary, severity=severity, type=type_, timestamp=ago(minutes=n))
        for n, (summary, severity, type_) in zip((30, 20, 10), told, strict=True)
    ]
    await publish(amqp_url, *((EVENT_KEY, one, {}) for one in events))
    wait_until(lambda: recorder.count("incidents") == 2, "the incidents are known")
    await page.emulate_media(color_scheme=theme)
    await log_in(page)
    await page.locator(".matrix").get_by_role("link", name="pve1", exact=True).click()

    await page.get_by_role("heading", name="Node pve1 of home").wait_for()
    await page.locator(".series canvas").nth(2).wait_for()
    incidents = page.locator("[data-rows=incidents] > li")
    await expect(incidents).to_contain_text(["THRESHOLD cpu on pve1", "NODE_DOWN pve1"])
    await page.get_by_role("link", name=hot).wait_for()
    guests = page.locator(".panel", has=page.get_by_role("heading", name="Its guests"))
    await expect(guests.locator("li a")).to_have_text([f"guest-{n}" for n in range(101, 105)])
    await expect(guests.locator("li").nth(1)).to_contain_text("◆ stopped")
    await assert_fits(page, f"node-{theme}")
    await guests.get_by_role("link", name="guest-102").click()
    await page.get_by_role("heading", name="Guest 102 of home").wait_for()


async def test_a_node_of_the_unnamed_cluster_has_no_events_of_another(page, amqp_url, recorder):
    own = just_now("of its own", node="pve1")
    other = just_now("of the other", node="pve1", cluster="lab")
    await recorded(
        amqp_url, recorder, snapshot("", "pve1", minutes=1), snapshot("lab", "pve1", minutes=1)
    )
    await publish(amqp_url, (EVENT_KEY, own, {}), (EVENT_KEY, other, {}))
    wait_until(lambda: recorder.count("incidents") == 2, "the incidents are known")
    await log_in(page)
    await page.evaluate("location.hash = '#/nodes//pve1'")

    marks = page.locator("[data-rows=marks] > li")
    await expect(marks).to_have_count(1)
    await expect(marks).to_contain_text("of its own")
    await expect(page.locator("[data-rows=incidents] > li")).to_have_count(1)
