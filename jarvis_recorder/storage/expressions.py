"""SQL expressions that each database spells in its own way."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Boolean, LargeBinary
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from jarvis_recorder.storage.tables import Instant


class micros(FunctionElement[int]):  # noqa: N801 - reads as the functions of `sqlalchemy.func`
    """
    A time as an integer: microseconds since the epoch, exact in every year.

    Of a column to select, not to compare: no index of PostgreSQL has this integer. To compare, bind
    microseconds as an `Instant`.
    """

    type = BigInteger()
    inherit_cache = True
    name = "micros"


@compiles(micros)
def _stored_micros(element: micros, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.clauses, **options)


@compiles(micros, "postgresql")
def _extracted_micros(element: micros, compiler: SQLCompiler, **options: Any) -> str:
    # `extract` returns a numeric since PostgreSQL 14.
    time = compiler.process(element.clauses, **options)
    return f"CAST(extract(epoch FROM {time}) * 1000000 AS BIGINT)"


class second(FunctionElement[datetime]):  # noqa: N801
    """A number of seconds since the epoch as a stored time."""

    type = Instant()
    inherit_cache = True
    name = "second"


@compiles(second)
def _as_micros(element: second, compiler: SQLCompiler, **options: Any) -> str:
    return f"(({compiler.process(element.clauses, **options)}) * 1000000)"


@compiles(second, "postgresql")
def _as_timestamp(element: second, compiler: SQLCompiler, **options: Any) -> str:
    return f"to_timestamp({compiler.process(element.clauses, **options)})"


class octets(FunctionElement[bytes]):  # noqa: N801
    """A text or JSON column as the bytes of its UTF-8."""

    type = LargeBinary()
    inherit_cache = True
    name = "octets"


@compiles(octets)
def _cast_to_blob(element: octets, compiler: SQLCompiler, **options: Any) -> str:
    return f"CAST({compiler.process(element.clauses, **options)} AS BLOB)"


@compiles(octets, "postgresql")
def _converted_to_utf8(element: octets, compiler: SQLCompiler, **options: Any) -> str:
    # A cast to bytea would read backslashes as escapes.
    return f"convert_to(CAST({compiler.process(element.clauses, **options)} AS TEXT), 'UTF8')"


class stored_bytes(FunctionElement[int]):  # noqa: N801
    """The bytes that a text or binary column takes in the database; in PostgreSQL compressed."""

    type = BigInteger()
    inherit_cache = True
    name = "stored_bytes"


@compiles(stored_bytes)
def _length_of_blob(element: stored_bytes, compiler: SQLCompiler, **options: Any) -> str:
    # The length of a text is in characters.
    return f"coalesce(length(CAST({compiler.process(element.clauses, **options)} AS BLOB)), 0)"


@compiles(stored_bytes, "postgresql")
def _column_size(element: stored_bytes, compiler: SQLCompiler, **options: Any) -> str:
    # Any other function would read and decompress the value.
    return f"coalesce(pg_column_size({compiler.process(element.clauses, **options)}), 0)"


class has_tag(FunctionElement[bool]):  # noqa: N801
    """True if a text has a word of capitals before a colon and white space, as `NODE_DOWN: `."""

    type = Boolean()
    inherit_cache = True
    name = "has_tag"


@compiles(has_tag)
def _globbed(element: has_tag, compiler: SQLCompiler, **options: Any) -> str:
    text = compiler.process(element.clauses, **options)
    return f"({text} GLOB '*[A-Z0-9_][A-Z0-9_]:[ \t\n\v\f\r]*')"


@compiles(has_tag, "postgresql")
def _matched(element: has_tag, compiler: SQLCompiler, **options: Any) -> str:
    text = compiler.process(element.clauses, **options)
    return f"({text} ~ '[A-Z0-9_][A-Z0-9_]:[ \t\n\v\f\r]')"
