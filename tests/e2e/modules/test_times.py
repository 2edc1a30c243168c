"""Times that stay on the page."""

import pytest
from playwright.async_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.slow]


SHOWN = """async (moments) => {
    const { keepAges, when } = await import("/static/js/format.js");
    document.querySelector("main").replaceChildren(...moments.map((moment) => when(moment)));
    keepAges();
}"""


async def test_times_of_a_day_that_is_over_get_their_day(page):
    await page.clock.install(time="2026-01-20T22:55:00Z")
    await page.evaluate(SHOWN, ["2026-01-20T22:50:00Z", "2025-01-20T22:50:00Z"])
    today, before = await page.locator("time").all()
    await expect(today).to_have_text("11:50:00 PM")

    await page.clock.fast_forward("04:00")
    await expect(today).to_have_text("11:50:00 PM")
    # In Berlin it is midnight.
    await page.clock.fast_forward("02:00")

    await expect(today).to_have_text("Jan 20, 11:50:00 PM")
    await expect(before).to_have_text("Jan 20, 2025, 11:50:00 PM")
