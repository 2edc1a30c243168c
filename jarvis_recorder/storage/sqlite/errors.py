"""The translation of driver errors into the recorder's own."""

import contextlib
import errno
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sqlalchemy.exc import DBAPIError

from jarvis_recorder.errors import (
    ConfigurationError,
    RecorderError,
    RecordRefused,
    StorageDamaged,
    StorageUnavailable,
    StorageUncertain,
)

# Only another setting or another right fixes these.
_LASTING: Final = frozenset(
    (
        *(errno.EACCES, errno.EPERM, errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR),
        *(errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL),
    )
)
_IOERR_SYNCS: Final = frozenset((sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC))
_DAMAGED: Final = frozenset((sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB))
_REFUSED: Final = frozenset(
    (
        sqlite3.SQLITE_CONSTRAINT,
        sqlite3.SQLITE_MISMATCH,
        sqlite3.SQLITE_TOOBIG,
        sqlite3.SQLITE_RANGE,
    )
)


@contextlib.contextmanager
def translated_errors(path: Path) -> Iterator[None]:
    """Raise the recorder's error for a driver error; see `jarvis_recorder.errors`."""
    try:
        yield
    except DBAPIError as error:
        raise _translate(error.orig, path) from error
    except sqlite3.Error as error:
        raise _translate(error, path) from error
    except UnicodeEncodeError as error:
        raise RecordRefused("a value cannot be bound: it is no Unicode text") from error
    except OverflowError as error:
        # A date out of range raises an OverflowError, too, but not for SQLite.
        if "SQLite" not in str(error):
            raise
        raise RecordRefused("a value cannot be bound: it is an integer beyond 64 bits") from error


@contextlib.contextmanager
def readable_errors(path: Path) -> Iterator[None]:
    """
    Turn an `OSError` into an error that names the file.

    Raises:
        ConfigurationError: The file or its directory cannot be used as the settings name it.
        StorageUnavailable: The disk is full, read-only or away, which may be over at another try.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _LASTING:
            raise StorageUnavailable(
                f"{path}: {error.strerror}: see its disk: findmnt -T {path.parent}"
            ) from error
        raise ConfigurationError(
            f"{path}: {error.strerror}: set store.url to a file in a directory that you own"
        ) from error


def damaged(path: Path, what: str) -> StorageDamaged:
    """Return the error for a corrupt file, with the ways to fix it."""
    return StorageDamaged(
        f"{path}: {what}: stop the recorder and put a backup in its place with "
        "`jarvis-recorder db restore`, or set store.on_corruption=quarantine to begin a new one"
    )


def _translate(error: BaseException | None, path: Path) -> RecorderError:
    code = getattr(error, "sqlite_errorcode", None)
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    what = f"{path}: {name}: {error}"
    if code is None:
        # No SQLite error code: the driver could not bind a value.
        bound = isinstance(error, sqlite3.InterfaceError | sqlite3.DataError)
        return RecordRefused(what) if bound else StorageUnavailable(what)
    primary = code & 0xFF
    if code in _IOERR_SYNCS:
        return StorageUncertain(f"{what}: whether the last commit is on disk is unknown")
    if primary in _DAMAGED:
        return damaged(path, f"{name}: {error}")
    if primary in _REFUSED:
        return RecordRefused(what)
    return StorageUnavailable(what)
