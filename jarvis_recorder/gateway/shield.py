"""What every request and every answer passes: a bound on the body, headers for the browser."""

from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any, Final

from jarvis_recorder.gateway.problems import Problem

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGI = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

MAX_BODY_BYTES: Final = 1024 * 1024
"""What JSON-RPC carries to the recorder has to fit a message; this is plenty for an event."""

POLICY: Final = (
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "object-src 'none'"
)
_HEADERS: Final = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    (b"content-security-policy", POLICY.encode()),
]
# What the API answers is of one caller and of one moment; the page is asked for anew, and comes
# only where it has changed.
_NOT_KEPT: Final = (b"cache-control", b"no-store")
_ASKED_ANEW: Final = (b"cache-control", b"no-cache")


class Shield:
    """Wraps an application; a body that is too large is refused while it comes."""

    def __init__(self, application: ASGI) -> None:
        self._application = application

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return

        headers = [*_HEADERS, _NOT_KEPT if scope["path"].startswith("/api/") else _ASKED_ANEW]

        async def shielded(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(header for header in headers if header[0] not in sent),
                ]
            await send(message)

        await self._application(scope, _bounded(receive), shielded)


def _bounded(receive: Receive) -> Receive:
    taken = 0

    async def bounded() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > MAX_BODY_BYTES:
            raise Problem(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"the body is larger than {MAX_BODY_BYTES} bytes",
                {"Connection": "close"},
            )
        return message

    return bounded
