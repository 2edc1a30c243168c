"""Maintenance of a running recorder's database: pruning by age and by the disk budget."""

import asyncio
import contextlib
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from jarvis_recorder.errors import ConfigurationError, DeadlineExceeded, StorageUnavailable
from jarvis_recorder.ports import Clock
from jarvis_recorder.retention_policy import Bounds, eviction_steps
from jarvis_recorder.runtime.process import any_of
from jarvis_recorder.storage.sqlite import connections, pruner
from jarvis_recorder.storage.sqlite.connections import PageCounts
from jarvis_recorder.storage.sqlite.trusted_time import known_good, remember
from jarvis_recorder.storage.sqlite.writer import GoOn, SqliteWriter
from jarvis_recorder.storage.trusted_time import Memory, TrustedTime

log = structlog.get_logger(__name__)

_FIRST_AFTER_SECONDS: Final = 10.0
_AGAIN_SECONDS: Final = 3_600.0
_LOOK_SECONDS: Final = 2.0
# Shares of the limit at which pruning begins and ends.
_HIGH_MARK: Final = 0.90
_LOW_MARK: Final = 0.85
# The share at which intake stops: the rest is for what a commit, or pruning, adds to the log.
_FULL_MARK: Final = 0.95
_LOG_SHARE: Final = 20
_FREE_SHARE: Final = 0.02
# The least that a database takes: its tables, with nothing in them.
_EMPTY_BYTES: Final = 200 * 1024


def require_disk(directory: Path, bounds: Bounds) -> None:
    """
    Make sure that `keep_free` is less than the disk has.

    Raises:
        ConfigurationError: It is not, and no database could be kept.
    """
    total = shutil.disk_usage(directory).total
    if bounds.keep_free >= total:
        raise ConfigurationError(
            f"store.keep_free: {bounds.keep_free:,} bytes are to be free, and the disk of "
            f"{directory} has {total:,}: name less"
        )


