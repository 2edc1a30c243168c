"""The form above a moment, while what is shown comes again."""

import pytest
from playwright.async_api import expect

from tests.support.page_modules import PUBLISHED, VIEWS

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture
async def moment(page, answers):
    """The moment of an event, in one of two clusters."""
    event = {
        "id": 7, "timestamp": "2026-01-20T10:00:00Z", "severity": "error", "summary": "lost",
        "type": "alert", "source": "monitor", "node": None, "cluster": "home",
    }  # fmt: skip
    nothing = {"events": [], "turns": [], "truncated": False}
    answers.by_path |= {
        "/api/stats": lambda _: {"holdings": {"clusters": ["home", "away"]}},
        "/api/snapshots/at": lambda _: {"snapshot": None},
        "/api/events/7": lambda _: {"event": event},
        "/api/timeline": lambda _: nothing,
    }
    await page.evaluate(VIEWS, ["views/moment", "moment", [], "event=7"])
    await expect(page.get_by_label("Time", exact=True)).to_have_value("2026-01-20T11:00")
    await page.get_by_text("No event around it.").wait_for()
    return page


async def come_again(page):
    """Have what is shown asked for again, and shown."""
    async with page.expect_response("**/api/timeline?*"):
        await page.evaluate(PUBLISHED, ["resync", None])
    await page.locator("section:not([aria-busy])[aria-label='The moment']").wait_for()


async def test_what_is_typed_stays_when_what_is_shown_comes_again(moment):
    node = moment.get_by_label("Node")
    await node.press_sequentially("pve")

    await come_again(moment)

    await expect(node).to_have_value("pve")


async def test_a_list_of_clusters_stays_when_what_is_shown_comes_again(moment):
    clusters = moment.get_by_label("Cluster")
    await expect(clusters).to_have_value("home")
    chosen = await clusters.locator("option").first.element_handle()

    await come_again(moment)

    assert await chosen.evaluate("(option) => option.isConnected")
    await expect(clusters).to_have_value("home")
