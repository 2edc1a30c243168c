"""A page of the modules, and the answers that a recorder would give: there is no recorder or broker."""

from urllib.parse import urlsplit

import pytest

from tests.support.page_modules import TOKEN, Answers


@pytest.fixture
def answers():
    return Answers()


@pytest.fixture
async def page(browser, answers):
    """A page of a reader in Berlin that has the modules and nothing else."""
    context = await browser.new_context(timezone_id="Europe/Berlin")
    await context.add_init_script(f"localStorage.setItem('jarvis.token', '{TOKEN}')")
    page = await context.new_page()
    page.set_default_timeout(60_000)
    await page.route("**/*", answers)
    await page.goto("http://page.test/")
    yield page
    await context.close()


@pytest.fixture
async def asked(page):
    """The addresses that a page asks for, without its files."""
    found = []

    def note(request):
        url = urlsplit(request.url)
        if url.path.startswith("/api/"):
            found.append(f"{url.path}?{url.query}")

    page.on("request", note)
    return found
