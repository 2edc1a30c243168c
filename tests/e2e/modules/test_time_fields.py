"""From and To, and the times of an address, with the night of autumn that has an hour twice."""

import pytest
from playwright.async_api import expect

from tests.support.page_modules import EVENTS, VIEWS

pytestmark = [pytest.mark.browser, pytest.mark.slow]


# From and To in the night of autumn that has an hour twice


FORM = """async (address) => {
    const { filterForm, read } = await import("/static/js/filters.js");
    window.chosen = null;
    const form = filterForm((changed) => { window.chosen = changed; });
    document.querySelector("main").replaceChildren(form.element);
    form.show(read(new URLSearchParams(address)));
}"""
TIMES = """async (address) => {
    const { bounds, filterForm, notShown, read, written } = await import("/static/js/filters.js");
    const params = new URLSearchParams(address);
    const filters = read(params);
    const form = filterForm(() => {});
    document.querySelector("main").replaceChildren(form.element);
    form.show(filters, notShown(params));
    const { range, since, until } = written(filters);
    const [from, to] = bounds(filters).map((one) => Date.parse(one));
    return { range, since, until, hours: (to - from) / 3_600_000, ends: to - Date.now() };
}"""
RECORDED = """async () => {
    const { live } = await import("/static/js/live.js");
    live.dispatchEvent(new CustomEvent("event", { detail: { type: "alert" } }));
}"""
AUTUMN_NIGHT = "since=2026-10-25T00:10:00.250Z&until=2026-10-25T01:40:00Z"
SHOWN = """async (given) => {
    const { toInput } = await import("/static/js/format.js");
    const field = document.createElement("input");
    Object.assign(field, { type: "datetime-local", step: 1 });
    return given.map((moment) => {
        field.value = toInput(moment);
        return field.value === toInput(moment);
    });
}"""
SHOWN_AS_READ = """async (given) => {
    const { fromInput, toInput } = await import("/static/js/format.js");
    return given.map((text) => toInput(fromInput(text, "")));
}"""
TYPED = """async (address) => {
    const { filterForm, read } = await import("/static/js/filters.js");
    window.asked = [];
    let filters = read(new URLSearchParams(address));
    const form = filterForm((changed) => {
        window.asked.push(changed.since);
        filters = { ...filters, ...changed };
        form.show(filters);
    });
    document.querySelector("main").replaceChildren(form.element);
    form.show(filters);
}"""
CHANGED_TO = """(field, text) => {
    field.value = text;
    field.dispatchEvent(new Event("change", { bubbles: true }));
}"""
FROM_INPUT = """async (given) => {
    const { fromInput } = await import("/static/js/format.js");
    return given.map(([text, near]) => fromInput(text, near));
}"""


async def choose(page, field, text):
    """Have a field of times changed to a text; return what is asked for then."""
    time = page.get_by_label(field, exact=True)
    await time.evaluate(CHANGED_TO, text)
    return await page.evaluate("chosen")


@pytest.mark.parametrize(
    ("field", "text", "since", "until"),
    [
        ("From", "2026-10-25T02:20:00", "2026-10-25T00:20:00.000Z", "2026-10-25T01:40:00Z"),
        ("From", "2026-10-25T02:45:00", "2026-10-25T00:45:00.000Z", "2026-10-25T01:40:00Z"),
        ("To", "2026-10-25T02:50:00", "2026-10-25T00:10:00.250Z", "2026-10-25T01:50:00.000Z"),
    ],
)
async def test_one_of_from_and_to_is_changed_and_the_other_stays(page, field, text, since, until):
    await page.evaluate(FORM, AUTUMN_NIGHT)

    chosen = await choose(page, field, text)

    assert chosen == {"range": "", "since": since, "until": until}
    await expect(page.get_by_role("alert")).to_have_count(0)


