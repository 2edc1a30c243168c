"""
A search for every script: words are folded, and split where a script has no spaces.

The index keeps no copy of the texts and does not read them. Triggers index ASCII as it is; the
words of other texts are made by `storage.sqlite.search`, both to insert and to delete them.
"""

import structlog
from alembic import op
from sqlalchemy import Connection, func, select, text

from jarvis_recorder.storage.queries.words import folding_in_sql
from jarvis_recorder.storage.sqlite.search import NOT_ASCII, add_words
from jarvis_recorder.storage.tables import conversations

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_STATEMENTS = (
    "DROP TRIGGER conversations_fts_insert",
    "DROP TRIGGER conversations_fts_delete",
    "DROP TRIGGER conversations_fts_update",
    "DROP TABLE conversations_fts",
    # For a prefix without a prefix index, FTS5 collects all matching turns before the first row.
    # Others are spelt out by the search; each further index would cost a fifth more per turn.
    """
    CREATE VIRTUAL TABLE conversations_fts USING fts5(
        content, content = '', tokenize = 'ascii', prefix = '4'
    )
    """,
    """
    CREATE TRIGGER conversations_fts_insert AFTER INSERT ON conversations
    WHEN length(new.content) = length(CAST(new.content AS BLOB)) BEGIN
        INSERT INTO conversations_fts (rowid, content) VALUES (new.id, new.content);
    END
    """,
    """
    CREATE TRIGGER conversations_fts_delete AFTER DELETE ON conversations
    WHEN length(old.content) = length(CAST(old.content AS BLOB)) BEGIN
        INSERT INTO conversations_fts (conversations_fts, rowid, content)
        VALUES ('delete', old.id, old.content);
    END
    """,
    # The content of a turn never changes; the index would not be updated.
    """
    CREATE TRIGGER conversations_content BEFORE UPDATE OF content ON conversations BEGIN
        SELECT RAISE(ABORT, 'the content of a turn cannot be changed');
    END
    """,
    """
    INSERT INTO conversations_fts (rowid, content)
    SELECT id, content FROM conversations
    WHERE length(content) = length(CAST(content AS BLOB)) ORDER BY id
    """,
)

_POSTGRESQL = (
    # The words are made by `storage.postgres.search`, so that both databases find the same.
    "ALTER TABLE conversations ADD COLUMN words tsvector",
    # The last known good time, which SQLite has in the file's header; one row at most.
    "CREATE TABLE known_time (moment timestamptz NOT NULL)",
    "CREATE INDEX ix_conversations_words ON conversations USING gin (words)",
)


log = structlog.get_logger(__name__)


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name != "sqlite":
        _upgrade_postgresql(connection)
        return
    turns = connection.execute(select(func.count()).select_from(conversations)).scalar_one()
    if turns:
        log.info("search_index_rebuilding", turns=turns)
    for statement in _STATEMENTS:
        op.execute(statement)
    others = select(conversations.c.id, conversations.c.content).where(NOT_ASCII)
    # One by one: each may have megabytes.
    rows = connection.execute(others.order_by(conversations.c.id))
    add_words(connection, ((row.id, row.content) for row in rows))


def _upgrade_postgresql(connection: Connection) -> None:
    for statement in _POSTGRESQL:
        op.execute(statement)
    # The default collation is "C" in many a container, which knows no letters but ASCII's.
    known = set(connection.execute(text("SELECT collname FROM pg_collation")).scalars())
    collation = next((one for one in ("und-x-icu", "pg_c_utf8") if one in known), "default")
    folded = folding_in_sql("$1", collation)
    connection.exec_driver_sql(
        "CREATE FUNCTION folds_to_hold(text, text) RETURNS boolean LANGUAGE sql IMMUTABLE "
        f"PARALLEL SAFE AS $sql$ SELECT strpos({folded}, $2) > 0 $sql$"
    )
