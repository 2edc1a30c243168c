"""Keeping the database within its bounds: what is too old goes, and what there is no room for."""

import asyncio
import contextlib
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import structlog

from jarvis_recorder.config import RetentionSettings, StoreSettings
from jarvis_recorder.errors import DeadlineExceeded, StorageUnavailable
from jarvis_recorder.ownership import resolved
from jarvis_recorder.ports import Clock
from jarvis_recorder.storage import files, pruning, schema, sqlite
from jarvis_recorder.storage.keeping import Keeping, sacrifices
from jarvis_recorder.storage.pruning import Room
from jarvis_recorder.storage.writer import Writer, open_writer

log = structlog.get_logger(__name__)

_FIRST_AFTER_SECONDS: Final = 10.0
_AGAIN_SECONDS: Final = 3_600.0
_LOOK_SECONDS: Final = 2.0
# Of what it may take: where pruning begins, and how far it goes.
_HIGH_MARK: Final = 0.95
_LOW_MARK: Final = 0.90


def keeping_of(settings: RetentionSettings) -> Keeping:
    """Return the rules that the settings are."""
    return Keeping(
        events={
            "info": settings.info,
            "warning": settings.warning,
            "error": settings.error,
            "critical": settings.critical,
        },
        snapshots_hourly_after=settings.snapshots_hourly_after,
        snapshots_daily_after=settings.snapshots_daily_after,
        snapshots=settings.snapshots,
        turns=settings.turns,
    )


class Retention:
    """
    Prunes the database of a running recorder, beside the recording.

    Every hour what the settings do not keep. Besides, where there is a budget: as soon as it
    is nearly used up what is least missed, and if that is not enough the writer refuses what
    would take more room, until there is some again.
    """

    def __init__(
        self,
        retention: RetentionSettings,
        store: StoreSettings,
        path: Path,
        writer: Writer,
        clock: Clock,
    ) -> None:
        self._keeping = keeping_of(retention)
        self._budget = int(store.budget)
        self._keep_free = int(store.keep_free)
        self._path = path
        self._writer = writer
        self._clock = clock

    async def run(self, stop: asyncio.Event) -> None:
        """Prune until told to stop; that it failed harms nobody and is tried again."""
        due = time.monotonic() + _FIRST_AFTER_SECONDS
        while not stop.is_set():
            if not self._keeping.keeps_everything and time.monotonic() >= due:
                due = time.monotonic() + _AGAIN_SECONDS
                with _harmless():
                    await self._prune(stop)
            if self._budget or self._keep_free:
                with _harmless():
                    await self._keep_to_budget(stop)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await stop.wait()

    async def _prune(self, stop: asyncio.Event) -> None:
        gone = await pruning.prune(
            self._writer, self._keeping, self._clock(), enough=lambda _: stop.is_set()
        )
        pages = await pruning.give_back(self._writer)
        if gone or pages:
            log.info("pruned", reason="retention", pages_given_back=pages, **gone)

    async def _keep_to_budget(self, stop: asyncio.Event) -> None:
        used, limit = await self._use()
        if used >= limit * _HIGH_MARK:
            await self._sacrifice(limit, stop)
            used, limit = await self._use()
        if used < limit * _HIGH_MARK:
            self._writer.admit()
        elif used >= limit:
            self._writer.refuse(
                f"the database takes {used:,} bytes of the {limit:,} that store.budget and "
                "store.keep_free leave it, and holds nothing more that may go: allow it more, or "
                "resolve alerts and lower retention"
            )

    async def _use(self) -> tuple[int, int]:
        """Return how many bytes the database takes, and may take."""
        room = await self._writer.run(pruning.room_of)
        used = room.used_bytes
        limits = [self._budget] if self._budget else []
        if self._keep_free:
            free = shutil.disk_usage(self._path.parent).free + room.free * room.page_size
            limits.append(max(1, used + free - self._keep_free))
        return used, min(limits)

    async def _sacrifice(self, limit: int, stop: asyncio.Event) -> None:
        """Let go what is least missed until enough is free."""

        def enough(room: Room) -> bool:
            return room.used_bytes <= limit * _LOW_MARK or stop.is_set()

        gone: Counter[str] = Counter()
        for keeping in sacrifices():
            gone += await pruning.prune(self._writer, keeping, self._clock(), enough=enough)
        pages = await pruning.give_back(self._writer)
        log.warning("pruned", reason="disk_budget", pages_given_back=pages, **gone)


@contextlib.contextmanager
def _harmless() -> Iterator[None]:
    """What keeps pruning from writing keeps recording from it too, which says so."""
    try:
        yield
    except (StorageUnavailable, DeadlineExceeded) as error:
        log.warning("not_pruned", error=str(error))


def count_now(path: Path, keeping: Keeping) -> Counter[str]:
    """
    Return how many rows of each table would go from a file, without changing it.

    Raises:
        StorageUnavailable, StorageDamaged: It is not there, or cannot be read.
    """
    files.require_file(path)
    with sqlite.reading(path) as connection:
        schema.judge(schema.current_revision(connection))
        return +pruning.count(connection, keeping, time.time_ns() // 1_000)


async def prune_now(path: Path, keeping: Keeping, report: files.Report) -> Counter[str]:
    """
    Prune a file that no recorder holds, and return how many rows of each table went.

    Raises:
        AnotherRecorder: Another process holds it.
        StorageUnavailable, StorageDamaged: It cannot be written.
    """
    path = resolved(path)
    with sqlite.locked(path):
        async with open_writer(path) as writer:
            now = time.time_ns() // 1_000
            gone = await pruning.prune(
                writer, keeping, now, progress=lambda rows: report("pruning", rows, 0)
            )
            report("giving room back", 0, 0)
            await pruning.give_back(writer, least=0)
            await writer.forget_deleted()
    return gone
