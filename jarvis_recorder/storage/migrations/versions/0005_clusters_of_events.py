"""
The cluster of an event, in a column of its own.

A publisher's own `cluster` field was kept in `extra` before, and is moved: queries find it in
the column, and a redelivered message is recognized as the same.
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_NAMED = """
    UPDATE events SET
        cluster = json_extract(extra, '$.cluster'),
        extra = nullif(json_remove(extra, '$.cluster'), '{}')
    WHERE extra LIKE '%"cluster"%'
        AND json_type(extra, '$.cluster') = 'text'
        AND length(json_extract(extra, '$.cluster')) BETWEEN 1 AND 255
"""


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("ALTER TABLE events ADD COLUMN cluster TEXT")
        op.execute(_NAMED)
    else:
        # No recorder has written to PostgreSQL before this revision.
        op.execute('ALTER TABLE events ADD COLUMN cluster text COLLATE "C"')
    op.execute(
        "CREATE INDEX ix_events_cluster_timestamp ON events (cluster, timestamp) "
        "WHERE cluster IS NOT NULL"
    )
