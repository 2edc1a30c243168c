"""Answers that are not the gateway's."""

import pytest
from playwright.async_api import expect

from tests.support.page_modules import VIEWS

pytestmark = [pytest.mark.browser, pytest.mark.slow]


LOGIN = """async () => {
    const { login } = await import("/static/js/views/login.js");
    localStorage.clear();
    login(document.querySelector("main"), () => { window.entered = true; });
}"""
REMOVED = """async () => {
    const { remove } = await import("/static/js/api.js");
    return remove("/api/preferences/one").then(() => "done", ({ status, message, passes }) => [status, message, passes]);
}"""
ELSEWHERE = "What answers is not the gateway."


@pytest.fixture
async def proxy(page):
    """A proxy whose session has ended: its login page answers whatever is asked."""
    await page.route(
        "**/api/**",
        lambda route: route.fulfill(body="<!doctype html><p>Log in", content_type="text/html"),
    )


@pytest.mark.usefixtures("proxy")
async def test_what_a_proxy_answers_is_no_deletion(page):
    assert await page.evaluate(REMOVED) == [0, ELSEWHERE, True]


@pytest.mark.usefixtures("proxy")
async def test_what_a_proxy_answers_is_no_token(page):
    await page.evaluate(LOGIN)
    await page.get_by_label("Password").fill("secret")
    await page.get_by_role("button", name="Log in").click()

    await expect(page.get_by_role("alert")).to_have_text(ELSEWHERE)
    assert await page.evaluate("[localStorage.length, window.entered]") == [0, None]


@pytest.mark.usefixtures("proxy")
async def test_a_list_that_a_proxy_answers_is_asked_for_again(page):
    await page.evaluate(VIEWS, ["views/moment", "moment", []])

    problem = page.get_by_role("region", name="The moment").get_by_role("status")
    await expect(problem).to_have_text(f"{ELSEWHERE} Trying again …")
