"""The words of a turn as a tsvector, the same words that SQLite's index has."""

from typing import Final

from jarvis_recorder.storage.queries.words import words_of

# https://www.postgresql.org/docs/current/textsearch-limitations.html
_LAST_POSITION: Final = 16_383
_MOST_POSITIONS: Final = 255
LONGEST_WORD_BYTES: Final = 2_046
# A tsvector holds less than 1 MiB; each position takes two bytes, each word some more.
_MOST_BYTES: Final = 900_000
_WORD_BYTES: Final = 8


def vector_of(content: str) -> str:
    """
    Return a text's words with their positions, as PostgreSQL reads a tsvector.

    Beyond PostgreSQL's limits a word is left out, so that a large turn is stored all the same.
    """
    places: dict[str, list[int]] = {}
    room = _MOST_BYTES
    for position, word in enumerate(words_of(content), 1):
        known = places.get(word)
        if known is None:
            size = len(word.encode())
            if size > LONGEST_WORD_BYTES:
                continue
            room -= size + _WORD_BYTES
            if room < 0:
                break
            known = places[word] = []
        if len(known) < _MOST_POSITIONS:
            known.append(min(position, _LAST_POSITION))
            room -= 2
    return " ".join(f"'{word}':{','.join(map(str, at))}" for word, at in places.items())
