"""Logging: for people on a terminal, as JSON lines anywhere else."""

import logging
import sys
from typing import Any, Final, Literal, TextIO

import structlog

# aiormq logs whole frames at debug, payloads and passwords included, and reports by itself
# what reaches us as an exception anyway.
_SILENCED: Final = (
    "aiormq",
    "aio_pika",
    "asyncio",
    "aiosqlite",
    "sqlalchemy",
    "alembic",
    "uvicorn",
)


def configure(
    level: Literal["debug", "info", "warning", "error"],
    form: Literal["auto", "console", "json"],
    stream: TextIO | None = None,
) -> None:
    """Send log lines of this level and above to `stream`, standard error by default."""
    out = stream or sys.stderr
    console = form == "console" or (form == "auto" and out.isatty())
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=out.isatty())
        if console
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=True,
    )
    for name in _SILENCED:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
