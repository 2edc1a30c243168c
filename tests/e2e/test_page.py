"""The page as people use it, in a real browser."""

import json
import re
import time
from urllib.parse import quote

import pytest
from playwright.async_api import expect

from tests.e2e.conftest import (
    ARTEFACTS,
    BOTH,
    UNDO_MS,
    assert_accessible,
    just_now,
    log_in,
    show,
    told,
)
from tests.support.gateway import PASSWORD, READER_PASSWORD
from tests.support.publisher import EVENT_KEY, event, publish
from tests.support.recorder import wait_until

pytestmark = [pytest.mark.broker, pytest.mark.browser]

VIEWS = ["now", "events", "moment", "conversations", "preferences", "dead-letters", "settings"]


@BOTH
async def test_a_wrong_password_is_said_and_the_right_one_lets_in(page):
    await page.get_by_label("Password").fill("wrong wrong")
    await page.keyboard.press("Enter")
    await page.get_by_text("Invalid password").wait_for()

    await log_in(page)
    await page.get_by_text("recording", exact=True).wait_for()
    await expect(page.get_by_role("heading", name="Now", exact=True)).to_be_focused()


async def test_a_token_that_is_not_good_leads_to_login_and_back_to_the_same_view(page):
    await log_in(page)
    await page.get_by_role("link", name="Preferences").click()
    await page.get_by_text("There are no preferences.").wait_for()
    await page.evaluate("localStorage.setItem('jarvis.token', 'a.b.c')")
    await page.reload()

    await page.get_by_label("Password").fill("correct horse")
    await page.keyboard.press("Enter")

    await page.get_by_role("heading", name="Preferences").wait_for()


async def save_with_a_token_that_ended(page, gateway):
    """Type a preference, and be led to the login by *Save*."""
    with gateway.client() as client:
        client.put("/api/memory/preferences/theme", json={"value": "old"})
    await log_in(page)
    await show(page, "preferences")
    await page.get_by_role("button", name="Edit theme").click()
    await page.get_by_role("textbox", name="Value of theme").fill("typed for an hour")
    await page.evaluate("localStorage.setItem('jarvis.token', 'a.b.c')")
    await page.get_by_role("button", name="Save", exact=True).click()
    await expect(page.get_by_label("Password")).to_be_focused()
    await expect(page.get_by_role("textbox", name="Value of theme")).to_have_count(0)


async def test_what_is_typed_is_there_again_after_a_login_that_ended(page, gateway, recorder):
    await save_with_a_token_that_ended(page, gateway)

    await page.get_by_label("Password").fill(PASSWORD)
    await page.keyboard.press("Enter")

    field = page.get_by_role("textbox", name="Value of theme")
    await expect(field).to_have_value("typed for an hour")
    await expect(page.get_by_role("heading", name="Preferences")).to_be_focused()
    await page.get_by_role("button", name="Save", exact=True).click()
    # The list goes on, too.
    await page.get_by_label("Value of theme").get_by_text("typed for an hour").wait_for()
    await page.get_by_role("button", name="Edit theme").wait_for()
    with gateway.client() as client:
        client.put("/api/memory/preferences/theme", json={"value": "another one's"})
    await page.get_by_text("another one's").wait_for()


async def test_what_is_typed_is_not_shown_to_another_role(page, gateway, recorder):
    await save_with_a_token_that_ended(page, gateway)

    await page.get_by_label("Password").fill(READER_PASSWORD)
    await page.keyboard.press("Enter")

    await page.get_by_label("Value of theme").get_by_text("old").wait_for()
    await expect(page.get_by_text("typed for an hour")).to_have_count(0)


async def test_an_alert_appears_without_reload_and_is_resolved(page, amqp_url, recorder):
    await log_in(page)
    await page.get_by_text("Nothing is open").wait_for()
    await page.get_by_text("recording", exact=True).wait_for()

    began = time.monotonic()
    await publish(amqp_url, (EVENT_KEY, just_now("<b>pve</b> is down"), {}))
    await page.get_by_text("<b>pve</b> is down").wait_for()
    print(f"seen {time.monotonic() - began:.3f} s after it was published")

    await page.get_by_role("button", name="Close").click()
    await page.get_by_text("Nothing is open").wait_for(timeout=UNDO_MS + 10_000)
    assert recorder.rows("SELECT state FROM incidents") == [("resolved",)]


