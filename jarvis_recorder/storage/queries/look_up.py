"""Statements compiled once for each database and run past SQLAlchemy's compiler."""

from typing import Any

from sqlalchemy import Connection, Executable
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql import ClauseElement


class LookUp:
    """
    A statement that finds one row by a value, run for each row of a page.

    Through SQLAlchemy it would take several times as long as SQLite's look-up. Values are those
    of the driver: no type of SQLAlchemy converts them.
    """

    def __init__(self, statement: Executable, parameter: str) -> None:
        assert isinstance(statement, ClauseElement)
        self._statement = statement
        self._parameter = parameter
        self._sqlite = str(statement.compile(dialect=sqlite.dialect(paramstyle="qmark")))
        self._other: str | None = None

    def first(self, connection: Connection, value: Any) -> Any:
        """Return the row, None if there is none."""
        if connection.dialect.name == "sqlite":
            driver: Any = connection.connection.driver_connection
            return driver.execute(self._sqlite, (value,)).fetchone()
        if self._other is None:
            self._other = str(self._statement.compile(dialect=connection.dialect))
        return connection.exec_driver_sql(self._other, {self._parameter: value}).first()
