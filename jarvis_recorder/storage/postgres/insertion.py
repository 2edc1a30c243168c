"""
The statements that insert a batch, and find the rows stored under its identities.

One statement takes all rows of a kind as arrays, a column each. Their numbers are in the order of
arrival, while the rows are inserted in the order of their identities: recorders that insert the
same rows at once then wait for each other and do not end in a deadlock.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, Table, and_, literal_column, select, text

from jarvis_recorder.errors import RecordRefused
from jarvis_recorder.storage import series
from jarvis_recorder.storage.batch import Rows, compare, slices
from jarvis_recorder.storage.postgres import measures
from jarvis_recorder.storage.postgres.arrays import Array, array
from jarvis_recorder.storage.postgres.vectors import vector_of
from jarvis_recorder.storage.rows import Row, RowShape
from jarvis_recorder.storage.tables import cluster_snapshots, conversations

_KINDS: Final = {
    "timestamp": "timestamptz",
    "stamped": "bool",
    "snapshot": "bytea",
    "size_bytes": "int8",
    "tokens_used": "int8",
    "input_tokens": "int8",
    "output_tokens": "int8",
}
_CASTS: Final = {"details": "json", "extra": "json", "tool_calls": "json", "cost_usd": "numeric"}
_WORDS: Final = "words"


class Statement(NamedTuple):
    """A statement for psycopg and its parameters."""

    query: str
    parameters: list[Any]


class Insertion(NamedTuple):
    """The statements that insert the rows of one kind; the last one counts the new rows."""

    part: Rows
    statements: list[Statement]


def insertion_of(part: Rows) -> Insertion:
    """
    Return the statements for the rows of one kind.

    Raises:
        RecordRefused: A value cannot be sent.
    """
    shape, _, rows, recorded_at = part
    columns = list(zip(*rows, strict=True))
    stamped_at, identity_at = shape.columns.index("stamped"), shape.columns.index("message_id")
    is_stamped = any(row[stamped_at] and row[identity_at] for row in rows)
    try:
        parameters = [array("timestamptz", [recorded_at])]
        parameters += [
            array(_KINDS.get(name, "text"), values)
            for name, values in zip(shape.columns, columns, strict=True)
        ]
        if shape.table is conversations:
            contents = columns[shape.columns.index("content")]
            parameters.append(array("text", [vector_of(content) for content in contents]))
        if shape.table is cluster_snapshots:
            parameters += _measures(part)
    except UnicodeEncodeError as error:
        raise RecordRefused("a value cannot be bound: it is no Unicode text") from error
    statements = [Statement(_insert(shape.table, shape.columns, is_stamped), parameters)]
    if is_stamped:
        statements.insert(0, _identities(part))
    return Insertion(part, statements)


def _measures(part: Rows) -> list[Array]:
    """Return the measures of the snapshots, behind the numbers of their rows from 1 on."""
    at = [part.shape.columns.index(name) for name in series.NEEDED]
    numbers: list[int] = []
    values: list[series.Values] = []
    for number, row in enumerate(part.rows, 1):
        found = series.values_of(*(row[place] for place in at))
        numbers += [number] * len(found)
        values += found
    return [array("int8", numbers), *measures.arrays_of(values)]


def _identities(part: Rows) -> Statement:
    """Return the statement that notes when the identities without a time were first seen."""
    names = part.shape.columns
    identity_at, time_at = names.index("message_id"), names.index("timestamp")
    stamped_at = names.index("stamped")
    found: dict[str, int] = {}
    for row in part.rows:
        if row[stamped_at] and row[identity_at]:
            found.setdefault(row[identity_at], row[time_at])
    identities = sorted(found)
    return Statement(
        _NOTE,
        [
            part.shape.table.name,
            array("text", identities),
            array("timestamptz", [found[identity] for identity in identities]),
        ],
    )


_NOTE: Final = """
    INSERT INTO stamped_identities (kind, message_id, timestamp)
    SELECT %s::text, r.m, r.t FROM unnest(%b::text[], %b::timestamptz[]) AS r (m, t)
    ORDER BY r.m ON CONFLICT DO NOTHING
