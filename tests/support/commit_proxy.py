"""A way to a PostgreSQL server on which the next COMMIT, or its answer, is lost."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from enum import Enum, auto
from pathlib import Path
from typing import Final

_SOCKET: Final = ".s.PGSQL.5432"
_ANSWER: Final = b"COMMIT\0"


class Loss(Enum):
    """The point at which a connection is lost."""

    BEFORE_COMMIT = auto()
    AFTER_COMMIT = auto()


class CommitProxy:
    """Hands bytes on between sessions and the server, until it is told to lose a connection."""

    def __init__(self, server: Path, directory: Path) -> None:
        self._server = server / _SOCKET
        self.directory = directory
        """The directory of its own socket."""
        self._next: Loss | None = None
        self.is_closed = False
        """True while new connections are refused."""

    def lose_next(self, loss: Loss) -> None:
        """Have the next connection that sends a COMMIT end before it, or before its answer."""
        self._next = loss

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Take connections as long as the block lasts."""
        server = await asyncio.start_unix_server(self._serve, self.directory / _SOCKET)
        try:
            yield
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            if self.is_closed:
                return
            there, to_there = await asyncio.open_unix_connection(self._server)
            with contextlib.closing(to_there):
                lost = asyncio.Event()
                ways = [
                    asyncio.create_task(self._forth(reader, to_there, lost)),
                    asyncio.create_task(self._back(there, writer, lost)),
                ]
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)

    async def _forth(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lost: asyncio.Event
    ) -> None:
        while sent := await reader.read(65_536):
            if self._next and b"COMMIT" in sent:
                loss, self._next = self._next, None
                if loss is Loss.BEFORE_COMMIT:
                    return
                lost.set()
            writer.write(sent)
            await writer.drain()

    async def _back(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lost: asyncio.Event
    ) -> None:
        while answered := await reader.read(65_536):
            if lost.is_set():
                if _ANSWER in answered:
                    return
                continue
            writer.write(answered)
            await writer.drain()