class SqliteMaintenance:
    """
    The pruning of a running recorder's database while it records.

    Every hour it deletes what the policy does not keep. If a budget is nearly used up, it also
    deletes by `eviction_steps`, unless the budget would be exceeded by an empty database too. If
    that is not enough, the writer refuses work that takes more room until there is some again.
    """

    def __init__(
        self,
        bounds: Bounds,
        path: Path,
        writer: SqliteWriter,
        clock: Clock,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._policy = bounds.policy
        self._budget = bounds.budget
        self._keep_free = bounds.keep_free
        self._path = path
        self._writer = writer
        self._time = TrustedTime(writer, Memory(known_good, remember), clock, monotonic)

    async def run(self, stop: asyncio.Event) -> None:
        """Prune until `stop` is set; a failed attempt is logged and tried again."""
        due = time.monotonic() + _FIRST_AFTER_SECONDS
        while not stop.is_set():
            if self._is_bounded:
                with _logged():
                    await self._keep_to_budget(stop)
            if time.monotonic() >= due:
                due = time.monotonic() + _AGAIN_SECONDS
                with _logged():
                    await self._prune(stop)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await any_of(stop, self._writer.crowded)

    @property
    def _is_bounded(self) -> bool:
        return bool(self._budget or self._keep_free)

    async def _prune(self, stop: asyncio.Event) -> None:
        if self._policy.keeps_everything and not self._is_bounded:
            # So that the time is known once the policy changes.
            await self._time.now()
            return
        now = await self._time.believed()
        if now is None or self._policy.keeps_everything:
            return
        go_on = self._within_budget_until(stop)
        gone = await pruner.prune(self._writer, self._policy, now, go_on=go_on)
        pages = await pruner.give_back(self._writer, go_on=go_on)
        if gone or pages:
            log.info("pruned", reason="retention", pages_given_back=pages, **gone)

    def _within_budget_until(self, stop: asyncio.Event) -> GoOn:
        """Return what has long work keep to the budget between its steps, until `stop` is set."""
        due = time.monotonic() + _LOOK_SECONDS

        async def go_on() -> bool:
            nonlocal due
            if self._is_bounded and (self._writer.crowded.is_set() or time.monotonic() >= due):
                with _logged():
                    await self._keep_to_budget(stop)
                due = time.monotonic() + _LOOK_SECONDS
            return not stop.is_set()

        return go_on

    async def _keep_to_budget(self, stop: asyncio.Event) -> None:
        if self._budget:
            await self._writer.bound_log(min(connections.LONGEST_LOG, self._budget // _LOG_SHARE))
        self._writer.crowded.clear()
        needed, self._writer.needed = self._writer.needed, 0
        use = await self._use(needed)
        if use.is_high:
            # First the ways that delete no rows.
            use = await self._without_log(needed)
        if use.is_high and await pruner.give_back(
            self._writer, least=use.few_pages, go_on=_until(stop)
        ):
            use = await self._without_log(needed)
        if use.is_high and use.is_within_reach:
            await self._evict(use, stop)
            use = await self._without_log(needed)
        if not use.is_high:
            self._writer.admit()
        elif not use.is_within_reach:
            self._writer.refuse(
                f"{self._path}: store.budget and store.keep_free leave less than an empty database "
                "takes, so nothing is deleted: make room on its disk, or allow it more"
            )
        elif use.taken >= use.limit * _FULL_MARK:
            self._writer.refuse(
                f"the database takes {use.taken:,} bytes of the {use.limit:,} that store.budget "
                "and store.keep_free leave it, and holds nothing more that may go: allow it more, "
                "or resolve alerts and lower retention" + await self._doubts()
            )

    async def _doubts(self) -> str:
        """Return the advice to add if the clock is doubted, as more rows might be pruned by it."""
        if not self._time.is_doubted(await self._time.now()):
            return ""
        return "; or, if the clock is right: stop the recorder, jarvis-recorder db prune --yes"

    async def _without_log(self, needed: int) -> "_Use":
        """Return the use once the log is as short as readers permit."""
        await self._writer.shorten_log()
        return await self._use(needed)

    async def _use(self, needed: int) -> "_Use":
        """
        Return the bytes that database and log take and may take, and set the writer's limit.

        The room `needed` is that of work that was refused.
        """
        room = await self._writer.run(connections.page_counts)
        taken = self._writer.taken(room)
        limits = [self._budget] if self._budget else []
        # Of the whole disk: what others leave of it now is no reason to refuse a record for good.
        lasting = [*limits]
        if self._keep_free:
            disk = shutil.disk_usage(self._path.parent)
            free = disk.free + (0 if room.can_shrink else room.free * room.page_size)
            limits.append(max(1, taken + free - self._keep_free))
            lasting.append(max(1, disk.total - self._keep_free))
        limit = min(limits)
        self._writer.most_bytes = int(limit * _FULL_MARK)
        self._writer.most_added = int(min(lasting) * _FULL_MARK) // 2
        few = min(pruner.FEW_FREE_PAGES, int(limit * _FREE_SHARE) // room.page_size)
        return _Use(taken, limit, needed, few)

    async def _evict(self, use: "_Use", stop: asyncio.Event) -> None:
        """Prune by one eviction step after the other until enough is free."""

        def enough(room: PageCounts) -> bool:
            return room.used_bytes <= use.low

        go_on = _until(stop)
        now = await self._time.now()
        gone: Counter[str] = Counter()
        for policy in eviction_steps():
            gone += await pruner.prune(self._writer, policy, now, enough=enough, go_on=go_on)
        pages = await pruner.give_back(self._writer, least=use.few_pages, go_on=go_on)
        if gone or pages:
            log.warning("pruned", reason="disk_budget", pages_given_back=pages, **gone)


def _until(stop: asyncio.Event) -> GoOn:
    """Return what ends long work between its steps once `stop` is set."""

    async def go_on() -> bool:
        return not stop.is_set()

    return go_on


class _Use(NamedTuple):
    """The bytes that database and log take of the disk, and may take."""

    taken: int
    limit: int
    needed: int
    """The bytes that must be free at the end."""
    few_pages: int
    """The free pages that the file may keep for the next inserts."""

    @property
    def is_high(self) -> bool:
        return self.taken >= min(self.limit * _HIGH_MARK, self._most)

    @property
    def is_within_reach(self) -> bool:
        """If not, deleting all that may go would not be enough: nothing is deleted then."""
        return self.low >= _EMPTY_BYTES

    @property
    def low(self) -> float:
        """The bytes in use at which pruning ends."""
        return min(self.limit * _LOW_MARK, self._most - self.limit * _FREE_SHARE)

    @property
    def _most(self) -> float:
        return self.limit * _FULL_MARK - self.needed


@contextlib.contextmanager
def _logged() -> Iterator[None]:
    """Log an error that prevents pruning; it prevents recording too, which reports it."""
    try:
        yield
    except (StorageUnavailable, DeadlineExceeded) as error:
        log.warning("not_pruned", error=str(error))
