"""
The detection of lost commits in a write-ahead log, which SQLite does not report.

SQLite ends the log at a damaged frame, as at one half written in a power cut. Synced commits
behind it are lost silently, and `integrity_check` finds nothing.
"""

import contextlib
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from jarvis_recorder.storage.sqlite import files

# https://www.sqlite.org/fileformat2.html#the_write_ahead_log
_HEADER: Final = struct.Struct(">8I")
_FRAME_HEADER: Final = struct.Struct(">6I")
_BIG_ENDIAN_MAGIC: Final = 0x377F0683
_MAGIC: Final = (0x377F0682, _BIG_ENDIAN_MAGIC)
# https://www.sqlite.org/walformat.html: the number of valid frames, in native byte order.
_ACCEPTED_FRAMES: Final = struct.Struct("=16xI")


def lost_commits(path: Path, page_size: int, later: contextlib.ExitStack) -> int:
    """
    Return how many synced commits the log holds behind the last frame that SQLite accepts.

    The caller has the only open transaction on the database, so that the log is read to its end
    and does not grow. It leaves `later` only after that connection is closed: closing a file
    drops every lock that the process has on it (POSIX), and SQLite's readers lock the index.
    """
    log, index = files.companions(path)
    if files.size(log) <= _HEADER.size:
        return 0
    head = later.enter_context(index.open("rb")).read(_ACCEPTED_FRAMES.size)
    (accepted,) = _ACCEPTED_FRAMES.unpack(head)
    with log.open("rb") as file:
        commits = sum(_commits_behind(file, accepted, page_size))
    # The last may belong to a commit whose sync a power cut interrupted. All before it were
    # synced, as a commit begins only after the previous sync.
    return max(0, commits - 1)


def _commits_behind(file: BinaryIO, accepted: int, page_size: int) -> Iterator[bool]:
    """Yield for each frame of this log behind the accepted ones True if it is a commit."""
    header = file.read(_HEADER.size)
    # SQLite takes a log with a damaged header for an empty one; then the salts of its first
    # frame identify the frames of this log.
    salts = _HEADER.unpack(header)[4:6] if _is_whole(header) else None
    frame_size = _FRAME_HEADER.size + page_size
    file.seek(accepted * frame_size, 1)
    while len(frame := file.read(frame_size)) == frame_size:
        _, pages_after, salt1, salt2, _, _ = _FRAME_HEADER.unpack_from(frame)
        salts = salts or (salt1, salt2)
        if (salt1, salt2) == salts:
            yield pages_after > 0


def _is_whole(header: bytes) -> bool:
    """Return whether a header's checksum matches the 24 bytes before it."""
    magic = _HEADER.unpack(header)[0]
    order = ">" if magic == _BIG_ENDIAN_MAGIC else "<"
    words = struct.unpack(f"{order}6I", header[:24])
    first = second = 0
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return magic in _MAGIC and (first, second) == _HEADER.unpack(header)[6:8]
