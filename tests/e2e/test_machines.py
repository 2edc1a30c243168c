"""Nodes, guests and storages: tables of them, and what was measured over time."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import expect

from tests.e2e.conftest import ARTEFACTS, BOTH, ago, assert_accessible, just_now, log_in, show
from tests.support.publisher import EVENT_KEY, publish
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


async def assert_fits(page, name):
    for width in (1280, 390):
        await page.set_viewport_size({"width": width, "height": 900})
        await page.screenshot(path=ARTEFACTS / f"{name}-{width}.png", full_page=True)
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        await assert_accessible(page)
    await page.set_viewport_size({"width": 1280, "height": 900})


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
    await page.get_by_role("link", name="it is hot").wait_for()

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
