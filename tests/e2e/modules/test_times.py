"""Times that stay on the page."""

from urllib.parse import parse_qs

import pytest
from playwright.async_api import expect

from tests.support.page_modules import VIEWS

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


EVENT = {
    "id": 7, "timestamp": "2026-01-20T10:00:00Z", "severity": "error", "summary": "lost",
    "type": "alert", "source": "monitor", "node": None, "cluster": None,
}  # fmt: skip
FIRST, LAST = "0001-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z"


@pytest.mark.parametrize(
    ("moment", "name", "time"), [(FIRST, "since", FIRST), (LAST, "until", LAST)]
)
async def test_the_time_around_an_event_ends_with_the_calendar(page, answers, moment, name, time):
    answers.by_path["/api/events/7"] = lambda _: {"event": EVENT | {"timestamp": moment}}
    await page.evaluate(VIEWS, ["views/one-event", "oneEvent", ["events", "7"]])

    around = page.get_by_role("link", name="The events around it")

    address = await around.get_attribute("href")
    assert parse_qs(address.partition("?")[2])[name] == [time]
