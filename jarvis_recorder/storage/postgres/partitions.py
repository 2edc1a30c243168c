"""
The events in partitions, one for each month, made ahead of time.

Events of no such month are in the DEFAULT partition. Names of partitions are spelt by the server.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, Self

import structlog
from sqlalchemy import Connection, exists, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from jarvis_recorder.errors import ConfigurationError
from jarvis_recorder.storage.postgres.insertion import advanced
from jarvis_recorder.storage.postgres.locks import Lock, take
from jarvis_recorder.storage.tables import events

log = structlog.get_logger(__name__)

_LIKE: Final = "INCLUDING ALL EXCLUDING INDEXES"
_DIVIDE: Final = (
    "ALTER TABLE events RENAME TO events_plain",
    f"CREATE TABLE events (LIKE events_plain {_LIKE}) PARTITION BY RANGE (timestamp)",
    "ALTER SEQUENCE events_id_seq OWNED BY events.id",
    "DROP TABLE events_plain",
    # A unique index of a partitioned table has to hold what divides it.
    "ALTER TABLE events ADD PRIMARY KEY (id, timestamp)",
    "CREATE TABLE events_other PARTITION OF events DEFAULT",
)
_KEY: Final = text("SELECT pg_get_partkeydef(CAST('events' AS regclass))")
_INDEXES: Final = text(
    "SELECT pg_get_indexdef(indexrelid) FROM pg_index"
    " WHERE indrelid = CAST('events' AS regclass) AND NOT indisprimary"
)
_PARTITIONS: Final = text(r"""
    SELECT c.oid::regclass::text AS name, c.relkind = 'r' AS is_leaf, b.spelt = 'DEFAULT' AS is_rest,
        greatest(substring(b.spelt FROM 'FROM \(''([^'']+)''')::timestamptz, '0001-01-01Z') AS begin,
        least(substring(b.spelt FROM 'TO \(''([^'']+)''')::timestamptz, '9999-12-31Z') AS ends
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    CROSS JOIN LATERAL (SELECT pg_get_expr(c.relpartbound, c.oid) AS spelt) b
    WHERE i.inhparent = CAST('events' AS regclass) ORDER BY begin
""")
# All who record or ask wait for as long as a lock of the whole table is waited for. It is given
# up before the server looks for deadlocks, so that none of them fails.
BRIEFLY: Final = text(
    "SELECT set_config('lock_timeout', '500ms', true), set_config('statement_timeout', '5s', true)"
)
_MOST_MOVED: Final = 1_000


class Month(NamedTuple):
    """A calendar month in UTC, up to and without its end."""

    begin: datetime
    end: datetime

    @classmethod
    def of(cls, moment: datetime) -> Self:
        """Return the month of a time, which is before December 9999."""
        begin = moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        return cls(begin, (begin + timedelta(days=31)).replace(day=1))

    @property
    def name(self) -> str:
        return f"events_{self.begin.year:04}_{self.begin.month:02}"


def partitions(connection: Connection) -> Sequence[Any]:
    """Return `name`, `is_leaf`, `is_rest`, `begin` and `ends` of each partition by time."""
    return connection.execute(_PARTITIONS).all() if is_divided(connection) else []


def is_divided(connection: Connection) -> bool:
    """Return whether the table of events is partitioned by time."""
    key = connection.execute(_KEY).scalar()
    return key is not None and key.replace('"', "") == "RANGE (timestamp)"


def divide(connection: Connection, server: str) -> None:
    """
    Partition the table of events by month; if it is partitioned, in whatever way, it stays so.

    Raises:
        ConfigurationError: It has rows.
    """
    if connection.execute(_KEY).scalar() is not None:
        return
    connection.exec_driver_sql("LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
    if connection.execute(select(exists().where(events.c.id.is_not(None)))).scalar_one():
        raise ConfigurationError(
            f"{server}: the table of events has rows, and only an empty one becomes partitioned: "
            "create a new database for it, bring the rows there as docs/grow.md says, or set "
            "store.partitions to off"
        )
    indexes = connection.execute(_INDEXES).scalars().all()
    for statement in (*_DIVIDE, *indexes):
        connection.exec_driver_sql(statement)
    make_ahead(connection)
    log.info("events_partitioned", server=server, by="month")


def make_ahead(connection: Connection) -> list[str]:
    """
    Make the partitions of this month and the next, by the server's clock, where they are missing.

    Return the names of those that cannot be made: their events are in the DEFAULT partition.
    """
    if not is_divided(connection):
        return []
    connection.execute(BRIEFLY)
    # Of a partitioned table the primary key does not refuse an id that another month has.
    connection.execute(text(advanced(events.name)))
    this = Month.of(connection.execute(text("SELECT now()")).scalar_one())
    parts = partitions(connection)
    missing = [month for month in (this, Month.of(this.end)) if not _is_made(parts, month)]
    return [month.name for month in missing if not make(connection, month)]


async def make_months(engine: AsyncEngine, moments: Iterable[datetime]) -> None:
    """Make the partitions of the months of these times, each before December 9999, if it can be."""
    async with engine.connect() as connection:
        if not await connection.run_sync(is_divided):
            return
    for moment in moments:
        async with engine.begin() as connection:
            await connection.run_sync(make, Month.of(moment))


def make(connection: Connection, month: Month) -> bool:
    """
    Make the partition of a month, unless there is one of that time.

    A few events of it that came early are moved there. Return False if there are more: they stay
    in the DEFAULT partition, and so do those to come.
    """
    take(connection, Lock.RETENTION)
    parts = partitions(connection)
    if _is_made(parts, month):
        return True
    rest = next((part.name for part in parts if part.is_rest), None)
    if rest is not None and _count(connection, rest, month) > _MOST_MOVED:
        return False
    connection.exec_driver_sql(f"CREATE TABLE {month.name} (LIKE events {_LIKE})")
    if rest is not None:
        connection.exec_driver_sql(f"LOCK TABLE {rest} IN ACCESS EXCLUSIVE MODE")
        connection.exec_driver_sql(
            f"WITH early AS (DELETE FROM {rest} WHERE timestamp >= %s AND timestamp < %s RETURNING *)"
            f" INSERT INTO {month.name} SELECT * FROM early",
            month,
        )
    # Unlike CREATE TABLE … PARTITION OF it leaves the other partitions to those who record.
    connection.exec_driver_sql(
        f"ALTER TABLE events ATTACH PARTITION {month.name}"
        f" FOR VALUES FROM ('{month.begin.isoformat()}') TO ('{month.end.isoformat()}')"
    )
    return True


def _is_made(parts: Sequence[Any], month: Month) -> bool:
    """Return whether there is a partition of the month, or of a part of it."""
    return any(
        part.begin < month.end and part.ends > month.begin for part in parts if not part.is_rest
    )


def _count(connection: Connection, rest: str, month: Month) -> int:
    found = connection.exec_driver_sql(
        f"SELECT count(*) FROM (SELECT FROM {rest} WHERE timestamp >= %s AND timestamp < %s"
        f" LIMIT {_MOST_MOVED + 1}) early",
        month,
    )
    return int(found.scalar_one())