async def close_in_vain(page, amqp_url, recorder):
    await publish(amqp_url, (EVENT_KEY, just_now("too hot"), {}))
    wait_until(lambda: recorder.count() == 1, "it is recorded")
    await log_in(page)
    await page.route(
        "**/resolve", lambda route: route.fulfill(status=502, json={"error": "no luck"})
    )
    await page.get_by_role("button", name="Close").click()


async def test_a_resolution_that_fails_is_said(page, amqp_url, recorder):
    await close_in_vain(page, amqp_url, recorder)

    failed = page.get_by_role("alert").get_by_text("no luck")
    await failed.wait_for(timeout=UNDO_MS + 10_000)
    assert await page.get_by_role("button", name="Close").is_enabled()
    # A list that is made again keeps the words.
    async with page.expect_response("**/api/incidents?*state=recovered*", timeout=UNDO_MS + 10_000):
        pass
    await expect(failed).to_be_visible()


async def test_a_resolution_that_fails_once_its_view_is_left_is_said_in_the_next(
    page, amqp_url, recorder
):
    """Else the operator goes on and takes the incident for closed."""
    await close_in_vain(page, amqp_url, recorder)
    await page.get_by_role("link", name="Preferences").click()

    failed = page.get_by_role("alert").get_by_text(re.compile("^Not done: Close, .*no luck$"))
    await failed.wait_for()
    await assert_accessible(page)
    await page.get_by_role("button", name="Hide").click()
    await expect(failed).to_have_count(0)


async def test_what_another_tab_ends_by_its_logout_is_said_at_the_login(page, amqp_url, recorder):
    await publish(amqp_url, (EVENT_KEY, just_now("too hot"), {}))
    wait_until(lambda: recorder.count() == 1, "it is recorded")
    await log_in(page)
    other = await page.context.new_page()
    await other.goto(page.url)

    await page.get_by_role("button", name="Close").click()
    await page.get_by_role("button", name="Undo").wait_for()
    await other.get_by_role("button", name="Log out").click()

    await page.get_by_label("Password").wait_for()
    await page.get_by_role("alert").get_by_text("Not done: Close").wait_for()
    assert recorder.rows("SELECT state FROM incidents") == [("open",)]


async def test_filters_are_in_the_address_and_a_drag_zooms(page, amqp_url, recorder):
    await told(amqp_url, recorder)
    await log_in(page)
    await page.get_by_role("link", name="Events").click()
    await page.get_by_role("checkbox", name="critical").check()
    await page.get_by_text("NODE_DOWN").wait_for()
    assert "severity=critical" in page.url
    await page.locator("summary", has_text="NODE_DOWN").click()
    await assert_accessible(page)
    await page.get_by_label("Words").fill("nothing like it")
    await page.keyboard.press("Enter")
    await page.get_by_text("No event fits").wait_for()
    await page.go_back()
    await page.get_by_text("NODE_DOWN").wait_for()
    await page.reload()
    assert await page.get_by_role("checkbox", name="critical").is_checked()

    box = await page.locator(".chart .u-over").bounding_box()
    y = box["y"] + 40
    await page.mouse.move(box["x"] + box["width"] * 0.5, y)
    await page.mouse.down()
    await page.mouse.move(box["x"] + box["width"] - 5, y, steps=5)
    await page.mouse.up()

    await page.wait_for_url(re.compile("since="))
    await page.get_by_text("NODE_DOWN").wait_for()


