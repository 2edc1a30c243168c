"""`dead`: list, show, edit, replay, drop and export dead letters."""

import asyncio
import contextlib
import sys
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Final

import typer

from jarvis_recorder.cli.editor import edited
from jarvis_recorder.cli.files import new_file
from jarvis_recorder.cli.options import ConfigFile, Json, Overrides, Yes, confirm, loaded
from jarvis_recorder.cli.time_options import Since, Until
from jarvis_recorder.errors import RecorderError, Undeliverable

if TYPE_CHECKING:
    from jarvis_recorder.client.dead_letter_replay import DeadLetterAdmin, Filter, FoundDeadLetter
    from jarvis_recorder.wire.dead_letter import DeadLetter

commands = typer.Typer(
    no_args_is_help=True,
    help="Look at what could not be recorded, fix it, replay it or drop it.",
    epilog="They wait in the queue jarvis.recorder.dead of the broker that broker.url names, whose "
    "user must be allowed to read it. No recorder need run.",
)

DEFAULT_LIMIT: Final = 50
_MOST_SHOWN: Final = 1_000_000
_MAX_BODY: Final = 16 * 1024 * 1024
_WITHOUT_ASKING: Final = "--yes drops without asking"

Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]…", help="As `dead list` shows.")]
Reasons = Annotated[
    list[str] | None,
    typer.Option("--reason", metavar="REASON", help="Only of this reason. May be repeated."),
]
Queue = Annotated[
    str | None, typer.Option("--queue", metavar="NAME", help="Only those that came by this queue.")
]
All = Annotated[bool, typer.Option("--all", help="All that there are.")]


def register(application: typer.Typer) -> None:
    application.add_typer(commands, name="dead")


@commands.command(name="list", epilog="Example: `jarvis-recorder dead list --reason invalid`")
def list_(
    *,
    reasons: Reasons = None,
    queue: Queue = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[
        int,
        typer.Option(
            "--limit", metavar="N", min=1, max=_MOST_SHOWN, help="The most to show, the newest."
        ),
    ] = DEFAULT_LIMIT,
    config: ConfigFile = None,
    set_: Overrides = None,
    as_json: Json = False,
) -> None:
    """Count the dead letters by reason and list the newest; all stay where they are."""
    from jarvis_recorder.client.dead_letter_replay import Filter
    from jarvis_recorder.wire.dead_letter import DeadLetter

    wanted = Filter(reasons=reasons or (), queue=queue, since=since, until=until)
    counts: Counter[str] = Counter()
    newest: deque[DeadLetter] = deque(maxlen=limit)

    async def look(letters: "DeadLetterAdmin") -> Undeliverable | None:
        try:
            async for found in letters.iterate(wanted):
                counts[found.letter.reason] += 1
                newest.append(found.letter)
        except Undeliverable as obstacle:
            return obstacle
        return None

    with _letters(config, set_) as letters:
        obstacle = asyncio.run(look(letters))
    everything = wanted == Filter() and obstacle is None
    _show_list(list(newest)[::-1], counts, everything=everything, as_json=as_json)
    if obstacle is not None:
        raise obstacle


def _show_list(
    shown: "Sequence[DeadLetter]", counts: Counter[str], *, everything: bool, as_json: bool
) -> None:
    from jarvis_recorder.cli.output.dead_letters import show_counts, show_dead_letters
    from jarvis_recorder.cli.output.screen import open_screen

    if as_json:
        _print_json({"counts": dict(counts), "letters": shown})
        return
    screen = open_screen()
    if not shown:
        screen.note("There are no dead letters." if everything else "No dead letter fits.")
        return
    show_dead_letters(screen, shown)
    show_counts(screen, counts)
    if len(shown) < sum(counts.values()):
        screen.note(f"the newest {len(shown):,} are listed; --limit lists more")


@commands.command(epilog="Example: `jarvis-recorder dead show 4f1c09ab27de`")
def show(
    identity: Annotated[str, typer.Argument(metavar="ID", help="As `dead list` shows.")],
    *,
    full: Annotated[bool, typer.Option("--full", help="The whole body.")] = False,
    config: ConfigFile = None,
    set_: Overrides = None,
    as_json: Json = False,
) -> None:
    """Show one dead letter: why, its properties, its headers and its body."""
    from jarvis_recorder.cli.output.dead_letters import show_dead_letter
    from jarvis_recorder.cli.output.screen import open_screen

    with _letters(config, set_) as letters:
        found = asyncio.run(letters.get(identity))
    if as_json:
        typer.echo(_exported(found))
    else:
        show_dead_letter(open_screen(), found, whole=full)


