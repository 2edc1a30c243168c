"""The newest state, whatever time it is here."""

import re

import pytest

from tests.support.page_modules import VIEWS

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.mark.parametrize(
    "view",
    [
        ["views/inventory", "guests", []],
        ["views/thing", "thing", ["nodes", "home", "pve1"]],
        ["views/compare", "compare", []],
    ],
)
async def test_the_newest_snapshot_is_what_the_recorder_says_it_is(page, answers, view):
    """A browser's clock that is behind would ask for an older one, or for one before the first."""
    newest = "2126-01-20T10:00:00.000000Z"
    guest = {"vmid": 100, "name": "web", "node": "pve1", "status": "running"}
    snapshot = {"cluster": "home", "timestamp": newest, "snapshot": {"vms": [guest]}}

    def differences(query):
        assert query["to"] == [newest]
        before, after = {"timestamp": "2026-01-20T10:00:00Z"}, {"timestamp": newest}
        added = [{"path": ["vms", {"vmid": 100}], "value": guest}]
        return {"before": before, "after": after, "added": added, "removed": [], "changed": []}

    answers.by_path |= {
        "/api/stats": lambda _: {"holdings": {"clusters": ["home"]}},
        "/api/snapshots/latest": lambda _: {"snapshot": snapshot},
        "/api/snapshots/diff": differences,
    }
    await page.evaluate(VIEWS, view)

    await page.get_by_text(re.compile("web")).first.wait_for()


async def test_of_large_snapshots_the_newest_of_each_cluster_is_kept(page, answers):
    newest = {}
    asked = []

    def whole(query):
        [at] = query["timestamp"]
        asked.append(at)
        return {"snapshot": newest["head"] | {"snapshot": {"nodes": [{"name": at[:10]}]}}}

    def overview(_):
        lines = {"usualGapSeconds": 30, "firstAt": None, "lines": []}
        found = [{"cluster": "home", "snapshot": newest["head"], **lines}]
        return {"clusters": found, "truncated": False}

    answers.by_path |= {"/api/snapshots/overview": overview, "/api/snapshots/at": whole}
    for day in (20, 20, 21, 20):
        at = f"2026-01-{day}T10:00:00Z"
        newest["head"] = {"id": day, "cluster": "home", "timestamp": at, "omitted": ["snapshot"]}
        await page.evaluate("document.querySelector('main').replaceChildren()")
        await page.evaluate(VIEWS, ["views/now", "now", []])
        await page.get_by_text(at[:10], exact=True).wait_for()

    assert asked == ["2026-01-20T10:00:00Z", "2026-01-21T10:00:00Z", "2026-01-20T10:00:00Z"]
