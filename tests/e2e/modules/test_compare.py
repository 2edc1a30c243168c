"""The changes between two snapshots, as the page lists them."""

import pytest
from playwright.async_api import expect

from tests.support.page_modules import VIEWS

pytestmark = [pytest.mark.browser, pytest.mark.slow]


async def test_changes_of_one_thing_that_are_not_shown_are_said(page, answers):
    at = "2026-01-20T10:00:00Z"
    changed = [{"path": ["ceph", f"osd.{n}"], "from": 0, "to": 1} for n in range(301)]
    answers.by_path |= {
        "/api/stats": lambda _: {"holdings": {"clusters": ["home"]}},
        "/api/snapshots/latest": lambda _: {"snapshot": {"timestamp": at, "snapshot": {}}},
        "/api/snapshots/diff": lambda _: {
            "before": {"timestamp": at}, "after": {"timestamp": at},
            "added": [], "removed": [], "changed": changed,
        },
    }  # fmt: skip
    await page.evaluate(VIEWS, ["views/compare", "compare", []])

    row = page.get_by_role("row", name="The cluster")
    await expect(row.get_by_role("listitem")).to_have_count(300)
    await expect(row.get_by_text("1 more are not shown.")).to_be_visible()
    await expect(page.get_by_text("more are not shown")).to_have_count(1)
