"""`db backup` and `db restore`."""

import contextlib
import json
import os
from pathlib import Path
from typing import Annotated, Final

import typer

from jarvis_recorder.cli.database.options import EXAMPLE, database, progress
from jarvis_recorder.cli.options import ConfigFile, Json, Overrides

# The recorder and a broker on the same machine come first; a backup may take its time.
_NICENESS: Final = 19


def register(commands: typer.Typer) -> None:
    commands.command(epilog="Example: `jarvis-recorder db backup --to /srv/backup --keep 14`")(
        backup
    )
    commands.command(epilog=EXAMPLE.format("restore /srv/backup/recorder-….db"))(restore)


def backup(
    to: Annotated[
        Path,
        typer.Option(
            "--to",
            metavar="DIRECTORY",
            help="Where backups are kept, best on another disk; made where there is none.",
        ),
    ],
    keep: Annotated[
        int | None,
        typer.Option(
            "--keep", metavar="N", min=1, help="Remove older backups there beyond so many."
        ),
    ] = None,
    config: ConfigFile = None,
    set_: Overrides = None,
    as_json: Json = False,
) -> None:
    """
    Back the database up while the recorder records.

    The backup is one file, `recorder-TIME.db`, that holds everything committed before the
    command began. It gets this name when it has been verified and is on disk. Only then
    are older ones removed, and never a file of another name; none is while a damaged
    database waits in quarantine for `db acknowledge`.
    """
    # The unit's system call filter forbids it; the unit sets Nice= itself.
    with contextlib.suppress(PermissionError):
        os.nice(_NICENESS)
    from jarvis_recorder.cli.output.units import counted, size
    from jarvis_recorder.storage.sqlite.admin.backup import backup as back_up

    path = database(config, set_)
    with progress() as report:
        made = back_up(path, to.absolute(), keep, report)
    if as_json:
        facts = {
            "path": str(made.path),
            "size_bytes": made.size_bytes,
            "rows": made.rows,
            "seconds": round(made.seconds, 3),
            "removed": [str(each) for each in made.removed],
            "quarantine": None if made.quarantine is None else str(made.quarantine),
        }
        typer.echo(json.dumps(facts))
        return
    rows = counted(sum(made.rows.values()), "row")
    typer.echo(f"{made.path}: {size(made.size_bytes)}, {rows}, verified, {made.seconds:.1f} s")
    for each in made.removed:
        typer.echo(f"{each}: removed")
    if made.quarantine is not None:
        typer.echo(
            f"{made.quarantine}: the database before was damaged; until "
            "`jarvis-recorder db acknowledge` no backup is removed"
        )


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The backup.")],
    config: ConfigFile = None,
    set_: Overrides = None,
    as_json: Json = False,
) -> None:
    """
    Put a backup in the place of the database. The recorder must be stopped.

    The backup is verified first, and brought to the newest schema. The database before it is
    kept next to it, as `recorder.db.replaced-TIME`; nothing is deleted. Whenever this is
    interrupted, either the old database is in place or the new one.
    """
    from jarvis_recorder.storage.sqlite.admin.restore import restore as put_back

    path = database(config, set_)
    with progress() as report:
        restored = put_back(path, file.absolute(), report)
    kept = None if restored.kept is None else str(restored.kept)
    if as_json:
        facts = {"path": str(path), "backup": str(file.absolute()), "kept": kept}
        typer.echo(json.dumps(facts | {"revision": restored.revision}))
        return
    typer.echo(f"{path}: restored from {file}")
    if kept:
        typer.echo(f"{kept}: the database before; delete it when you no longer need it")
