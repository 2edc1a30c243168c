"""`make bench`: its options, and the order of the measurements."""

import contextlib
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench import report
from bench.contenders import CONTENDERS, HERE, Contender, NotHere
from bench.measure import Bench, Failed, Throughput
from jarvis_recorder.demo.node import private_node
from jarvis_recorder.errors import RecorderError
from jarvis_recorder.runtime import logging

KEYS: Final = tuple(dict.fromkeys(contender.key for contender in CONTENDERS))
_LATENCY_SECONDS: Final = 30
_LATENCY_PER_SECOND: Final = 100
_PIPE_WIDTH: Final = 100


def main(
    *,
    events: Annotated[int, typer.Option(min=1, help="Events for each contender.")] = 200_000,
    only: Annotated[
        str, typer.Option(help=f"Some contenders, such as recorder,b; of {', '.join(KEYS)}.")
    ] = "",
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; the median counts.")] = 3,
    memory: Annotated[
        bool, typer.Option("--memory", help="Instead: memory while a backlog is drained.")
    ] = False,
    latency: Annotated[
        bool, typer.Option("--latency", help="Instead: publish to readable, and start time.")
    ] = False,
    asking: Annotated[
        bool, typer.Option("--asking", help="Instead: questions there and back, beside a peer.")
    ] = False,
    questions: Annotated[
        bool, typer.Option("--questions", help="Instead: questions on many events; see --events.")
    ] = False,
    search: Annotated[
        bool, typer.Option("--search", help="Instead: searches among many turns; see --turns.")
    ] = False,
    backup: Annotated[
        bool, typer.Option("--backup", help="Instead: with a backup every second; see --events.")
    ] = False,
    retention: Annotated[
        bool, typer.Option("--retention", help="Instead: pruning beside recording; see --events.")
    ] = False,
    gateway: Annotated[
        bool, typer.Option("--gateway", help="Instead: REST, and pages that watch or stall.")
    ] = False,
    backlog: Annotated[int, typer.Option(min=1, help="Events for --memory.")] = 1_000_000,
    turns: Annotated[int, typer.Option(min=1, help="Turns for --search.")] = 1_000_000,
    output: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the results there.")
    ] = None,
) -> None:
    """Measure the recorder beside its peers, on a private RabbitMQ node."""
    logging.configure("warning", "auto")
    wanted = {
        _memory: memory, _latency: latency, _asking: asking, _questions: questions,
        _search: search, _backups: backup, _retention: retention, _gateway: gateway,
    }  # fmt: skip
    measures = [measure for measure, is_wanted in wanted.items() if is_wanted] or [_throughput]
    job = Options(events, rounds, backlog, turns, _chosen(only))
    console = Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH)
    with _bench(console) as (bench, machine):
        found: dict[str, Any] = {"machine": machine}
        console.print(report.facts(machine))
        for measure in measures:
            measured = measure(bench, job)
            found |= measured.found
            for table in measured.tables:
                console.print(table)
    if output is not None:
        output.write_text(json.dumps(found, indent=2) + "\n")
    reasons = found.get("not_measured", {}).values()
    raise typer.Exit(1 if any(reason.startswith("failed") for reason in reasons) else 0)


class Options(NamedTuple):
    """The sizes of the measurements, and the contenders."""

    events: int
    rounds: int
    backlog: int
    turns: int
    contenders: list[Contender]


class Measured(NamedTuple):
    """The results of a measurement, as JSON for scripts and as tables for people."""

    found: dict[str, Any]
    tables: Sequence[Table]


def _memory(bench: Bench, options: Options) -> Measured:
    drained = bench.memory(options.backlog)
    return Measured({"memory": drained._asdict()}, [report.memory(drained)])


def _latency(bench: Bench, _: Options) -> Measured:
    took = bench.latency(_LATENCY_SECONDS, _LATENCY_PER_SECOND)
    return Measured({"latency": took._asdict()}, [report.latency(took)])


