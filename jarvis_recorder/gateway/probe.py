"""The health of the recorder behind the gateway, which any caller may read without a token."""

import asyncio
import time
from typing import Final

from jarvis_recorder.client import RecorderClient
from jarvis_recorder.client.rpc_methods import build_params
from jarvis_recorder.errors import NotFound, RecorderError
from jarvis_recorder.wire.rpc import params

_ANY_KEY: Final = "gateway.health"
"""Reading it costs next to nothing, whether it exists or not."""

_GOOD_SECONDS: Final = 1.0
_LONGEST_SECONDS: Final = 5.0


class Probe:
    """
    A probe of the recorder, at most one a second, however many callers read its health.

    Reading it needs no token, so it must slow down neither the recorder nor authorized callers.
    """

    def __init__(self, client: RecorderClient) -> None:
        self._client = client
        self._asked: asyncio.Task[RecorderError | None] | None = None
        self._good_until = 0.0

    async def failure(self) -> RecorderError | None:
        """Return the error of the latest probe, None if the recorder replied."""
        if self._asked is None or (self._asked.done() and time.monotonic() > self._good_until):
            self._asked = asyncio.create_task(self._ask())
        return await asyncio.shield(self._asked)

    async def _ask(self) -> RecorderError | None:
        try:
            await self._client.ask(
                build_params(params.GetPreference, key=_ANY_KEY), timeout=_LONGEST_SECONDS
            )
        except NotFound:
            return None
        except RecorderError as error:
            return error
        finally:
            self._good_until = time.monotonic() + _GOOD_SECONDS
        return None
