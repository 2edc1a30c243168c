"""What those who ask may change; each in a transaction that it shares with its announcement."""

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any, Final

from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from jarvis_recorder.errors import Conflict
from jarvis_recorder.storage.events import find_event
from jarvis_recorder.storage.insertion import insert_all
from jarvis_recorder.storage.preferences import find_preference
from jarvis_recorder.storage.rows import SHAPES
from jarvis_recorder.storage.tables import conversations, events, outbox, preferences
from jarvis_recorder.wire.announcements import (
    EVENT_RESOLVED,
    PREFERENCE_CHANGED,
    ChangedPreference,
    DeletedPreference,
)
from jarvis_recorder.wire.answers import Deleted, OneEvent, OnePreference, Preference
from jarvis_recorder.wire.methods import adapter
from jarvis_recorder.wire.questions import (
    DeleteConversation,
    DeletePreference,
    RecordEvent,
    ResolveEvent,
    SetPreference,
)
from jarvis_recorder.wire.records import Record
from jarvis_recorder.wire.times import to_datetime
from jarvis_recorder.wire.topics import Kind

# Deleted words stay in the segments of the search's index until these are merged into one.
_FORGET_WORDS: Final = "INSERT INTO conversations_fts(conversations_fts) VALUES ('optimize')"

Change = Callable[[AsyncConnection, Any, int], Awaitable[Any]]
"""Makes a change in a transaction that has begun, at a moment in microseconds."""


async def record_event(connection: AsyncConnection, question: RecordEvent, now: int) -> OneEvent:
    """
    Record an event once, and return it as it is stored.

    Raises:
        Conflict: Another event is stored under its identity.
    """
    record = question.as_record(now)
    stored, collisions = await insert_all(connection, SHAPES[Kind.EVENT], [record], now)
    if collisions:
        raise Conflict("another event is stored under this message_id: choose a new one")
    newest = select(func.max(events.c.id))
    found = await connection.execute(newest if stored else _recorded_before(record))
    return OneEvent(await connection.run_sync(find_event, found.scalar_one()))


def _recorded_before(record: Record) -> Any:
    at = to_datetime(record.timestamp)
    return select(func.min(events.c.id)).where(
        events.c.message_id == record.message_id,
        events.c.stamped if record.stamped else events.c.timestamp == at,
    )


async def resolve_event(connection: AsyncConnection, question: ResolveEvent, now: int) -> OneEvent:
    """
    Mark an event as resolved and announce it; a first resolution is kept.

    Raises:
        NotFound: There is none of this id.
    """
    changed = await connection.execute(
        update(events)
        .where(events.c.id == question.id, ~events.c.resolved)
        .values(resolved=True, resolved_at=to_datetime(now), resolved_by=question.resolved_by)
    )
    answer = OneEvent(await connection.run_sync(find_event, question.id))
    if changed.rowcount:
        await _announce(connection, EVENT_RESOLVED, adapter(OneEvent).dump_json(answer), now)
    return answer


async def set_preference(
    connection: AsyncConnection, question: SetPreference, now: int
) -> OnePreference:
    """
    Set a preference and announce it.

    Raises:
        Conflict: It does not stand at the version expected.
    """
    before = await connection.run_sync(find_preference, question.key)
    version = 0 if before is None else before.version
    if question.expected_version not in (None, version):
        raise Conflict(f"the preference stands at version {version}, not the one expected")
    after = Preference(
        question.key, question.value, to_datetime(now), question.updated_by, version + 1
    )
    values = asdict(after)
    if before is None:
        await connection.execute(insert(preferences).values(values))
    else:
        of_key = preferences.c.key == question.key
        await connection.execute(update(preferences).where(of_key).values(values))
    answer = OnePreference(after)
    await _announce(connection, PREFERENCE_CHANGED, adapter(OnePreference).dump_json(answer), now)
    return answer


async def delete_preference(
    connection: AsyncConnection, question: DeletePreference, now: int
) -> Deleted:
    """Delete a preference and announce it, where there is one."""
    of_key = preferences.c.key == question.key
    gone = await connection.execute(delete(preferences).where(of_key))
    if gone.rowcount:
        gone_now = ChangedPreference(DeletedPreference(question.key, deleted=True))
        body = adapter(ChangedPreference).dump_json(gone_now)
        await _announce(connection, PREFERENCE_CHANGED, body, now)
    return Deleted(gone.rowcount)


async def delete_conversation(
    connection: AsyncConnection, question: DeleteConversation, _: int
) -> Deleted:
    """Erase the turns of a conversation and what the search knows of them."""
    of_session = conversations.c.session_id == question.session_id
    gone = await connection.execute(delete(conversations).where(of_session))
    if gone.rowcount:
        await connection.execute(text(_FORGET_WORDS))
    return Deleted(gone.rowcount)


async def _announce(connection: AsyncConnection, routing_key: str, body: bytes, now: int) -> None:
    await connection.execute(
        insert(outbox).values(
            routing_key=routing_key,
            message_id=uuid.uuid4().hex,
            body=body.decode(),
            created_at=to_datetime(now),
        )
    )


CHANGES: Final[dict[type, Change]] = {
    RecordEvent: record_event,
    ResolveEvent: resolve_event,
    SetPreference: set_preference,
    DeletePreference: delete_preference,
    DeleteConversation: delete_conversation,
}
