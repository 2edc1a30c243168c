"""
What SQLite does not say of a write-ahead log: that it has lost commits.

A damaged frame ends the log for SQLite, as one half written in a power cut would. What was
committed and synced behind it is gone without a word, and `integrity_check` finds nothing.
"""

import contextlib
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from jarvis_recorder.errors import StorageMoved
from jarvis_recorder.storage.sqlite import files

# https://www.sqlite.org/fileformat2.html#the_write_ahead_log
_HEADER: Final = struct.Struct(">8I")
_FRAME_HEADER: Final = struct.Struct(">6I")
_BIG_ENDIAN_MAGIC: Final = 0x377F0683
_MAGIC: Final = (0x377F0682, _BIG_ENDIAN_MAGIC)
# https://www.sqlite.org/walformat.html: how many frames count, in the machine's own order.
_ACCEPTED_FRAMES: Final = struct.Struct("=16xI")


def require_no_orphan(path: Path) -> None:
    """
    Make sure that no log lies there without its database, or next to an empty one.

    SQLite deletes such a log, even where it only reads.

    Raises:
        StorageMoved: One does.
    """
    log, _ = files.companions(path)
    # Up to its header nothing is committed.
    if not files.size(path) and files.size(log) > _HEADER.size:
        raise StorageMoved(
            f"{log} is there, and holds what was recorded last, but {path}, which it belongs to, "
            "is not: put that back next to it; or, to begin with a new database, move the log away"
        )


def lost_commits(path: Path, page_size: int, later: contextlib.ExitStack) -> int:
    """
    Return how many synced commits lie in the log behind the last frame that SQLite accepts.

    Call it while a connection to the database, and nobody else, has a transaction open: it has
    read the log to its end, and nothing is added to that. `later` is to be left only when that
    connection is closed: closing a file takes away every lock of the process on it (POSIX), and
    the index is what SQLite's readers lock.
    """
    log, index = files.companions(path)
    if files.size(log) <= _HEADER.size:
        return 0
    head = later.enter_context(index.open("rb")).read(_ACCEPTED_FRAMES.size)
    (accepted,) = _ACCEPTED_FRAMES.unpack(head)
    with log.open("rb") as file:
        commits = sum(_commits_behind(file, accepted, page_size))
    # The last may be what a power cut has left of a commit whose sync never returned. The one
    # before it had been synced, or it would not have been followed.
    return max(0, commits - 1)


def _commits_behind(file: BinaryIO, accepted: int, page_size: int) -> Iterator[bool]:
    """Yield for each frame of this log behind the accepted ones whether it is a commit."""
    header = file.read(_HEADER.size)
    # SQLite takes a log with a damaged header for an empty one; then its first frame tells
    # which frames are of one log.
    salts = _HEADER.unpack(header)[4:6] if _is_whole(header) else None
    frame_size = _FRAME_HEADER.size + page_size
    file.seek(accepted * frame_size, 1)
    while len(frame := file.read(frame_size)) == frame_size:
        _, pages_after, salt1, salt2, _, _ = _FRAME_HEADER.unpack_from(frame)
        salts = salts or (salt1, salt2)
        if (salt1, salt2) == salts:
            yield pages_after > 0


def _is_whole(header: bytes) -> bool:
    """Whether a log's header has its checksum, which is made from the 24 bytes before it."""
    magic = _HEADER.unpack(header)[0]
    order = ">" if magic == _BIG_ENDIAN_MAGIC else "<"
    words = struct.unpack(f"{order}6I", header[:24])
    first = second = 0
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return magic in _MAGIC and (first, second) == _HEADER.unpack(header)[6:8]
