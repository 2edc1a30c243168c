"""Backups: copies that get a backup's name only once they are verified."""

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from jarvis_recorder.errors import ConfigurationError, NoCopy, StorageDamaged
from jarvis_recorder.runtime.ownership import acting_for, resolved
from jarvis_recorder.storage.sqlite import copy, damage, files
from jarvis_recorder.storage.sqlite.admin import integrity
from jarvis_recorder.storage.sqlite.files import Report

USUAL_DIRECTORY: Final = Path("/var/backups/jarvis-recorder")
"""The directory of the service's backup unit."""
FUTURE_SECONDS: Final = 300
"""The lead over the clock from which a time is one that a clock ahead has given."""
_UNFINISHED: Final = ".recorder-"
_NAME_FORMAT: Final = f"recorder-{files.TIMESTAMP_FORMAT}.db"
_NAME: Final = re.compile(rf"recorder-{files.TIMESTAMP.pattern}\.db")


class Backup(NamedTuple):
    """A verified backup on disk, and the older ones that were removed for it."""

    path: Path
    size_bytes: int
    rows: Mapping[str, int]
    seconds: float
    removed: Sequence[Path]
    quarantine: Path | None = None
    """The damaged database that waits for an operator; until then no backup is removed."""


def backup(path: Path, directory: Path, keep: int | None, report: Report) -> Backup:
    """
    Back a database up into a directory, which is created if it does not exist.

    It holds everything committed before the call; see `copy.copy` for the effect on a running
    recorder. It gets its name only once it is verified, and only then are the oldest ones
    beyond `keep` removed. On an error there is no new backup, and the old ones are unchanged.
    None is removed while a damaged database is in quarantine: they have its history, the new one
    has none of it.

    Raises:
        NoRoom: It does not fit.
        NoCopy: Another backup is being made there, or the copy failed its verification.
        ConfigurationError: The directory cannot be written.
        StorageUnavailable, StorageDamaged: The database cannot be read.
    """
    files.require_file(path)
    with acting_for(path):
        live = path.stat()
        quarantine = damage.quarantined(resolved(path))
    with _directory_errors(directory), acting_for(directory):
        directory.mkdir(mode=0o700, exist_ok=True)
        with _alone(directory):
            made = _backup(path, directory, report)
            if keep is not None and quarantine is None:
                made = made._replace(removed=_remove_oldest(directory, made.path, live, keep))
    _remember(path, directory)
    return made._replace(quarantine=quarantine)


def _backup(path: Path, directory: Path, report: Report) -> Backup:
    began = time.monotonic()
    name = _name(datetime.now(UTC))
    unfinished = directory / f".{name}.unfinished"
    _discard_unfinished(directory)
    copy.copy(path, unfinished, report)
    try:
        integrity.require_sound(unfinished, integrity.COPIED, report)
        rows = integrity.counts(unfinished)
        finished = unfinished.rename(directory / name)
    except StorageDamaged as error:
        copy.discard(unfinished)
        raise NoCopy(
            f"the copy is not sound, and is no backup: {error}: "
            "check the database with `jarvis-recorder db verify`"
        ) from error
    except BaseException:
        copy.discard(unfinished)
        raise
    files.sync(directory)
    return Backup(finished, files.size(finished), rows, time.monotonic() - began, [])


def _remember(path: Path, directory: Path) -> None:
    """Note the backup directory in a file next to the database; a failure to do so is ignored."""
    with contextlib.suppress(OSError, ConfigurationError), acting_for(path):
        # Bytes, as the file system has them: a name need not be text in any encoding.
        files.write_whole(_note(path), os.fsencode(directory))


def _noted(path: Path) -> Path:
    """
    Return the backup directory from the note.

    Raises:
        OSError: There is no note, or it cannot be read.
        ConfigurationError: It names no directory.
    """
    directory = os.fsdecode(_note(path).read_bytes())
    if not directory or "\0" in directory:
        raise ConfigurationError(f"{_note(path)}: names no directory; the next backup writes it")
    return Path(directory)


def _note(path: Path) -> Path:
    return files.sibling(path, ".backups")


def newest_backup(path: Path) -> Path | None:
    """
    Return the newest backup in the noted directory, or else the usual one; None for none.

    Raises:
        OSError, ConfigurationError: The directory cannot be read.
    """
    directory = USUAL_DIRECTORY
    with contextlib.suppress(FileNotFoundError), acting_for(path):
        directory = _noted(path)
    try:
        with acting_for(directory):
            return next(iter(backups(directory)), None)
    except FileNotFoundError:
        return None


def _name(at: datetime) -> str:
    return at.strftime(_NAME_FORMAT)


def made_at(backup: Path) -> datetime:
    """Return the time in a backup's name, at which it was begun."""
    return datetime.strptime(backup.name, _NAME_FORMAT).replace(tzinfo=UTC)


def backups(directory: Path) -> list[Path]:
    """
    Return the backups in a directory, newest first; files of other names are ignored.

    Those that a clock ahead has dated come last: each that the right one dates is newer.
    """
    end = _name(datetime.now(UTC) + timedelta(seconds=FUTURE_SECONDS))
    found = [
        path
        for path in directory.iterdir()
        if _NAME.fullmatch(path.name) and path.is_file() and not path.is_symlink()
    ]
    return sorted(found, key=lambda path: (path.name <= end, path.name), reverse=True)


def _remove_oldest(directory: Path, finished: Path, live: os.stat_result, keep: int) -> list[Path]:
    """Remove all but the `keep` newest; the one just made stays even if the clock is wrong."""
    others = [
        path
        for path in backups(directory)
        if path != finished and not os.path.samestat(path.stat(), live)
    ]
    removed = others[keep - 1 :]
    for path in removed:
        path.unlink()
    if removed:
        files.sync(directory)
    return removed


def _discard_unfinished(directory: Path) -> None:
    """Remove the files of a killed backup; the caller holds the directory's lock."""
    for path in directory.glob(f"{_UNFINISHED}*.unfinished"):
        copy.discard(path)


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise NoCopy(f"{directory}: another backup is being made here: wait for it") from None
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _directory_errors(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigurationError(
            f"{directory}: {error.strerror}: name a directory that can be written"
        ) from error