def _asking(bench: Bench, options: Options) -> Measured:
    quiet, peer, busy = bench.asking(options.events)
    found = {
        "quiet": quiet._asdict(),
        "peer": peer if isinstance(peer, str) else peer._asdict(),
        "busy": busy._asdict(),
    }
    return Measured({"asking": found}, [report.asking(quiet, peer, busy)])


def _questions(bench: Bench, options: Options) -> Measured:
    few, many = bench.questions(options.events)
    found = {"questions": [asked._asdict() for asked in many]}
    return Measured(found, [report.questions(few, many, options.events)])


def _search(bench: Bench, options: Options) -> Measured:
    searched, share = bench.search(options.turns)
    found = {"index_share": share, "queries": [each._asdict() for each in searched]}
    return Measured({"search": found}, [report.search(searched, share, options.turns)])


def _backups(bench: Bench, options: Options) -> Measured:
    made = bench.backups(CONTENDERS[0], options.events, options.rounds)
    found = made._asdict() | {"made": [each._asdict() for each in made.made]}
    return Measured({"backups": found}, [report.backups(made)])


def _retention(bench: Bench, options: Options) -> Measured:
    pruned = bench.retention(options.events, _LATENCY_PER_SECOND)
    return Measured({"retention": pruned._asdict()}, [report.retention(pruned)])


def _gateway(bench: Bench, _: Options) -> Measured:
    served, watched, stalled = bench.gateway()
    found = {
        "served": served._asdict(),
        "watched": [each._asdict() for each in watched],
        "stalled": stalled._asdict(),
    }
    return Measured({"gateway": found}, report.gateway(served, watched, stalled))


def _throughput(bench: Bench, options: Options) -> Measured:
    runs, reasons = _run_all(bench, options.contenders, options.events, options.rounds)
    found = {
        "throughput": {name: [run._asdict() for run in taken] for name, taken in runs.items()},
        "not_measured": reasons,
    }
    return Measured(found, [report.throughput(options.contenders, runs, reasons)])


def _chosen(only: str) -> list[Contender]:
    keys = only.split(",") if only else KEYS
    for key in keys:
        if key not in KEYS:
            raise typer.BadParameter(f"{key!r} is none of {', '.join(KEYS)}", param_hint="--only")
    return [contender for contender in CONTENDERS if contender.key in keys]


@contextlib.contextmanager
def _bench(console: Console) -> Iterator[tuple[Bench, dict[str, str]]]:
    """Run a node, show progress on a terminal, and leave no file behind."""
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with (
        private_node() as node,
        tempfile.TemporaryDirectory(dir=results) as name,
        Progress(
            *columns,
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        ) as progress,
    ):
        task = progress.add_task("")

        def show(doing: str, done: int, total: int) -> None:
            progress.update(task, description=doing, completed=done, total=total or None)

        directory = Path(name)
        yield Bench(node, directory, show), report.machine(node.url, directory)


def _run_all(
    bench: Bench, contenders: list[Contender], events: int, rounds: int
) -> tuple[dict[str, list[Throughput]], dict[str, str]]:
    """Measure each contender in turn, every second round backwards; return runs and failures."""
    runs: dict[str, list[Throughput]] = defaultdict(list)
    reasons: dict[str, str] = {}
    for number in range(rounds):
        for contender in contenders if number % 2 == 0 else reversed(contenders):
            if contender.name in reasons:
                continue
            try:
                run = bench.throughput(contender, max(1, round(events * contender.share)))
            except NotHere as error:
                reasons[contender.name] = f"not here: {error}"
            except Failed as error:
                reasons[contender.name] = f"failed: {error}"
            else:
                runs[contender.name].append(run)
    return runs, reasons


if __name__ == "__main__":
    try:
        typer.run(main)
    except RecorderError as error:
        sys.exit(f"bench: {error}")
