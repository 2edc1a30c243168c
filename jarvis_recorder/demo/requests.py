"""The demo's requests to the recorder, with their results in words."""

import time
from typing import Any, NamedTuple

from jarvis_recorder.client import RecorderClient
from jarvis_recorder.wire.rpc.methods import BY_PARAMS, adapter
from jarvis_recorder.wire.rpc.params import (
    EventHistogram,
    ListEvents,
    Params,
    ReadStats,
    SearchTurns,
    SetPreference,
    TimelineAround,
)
from jarvis_recorder.wire.rpc.results import (
    EventPage,
    FoundTurns,
    Histogram,
    OnePreference,
    Stats,
    Timeline,
)


class Asked(NamedTuple):
    """A request: its method, its params as JSON, its result in words, its duration."""

    method: str
    params: str
    answer: str
    milliseconds: float


async def ask_around(url: str) -> list[Asked]:
    """Send a running recorder the requests that show the story best."""
    async with RecorderClient(url) as client:
        down = await client.events.list(text="NODE_DOWN", limit=1)
        moment = down.events[0].timestamp
        newest = (await client.events.list(limit=1)).events[0].timestamp
        requests: tuple[Params[Any], ...] = (
            ListEvents(type="alert", severity="critical", resolved=False, limit=5),
            TimelineAround(timestamp=moment, window_seconds=300),
            SearchTurns(query="node pve", limit=5),
            EventHistogram(since=moment, until=newest, by="severity"),
            SetPreference(key="assistant.tone", value="calm"),
            ReadStats(),
        )
        return [await _asked(client, request) for request in requests]


async def _asked(client: RecorderClient, request: Params[Any]) -> Asked:
    method = BY_PARAMS[type(request)]
    params = adapter(method.params).dump_json(request, exclude_defaults=True).decode()
    began = time.perf_counter()
    answer = await client.ask(request)
    milliseconds = (time.perf_counter() - began) * 1_000
    return Asked(method.name, params, in_words(answer), milliseconds)


def in_words(answer: Any) -> str:
    """Return a result in a few words."""
    match answer:
        case EventPage(events=events):
            return f"{len(events)}: " + (events[0].summary if events else "none")
        case Timeline(snapshot=snapshot, events=events, turns=turns):
            in_force = "a snapshot in force" if snapshot else "no snapshot"
            return f"{in_force}, {len(events)} events and {len(turns)} turns around it"
        case FoundTurns(turns=turns):
            return f"{len(turns)}: " + (turns[0].snippet if turns else "none")
        case Histogram(buckets=buckets, bucket_seconds=seconds):
            total = sum(bucket.count for bucket in buckets)
            return f"{total} events in {len(buckets)} buckets of {seconds} s"
        case OnePreference(preference=preference):
            return f"version {preference.version}"
        case Stats(holdings=held):
            return f"{held.events.count} events, {held.conversations.count} turns"
    return type(answer).__name__
