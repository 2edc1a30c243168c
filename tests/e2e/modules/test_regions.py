"""Regions whose answers are slower than what happens, and an action that is undone in haste."""

import pytest
from playwright.async_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.slow]


# Regions whose answers are slower than what happens


KEPT = """async () => {
    const { keep } = await import("/static/js/load.js");
    const { signal } = new AbortController();
    window.asked = [];
    const ask = (ended) => new Promise((answer) => asked.push({ answer, ended }));
    window.kept = keep(document.querySelector("main"), signal, ask, (words) => words);
}"""
ANSWERED = "([at, words]) => asked[at].answer(words)"
NUMBER = "asked.length"


async def test_a_region_is_filled_though_more_happens_than_can_be_asked_for(page):
    await page.evaluate(KEPT)

    await page.evaluate("() => { kept.refresh(); kept.refresh(); }")
    assert await page.evaluate(NUMBER) == 1
    await page.evaluate(ANSWERED, [0, "before that"])

    await expect(page.get_by_text("before that")).to_be_visible()
    # Once for all that came meanwhile.
    assert await page.evaluate(NUMBER) == 2
    await page.evaluate(ANSWERED, [1, "after that"])
    await expect(page.get_by_text("after that")).to_be_visible()
    assert await page.evaluate(NUMBER) == 2


async def test_what_the_reader_asks_for_ends_what_is_under_way(page):
    await page.evaluate(KEPT)

    await page.evaluate("kept.load()")

    assert await page.evaluate("asked.map(({ ended }) => ended.aborted)") == [True, False]
    await page.evaluate(ANSWERED, [1, "what is asked for"])
    await page.evaluate(ANSWERED, [0, "what was asked for before"])
    await expect(page.get_by_text("what is asked for")).to_be_visible()
    assert await page.evaluate(NUMBER) == 2


# An action, undone in haste


UNDOABLE = """async () => {
    const { undoable } = await import("/static/js/undo.js");
    const work = async () => {};
    const action = { key: "k", verb: "Resolve", past: "resolved", what: "an alert", work };
    document.querySelector("main").append(undoable(action));
}"""


async def test_a_double_click_on_undo_begins_nothing_again(page):
    await page.evaluate(UNDOABLE)
    await page.get_by_role("button", name="Resolve").click()

    await page.get_by_role("button", name="Undo").dblclick()

    await expect(page.get_by_role("button", name="Resolve")).to_be_visible()
    await page.get_by_role("button", name="Resolve").press("Enter")
    await expect(page.get_by_role("button", name="Undo")).to_be_visible()
