"""Middleware of every request and response: a bound on the body, security headers."""

from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any, Final

from jarvis_recorder.gateway.problems import Problem

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGI = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

MAX_BODY_BYTES: Final = 1024 * 1024
"""The body goes to the recorder in one JSON-RPC message; this is plenty for an event."""
LOGIN_PATH: Final = "/api/auth/login"
_MAX_LOGIN_BYTES: Final = 16 * 1024
_MOST_HELD_BYTES: Final = 4 * 1024 * 1024
_WITHOUT_BODY: Final = ("GET", "HEAD")

BASIC_POLICY: Final = (
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "object-src 'none'"
)
POLICY: Final = f"{BASIC_POLICY}; require-trusted-types-for 'script'; trusted-types 'none'"
"""The page makes elements and never HTML, which a browser that knows trusted types enforces."""
_HEADERS: Final = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    (b"content-security-policy", POLICY.encode()),
]
# A response of the API holds for one caller at one time. A browser checks the page each time, and
# gets it only if it has changed.
_NOT_KEPT: Final = (b"cache-control", b"no-store")
_ASKED_ANEW: Final = (b"cache-control", b"no-cache")


class SecurityMiddleware:
    """
    A wrapper of an application; a body that is too large is refused while it arrives.

    So is one that is too much together with the bodies of other requests: JSON takes many times
    its size while it is parsed. The body of a GET or HEAD is dropped.
    """

    def __init__(self, application: ASGI) -> None:
        self._application = application
        self._held_bytes = 0

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

        # A login has no token: its body must be small, and does not count among the others'.
        is_login = scope["path"] == LOGIN_PATH
        most = _MAX_LOGIN_BYTES if is_login else MAX_BODY_BYTES
        takes_body = scope["method"] not in _WITHOUT_BODY
        taken = 0

        async def bounded() -> Message:
            nonlocal taken
            message = await receive()
            if not takes_body:
                # A stream reads on until its caller has gone, and would count for as long.
                return {**message, "body": b""} if "body" in message else message
            size = len(message.get("body", b""))
            taken += size
            self._held_bytes += 0 if is_login else size
            if taken > most:
                raise _refusal(
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is larger than {most} bytes"
                )
            if self._held_bytes > _MOST_HELD_BYTES and not is_login:
                raise _refusal(
                    HTTPStatus.SERVICE_UNAVAILABLE, "too many large bodies at once: try again", "1"
                )
            return message

        try:
            await self._application(scope, bounded, shielded)
        finally:
            self._held_bytes -= 0 if is_login else taken


def _refusal(status: HTTPStatus, error: str, after: str | None = None) -> Problem:
    """Return the problem of a body that is not read to its end, which closes the connection."""
    return Problem(
        status, error, {"Connection": "close"} | ({"Retry-After": after} if after else {})
    )
