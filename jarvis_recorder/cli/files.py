"""Files that the recorder installs, compared with those already installed."""

import contextlib
import errno
import os
import re
from collections.abc import Iterator, Sequence
from enum import StrEnum
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from jarvis_recorder import __version__
from jarvis_recorder.errors import ConfigurationError

_MARK: Final = re.compile(r"# Written by jarvis-recorder \S+, sha256 ([0-9a-f]{64})\n")


class InstalledFile(StrEnum):
    """The state of the file at the path of an installation."""

    ABSENT = "absent"
    SAME = "same"
    OURS = "ours"
    CHANGED = "changed"


class Installation(NamedTuple):
    """A file to be installed: its path and its text."""

    path: Path
    text: str

    @property
    def marked(self) -> str:
        """The text below a line with its hash, by which a later version detects changes."""
        return (
            f"# Written by jarvis-recorder {__version__}, sha256 {_digest(self.text)}\n{self.text}"
        )

    def state(self) -> InstalledFile:
        """
        Compare the file at the path with the text to install and with its own hash.

        Raises:
            ConfigurationError: The file cannot be read.
        """
        with readable_errors(self.path):
            try:
                found = self.path.read_text(encoding="utf-8", errors="replace")
            except FileNotFoundError:
                return InstalledFile.ABSENT
        if found == self.marked:
            return InstalledFile.SAME
        mark = _MARK.match(found)
        untouched = mark is not None and mark[1] == _digest(found[mark.end() :])
        return InstalledFile.OURS if untouched else InstalledFile.CHANGED

    def install(self) -> None:
        """Write the file in one step, readable by all; on failure the old file remains."""
        with readable_errors(self.path):
            make_open(self.path.parent)
            write_new(self.path, self.marked, 0o644)


def template(part: str, name: str) -> str:
    """Return the text of a file of `deploy/`, which is part of the installed package."""
    return resources.files("jarvis_recorder").joinpath("deploy", part, name).read_text("utf-8")


def make_open(directory: Path) -> None:
    """Make a directory that is not there, and those above it, open to all whatever the umask."""
    if not directory.exists():
        make_open(directory.parent)
        directory.mkdir()
        directory.chmod(0o755)


def write_new(path: Path, text: str, mode: int) -> None:
    """Replace or create the file in one step, with this mode from the beginning."""
    unfinished = path.with_name(f".{path.name}.new")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, mode)
        file.write(text)
    unfinished.replace(path)


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """
    Yield a file that gets its name once it is whole and on disk; after any error there is none.

    Raises:
        OSError: It cannot be written; or there is a file of that name, at the beginning or at the
            end, which stays as it is.
    """
    if path.exists() or path.is_symlink():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    unfinished = path.with_name(f".{path.name}.unfinished")
    # Left by a command that was killed.
    unfinished.unlink(missing_ok=True)
    with unfinished.open("xb") as out:
        try:
            yield out
            out.flush()
            os.fsync(out.fileno())
            if not _leads_to(unfinished, out):
                raise FileExistsError(errno.EEXIST, "another command writes it too", str(path))
            # The name is taken first: a rename alone would replace another's file.
            path.touch(exist_ok=False)
            unfinished.rename(path)
        finally:
            if _leads_to(unfinished, out):
                unfinished.unlink()
    _sync_names(path.parent)


def _leads_to(path: Path, file: BinaryIO) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    return False


def _sync_names(directory: Path) -> None:
    """Sync the names in a directory to disk; some file systems cannot, and need not."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def require_untouched(changed: Sequence[Path]) -> None:
    """
    Refuse to overwrite files that someone has changed.

    Raises:
        ConfigurationError: There is such a file; nothing was written.
    """
    if changed:
        raise ConfigurationError(
            f"changed by someone, and left alone: {', '.join(map(str, changed))}; nothing was "
            "written. Move the changes to a drop-in (systemctl edit), or replace all with --force"
        )


def require_writable(path: Path) -> None:
    """
    Check that a file can be written, before the command prompts or changes anything.

    Raises:
        ConfigurationError: It cannot.
    """
    with readable_errors(path):
        there = next(parent for parent in path.parents if parent.exists())
        if not os.access(there, os.W_OK):
            raise PermissionError(13, "Permission denied", str(there))


@contextlib.contextmanager
def readable_errors(path: Path) -> Iterator[None]:
    """Translate an error of reading or writing to one that names the file and the fix."""
    try:
        yield
    except OSError as error:
        todo = "run it as root" if isinstance(error, PermissionError) else "see to that first"
        raise ConfigurationError(f"{path}: {error.strerror}: {todo}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: not UTF-8; nothing was written") from None


def _digest(text: str) -> str:
    return sha256(text.encode("utf-8", "replace")).hexdigest()
