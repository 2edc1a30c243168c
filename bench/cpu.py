"""CPU time by thread and by process, as the kernel's scheduler counts it."""

from pathlib import Path
from typing import NamedTuple, Self


class Cpu(NamedTuple):
    """
    The CPU time of a contender's first thread, of its other threads, and of the broker.

    The first thread runs the event loop; in the recorder the others are SQLite's and the readers.
    """

    loop: float
    others: float
    broker: float

    @classmethod
    def read(cls, process: int, broker: int) -> Self:
        """Return the nanoseconds used so far by two processes; no more if one has ended."""
        threads = _threads(process)
        loop = threads.get(process, 0)
        return cls(loop, sum(threads.values()) - loop, sum(_threads(broker).values()))

    def each_us(self, before: Self, times: int) -> Self:
        """Return the microseconds used since then for each of so many."""
        used = (now - then for now, then in zip(self, before, strict=True))
        return type(self)(*(each / 1_000 / times if times else 0.0 for each in used))


def _threads(process: int) -> dict[int, int]:
    """Return the nanoseconds of each thread that lives."""
    found = {}
    for thread in Path(f"/proc/{process}/task").glob("*"):
        try:
            found[int(thread.name)] = int((thread / "schedstat").read_text().split()[0])
        except OSError:  # It has ended.
            continue
    return found
