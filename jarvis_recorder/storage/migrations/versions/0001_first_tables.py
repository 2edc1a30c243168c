"""The first tables: events, conversations, cluster_snapshots, preferences."""

import sqlalchemy as sa
from alembic import op

from jarvis_recorder.storage.tables import CompressedText, Instant, RowId

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "events",
        sa.Column("id", RowId, primary_key=True),
        sa.Column("message_id", sa.Text()),
        sa.Column("timestamp", Instant(), nullable=False),
        sa.Column("stamped", sa.Boolean(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("node", sa.Text()),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("details", sa.Text()),
        sa.Column("resolved", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("resolved_at", Instant()),
        sa.Column("resolved_by", sa.Text()),
        sa.Column("extra", sa.Text()),
        sa.Column("recorded_at", Instant(), nullable=False),
    )
    op.create_table(
        "conversations",
        sa.Column("id", RowId, primary_key=True),
        sa.Column("message_id", sa.Text()),
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("timestamp", Instant(), nullable=False),
        sa.Column("stamped", sa.Boolean(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("model", sa.Text()),
        sa.Column("tokens_used", sa.BigInteger()),
        sa.Column("input_tokens", sa.BigInteger()),
        sa.Column("output_tokens", sa.BigInteger()),
        sa.Column("cost_usd", sa.Text()),
        sa.Column("tool_calls", sa.Text()),
        sa.Column("extra", sa.Text()),
        sa.Column("recorded_at", Instant(), nullable=False),
    )
    op.create_table(
        "cluster_snapshots",
        sa.Column("id", RowId, primary_key=True),
        sa.Column("message_id", sa.Text()),
        sa.Column("cluster", sa.Text(), nullable=False),
        sa.Column("timestamp", Instant(), nullable=False),
        sa.Column("stamped", sa.Boolean(), nullable=False),
        sa.Column("snapshot", CompressedText(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("extra", sa.Text()),
        sa.Column("recorded_at", Instant(), nullable=False),
    )
    op.create_table(
        "preferences",
        sa.Column("key", sa.Text(), primary_key=True),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.Column("updated_by", sa.Text()),
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
    for table in ("events", "conversations", "cluster_snapshots"):
        op.create_index(
            f"uq_{table}_timestamp_message_id", table, ["timestamp", "message_id"], unique=True
        )
        op.create_index(
            f"uq_{table}_stamped_message_id",
            table,
            ["message_id"],
            unique=True,
            sqlite_where=stamped,
            postgresql_where=stamped,
        )
