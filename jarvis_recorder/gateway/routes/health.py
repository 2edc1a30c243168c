"""The route that says whether a recorder replies."""

from http import HTTPStatus
from typing import Final

from fastapi import Request, Response

from jarvis_recorder import __version__
from jarvis_recorder.gateway.probe import Probe
from jarvis_recorder.gateway.problems import problem_of
from jarvis_recorder.gateway.routes.parameters import router
from jarvis_recorder.gateway.schemas import Health, reply

routes = router(tag="cluster")


# Any status of an error of the recorder's client that asking for its health may have.
_AWAY: Final = (
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)


@routes.get(
    "/health",
    response_model=Health,
    responses={
        status.value: {"model": Health, "description": "the recorder does not reply"}
        for status in _AWAY
    },
)
async def health(request: Request) -> Response:
    """The health of the recorder behind the gateway: 200 if it replies; needs no token."""
    probe: Probe = request.app.state.probe
    error = await probe.failure()
    if error is not None:
        away = Health(status="unavailable", version=__version__, recorder=str(error))
        return reply(away, problem_of(error).status_code)
    return reply(Health(status="ok", version=__version__, recorder="answers"))
