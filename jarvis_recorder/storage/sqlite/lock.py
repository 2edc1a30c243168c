"""The lock that lets one process at a time use the database file."""

import contextlib
import errno
import fcntl
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TextIO

from jarvis_recorder.errors import AnotherRecorder
from jarvis_recorder.runtime.ownership import acting_for, is_anothers, resolved
from jarvis_recorder.storage.revisions import load_migrations
from jarvis_recorder.storage.sqlite.errors import readable_errors
from jarvis_recorder.storage.sqlite.files import require_no_orphan

_NO_SUCH_LOCK: Final = frozenset((errno.EBADF, errno.ENOLCK, errno.ENOTSUP))


def create_file(path: Path) -> Path:
    """
    Create the file, empty, if it does not exist; it and its directory are for the owner only.

    Return its resolved path: a file with two names would have two locks and two logs.

    Raises:
        StorageMoved: The file is missing, but its write-ahead log is there.
    """
    with acting_for(path):
        path = resolved(path)
        require_no_orphan(path)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    return path


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """
    Lock the database file for this process; the lock ends with the process, however it ends.

    Inside, root acts for the owner of its directory; see `ownership`. Enter this before the
    file is opened, and leave it after the file is closed.

    Raises:
        AnotherRecorder: Another process holds it; the message says which.
    """
    if is_anothers(path):
        # The file's owner may not be able to read where root has the program.
        load_migrations()
    lock = path.with_name(f"{path.name}.lock")
    with acting_for(path), contextlib.ExitStack() as held:
        with readable_errors(lock):
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        file = held.enter_context(os.fdopen(descriptor, "r+"))
        _hold(file.fileno(), path, file)
        # The lock file can be removed and created again; so the database itself is locked, too.
        with readable_errors(path), contextlib.suppress(FileNotFoundError):
            database = os.open(path, os.O_RDONLY)
            held.callback(os.close, database)
            _hold(database, path, file)
        # For people only: on a full disk there may be no room for it.
        with contextlib.suppress(OSError):
            _sign(descriptor)
        yield


def _sign(descriptor: int) -> None:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps({"pid": os.getpid(), "since": since}).encode(), 0)


def _hold(descriptor: int, path: Path, holder: TextIO) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise AnotherRecorder(
            f"{path} is held by another recorder ({holder_in(holder.read())}); stop that one first"
        ) from None
    except OSError as error:
        # NFS locks only files open for writing, and such a lock would exclude SQLite's own.
        if error.errno not in _NO_SUCH_LOCK:
            raise


def holder_in(text: str) -> str:
    """Return the process that a lock file names, in words."""
    try:
        holder = json.loads(text)
        return f"process {holder['pid']} since {holder['since']}"
    except (ValueError, KeyError, TypeError):
        return "unknown process"


def holder_pid(text: str) -> int:
    """Return the id of the process that a lock file names, 0 if it names none."""
    try:
        return int(json.loads(text)["pid"])
    except (ValueError, KeyError, TypeError):
        return 0
