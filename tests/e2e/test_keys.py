"""Keys, the search over everything, saved views, and what is told outside the page."""

import re
import time
from datetime import UTC, datetime
from urllib.parse import urlsplit

import pytest
from playwright.async_api import expect

from tests.e2e.conftest import (
    ARTEFACTS,
    BOTH,
    assert_accessible,
    just_now,
    log_in,
    show,
    snapshot,
)
from tests.support.publisher import EVENT_KEY, publish
from tests.support.recorder import wait_until

pytestmark = [pytest.mark.broker, pytest.mark.browser]

FOCUSED_ROW = "document.activeElement.closest('[data-row]')?.dataset.row"


async def recorded(amqp_url, recorder, *messages, events):
    await publish(amqp_url, *messages)
    wait_until(lambda: recorder.count() >= events, "the events are recorded")


@BOTH
async def test_ctrl_k_leads_to_nodes_conversations_and_searches(page, amqp_url, recorder):
    said = {"session_id": "one", "role": "user", "content": "Why is pve1 slow?"}
    turn = ("chat.turn.user", said | {"timestamp": datetime.now(UTC).isoformat()}, {})
    full = (EVENT_KEY, just_now("[Monitor] THRESHOLD: cpu on pve1 at 91%", node="pve1"), {})
    await publish(amqp_url, snapshot("home", "pve1", "pve2", seconds=1), turn, full)
    wait_until(lambda: recorder.count("cluster_snapshots") == 1, "the snapshot is recorded")
    wait_until(lambda: recorder.count("conversations") == 1, "the turn is recorded")
    wait_until(lambda: recorder.count("incidents") == 1, "the incident is open")
    await log_in(page)
    await show(page, "conversations")
    await page.get_by_role("link", name="Why is pve1 slow?").wait_for()
    dialog = page.get_by_role("dialog", name="Search or go to")
    box = page.get_by_role("combobox", name="Search or go to")

    await page.keyboard.press("Control+k")
    await expect(box).to_be_focused()
    await page.keyboard.type("pve2")
    await dialog.get_by_role("option", name="Node pve2").wait_for()
    await page.screenshot(path=ARTEFACTS / "palette.png")
    await assert_accessible(page)
    await page.keyboard.press("ArrowDown")
    assert await dialog.locator("[aria-selected=true]").inner_text() == "Events with pve2"
    await page.keyboard.press("ArrowUp")
    await page.keyboard.press("Enter")
    await page.wait_for_url(re.compile("#/nodes/home/pve2$"))
    await expect(dialog).to_have_count(0)

    await page.keyboard.press("Control+k")
    await expect(box).to_be_focused()
    await page.keyboard.type("slow")
    await dialog.get_by_role("option", name="Conversation Why is pve1 slow?").click()
    await page.wait_for_url(re.compile("session=one"))
    await expect(dialog).to_have_count(0)
    await page.keyboard.press("Control+k")
    await expect(box).to_be_focused()
    await page.keyboard.type("incident cpu")
    await dialog.get_by_role("option", name="Incident THRESHOLD cpu on pve1").click()
    await page.wait_for_url(re.compile("#/incidents/"))
    await page.keyboard.press("Control+k")
    await expect(box).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(dialog).to_have_count(0)


@BOTH
async def test_keys_go_to_views_and_rows_and_never_work_in_a_field(page, amqp_url, recorder):
    events = [(EVENT_KEY, just_now(f"number {n}"), {}) for n in range(3)]
    await recorded(amqp_url, recorder, *events, events=3)
    await log_in(page)
    for key in "ge":
        await page.keyboard.press(key)
    await page.wait_for_url(re.compile("#/events$"))
    await page.locator(".event").nth(2).wait_for()
    rows = [await page.locator(".event").nth(n).get_attribute("data-row") for n in range(3)]

    for key, row in (("j", 0), ("j", 1), ("j", 2), ("k", 1)):
        await page.keyboard.press(key)
        assert await page.evaluate(FOCUSED_ROW) == rows[row]

    await page.keyboard.press("?")
    await page.get_by_role("dialog", name="Keys").wait_for()
    await assert_accessible(page)
    await page.keyboard.press("Escape")
    await page.keyboard.press("/")
    words = page.get_by_label("Words")
    await expect(words).to_be_focused()
    await page.keyboard.type("gn/jk?")
    assert await words.input_value() == "gn/jk?"
    assert await page.get_by_role("dialog").count() == 0
    assert page.url.endswith("#/events")


