"""The search over everything, and the cluster that a node is found in."""

import pytest
from playwright.async_api import expect

from tests.support.page_modules import hold_back

pytestmark = [pytest.mark.browser, pytest.mark.slow]


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


# One cluster of two cannot be had


CLUSTER_OF_NODE = """async (node) => {
    const { clusterOfNode } = await import("/static/js/clusters.js");
    const { signal } = new AbortController();
    return clusterOfNode(node, ["away", "home"], "2026-01-20T10:00:00Z", signal)
        .catch(({ status }) => status);
}"""


@pytest.fixture
async def one_away(page, answers):
    """Two clusters: the snapshots of one are refused, in the other there is pve3."""
    snapshot = {"cluster": "home", "snapshot": {"nodes": [{"name": "pve3"}]}}
    answers.by_path |= {
        "/api/stats": lambda _: {"holdings": {"clusters": ["away", "home"]}},
        "/api/snapshots/latest": lambda _: {"snapshot": snapshot},
        "/api/snapshots/at": lambda _: {"snapshot": snapshot},
    }
    await page.route("**/api/snapshots/*cluster=away*", lambda route: route.fulfill(status=503))


@pytest.mark.usefixtures("one_away")
async def test_what_is_of_the_other_clusters_is_found(page):
    await page.evaluate(PALETTE)
    await page.get_by_role("combobox", name="Search or go to").fill("pve3")

    await page.get_by_role("option", name="Node pve3 · home").wait_for()


@pytest.mark.usefixtures("one_away")
async def test_a_node_is_found_in_its_cluster_and_no_other_one_is_guessed(page):
    assert await page.evaluate(CLUSTER_OF_NODE, "pve3") == "home"
    assert await page.evaluate(CLUSTER_OF_NODE, "pve9") == 503