"""


@cache
def _insert(table: Table, columns: tuple[str, ...], is_stamped: bool) -> str:
    names = [*columns, _WORDS] if table is conversations else [*columns]
    selected = [_selected(name, is_stamped=is_stamped) for name in names]
    marks = [f"%b::{_KINDS.get(name, 'text')}[]" for name in names]
    join = (
        f" LEFT JOIN stamped_identities s ON r.stamped AND s.kind = '{table.name}'"
        " AND s.message_id = r.message_id"
        if is_stamped
        else ""
    )
    if table is cluster_snapshots:
        selected.append("r.n")
    # Names of tables and columns are this program's own.
    given = (
        f"SELECT nextval('{table.name}_id_seq') AS id, y.* FROM ("
        f"SELECT (%b::timestamptz[])[1] AS recorded_at, {', '.join(selected)} FROM unnest({', '.join(marks)})"
        f" WITH ORDINALITY AS r ({', '.join(names)}, n){join} ORDER BY r.n) y"
    )
    target = f"INSERT INTO {table.name} (id, recorded_at, {', '.join(names)})"
    # Of this index alone: a row whose id is taken is not stored yet, and fails.
    order = "ORDER BY message_id, timestamp, id ON CONFLICT (timestamp, message_id) DO NOTHING"
    if table is not cluster_snapshots:
        return f"{target} SELECT * FROM ({given}) x {order}"
    # Only the snapshots that are new add their measures, in the same statement.
    return (
        f"WITH x AS MATERIALIZED ({given}),"
        f" new AS ({target} SELECT id, recorded_at, {', '.join(names)} FROM x {order} RETURNING id),"
        f" r AS (SELECT m.* FROM unnest(%b::int8[], {measures.MARKS})"
        f" AS m (of_row, {measures.NAMES}) JOIN x ON x.n = m.of_row JOIN new ON new.id = x.id),"
        f" added AS ({series.POSTGRES_ADD}) SELECT id FROM new"
    )


def advanced(table: str, highest: str = "") -> str:
    """
    Return the statement that numbers new rows from beyond `highest`, and never from before.

    Without an expression that is the highest id there is.
    """
    sequence = f"{table}_id_seq"
    least = highest or f"(SELECT max(id) FROM {table})"
    return f"SELECT setval('{sequence}', {least}) FROM {sequence} WHERE last_value < {least}"


def _selected(name: str, *, is_stamped: bool) -> str:
    if name == "timestamp" and is_stamped:
        # Who noted an identity first says when it was, for this and every other recorder.
        return "coalesce(s.timestamp, r.timestamp) AS timestamp"
    if name == _WORDS:
        return f"r.{name}::tsvector AS {name}"
    return f"r.{name}::{_CASTS[name]} AS {name}" if name in _CASTS else f"r.{name}"


def looked_up(shape: RowShape, rows: Sequence[Row]) -> Statement:
    """Return the statement that finds the rows stored under the identities of others."""
    identity_at, time_at = shape.columns.index("message_id"), shape.columns.index("timestamp")
    stamped_at = shape.columns.index("stamped")
    keys = list({(row[time_at], row[identity_at]): None for row in rows if row[identity_at]})
    stamped = list({row[identity_at]: None for row in rows if row[stamped_at] and row[identity_at]})
    return Statement(
        _look_up(shape.table, shape.columns),
        [
            array("timestamptz", [time for time, _ in keys]),
            array("text", [identity for _, identity in keys]),
            array("text", stamped),
        ],
    )


@cache
def _look_up(table: Table, columns: tuple[str, ...]) -> str:
    # The limit keeps the planner to the index, whatever it knows of the table.
    def read(*, by_identity: bool) -> str:
        return ", ".join(_as_inserted(name, by_identity=by_identity) for name in columns)

    return (
        "SELECT f.* FROM unnest(%b::timestamptz[], %b::text[]) AS k (t, m) CROSS JOIN LATERAL ("
        f"SELECT {read(by_identity=False)} FROM {table.name} e"
        " WHERE e.timestamp = k.t AND e.message_id = k.m LIMIT 1) f"
        " UNION ALL SELECT f.* FROM unnest(%b::text[]) AS k (m) CROSS JOIN LATERAL ("
        f"SELECT {read(by_identity=True)} FROM stamped_identities s JOIN {table.name} e"
        " ON e.timestamp = s.timestamp AND e.message_id = s.message_id"
        f" WHERE s.kind = '{table.name}' AND s.message_id = k.m LIMIT 1) f"
    )


def _as_inserted(name: str, *, by_identity: bool) -> str:
    """Return the expression of a column's value as a row of a batch has it."""
    if _KINDS.get(name) == "timestamptz":
        return f"(extract(epoch FROM e.{name}) * 1000000)::int8"
    if name == "stamped" and by_identity:
        # It may be the dated row that took the place of the identity: see `stamped_identities`.
        return "true"
    return f"e.{name}::text" if name in _CASTS else f"e.{name}"


def insert_all(connection: Connection, parts: Sequence[Rows]) -> tuple[int, list[int]]:
    """Insert inside a transaction; return how many rows were new, and where collisions are."""
    stored = 0
    collisions: list[int] = []
    for part in parts:
        *_, inserted = [_execute(connection, one) for one in insertion_of(part).statements]
        stored += inserted.rowcount
        if inserted.rowcount < len(part.rows):
            for asked in slices(part.rows):
                rows = [part.rows[at] for at in asked]
                found = _execute(connection, looked_up(part.shape, rows))
                taken = compare(part.shape, part.rows, asked, found).taken
                collisions += (part.positions[at] for at in taken)
    return stored, collisions


def _execute(connection: Connection, statement: Statement) -> Any:
    return connection.exec_driver_sql(statement.query, tuple(statement.parameters))


def newest_id(connection: Connection, table: Table) -> int:
    """Return the id of the row that this session inserted last."""
    query = text("SELECT currval(:sequence)")
    found: int = connection.execute(query, {"sequence": f"{table.name}_id_seq"}).scalar_one()
    return found


def is_stamped_as(table: Table, identity: str) -> ColumnElement[bool]:
    """Return the condition for the row that is stored under an identity without a time."""
    noted: Select[Any] = (
        select(literal_column("timestamp"))
        .select_from(text("stamped_identities"))
        .where(
            text("kind = :kind AND message_id = :identity").bindparams(
                kind=table.name, identity=identity
            )
        )
    )
    return and_(table.c.message_id == identity, table.c.timestamp == noted.scalar_subquery())
