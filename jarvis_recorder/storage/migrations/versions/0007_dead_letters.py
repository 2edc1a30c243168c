"""
An index of the dead letters.

Those that wait in their queue already are indexed by the next look through it, as by
`jarvis-recorder dead list`.
"""

import sqlalchemy as sa
from alembic import op

from jarvis_recorder.storage.tables import Instant, RowId, Word

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "dead_letters",
        sa.Column("id", RowId, primary_key=True),
        sa.Column("letter", Word, nullable=False),
        sa.Column("copies", sa.BigInteger(), nullable=False),
        sa.Column("reason", Word, nullable=False),
        sa.Column("error", Word, nullable=False),
        sa.Column("fault", Word, nullable=False),
        sa.Column("queue", Word, nullable=False),
        sa.Column("exchange", Word, nullable=False),
        sa.Column("routing_key", Word, nullable=False),
        sa.Column("received_at", Instant()),
        sa.Column("message_id", Word),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("replays", sa.BigInteger(), nullable=False),
        sa.Column("timestamp", Instant(), nullable=False),
        sa.Column("indexed_at", Instant(), nullable=False),
    )
    op.create_index("uq_dead_letters_letter", "dead_letters", ["letter"], unique=True)
    op.create_index("ix_dead_letters_timestamp", "dead_letters", ["timestamp"])
