"""Conversations that are longer than an answer, and the search in them."""

import pytest
from playwright.async_api import expect

from tests.e2e.conftest import ago
from tests.support.page_modules import ASKED, PUBLISHED

pytestmark = [pytest.mark.browser, pytest.mark.slow]


SAID = """async () => {
    const { transcript } = await import("/static/js/transcript.js");
    const { signal } = new AbortController();
    window.kept = transcript(document.querySelector("main"), signal, "long", "");
}"""
SEARCHED = """async () => {
    const { conversations } = await import("/static/js/views/conversations.js");
    const { signal } = new AbortController();
    conversations(document.querySelector("main"), new URLSearchParams("q=word"), signal);
}"""
CONVERSATION = """async () => {
    const { conversations } = await import("/static/js/views/conversations.js");
    const { signal } = new AbortController();
    conversations(document.querySelector("main"), new URLSearchParams("session=long"), signal);
}"""


def said(number, content, **changes):
    return {
        "id": number, "sessionId": "long", "timestamp": "2026-01-20T10:00:00Z",
        "role": "assistant", "content": content, "model": None, "tokensUsed": None,
        "costUsd": None, "toolCalls": None, "omitted": [],
    } | changes  # fmt: skip


async def test_a_turn_that_is_shown_whole_stays_so_while_others_come(page, answers):
    turns = [said(1, "the beginning …", omitted=["content"])]
    answers.by_path["/api/conversations/long/turns"] = lambda _: {
        "turns": turns,
        "nextCursor": None,
    }
    answers.by_path["/api/turns/1"] = lambda _: {"turn": said(1, "the beginning and the end")}
    await page.evaluate(SAID)
    await page.get_by_role("button", name="Show all").click()
    await expect(page.get_by_text("the beginning and the end")).to_be_visible()

    turns.append(said(2, "one more"))
    await page.evaluate("kept.refresh()")

    await expect(page.get_by_text("one more")).to_be_visible()
    await expect(page.get_by_text("the beginning and the end")).to_be_visible()


def told(number):
    """Return what answers as the turns of a conversation do, and how many each answer had."""
    turns, served = [said(n, f"turn {n}") for n in range(number)], []

    def answer(query):
        begin = int(query.get("cursor", ["0"])[0])
        end = begin + int(query["limit"][0])
        served.append(len(turns[begin:end]))
        return {"turns": turns[begin:end], "nextCursor": str(end) if end < len(turns) else None}

    return turns, served, answer


async def test_no_more_than_the_end_of_a_conversation_is_asked_for_again(page, answers):
    turns, served, answers.by_path["/api/conversations/long/turns"] = told(900)
    await page.evaluate(SAID)
    await page.get_by_text("turn 899", exact=True).wait_for()
    for number in (900, 901):
        served.clear()
        turns.append(said(number, f"turn {number}"))
        await page.evaluate("kept.refresh()")
        await page.get_by_text(f"turn {number}", exact=True).wait_for()

    assert sum(served) < 200
    await page.get_by_role("button", name="Show earlier ones (800)").click()
    await expect(page.locator(".turn")).to_have_count(202)


async def long_one(page, answers):
    """Show a conversation of which only the end is asked for again; return its turns."""
    turns, _, answers.by_path["/api/conversations/long/turns"] = told(600)
    await page.evaluate(SAID)
    await page.get_by_text("turn 599", exact=True).wait_for()
    turns.append(said(600, "turn 600"))
    await page.evaluate("kept.refresh()")
    await page.get_by_text("turn 600", exact=True).wait_for()
    return turns


async def test_a_long_conversation_that_is_deleted_is_shown_no_more(page, answers):
    turns = await long_one(page, answers)

    turns.clear()
    await page.evaluate("kept.refresh()")

    await expect(page.locator(".turn")).to_have_count(0)
    await expect(page.get_by_role("button", name="Show earlier ones")).to_have_count(0)


async def test_turns_that_came_or_went_while_the_stream_was_away_are_seen(page, answers):
    turns = await long_one(page, answers)
    earlier = page.get_by_role("button", name="Show earlier ones (500)")
    await earlier.wait_for()

    del turns[:450]
    await page.evaluate(PUBLISHED, ["resync", None])

    await page.get_by_role("button", name="Show earlier ones (51)").wait_for()
    await expect(earlier).to_have_count(0)
    await expect(page.locator(".turn")).to_have_count(100)


async def test_a_conversation_is_not_asked_for_again_where_another_one_goes_on(
    page, answers, asked
):
    turns, _, answers.by_path["/api/conversations/long/turns"] = told(2)
    sessions = [{"sessionId": "long", "title": "Long", "turns": 2, "lastAt": ago()}]
    answers.by_path["/api/conversations"] = lambda _: {"sessions": sessions, "nextCursor": None}
    await page.evaluate(CONVERSATION)
    await page.get_by_text("turn 1", exact=True).wait_for()
    await page.get_by_text("2 turns").wait_for()

    async with page.expect_response("**/api/conversations?*"):
        await page.evaluate(PUBLISHED, ["turn", {"sessionId": "another"}])
    await page.evaluate(ASKED)
    assert len([one for one in asked if "/long/turns?limit=1000" in one]) == 1
    turns.append(said(2, "turn 2"))
    await page.evaluate(PUBLISHED, ["turn", {"sessionId": "long"}])

    await page.get_by_text("turn 2", exact=True).wait_for()


async def test_a_search_shows_more_than_its_first_page(page, answers):
    pages = {"": (range(50), "next"), "next": (range(50, 60), None)}

    def answer(query):
        numbers, cursor = pages[query.get("cursor", [""])[0]]
        turns = [
            {"turn": said(n, "a word"), "snippet": f"word {n}.", "highlights": []} for n in numbers
        ]
        return {"turns": turns, "nextCursor": cursor}

    answers.by_path["/api/conversations/search"] = answer
    await page.evaluate(SEARCHED)
    await expect(page.locator(".turn")).to_have_count(50)

    await page.get_by_role("button", name="Show more").click()

    await expect(page.locator(".turn")).to_have_count(60)
    await expect(page.get_by_role("button", name="Show more")).to_have_count(0)
