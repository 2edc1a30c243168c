"""The tables, for SQLite and PostgreSQL alike; the migrations build exactly these."""

import zlib
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    false,
    text,
)
from sqlalchemy.types import TypeDecorator, TypeEngine, UserDefinedType

from jarvis_recorder.wire.measures import MEASURES
from jarvis_recorder.wire.times import EARLIEST, LATEST, to_datetime, to_micros

# SQLite uses only an INTEGER primary key as its row id.
RowId: Final = BigInteger().with_variant(Integer, "sqlite")


class _Native(UserDefinedType[str]):
    """A type of PostgreSQL whose values are sent and read as their text."""

    cache_ok = True

    def __init__(self, name: str) -> None:
        self.name = name

    def get_col_spec(self, **_: Any) -> str:
        return self.name


# In the order of code points, as SQLite compares: cursors and ranges rely on it.
Word: Final = Text().with_variant(Text(collation="C"), "postgresql")
# `json` keeps a text as it was sent; `jsonb` would order its keys and round its numbers.
JsonText: Final = Text().with_variant(_Native("JSON"), "postgresql")
# As text in SQLite, so that a decimal is stored exactly as it was sent.
Decimals: Final = Text().with_variant(_Native("NUMERIC"), "postgresql")


class Instant(TypeDecorator[datetime]):
    """
    An aware time: microseconds since the epoch in SQLite, `timestamptz` in PostgreSQL.

    Integers insert 11 to 19 % faster than text and take 12 to 22 % less room.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "sqlite":
            return dialect.type_descriptor(Integer())
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: datetime | int | None, dialect: Dialect) -> Any:
        """Bind a time, or microseconds, which in SQLite may lie beyond a datetime's years."""
        if dialect.name == "sqlite":
            return to_micros(value) if isinstance(value, datetime) else value
        if isinstance(value, int):
            return to_datetime(min(max(value, EARLIEST), LATEST))
        return value

    def process_result_value(self, value: int | datetime | None, _: Dialect) -> datetime | None:
        return to_datetime(value) if isinstance(value, int) else value


