"""Logging: for people on a terminal, as JSON lines anywhere else."""

import logging
import os
import sys
import time
from collections.abc import Callable, MutableMapping
from typing import Any, Final, Literal, TextIO

import structlog

# aiormq logs whole frames at debug, with payloads and passwords, and also logs errors that
# reach the recorder as exceptions anyway.
_SILENCED: Final = (
    "aiormq",
    "aio_pika",
    "asyncio",
    "aiosqlite",
    "psycopg",
    "sqlalchemy",
    "alembic",
    "uvicorn",
)


# Syslog's priorities; see sd-daemon(3).
_PRIORITIES: Final = {"debug": 7, "info": 6, "warning": 4}
_ERROR: Final = 3

# One sender of bad messages must not fill the disk, nor have the journal drop the other lines.
_ALIKE: Final = ("event", "queue", "reason")
_MOST_ALIKE: Final = 30
_MOST_ALIKE_SECONDS: Final = 60.0
# A reason may hold a number, and then is another one each time.
_MOST_KINDS: Final = 1_000


class RepeatLimit:
    """
    A structlog processor that drops lines beyond 30 a minute of one event, queue and reason.

    The first line of the next minute says how many were not logged. Debug lines all pass.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counted: dict[tuple[Any, ...], tuple[float, int]] = {}

    def __call__(
        self, _: object, level: str, line: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        if level == "debug":
            return line
        now = self._clock()
        alike = tuple(line.get(name) for name in _ALIKE)
        began, count = self._counted.get(alike, (now, 0))
        if now - began >= _MOST_ALIKE_SECONDS:
            if count > _MOST_ALIKE:
                line["not_logged"] = count - _MOST_ALIKE
            began, count = now, 0
        if len(self._counted) >= _MOST_KINDS:
            self._counted.clear()
        self._counted[alike] = began, count + 1
        if count >= _MOST_ALIKE:
            raise structlog.DropEvent
        return line


def configure(
    level: Literal["debug", "info", "warning", "error"],
    form: Literal["auto", "console", "json"],
    stream: TextIO | None = None,
) -> None:
    """
    Send log lines of this level and above to `stream`, standard error by default.

    If that is the journal, each JSON line begins with its priority. Of lines alike only so many
    pass a minute; see `RepeatLimit`.
    """
    out = stream or sys.stderr
    console = form == "console" or (form == "auto" and out.isatty())
    renderers: list[Any] = (
        [structlog.dev.ConsoleRenderer(colors=out.isatty())]
        if console
        else [
            structlog.processors.JSONRenderer(ensure_ascii=False),
            lambda _, level, line: f"{priority(level, out)}{line}",
        ]
    )
    structlog.configure(
        processors=[
            RepeatLimit(),
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=True,
    )
    for name in _SILENCED:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def priority(level: str, stream: TextIO) -> str:
    """Return the prefix that gives a line its priority in the journal, else an empty text."""
    return f"<{_PRIORITIES.get(level, _ERROR)}>" if _is_journal(stream) else ""


def _is_journal(stream: TextIO) -> bool:
    """Return whether systemd connects this stream to the journal; see systemd.exec(5)."""
    journal = os.environ.get("JOURNAL_STREAM")
    if not journal:
        return False
    try:
        file = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return journal == f"{file.st_dev}:{file.st_ino}"