async def test_new_events_come_into_the_list_and_older_ones_by_page(page, amqp_url, recorder):
    many = [(EVENT_KEY, just_now(f"number {n}"), {}) for n in range(60)]
    await publish(amqp_url, *many)
    wait_until(lambda: recorder.count() == 60, "all are recorded")
    await log_in(page)
    await page.get_by_role("link", name="Events").click()
    await page.get_by_role("button", name="Show older ones").click()
    await page.get_by_text("number 0", exact=True).wait_for()

    await publish(amqp_url, (EVENT_KEY, just_now("the newest"), {}))

    await page.get_by_role("button", name="1 new").click()
    await page.get_by_text("the newest").wait_for()
    assert await page.locator(".event").count() == 61


async def test_what_came_while_the_stream_was_away_is_shown_when_it_is_back(
    page, amqp_url, recorder
):
    await page.route("**/api/live", lambda route: route.abort())
    await log_in(page)
    await show(page, "events")
    await page.get_by_text("No event fits these filters.").wait_for()
    await publish(amqp_url, (EVENT_KEY, just_now("while it was away"), {}))
    wait_until(lambda: recorder.count() == 1, "it is recorded")

    await page.unroute("**/api/live")

    await page.locator(".event", has_text="while it was away").wait_for()


async def test_a_time_is_opened_from_an_event(page, amqp_url, recorder):
    await told(amqp_url, recorder)
    await log_in(page)
    await page.get_by_text("over in the last day").click()
    await page.get_by_role("link", name="NODE_DOWN").click()
    await page.get_by_role("link", name="See the moment").click()

    await page.locator(".chosen", has_text="NODE_DOWN").wait_for()
    await page.locator(".machine", has_text="pve").first.wait_for()
    await page.get_by_role("link", name="Whole conversation").first.wait_for()


@pytest.mark.parametrize("name", ["constructor", "__proto__", "toString/1", "nowhere"])
async def test_an_address_of_no_view_leads_to_the_first_one(page, name):
    await log_in(page)
    await show(page, "settings")

    await page.evaluate(f"location.hash = '#/{name}'")

    await page.get_by_role("heading", name="Incidents").wait_for()


async def test_a_time_of_an_event_that_is_not_there_says_so(page):
    await log_in(page)
    await page.evaluate("location.hash = '#/moment?event=4711'")
    await page.get_by_text("there is no event 4711").wait_for()

    await page.get_by_role("button", name="Earlier").click()

    assert "event=4711" in page.url


async def test_a_conversation_is_searched_and_opened(page, amqp_url, recorder):
    await told(amqp_url, recorder)
    await log_in(page)
    await page.get_by_role("link", name="Conversations", exact=True).click()
    await page.get_by_label("Search what was said").fill("pve")
    await page.keyboard.press("Enter")
    await page.locator("mark", has_text="pve").first.wait_for()

    await page.locator(".turn a").first.click()

    await page.wait_for_url(re.compile("session="))
    await page.locator(".turn .said").first.wait_for()


async def test_a_conflict_of_a_preference_is_shown_and_decided(page, gateway):
    with gateway.client() as client:
        client.put("/api/memory/preferences/theme", json={"value": "light"})
        await log_in(page)
        await page.get_by_role("link", name="Preferences").click()
        await page.get_by_role("button", name="Edit theme").click()
        await page.get_by_role("textbox", name="Value of theme").fill("mine")
        client.put("/api/memory/preferences/theme", json={"value": "theirs"})

        await page.get_by_role("button", name="Save", exact=True).click()
        await page.get_by_label("Their value").get_by_text("theirs").wait_for()
        assert await page.get_by_role("textbox", name="Value of theme").input_value() == "mine"
        await assert_accessible(page)
        await page.get_by_role("button", name="Save mine over it").click()
        await page.get_by_role("button", name="Edit theme").wait_for()

        kept = client.get("/api/memory/preferences/theme").json()["preference"]
        assert kept["value"] == "mine"


async def test_a_preference_is_found_among_those_that_are_there(page, gateway):
    with gateway.client() as client:
        for key in ("assistant.tone", "ui.theme"):
            client.put(f"/api/memory/preferences/{key}", json={"value": "x"})
    await log_in(page)
    await show(page, "preferences")
    await page.get_by_text("assistant.tone").wait_for()
    asked = []
    page.on("request", lambda request: asked.append(request.url))

    await page.get_by_label("Find").press_sequentially("theme")

    await page.get_by_text("assistant.tone").wait_for(state="detached")
    assert await page.get_by_text("ui.theme").is_visible()
    assert not [url for url in asked if "preferences" in url]


