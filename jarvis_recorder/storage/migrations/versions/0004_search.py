"""
A search for every script: words are folded, and parted where a script has no spaces.

The index keeps no copy of the texts, nor looks at them. It takes what is ASCII as it is, by
triggers; of the rest the words are made by `storage.search` before they go in, and again before
they are taken out.
"""

import structlog
from alembic import op
from sqlalchemy import func, select

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
    # Of a beginning that it has no index of, FTS5 makes a list of every turn before it answers.
    """
    CREATE VIRTUAL TABLE conversations_fts USING fts5(
        content, content = '', tokenize = 'ascii', prefix = '4 6'
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
    # What was said is not changed afterwards; the index would not know.
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
_AT_ONCE = 1_000


log = structlog.get_logger(__name__)


def upgrade() -> None:
    connection = op.get_bind()
    turns = connection.execute(select(func.count()).select_from(conversations)).scalar_one()
    if turns:
        log.info("search_index_rebuilding", turns=turns)
    for statement in _STATEMENTS:
        op.execute(statement)
    others = select(conversations.c.id, conversations.c.content).where(NOT_ASCII)
    reached = connection.execute(select(func.min(conversations.c.id) - 1)).scalar_one()
    while reached is not None:
        following = others.where(conversations.c.id > reached).order_by(conversations.c.id)
        rows = connection.execute(following.limit(_AT_ONCE)).all()
        add_words(connection, ((row.id, row.content) for row in rows))
        reached = rows[-1].id if rows else None