@commands.command(
    epilog="Examples: `jarvis-recorder dead replay --reason refused_by_storage`, "
    "`jarvis-recorder dead replay 4f1c09ab27de --edit`"
)
def replay(
    ids: Ids = None,
    *,
    everything: All = False,
    reasons: Reasons = None,
    queue: Queue = None,
    since: Since = None,
    until: Until = None,
    edit: Annotated[
        bool, typer.Option("--edit", help="Open the body of the one letter in $EDITOR before.")
    ] = False,
    body: Annotated[
        str | None,
        typer.Option(
            "--body",
            metavar="FILE",
            help="Replay the one letter with this body; - reads standard input.",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replay a body though it would be refused again.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only count what would be replayed.")
    ] = False,
    config: ConfigFile = None,
    set_: Overrides = None,
    as_json: Json = False,
) -> None:
    """
    Publish dead letters as the messages they were, to be recorded like any other.

    They keep their identity: what was recorded meanwhile is not stored twice. What fails again
    comes back, with a count. Exit code 1 if one could not be published.
    """
    wanted = _wanted(ids, everything, reasons, queue, since, until)
    if edit and body is not None:
        raise typer.BadParameter(
            "--edit and --body exclude each other: each gives the letter a body"
        )
    if (edit or body is not None) and (not ids or len(ids) > 1):
        raise typer.BadParameter("--edit and --body are for one letter: name its ID")
    with _letters(config, set_) as letters:
        new_body = None
        if edit or body is not None:
            found = asyncio.run(letters.get((ids or [""])[0]))
            new_body = _edited(found) if body is None else _read(body)
            _require_valid(found, new_body, force=force)
        if dry_run:
            outcomes = {"would_replay": asyncio.run(_count(letters, wanted))}
        else:
            outcomes = {
                str(name): count
                for name, count in asyncio.run(letters.replay(wanted, new_body)).items()
            }
    _report(outcomes, as_json=as_json)
    _require_found(ids, sum(outcomes.values()))
    if outcomes.get("not_confirmed") or outcomes.get("no_topic"):
        raise typer.Exit(1)


@commands.command(epilog="Example: `jarvis-recorder dead drop --reason not_json`")
def drop(
    ids: Ids = None,
    *,
    everything: All = False,
    reasons: Reasons = None,
    queue: Queue = None,
    since: Since = None,
    until: Until = None,
    undeliverable: Annotated[
        bool,
        typer.Option("--undeliverable", help="Those that the broker cannot deliver, unread."),
    ] = False,
    yes: Yes = False,
    config: ConfigFile = None,
    set_: Overrides = None,
    as_json: Json = False,
) -> None:
    """Throw dead letters away for good. `dead export` keeps a copy before."""
    if undeliverable:
        if ids or everything or reasons or queue or since or until:
            raise typer.BadParameter(
                "--undeliverable goes alone: such a dead letter cannot be read"
            )
        _drop_undeliverable(yes, config, set_, as_json=as_json)
        return
    wanted = _wanted(ids, everything, reasons, queue, since, until)
    with _letters(config, set_) as letters:

        def question() -> str:
            count = asyncio.run(_count(letters, wanted))
            _require_found(ids, count)
            return f"Throw away {count:,} dead letters for good?"

        if not yes:
            confirm(question, _WITHOUT_ASKING)
        dropped = asyncio.run(letters.drop(wanted))
    _report({"dropped": dropped}, as_json=as_json)
    _require_found(ids, dropped)


def _drop_undeliverable(
    yes: bool, config: Path | None, overrides: list[str] | None, *, as_json: bool
) -> None:
    if not yes:
        confirm(lambda: "Throw them away for good, unread?", _WITHOUT_ASKING)
    with _letters(config, overrides) as letters:
        dropped = asyncio.run(letters.drop_undeliverable())
    _report({"dropped": dropped}, as_json=as_json)


@commands.command(epilog="Example: `jarvis-recorder dead export dead.jsonl`")
def export(
    file: Annotated[str, typer.Argument(metavar="FILE", help="- writes to standard output.")],
    *,
    reasons: Reasons = None,
    queue: Queue = None,
    since: Since = None,
    until: Until = None,
    config: ConfigFile = None,
    set_: Overrides = None,
) -> None:
    """
    Write dead letters to a file of JSON lines, whole; all stay where they are.

    The file gets its name when all are in it and on disk. If the command fails before, there is
    none.
    """
    from jarvis_recorder.client.dead_letter_replay import Filter

    wanted = Filter(reasons=reasons or (), queue=queue, since=since, until=until)

    async def write(letters: "DeadLetterAdmin", out: BinaryIO) -> int:
        written = 0
        async for found in letters.iterate(wanted, whole=True):
            out.write(_exported(found).encode() + b"\n")
            written += 1
        return written

    with _letters(config, set_) as letters, _output(file) as out:
        count = asyncio.run(write(letters, out))
    typer.echo(f"{count:,} dead letters exported", err=True)


@contextlib.contextmanager
def _letters(config: Path | None, overrides: list[str] | None) -> "Iterator[DeadLetterAdmin]":
    """Yield the dead letter queue of the broker in the settings; show progress on a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from jarvis_recorder.client.dead_letter_replay import DeadLetterAdmin
    from jarvis_recorder.runtime import logging

    settings = loaded(config, overrides).settings
    logging.configure("error", settings.log.format)
    broker = settings.broker
    open_admin = partial(
        DeadLetterAdmin, broker.url.get_secret_value(), also=broker.also, tls=broker.tls
    )
    console = Console(stderr=True)
    if not console.is_terminal:
        yield open_admin()
        return
    columns = (TextColumn("Looking through"), BarColumn(), MofNCompleteColumn())
    # An export writes bytes to standard output, which rich's replacement does not accept.
    bar = Progress(*columns, console=console, transient=True, redirect_stdout=False)
    task = bar.add_task("", total=None)

    def progress(done: int, total: int) -> None:
        if not bar.live.is_started:
            bar.start()
        bar.update(task, completed=done, total=total)
        if done == total:
            bar.stop()

    try:
        yield open_admin(progress)
    finally:
        bar.stop()


def _wanted(
    ids: list[str] | None,
    everything: bool,
    reasons: list[str] | None,
    queue: str | None,
    since: Any,
    until: Any,
) -> "Filter":
    from jarvis_recorder.client.dead_letter_replay import Filter

    wanted = Filter(ids=ids or (), reasons=reasons or (), queue=queue, since=since, until=until)
    if (wanted == Filter()) is not everything:
        raise typer.BadParameter(
            "say which: an ID, --reason, --queue, --since, --until, or all of them by --all alone"
        )
    return wanted


async def _count(letters: "DeadLetterAdmin", wanted: "Filter") -> int:
    count = 0
    async for _ in letters.iterate(wanted):
        count += 1
    return count


def _require_found(ids: list[str] | None, count: int) -> None:
    if ids and not count:
        raise RecorderError("there is no such dead letter: was it replayed or dropped?")


def _edited(found: "FoundDeadLetter") -> bytes:
    from jarvis_recorder.wire.dead_letter import readable_body

    if found.is_without_body:
        raise RecorderError(
            "the body is too large to be edited: export it, fix it elsewhere, and replay it with "
            "--body FILE"
        )
    body = readable_body(found.delivery, _MAX_BODY)
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise RecorderError(
            "the body is no text: export it, fix it elsewhere, and replay it with --body FILE"
        ) from None
    changed = edited(text, "letter.json")
    if changed == text:
        raise RecorderError("nothing was changed, so nothing is replayed")
    return changed.rstrip("\n").encode()


def _read(file: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise RecorderError(f"{file}: {error.strerror}") from None


def _require_valid(found: "FoundDeadLetter", body: bytes, *, force: bool) -> None:
    from jarvis_recorder.client.dead_letter_replay import validation_error

    wrong = validation_error(found, body)
    if wrong is not None and not force:
        raise RecorderError(f"it would be refused again: {wrong}; --force replays it all the same")


def _exported(found: "FoundDeadLetter") -> str:
    """Return a dead letter, with its body unless that was not read, as one line of JSON."""
    from base64 import b64encode

    from jarvis_recorder.cli.output.dead_letters import property_rows
    from jarvis_recorder.wire.amqp import properties

    letter, delivery = found
    document = _document(letter)
    document["properties"] = {name: str(value) for name, value in property_rows(delivery.header)}
    document["properties_base64"] = b64encode(properties.unchanged(delivery.header)).decode()
    if found.is_without_body:
        return _as_json(document)
    try:
        document["body"] = delivery.body.decode()
    except UnicodeDecodeError:
        document["body_base64"] = b64encode(delivery.body).decode()
    return _as_json(document)


def _document(letter: Any) -> dict[str, Any]:
    from dataclasses import asdict

    from jarvis_recorder.wire.times import format_datetime

    document = asdict(letter)
    if letter.received_at is not None:
        document["received_at"] = format_datetime(letter.received_at)
    return document


def _as_json(document: Any) -> str:
    import json

    from jarvis_recorder.cli.output.sanitize import sanitize_json

    return sanitize_json(json.dumps(document, ensure_ascii=False), sys.stdout.encoding)


def _print_json(answer: dict[str, Any]) -> None:
    typer.echo(_as_json(answer | {"letters": [_document(one) for one in answer["letters"]]}))


def _report(outcomes: dict[str, int], *, as_json: bool) -> None:
    if as_json:
        typer.echo(_as_json(outcomes))
        return
    said = [f"{count:,} {name.replace('_', ' ')}" for name, count in outcomes.items() if count]
    typer.echo(", ".join(said) or "no dead letter fits")


@contextlib.contextmanager
def _output(file: str) -> Iterator[BinaryIO]:
    if file == "-":
        yield sys.stdout.buffer
        return
    try:
        with new_file(Path(file)) as out:
            yield out
    except OSError as error:
        raise RecorderError(f"{file}: {error.strerror}") from None