async def test_a_dead_letter_is_read_and_replayed(page, amqp_url, recorder):
    await log_in(page)
    await publish(amqp_url, (EVENT_KEY, b"{no json", {"message_id": "m-1"}))
    await page.get_by_role("link", name="Dead letters", exact=True).click()
    await page.reload()
    await page.get_by_role("link", name="not JSON").click()
    await page.locator("summary", has_text="not_json").first.click()
    await page.get_by_label("Body").get_by_text("{no json").wait_for()
    await assert_accessible(page)

    await page.get_by_role("button", name="Replay", exact=True).click()

    await page.get_by_text("1 published again").wait_for()


@BOTH
async def test_a_dead_letter_is_edited_and_checked_before_it_is_replayed(page, amqp_url, recorder):
    letter = json.dumps(event(summary="mended", severity="terrible"))
    await publish(amqp_url, (EVENT_KEY, letter.encode(), {}))
    wait_until(lambda: recorder.count("dead_letters") == 1, "the letter is indexed")
    await log_in(page)
    await page.get_by_role("link", name="Dead letters", exact=True).click()
    await page.get_by_role("table", name="Faults").get_by_role("link").first.click()
    await page.locator(".letters summary").first.click()
    await page.get_by_role("button", name="Edit").click()
    body = page.get_by_role("textbox", name="Body")
    await expect(body).to_be_focused()
    await expect(body).to_have_value(letter)

    await page.get_by_role("button", name="Check").click()
    await page.get_by_role("status").get_by_text("severity: Input should be").wait_for()
    await page.get_by_role("button", name="Replay as edited").click()
    await page.get_by_role("alert").get_by_text("it would be refused again").wait_for()
    await page.screenshot(path=ARTEFACTS / "letter-edited.png")
    await assert_accessible(page)
    await body.fill(letter.replace("terrible", "error"))
    await expect(page.get_by_role("status").get_by_text("severity")).to_have_count(0)
    await page.get_by_role("button", name="Check").click()
    await page.get_by_text("It would be recorded.").wait_for()
    await page.get_by_role("button", name="Replay as edited").click()

    await page.get_by_text("1 published again.").wait_for()
    wait_until(lambda: recorder.count() == 1, "it is recorded")


async def test_the_recorder_goes_and_comes_back(page, amqp_url, recorder, start_recorder):
    await publish(amqp_url, (EVENT_KEY, just_now("still to be seen"), {}))
    wait_until(lambda: recorder.count() == 1, "it is recorded")
    await log_in(page)
    await page.get_by_text("still to be seen").wait_for()
    await page.get_by_text("Newest event").wait_for()
    recorder.stop()

    await page.get_by_text("The recorder is away").wait_for(timeout=30_000)
    await page.locator(".stale").first.wait_for()
    assert await page.get_by_text("still to be seen").is_visible()
    await page.screenshot(path=ARTEFACTS / "away.png")
    start_recorder(amqp_url)

    await page.get_by_text("The recorder is away").wait_for(state="hidden", timeout=30_000)
    await page.locator(".stale").first.wait_for(state="detached", timeout=30_000)


HOSTILE = '<img src=x onerror="document.title=1"><script>document.title=1</script>"\'\u202e'


