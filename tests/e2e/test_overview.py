"""The last day at a glance, and what leads on from it."""

import re
import time

import pytest
from playwright.async_api import expect

from tests.e2e.conftest import (
    ARTEFACTS,
    BOTH,
    FIRST_VIEW_BYTES,
    THEMES,
    ago,
    assert_accessible,
    just_now,
    log_in,
    show,
    snapshot,
)
from tests.support.publisher import EVENT_KEY, event, publish
from tests.support.recorder import wait_until

pytestmark = [pytest.mark.broker, pytest.mark.browser]

TRANSFERRED = """performance.getEntries()
    .filter(({ entryType }) => ["navigation", "resource"].includes(entryType))
    .reduce((sum, { encodedBodySize }) => sum + encodedBodySize, 0)"""
FETCHED = """performance.getEntriesByType("resource")
    .filter(({ name, transferSize }) => name.includes("/static/") && transferSize)
    .map(({ name }) => name)"""
NAMED = """[...document.querySelectorAll("[rel=modulepreload], script[type=module]")]
    .map(({ href, src }) => href || src)"""
IMPORTED = """performance.getEntriesByType("resource")
    .map(({ name }) => name).filter((name) => name.includes("/js/") && !name.includes("-early"))"""
SLOW_3G = {
    "offline": False,
    "latency": 400,
    "downloadThroughput": 50 * 1024,
    "uploadThroughput": 50 * 1024,
}
CELL = {"node": "pve3", "cluster": "home", "type": "status"}


async def recorded(amqp_url, recorder, *messages, events=0, snapshots=0):
    await publish(amqp_url, *messages)
    wait_until(lambda: recorder.count() >= events, "the events are recorded")
    wait_until(
        lambda: recorder.count("cluster_snapshots") >= snapshots, "the snapshots are recorded"
    )


async def assert_fits(page, name, theme):
    """Look at what is shown on a desk and on a telephone."""
    for width in (1280, 390):
        await page.set_viewport_size({"width": width, "height": 900})
        await page.screenshot(path=ARTEFACTS / f"{name}-{theme}-{width}.png", full_page=True)
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        await assert_accessible(page)


async def test_the_first_view_is_small(page, amqp_url, recorder):
    await recorded(amqp_url, recorder, snapshot("home", "pve1", "pve2", seconds=1), snapshots=1)
    await log_in(page)
    await page.locator(".machine").first.wait_for()

    size = await page.evaluate(TRANSFERRED)
    print(f"the first view is {size / 1024:.1f} KiB")
    assert size <= FIRST_VIEW_BYTES


@BOTH
async def test_a_second_visit_fetches_no_file_of_the_page(page, amqp_url, recorder):
    await recorded(amqp_url, recorder, snapshot("home", "pve1", "pve2", seconds=1), snapshots=1)
    await log_in(page)
    await page.locator(".machine").first.wait_for()
    assert sorted(await page.evaluate(NAMED)) == sorted(await page.evaluate(IMPORTED))

    await page.goto("about:blank")
    await page.go_back()
    await page.reload()

    await page.locator(".machine").first.wait_for()
    assert await page.evaluate(FETCHED) == []


async def test_a_line_of_a_slow_telephone_is_enough(browser, gateway, amqp_url, recorder):
    await recorded(amqp_url, recorder, snapshot("home", "pve1", "pve2", seconds=1), snapshots=1)
    page = await browser.new_page()
    page.set_default_timeout(60_000)
    line = await page.context.new_cdp_session(page)
    await line.send("Network.enable")
    await line.send("Network.emulateNetworkConditions", SLOW_3G)

    began = time.monotonic()
    await page.goto(gateway.url, wait_until="commit")
    await page.get_by_label("Password").wait_for()
    print(f"the login is there after {time.monotonic() - began:.1f} s")
    began = time.monotonic()
    await log_in(page)
    await page.locator(".machine").first.wait_for()
    print(f"the state of the cluster after {time.monotonic() - began:.1f} s more")

    await page.close()


async def test_large_clusters_are_fetched_once_and_not_for_lines(page, amqp_url, recorder):
    guests = [{"vmid": n, "name": f"guest-{n}", "status": "running"} for n in range(2_000)]
    body = {"nodes": [{"name": "pve1", "status": "online", "cpu": 0.2}], "vms": guests}
    large = [
        ("cluster.snapshot", {"snapshot": body, "timestamp": ago(minutes=9 * n), "cluster": c}, {})
        for n in range(20)
        for c in ("home", "lab")
    ]
    await recorded(amqp_url, recorder, *large, snapshots=40)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    await log_in(page)
    await page.locator(".machine").nth(1).wait_for()

    assert len([url for url in asked if "/api/snapshots/at" in url]) == 2
    assert await page.evaluate(TRANSFERRED) <= FIRST_VIEW_BYTES
    assert await page.locator("*").count() <= 1_500