class CompressedText(TypeDecorator[str]):
    """Text stored as a zlib stream (RFC 1950): snapshots are highly repetitive."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> bytes | None:
        return None if value is None else compress(value.encode())

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> str | None:
        return None if value is None else decompress(value)


def compress(content: bytes) -> bytes:
    return zlib.compress(content, level=6)


def decompress(content: bytes) -> str:
    return zlib.decompress(content).decode()


metadata: Final = MetaData()

events: Final = Table(
    "events",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("message_id", Word),
    Column("timestamp", Instant, nullable=False),
    Column("stamped", Boolean, nullable=False),
    Column("type", Word, nullable=False),
    Column("severity", Word, nullable=False),
    Column("source", Word, nullable=False),
    Column("node", Word),
    Column("summary", Word, nullable=False),
    Column("details", JsonText),
    Column("resolved", Boolean, nullable=False, server_default=false()),
    Column("resolved_at", Instant),
    Column("resolved_by", Word),
    Column("extra", JsonText),
    Column("recorded_at", Instant, nullable=False),
    Column("cluster", Word),
    Index("ix_events_node_timestamp", "node", "timestamp"),
    Index("ix_events_type_timestamp", "type", "timestamp"),
)

conversations: Final = Table(
    "conversations",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("message_id", Word),
    Column("session_id", Word, nullable=False),
    Column("timestamp", Instant, nullable=False),
    Column("stamped", Boolean, nullable=False),
    Column("role", Word, nullable=False),
    Column("content", Word, nullable=False),
    Column("model", Word),
    Column("tokens_used", BigInteger),
    Column("input_tokens", BigInteger),
    Column("output_tokens", BigInteger),
    Column("cost_usd", Decimals),
    Column("tool_calls", JsonText),
    Column("extra", JsonText),
    Column("recorded_at", Instant, nullable=False),
    Index("ix_conversations_session_timestamp", "session_id", "timestamp"),
)

cluster_snapshots: Final = Table(
    "cluster_snapshots",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("message_id", Word),
    Column("cluster", Word, nullable=False),
    Column("timestamp", Instant, nullable=False),
    Column("stamped", Boolean, nullable=False),
    Column("snapshot", CompressedText, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("extra", JsonText),
    Column("recorded_at", Instant, nullable=False),
    Index("ix_cluster_snapshots_cluster_timestamp", "cluster", "timestamp"),
)

preferences: Final = Table(
    "preferences",
    metadata,
    Column("key", Word, primary_key=True),
    Column("value", Word, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("updated_by", Word),
    Column("version", BigInteger, nullable=False),
)

# Notifications not yet published, each written in the transaction of the change it reports.
outbox: Final = Table(
    "outbox",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("routing_key", Word, nullable=False),
    Column("message_id", Word, nullable=False),
    Column("body", Word, nullable=False),
    Column("created_at", Instant, nullable=False),
)

# The measures of snapshots in stretches of ten minutes, of which `start` is the first second; see
# `storage.series`. Clustered by its key: the stretches of an object are read one after the other.
snapshot_measures: Final = Table(
    "snapshot_measures",
    metadata,
    Column("cluster", Word, primary_key=True),
    Column("kind", Word, primary_key=True),
    Column("name", Word, primary_key=True),
    Column("start", BigInteger, primary_key=True, autoincrement=False),
    *(
        Column(f"{measure}_{part}", BigInteger if part == "count" else Double,
               nullable=part != "count")
        for measure in MEASURES
        for part in ("count", "low", "sum", "high")
    ),
    sqlite_with_rowid=False,
)  # fmt: skip

# An index of the queue of dead letters, which is the truth: nothing is lost with it.
dead_letters: Final = Table(
    "dead_letters",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("letter", Word, nullable=False),
    Column("copies", BigInteger, nullable=False),
    Column("reason", Word, nullable=False),
    Column("error", Word, nullable=False),
    Column("fault", Word, nullable=False),
    Column("queue", Word, nullable=False),
    Column("exchange", Word, nullable=False),
    Column("routing_key", Word, nullable=False),
    Column("received_at", Instant),
    Column("message_id", Word),
    Column("size_bytes", BigInteger, nullable=False),
    Column("replays", BigInteger, nullable=False),
    # Of one without a time, when it was found: the broker does not say when it dead-lettered it.
    Column("timestamp", Instant, nullable=False),
    Column("indexed_at", Instant, nullable=False),
    Index("uq_dead_letters_letter", "letter", unique=True),
    Index("ix_dead_letters_timestamp", "timestamp"),
)

# The conditions that events tell of; `stale` ones are to be folded again, `untold` ones opened while
# they were silenced. See `storage.incidents.fold`.
incident_conditions: Final = Table(
    "incident_conditions",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("key", Word, nullable=False),
    Column("kind", Word, nullable=False),
    Column("node", Word),
    Column("object", Word),
    Column("cluster", Word),
    Column("guessed", Boolean, nullable=False),
    Column("evidence", Word),
    Column("shown_as", Word),
    Column("covers", Boolean, nullable=False),
    Column("stale", Boolean, nullable=False, server_default=false()),
    Column("untold", Boolean, nullable=False, server_default=false()),
    Index("uq_incident_conditions_key", "key", unique=True),
    Index(
        "ix_incident_conditions_covers",
        "node",
        sqlite_where=text("covers"),
    ),
    Index(
        "ix_incident_conditions_stale",
        "id",
        sqlite_where=text("stale"),
    ),
    Index(
        "ix_incident_conditions_untold",
        "id",
        # As SQLAlchemy writes it: SQLite would not use the index for another spelling.
        sqlite_where=text("untold = 1"),
    ),
)

# Signals derived from events and snapshots. They outlive their events: `event_id` is NULL once the
# event is pruned. `condition_id` 0: the incident has expired, the unresolved alert has not.
# `problem_at`: the time of the resolved event's problem; NULL in rows written before revision 0009,
# whose `timestamp` is that time.
incident_signals: Final = Table(
    "incident_signals",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("condition_id", BigInteger, nullable=False),
    Column("timestamp", Instant, nullable=False),
    Column("effect", BigInteger, nullable=False),
    Column("severity", Word, nullable=False),
    Column("by", Word),
    Column("event_id", BigInteger),
    Column("problem_at", Instant),
    Index("ix_incident_signals_condition_timestamp", "condition_id", "timestamp"),
    Index("uq_incident_signals_event", "event_id", "effect", unique=True),
)

# What people did about the conditions; by key, as those are made again when the rules change.
incident_actions: Final = Table(
    "incident_actions",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("key", Word, nullable=False),
    Column("timestamp", Instant, nullable=False),
    Column("effect", BigInteger, nullable=False),
    Column("by", Word),
    Column("note", Word),
    Index("ix_incident_actions_key", "key"),
)

# The fold of the signals and actions of each condition.
incidents: Final = Table(
    "incidents",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("condition_id", BigInteger, nullable=False),
    Column("first_at", Instant, nullable=False),
    Column("last_at", Instant, nullable=False),
    Column("heard_at", Instant, nullable=False),
    Column("heard_effect", BigInteger, nullable=False),
    Column("problems", BigInteger, nullable=False),
    Column("severity", Word, nullable=False),
    Column("openings", Word, nullable=False),
    Column("flapping", Boolean, nullable=False),
    Column("recovered_at", Instant),
    Column("resolved_at", Instant),
    Column("resolved_by", Word),
    Column("acknowledged_at", Instant),
    Column("acknowledged_by", Word),
    Column("note", Word),
    Column("evidence_at", Instant),
    Column("state", Word, nullable=False),
    Index("uq_incidents_condition_first", "condition_id", "first_at", unique=True),
    Index("ix_incidents_last", "last_at"),
    Index(
        "ix_incidents_active",
        "last_at",
        sqlite_where=text("state IN ('open', 'acknowledged', 'unknown')"),
    ),
)

# Incidents that no one is notified of, for a time.
silences: Final = Table(
    "silences",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("key", Word),
    Column("node", Word),
    Column("kind", Word),
    Column("cluster", Word),
    Column("since", Instant, nullable=False),
    Column("until", Instant, nullable=False),
    Column("reason", Word),
    Column("by", Word),
    Index("ix_silences_until", "until"),
)

# One row: the event up to which signals are read, the one up to which no one is notified of them, and
# the version of the rules.
incident_progress: Final = Table(
    "incident_progress",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("reached", BigInteger, nullable=False),
    Column("told_after", BigInteger, nullable=False),
    Column("rules", Word, nullable=False),
)

for _table in (events, conversations, cluster_snapshots):
    # Time leads: with a unique index on random ids alone inserts run at a quarter of the rate,
    # since each touches another page. A redelivered message carries the same time.
    Index(
        f"uq_{_table.name}_timestamp_message_id",
        _table.c.timestamp,
        _table.c.message_id,
        unique=True,
    )
    # If the body names no time, a second attempt may carry another one: the id alone decides.
    # In PostgreSQL the table `stamped_identities` does this; see `storage.postgres.insertion`.
    Index(
        f"uq_{_table.name}_stamped_message_id",
        _table.c.message_id,
        unique=True,
        sqlite_where=text("stamped"),
    ).ddl_if(dialect="sqlite")

# Partial, so that events without a cluster cost nothing here.
Index(
    "ix_events_cluster_timestamp",
    events.c.cluster,
    events.c.timestamp,
    sqlite_where=text("cluster IS NOT NULL"),
)

Index(
    "ix_events_unresolved",
    events.c.type,
    events.c.timestamp,
    sqlite_where=text("type = 'alert' AND NOT resolved"),
)
