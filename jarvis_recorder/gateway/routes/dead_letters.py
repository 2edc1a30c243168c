"""Dead letters: list, show, edit and replay them."""

import asyncio
from collections import Counter, deque
from collections.abc import Coroutine
from http import HTTPStatus
from typing import Annotated, Any, Final, TypeVar

from fastapi import Query, Request, Response
from pydantic import Field, StrictBool

from jarvis_recorder.client.dead_letter_replay import (
    DeadLetterAdmin,
    Filter,
    FoundDeadLetter,
    ReplayOutcome,
    validation_error,
)
from jarvis_recorder.gateway.dependencies import LONGEST_WAIT, Operating, Reading, disconnected
from jarvis_recorder.gateway.problems import Problem
from jarvis_recorder.gateway.routes.parameters import Limit, router
from jarvis_recorder.gateway.schemas import (
    Body,
    Checked,
    DeadLetter,
    DeadLetterPage,
    OneDeadLetter,
    Replayed,
    WholeDeadLetter,
    reply,
)
from jarvis_recorder.wire.amqp import properties
from jarvis_recorder.wire.dead_letter import DeadLetter as Letter
from jarvis_recorder.wire.dead_letter import bounded, readable_body
from jarvis_recorder.wire.refusal import Refused

T = TypeVar("T")

routes = router(tag="dead letters")

_MOST_BODY: Final = 256 * 1024
# There are about fifteen, but any publisher may write others.
_MOST_REASONS: Final = 100


class Replay(Body):
    """Which to replay: those named, or all of a reason."""

    ids: Annotated[tuple[str, ...], Field(max_length=1_000)] = ()
    reason: str | None = None
    all: StrictBool = False


class Edited(Body):
    """A body that takes the place of the dead letter's own."""

    body: str


def _letters(request: Request) -> DeadLetterAdmin:
    letters: DeadLetterAdmin = request.app.state.dead_letters
    return letters


@routes.get("/dead-letters", response_model=DeadLetterPage)
async def list_dead_letters(
    request: Request,
    _: Reading,
    reason: Annotated[str | None, Query(description="only those of this reason")] = None,
    limit: Limit = 50,
) -> Response:
    """The newest dead letters and the count of each reason; all stay in the queue."""
    page = await _looked(request, _newest(_letters(request), reason, limit))
    return reply(page)


async def _newest(letters: DeadLetterAdmin, reason: str | None, limit: int) -> DeadLetterPage:
    counts: Counter[str] = Counter()
    # Without their bodies, of which there may be a gibibyte.
    newest: deque[Letter] = deque(maxlen=limit)
    async for found in letters.iterate(Filter()):
        letter = bounded(found.letter)
        counts[letter.reason if _is_counted(letter.reason, counts) else "other"] += 1
        if reason in (None, letter.reason):
            newest.append(letter)
    page = {"letters": list(reversed(newest)), "counts": counts, "total": counts.total()}
    return DeadLetterPage.model_validate(page)


def _is_counted(reason: str, counts: Counter[str]) -> bool:
    return reason in counts or len(counts) < _MOST_REASONS


@routes.get("/dead-letters/{id:letter}", response_model=OneDeadLetter)
async def get_dead_letter(request: Request, _: Reading, id: str) -> Response:  # noqa: A002
    """One of them, with its properties and its body."""
    found = await _found(request, id)
    # As large a body as there may be takes a second to unpack and to show.
    return reply(OneDeadLetter(letter=await asyncio.to_thread(_whole, found)))


@routes.post("/dead-letters/replay", response_model=Replayed)
async def replay_dead_letters(request: Request, _: Operating, body: Replay) -> Response:
    """
    Publish them as the messages they were; what fails again comes back with a count.

    Nothing is replayed where nothing is named; `all` names all.
    """
    if not (body.ids or body.reason or body.all):
        return reply(Replayed(replayed=0, left=0))
    wanted = Filter(ids=body.ids, reasons=(body.reason,) if body.reason else ())
    outcomes = await _letters(request).replay(wanted)
    replayed = outcomes.pop(ReplayOutcome.REPLAYED)
    return reply(Replayed(replayed=replayed, left=sum(outcomes.values())))


@routes.post("/dead-letters/{id:letter}/check", response_model=Checked)
async def check_dead_letter(
    request: Request,
    _: Operating,
    id: str,  # noqa: A002
    edited: Edited,
) -> Response:
    """Why it would be refused again with this body, null if it would not be; nothing changes."""
    found = await _found(request, id)
    return reply(Checked(error=await _fault_of(found, edited)))


@routes.post("/dead-letters/{id:letter}/replay", response_model=Replayed)
async def replay_edited_dead_letter(
    request: Request,
    _: Operating,
    id: str,  # noqa: A002
    edited: Edited,
) -> Response:
    """Publish it with this body, under its own identity; not where it would be refused again."""
    error = await _fault_of(await _found(request, id), edited)
    if error is not None:
        raise Problem(HTTPStatus.BAD_REQUEST, f"it would be refused again: {error}")
    outcomes = await _letters(request).replay(Filter(ids=[id]), edited.body.encode())
    replayed = outcomes.pop(ReplayOutcome.REPLAYED)
    return reply(Replayed(replayed=replayed, left=sum(outcomes.values())))


async def _found(request: Request, identity: str) -> FoundDeadLetter:
    return await _looked(request, _letters(request).get(identity))


async def _looked(request: Request, look: Coroutine[Any, Any, T]) -> T:
    """
    Return the result of a look through the queue, ended where it takes too long or no one waits.

    Looks wait for each other, and each fetches one dead letter after the other.

    Raises:
        Problem: It took longer than `LONGEST_WAIT` (504).
    """
    looking = asyncio.ensure_future(look)
    gone = asyncio.ensure_future(disconnected(request.receive))
    try:
        await asyncio.wait(
            (looking, gone), timeout=LONGEST_WAIT, return_when=asyncio.FIRST_COMPLETED
        )
        if looking.done():
            return looking.result()
    finally:
        looking.cancel()
        gone.cancel()
        await asyncio.gather(looking, gone, return_exceptions=True)
    raise Problem(
        HTTPStatus.GATEWAY_TIMEOUT,
        f"the queue of dead letters was not looked through within {LONGEST_WAIT:.0f} s: it is long, "
        "or others look at it; `jarvis-recorder dead list` has more time",
    )


async def _fault_of(found: FoundDeadLetter, edited: Edited) -> str | None:
    # As large a body as a request may have takes tens of milliseconds.
    return await asyncio.to_thread(validation_error, found, edited.body.encode())


def _whole(found: FoundDeadLetter) -> WholeDeadLetter:
    letter, delivery = found
    try:
        headers = {name: str(value) for name, value in properties.headers(delivery.header).items()}
        others = properties.others(delivery.header)
    except Refused:
        headers, others = {}, {}
    body = readable_body(delivery, 16 * 1024 * 1024)
    shown = body[:_MOST_BODY]
    try:
        text, is_text = shown.decode("utf-8", "strict" if shown == body else "ignore"), True
    except UnicodeDecodeError:
        text, is_text = shown.hex(" "), False
    known = DeadLetter.model_validate(letter).model_dump()
    return WholeDeadLetter(
        **known,
        headers=headers,
        properties=others,
        body=text,
        body_is_text=is_text,
        body_is_whole=shown == body and not found.is_without_body,
    )