@THEMES
async def test_the_worst_of_each_node_and_half_hour_leads_to_its_events(
    page, amqp_url, recorder, theme
):
    at = ago(seconds=5)
    events = [
        *(event(**CELL, summary=f"well {n}", timestamp=at) for n in range(20)),
        event(**CELL, summary="lost", severity="critical", timestamp=at),
        event(**CELL | {"node": "pve1"}, summary="other", timestamp=ago(hours=5)),
        event(**CELL | {"node": "off1", "cluster": "lab"}, timestamp=ago(hours=2)),
        just_now("of no node", node=None, type="status", severity="warning"),
    ]
    await recorded(amqp_url, recorder, *((EVENT_KEY, one, {}) for one in events), events=24)
    await page.emulate_media(color_scheme=theme)
    await log_in(page)
    matrix = page.get_by_role("table", name="The worst severity by node and time")
    worst = matrix.get_by_role("link", name=re.compile("pve3, .*: critical, "))
    await worst.wait_for()
    await page.locator(".loading").first.wait_for(state="detached")

    assert await matrix.get_by_role("rowheader").all_inner_texts() == [
        "home", "pve1", "pve3", "lab", "off1", "no cluster named", "no node named",
    ]  # fmt: skip
    assert await worst.inner_text() == "■"
    assert await matrix.locator("[tabindex='0']").count() == 1
    strip = matrix.locator(".strip").first.locator(":scope > *")
    assert await strip.count() == 48
    await assert_fits(page, "matrix", theme)

    # A new visit on a telephone: fewer cells, and each is large enough for a finger.
    await page.reload()
    await worst.wait_for()
    assert await strip.count() == 8
    assert (await worst.bounding_box())["width"] >= 24
    await page.screenshot(path=ARTEFACTS / f"matrix-telephone-{theme}.png", full_page=True)

    await matrix.locator("[tabindex='0']").focus()
    await page.keyboard.press("ArrowDown")
    await expect(matrix.get_by_role("link", name="pve3", exact=True)).to_be_focused()
    await page.keyboard.press("ArrowRight")
    await expect(worst).to_be_focused()
    await page.keyboard.press("Enter")
    await page.get_by_text("lost").wait_for()
    assert {"node=pve3", "cluster=home", "type=any"} <= set(page.url.partition("?")[2].split("&"))
    assert await page.get_by_text("other").count() == 0


async def test_a_cell_without_a_cluster_leads_to_no_event_of_another_one(page, amqp_url, recorder):
    own = just_now("of its own", node="pve1", cluster=None)
    other = just_now("of the other", node="pve1", cluster="lab")
    messages = [(EVENT_KEY, one, {}) for one in (own, other)]
    await recorded(
        amqp_url, recorder, snapshot("", "pve1", minutes=1), *messages, events=2, snapshots=1
    )
    await log_in(page)

    await page.locator("[data-rows=cluster-null] .strip a").click()

    rows = page.locator(".event")
    await expect(rows).to_have_count(1)
    await expect(rows).to_contain_text("of its own")
    await expect(page.get_by_label("Chosen nodes, and what is left out")).to_contain_text(
        "not cluster lab"
    )


async def test_an_event_is_reopened_and_that_is_undone_or_not(page, gateway, amqp_url, recorder):
    await recorded(
        amqp_url, recorder, (EVENT_KEY, just_now("too early", type="alert"), {}), events=1
    )
    with gateway.client() as client:
        client.post("/api/events/1/resolve")
    await log_in(page)
    await show(page, "events/1")
    reopen = page.get_by_role("button", name="Reopen: too early")
    await reopen.click()
    await page.get_by_role("status").get_by_text("It can be undone").wait_for(state="attached")
    await page.get_by_role("button", name="Undo: too early").click()
    await expect(reopen).to_be_focused()
    assert recorder.rows("SELECT resolved FROM events") == [(1,)]

    await reopen.click()
    async with page.expect_request("**/reopen", timeout=10_000):
        await show(page, "now")

    await page.get_by_role("button", name="Close: too early").wait_for()
    assert recorder.rows("SELECT resolved FROM events") == [(0,)]


def state(cluster, since, *, down=False, moved=False, full=0.2):
    """Return a snapshot of two nodes, a guest and a storage."""
    nodes = [
        {"name": "pve1", "status": "online", "cpu": 0.21 if down else 0.2},
        {"name": "pve2", "status": "offline" if down else "online"},
    ]
    vms = [{"vmid": 101, "name": "media", "status": "running", "node": "pve1" if moved else "pve2"}]
    storages = [{"storage": "tank", "node": "pve1", "used": int(full * 2**40), "total": 2**40}]
    body = {"nodes": nodes, "vms": vms, "storages": storages}
    return ("cluster.snapshot", {"snapshot": body, "timestamp": since, "cluster": cluster}, {})


