"""Settings: few, each of them at once and for good, and what is known of the recorder."""

import pytest
from playwright.async_api import expect

from jarvis_recorder import __version__
from tests.e2e.conftest import BOTH, THEMES, assert_fits, log_in, show
from tests.support.gateway import READER_PASSWORD
from tests.support.recorder import wait_until

pytestmark = [pytest.mark.broker, pytest.mark.browser]


def save_views(gateway, *names):
    with gateway.client() as client:
        for name in names:
            path = f"/api/memory/preferences/view.{name}"
            client.put(path, json={"value": f"#/events?text={name}"}).raise_for_status()


@BOTH
async def test_a_setting_works_at_once_and_is_kept(page, recorder, engine):
    await log_in(page)
    await page.get_by_role("link", name="Settings").click()
    utc = page.get_by_role("radio", name="UTC", exact=True)
    await expect(page.get_by_role("radio", name="as the system")).to_be_checked()

    await page.get_by_role("radio", name="dark").check()
    await expect(page.locator(":root")).to_have_attribute("data-theme", "dark")
    await utc.check()
    await expect(utc).to_be_focused()
    await expect(page.get_by_role("button", name="Times: UTC")).to_be_visible()
    await page.get_by_text("Events since").wait_for()
    await assert_fits(page, f"settings-{engine}")

    await page.reload()
    await expect(page.get_by_role("radio", name="dark")).to_be_checked()
    await expect(utc).to_be_checked()
    await expect(utc).not_to_be_focused()
    # The button in the header is the same setting.
    await page.get_by_role("button", name="Theme: dark").click()
    await expect(page.get_by_role("radio", name="as the system")).to_be_checked()


@THEMES
async def test_saved_views_are_listed_and_removed(page, gateway, recorder, theme):
    save_views(gateway, "mine", "other")
    await page.emulate_media(color_scheme=theme)
    await log_in(page)
    await show(page, "settings")
    mine = page.get_by_role("link", name="mine", exact=True)
    await mine.wait_for()
    await page.locator("dd", has_text=__version__).first.wait_for()
    await assert_fits(page, f"saved-{theme}")

    await page.get_by_role("button", name="Remove: mine").click()
    # It is done at once where the view is left.
    await show(page, "now")

    left = [("view.other",)]
    wait_until(lambda: recorder.rows("SELECT key FROM preferences") == left, "it is removed")
    await show(page, "settings")
    await page.get_by_role("link", name="other", exact=True).click()
    await page.get_by_label("Words and filters").wait_for()
    assert page.url.endswith("#/events?text=other")


async def test_another_zone_ends_nothing_that_is_under_way(page, gateway, recorder):
    save_views(gateway, "mine")
    await log_in(page)
    await show(page, "preferences")
    await page.get_by_role("button", name="Edit view.mine").click()
    field = page.get_by_role("textbox", name="Value of view.mine")
    await field.fill("half of it")

    await page.get_by_role("button", name="Times: local").click()

    await page.get_by_role("button", name="Times: UTC").wait_for()
    await expect(field).to_have_value("half of it")
    await show(page, "settings")
    await page.get_by_role("button", name="Remove: mine").click()
    await page.get_by_role("button", name="Times: UTC").click()
    await expect(page.get_by_role("radio", name="local")).to_be_checked()
    await page.get_by_role("button", name="Undo: mine").click()
    await page.get_by_role("button", name="Remove: mine").wait_for()
    assert recorder.rows("SELECT key FROM preferences") == [("view.mine",)]


async def test_a_reader_removes_no_saved_view(page, gateway, recorder):
    save_views(gateway, "mine")
    await log_in(page, READER_PASSWORD)
    await show(page, "settings")

    await page.get_by_role("link", name="mine", exact=True).wait_for()
    await page.get_by_text("to look only").wait_for()
    assert await page.get_by_role("button", name="Remove").count() == 0
