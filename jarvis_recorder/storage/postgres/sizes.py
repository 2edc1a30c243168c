"""The sizes of the database and of a table, with all of its partitions where it has them."""

from typing import Final

from sqlalchemy import Connection, text

# The table itself, or its partitions; the server keeps no estimate for all of them together.
_FILES: Final = (
    "FROM pg_class WHERE relkind <> 'p' AND (oid = CAST(:name AS regclass)"
    " OR oid IN (SELECT relid FROM pg_partition_tree(CAST(:name AS regclass))))"
)
# -1 as long as the server has not looked at the table.
_ROWS: Final = text(f"SELECT CAST(sum(greatest(reltuples, 0)) AS bigint) {_FILES}")
_SIZE: Final = text(f"SELECT CAST(sum(pg_total_relation_size(oid)) AS bigint) {_FILES}")

DATABASE_BYTES: Final = text("SELECT pg_database_size(current_database())")


def estimated_rows(connection: Connection, table: str) -> int:
    """Return how many rows a table has, as the server estimates it, 0 if it does not know."""
    rows: int = connection.execute(_ROWS, {"name": table}).scalar_one()
    return rows


def size_bytes(connection: Connection, table: str) -> int:
    """Return the bytes of a table with its indexes."""
    size: int = connection.execute(_SIZE, {"name": table}).scalar_one()
    return size
