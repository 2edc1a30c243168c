"""The outbox, and a search over the turns, both needed to handle requests."""

import sqlalchemy as sa
from alembic import op

from jarvis_recorder.storage.tables import Instant, RowId, Word

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# Full-text search without a copy of the texts (FTS5, "external content tables"). The triggers
# keep it in step inside SQLite, so that a search finds all committed turns of any writer.
_SEARCH = (
    """
    CREATE VIRTUAL TABLE conversations_fts USING fts5(
        content, content = 'conversations', content_rowid = 'id',
        tokenize = 'unicode61 remove_diacritics 2'
    )
    """,
    """
    CREATE TRIGGER conversations_fts_insert AFTER INSERT ON conversations BEGIN
        INSERT INTO conversations_fts (rowid, content) VALUES (new.id, new.content);
    END
    """,
    """
    CREATE TRIGGER conversations_fts_delete AFTER DELETE ON conversations BEGIN
        INSERT INTO conversations_fts (conversations_fts, rowid, content)
        VALUES ('delete', old.id, old.content);
    END
    """,
    """
    CREATE TRIGGER conversations_fts_update AFTER UPDATE OF content ON conversations BEGIN
        INSERT INTO conversations_fts (conversations_fts, rowid, content)
        VALUES ('delete', old.id, old.content);
        INSERT INTO conversations_fts (rowid, content) VALUES (new.id, new.content);
    END
    """,
    "INSERT INTO conversations_fts (conversations_fts) VALUES ('rebuild')",
)


def upgrade() -> None:
    op.create_table(
        "outbox",
        sa.Column("id", RowId, primary_key=True),
        sa.Column("routing_key", Word, nullable=False),
        sa.Column("message_id", Word, nullable=False),
        sa.Column("body", Word, nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
    )
    if op.get_bind().dialect.name != "sqlite":
        return
    for statement in _SEARCH:
        op.execute(statement)
