"""The login route."""

from http import HTTPStatus
from typing import Annotated

from fastapi import Request, Response
from pydantic import BaseModel, Field

from jarvis_recorder.gateway.logins import LONGEST_PASSWORD, Logins
from jarvis_recorder.gateway.problems import Problem
from jarvis_recorder.gateway.routes.parameters import router
from jarvis_recorder.gateway.schemas import LoginReply, reply
from jarvis_recorder.gateway.tokens import OwnTokens
from jarvis_recorder.net.listen_address import network_of

routes = router(tag="access")


class Login(BaseModel):
    """The password of a login."""

    password: Annotated[str, Field(max_length=LONGEST_PASSWORD)]


@routes.post("/auth/login", response_model=LoginReply)
async def login(request: Request, body: Login) -> Response:
    """Return a token for the password of the operator, or of those who may read."""
    tokens = request.app.state.tokens
    if not isinstance(tokens, OwnTokens):
        raise Problem(HTTPStatus.NOT_FOUND, "tokens come from another issuer: log in there")
    logins: Logins = request.app.state.logins
    address = network_of(request.client.host) if request.client else ""
    role = await logins.role_of(body.password, address)
    return reply(LoginReply(token=tokens.give(role), expires_in=f"{tokens.days}d"))
