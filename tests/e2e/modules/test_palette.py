"""The search over everything."""

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