@BOTH
async def test_a_saved_view_is_in_another_browser_at_once(
    page, browser, gateway, amqp_url, recorder
):
    await log_in(page)
    await show(page, "events?severity=critical&range=168")
    context = await browser.new_context()
    other = await context.new_page()
    other.set_default_timeout(60_000)
    other.set_default_timeout(30_000)
    await other.goto(gateway.url)
    await log_in(other)
    await show(other, "events")
    await other.get_by_text("recording", exact=True).or_(other.locator("#live")).first.wait_for()

    await page.get_by_role("button", name="Save this view").click()
    await page.get_by_label("Name of the view").fill("what is broken")
    await page.keyboard.press("Enter")
    began = time.monotonic()
    saved = other.get_by_role("list", name="Saved views").get_by_role("link", name="what is broken")
    await saved.wait_for()
    print(f"in another browser after {time.monotonic() - began:.2f} s")

    await saved.click()
    await other.wait_for_url(re.compile("severity=critical&range=168"))
    assert await other.get_by_role("checkbox", name="critical").is_checked()
    assert recorder.rows("SELECT key FROM preferences") == [("view.what is broken",)]
    await context.close()


async def test_what_is_printed_has_no_navigation(page, amqp_url, recorder):
    await recorded(amqp_url, recorder, (EVENT_KEY, just_now("on paper"), {}), events=1)
    await log_in(page)
    await page.get_by_text("on paper").wait_for()

    await page.emulate_media(media="print")

    assert await page.get_by_text("on paper").is_visible()
    for hidden in ("#nav", "#logout", ".event button"):
        assert not await page.locator(hidden).first.is_visible()


async def proxied(page, gateway, path):
    """Have the gateway below a path, as a proxy has it."""

    async def proxy(route):
        url = route.request.url.replace(path, "/", 1)
        # A stream has no end to wait for.
        if url.endswith("/api/live"):
            await route.abort()
        else:
            await route.fulfill(response=await route.fetch(url=url))

    await page.context.route(f"{gateway.url}{path}**", proxy)


# Firefox hands no body of a request to what stands in for the proxy.
async def test_the_page_works_below_a_path_of_a_proxy(page, gateway, amqp_url, recorder):
    await recorded(amqp_url, recorder, (EVENT_KEY, just_now("behind a proxy"), {}), events=1)
    asked = []
    await proxied(page, gateway, "/below/")
    page.on("request", lambda request: asked.append(urlsplit(request.url).path))
    await page.goto(f"{gateway.url}/below/")
    await log_in(page)
    await page.get_by_text("behind a proxy").wait_for()
    await show(page, "events")
    await page.locator(".chart canvas").wait_for()

    assert [path for path in asked if not path.startswith("/below/")] == []


async def test_each_path_of_a_host_has_a_login_of_its_own(page, gateway, recorder):
    for path in ("/home/", "/lab/"):
        await proxied(page, gateway, path)
    await page.goto(f"{gateway.url}/home/")
    await log_in(page)
    lab = await page.context.new_page()
    lab.set_default_timeout(60_000)
    await lab.goto(f"{gateway.url}/lab/")

    await log_in(lab)
    await lab.get_by_role("button", name="Log out").click()
    await lab.get_by_label("Password").wait_for()

    await page.reload()
    await page.get_by_role("heading", name="Incidents").wait_for()
    await page.goto(f"{gateway.url}/home/api/docs")
    await page.get_by_role("button", name="authorization button locked").first.wait_for()
    await lab.goto(f"{gateway.url}/lab/api/docs")
    await lab.get_by_role("button", name="authorization button unlocked").first.wait_for()


async def test_letters_are_grouped_by_fault_and_replayed_together(page, amqp_url, recorder):
    bodies = [b"{no json %d", b'{"type": %d}', b"[%d", b'{"severity": %d}']
    letters = [(EVENT_KEY, body % n, {}) for n in range(30) for body in bodies]
    await publish(amqp_url, *letters)
    wait_until(lambda: recorder.count("dead_letters") == len(letters), "the letters are indexed")
    await log_in(page)
    asked = []
    page.on("request", lambda request: asked.append(urlsplit(request.url).path))

    await page.get_by_role("link", name="Dead letters", exact=True).click()
    faults = page.get_by_role("table", name="Faults").locator("tbody tr")
    await faults.first.wait_for()

    assert [path for path in asked if path.startswith("/api/dead")] == ["/api/dead/faults"]
    assert await faults.count() == len(set(recorder.rows("SELECT fault, reason FROM dead_letters")))
    await assert_accessible(page)
    await faults.first.get_by_role("link").click()
    await page.locator(".letters > li").first.wait_for()
    await page.get_by_role("button", name="Replay all of them").click()
    await page.get_by_role("dialog").wait_for()
    # What is asked about is not shown any more.
    await page.go_back()
    await page.get_by_role("dialog").wait_for(state="detached")
    await page.go_forward()
    await page.get_by_role("button", name="Replay all of them").click()
    await page.get_by_role("dialog").get_by_role("button", name="Replay").click()
    await page.get_by_text("published again").wait_for()
