"""Small file systems, to fill up."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def mounted(disk: Path, mebibytes: int) -> Iterator[Path]:
    """Mount an empty file system of this size. Mounting needs root, in CI as in a container."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    disk.mkdir(mode=0o700)
    options = f"size={mebibytes}m,mode=700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def fill_up(disk: Path, *, but: int = 0) -> Path:
    """Leave only so many bytes free; return the file that takes the rest."""
    ballast = disk / "ballast"
    free = os.statvfs(disk)
    ballast.write_bytes(b"x" * (free.f_bavail * free.f_frsize - but))
    return ballast
