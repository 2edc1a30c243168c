"""The translation of psycopg's errors into the recorder's own."""

import contextlib
import re
from collections.abc import Iterator
from typing import Final

import psycopg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from jarvis_recorder.errors import (
    ConfigurationError,
    RecorderError,
    RecordRefused,
    StorageDamaged,
    StorageUnavailable,
)

AT_ONCE: Final = frozenset(("40001", "40P01"))
"""Serialization failure and deadlock: the same transaction again, at once."""
CANCELED: Final = "57014"
TAKEN: Final = "23505"
"""A unique key is taken."""
# Classes of https://www.postgresql.org/docs/current/errcodes-appendix.html: data exception,
# integrity constraint violation, program limit exceeded.
_REFUSED: Final = ("22", "23", "54")
_CHECK_VIOLATION: Final = "23514"
_DAMAGED: Final = frozenset(("XX001", "XX002"))
# Invalid authorization, no such database, no right to it.
_NOT_ALLOWED: Final = ("28", "3D", "42501")

# Syntax errors, which quote a part of what was sent.
_REPEATS_VALUES: Final = ("22", "23", "42601", "54")
_LONGEST: Final = 300
_NOT_ALLOWED_WORDS: Final = (
    "authentication failed",
    "no password supplied",
    "is not permitted to log in",
    "does not exist",
    "permission denied for database",
    "no pg_hba.conf entry",
    "pg_hba.conf rejects",
    "SSL was required",
    "certificate verify failed",
)
# As psycopg says it where it has tried several addresses, of one host or of several.
_SEVERAL: Final = "Multiple connection attempts failed"
_ATTEMPT: Final = re.compile(r"^- (host: .*, port: .*), hostaddr: (?:'.*?'|None): ", re.MULTILINE)


@contextlib.contextmanager
def translated_errors(server: str) -> Iterator[None]:
    """Raise the recorder's error for one of the driver; `server` names it without a password."""
    try:
        yield
    except DBAPIError as error:
        original = error.orig
        assert isinstance(original, psycopg.Error)
        raise translate(original, server) from error
    except psycopg.Error as error:
        raise translate(error, server) from error
    except PoolTimeout:
        raise StorageUnavailable(f"{server}: all connections are in use") from None
    except UnicodeEncodeError as error:
        raise RecordRefused("a value cannot be bound: it is no Unicode text") from error
    except OSError as error:
        raise StorageUnavailable(f"{server}: {error.strerror or type(error).__name__}") from error


def translate(error: psycopg.Error, server: str) -> RecorderError:
    """Return the recorder's error; a lost connection is always a reason to try again."""
    state = error.sqlstate or ""
    if _lacks_partition(error):
        return StorageUnavailable(f"{server}: {error.diag.message_primary}")
    if state.startswith(_REFUSED) or (not state and isinstance(error, psycopg.DataError)):
        # Not the message: it repeats the value.
        return RecordRefused(f"{server}: {type(error).__name__} {state}".rstrip())
    what = f"{server}: {_first_line(error)}"
    if state in _DAMAGED:
        return StorageDamaged(f"{what}: see the log of PostgreSQL, and restore a backup of it")
    return StorageUnavailable(what)


def _lacks_partition(error: psycopg.Error) -> bool:
    # A value that a constraint refuses comes with its name.
    return error.sqlstate == _CHECK_VIOLATION and error.diag.constraint_name is None


@contextlib.contextmanager
def refusals_are_settings(server: str, hosts: int) -> Iterator[None]:
    """
    Raise as `translated_errors`, but ConfigurationError where no later try will be allowed.

    So it is where each of its hosts refuses the user or the database, or the user has no right to
    do it.
    """
    try:
        with translated_errors(server):
            yield
    except StorageUnavailable as error:
        cause = _driver_error(error)
        if cause is not None and is_not_allowed(cause, hosts):
            raise not_allowed(cause, server) from None
        raise


def is_not_allowed(error: psycopg.Error, hosts: int) -> bool:
    """Return whether each of so many hosts refuses the user or the database of the URL."""
    if error.sqlstate is not None:
        return error.sqlstate.startswith(_NOT_ALLOWED)
    # libpq gives no SQLSTATE while connecting. A server that speaks another language than
    # English counts as unavailable, with its own words.
    refusing = {
        host
        for host, said in _attempts(error)
        if any(words in said for words in _NOT_ALLOWED_WORDS)
    }
    # One that is away, or whose name is not found, may be the one that takes this user.
    return len(refusing) >= hosts


def _attempts(error: psycopg.Error) -> list[tuple[str, str]]:
    """Return the host and the error of each attempt to connect; a host may have several addresses."""
    _, several, found = str(error).partition(_SEVERAL)
    if not several:
        return [("", str(error))]
    _, *parts = _ATTEMPT.split(found)
    return [*zip(parts[::2], parts[1::2], strict=True)] or [("", found)]


def not_allowed(error: psycopg.Error, server: str) -> ConfigurationError:
    return ConfigurationError(f"{server}: {_first_line(error)}: see store.url")


def _first_line(error: psycopg.Error) -> str:
    if (error.sqlstate or "").startswith(_REPEATS_VALUES):
        return f"{type(error).__name__} {error.sqlstate}"
    if error.diag.message_primary:
        return _first_line_of(error.diag.message_primary)
    said = {_first_line_of(said): None for _, said in _attempts(error)}
    return "; ".join(said) or type(error).__name__


def _first_line_of(said: str) -> str:
    return said.strip().partition("\n")[0][:_LONGEST]


def state_of(error: BaseException) -> str | None:
    """Return the SQLSTATE of the driver's error behind one of the recorder's."""
    cause = _driver_error(error)
    return None if cause is None else cause.sqlstate


def _driver_error(error: BaseException) -> psycopg.Error | None:
    cause = error.__cause__
    if isinstance(cause, DBAPIError):
        cause = cause.orig
    return cause if isinstance(cause, psycopg.Error) else None


def is_at_once(error: BaseException) -> bool:
    """Return whether the same transaction is worth another try at once."""
    if state_of(error) in AT_ONCE:
        return True
    # A pooled connection that a restarted server has closed. Nothing was committed on it.
    cause = error.__cause__
    return isinstance(cause, DBAPIError) and cause.connection_invalidated
