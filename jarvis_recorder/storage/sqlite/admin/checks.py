"""Checks of a database file, also while a recorder holds it; nothing is changed."""

import contextlib
import ctypes
import fcntl
import shutil
import sqlite3
import tempfile
import time
from itertools import pairwise
from pathlib import Path, PurePath
from shlex import join as quoted
from typing import Final

from sqlalchemy import func, select

from jarvis_recorder.errors import (
    AnotherRecorder,
    ConfigurationError,
    RecorderError,
    StorageDamaged,
    StorageUnavailable,
)
from jarvis_recorder.retention_policy import Bounds
from jarvis_recorder.runtime.ownership import as_owner
from jarvis_recorder.storage import revisions
from jarvis_recorder.storage.sqlite import connections, damage, errors, files, upgrade
from jarvis_recorder.storage.sqlite.admin.backup import FUTURE_SECONDS, made_at, newest_backup
from jarvis_recorder.storage.sqlite.lock import holder_in, holder_pid
from jarvis_recorder.storage.sqlite.maintenance import require_disk
from jarvis_recorder.storage.tables import cluster_snapshots, conversations, events
from jarvis_recorder.telemetry.check import LEAST_FREE_BYTES, Finding, green, red, yellow

_WRONG: Final = ConfigurationError.exit_code
_AWAY: Final = StorageUnavailable.exit_code
_HELD: Final = AnotherRecorder.exit_code
# As a script, and as a module of Python's.
_PROGRAMS: Final = frozenset(("jarvis-recorder", "jarvis_recorder"))
_FEW_FREE_BYTES: Final = 1024 * 1024 * 1024
_MIB: Final = 1024 * 1024
# adjtimex(2): its result for a clock that is not synchronised, and the size of its struct.
_NOT_SYNCHRONISED: Final = 5
_TIMEX_BYTES: Final = 256
_OLD_BACKUP_SECONDS: Final = 2 * 86_400


def check(path: Path, bounds: Bounds, *, recorder_is_at_work: bool | None) -> list[Finding]:
    """
    Return all findings about a database file, its bounds and its machine.

    With `recorder_is_at_work`, one consumes from the broker, and a lock is taken to be its own;
    None says that this could not be seen.
    """
    found = [_directory(path.parent), _room(path.parent, bounds), _library()]
    try:
        with errors.readable_errors(path):
            return [
                *found,
                *_file(path),
                _lock(path, recorder_is_at_work=recorder_is_at_work),
                _clock(path),
                _backups(path),
                _copies(path),
            ]
    except (ConfigurationError, StorageUnavailable) as error:
        remedy = "run it as root, or as the user that the recorder runs as"
        if isinstance(error, StorageUnavailable):
            remedy = f"findmnt -T {path.parent}; df -h {path.parent}"
        return [*found, red("database", str(error), remedy, error.exit_code)]


@as_owner
def _directory(directory: Path) -> Finding:
    name = "directory"
    there = _nearest(directory)
    try:
        # Tried out: mode bits mislead on a read-only file system, and for root.
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        remedy = f"see its owner and its file system: ls -ld {there}; findmnt -T {there}"
        exit_code = _WRONG if isinstance(error, PermissionError) else _AWAY
        return red(name, f"{there}: {error.strerror}", remedy, exit_code)
    if there != directory:
        return green(name, f"{directory} is made when the recorder starts")
    return green(name, f"{directory} can be written to")


def _nearest(directory: Path) -> Path:
    """Return the directory, or the nearest above it that is there and may be looked at."""
    for there in (directory, *directory.parents):
        with contextlib.suppress(PermissionError):
            if there.exists():
                return there
    return Path(directory.anchor)


def _room(directory: Path, bounds: Bounds) -> Finding:
    directory = _nearest(directory)
    try:
        require_disk(directory, bounds)
    except ConfigurationError as error:
        return red("room", str(error), f"df -h {directory}", error.exit_code)
    free = shutil.disk_usage(directory).free
    remedy = "df -h " + str(directory) + "; `jarvis-recorder db prune` takes out what is old"
    if free < LEAST_FREE_BYTES:
        return red("room", f"only {free / _MIB:.1f} MiB free", remedy, _AWAY)
    if free < _FEW_FREE_BYTES:
        return yellow("room", f"{free // _MIB:,} MiB free", remedy)
    return green("room", f"{free // _MIB:,} MiB free")


def _library() -> Finding:
    version = sqlite3.sqlite_version
    if sqlite3.sqlite_version_info < connections.FIRST_SAFE_VERSION:
        return yellow(
            "SQLite",
            f"{version}: let no other program write to the file, which could damage it",
            "a Python with SQLite 3.51.3 or newer has no such fault",
        )
    return green("SQLite", version)


def _file(path: Path) -> list[Finding]:
    """Return the findings about the schema and about damage."""
    try:
        files.require_no_orphan(path)
    except StorageUnavailable as error:
        return [red("database", str(error), f"ls -l {path.parent}", error.exit_code)]
    if not path.exists():
        return [green("schema", f"{path} is made when the recorder starts")]
    found = []
    try:
        with connections.reading(path) as connection:
            revision = revisions.current_revision(connection)
        found.append(_revision(path, revision))
        damage.look(path)
    except StorageDamaged as error:
        remedy = "jarvis-recorder db verify; jarvis-recorder db restore FILE"
        return [*found, red("database", str(error), remedy, error.exit_code)]
    except RecorderError as error:
        return [*found, red("schema", str(error), "see store.url", error.exit_code)]
    waiting = damage.quarantined(path)
    if waiting is not None:
        text = f"a damaged one lies in {waiting}"
        return [*found, yellow("database", text, "jarvis-recorder db acknowledge")]
    return [*found, green("database", f"{path} is sound as far as a short look shows")]


