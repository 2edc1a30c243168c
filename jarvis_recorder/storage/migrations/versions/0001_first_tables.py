"""The first tables: events, conversations, cluster_snapshots, preferences."""

import sqlalchemy as sa
from alembic import op

from jarvis_recorder.storage.tables import (
    CompressedText,
    Decimals,
    Instant,
    JsonText,
    RowId,
    Word,
)

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_POSTGRESQL = (
    # A table that is partitioned by time can have no unique index without the time. So the first
    # message under an identity without a time of its own says when it was, for all that follow.
    """
    CREATE TABLE stamped_identities (
        kind text COLLATE "C" NOT NULL, message_id text COLLATE "C" NOT NULL,
        timestamp timestamptz NOT NULL, PRIMARY KEY (kind, message_id)
    )
    """,
    # Compressed already.
    "ALTER TABLE cluster_snapshots ALTER COLUMN snapshot SET STORAGE EXTERNAL",
)


def upgrade() -> None:
    op.create_table(
        "events",
        sa.Column("id", RowId, primary_key=True),
        sa.Column("message_id", Word),
        sa.Column("timestamp", Instant(), nullable=False),
        sa.Column("stamped", sa.Boolean(), nullable=False),
        sa.Column("type", Word, nullable=False),
        sa.Column("severity", Word, nullable=False),
        sa.Column("source", Word, nullable=False),
        sa.Column("node", Word),
        sa.Column("summary", Word, nullable=False),
        sa.Column("details", JsonText),
        sa.Column("resolved", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("resolved_at", Instant()),
        sa.Column("resolved_by", Word),
        sa.Column("extra", JsonText),
        sa.Column("recorded_at", Instant(), nullable=False),
    )
    op.create_table(
        "conversations",
        sa.Column("id", RowId, primary_key=True),
        sa.Column("message_id", Word),
        sa.Column("session_id", Word, nullable=False),
        sa.Column("timestamp", Instant(), nullable=False),
        sa.Column("stamped", sa.Boolean(), nullable=False),
        sa.Column("role", Word, nullable=False),
        sa.Column("content", Word, nullable=False),
        sa.Column("model", Word),
        sa.Column("tokens_used", sa.BigInteger()),
        sa.Column("input_tokens", sa.BigInteger()),
        sa.Column("output_tokens", sa.BigInteger()),
        sa.Column("cost_usd", Decimals),
        sa.Column("tool_calls", JsonText),
        sa.Column("extra", JsonText),
        sa.Column("recorded_at", Instant(), nullable=False),
    )
    op.create_table(
        "cluster_snapshots",
        sa.Column("id", RowId, primary_key=True),
        sa.Column("message_id", Word),
        sa.Column("cluster", Word, nullable=False),
        sa.Column("timestamp", Instant(), nullable=False),
        sa.Column("stamped", sa.Boolean(), nullable=False),
        sa.Column("snapshot", CompressedText(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("extra", JsonText),
        sa.Column("recorded_at", Instant(), nullable=False),
    )
    op.create_table(
        "preferences",
        sa.Column("key", Word, primary_key=True),
        sa.Column("value", Word, nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.Column("updated_by", Word),
        sa.Column("version", sa.BigInteger(), nullable=False),
    )
    op.create_index("ix_events_node_timestamp", "events", ["node", "timestamp"])
    op.create_index("ix_events_type_timestamp", "events", ["type", "timestamp"])
    unresolved = sa.text("type = 'alert' AND NOT resolved")
    op.create_index(
        "ix_events_unresolved",
        "events",
        ["timestamp"],
        sqlite_where=unresolved,
        postgresql_where=unresolved,
    )
    op.create_index(
        "ix_conversations_session_timestamp", "conversations", ["session_id", "timestamp"]
    )
    op.create_index(
        "ix_cluster_snapshots_cluster_timestamp", "cluster_snapshots", ["cluster", "timestamp"]
    )
    stamped = sa.text("stamped")
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    for table in ("events", "conversations", "cluster_snapshots"):
        op.create_index(
            f"uq_{table}_timestamp_message_id", table, ["timestamp", "message_id"], unique=True
        )
        if is_sqlite:
            op.create_index(
                f"uq_{table}_stamped_message_id",
                table,
                ["message_id"],
                unique=True,
                sqlite_where=stamped,
            )
    if not is_sqlite:
        for statement in _POSTGRESQL:
            op.execute(statement)
