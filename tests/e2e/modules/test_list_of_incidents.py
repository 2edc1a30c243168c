"""The list of incidents, of which there are more than come at once, and the note of one."""

import pytest
from playwright.async_api import expect

from tests.e2e.conftest import ago
from tests.support.page_modules import PUBLISHED, VIEWS

pytestmark = [pytest.mark.browser, pytest.mark.slow]


NOW_INCIDENTS = """async () => {
    const { incidentList, incidentsNow } = await import("/static/js/incidents.js");
    const { refill } = await import("/static/js/dom.js");
    const found = await incidentsNow(new AbortController().signal);
    refill(document.querySelector("main"), incidentList(found, () => {}));
}"""
OF_A_NODE = """async () => {
    const { activeIncidents } = await import("/static/js/incidents.js");
    const { signal } = new AbortController();
    const { active, total } = await activeIncidents("/api/incidents", { node: "pve1" }, signal);
    return [active.map(({ key }) => key), total];
}"""


def incidents(number, state, severity, **changes):
    """Return so many of one state and severity; each is newer than those before it."""
    return [
        {"key": f"{state}-{severity}-{n}", "state": state, "severity": severity, "count": 1,
         "kind": "THRESHOLD", "object": f"disk {n}", "node": "pve1", "cluster": None,
         "firstAt": "2026-01-20T10:00:00Z", "lastAt": "2026-01-20T10:00:00Z", "causedBy": None}
        | changes
        for n in range(number)
    ]  # fmt: skip


def listed(known):
    """Return what answers as `incidents.list` does, the newest first; the last known is that."""

    def answer(query):
        matching = [
            one
            for one in reversed(known)
            if all(one[name] in query[name] for name in ("state", "severity") if name in query)
        ]
        page = matching[: int(query["limit"][0])]
        return {"incidents": page, "total": len(matching), "nextCursor": None}

    return answer


async def test_what_no_one_has_seen_is_counted_and_shown_behind_any_number_of_seen_ones(
    page, answers
):
    known = incidents(60, "open", "critical") + incidents(200, "acknowledged", "warning")
    answers.by_path["/api/incidents"] = listed(known)

    await page.evaluate(NOW_INCIDENTS)

    await expect(page.get_by_text("60 critical open")).to_be_visible()
    await expect(page.locator(".event.critical")).to_have_count(60)
    await expect(page.get_by_text("Of 260 the worst 200 are shown.")).to_be_visible()


async def test_an_older_critical_incident_is_above_any_number_of_newer_warnings(page, answers):
    worst = incidents(1, "unknown", "critical", kind="NODE_DOWN", object=None, node="pve9")
    known = worst + incidents(300, "open", "warning") + incidents(7, "acknowledged", "critical")
    answers.by_path["/api/incidents"] = listed(known)

    await page.evaluate(NOW_INCIDENTS)

    said = page.get_by_text("1 critical, 300 warning open; pve9 is offline")
    await expect(said).to_be_visible()
    await expect(page.locator(".event").first).to_contain_text("NODE_DOWN pve9")
    keys, total = await page.evaluate(OF_A_NODE)
    assert (keys[0], len(keys), total) == ("unknown-critical-0", 200, 308)


async def test_all_is_seen_where_none_is_open_and_no_sooner(page, answers):
    answers.by_path["/api/incidents"] = listed(incidents(201, "acknowledged", "error"))

    await page.evaluate(NOW_INCIDENTS)

    await expect(page.get_by_text("Somebody has seen all that is open.")).to_be_visible()
    await expect(page.get_by_text("Of 201 the worst 200 are shown.")).to_be_visible()


