"""`make bench`: its options, and the order of the measurements."""

import contextlib
import json
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench import report, scaling
from bench.contenders import CONTENDERS, HERE, THIS, Contender, NotHere
from bench.measure import Bench, Failed, Report, Throughput
from jarvis_recorder.demo.node import private_node
from jarvis_recorder.errors import RecorderError
from jarvis_recorder.runtime import logging

KEYS: Final = tuple(dict.fromkeys(contender.key for contender in CONTENDERS))
_LATENCY_SECONDS: Final = 30
_LATENCY_PER_SECOND: Final = 100
_PIPE_WIDTH: Final = 120

T = TypeVar("T", bound=tuple[Any, ...])

_CURVES: Final[dict[str, Callable[[Contender, int], Contender]]] = {
    "batch": lambda one, value: one._replace(settings=one.settings._replace(batch=value)),
    "prefetch": lambda one, value: one._replace(settings=one.settings._replace(prefetch=value)),
    "in_one": lambda one, value: one._replace(in_one=value),
    "body": lambda one, value: one._replace(size=value),
    "rows": lambda one, value: one._replace(rows=value),
}


def main(
    *,
    events: Annotated[int, typer.Option(min=1, help="Events for each contender.")] = 200_000,
    only: Annotated[
        str, typer.Option(help=f"Some contenders, such as recorder,b; of {', '.join(KEYS)}.")
    ] = "",
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; the median counts.")] = 3,
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="CHECKOUT",
            exists=True,
            file_okay=False,
            help="Measure the recorder of another checkout too, in turns with this one's.",
        ),
    ] = None,
    curve: Annotated[
        str,
        typer.Option(
            metavar="NAME=VALUES",
            help=f"Each contender once for each value, as in in_one=1,10,100; of {', '.join(_CURVES)}.",
        ),
    ] = "",
    throughput: Annotated[
        bool, typer.Option("--throughput", help="Rates, as well as what other options ask for.")
    ] = False,
    memory: Annotated[
        bool, typer.Option("--memory", help="Instead: memory while a backlog is drained.")
    ] = False,
    latency: Annotated[
        bool, typer.Option("--latency", help="Instead: publish to readable, and start time.")
    ] = False,
    asking: Annotated[
        bool, typer.Option("--asking", help="Instead: questions there and back, next to a peer.")
    ] = False,
    deadlines: Annotated[
        bool, typer.Option("--deadlines", help="Instead: requests with deadlines; see --backlog.")
    ] = False,
    questions: Annotated[
        bool, typer.Option("--questions", help="Instead: questions on many events; see --events.")
    ] = False,
    on_server: Annotated[
        bool, typer.Option("--on-server", help="With --questions: on PostgreSQL.")
    ] = False,
    search: Annotated[
        bool, typer.Option("--search", help="Instead: searches among many turns; see --turns.")
    ] = False,
    backup: Annotated[
        bool, typer.Option("--backup", help="Instead: with a backup every second; see --events.")
    ] = False,
    retention: Annotated[
        bool, typer.Option("--retention", help="Instead: pruning next to recording; see --events.")
    ] = False,
    gateway: Annotated[
        bool, typer.Option("--gateway", help="Instead: REST, and pages that watch or stall.")
    ] = False,
    backlog: Annotated[
        int, typer.Option(min=1, help="Events for --memory and --deadlines.")
    ] = 1_000_000,
    turns: Annotated[int, typer.Option(min=1, help="Turns for --search.")] = 1_000_000,
    results: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the tables there, as Markdown.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the results there.")
    ] = None,
) -> None:
    """Measure the recorder next to its peers, on a private RabbitMQ node."""
    logging.configure("warning", "auto")
    wanted = {
        _throughput: throughput, _memory: memory, _latency: latency, _asking: asking,
        _deadlines: deadlines, _questions: questions, _search: search, _backups: backup,
        _retention: retention, _gateway: gateway,
    }  # fmt: skip
    measures = [measure for measure, is_wanted in wanted.items() if is_wanted] or [_throughput]
    checkouts = {CONTENDERS[0].name: THIS}
    if against is not None:
        checkouts[f"{CONTENDERS[0].name} of {against.resolve().name}"] = against.resolve()
    chosen = _in_each(checkouts, _at_each(curve, _chosen(only)))
    job = Options(events, rounds, backlog, turns, chosen, checkouts, on_server)
    console = Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH)
    with _progress(console) as show:

        def fresh() -> contextlib.AbstractContextManager[Bench]:
            return _bench(show)

        with _bench(show) as bench:
            machine = bench.machine()
        found: dict[str, Any] = {"machine": machine}
        tables = [report.facts(machine)]
        console.print(*tables)
        for measure in measures:
            measured = measure(fresh, job)
            found |= measured.found
            tables += measured.tables
            for table in measured.tables:
                console.print(table)
    if results is not None:
        results.write_text(report.markdown(tables))
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
    checkouts: dict[str, Path]
    on_server: bool


