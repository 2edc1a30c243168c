"""The search of conversations."""

from typing import Annotated

from fastapi import Query, Response

from jarvis_recorder.client.rpc_methods import build_params
from jarvis_recorder.gateway.dependencies import AskFunction, Reading
from jarvis_recorder.gateway.routes.parameters import Cursor, Limit, router
from jarvis_recorder.gateway.schemas import reply, shape
from jarvis_recorder.wire.rpc import params, results

routes = router(tag="conversations")


@routes.get("/conversations/search", response_model=shape(results.FoundTurns))
async def search_turns(
    _: Reading,
    ask: AskFunction,
    q: Annotated[
        str, Query(min_length=1, description="the words to look for, all of them, in any order")
    ],
    session_id: Annotated[
        str | None, Query(alias="sessionId", description="search this one only")
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Turns that hold every word, best first."""
    query = build_params(
        params.SearchTurns, query=q, session_id=session_id, limit=limit, cursor=cursor
    )
    return reply(await ask(query))
