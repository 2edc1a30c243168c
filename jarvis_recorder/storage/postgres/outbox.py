"""The outbox, published by one recorder at a time, in the order of the commits."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Final

from sqlalchemy import delete
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from jarvis_recorder.ports import PendingNotification
from jarvis_recorder.runtime.process import set_within
from jarvis_recorder.storage.pending import few_pending, oldest_pending
from jarvis_recorder.storage.postgres import errors
from jarvis_recorder.storage.postgres.locks import TRY, Lock
from jarvis_recorder.storage.tables import outbox

# Another recorder may have left some.
_LOOK_SECONDS: Final = 5.0


class PostgresOutbox:
    """
    The implementation of `ports.Outbox`.

    A round is a transaction that holds the outbox's lock from `waiting` to `announced`. Changes are
    committed one after the other, so their notifications are numbered in that order.
    """

    def __init__(self, engine: AsyncEngine, server: str, changed: asyncio.Event) -> None:
        self._engine = engine
        self._server = server
        self._changed = changed
        self._round: AsyncConnection | None = None

    async def wait(self) -> None:
        """Return once something was changed, or after a while; see `ports.Outbox`."""
        await self._end_round()
        await set_within(self._changed, _LOOK_SECONDS)
        self._changed.clear()

    async def waiting(self, limit: int) -> Sequence[PendingNotification]:
        """Return the oldest notifications; none while another recorder publishes them."""
        await self._end_round()
        with errors.translated_errors(self._server):
            connection = self._round = await self._engine.connect()
            # Not SKIP LOCKED: two recorders would publish alternate parts, in no order.
            is_mine = (await connection.execute(TRY, {"key": Lock.OUTBOX})).scalar_one()
            rows = (await connection.execute(oldest_pending(limit))).all() if is_mine else ()
        if not rows:
            await self._end_round()
        return few_pending(rows)

    async def announced(self, notifications: Sequence[PendingNotification]) -> None:
        """Remove these notifications and no others, and end the round."""
        connection, self._round = self._round, None
        forget = delete(outbox).where(outbox.c.id.in_([one.id for one in notifications]))
        if connection is None:
            return
        try:
            with errors.translated_errors(self._server):
                await connection.execute(forget)
                await connection.commit()
        finally:
            await _closed(connection)

    async def release(self) -> None:
        """End the round, if there is one; see `ports.Outbox`."""
        await self._end_round()

    async def _end_round(self) -> None:
        connection, self._round = self._round, None
        if connection is not None:
            await _closed(connection)


async def _closed(connection: AsyncConnection) -> None:
    # Rolled back where it was not committed; a lost connection is lost either way.
    with contextlib.suppress(SQLAlchemyError, OSError):
        await asyncio.shield(connection.close())