Fresh = Callable[[], contextlib.AbstractContextManager[Bench]]
"""Returns a bench with a node of its own: an older one may cost more for each message."""


class Measured(NamedTuple):
    """The results of a measurement, as JSON for scripts and as tables for people."""

    found: dict[str, Any]
    tables: Sequence[Table]


def _memory(fresh: Fresh, options: Options) -> Measured:
    drained = _alternated(fresh, options, lambda bench, at: bench.memory(at, options.backlog))
    return Measured({"memory": _as_found(drained)}, [report.memory(drained)])


def _latency(fresh: Fresh, options: Options) -> Measured:
    took = _alternated(
        fresh, options, lambda bench, at: bench.latency(at, _LATENCY_SECONDS, _LATENCY_PER_SECOND)
    )
    return Measured({"latency": _as_found(took)}, [report.latency(took)])


def _asking(fresh: Fresh, options: Options) -> Measured:
    quiet = _alternated(fresh, options, lambda bench, at: bench.asking(at))
    busy = _alternated(fresh, options, lambda bench, at: bench.asking_busy(at, options.events))
    with fresh() as bench:
        peer = bench.asking_peer()
    found = {
        "quiet": _as_found(quiet),
        "peer": peer if isinstance(peer, str) else peer._asdict(),
        "busy": _as_found(busy),
    }
    return Measured({"asking": found}, [report.asking(quiet, peer, busy)])


def _deadlines(fresh: Fresh, options: Options) -> Measured:
    kept = _alternated(fresh, options, lambda bench, at: bench.deadlines(at, options.backlog))
    return Measured({"deadlines": _as_found(kept)}, [report.deadlines(kept)])


def _alternated(
    fresh: Fresh, options: Options, measure: Callable[[Bench, Path], T]
) -> dict[str, T]:
    """Measure each checkout in turn, every second round backwards; return the medians."""
    taken: dict[str, list[T]] = defaultdict(list)
    for number in range(options.rounds):
        for name, checkout in _in_order(number, options.checkouts.items()):
            with fresh() as bench:
                taken[name].append(measure(bench, checkout))
    return {name: _medians(results) for name, results in taken.items()}


def _medians(results: list[T]) -> T:
    """Return the median of each field."""
    fields = (statistics.median(values) for values in zip(*results, strict=True))
    return type(results[0])._make(fields)  # type: ignore[attr-defined, no-any-return]


def _in_order(round_number: int, items: Iterable[Any]) -> list[Any]:
    return list(items)[:: 1 if round_number % 2 == 0 else -1]


def _as_found(results: dict[str, Any]) -> dict[str, Any]:
    return {name: result._asdict() for name, result in results.items()}


def _questions(fresh: Fresh, options: Options) -> Measured:
    with fresh() as bench:
        few, many = bench.questions(options.events, on_server=options.on_server)
    found = {"questions": [asked._asdict() for asked in many]}
    return Measured(found, [report.questions(few, many, options.events)])


