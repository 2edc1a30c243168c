"""`db stats` and `db vacuum`."""

import json
from typing import TYPE_CHECKING, Annotated, Final

import typer

from jarvis_recorder.cli.database.options import EXAMPLE, database, progress
from jarvis_recorder.cli.options import ConfigFile, Json, Overrides

if TYPE_CHECKING:
    from jarvis_recorder.storage.sqlite.admin.stats import FileStats

_DAY: Final = "%Y-%m-%d"
_MINUTE: Final = "%Y-%m-%d %H:%M"


def register(commands: typer.Typer) -> None:
    commands.command(epilog=EXAMPLE.format("stats --exact"))(stats)
    commands.command(epilog=EXAMPLE.format("vacuum"))(vacuum)


def stats(
    exact: Annotated[
        bool, typer.Option("--exact", help="Count, by reading the whole file.")
    ] = False,
    config: ConfigFile = None,
    set_: Overrides = None,
    as_json: Json = False,
) -> None:
    """
    Print what the tables hold and how much room they take, at once.

    Rows and bytes of the tables are estimates (≈) without --exact. Changes nothing.
    """
    from jarvis_recorder.storage.sqlite.admin import stats as inspection

    path = database(config, set_)
    with progress() as report:
        report("reading", 0, 0)
        found = inspection.stats(path, exact=exact)
    if as_json:
        typer.echo(json.dumps(_as_json(found)))
    else:
        _show(found)


def _as_json(found: "FileStats") -> dict[str, object]:
    tables = [
        each._asdict()
        | {
            "oldest": each.oldest and each.oldest.isoformat(),
            "newest": each.newest and each.newest.isoformat(),
        }
        for each in found.tables
    ]
    return found._asdict() | {"path": str(found.path), "tables": tables}


def _show(found: "FileStats") -> None:
    from jarvis_recorder.cli.output.screen import Column, open_screen
    from jarvis_recorder.cli.output.units import size

    screen = open_screen()
    moments = [moment for each in found.tables for moment in (each.oldest, each.newest)]
    clock = screen.clock(moments)
    screen.heading(str(found.path))
    screen.table(
        (
            Column("table"),
            Column("rows" if found.exact_rows else "≈ rows", justify="right"),
            Column("size" if found.exact_bytes else "≈ size", justify="right"),
            Column(clock.heading("oldest")),
            Column("newest"),
        ),
        [
            (
                each.name,
                f"{each.rows:,}",
                size(each.size_bytes),
                clock.text(each.oldest, _DAY),
                clock.text(each.newest, _MINUTE),
            )
            for each in found.tables
        ],
    )
    free = found.free_pages * found.page_size
    share = found.free_pages / found.pages if found.pages else 0.0
    facts = [
        ("file", size(found.size_bytes)),
        ("write-ahead log", size(found.wal_bytes)),
        ("free in the file", f"{size(free)} ({share:.0%}); `db vacuum` gives it back"),
    ]
    if found.unused_bytes is not None:
        facts.append(("unused in its pages", size(found.unused_bytes)))
    facts.append(("schema", found.revision or "none"))
    screen.facts(facts)


def vacuum(config: ConfigFile = None, set_: Overrides = None, as_json: Json = False) -> None:
    """
    Write the database again without the free space in it. The recorder must be stopped.

    Meanwhile needs room for the database twice more, next to it.
    """
    from jarvis_recorder.cli.output.units import size
    from jarvis_recorder.storage.sqlite.admin import vacuum as offline

    path = database(config, set_)
    with progress() as report:
        done = offline.vacuum(path, report)
    if as_json:
        typer.echo(json.dumps({"path": str(path)} | done._asdict()))
    else:
        typer.echo(f"{path}: {size(done.before_bytes)} → {size(done.after_bytes)}")
