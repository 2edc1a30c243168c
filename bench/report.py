"""The tables of results, and the machine that they were measured on."""

import statistics
from collections.abc import Iterable, Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from bench.asking import Asked, Busy, Echoed
from bench.backups import Backups
from bench.contenders import CONTENDERS, Contender
from bench.deadlines import GRACE_MS, Kept
from bench.gateway import Served, Stalled, Watched
from bench.measure import Latency, Memory, Pruned, Throughput
from bench.questions import FEW
from bench.questions import Asked as Answered
from bench.search import Searched


def facts(named: Mapping[str, str]) -> Table:
    table = Table("", "", box=None, show_header=False, padding=(0, 2))
    for name, value in named.items():
        table.add_row(name, value)
    return table


def markdown(tables: Iterable[Table]) -> str:
    """Return tables as a page."""
    parts = ["# Results\n\nWritten by `python -m bench`; `bench/README.md` says how it measures.\n"]
    for table in tables:
        if table.title:
            parts.append(f"\n## {table.title}\n")
        lines = [[str(column.header) for column in table.columns]]
        lines.append([":--" if column.justify == "left" else "--:" for column in table.columns])
        cells = (map(str, column.cells) for column in table.columns)
        lines += map(list, zip(*cells, strict=True))
        parts += ["", *(f"| {' | '.join(line)} |" for line in lines)]
        if table.caption:
            parts += ["", *str(table.caption).splitlines()]
    return "\n".join(parts) + "\n"


def throughput(
    contenders: Iterable[Contender],
    runs: Mapping[str, Sequence[Throughput]],
    reasons: Mapping[str, str],
) -> Table:
    """Return a table of the contenders; its caption has the reason of each one not measured."""
    medians = {
        name: statistics.median(run.per_second for run in taken) for name, taken in runs.items()
    }
    recorder = medians.get(CONTENDERS[0].name)
    table = _table("Records a second, median of the rounds; CPU in µs a record", "", "Contender")
    headings = ("Records", "Per second", "Range, k", "Ratio")
    for heading in (
        *headings,
        "CPU",
        "loop",
        "others",
        "broker",
        "server",
        "B on disk",
        "B of WAL",
    ):
        table.add_column(heading, justify="right")
    for contender in contenders:
        name = contender.name
        if name in reasons:
            reason = reasons[name].partition(":")[0]
            table.add_row(contender.key, name, "-", reason, *("-" for _ in range(9)))
            continue
        rates = [run.per_second for run in runs[name]]
        ratio = f"{recorder / medians[name]:.2f} x" if recorder and medians[name] else "-"
        table.add_row(
            contender.key,
            name,
            f"{runs[name][0].events:,}",
            f"{medians[name]:,.0f}",
            f"{min(rates) / 1e3:.3g} to {max(rates) / 1e3:.3g}",
            ratio,
            *(
                f"{statistics.median(values):.2f}"
                for values in zip(
                    *((run.cpu_us, *_cpu(run), run.server_us) for run in runs[name]), strict=True
                )
            ),
            f"{statistics.median(run.stored_bytes for run in runs[name]):.0f}",
            f"{statistics.median(run.wal_bytes for run in runs[name]):.0f}",
        )
    table.caption = "\n".join(f"{name}: {reason}" for name, reason in reasons.items()) or None
    return table


def backups(found: Backups) -> Table:
    table = _table(
        f"A backup every second, {len(found.made)} of them",
        "Without, a second",
        "With",
        "Slower",
        "A backup takes",
        "Largest",
        "Write-ahead log",
    )
    took = [made.seconds for made in found.made]
    table.add_row(
        f"{statistics.median(found.without):,.0f}",
        f"{statistics.median(found.alongside):,.0f}",
        f"{found.slower:.1%}",
        f"{min(took):.1f} to {max(took):.1f} s",
        f"{max(made.size_bytes for made in found.made) / 1e6:,.0f} MB",
        f"{found.most_wal_bytes / 1e6:,.0f} MB",
    )
    return table


def memory(found: Mapping[str, Memory]) -> Table:
    table = _table("Memory", "", "Backlog", "At rest", "At most", "Seconds")
    for name, each in found.items():
        table.add_row(
            name,
            f"{each.events:,}",
            f"{each.idle_mb:.1f} MB",
            f"{each.peak_mb:.1f} MB",
            f"{each.seconds:.1f}",
        )
    return table


def latency(found: Mapping[str, Latency]) -> Table:
    headings = ("Events", "Median", "99th percentile", "Most", "Start to recording")
    table = _table("Published to readable", "", *headings)
    for name, each in found.items():
        table.add_row(
            name,
            f"{each.events:,}",
            f"{each.median_ms:.2f} ms",
            f"{each.p99_ms:.2f} ms",
            f"{each.most_ms:.2f} ms",
            f"{each.start_ms:.0f} ms",
        )
    return table


def retention(found: Pruned) -> Table:
    table = _table(
        f"Recording while {found.rows:,} rows are pruned, {found.events:,} events",
        "Median",
        "99th percentile",
        "Most",
        "Took",
        "Open alerts lost",
        "File",
    )
    mib = 1024 * 1024
    table.add_row(
        f"{found.median_ms:.2f} ms",
        f"{found.p99_ms:.2f} ms",
        f"{found.most_ms:.2f} ms",
        f"{found.seconds:.0f} s",
        f"{found.open_alerts_lost}",
        f"{found.before_bytes // mib:,} to {found.after_bytes // mib:,} MiB",
    )
    return table


