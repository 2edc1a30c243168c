"""The gateway's application: REST routes, live stream, page and middleware."""

import asyncio
import time
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import FileResponse, Response

from jarvis_recorder import __version__
from jarvis_recorder.client import RecorderClient
from jarvis_recorder.client.dead_letter_replay import DeadLetterAdmin
from jarvis_recorder.config.settings import GatewaySettings
from jarvis_recorder.errors import ConfigurationError, RecorderError
from jarvis_recorder.gateway.dependencies import Reading
from jarvis_recorder.gateway.logins import Logins, Passwords
from jarvis_recorder.gateway.middleware import BASIC_POLICY, SecurityMiddleware
from jarvis_recorder.gateway.page import STATIC, Page
from jarvis_recorder.gateway.probe import Probe
from jarvis_recorder.gateway.problems import answer_problem
from jarvis_recorder.gateway.routes import (
    dead_letters,
    health,
    legacy,
    login,
    methods,
)
from jarvis_recorder.gateway.routes.parameters import router
from jarvis_recorder.gateway.sse import Live
from jarvis_recorder.gateway.tokens import (
    SHORTEST_SECRET,
    CallerRole,
    Claims,
    OwnTokens,
    Tokens,
    read_jwks,
)

_LEAST_COMPRESSED_BYTES: Final = 1_024
# Two thirds of the time of the usual level 9, for one percent more bytes.
_LEVEL: Final = 5
_HOW: Final = "`jarvis-recorder gateway passwd` makes it and says where to put it"


def create(
    client: RecorderClient, dead_letter_replay: DeadLetterAdmin, settings: GatewaySettings
) -> FastAPI:
    """
    Return the gateway's application for a connected client.

    Raises:
        ConfigurationError: No password hash, no token secret or no key is configured.
    """
    application = FastAPI(
        title="jarvis_recorder",
        version=__version__,
        description="Events, conversations, snapshots and preferences of a recorder.",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        # A redirect would name the scheme and the host of the request behind the proxy: the body,
        # a password perhaps, would go there again.
        redirect_slashes=False,
    )
    application.state.client = client
    application.state.dead_letters = dead_letter_replay
    application.state.live = Live(client)
    application.state.tokens = _tokens(settings)
    application.state.logins = Logins(_passwords(settings))
    application.state.openapi = None
    application.state.probe = Probe(client)
    for routes in (login.routes, legacy.routes, *methods.routers()):
        application.include_router(routes)
    for routes in (health.routes, dead_letters.routes, _stream):
        application.include_router(routes)
    for error in (HTTPException, RecorderError, RequestValidationError, Exception):
        application.add_exception_handler(error, answer_problem)
    if settings.cors_origins:
        application.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "Prefer"],
        )
    # The stream is not compressed. The size of a response reveals no secret (BREACH): a browser
    # sends no token with a request that another page makes.
    application.add_middleware(
        GZipMiddleware, minimum_size=_LEAST_COMPRESSED_BYTES, compresslevel=_LEVEL
    )
    application.add_middleware(SecurityMiddleware)
    application.add_api_route("/api/openapi.json", _openapi, include_in_schema=False)
    application.add_api_route("/api/docs", _documentation, include_in_schema=False)
    page = Page()
    application.add_api_route("/", page.index, include_in_schema=False)
    application.mount("/static", page)
    return application


_stream = router(tag="live")


@_stream.get(
    "/live",
    response_model=None,
    response_class=Response,
    responses={200: {"description": "server-sent events", "content": {"text/event-stream": {}}}},
)
async def live(request: Request, caller: Reading) -> Any:
    """
    Records as they are published, resolutions, changed preferences: server-sent events.

    `resync` is sent at the start, after a lost connection and to a slow reader: fetch again.
    """
    stream: Live = request.app.state.live
    return stream.page(caller.name, caller.expires - time.time())


async def _openapi(request: Request) -> Response:
    """The document, written once: any caller may fetch it, as often as they like."""
    state = request.app.state
    if state.openapi is None:
        # It takes most of a second, and the others who ask meanwhile wait for the same.
        state.openapi = asyncio.ensure_future(asyncio.to_thread(_document, request.app))
    document = await asyncio.shield(state.openapi)
    return Response(document, media_type="application/json")


def _document(application: FastAPI) -> bytes:
    return to_json(application.openapi())


async def _documentation() -> FileResponse:
    """Swagger UI of the REST methods, which makes HTML; its pictures are in `data:` URLs."""
    policy = f"{BASIC_POLICY}; img-src 'self' data:"
    return FileResponse(STATIC / "docs" / "index.html", headers={"Content-Security-Policy": policy})


def _tokens(settings: GatewaySettings) -> Tokens:
    claims = Claims(settings.issuer, settings.audience)
    if settings.jwks_file:
        return read_jwks(Path(settings.jwks_file), claims)
    secret = settings.token_secret.get_secret_value()
    if len(secret.encode()) < SHORTEST_SECRET:
        what = "is shorter than 32 bytes" if secret else "is not set"
        raise ConfigurationError(f"gateway.token_secret {what}: {_HOW}")
    return OwnTokens(secret, _hashes(settings), claims, settings.token_days)


def _hashes(settings: GatewaySettings) -> dict[CallerRole, str]:
    """Return the hash of the password of each role, empty where it has none."""
    return {
        CallerRole.OPERATOR: settings.password_hash.get_secret_value(),
        CallerRole.READER: settings.reader_password_hash.get_secret_value(),
    }


def _passwords(settings: GatewaySettings) -> Passwords:
    hashes = _hashes(settings)
    if not settings.jwks_file and not hashes[CallerRole.OPERATOR]:
        raise ConfigurationError(f"gateway.password_hash is not set: {_HOW}")
    return Passwords({role: hashed for role, hashed in hashes.items() if hashed})