def _search(fresh: Fresh, options: Options) -> Measured:
    with fresh() as bench:
        searched, share = bench.search(options.turns)
    found = {"index_share": share, "queries": [each._asdict() for each in searched]}
    return Measured({"search": found}, [report.search(searched, share, options.turns)])


def _backups(fresh: Fresh, options: Options) -> Measured:
    with fresh() as bench:
        made = bench.backups(CONTENDERS[0], options.events, options.rounds)
    found = made._asdict() | {"made": [each._asdict() for each in made.made]}
    return Measured({"backups": found}, [report.backups(made)])


def _retention(fresh: Fresh, options: Options) -> Measured:
    with fresh() as bench:
        pruned = bench.retention(options.events, _LATENCY_PER_SECOND)
    return Measured({"retention": pruned._asdict()}, [report.retention(pruned)])


def _gateway(fresh: Fresh, _: Options) -> Measured:
    with fresh() as bench:
        served, watched, stalled = bench.gateway()
    found = {
        "served": served._asdict(),
        "watched": [each._asdict() for each in watched],
        "stalled": stalled._asdict(),
    }
    return Measured({"gateway": found}, report.gateway(served, watched, stalled))


def _throughput(fresh: Fresh, options: Options) -> Measured:
    runs, reasons = _run_all(fresh, options.contenders, options.events, options.rounds)
    found = {
        "throughput": {name: [run._asdict() for run in taken] for name, taken in runs.items()},
        "not_measured": reasons,
    }
    tables = [report.throughput(options.contenders, runs, reasons)]
    if (cost := scaling.costs(runs)) is not None:
        tables.append(scaling.table(cost))
    return Measured(found, tables)


def _chosen(only: str) -> list[Contender]:
    keys = only.split(",") if only else KEYS
    for key in keys:
        if key not in KEYS:
            raise typer.BadParameter(f"{key!r} is none of {', '.join(KEYS)}", param_hint="--only")
    return [contender for contender in CONTENDERS if contender.key in keys]


def _at_each(curve: str, contenders: list[Contender]) -> list[Contender]:
    """Return contenders once for each value of a curve."""
    if not curve:
        return contenders
    name, _, values = curve.partition("=")
    if name not in _CURVES or not all(
        value.isdecimal() and int(value) for value in values.split(",")
    ):
        raise typer.BadParameter(f"not NAME=NUMBERS, of {', '.join(_CURVES)}", param_hint="--curve")
    return [
        _CURVES[name](contender, int(value))._replace(name=f"{contender.name}, {name} {value}")
        for contender in contenders
        for value in values.split(",")
    ]


def _in_each(checkouts: dict[str, Path], contenders: list[Contender]) -> list[Contender]:
    """Return contenders, a recorder once for each checkout."""
    return [
        contender._replace(
            name=contender.name if at == THIS else f"{contender.name} ({at.name})", checkout=at
        )
        for contender in contenders
        for at in checkouts.values()
        if contender.is_recorder or at == THIS
    ]


@contextlib.contextmanager
def _progress(console: Console) -> Iterator[Report]:
    """Show the progress on a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns,
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task("")

        def show(doing: str, done: int, total: int) -> None:
            progress.update(task, description=doing, completed=done, total=total or None)

        yield show


@contextlib.contextmanager
def _bench(show: Report) -> Iterator[Bench]:
    """Run a node, and leave no file behind."""
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    with private_node() as node, tempfile.TemporaryDirectory(dir=results) as name:
        yield Bench(node, Path(name), show)


def _run_all(
    fresh: Fresh, contenders: list[Contender], events: int, rounds: int
) -> tuple[dict[str, list[Throughput]], dict[str, str]]:
    """Measure each contender in turn, every second round backwards; return runs and failures."""
    runs: dict[str, list[Throughput]] = defaultdict(list)
    reasons: dict[str, str] = {}
    for number in range(rounds):
        for contender in _in_order(number, contenders):
            if contender.name in reasons:
                continue
            try:
                with fresh() as bench:
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
