"""Dead letters, of which one looks at several."""

import pytest
from playwright.async_api import expect

from tests.support.page_modules import ASKED

pytestmark = [pytest.mark.browser, pytest.mark.slow]


DEAD_LETTERS = """async (address) => {
    const { deadLetters } = await import("/static/js/views/dead-letters.js");
    const { signal } = new AbortController();
    const params = new URLSearchParams(address);
    window.update = deadLetters(document.querySelector("main"), params, signal);
}"""
UPDATED = "(address) => update(new URLSearchParams(address))"
SAID_BY_THE_PULSE = """async (name) => {
    const { pulse } = await import("/static/js/pulse.js");
    pulse.dispatchEvent(new Event(name));
}"""
IN_UTC = """async (inUtc) => {
    const { setUtc } = await import("/static/js/zone.js");
    setUtc(inUtc);
}"""


def dead_letter(name, **changes):
    return {
        "id": name, "receivedAt": "2026-01-20T10:00:00Z", "reason": "not_json", "error": "not JSON",
        "routingKey": "r", "queue": "q", "exchange": "e", "messageId": name, "sizeBytes": 8,
        "replays": 0, "properties": {}, "headers": {}, "body": "{no json", "bodyIsText": True,
        "bodyIsWhole": True,
    } | changes  # fmt: skip


@pytest.fixture
def letters(answers):
    """Two dead letters of any fault."""
    known = [dead_letter("one"), dead_letter("two")]
    answers.by_path["/api/dead/list"] = lambda _: {"letters": known, "nextCursor": None}
    answers.by_path["/api/dead/faults"] = lambda _: {
        "faults": [], "waiting": 0, "indexed": 0, "complete": True, "truncated": False
    }  # fmt: skip
    for letter in known:
        answers.by_path[f"/api/dead-letters/{letter['id']}"] = lambda _, it=letter: {"letter": it}
    return known


async def test_no_other_fault_is_replayed_than_the_one_that_was_asked_about(page, letters, asked):
    await page.evaluate(DEAD_LETTERS, "fault=mine")
    await page.get_by_role("button", name="Replay all of them").click()
    dialog = page.get_by_role("dialog")
    await dialog.wait_for()

    await page.evaluate(UPDATED, "fault=another")
    await page.get_by_role("heading", name="another").wait_for()
    await dialog.get_by_role("button", name="Replay").click()
    await dialog.wait_for(state="detached")
    await page.evaluate(ASKED)

    assert [one for one in asked if "limit=500" in one or "replay" in one] == []


async def test_a_letter_is_looked_for_once_however_often_the_recorder_is_back(page, letters, asked):
    await page.evaluate(DEAD_LETTERS, "fault=mine")
    first = page.locator("[data-row='letter-one']")
    await first.locator("summary").first.click()
    await first.get_by_label("Body").wait_for()

    await page.evaluate(SAID_BY_THE_PULSE, "away")
    await first.locator(".stale").wait_for()
    async with page.expect_response("**/api/dead/list*"):
        await page.evaluate(SAID_BY_THE_PULSE, "back")
    await expect(page.locator(".stale")).to_have_count(0)
    await page.evaluate(ASKED)

    assert [one for one in asked if "dead-letters" in one] == ["/api/dead-letters/one?"]


async def test_a_letter_of_a_fault_that_was_left_is_looked_for_no_more(page, letters):
    await page.route("**/api/dead-letters/one", lambda _: None)
    await page.evaluate(DEAD_LETTERS, "fault=mine")
    async with page.expect_request("**/api/dead-letters/one"):
        await page.locator("[data-row='letter-one'] summary").first.click()

    async with page.expect_event("requestfailed") as ended:
        await page.evaluate(UPDATED, "fault=another")

    assert (await ended.value).url.endswith("/api/dead-letters/one")


async def test_a_letter_is_edited_on_whatever_zone_is_chosen(page, letters):
    await page.evaluate(DEAD_LETTERS, "fault=mine")
    first = page.locator("[data-row='letter-one']")
    await first.locator("summary").first.click()
    await first.get_by_role("button", name="Edit").click()
    field = first.get_by_role("textbox", name="Body")
    await field.fill("{}")
    received = first.locator("summary time")
    await expect(received).to_contain_text("11:00:00")

    await page.evaluate(IN_UTC, True)
    await expect(received).to_contain_text("10:00:00")
    letters[1]["error"] = "said again"
    await page.evaluate(SAID_BY_THE_PULSE, "back")
    await page.get_by_text("said again").wait_for()

    await expect(field).to_have_value("{}")
    await expect(received).to_contain_text("10:00:00")
