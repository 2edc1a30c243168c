"""The advisory locks by which recorders of one database keep out of each other's way."""

from enum import IntEnum


class Lock(IntEnum):
    """
    Keys of advisory locks, all held to the end of a transaction.

    No more than economy and order rely on them: that a record is stored once does not.
    """

    MIGRATIONS = 7_230_101
    CHANGES = 7_230_102
    OUTBOX = 7_230_103
    RETENTION = 7_230_104
