"""The outbox of notifications not yet published, in the same file."""

import asyncio
from collections.abc import Sequence
from typing import Final

from sqlalchemy import delete

from jarvis_recorder.ports import PendingNotification
from jarvis_recorder.storage.pending import few_pending, oldest_pending
from jarvis_recorder.storage.queries.reading import Reading
from jarvis_recorder.storage.sqlite.readers import SqliteReaders
from jarvis_recorder.storage.sqlite.writer import SqliteWriter
from jarvis_recorder.storage.tables import outbox

_PATIENCE_SECONDS: Final = 5.0


class SqliteOutbox:
    """The implementation of `ports.Outbox` on the same file."""

    def __init__(
        self, writer: SqliteWriter, readers: SqliteReaders, changed: asyncio.Event
    ) -> None:
        self._writer = writer
        self._readers = readers
        self._changed = changed

    async def wait(self) -> None:
        """Return once something was changed; see `ports.Outbox`."""
        await self._changed.wait()
        self._changed.clear()

    async def waiting(self, limit: int) -> Sequence[PendingNotification]:
        """Return the oldest notifications, as many as are held at once."""

        def read(reading: Reading) -> list[PendingNotification]:
            return few_pending(reading.rows(oldest_pending(limit)))

        until = asyncio.get_running_loop().time() + _PATIENCE_SECONDS
        return await self._readers.run(read, until)

    async def announced(self, notifications: Sequence[PendingNotification]) -> None:
        """Remove these notifications and no others."""
        # The id alone is not enough: after the outbox was empty, SQLite assigns the same ids again.
        forget = delete(outbox).where(
            outbox.c.id.in_([one.id for one in notifications]),
            outbox.c.message_id.in_([one.message_id for one in notifications]),
        )
        await self._writer.run(lambda connection: connection.execute(forget))

    async def release(self) -> None:
        """Do nothing: a file has one recorder."""