def asking(quiet: Mapping[str, Asked], peer: Echoed | str, busy: Mapping[str, Busy]) -> Table:
    """Return a table of the programs that got requests."""
    headings = ("Median", "99th percentile", "64 askers", "loop", "others", "broker")
    table = _table("preferences.get, there and back; CPU in µs a request", "", *headings)
    for name, each in quiet.items():
        table.add_row(name, *_asked(each), *(f"{value:.0f}" for value in _cpu(each)))
    echo = ("-", "-", peer) if isinstance(peer, str) else _asked(peer)
    table.add_row("echo through aio_pika.patterns.RPC", *echo)
    for name, one in busy.items():
        times = (f"{one.median_ms:.2f} ms", f"{one.p99_ms:.2f} ms")
        table.add_row(f"{name}, draining a backlog", *times)
    return table


def deadlines(found: Mapping[str, Kept]) -> Table:
    """Return a table of the recorders that got requests with deadlines."""
    headings = (
        *("Requests", "Busy", "Answered", "Refused", "Failed", "Late", "No reply", "Latest"),
        *("Echo p99", "Most"),
    )
    table = _table(f"Requests with deadlines, and late after {GRACE_MS} ms", "", *headings)
    for name, kept in found.items():
        table.add_row(
            name,
            f"{kept.requests:,}",
            f"{kept.busy_share:.0%}",
            f"{kept.answered:,}",
            f"{kept.refused:,}",
            f"{kept.failed:,}",
            f"{kept.late:,}",
            f"{kept.without_reply:,}",
            f"{kept.latest_ms:.0f} ms",
            f"{kept.echo_p99_ms:.0f} ms",
            f"{kept.echo_most_ms:.0f} ms",
        )
    return table


def questions(few: Sequence[Answered], many: Sequence[Answered], events: int) -> Table:
    """Return a table of the kinds of request."""
    table = _table(f"Questions on {events:,} events", "", "Variants", "Median", "99th percentile")
    table.add_column(f"on {FEW:,}", justify="right")
    table.add_column("Ratio", justify="right")
    for small, large in zip(few, many, strict=True):
        table.add_row(
            large.name,
            str(large.variants),
            f"{large.median_ms:.2f} ms",
            f"{large.p99_ms:.2f} ms",
            f"{small.p99_ms:.2f} ms",
            f"{large.p99_ms / small.p99_ms:.2f} x",
        )
    return table


def search(found: Sequence[Searched], share: float, turns: int) -> Table:
    """Return a table of the kinds of query, with their CPU time."""
    title = f"Searches among {turns:,} turns; the index has {share:.2f} x the text"
    headings = ("Median", "95th percentile", "99th percentile", "Processor, 99th", "With hits")
    table = _table(title, "", *headings)
    for one in found:
        times = (one.median_ms, one.p95_ms, one.p99_ms, one.p99_cpu_ms)
        table.add_row(one.name, *(f"{each:.2f} ms" for each in times), f"{one.hits}")
    return table


def gateway(served: Served, watched: Sequence[Watched], stalled: Stalled) -> list[Table]:
    """Return tables: latency of REST, of recording with live pages, and the stalled pages."""
    rest = _table("Events by the gateway", "", "Median", "99th percentile", "A second")
    rest.add_row("GET, 50 events", f"{served.get_ms:.2f} ms", f"{served.get_p99_ms:.2f} ms", "")
    rest.add_row(
        "bare RPC, 50 events", f"{served.rpc_ms:.2f} ms", f"{served.rpc_p99_ms:.2f} ms", ""
    )
    rest.add_row(
        "POST by 16 writers",
        f"{served.post_ms:.2f} ms",
        f"{served.post_p99_ms:.2f} ms",
        f"{served.posts_per_second:,.0f}",
    )
    live = _table("500 events a second recorded meanwhile", "", "Median", "99th percentile", "Seen")
    for each in watched:
        seen = f"{min(each.seen):,} to {max(each.seen):,}" if each.seen else ""
        live.add_row(each.alongside, f"{each.median_ms:.2f} ms", f"{each.p99_ms:.2f} ms", seen)
    slow = _table("Pages that stopped reading", "", "Dropped after", "Idle", "At most")
    slow.add_row(
        f"{stalled.pages} pages, {stalled.events:,} events",
        f"{stalled.seconds:.0f} s",
        f"{stalled.idle_mb:.0f} MB",
        f"{stalled.peak_mb:.0f} MB",
    )
    return [rest, live, slow]


def _cpu(of: Throughput | Asked) -> tuple[float, float, float]:
    return of.loop_us, of.others_us, of.broker_us


def _asked(asked: Asked | Echoed) -> tuple[str, str, str]:
    return f"{asked.median_ms:.2f} ms", f"{asked.p99_ms:.2f} ms", f"{asked.per_second:,.0f}/s"


def _table(title: str, *headings: str) -> Table:
    return Table(*headings, title=title, box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
