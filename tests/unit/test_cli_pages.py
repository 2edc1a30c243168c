"""What an answer in several pages is on the command line: all of it."""

import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

from jarvis_recorder.cli.query import conversations
from jarvis_recorder.wire import answers, questions

MOMENT = datetime(2026, 11, 23, tzinfo=UTC)


class Pages:
    """A client that gives one page after the other, each to the cursor of the one before."""

    def __init__(self, *pages: Any) -> None:
        self._pages = {None: pages[0]}
        self._pages |= {before.next_cursor: page for before, page in pairwise(pages)}

    async def ask(self, question: Any) -> Any:
        return self._pages[question.cursor]


def used(key: str | None, turns: int = 1) -> answers.Usage:
    return answers.Usage(key, turns, 0, 0, 0, Decimal(0))


async def test_usage_is_shown_with_the_lines_of_every_page(monkeypatch):
    total = used(None, 3)
    client = Pages(
        answers.UsageReport([used("a")], total, "1"),
        answers.UsageReport([used("b")], total, "2"),
        answers.UsageReport([used("c")], total, None),
    )

    @contextlib.asynccontextmanager
    async def connected(_: Any) -> AsyncIterator[Pages]:
        yield client

    monkeypatch.setattr(conversations, "connected", connected)
    asked = questions.ReportUsage(since=MOMENT, by="session")
    report = await conversations._every_line(None, asked)

    assert [line.key for line in report.usage] == ["a", "b", "c"]
    assert (report.total, report.next_cursor) == (total, None)
