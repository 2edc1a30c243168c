"""
The time of the problem whose event somebody resolved, which is not the time of doing so.

The recorder reads the events again, and so finds it; of a pruned event there is none.
"""

import sqlalchemy as sa
from alembic import op

from jarvis_recorder.storage.tables import Instant

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("incident_signals", sa.Column("problem_at", Instant()))
