"""Records put into a store as they come, and read back page by page."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from jarvis_recorder.wire.codec import decode
from jarvis_recorder.wire.times import format_datetime
from jarvis_recorder.wire.topics import TOPICS, Topic
from tests.support.amqp_bytes import delivery
from tests.support.archive import NOW, ask

EVENTS, SNAPSHOTS, TURNS = TOPICS
START = datetime(2026, 11, 23, 8, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


async def put(
    store: Any, *bodies: dict[str, Any], topic: Topic = EVENTS, recorded_at: int = NOW
) -> None:
    records = []
    for body in bodies:
        (record,) = decode(delivery(json.dumps(body).encode()), topic, NOW).records
        records.append(record)
    await store.repository.append(records, recorded_at)


def event(seconds: float = 0, **changes: Any) -> dict[str, Any]:
    return {
        "type": "status",
        "severity": "info",
        "source": "monitor",
        "summary": "all is well",
        "timestamp": format_datetime(at(seconds)),
    } | changes


def turn(seconds: float = 0, **changes: Any) -> dict[str, Any]:
    return {
        "session_id": "s",
        "role": "user",
        "content": "hello",
        "timestamp": format_datetime(at(seconds)),
    } | changes


async def all_pages(store: Any, kind: type, **params: Any) -> list[Any]:
    """Follow the cursors to the end; return the rows of all pages."""
    rows: list[Any] = []
    cursor = None
    while True:
        page = await ask(store, kind(**params, cursor=cursor))
        rows += next(value for value in vars_of(page) if isinstance(value, list))
        if (cursor := page.next_cursor) is None:
            return rows


def vars_of(page: Any) -> list[Any]:
    return [getattr(page, name) for name in page.__dataclass_fields__]
