"""The measures of snapshots in stretches of time, filled from the snapshots that are stored."""

import sqlalchemy as sa
from alembic import op

from jarvis_recorder.storage.series import add_to_file, fill
from jarvis_recorder.storage.tables import Word

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_MEASURES = ("cpu", "mem", "maxmem", "disk", "maxdisk", "used", "total", "online")


def upgrade() -> None:
    columns = []
    for measure in _MEASURES:
        columns.append(sa.Column(f"{measure}_count", sa.BigInteger, nullable=False))
        columns += (sa.Column(f"{measure}_{part}", sa.Double) for part in ("low", "sum", "high"))
    op.create_table(
        "snapshot_measures",
        *(sa.Column(name, Word, primary_key=True) for name in ("cluster", "kind", "name")),
        sa.Column("start", sa.BigInteger, primary_key=True, autoincrement=False),
        *columns,
        sqlite_with_rowid=False,
    )
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        fill(connection, add_to_file)
    else:
        # Imported here, since a recorder on a file may be installed without the driver.
        from jarvis_recorder.storage.postgres.measures import add_to_server

        fill(connection, add_to_server)
