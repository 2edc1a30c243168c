"""Commits that wait for the synchronous standbys of a server, if it has any."""

import contextlib
from collections.abc import Iterator
from typing import Any, Final

import psycopg
from psycopg.errors import Diagnostic

# "canceling wait for synchronous replication": COMMIT succeeds with this warning.
_NOT_REPLICATED: Final = "01000"

AWAIT_STANDBYS: Final = """
    SELECT CASE WHEN current_setting('synchronous_standby_names') <> ''
    THEN pg_logical_emit_message(true, 'jarvis-recorder', '') END
"""
"""
Write something of no consequence: its COMMIT returns when the standbys have all that came before.

A transaction that writes nothing waits for none. But after a crash of the primary, and after a
cancelled wait, rows can be read that no standby has yet.
"""


class CommitDoubt:
    """A listener to a connection's notices: `reason` is set once a standby may lack one of its commits."""

    def __init__(self) -> None:
        self.reason: str | None = None

    def note(self, notice: Diagnostic) -> None:
        """Take a notice of the server."""
        if notice.sqlstate == _NOT_REPLICATED and notice.severity_nonlocalized == "WARNING":
            self.reason = notice.message_primary or "a commit was not replicated"


@contextlib.contextmanager
def noted_commits(connection: psycopg.AsyncConnection[Any]) -> Iterator[CommitDoubt]:
    """Listen to the notices of a connection inside the block."""
    doubt = CommitDoubt()
    connection.add_notice_handler(doubt.note)
    try:
        yield doubt
    finally:
        connection.remove_notice_handler(doubt.note)