async def test_nothing_is_said_to_be_open_or_seen_while_incidents_are_being_made_again(
    page, answers
):
    said = page.get_by_text("The incidents are being made again: more may be open.")
    for known, claim in (
        ([], "Nothing is open."),
        (incidents(1, "acknowledged", "error"), "Somebody"),
    ):
        for complete in (False, True):
            answer = listed(known)
            answers.by_path["/api/incidents"] = lambda query, answer=answer, complete=complete: (
                answer(query) | {"complete": complete}
            )
            await page.evaluate(NOW_INCIDENTS)
            await expect(said).to_have_count(0 if complete else 1)
            await expect(page.get_by_text(claim)).to_have_count(1 if complete else 0)


async def test_what_is_seen_is_not_counted_as_open(page, answers):
    known = incidents(2, "open", "error") + incidents(3, "acknowledged", "error")
    answers.by_path["/api/incidents"] = listed(known)

    await page.evaluate(NOW_INCIDENTS)

    await expect(page.get_by_text("2 error open", exact=True)).to_be_visible()
    await expect(page.get_by_text("are shown")).to_have_count(0)


async def test_a_long_outage_that_is_over_since_today_is_among_those_of_the_last_day(page, answers):
    """Its one alert is of the day before, and there are newer ones of others."""

    def over(kind, alert, end):
        times = {"firstAt": ago(hours=alert), "lastAt": ago(hours=alert)}
        return incidents(1, "recovered", "error", kind=kind, recoveredAt=ago(hours=end), **times)

    before = [*over("DISK_FULL", 50, 40), *over("NODE_DOWN", 30, 0.2)]
    known = before + [one for _ in range(10) for one in over("VM_CRASHED", 2, 1)]

    def answer(query):
        since = query.get("since", [""])[0]
        return listed([one for one in known if one["lastAt"] >= since])(query)

    answers.by_path["/api/incidents"] = answer

    await page.evaluate(NOW_INCIDENTS)

    await page.get_by_text("11 over in the last day", exact=True).click()
    rows = page.locator("[data-rows=incidents] .event .text")
    await expect(rows).to_contain_text(["NODE_DOWN", *["VM_CRASHED"] * 10])


async def test_a_note_that_could_not_be_saved_is_still_there(page, answers):
    [found] = incidents(1, "open", "error", note="the old one", guessed=False)
    answer = {"incident": found, "transitions": [], "truncated": False, "events": []}
    answers.by_path["/api/incidents/get"] = lambda _: answer | {"nextCursor": None}
    await page.evaluate(VIEWS, ["views/incident", "incident", ["incidents", found["key"]]])
    note = page.get_by_label("Note")
    await expect(note).to_have_value("the old one")
    await note.fill("typed at three in the morning")
    await page.get_by_role("button", name="Seen, with this note").click()
    await page.get_by_role("alert").wait_for()

    found["count"] = 77
    await page.evaluate(PUBLISHED, ["incident", {}])

    await expect(page.locator("dl").first).to_contain_text("77")
    await expect(note).to_have_value("typed at three in the morning")


SILENCES = """async (silences) => {
    const { silenceRows } = await import("/static/js/silences.js");
    document.querySelector("main").replaceChildren(silenceRows(silences, () => {}));
}"""
SETTLE = """async () => {
    const { settle } = await import("/static/js/undo.js");
    settle();
}"""


async def test_of_two_windows_of_one_node_the_one_that_is_chosen_is_ended(page):
    window = {
        "key": None,
        "node": "pve1",
        "kind": None,
        "cluster": None,
        "by": None,
        "reason": None,
    }
    since = ["2026-01-20T10:00:00.000001Z", "2026-01-21T10:00:00.000001Z"]
    await page.evaluate(
        SILENCES, [window | {"since": one, "until": ago(hours=-99)} for one in since]
    )
    await page.get_by_role("button", name="End it").last.click()
    await expect(page.get_by_role("button", name="Undo")).to_have_count(1)

    async with page.expect_request("**/api/incidents/silence") as asked:
        await page.evaluate(SETTLE)

    sent = (await asked.value).post_data_json
    assert (sent["node"], sent["since"], sent["until"]) == ("pve1", since[1], since[1])
