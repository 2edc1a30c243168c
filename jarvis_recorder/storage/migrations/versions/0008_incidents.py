"""
Incidents, and what they are made of.

The recorder fills the tables from the stored events once it runs, and announces none of those.
"""

import sqlalchemy as sa
from alembic import op

from jarvis_recorder.storage.tables import Instant, RowId, Word

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "incident_conditions",
        sa.Column("id", RowId, primary_key=True),
        sa.Column("key", Word, nullable=False),
        sa.Column("kind", Word, nullable=False),
        sa.Column("node", Word),
        sa.Column("object", Word),
        sa.Column("cluster", Word),
        sa.Column("guessed", sa.Boolean(), nullable=False),
        sa.Column("evidence", Word),
        sa.Column("shown_as", Word),
        sa.Column("covers", sa.Boolean(), nullable=False),
        sa.Column("stale", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    op.create_index("uq_incident_conditions_key", "incident_conditions", ["key"], unique=True)
    op.create_index(
        "ix_incident_conditions_covers", "incident_conditions", ["node"],
        sqlite_where=sa.text("covers"), postgresql_where=sa.text("covers"),
    )  # fmt: skip
    op.create_index(
        "ix_incident_conditions_stale", "incident_conditions", ["id"],
        sqlite_where=sa.text("stale"), postgresql_where=sa.text("stale"),
    )  # fmt: skip
    op.create_table(
        "incident_signals",
        sa.Column("id", RowId, primary_key=True),
        sa.Column("condition_id", sa.BigInteger(), nullable=False),
        sa.Column("timestamp", Instant(), nullable=False),
        sa.Column("effect", sa.BigInteger(), nullable=False),
        sa.Column("severity", Word, nullable=False),
        sa.Column("by", Word),
        sa.Column("event_id", sa.BigInteger()),
    )
    op.create_index(
        "ix_incident_signals_condition_timestamp", "incident_signals", ["condition_id", "timestamp"]
    )
    op.create_index(
        "uq_incident_signals_event", "incident_signals", ["event_id", "effect"], unique=True
    )
    op.create_table(
        "incident_actions",
        sa.Column("id", RowId, primary_key=True),
        sa.Column("key", Word, nullable=False),
        sa.Column("timestamp", Instant(), nullable=False),
        sa.Column("effect", sa.BigInteger(), nullable=False),
        sa.Column("by", Word),
        sa.Column("note", Word),
    )
    op.create_index("ix_incident_actions_key", "incident_actions", ["key"])
    op.create_table(
        "incidents",
        sa.Column("id", RowId, primary_key=True),
        sa.Column("condition_id", sa.BigInteger(), nullable=False),
        sa.Column("first_at", Instant(), nullable=False),
        sa.Column("last_at", Instant(), nullable=False),
        sa.Column("heard_at", Instant(), nullable=False),
        sa.Column("heard_effect", sa.BigInteger(), nullable=False),
        sa.Column("problems", sa.BigInteger(), nullable=False),
        sa.Column("severity", Word, nullable=False),
        sa.Column("openings", Word, nullable=False),
        sa.Column("flapping", sa.Boolean(), nullable=False),
        sa.Column("recovered_at", Instant()),
        sa.Column("resolved_at", Instant()),
        sa.Column("resolved_by", Word),
        sa.Column("acknowledged_at", Instant()),
        sa.Column("acknowledged_by", Word),
        sa.Column("note", Word),
        sa.Column("evidence_at", Instant()),
        sa.Column("state", Word, nullable=False),
    )
    op.create_index(
        "uq_incidents_condition_first", "incidents", ["condition_id", "first_at"], unique=True
    )
    op.create_index("ix_incidents_last", "incidents", ["last_at"])
    op.create_index(
        "ix_incidents_active", "incidents", ["last_at"],
        sqlite_where=sa.text("state IN ('open', 'acknowledged', 'unknown')"), postgresql_where=sa.text("state IN ('open', 'acknowledged', 'unknown')"),
    )  # fmt: skip
    op.create_table(
        "silences",
        sa.Column("id", RowId, primary_key=True),
        sa.Column("key", Word),
        sa.Column("node", Word),
        sa.Column("kind", Word),
        sa.Column("cluster", Word),
        sa.Column("since", Instant(), nullable=False),
        sa.Column("until", Instant(), nullable=False),
        sa.Column("reason", Word),
        sa.Column("by", Word),
    )
    op.create_index("ix_silences_until", "silences", ["until"])
    op.create_table(
        "incident_progress",
        sa.Column("id", RowId, primary_key=True),
        sa.Column("reached", sa.BigInteger(), nullable=False),
        sa.Column("told_after", sa.BigInteger(), nullable=False),
        sa.Column("rules", Word, nullable=False),
    )
    op.execute(
        "INSERT INTO incident_progress (id, reached, told_after, rules)"
        " SELECT 1, 0, coalesce(max(id), 0), '' FROM events"
    )
