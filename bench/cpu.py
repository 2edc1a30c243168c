"""CPU time by thread and by process, as the kernel's scheduler counts it."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self


class Cpu(NamedTuple):
    """
    The CPU time of a contender's first threads, of its other threads, of the broker and a server.

    The first thread of a process runs the event loop; in the recorder the others are SQLite's and
    the readers.
    """

    loop: float
    others: float
    broker: float
    server: float

    @classmethod
    def read(cls, processes: Sequence[int], broker: int, server_ns: int = 0) -> Self:
        """Return the nanoseconds used so far by a contender's processes; none by an ended one."""
        threads = [_threads(process) for process in processes]
        loop = sum(each.get(process, 0) for process, each in zip(processes, threads, strict=True))
        all_threads = sum(sum(each.values()) for each in threads)
        return cls(loop, all_threads - loop, sum(_threads(broker).values()), server_ns)

    def each_us(self, before: Self, times: int) -> Self:
        """Return the microseconds used since then for each of so many."""
        used = (now - then for now, then in zip(self, before, strict=True))
        return type(self)(*(each / 1_000 / times if times else 0.0 for each in used))


def with_children_ns(process: int) -> int:
    """Return the nanoseconds used so far by a process and by its children that live."""
    children = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name, in parentheses, may hold anything.
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:  # It has ended.
            continue
        if parent == process:
            children.append(int(stat.parent.name))
    return sum(sum(_threads(each).values()) for each in (process, *children))


def _threads(process: int) -> dict[int, int]:
    """Return the nanoseconds of each thread that lives."""
    found = {}
    for thread in Path(f"/proc/{process}/task").glob("*"):
        try:
            found[int(thread.name)] = int((thread / "schedstat").read_text().split()[0])
        except OSError:  # It has ended.
            continue
    return found