@THEMES
async def test_two_moments_are_compared(page, amqp_url, recorder, theme):
    before = ago(minutes=20)
    await recorded(
        amqp_url,
        recorder,
        state("home", before),
        state("home", ago(minutes=1), down=True, moved=True, full=0.9),
        snapshot("lab", "off1", minutes=30),
        snapshots=3,
    )
    await page.emulate_media(color_scheme=theme)
    await log_in(page)
    await page.get_by_role("link", name="What changed since").click()
    changes = page.get_by_role("table", name="What changed")
    await changes.wait_for()

    assert f"a={before[:10]}" in page.url
    assert "cluster=home" in page.url
    assert await changes.get_by_role("rowheader").all_inner_texts() == [
        "Node pve2", "Guest media (101)", "Storage tank on pve1",
    ]  # fmt: skip
    text = await changes.inner_text()
    assert "status: online → offline" in text
    assert "node: pve2 → pve1" in text
    assert re.search(r"used: 20\d GiB → 92\d GiB", text)
    await assert_fits(page, "compare", theme)

    await page.get_by_label("Numbers that changed by").select_option("every change")
    await changes.get_by_text("CPU: 20 % → 21 %").wait_for()
    await page.get_by_role("combobox", name="Cluster").select_option("lab")
    await page.get_by_text("Nothing changed.").wait_for()
    await page.get_by_label("From").fill("2020-01-01T00:00:00")
    await page.get_by_label("From").blur()
    await page.get_by_text("No snapshot of lab is as old as that.").wait_for()


async def shown(page, *summaries):
    """Wait until the list has these events and no others."""
    await expect(page.locator(".event .text")).to_have_text(list(summaries))


@THEMES
async def test_events_are_filtered_by_several_values_and_without_some(
    page, amqp_url, recorder, theme
):
    kinds = [("pve1", "info"), ("pve2", "warning"), ("pve3", "error"), ("pve3", "critical")]
    events = [
        event(
            summary=f"{severity} of {node}", node=node, severity=severity, timestamp=ago(minutes=n)
        )
        for n, (node, severity) in enumerate(kinds, 1)
    ]
    await recorded(amqp_url, recorder, *((EVENT_KEY, one, {}) for one in events), events=4)
    await page.emulate_media(color_scheme=theme)
    await log_in(page)
    await show(page, "events?exclude=node:pve2&node=pve1&node=pve3")
    await shown(page, "info of pve1", "error of pve3", "critical of pve3")
    await page.get_by_text("3 events", exact=True).wait_for()

    await page.get_by_label("At least").select_option("error")
    await shown(page, "error of pve3", "critical of pve3")
    assert "minSeverity=error" in page.url
    await page.get_by_label("At least").select_option("any")
    for severity in ("info", "error"):
        await page.get_by_role("checkbox", name=severity).check()
    await shown(page, "info of pve1", "error of pve3")
    await assert_fits(page, "filters", theme)

    await page.locator("summary", has_text="error of pve3").click()
    await page.get_by_role("link", name="not node pve3").click()
    await shown(page, "info of pve1")
    await page.reload()
    await shown(page, "info of pve1")
    await page.locator(".chips a", has_text="not node pve3").click()
    await shown(page, "info of pve1", "error of pve3")
    await page.get_by_role("button", name="Filters").click()
    await page.get_by_label("Node", exact=True).fill("pve2")
    await page.keyboard.press("Enter")
    await page.get_by_role("link", name="node pve2 (remove)", exact=True).wait_for()
    assert "node=pve1&node=pve3&node=pve2" in page.url


async def test_a_search_that_did_not_end_says_how_far_it_looked(page, amqp_url, recorder):
    answers = [
        {"events": [], "nextCursor": "further", "lookedTo": ago(hours=3)},
        {"events": [], "nextCursor": None, "lookedTo": None},
    ]
    asked = []

    async def answer(route):
        asked.append(route.request.url)
        await route.fulfill(json=answers["cursor=further" in route.request.url and ended])

    ended = False
    await page.route("**/api/memory/events?*text=missing*", answer)
    await log_in(page)
    await show(page, "events?text=missing")
    await page.get_by_text("None fits back to").wait_for()
    assert len(asked) == 20

    ended = True
    await page.get_by_role("button", name="Look further back").click()
    await page.get_by_text("No event fits these filters.").wait_for()
