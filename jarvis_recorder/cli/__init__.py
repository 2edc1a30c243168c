"""The command line, one file a command group."""

import errno
import gc
import importlib
import os
import select
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from jarvis_recorder import __version__
from jarvis_recorder.errors import RecorderError

# A shell's code for a program that SIGINT has ended.
_INTERRUPTED: Final = 130
_COLLECT_AFTER_ALLOCATIONS: Final = 50_000
_DAEMONS: Final = ("run", "gateway")
# Modules of commands, in the order of the help.
_ALL: Final = (
    "run", "demo", "doctor", "health", "query", "prefs", "resolve", "methods", "tail", "dead_letters",
    "gateway", "database", "import_legacy", "schema", "config", "provision",
)  # fmt: skip
# The module of a command that needs no other. Alone it begins sooner, and a daemon has less in memory
# for as long as it runs.
_ALONE: Final = {
    "run": "run", "demo": "demo", "doctor": "doctor", "health": "health", "stats": "health",
    "resolve": "resolve", "tail": "tail", "dead": "dead_letters", "gateway": "gateway",
    "db": "database", "import": "import_legacy", "schema": "schema", "config": "config",
    "provision": "provision",
}  # fmt: skip
_UNWRITABLE: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"jarvis-recorder {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    pass


class _Commands(TyperGroup):
    """The commands, which end without an error once their output has no reader, as with `| head`."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        # `--version` and `--help` print here.
        with _ending_in_silence():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        try:
            with _ending_in_silence():
                return super().invoke(ctx)
        except _Unread:
            # A daemon whose log has no reader has failed.
            raise typer.Exit(int(ctx.invoked_subcommand in _DAEMONS)) from None


class _Unread(typer.Exit):
    """The output of a command has no reader any more; unless caught, the exit code is 0."""


@contextmanager
def _ending_in_silence() -> Iterator[None]:
    """
    End the command when its output cannot be written; in silence if a pipe's reader has gone.

    Raises:
        RecorderError: The disk is full that the output is redirected to, or fails.
        _Unread: The reader has closed it.
    """
    try:
        try:
            yield
        finally:
            # Output that is still buffered at the end would fail after the last handler.
            sys.stdout.flush()
    except BrokenPipeError:
        if not _is_unread():
            raise
        raise _Unread from None
    except OSError as error:
        # One that names a file is not of a stream.
        if error.errno not in _UNWRITABLE or error.filename is not None:
            raise
        _discard_output()
        raise RecorderError(f"the output cannot be written: {error.strerror}") from None
    except SystemExit as end:
        # Rich turns the error into this.
        if isinstance(end.__context__, BrokenPipeError):
            raise _Unread from None
        raise


def _is_unread() -> bool:
    """Return whether standard output is a pipe without a reader; if so, discard what is left."""
    poll = select.poll()
    poll.register(1, 0)
    is_unread = any(event & select.POLLERR for _, event in poll.poll(0))
    if is_unread:
        _discard_output()
    return is_unread


def _discard_output() -> None:
    """Redirect standard output to /dev/null: the interpreter flushes it again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _open_missing_streams() -> None:
    """
    Open /dev/null as each standard stream that was closed when the process began.

    Else they are None, and the next file or connection gets the number of one.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))


def _write_what_is_encodable() -> None:
    """Replace or escape characters that an output cannot encode, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure: Any = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace" if stream.isatty() else "backslashreplace")


def _application(words: Sequence[str] = ()) -> typer.Typer:
    """Return a new command line: of the command that the words begin with, else of all commands."""
    application = typer.Typer(
        name="jarvis-recorder",
        help="Record what a cluster says on RabbitMQ into SQLite: every message, once.",
        epilog="To see it at work: `jarvis-recorder demo`. Exit codes: 0 done, 1 failed, "
        "2 wrong usage, 69 broker or database unreachable, 75 another recorder holds the database, "
        "78 the configuration is wrong.",
        rich_markup_mode="markdown",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        cls=_Commands,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    application.callback()(_options)
    alone = _ALONE.get(words[0]) if words else None
    for name in [alone] if alone else _ALL:
        importlib.import_module(f"{__name__}.{name}").register(application)
    return application


def _load_structlog_alone() -> None:
    """
    Load structlog as if Rich were not installed.

    It would load Rich for tracebacks that no log line here has, before it is told that lines are
    JSON: a tenth of the imports, and 4 MB for as long as a daemon runs.
    """
    if "structlog" in sys.modules or "rich" in sys.modules:
        return
    # The import system takes None for a module that cannot be imported.
    sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        importlib.import_module("structlog")
    finally:
        del sys.modules["rich"]


def main() -> None:
    """Run the command line; print a `RecorderError` as one line and exit with its code."""
    _open_missing_streams()
    _write_what_is_encodable()
    # Nothing that is loaded is garbage: looking for some took a tenth of the start.
    gc.set_threshold(_COLLECT_AFTER_ALLOCATIONS)
    _load_structlog_alone()
    from jarvis_recorder.cli.output.sanitize import sanitize

    try:
        _application(sys.argv[1:])()
    except KeyboardInterrupt:
        # Typer handles only an interrupt that comes after its command has begun.
        sys.exit(_INTERRUPTED)
    except RecorderError as error:
        from jarvis_recorder.runtime.logging import priority

        # The text may quote a record, or an error of some broker.
        said = f"jarvis-recorder: {sanitize(str(error))}"
        typer.echo(f"{priority('error', sys.stderr)}{said}", err=True)
        sys.exit(error.exit_code)
