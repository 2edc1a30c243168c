"""The order of the transactions: whose turn it is to write, and who may follow at once."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

from jarvis_recorder.errors import NotTried


class Ticket:
    """
    A transaction's place in a line: it is not begun if the one before it has failed.

    It knows the one before only as long as that one is under way.
    """

    def __init__(self, before: "Ticket | None" = None) -> None:
        self.is_over = False
        self.has_failed = False
        self.handed_over = asyncio.Event()
        """Set once SQLite's thread has it, or never will: the next one does not overtake it."""
        self.before = None if before is None or before.is_over else before

    @contextlib.contextmanager
    def trying(self) -> Iterator[None]:
        """
        Note whether this one fails inside; used in SQLite's thread and in the event loop.

        In the thread no other transaction comes between: after a failed sync the next one must
        not be taken for stored.

        Raises:
            NotTried: The one before has failed.
        """
        try:
            if self.before is not None and self.before.has_failed:
                raise NotTried("a batch before it has failed")
            yield
        except BaseException:
            self.has_failed = True
            raise

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Keep the place for the call inside; at its end it is free for the next."""
        try:
            with self.trying():
                yield
        finally:
            self.is_over = True
            self.handed_over.set()


class WriteQueue:
    """
    The right to write, in the order of asking.

    It is given to one transaction at a time. The next in its line may share it unless another
    writer waits, who thus waits for two at most.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._holders: list[Ticket] = []
        self._waiting = 0

    async def take(self, ticket: Ticket) -> None:
        """Return once `ticket` has the turn; it has to be given back by `leave`."""
        if ticket.before is not None:
            await ticket.before.handed_over.wait()
        if not self._may_share(ticket):
            self._waiting += 1
            try:
                await self._lock.acquire()
            finally:
                self._waiting -= 1
        self._holders.append(ticket)

    def leave(self, ticket: Ticket) -> None:
        """Give the turn back."""
        self._holders.remove(ticket)
        # Otherwise each would keep all before it.
        ticket.before = None
        if not self._holders:
            self._lock.release()

    @contextlib.asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Hold the turn inside, shared with no one."""
        ticket = Ticket()
        await self.take(ticket)
        try:
            yield
        finally:
            self.leave(ticket)

    def _may_share(self, ticket: Ticket) -> bool:
        return not self._waiting and self._holders == [ticket.before]
