"""The pages of a search of conversations, which lose no turn of the first page's search, on any engine."""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Final, NamedTuple, Protocol

from pydantic_core import to_json

from jarvis_recorder.storage.queries.conversations import TURNS
from jarvis_recorder.storage.queries.cursors import damaged, read_cursor
from jarvis_recorder.storage.queries.json_rows import Line, write_page
from jarvis_recorder.storage.queries.phrases import (
    Phrase,
    as_prefix,
    phrases_of,
    require_few,
    snippet,
)
from jarvis_recorder.storage.queries.reading import Reading
from jarvis_recorder.wire.rpc.params import SearchTurns

BEGINNING_CHARACTERS: Final = 16_384
"""The part of a turn that is searched for the snippet."""

# Twice as many as are ranked: on a server some may have been committed behind higher ids.
_MOST_CONTINUED: Final = 2_000
# Its rows, newest first, are continued from an id alone.
_NEWEST_FIRST: Final = (0, "")
_MARKS: Final = re.compile("[0-9a-f]{1,512}")


class Search(Protocol):
    """The search of one engine, up to an id; turns are given by their ids."""

    def with_prefixes(self, phrases: Sequence[Phrase]) -> list[Phrase]:
        """Return the phrases, those that no turn holds as prefixes."""

    def to_be_ranked(self, phrases: Sequence[Phrase]) -> Sequence[int] | None:
        """Return the turns with all of the phrases, newest first; None if they are not to be ranked."""

    def hits(self, phrases: Sequence[Phrase], most: int) -> Sequence[int]:
        """Return the turns with all of the phrases, newest first; of more than `most` any of them."""

    def newest(self, phrases: Sequence[Phrase], most: int) -> Sequence[int]:
        """Return the newest turns with all of the phrases, `most` at most."""

    def best_first(self, phrases: Sequence[Phrase], turns: Sequence[int]) -> Sequence[int]:
        """Return these turns, which hold all of the phrases, in the order of their rank."""

    def beginning(self, turn_id: int) -> str | None:
        """Return the first `BEGINNING_CHARACTERS` of a turn, None if there is no such turn."""


class _Place(NamedTuple):
    """
    The place at which a search continues.

    What the first page has decided stays: which phrases are prefixes, and whether the turns are
    ranked. Ranks are not: in SQLite each new turn shifts them a little. So the marks say which of
    the turns up to an id, counted from the newest, have been shown.
    """

    prefixes: str
    upto: int
    hits: int
    shown: str

    def phrases(self, whole: Sequence[Phrase]) -> list[Phrase]:
        """Return the phrases, as prefixes those that the first page took as such."""
        marks = self.prefixes.ljust(len(whole), "-")
        return [
            as_prefix(one) if mark == "*" else one for one, mark in zip(whole, marks, strict=False)
        ]


_Found = Iterator[tuple[int, tuple[int, int, str]]]
"""The turns in their order, each with the upper id, the hits and the marks of the place behind it."""

_UpTo = Callable[[int | None], Search]


def search_page(reading: Reading, params: SearchTurns, search_up_to: _UpTo) -> bytes:
    """
    Return a page of the turns that contain every phrase of the query, best first.

    If none does, each word that no turn contains counts as a prefix. Where turns are not to be
    ranked, the newest come first. Further pages go on with the turns of the first page's search,
    in its order: none is lost, and none is shown twice unless others have been deleted meanwhile.

    Raises:
        InvalidParameter: The query has too many words, or too many prefixes; or the cursor is
            damaged.
    """
    whole = phrases_of(params.query)
    require_few(whole)
    most = params.limit + 1
    position = read_cursor(params, str, int, int, str)
    if position is None:
        phrases, found = _begun(search_up_to, whole, most)
    else:
        place = _Place(*position)  # type: ignore[arg-type]
        phrases = place.phrases(whole)
        found = _continued(search_up_to, phrases, place, most)
    prefixes = "".join("-*"[one != typed] for one, typed in zip(phrases, whole, strict=True))
    lines = _shown(reading, search_up_to(None), phrases, found, prefixes)
    return write_page(reading, params, "turns", lines)


def _begun(search_up_to: _UpTo, whole: list[Phrase], most: int) -> tuple[list[Phrase], _Found]:
    """Return what is found, and by which phrases."""
    search = search_up_to(None)
    for phrases in _spellings(search, whole) if whole else ():
        hits = search.to_be_ranked(phrases)
        found = (
            _newest_first(search_up_to, phrases, None, most)
            if hits is None
            else _best_first(search, phrases, hits, 0)
        )
        if (first := next(found, None)) is not None:
            return phrases, chain([first], found)
    return whole, iter(())


def _spellings(search: Search, whole: list[Phrase]) -> Iterator[list[Phrase]]:
    """Yield the phrases as they are, then with prefixes."""
    yield whole
    if (begun := search.with_prefixes(whole)) != whole:
        yield begun


def _continued(search_up_to: _UpTo, phrases: list[Phrase], place: _Place, most: int) -> _Found:
    if not phrases:
        return iter(())
    if (place.hits, place.shown) == _NEWEST_FIRST:
        return _newest_first(search_up_to, phrases, place.upto, most)
    if place.hits < 0 or not _MARKS.fullmatch(place.shown):
        raise damaged()
    search = search_up_to(place.upto)
    hits = search.hits(phrases, _MOST_CONTINUED)
    shown = _surely_shown(int(place.shown, 16), place.hits, len(hits))
    return _best_first(search, phrases, hits, shown)


def _surely_shown(shown: int, before: int, now: int) -> int:
    """
    Return the marks of the turns that were shown, at their places among as many as there are now.

    Where some have been deleted, or on a server committed late, a turn counts as shown only if all
    have been at whose place it may have been: rather it is shown twice than never.
    """
    gone, new = max(0, before - now), max(0, now - before)
    return sum(
        1 << at
        for at in range(now)
        if all(shown >> was & 1 for was in range(max(0, at - new), at + gone + 1))
    )


def _newest_first(
    search_up_to: _UpTo, phrases: Sequence[Phrase], upto: int | None, most: int
) -> _Found:
    """Yield all turns up to an id, which are read so many at once."""
    while turns := search_up_to(upto).newest(phrases, most):
        for turn_id in turns:
            yield turn_id, (turn_id - 1, *_NEWEST_FIRST)
        if len(turns) < most:
            return
        upto = turns[-1] - 1


def _best_first(
    search: Search, phrases: Sequence[Phrase], hits: Sequence[int], shown: int
) -> _Found:
    """Yield the hits that are not shown; `hits` are all, the newest first."""
    rest = {turn_id: 1 << at for at, turn_id in enumerate(hits) if not shown >> at & 1}
    for turn_id in search.best_first(phrases, [*rest]) if rest else ():
        shown |= rest[turn_id]
        yield turn_id, (hits[0], len(hits), f"{shown:x}")


def _shown(
    reading: Reading, search: Search, phrases: Sequence[Phrase], found: _Found, prefixes: str
) -> Iterator[Line]:
    """Yield the turns, each with the snippet that fits the query best."""
    for turn_id, behind in found:
        reading.go_on()
        turn = TURNS.write(reading.connection, turn_id)
        content = search.beginning(turn_id)
        if turn is None or content is None:
            # Deleted by another program, which has not updated the index.
            continue
        shown = reading.aside(partial(snippet, content, phrases))
        text = b'{"turn":%b,"snippet":%b,"highlights":%b}' % (
            turn.text,
            to_json(shown.text),
            to_json(shown.highlights),
        )
        yield Line(text, (prefixes, *behind), turn.read)
