"""Preferences and saved views, which others change meanwhile."""

from http import HTTPStatus

import pytest
from playwright.async_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.slow]


PREFERENCES = """async () => {
    const { preferences } = await import("/static/js/views/preferences.js");
    preferences(document.querySelector("main"), null, new AbortController().signal);
}"""
SAVED_VIEWS = """async () => {
    const { savedList } = await import("/static/js/saved.js");
    document.querySelector("main").append(savedList(new AbortController().signal));
}"""
CHANGED = """async () => {
    const { live } = await import("/static/js/live.js");
    live.dispatchEvent(new CustomEvent("preference", { detail: {} }));
}"""


def held(**values):
    """Return what answers as `preferences.list` does; a value with its version."""
    preferences = [
        {"key": key, "value": value, "version": version, "updatedAt": "2026-01-20T10:00:00Z"}
        for key, (value, version) in values.items()
    ]
    return lambda _: {"preferences": preferences, "nextCursor": None}


@pytest.fixture
def preferences(answers):
    """Have a page know these preferences from now on."""

    def known(**values):
        answers.by_path["/api/memory/preferences"] = held(**values)

    return known


async def test_no_preference_moves_under_the_pointer(page, preferences):
    preferences(b=("2", 1), c=("3", 1))
    await page.evaluate(PREFERENCES)
    aim = page.get_by_role("button", name="Delete c")
    await aim.hover()
    before = await aim.bounding_box()

    preferences(a=("1", 1), b=("2", 1), c=("3", 1))
    await page.evaluate(CHANGED)

    news = page.get_by_role("button", name="1 new")
    await news.wait_for()
    assert await aim.bounding_box() == before
    await news.click()
    await expect(page.get_by_role("button", name="Edit a")).to_be_visible()


async def test_what_is_typed_stays_while_others_change_preferences(page, preferences):
    preferences(b=("old", 1), c=("3", 1))
    await page.evaluate(PREFERENCES)
    await page.get_by_role("button", name="Edit b").click()
    value = page.get_by_role("textbox", name="Value of b")
    await page.keyboard.press("Home")
    await page.keyboard.type("my ")

    preferences(a=("1", 1), b=("theirs", 2), c=("3", 1))
    await page.evaluate(CHANGED)
    await page.get_by_role("button", name="1 new").wait_for()
    await page.keyboard.type("very ")
    # They are gone: what is edited stays as it would be added.
    preferences(a=("1", 1))
    await page.evaluate(CHANGED)
    await page.get_by_role("button", name="gone").wait_for()
    await page.keyboard.type("own ")
    await page.get_by_label("New preference").fill("b")
    await page.get_by_role("button", name="Add").click()

    await expect(page.locator(".preferences > li")).to_have_count(2)
    await expect(value).to_be_focused()
    await expect(value).to_have_value("my very own old")
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.locator(".preferences > li")).to_have_count(1)


async def test_more_preferences_than_are_listed_are_said_and_found_by_how_they_begin(page, answers):
    def answer(query):
        [begin] = query.get("prefix", [""])
        if begin:
            return held(**{name: ("1", 1) for name in ["zone.b"] if name.startswith(begin)})(query)
        first = held(**{f"a.{n:04}": ("1", 1) for n in range(5_000)})(query)
        return first | {"nextCursor": "next"}

    answers.by_path["/api/memory/preferences"] = answer
    await page.evaluate(PREFERENCES)
    first = page.get_by_text("These are the first 5,000.")
    await first.wait_for()

    await page.get_by_label("Find").fill("zone")
    await page.get_by_text("zone.b", exact=True).wait_for()
    await expect(first).to_have_count(0)

    await page.get_by_label("Find").fill("zoned")
    await page.get_by_text("None begins so.").wait_for()
    await page.get_by_label("Find").fill("")
    await first.wait_for()


async def test_no_saved_view_moves_under_the_pointer(page, preferences):
    preferences(**{"view.mine": ("#/events?text=mine", 1)})
    await page.evaluate(SAVED_VIEWS)
    mine = page.get_by_role("link", name="mine")
    await mine.hover()
    before = await mine.bounding_box()

    preferences(**{
        "view.before": ("#/events?text=before", 1), "view.mine": ("#/events?text=mine", 1)
    })  # fmt: skip
    await page.evaluate(CHANGED)

    news = page.get_by_role("button", name="1 new")
    await news.wait_for()
    assert await mine.bounding_box() == before
    await news.click()
    await expect(page.get_by_role("listitem")).to_have_text(["before", "mine"])


@pytest.mark.parametrize(
    ("module", "function", "path", "rows"),
    [
        (
            "saved",
            "savedViews",
            "/api/memory/preferences",
            [{"key": f"view.{name}", "value": "#/events"} for name in "abc"],
        ),
        ("silences", "silencesNow", "/api/incidents/silences", [{"node": n} for n in "abc"]),
    ],
)
async def test_a_list_is_read_to_its_end(page, answers, module, function, path, rows):
    """A page of it ends at its limit of bytes, too: 17 large values may stand before the rest."""
    name = path.rpartition("/")[2]
    following = {None: "1", "1": "2", "2": None}

    def answer(query):
        [cursor] = query.get("cursor", [None])
        return {name: [rows[int(cursor or 0)]], "nextCursor": following[cursor]}

    answers.by_path[path] = answer
    found = await page.evaluate(
        f"""async () => {{
            const {{ {function} }} = await import("/static/js/{module}.js");
            return {function}(new AbortController().signal);
        }}"""
    )

    assert len(found) == len(rows)


async def test_a_view_that_another_one_saved_is_replaced_only_where_that_is_confirmed(
    page, preferences
):
    kept = {"value": "#/events?text=theirs", "version": 4}

    async def answer(route):
        if route.request.method == "PUT":
            given = route.request.post_data_json
            if given.get("expectedVersion", kept["version"]) != kept["version"]:
                await route.fulfill(status=HTTPStatus.CONFLICT, json={"error": "another version"})
                return
            kept.update(value=given["value"], version=kept["version"] + 1)
        await route.fulfill(json={"preference": {"key": "view.shared", **kept}})

    async def save():
        await page.get_by_role("button", name="Save this view").click()
        await page.get_by_label("Name of the view").fill("shared")
        await page.keyboard.press("Enter")
        await page.get_by_text("There is a view “shared” already.").wait_for()

    await page.route("**/api/memory/preferences/view.shared", answer)
    preferences()
    await page.evaluate("location.hash = '#/events?text=mine'")
    await page.evaluate(SAVED_VIEWS)

    await save()
    await page.get_by_role("button", name="Cancel").click()
    await page.get_by_role("dialog").wait_for(state="detached")
    assert kept == {"value": "#/events?text=theirs", "version": 4}

    await save()
    async with page.expect_response(lambda one: one.request.method == "PUT"):
        await page.get_by_role("button", name="Replace").click()
    assert kept == {"value": "#/events?text=mine", "version": 5}
