"""`db stats` and `db vacuum`."""

import asyncio
import json
from typing import TYPE_CHECKING, Annotated, Final

import typer

from jarvis_recorder.cli.database.options import EXAMPLE, database, progress, server
from jarvis_recorder.cli.options import ConfigFile, Json, Overrides

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jarvis_recorder.cli.output.screen import Screen
    from jarvis_recorder.storage.postgres.admin import ServerStats
    from jarvis_recorder.storage.sqlite.admin.stats import FileStats
    from jarvis_recorder.storage.table_stats import TableStats

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

    if (url := server(config, set_)) is not None:
        from jarvis_recorder.storage.postgres import admin

        of_server = asyncio.run(admin.stats(url, exact=exact))
        if as_json:
            tables = _tables_as_json(of_server.tables)
            typer.echo(json.dumps(of_server._asdict() | {"tables": tables}))
        else:
            _show_server(of_server)
        return
    path = database(config, set_)
    with progress() as report:
        report("reading", 0, 0)
        found = inspection.stats(path, exact=exact)
    if as_json:
        typer.echo(json.dumps(_as_json(found)))
    else:
        _show(found)


def _as_json(found: "FileStats") -> dict[str, object]:
    return found._asdict() | {"path": str(found.path), "tables": _tables_as_json(found.tables)}


def _tables_as_json(tables: "Sequence[TableStats]") -> list[dict[str, object]]:
    return [
        each._asdict()
        | {
            "oldest": each.oldest and each.oldest.isoformat(),
            "newest": each.newest and each.newest.isoformat(),
        }
        for each in tables
    ]


def _show_server(found: "ServerStats") -> None:
    from jarvis_recorder.cli.output.screen import open_screen
    from jarvis_recorder.cli.output.units import size

    screen = open_screen()
    screen.heading(found.server)
    _show_tables(screen, found.tables, "rows" if found.exact_rows else "≈ rows", "size")
    screen.facts([("database", size(found.size_bytes)), ("schema", found.revision or "none")])


def _show(found: "FileStats") -> None:
    from jarvis_recorder.cli.output.screen import open_screen
    from jarvis_recorder.cli.output.units import size

    screen = open_screen()
    screen.heading(str(found.path))
    _show_tables(
        screen,
        found.tables,
        "rows" if found.exact_rows else "≈ rows",
        "size" if found.exact_bytes else "≈ size",
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


def _show_tables(screen: "Screen", tables: "Sequence[TableStats]", rows: str, bytes_: str) -> None:
    from jarvis_recorder.cli.output.screen import Column
    from jarvis_recorder.cli.output.units import size

    clock = screen.clock([moment for each in tables for moment in (each.oldest, each.newest)])
    screen.table(
        (
            Column("table"),
            Column(rows, justify="right"),
            Column(bytes_, justify="right"),
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
            for each in tables
        ],
    )


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
