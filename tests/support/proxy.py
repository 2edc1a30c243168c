"""A TCP proxy that can swallow all data, like a connection whose peer vanished silently."""

import asyncio
import contextlib


class SwallowingProxy:
    """
    Forwards to a port until set to swallow; connections stay open.

    `muted` swallows only the data of the connecting side, which still receives.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self.swallowing = False
        self.muted = False

    async def __aenter__(self) -> int:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    def cut(self) -> None:
        """Drop every connection, as a network that is back at once does."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers += (writer, back)
        for source, sink, spoken in ((reader, back, True), (there, writer, False)):
            task = asyncio.create_task(self._forward(source, sink, spoken=spoken))
            self._tasks.add(task)

    async def _forward(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, spoken: bool
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65_536):
                if not (self.swallowing or (self.muted and spoken)):
                    sink.write(data)
                    await sink.drain()
        if not self.swallowing:
            sink.close()
