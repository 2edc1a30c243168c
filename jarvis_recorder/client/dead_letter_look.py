"""A look through the whole queue of dead letters, to correct the recorder's index of them."""

import time
from collections.abc import Iterator
from dataclasses import asdict
from itertools import pairwise
from typing import Any, Final

from pydantic_core import to_json

from jarvis_recorder.wire.amqp.delivery import Delivery
from jarvis_recorder.wire.dead_letter import MOST_INDEXED, DeadLetter, bounded
from jarvis_recorder.wire.rpc import jsonrpc
from jarvis_recorder.wire.rpc.params import MAX_LETTERS, ReconcileDeadLetters, WaitingLetter

# The recorder reads requests of up to 64 KiB one by one, and larger ones in a thread.
_MOST_BYTES: Final = 48 * 1024


class Look:
    """
    The dead letters seen in one look, except for those that have left the queue since.

    Of very many those that were seen last are kept: the index holds no more.
    """

    def __init__(self, began: float) -> None:
        """Begin a look, which has begun at this time of the monotonic clock."""
        self._began = began
        self._seen: dict[int, DeadLetter] = {}
        self.is_whole = False
        """To be set when the look has come to the end of the queue."""

    def saw(self, letter: DeadLetter, delivery: Delivery) -> None:
        """Note a dead letter that is in the queue."""
        self._seen[delivery.tag] = bounded(letter)
        if len(self._seen) > MOST_INDEXED:
            del self._seen[next(iter(self._seen))]

    def removed(self, delivery: Delivery) -> None:
        """Note that a dead letter has left the queue."""
        self._seen.pop(delivery.tag, None)

    def requests(self) -> Iterator[bytes]:
        """Yield the requests that correct the index, each a part of it; none asks for a reply."""
        parts = list(self._parts())
        # A part begins behind the last id of the one before; the last part has no end.
        ends = [None, *(part[-1].id for part in parts[:-1]), None]
        for part, (after, up_to) in zip(parts, pairwise(ends), strict=True):
            ago = round(time.monotonic() - self._began, 3)
            yield jsonrpc.notification(
                ReconcileDeadLetters(letters=part, began_seconds_ago=ago, after=after, up_to=up_to)
            )

    def _parts(self) -> Iterator[list[WaitingLetter]]:
        """Yield the letters by id, in parts of a bounded size; one empty part of none."""
        part: list[WaitingLetter] = []
        room = _MOST_BYTES
        for letter in self._letters():
            room -= len(to_json(asdict(letter)))
            if part and (room < 0 or len(part) == MAX_LETTERS):
                yield part
                part, room = [], _MOST_BYTES
            part.append(letter)
        yield part

    def _letters(self) -> list[WaitingLetter]:
        found: dict[str, dict[str, Any]] = {}
        for letter in self._seen.values():
            one = found.setdefault(letter.id, asdict(letter) | {"copies": 0})
            one["copies"] += 1
        return [WaitingLetter(**found[identity]) for identity in sorted(found)]