def _revision(path: Path, revision: str | None) -> Finding:
    if revisions.age_of(revision) is revisions.SchemaAge.OLDER:
        size = files.size(path) * 2 // _MIB
        text = f"revision {revision}: the next start brings it to {revisions.HEAD}"
        return yellow("schema", text, f"have {size:,} MiB free for the copy it makes before")
    return green("schema", f"revision {revision or 'none yet'}")


@as_owner
def _lock(path: Path, *, recorder_is_at_work: bool | None) -> Finding:
    lock = path.with_name(f"{path.name}.lock")
    if not lock.exists():
        return green("lock", "free")
    text = ""
    try:
        with lock.open() as file:
            text = file.read()
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _held(text, recorder_is_at_work=recorder_is_at_work)
    except OSError as error:
        return red("lock", f"{lock}: {error.strerror}", f"ls -l {lock}", _WRONG)
    return green("lock", "free")


def _held(text: str, *, recorder_is_at_work: bool | None) -> Finding:
    """Return the finding about a lock that is held, by what is written in it."""
    held = f"held by {holder_in(text)}"
    if recorder_is_at_work:
        return green("lock", f"{held}, a recorder at work")
    if recorder_is_at_work is None:
        what = f"{held}; whether it records cannot be seen without the broker"
        return yellow("lock", what, "see to the broker first")
    if _is_recorder(holder_pid(text)):
        what = f"{held}, a recorder that takes from no queue now"
        return yellow("lock", what, "see its log: it starts, or waits for its database")
    return red(
        "lock",
        f"{held}, and no recorder is at work on the broker",
        "see what it is, and end it: ps -fp PID",
        _HELD,
    )


def _is_recorder(pid: int) -> bool:
    """Return whether a process is a `jarvis-recorder run`, as far as can be seen."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
    except OSError:
        return False
    return any(
        PurePath(program).name in _PROGRAMS and command == "run"
        for program, command in pairwise(words)
    )


def _clock(path: Path) -> Finding:
    if (ahead := _newest(path) - time.time()) > FUTURE_SECONDS:
        text = f"the newest record lies {_span(ahead)} in the future"
        return yellow("clock", text, "timedatectl, here and where the events come from")
    if not _is_synchronised():
        text = "the kernel does not take its clock for synchronised"
        return yellow("clock", text, "timedatectl set-ntp true; in a container, on the host")
    return green("clock", "synchronised")


def _backups(path: Path) -> Finding:
    name = "backups"
    if not path.exists():
        return green(name, "there is nothing to back up yet")
    remedy = "jarvis-recorder db backup --to DIRECTORY, each day; see docs/operate.md"
    try:
        newest = newest_backup(path)
    except (OSError, ConfigurationError) as error:
        return yellow(name, f"cannot be looked at: {error}", remedy)
    if newest is None:
        return yellow(name, "there is none that is known of", remedy)
    age = time.time() - made_at(newest).timestamp()
    if age < -FUTURE_SECONDS:
        return yellow(name, f"the only ones are dated up to {_span(-age)} ahead: {newest}", remedy)
    if age > _OLD_BACKUP_SECONDS:
        return yellow(name, f"the newest is {_span(age)} old: {newest}", remedy)
    return green(name, f"verified {_span(max(age, 0))} ago: {newest}")


@as_owner
def _copies(path: Path) -> Finding:
    """Check for whole databases that were left next to this one, which nothing removes."""
    name = "copies"
    marks = tuple(path.name + mark for mark in (upgrade.COPY, files.REPLACED, damage.QUARANTINE))
    found: list[Path] = []
    with contextlib.suppress(OSError):
        found = sorted(one for one in path.parent.iterdir() if one.name.startswith(marks))
    if not found:
        return green(name, "no earlier database lies next to this one")
    size = sum(map(files.size, (each for one in found for each in (one, *one.rglob("*")))))
    text = f"earlier databases take {size / _MIB:,.1f} MiB, which store.keep_free counts as used"
    remedy = f"once you need none of them: rm -r {quoted(map(str, found))}"
    return yellow(name, text, remedy)


def _span(seconds: float) -> str:
    """Return a duration in the unit that people would use for it."""
    for size, unit in ((365 * 86_400, "years"), (86_400, "days"), (3_600, "hours")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    if seconds < 120:
        return f"{seconds:,.0f} seconds"
    return f"{seconds / 60:,.0f} minutes"


def _newest(path: Path) -> float:
    """Return the time of the newest record in seconds since the epoch, 0 for none."""
    if not path.exists():
        return 0.0
    try:
        with connections.reading(path) as connection:
            newest = [
                connection.execute(select(func.max(table.c.timestamp))).scalar_one()
                for table in (events, conversations, cluster_snapshots)
            ]
    except RecorderError:
        return 0.0
    return max((moment.timestamp() for moment in newest if moment), default=0.0)


def _is_synchronised() -> bool:
    try:
        state: int = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError):
        return True
    return state != _NOT_SYNCHRONISED
