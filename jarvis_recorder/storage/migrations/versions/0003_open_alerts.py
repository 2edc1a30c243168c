"""
An index of open alerts that SQLite prefers: it begins with the type, as that of all events does.

Without it the planner read every alert ever recorded to find those that are open.
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_INDEX = "ix_events_unresolved"
_OPEN = "type = 'alert' AND NOT resolved"


def upgrade() -> None:
    op.execute(f"DROP INDEX {_INDEX}")
    op.execute(f"CREATE INDEX {_INDEX} ON events (type, timestamp) WHERE {_OPEN}")
