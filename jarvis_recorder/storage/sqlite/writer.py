"""The one connection that writes, and the order of its transactions."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import structlog
from sqlalchemy import Connection

from jarvis_recorder.errors import (
    RecorderError,
    RecordRefused,
    StorageDamaged,
    StorageMoved,
    StorageUnavailable,
    StorageUncertain,
)
from jarvis_recorder.storage.engine import NoRoomForIt, Work
from jarvis_recorder.storage.pauses import followed_by_pause
from jarvis_recorder.storage.sqlite import connections, errors, files, word_merge
from jarvis_recorder.storage.sqlite.connections import PageCounts
from jarvis_recorder.storage.write_queue import Ticket, WriteQueue

log = structlog.get_logger(__name__)

T = TypeVar("T")
GoOn = Callable[[], Awaitable[bool]]
"""Awaited before each step of what takes many; returns whether to do it."""
# Each try waits as long as SQLite does for a reader; together they outlast the longest read.
_TRIES_TO_SAVE: Final = 10
# As long as the reads under way may take.
_LONGEST_WAIT_SECONDS: Final = 8.0
_LOOK_AGAIN_SECONDS: Final = 0.02


async def always() -> bool:
    """Return True."""
    return True


class SqliteWriter:
    """
    The implementation of `engine.Writer`: one transaction after the other, in the order of the calls.

    A transaction is one call to SQLite's thread, from BEGIN to COMMIT. If each statement were a
    call, each would wait for its turn of the event loop, milliseconds under load. For the same
    reason one that grows may follow another at once: the thread then has both. All others have
    the thread to themselves.

    After an uncertain outcome no transaction is run: the next could rely on rows that may not
    be stored.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # Keeps hold of the file under any name: while it is open no other file gets the inode.
        # Closing a descriptor of this kind drops none of SQLite's locks (open(2), O_PATH).
        self._database = os.open(path, os.O_PATH)
        self._opened = {path: os.fstat(self._database)}
        """The open files, by the names under which they were opened."""
        self._file_bytes = 0
        self.log_bytes = 0
        """The size of the write-ahead log after the last transaction."""
        self.longest_log = connections.LONGEST_LOG
        self.most_bytes: int | None = None
        """The most that database and log may take together; see `grow`."""
        self.most_added: int | None = None
        """The most that one record may take: to make room for more would cost too many others."""
        self.crowded = asyncio.Event()
        """Set when work was refused because of `most_bytes`."""
        self.needed = 0
        """The most bytes that such work would have taken, since this was last set to 0."""
        self._taken_before = self._used_before = 0
        self.log_wanted_short = asyncio.Event()
        """Set when the log is to be emptied although reads overlap; see `upkeep`."""
        self._connection: connections.WritingConnection | None = None
        # Held through a whole transaction, which continues after its caller was cancelled.
        self._queue = WriteQueue()
        self._releasing: asyncio.Task[None] | None = None
        self._failed: StorageUncertain | StorageDamaged | None = None
        self._refusal: str | None = None

    def refuse(self, why: str) -> None:
        """Have `require_room` raise with this reason from now on."""
        if self._refusal is None:
            log.error("intake_stopped", reason=why)
        self._refusal = why

    def admit(self) -> None:
        """Have `require_room` pass again."""
        if self._refusal is not None:
            log.info("intake_goes_on")
        self._refusal = None

    def require_room(self) -> None:
        """
        Make sure that work that takes more room is admitted; such work has to call this itself.

        Raises:
            StorageUnavailable: There is no room; the message says what to do.
        """
        if self._refusal is not None:
            raise StorageUnavailable(self._refusal)

    async def run(self, work: Work[T]) -> T:
        """
        Run `work` in a transaction; return its result once it is committed, synced and in the file.

        On an error nothing of it is stored. If the caller is cancelled, the transaction continues.

        Raises:
            StorageUnavailable, StorageUncertain, StorageDamaged, RecordRefused: See `errors`.
        """
        return await self.run_gathered(lambda: work)

    async def run_gathered(self, gather: Callable[[], Work[T]]) -> T:
        """Do as `run` does, with the work that `gather` returns at the beginning of its turn."""
        ticket = Ticket()
        await self._queue.take(ticket)
        return await self._run(gather(), ticket)

    async def grow(self, work: Work[T], ticket: Ticket) -> T:
        """
        Do as `run` does, with work that takes more room, within `most_bytes`.

        It may be handed to SQLite's thread while the one before it in its line is under way.

        Raises:
            NotTried: The one before has failed.
            RecordRefused: It needs more than `most_added`.
            StorageUnavailable: There is no room for it; and all that `run` raises.
        """
        self.require_room()
        await self._queue.take(ticket)
        try:
            return await self._run(partial(self._within_bounds, work), ticket)
        except NoRoomForIt:
            self.crowded.set()
            raise

    async def _run(self, work: Work[T], ticket: Ticket) -> T:
        # A cancelled await would not stop SQLite's thread, only lose the result.
        return await asyncio.shield(asyncio.ensure_future(self._in_turn(work, ticket)))

    async def run_with_room(self, work: Work[T], begin: Callable[[], None] = lambda: None) -> T:
        """
        Do as `run` does, with work that adds to the log and not to the file, within `most_bytes`.

        `begin` is called at the beginning of its turn.

        Raises:
            StorageUnavailable: Another program reads, so that the log cannot be emptied; and all
                that `run` raises.
        """

        def gather() -> Work[T]:
            begin()
            return partial(self._if_room, work)

        while True:
            try:
                return await self.run_gathered(gather)
            except NoRoomForIt:
                if not await self.shorten_log():
                    raise StorageUnavailable(
                        "the write-ahead log cannot be emptied: another program reads the database"
                    ) from None

    def _if_room(self, work: Work[T], connection: Connection) -> T:
        # With an empty log there is as much room as there can be.
        if self.log_bytes:
            self._require(self._taken_before)
        return work(connection)

    def _within_bounds(self, work: Work[T], connection: Connection) -> T:
        answer = work(connection)
        if self.most_added is not None and self._added(connection) > self.most_added:
            raise RecordRefused(
                "it takes more than half of what store.budget and store.keep_free leave"
            )
        self.require_bounds(connection)
        return answer

    def taken(self, room: PageCounts) -> int:
        """Return the bytes that database and log hold of the disk, given the page counts."""
        # The file shrinks, and grows, at a checkpoint.
        file_bytes = self._file_bytes if room.can_shrink else 0
        return max(room.held_bytes, file_bytes) + self.log_bytes

    def require_bounds(self, connection: Connection) -> None:
        """
        Make sure that the transaction, as far as it has written, is within `most_bytes`.

        Its new pages count twice: until the next checkpoint they are in the log, too.

        Raises:
            NoRoomForIt: It is not; the caller that handles this sets `crowded`.
        """
        if self.most_bytes is None:
            return
        added = self._added(connection)
        if self._taken_before + added > self.most_bytes:
            self.needed = max(self.needed, added)
        self._require(self._taken_before + added)

    def _added(self, connection: Connection) -> int:
        """Return the bytes that the transaction adds to database and log, as far as it has written."""
        room = connections.page_counts(connection)
        in_log = max(0, room.used_bytes - self._used_before)
        return self.taken(room) - self._taken_before + in_log

    def _require(self, taken: int) -> None:
        if self.most_bytes is not None and taken > self.most_bytes:
            raise NoRoomForIt(
                f"the database would take {taken:,} bytes, and may take {self.most_bytes:,} by "
                "store.budget and store.keep_free"
            )

    @contextlib.contextmanager
    def attempt(self, connection: Connection) -> Iterator[None]:
        """Undo what was written inside if it fails, and raise the recorder's error."""
        with errors.translated_errors(self._path), connections.savepoint(connection):
            yield

    async def forget_deleted(self) -> None:
        """
        Overwrite what was deleted, unless a reader uses it: words of the search index, and the log.

        It works in small transactions with pauses. Deleted rows stay deleted either way, so a
        failure is not raised.
        """
        with contextlib.suppress(RecorderError):
            await self.forget_words()
        await self.shorten_log()

    async def forget_words(self, go_on: GoOn = always) -> None:
        """
        Merge the search index until nothing is left of the words deleted from it by now.

        It ends early if `go_on` returns False before a step.
        """
        merge: word_merge.Merge | None = word_merge.begin
        while merge is not None and await go_on():
            async with followed_by_pause():
                merge = await self.run_with_room(merge)

    async def empty_log(self, *, wait: bool = False, until: float | None = None) -> bool:
        """
        Empty the write-ahead log, unless a reader uses it; return whether it is empty.

        Return False if the turn has not come by `until`, a time of the event loop's clock.
        """
        ticket = Ticket()
        try:
            async with asyncio.timeout_at(until):
                await self._queue.take(ticket)
        except TimeoutError:
            return False
        try:
            with contextlib.suppress(StorageUnavailable), errors.translated_errors(self._path):
                if self._failed is not None:
                    return False
                connection = await self._open()
                emptied = await connection.run(partial(connections.empty_log, wait=wait))
                await self._require_files()
                return emptied
        finally:
            self._queue.leave(ticket)
        return False

    async def shorten_log(self) -> bool:
        """Empty the log, keeping overlapping reads waiting; return whether it is empty."""
        deadline = asyncio.get_running_loop().time() + _LONGEST_WAIT_SECONDS
        while not (emptied := not self.log_bytes or await self.empty_log()):
            if asyncio.get_running_loop().time() >= deadline:
                break
            self.log_wanted_short.set()
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
        return emptied

    async def bound_log(self, most_bytes: int) -> None:
        """Keep the write-ahead log within `most_bytes`, as far as readers permit."""
        if most_bytes == self.longest_log:
            return
        async with self._queue.alone():
            self.longest_log = most_bytes
            if self._connection is not None:
                await self._connection.run(partial(connections.bound_log, most_bytes))

    def release_memory(self) -> None:
        """Have the memory of large rows released when the transactions under way have ended."""
        if self._releasing is None or self._releasing.done():
            self._releasing = asyncio.create_task(self._release_memory())

    async def _release_memory(self) -> None:
        async with self._queue.alone():
            with contextlib.suppress(RecorderError), errors.translated_errors(self._path):
                if self._connection is not None:
                    await self._connection.run(connections.release_memory)

    async def require_files(self) -> None:
        """
        Make sure that the database's files still have the names under which they were opened.

        Raises:
            StorageMoved: One has not. Nothing more is written, and the committed transactions are
                checkpointed into the database file if that is still possible.
            StorageUncertain, StorageDamaged: There was such an outcome before.
        """
        async with self._queue.alone():
            if self._failed is not None:
                raise self._failed
            try:
                await self._require_files()
            except (StorageUncertain, StorageDamaged) as error:
                self._failed = error
                raise

    async def answers(self) -> None:
        """
        Return once the connection's thread has responded, even if it cannot write.

        This waits for its turn, so it hangs while a commit hangs.
        """
        async with self._queue.alone():
            with contextlib.suppress(RecorderError), errors.translated_errors(self._path):
                connection = await self._open()
                await connection.run(lambda _: None)

    async def close(self) -> None:
        """Return once no transaction is under way and the file is closed."""
        async with self._queue.alone():
            await self._drop()
            if self._database >= 0:
                os.close(self._database)
                self._database = -1

    async def _in_turn(self, work: Work[T], ticket: Ticket) -> T:
        try:
            if self._failed is not None:
                raise self._failed
            # Looked at here too: after a failure the connection may be about to be closed.
            with ticket.trying(), errors.translated_errors(self._path):
                answer = await self._transaction(work, ticket)
            if (missing := self._missing()) is not None:
                # At once: none may follow while the committed transactions are saved.
                ticket.has_failed = True
                raise await self._moved(missing)
        except (StorageUncertain, StorageDamaged) as error:
            self._failed = error
            raise
        finally:
            self._queue.leave(ticket)
        return answer

    async def _transaction(self, work: Work[T], ticket: Ticket) -> T:
        connection = await self._open()
        ticket.handed_over.set()
        try:
            return await connection.run(partial(self._transact, work, ticket))
        except RecorderError:
            # An error for the caller, such as a conflict; the transaction is rolled back.
            raise
        except BaseException:
            # The state of the connection is unknown: the next transaction opens a new one. Not if
            # the files have moved, as only this connection still has them.
            await self._require_files()
            await self._drop()
            raise

    def _transact(self, work: Work[T], ticket: Ticket, connection: Connection) -> T:
        with ticket.trying(), connection.begin():
            if self.most_bytes is not None:
                self._note_room(connection)
            return work(connection)

    def _note_room(self, connection: Connection) -> None:
        """Note what is taken before this transaction, the one before it included."""
        self.log_bytes = files.size(files.companions(self._path)[0])
        room = connections.page_counts(connection)
        self._taken_before = self.taken(room)
        self._used_before = room.used_bytes

    async def _open(self) -> connections.WritingConnection:
        if self._connection is None:
            await self._require_files()
            connection = await connections.open_to_write(self._path)
            if self.longest_log != connections.LONGEST_LOG:
                await connection.run(partial(connections.bound_log, self.longest_log))
            self._connection = connection
        return self._connection

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        for companion in files.companions(self._path):
            self._opened.pop(companion, None)
        if connection is not None:
            await connection.close()

    async def _require_files(self) -> None:
        """Raise if a file was renamed or deleted: it would take commits that no one will find."""
        if (missing := self._missing()) is not None:
            raise await self._moved(missing)

    async def _moved(self, missing: Path) -> StorageMoved:
        """Save the committed transactions if possible; return the error that says what to do."""
        saved = await self._save()
        if missing == self._path:
            if not saved:
                self._set_log_aside()
            where = "all that was recorded is in it, wherever it is now: " if saved else ""
            return StorageMoved(
                f"{self._path}: the file was moved, replaced or deleted while it was recorded "
                f"into: {where}put it back, or start again with a new one"
            )
        return StorageMoved(
            f"{missing}: the file was removed or replaced while {self._path} was recorded into: "
            + (
                "all that was recorded is in the database: start again, and keep cleaners and "
                "copying programs away from it"
                if saved
                else "what it held is lost, since another program reads the database"
            )
        )

    def _missing(self) -> Path | None:
        """Return the first open file that lost its name; note the sizes of file and log."""
        log_file, index = files.companions(self._path)
        if self._connection is not None and len(self._opened) == 1:
            for file in (log_file, index):
                with contextlib.suppress(FileNotFoundError):
                    self._opened[file] = file.stat()
        for file, opened in self._opened.items():
            try:
                found = file.stat()
            except OSError:
                return file
            if not os.path.samestat(found, opened):
                return file
            if file == log_file:
                self.log_bytes = found.st_size
            elif file == self._path:
                self._file_bytes = found.st_size
        return None

    async def _save(self) -> bool:
        """Checkpoint the committed transactions into the file; return whether that was possible."""
        if self._connection is None or not os.fstat(self._database).st_nlink:
            return False
        for _ in range(_TRIES_TO_SAVE):
            with contextlib.suppress(StorageUnavailable), errors.translated_errors(self._path):
                if await self._connection.run(partial(connections.empty_log, wait=True)):
                    return True
        return False

    def _set_log_aside(self) -> None:
        """Move the log away, so that SQLite does not replay it into a file that took the name."""
        if not self._path.exists():
            return
        aside = files.sibling(self._path, f"{files.REPLACED}{files.timestamp()}")
        for file, name in zip(files.companions(self._path), files.companions(aside), strict=True):
            with contextlib.suppress(FileNotFoundError, KeyError):
                if os.path.samestat(file.stat(), self._opened[file]):
                    file.rename(name)


@contextlib.asynccontextmanager
async def open_writer(path: Path) -> AsyncIterator[SqliteWriter]:
    """Yield the writer of a file that exists; the file is closed at the end."""
    writer = SqliteWriter(path)
    try:
        yield writer
    finally:
        await asyncio.shield(writer.close())