@BOTH
async def test_whatever_is_recorded_is_shown_as_it_is_and_runs_nothing(
    page, gateway, amqp_url, recorder
):
    moment = just_now("")["timestamp"]
    states = [
        {"nodes": None, "vms": "none", "quorum": 7},
        {"nodes": ["a", None, {"name": {"a": 1}, "cpu": "much", "mem": -1, "maxmem": 0}]},
        {"nodes": [{"name": HOSTILE, "status": HOSTILE, "cpu": 1e300, "maxcpu": HOSTILE}]},
        {"anything": [HOSTILE]},
    ]
    turn = {"session_id": f"a/b {HOSTILE}", "role": "assistant", "content": HOSTILE}
    calls = [None, HOSTILE, {"name": {}}, {"function": {"name": HOSTILE}}]
    await publish(
        amqp_url,
        (EVENT_KEY, just_now(HOSTILE, node=HOSTILE, details={HOSTILE: [HOSTILE]}), {}),
        *(
            (
                f"cluster.snapshot.c{n}",
                {"snapshot": state, "timestamp": moment, "cluster": f"c{n}"},
                {},
            )
            for n, state in enumerate(states)
        ),
        ("chat.turn.assistant", turn | {"tool_calls": calls, "timestamp": moment}, {}),
        ("chat.turn.user", turn | {"role": "user", "timestamp": moment}, {}),
        (EVENT_KEY, HOSTILE.encode(), {"headers": {HOSTILE[:40]: HOSTILE}}),
    )
    wait_until(lambda: recorder.count("conversations") == 2, "the turns are recorded")
    wait_until(lambda: recorder.count("cluster_snapshots") == 4, "the snapshots are recorded")
    with gateway.client() as client:
        client.put("/api/memory/preferences/__proto__", json={"value": HOSTILE})
        view = quote(f"view.{HOSTILE}", safe="")
        client.put(f"/api/memory/preferences/{view}", json={"value": "#/now"})
    await log_in(page)

    for view in VIEWS:
        await show(page, view)
        await page.locator(".loading").first.wait_for(state="detached")
        if view == "conversations":
            await page.locator(".plain a").first.click()
            await page.locator(".turn").first.wait_for()
        if view == "dead-letters":
            await page.locator(".inventory a").first.click()
            await page.locator(".letters summary").first.wait_for()
        for summary in await page.locator("main summary").all():
            await summary.click()
        await page.screenshot(path=ARTEFACTS / f"hostile-{view}.png", full_page=True)
        await page.get_by_text("onerror=").filter(visible=True).first.wait_for()
        assert await page.locator("main img, main script").count() == 0
        assert "\u202e" not in await page.locator("main").inner_text()
    assert "jarvis recorder" in await page.title()


async def test_a_reader_is_offered_nothing_to_change(page, amqp_url, recorder):
    await publish(amqp_url, (EVENT_KEY, just_now("look only"), {}))
    wait_until(lambda: recorder.count() == 1, "it is recorded")
    await log_in(page, READER_PASSWORD)
    await page.get_by_text("look only").wait_for()

    assert await page.get_by_role("button", name="Close").count() == 0


async def test_the_keyboard_alone_resolves_an_alert(page, amqp_url, recorder):
    await publish(amqp_url, (EVENT_KEY, just_now("by keys"), {}))
    wait_until(lambda: recorder.count() == 1, "it is recorded")
    await log_in(page)
    await page.get_by_text("by keys").wait_for()

    for _ in range(30):
        await page.keyboard.press("Tab")
        if await page.evaluate("document.activeElement.textContent") == "Close":
            break
    await page.keyboard.press("Enter")

    await page.get_by_text("Nothing is open").wait_for(timeout=UNDO_MS + 10_000)


async def test_the_strip_fits_at_any_time_of_day(page, amqp_url, recorder):
    await told(amqp_url, recorder)
    await log_in(page)
    await page.set_viewport_size({"width": 320, "height": 900})
    await page.locator(".times time").first.wait_for()

    wide = await page.evaluate("""
        () => {
          for (const time of document.querySelectorAll(".times time"))
            time.textContent = "12:30 PM";
          return document.documentElement.scrollWidth;
        }
    """)

    assert wide <= 320


async def test_the_document_is_shown_with_what_the_wheel_brings(page, gateway):
    await log_in(page)
    await page.goto(f"{gateway.url}/api/docs")
    await page.locator(".opblock", has_text="/api/memory/events/unresolved").click()
    await page.get_by_role("button", name="Try it out").click()

    await page.get_by_role("button", name="Execute").click()

    await page.locator(".live-responses-table .response-col_status", has_text="200").wait_for()
