"""Logging: for people on a terminal, as JSON lines anywhere else."""

import logging
import os
import sys
from typing import Any, Final, Literal, TextIO

import structlog

# aiormq logs whole frames at debug, with payloads and passwords, and also logs errors that
# reach the recorder as exceptions anyway.
_SILENCED: Final = (
    "aiormq",
    "aio_pika",
    "asyncio",
    "aiosqlite",
    "sqlalchemy",
    "alembic",
    "uvicorn",
)


# Syslog's priorities; see sd-daemon(3).
_PRIORITIES: Final = {"debug": 7, "info": 6, "warning": 4}
_ERROR: Final = 3


def configure(
    level: Literal["debug", "info", "warning", "error"],
    form: Literal["auto", "console", "json"],
    stream: TextIO | None = None,
) -> None:
    """
    Send log lines of this level and above to `stream`, standard error by default.

    If that is the journal, each JSON line begins with its priority.
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
