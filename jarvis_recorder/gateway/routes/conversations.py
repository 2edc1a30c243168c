"""Conversations: their turns, the search, usage and cost."""

from typing import Annotated

from fastapi import Query, Response

from jarvis_recorder.client.methods import made
from jarvis_recorder.gateway.dependencies import AskFunction, Operating, Reading, When
from jarvis_recorder.gateway.routes.parameters import Cursor, Limit, RowNumber, TimeZone, router
from jarvis_recorder.gateway.schemas import reply, shape
from jarvis_recorder.wire.rpc import params, results
from jarvis_recorder.wire.rpc.params import MAX_LIMIT

routes = router(tag="conversations")


@routes.get("/conversations", response_model=shape(results.SessionPage))
async def list_sessions(
    _: Reading,
    ask: AskFunction,
    since: When | None = None,
    until: When | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Conversations that have a turn in the time given, the latest first."""
    query = made(params.ListSessions, since=since, until=until, limit=limit, cursor=cursor)
    return reply(await ask(query))


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
    query = made(params.SearchTurns, query=q, session_id=session_id, limit=limit, cursor=cursor)
    return reply(await ask(query))


@routes.get("/conversations/usage", response_model=shape(results.UsageReport))
async def report_usage(
    _: Reading,
    ask: AskFunction,
    *,
    since: When,
    until: When | None = None,
    by: Annotated[params.UsedBy | None, Query(description="a line for each of these")] = None,
    limit: Annotated[
        int | None, Query(ge=1, le=MAX_LIMIT, description="the most lines; as many as fit")
    ] = None,
    cursor: Cursor = None,
    time_zone: TimeZone = None,
) -> Response:
    """Tokens and cost of the turns in the time given; a day is one of the time zone."""
    query = made(
        params.ReportUsage,
        since=since,
        until=until,
        by=by,
        limit=limit,
        cursor=cursor,
        time_zone=time_zone,
    )
    return reply(await ask(query))


@routes.get("/turns/{id}", response_model=shape(results.OneTurn))
async def get_turn(_: Reading, ask: AskFunction, id: RowNumber) -> Response:  # noqa: A002
    """One turn, whole however large it is."""
    return reply(await ask(made(params.GetTurn, id=id)))


@routes.get("/conversations/{session_id:any}/turns", response_model=shape(results.TurnPage))
async def list_turns(
    _: Reading,
    ask: AskFunction,
    session_id: str,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """The turns of a conversation, oldest first."""
    query = made(params.ListTurns, session_id=session_id, limit=limit, cursor=cursor)
    return reply(await ask(query))


@routes.delete("/conversations/{session_id:any}/turns", response_model=shape(results.Deleted))
async def delete_conversation(_: Operating, ask: AskFunction, session_id: str) -> Response:
    """Erase a conversation: its turns and their search entries, and overwrite the space."""
    return reply(await ask(made(params.DeleteConversation, session_id=session_id)))