async def test_from_after_to_is_said_and_waits_for_the_other(page):
    await page.evaluate(FORM, AUTUMN_NIGHT)

    assert await choose(page, "From", "2026-10-25T12:00:00") is None
    await expect(page.get_by_role("alert")).to_have_text("“From” has to be before “To”.")

    chosen = await choose(page, "To", "2026-10-25T13:00:00")
    assert (chosen["since"], chosen["until"]) == (
        "2026-10-25T11:00:00.000Z", "2026-10-25T12:00:00.000Z",
    )  # fmt: skip
    await expect(page.get_by_role("alert")).to_have_count(0)


async def test_from_a_time_to_come_waits_for_an_end(page):
    await page.evaluate(FORM, "since=2026-01-20T10:00:00Z")

    assert await choose(page, "From", "2126-10-25T12:00:00") is None
    await expect(page.get_by_role("alert")).to_have_text("“From” has to be before “To”.")

    chosen = await choose(page, "To", "2126-10-25T13:00:00")
    assert (chosen["since"], chosen["until"]) == (
        "2126-10-25T10:00:00.000Z", "2126-10-25T11:00:00.000Z",
    )  # fmt: skip


async def test_a_text_that_two_moments_have_is_the_nearer_one(page):
    twice = "2026-10-25T02:30"
    given = [
        (twice, ""), (twice, "2026-10-25T00:31:00Z"), (twice, "2026-10-25T01:31:00Z"),
        ("2026-03-29T03:30", "2026-03-29T09:00:00Z"), ("", "2026-03-29T09:00:00Z"),
    ]  # fmt: skip

    assert await page.evaluate(FROM_INPUT, given) == [
        "2026-10-25T00:30:00.000Z", "2026-10-25T00:30:00.000Z", "2026-10-25T01:30:00.000Z",
        "2026-03-29T01:30:00.000Z", "",
    ]  # fmt: skip


async def test_a_time_that_is_only_shown_is_the_same_when_it_is_read(page):
    given = ["2026-01-20T10:00:00Z", "2026-01-20T10:05:00.250Z", "2026-01-20T10:00:05Z"]

    assert await page.evaluate(SHOWN, given) == [True, True, True]


async def test_a_time_before_the_standard_ones_is_shown_as_it_is_read(page):
    given = ["0002-11-28T03:00", "0202-11-28T00:00", "1890-06-01T12:00:05", "2026-11-28T03:00"]

    assert await page.evaluate(SHOWN_AS_READ, given) == given


async def test_a_year_that_is_typed_is_asked_for_when_it_is_complete(page):
    await page.evaluate(TYPED, "since=2025-11-20T10:00:05Z&until=2026-10-20T10:00:00Z")
    await page.get_by_label("From", exact=True).focus()
    # To the year, which is behind month and day.
    for key in ("Tab", "Tab", *"2024"):
        await page.keyboard.press(key)

    await expect(page.get_by_label("From", exact=True)).to_have_value("2024-11-20T11:00:05")
    assert await page.evaluate("asked") == ["2024-11-20T10:00:05.000Z"]


@pytest.mark.parametrize(
    ("view", "field"),
    [(["views/moment", "moment", []], "Time"), (["views/compare", "compare", []], "From")],
)
async def test_no_moment_is_gone_to_while_its_year_is_typed(page, view, field):
    await page.evaluate(VIEWS, view)
    time = page.get_by_label(field, exact=True)

    await time.evaluate(CHANGED_TO, "0202-11-20T11:00")
    assert await page.evaluate("location.hash") == ""

    await time.evaluate(CHANGED_TO, "2025-11-20T11:00")
    assert "=2025-11-20T10%3A00%3A00.000Z" in await page.evaluate("location.hash")


# The times of an address


async def test_times_without_an_end_go_on_until_now(page):
    times = await page.evaluate(TIMES, "since=2026-01-20T10:00:00Z")

    assert (times.get("range"), times["since"], times["until"]) == (
        None,
        "2026-01-20T10:00:00Z",
        "",
    )
    assert abs(times["ends"]) < 60_000
    await expect(page.get_by_label("From", exact=True)).to_have_value("2026-01-20T11:00")
    await expect(page.get_by_label("To", exact=True)).to_have_value("")
    await expect(page.get_by_role("alert")).to_have_count(0)


