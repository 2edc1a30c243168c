"""Notifications, each written in the transaction of the change it tells of."""

import uuid

from sqlalchemy import Connection, insert

from jarvis_recorder.storage.tables import outbox
from jarvis_recorder.wire.times import to_datetime


def announce(connection: Connection, routing_key: str, body: bytes, now: int) -> None:
    """Have a notification published once the transaction is committed; `now` is in microseconds."""
    connection.execute(
        insert(outbox).values(
            routing_key=routing_key,
            message_id=uuid.uuid4().hex,
            body=body.decode(),
            created_at=to_datetime(now),
        )
    )
