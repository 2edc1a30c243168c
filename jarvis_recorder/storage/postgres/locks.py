"""The advisory locks by which recorders of one database keep out of each other's way."""

from enum import IntEnum
from typing import Final

from sqlalchemy import Connection, text

_WAIT: Final = text("SELECT pg_advisory_xact_lock(:key)")
TRY: Final = text("SELECT pg_try_advisory_xact_lock(:key)")


class Lock(IntEnum):
    """
    Keys of advisory locks, all held to the end of a transaction.

    No more than economy and order rely on them: that a record is stored once does not.
    """

    MIGRATIONS = 7_230_101
    CHANGES = 7_230_102
    OUTBOX = 7_230_103
    RETENTION = 7_230_104


def take(connection: Connection, lock: Lock) -> None:
    """Wait for a lock, and hold it to the end of the transaction."""
    connection.execute(_WAIT, {"key": lock})


def may_prune(connection: Connection, *, waits: bool) -> bool:
    """Take the lock of pruning, and return True; unless it `waits`, return False if it is not free."""
    if waits:
        take(connection, Lock.RETENTION)
        return True
    return bool(connection.execute(TRY, {"key": Lock.RETENTION}).scalar_one())