@pytest.mark.parametrize("until", [None, "2126-01-20T10:00:00Z"])
async def test_what_is_recorded_comes_into_times_that_have_not_ended(page, answers, until):
    asked = []

    def events(query):
        asked.append(query)
        return {"events": [], "nextCursor": None}

    answers.by_path["/api/memory/events"] = events
    end = f"&until={until}" if until else ""
    await page.evaluate(EVENTS, f"since=2026-01-20T10:00:00Z{end}")
    await page.get_by_text("No event fits").wait_for()

    async with page.expect_response("**/api/memory/events?*"):
        await page.evaluate(RECORDED)

    times = {(query["since"][0], query.get("until", [None])[0]) for query in asked}
    assert times == {("2026-01-20T10:00:00Z", until)}


@pytest.mark.parametrize(
    ("address", "hours"),
    [
        ("until=2026-01-20T10:00:00Z", 24),
        ("since=yesterday-ish", 24),
        ("since=1", 24),
        ("since=2026-01-20T10:00:00Z&until=tomorrow", 24),
        ("since=2026-01-20T10:00:00Z&until=2026-01-20T09:00:00Z&range=6", 6),
        ("since=2126-01-20T10:00:00Z", 24),
        ("range=48", 24),
    ],
)
async def test_times_that_cannot_be_shown_are_said(page, address, hours):
    times = await page.evaluate(TIMES, address)

    assert round(times["hours"], 2) == hours
    await expect(page.get_by_role("alert")).to_have_text(
        f"The address asks for times that cannot be shown. These are the last {hours} hours."
    )


async def test_times_that_are_shown_say_nothing(page):
    for address in (
        "",
        "range=6",
        "since=2026-01-20T09:00:00Z&until=2026-01-20T10:00:00Z",
        "since=2026-01-20T09:00:00+01:00&until=2026-01-21",
    ):
        await page.evaluate(TIMES, address)
        await expect(page.get_by_role("alert")).to_have_count(0)


@pytest.mark.parametrize(
    ("name", "address", "words"),
    [
        ("moment", "at=yesterday", "This is now."),
        ("moment", "at=1700000000", "This is now."),
        ("moment", "at=1", "This is now."),
        ("moment", "at=yesterday&event=1", "This is the time of the event."),
        ("compare", "a=yesterday&b=2026-01-20", "first time that cannot be shown"),
        ("compare", "a=2026-01-20&b=1", "second time that cannot be shown"),
    ],
)
async def test_a_moment_that_cannot_be_shown_is_said(page, name, address, words):
    await page.evaluate(VIEWS, [f"views/{name}", name, [], address])

    await expect(page.get_by_role("alert")).to_contain_text(words)


@pytest.mark.parametrize(
    ("name", "address", "fields"),
    [
        ("moment", "at=2026-01-20T10:00:00.000001%2B01:00", {"Time": "2026-01-20T10:00"}),
        ("moment", "at=2026-01-20T10:00:00+01:00", {"Time": "2026-01-20T10:00"}),
        ("moment", "at=2026-01-20", {"Time": "2026-01-20T01:00"}),
        (
            "compare", "a=2026-01-20T10:00:00+01:00&b=2026-01-20T10:00Z",
            {"From": "2026-01-20T10:00", "To (now where it is empty)": "2026-01-20T11:00"},
        ),
    ],
)  # fmt: skip
async def test_a_moment_that_is_shown_says_nothing(page, name, address, fields):
    await page.evaluate(VIEWS, [f"views/{name}", name, [], address])

    for field, value in fields.items():
        await expect(page.get_by_label(field, exact=True)).to_have_value(value)
    await expect(page.get_by_role("alert")).to_have_count(0)
