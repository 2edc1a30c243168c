"""
The conditions whose opening nobody was told of, as they were silenced.

Of those that are silenced during the upgrade none is known, and none is announced later.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "incident_conditions",
        sa.Column("untold", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    op.create_index(
        "ix_incident_conditions_untold", "incident_conditions", ["id"],
        sqlite_where=sa.text("untold = 1"), postgresql_where=sa.text("untold"),
    )  # fmt: skip
