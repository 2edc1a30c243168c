"""The probe of the server: whether it takes records, and the size of the database."""

import time
from typing import Final

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from jarvis_recorder.errors import StorageUnavailable
from jarvis_recorder.ports import StorageHealth
from jarvis_recorder.storage.postgres import errors
from jarvis_recorder.storage.postgres.sizes import DATABASE_BYTES
from jarvis_recorder.storage.tables import outbox

# The server looks at every file to answer.
_SIZE_SECONDS: Final = 60.0
_IS_READ_ONLY: Final = text(
    "SELECT pg_is_in_recovery() OR current_setting('default_transaction_read_only')::boolean"
)


class HealthProbe:
    """A probe of the server, on a connection of its own pool; nothing is written."""

    def __init__(self, engine: AsyncEngine, server: str) -> None:
        self._engine = engine
        self._server = server
        self._bytes = 0
        self._measured_at: float | None = None

    async def look(self) -> StorageHealth:
        """
        Return the state of the database.

        Raises:
            StorageUnavailable: The server cannot be reached, or takes no writes.
        """
        with errors.translated_errors(self._server):
            async with self._engine.connect() as connection:
                if (await connection.execute(_IS_READ_ONLY)).scalar_one():
                    raise StorageUnavailable(f"{self._server}: it is read-only: a standby?")
                waiting = (
                    await connection.execute(select(func.count()).select_from(outbox))
                ).scalar_one()
                now = time.monotonic()
                if self._measured_at is None or now - self._measured_at > _SIZE_SECONDS:
                    self._bytes = int((await connection.execute(DATABASE_BYTES)).scalar_one())
                    self._measured_at = now
        return StorageHealth(waiting, self._bytes, None, None)
