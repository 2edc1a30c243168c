"""The measurements, taken from outside: rows in the file, messages in the queue, memory."""

import contextlib
import itertools
import json
import math
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

from bench import gateway, machine, questions, search
from bench.asking import Asked, Busy, Echoed, ask_busy_recorder, ask_peer, ask_recorder
from bench.backups import Backups, Made, backing_up
from bench.contenders import (
    CONTENDERS,
    THIS,
    Contender,
    Job,
    NotHere,
    Settings,
    environment,
    program,
    recorder_command,
)
from bench.cpu import Cpu
from bench.deadlines import Kept, ask_in_time
from bench.gateway import Served, Stalled, Watched
from bench.load import (
    BETWEEN_EVENTS,
    EVENTS,
    FIRST_EVENT,
    Load,
    Message,
    Publisher,
    declare,
    fill,
    messages,
    messages_of_now,
)
from bench.stores import FileStore, Store, Stored, read_only, server_store
from jarvis_recorder.demo.node import PrivateNode
from jarvis_recorder.wire.times import to_micros

_KEPT_DAYS: Final = 30
_SEVERITIES: Final = ("info", "warning", "error", "critical")
_STALLED_SECONDS: Final = 60.0
_GLANCE_SECONDS: Final = 0.005
_SETTLE_SECONDS: Final = 2.0
_STARTS: Final = 5
_SEARCHES: Final = 100
_LATENCY_GLANCE_SECONDS: Final = 0.0005

Report = Callable[[str, int, int], None]
"""Gets the current step, the amount done, and the total."""

Alongside = Callable[[Path], contextlib.AbstractContextManager[None]]
"""A load that runs, while entered, on the database that a contender fills."""


def _nothing(_: Path) -> contextlib.AbstractContextManager[None]:
    return contextlib.nullcontext()


class Failed(Exception):
    """A contender failed at its job; the text says how."""


class Throughput(NamedTuple):
    """
    Records a second between the first commit seen and the last, CPU time and disk for each.

    For a contender that stores nothing, the CPU time is that of the whole run, all in `loop_us`.
    `server_us` and `wal_bytes` are PostgreSQL's.
    """

    events: int
    seconds: float
    per_second: float
    loop_us: float
    others_us: float
    broker_us: float
    server_us: float = 0.0
    stored_bytes: float = 0.0
    wal_bytes: float = 0.0

    @property
    def cpu_us(self) -> float:
        return self.loop_us + self.others_us


class Memory(NamedTuple):
    """Resident megabytes: at rest, and at most while a backlog was drained."""

    events: int
    idle_mb: float
    peak_mb: float
    seconds: float


class Latency(NamedTuple):
    """Milliseconds from publishing to being readable in the file, and to being ready to record."""

    events: int
    median_ms: float
    p99_ms: float
    most_ms: float
    start_ms: float


class Pruned(NamedTuple):
    """The latency of recording while so many rows were pruned, and the size of the file."""

    rows: int
    seconds: float
    events: int
    median_ms: float
    p99_ms: float
    most_ms: float
    open_alerts_lost: int
    before_bytes: int
    after_bytes: int


class Bench:
    """All measurements, on one private node and in one directory."""

    def __init__(self, node: PrivateNode, directory: Path, report: Report) -> None:
        self._node = node
        self._directory = directory
        self._report = report
        self._files = 0

    def machine(self) -> dict[str, str]:
        """Return the facts of the machine that the results depend on."""
        with Publisher.connected(self._node.url) as publisher:
            return machine.facts(publisher.broker_version, self._directory)

    def _cpu(self, process_ids: Sequence[int], store: Store | None = None) -> Cpu:
        broker = int((self._node.directory / "pid").read_text())
        return Cpu.read(process_ids, broker, store.server_ns() if store else 0)

    def throughput(
        self, contender: Contender, events: int, alongside: Alongside = _nothing
    ) -> Throughput:
        """
        Fill the queue and measure how fast a contender empties it, with another load if given.

        Raises:
            NotHere: Its tools are missing.
            Failed: It ended, stalled, or lost events.
        """
        with self._store(contender) as store:
            result = self._emptied(contender, events, store, alongside)
        with Publisher.connected(self._node.url, contender.load) as publisher:
            if left := publisher.ready():
                raise Failed(f"{left} messages are still in the queue")
        return result

    def _emptied(
        self, contender: Contender, events: int, store: Store, alongside: Alongside
    ) -> Throughput:
        load = contender.load
        messages = math.ceil(events / contender.in_one)
        job = self._job(messages, load.queue, contender.settings, contender.checkout, store)
        if contender.rows:
            for done in questions.fill(store, contender.rows):
                self._report(f"{contender.name}: storing", done, contender.rows)
        command = contender.command(job)
        self._fill(contender.name, events, contender.in_one, load, contender.size)
        if contender.stores:
            return self._of_writer(contender, command, job, events, alongside)
        return self._of_consumer(contender.name, command, job)

    @contextlib.contextmanager
    def _store(self, contender: Contender) -> Iterator[Store]:
        """Yield an empty database, gone at the end."""
        if contender.on_server:
            with server_store() as server:
                yield server
        else:
            file = self._file()
            yield file
            file.discard()

    def _file(self) -> FileStore:
        self._files += 1
        return FileStore(self._directory / f"{self._files}.db")

    def backups(self, contender: Contender, events: int, rounds: int) -> Backups:
        """Measure the recorder with a backup every second, and without, a pair for each round."""
        made: list[Made] = []
        wal_bytes = [0]

        def alongside(database: Path) -> contextlib.AbstractContextManager[None]:
            return backing_up(database, made, wal_bytes)

        pairs = []
        for number in range(rounds):
            order: list[Alongside] = [_nothing, alongside]
            runs = {
                each: self.throughput(contender, events, each).per_second
                for each in (order if number % 2 == 0 else reversed(order))
            }
            pairs.append((runs[order[0]], runs[order[1]]))
        return Backups(
            [without for without, _ in pairs],
            [with_them for _, with_them in pairs],
            statistics.median(1 - with_them / without for without, with_them in pairs),
            made,
            max(wal_bytes),
        )

    def memory(self, checkout: Path, events: int) -> Memory:
        """Measure the recorder at rest, then draining a backlog."""
        job = self._job(events, checkout=checkout)
        command = recorder_command(job, "log.format=json")
        declare(self._node.url)
        with self._running(command) as process:
            self._wait_until_recording(process)
            time.sleep(_SETTLE_SECONDS)
            idle = _resident(process.pid, "VmRSS")
        self._fill("memory", events)
        with self._running(command) as process:
            taken = self._watch(CONTENDERS[0], [process], job, events)
            peak = _resident(process.pid, "VmHWM")
        return Memory(events, idle, peak, taken.seconds)

    def latency(self, checkout: Path, seconds: int, per_second: int) -> Latency:
        """Publish at a steady rate, and poll the file for each event every half millisecond."""
        job = self._job(0, checkout=checkout)
        declare(self._node.url)
        with Publisher.connected(self._node.url) as publisher:
            publisher.delete_queue()
        command = recorder_command(job, "log.format=json")
        starts = [self._start_seconds(command) for _ in range(_STARTS)]
        with self._running(command) as process:
            self._wait_until_recording(process)
            waited = self._steadily(
                job.file, messages(seconds * per_second), seconds * per_second, 1 / per_second
            )
        return Latency(
            len(waited),
            statistics.median(waited) * 1_000,
            statistics.quantiles(waited, n=100)[98] * 1_000,
            max(waited) * 1_000,
            statistics.median(starts) * 1_000,
        )

    def retention(self, rows: int, per_second: int) -> Pruned:
        """Record at a steady rate while all but the open alerts of so many rows is pruned."""
        job = self._job(0)
        for done in questions.fill(job.store, rows):
            self._report("filling", done, rows)
        open_alerts, before = (
            _open_alerts(job.file),
            job.file.stat().st_size,
        )
        limits = (f"retention.{severity}={_KEPT_DAYS}" for severity in _SEVERITIES)
        command = recorder_command(job, "log.format=json", *limits)
        declare(self._node.url)
        with Publisher.connected(self._node.url) as publisher:
            publisher.delete_queue()
        waited: list[float] = []
        fresh = messages_of_now()
        with self._running(command) as process:
            self._wait_until_recording(process)
            began = time.perf_counter()
            while b'"event": "pruned"' not in self._log.read_bytes():
                waited += self._steadily(job.file, fresh, 10 * per_second, 1 / per_second)
            seconds = time.perf_counter() - began
        return Pruned(
            rows,
            seconds,
            len(waited),
            statistics.median(waited) * 1_000,
            statistics.quantiles(waited, n=100)[98] * 1_000,
            max(waited) * 1_000,
            open_alerts - _open_alerts(job.file),
            before,
            job.file.stat().st_size,
        )

    def asking(self, checkout: Path) -> Asked:
        """Measure requests to an idle recorder."""
        command = recorder_command(self._job(0, checkout=checkout), "log.format=json")
        self._report("asking a quiet recorder", 0, 0)
        with self._running(command) as process:
            self._wait_until(b'"event": "answering"', process)
            return ask_recorder(self._node.url, lambda: self._cpu([process.pid]))

    def asking_peer(self) -> Echoed | str:
        """Measure requests to a peer's echo, or return why there is none."""
        self._report("asking the peer", 0, 0)
        try:
            return ask_peer(self._node.url)
        except NotHere as error:
            return str(error)

    def asking_busy(self, checkout: Path, backlog: int) -> Busy:
        """Measure requests to a recorder that drains a backlog."""
        with self._draining(checkout, "asking", backlog) as is_busy:
            return ask_busy_recorder(self._node.url, is_busy)

    @contextlib.contextmanager
    def _draining(self, checkout: Path, name: str, backlog: int) -> Iterator[Callable[[], bool]]:
        """Run a recorder that drains a backlog while entered; yields whether it still does."""
        job = self._job(0, checkout=checkout)
        command = recorder_command(job, "log.format=json")
        declare(self._node.url)
        self._fill(name, backlog)
        with (
            self._running(command) as process,
            closing(read_only(job.file)) as connection,
        ):
            self._wait_until(b'"event": "answering"', process)

            def is_busy() -> bool:
                (rows,) = connection.execute("SELECT coalesce(max(id), 0) FROM events").fetchone()
                self._report(f"{name}: draining", rows, backlog)
                return int(rows) < backlog

            yield is_busy

    def deadlines(self, checkout: Path, backlog: int) -> Kept:
        """Send requests with deadlines to a recorder that drains a backlog."""
        with self._draining(checkout, "deadlines", backlog) as is_busy:
            return ask_in_time(self._node.url, is_busy)

    def questions(
        self, events: int, *, on_server: bool
    ) -> tuple[list[questions.Asked], list[questions.Asked]]:
        """Measure requests on a database of few events, and on one of many."""
        found = []
        contender = CONTENDERS[0]._replace(on_server=on_server)
        for count in (min(questions.FEW, events), events):
            with self._store(contender) as store:
                self._job(0, store=store)
                for done in questions.fill(store, count):
                    self._report(f"generating {count:,} events", done, count)
                self._report(f"asking about {count:,} events", 0, 0)
                found.append(questions.measure(store, count))
        few, many = found
        return few, many

    def search(self, turns: int) -> tuple[list[search.Searched], float]:
        """Measure searches among many turns; return also the size of the index as a share of the text."""
        database = self._job(0).file
        for done in search.fill(database, turns):
            self._report(f"generating {turns:,} turns", done, turns)
        self._report(f"searching {turns:,} turns", 0, 0)
        found = search.measure(database, _SEARCHES)
        share = search.index_share(database)
        database.unlink()
        return found, share

    def gateway(self) -> tuple[Served, list[Watched], Stalled]:
        """Measure REST against bare RPC, recording with live pages open, pages that stall."""
        job = self._job(0)
        declare(self._node.url)
        with Publisher.connected(self._node.url) as publisher:
            publisher.delete_queue()
        with self._running(recorder_command(job, "log.format=json")) as process:
            self._wait_until_recording(process)
            self._wait_until(b'"event": "answering"', process)
            watched = [self._watched(job.file, "nothing", [])]
            with gateway.gateway(self._node.url, self._directory) as (port, process_id):
                self._report("REST", 0, 0)
                served = gateway.measure(self._node.url, port)
                watched.append(self._watched(job.file, "a gateway", []))
                with gateway.pages(port, gateway.PAGES, reading=True) as seen:
                    watched.append(self._watched(job.file, f"{gateway.PAGES} pages", seen))
                stalled = self._stalled(job.file, port, process_id)
            watched.append(self._watched(job.file, "nothing, again", []))
        return served, watched, stalled

    def _watched(self, database: Path, alongside: str, seen: list[int]) -> Watched:
        events = gateway.WATCHED_PER_SECOND * gateway.WATCHED_SECONDS
        coming = itertools.islice(messages_of_now(), events)
        waited = self._steadily(database, coming, events, 1 / gateway.WATCHED_PER_SECOND)
        median, p99 = statistics.median(waited), statistics.quantiles(waited, n=100)[98]
        return Watched(alongside, median * 1_000, p99 * 1_000, seen)

    def _stalled(self, database: Path, port: int, process_id: int) -> Stalled:
        """Publish until each of the pages that stopped reading is dropped."""
        idle, events = _resident(process_id, "VmRSS"), 0
        began = time.perf_counter()
        coming, second = messages_of_now(), gateway.WATCHED_PER_SECOND
        with gateway.pages(port, gateway.PAGES, reading=False):
            while gateway.connections(port):
                if time.perf_counter() > began + gateway.DROPPED_SECONDS:
                    raise Failed("a page that stopped reading was not dropped")
                events += len(self._steadily(database, coming, second, 1 / second))
        seconds = time.perf_counter() - began
        return Stalled(gateway.PAGES, seconds, events, idle, _resident(process_id, "VmHWM"))

    def _job(
        self,
        messages: int,
        queue: str = EVENTS.queue,
        settings: Settings = Settings(),
        checkout: Path = THIS,
        store: Store | None = None,
    ) -> Job:
        """Return a job with empty tables in this database, or in a new file."""
        store = store or self._file()
        # Another checkout may have another schema.
        made = [*program(checkout), "db", "upgrade", "--set", f"store.url={store.url}"]
        done = subprocess.run(made, check=False, capture_output=True, text=True, env=environment())
        if done.returncode:
            raise Failed(f"it makes no database: {done.stderr.strip()[-300:]}")
        return Job(self._node.url, queue, messages, store, settings, checkout)

    def _fill(
        self, name: str, events: int, in_one: int = 1, load: Load = EVENTS, size: int = 0
    ) -> None:
        for count in fill(self._node.url, messages(events, in_one, load, size), load):
            self._report(f"{name}: filling", count * in_one, events)
        # The broker still writes and collects garbage after the filling: charge it to no contender.
        time.sleep(_SETTLE_SECONDS)

    def _of_writer(
        self, contender: Contender, command: list[str], job: Job, events: int, alongside: Alongside
    ) -> Throughput:
        commands = [command] * contender.processes
        with self._all_running(commands) as processes, alongside(job.file):
            result = self._watch(contender, processes, job, events)
            self._wait_until_acked(job.queue)
        _check(job.store, events, contender.load, contender.rows)
        held = job.store.held_bytes(contender.load) / (contender.rows + events)
        return result._replace(stored_bytes=held)

    def _of_consumer(self, name: str, command: list[str], job: Job) -> Throughput:
        self._report(f"{name}: taking", 0, 0)
        before, began = os.times(), self._cpu([os.getpid()])
        with self._running(command, stdout=subprocess.PIPE) as process:
            try:
                output, _ = process.communicate(timeout=_STALLED_SECONDS * 10)
            except subprocess.TimeoutExpired:
                raise Failed("it did not end") from None
        if process.returncode:
            raise Failed(self._last_words())
        seconds, after = json.loads(output)["seconds"], os.times()
        cpu_seconds = after.children_user + after.children_system
        cpu_seconds -= before.children_user + before.children_system
        cpu = self._cpu([os.getpid()]).each_us(began, job.messages)
        own_us = cpu_seconds / job.messages * 1e6
        return Throughput(job.messages, seconds, job.messages / seconds, own_us, 0.0, cpu.broker)

    def _watch(
        self,
        contender: Contender,
        processes: Sequence[subprocess.Popen[bytes]],
        job: Job,
        events: int,
    ) -> Throughput:
        """Measure how fast rows appear; those of the first commit seen are not counted."""
        process_ids = [process.pid for process in processes]
        with job.store.reading() as reading:
            rows = first_rows = 0
            first_cpu, first_wal = self._cpu(process_ids, job.store), job.store.wal_bytes()
            began = seen = time.perf_counter()
            while rows < events:
                time.sleep(_GLANCE_SECONDS)
                now_rows = reading.newest(contender.load) - contender.rows
                now = time.perf_counter()
                if now_rows > rows:
                    rows, seen = now_rows, now
                    self._report(f"{contender.name}: recording", rows, events)
                if not first_rows:
                    began, first_rows, first_cpu = now, rows, self._cpu(process_ids, job.store)
                    first_wal = job.store.wal_bytes()
                if any(process.poll() is not None for process in processes):
                    raise Failed(self._last_words())
                if now - seen > _STALLED_SECONDS:
                    raise Failed(f"{rows} of {events} events, then nothing")
            cpu, wal = self._cpu(process_ids, job.store), job.store.wal_bytes()
        # A few events may all be in the first commit.
        seconds, counted = seen - began, events - first_rows
        per_second = counted / seconds if seconds else 0.0
        wal_bytes = (wal - first_wal) / counted if counted else 0.0
        used = cpu.each_us(first_cpu, counted)
        return Throughput(events, seconds, per_second, *used, wal_bytes=wal_bytes)

    def _wait_until_acked(self, queue: str) -> None:
        deadline = time.monotonic() + _STALLED_SECONDS
        while time.monotonic() < deadline:
            lines = self._node.ctl("list_queues", "name", "messages").splitlines()
            if [queue, "0"] in (line.split() for line in lines):
                return
            time.sleep(1)
        raise Failed("all is committed, and not all acked")

    def _steadily(
        self, database: Path, coming: Iterator[Message], events: int, interval: float
    ) -> list[float]:
        """Publish an event at each interval; return the seconds until each was readable."""
        sent: dict[str, float] = {}
        waited: list[float] = []
        began = time.perf_counter()
        with (
            closing(read_only(database)) as connection,
            Publisher.connected(self._node.url) as publisher,
        ):
            (last,) = connection.execute("SELECT coalesce(max(id), 0) FROM events").fetchone()
            while len(waited) < events:
                now = time.perf_counter()
                if len(sent) < events and now >= began + len(sent) * interval:
                    message = next(coming)
                    sent[message.message_id] = time.perf_counter()
                    publisher.publish([message])
                    self._report("latency", len(sent), events)
                rows = connection.execute(
                    "SELECT id, message_id FROM events WHERE id > ? ORDER BY id", (last,)
                ).fetchall()
                now = time.perf_counter()
                waited += (now - sent[message_id] for _, message_id in rows)
                last = rows[-1][0] if rows else last
                if now > began + events * interval + _STALLED_SECONDS:
                    raise Failed(f"{len(waited)} of {events} events, then nothing")
                time.sleep(_LATENCY_GLANCE_SECONDS)
            publisher.confirm()
        return waited

    def _start_seconds(self, command: list[str]) -> float:
        began = time.perf_counter()
        with self._running(command) as process:
            self._wait_until_recording(process)
            return time.perf_counter() - began

    def _wait_until_recording(self, process: subprocess.Popen[bytes]) -> None:
        self._wait_until(b'"event": "recording"', process)

    def _wait_until(self, logged: bytes, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _STALLED_SECONDS
        while logged not in self._log.read_bytes():
            if process.poll() is not None or time.monotonic() > deadline:
                raise Failed(self._last_words())
            time.sleep(0.001)

    @property
    def _log(self) -> Path:
        return self._directory / "contender.log"

    def _last_words(self) -> str:
        words = self._log.read_text(errors="replace").strip().splitlines()
        return f"it ended: {words[-1] if words else 'without a word'}"

    @contextlib.contextmanager
    def _all_running(
        self, commands: Sequence[list[str]]
    ) -> Iterator[list[subprocess.Popen[bytes]]]:
        with contextlib.ExitStack() as stack:
            yield [stack.enter_context(self._running(command)) for command in commands]

    @contextlib.contextmanager
    def _running(
        self, command: list[str], stdout: int | None = None
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Run a contender while entered."""
        with (
            self._log.open("wb") as log,
            subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log if stdout is None else stdout,
                stderr=log,
                env=environment(),
            ) as process,
        ):
            try:
                yield process
            finally:
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()


def _check(store: Store, events: int, load: Load, before: int) -> None:
    """
    Compare the rows stored with the records published.

    Raises:
        Failed: They are not the same.
    """
    first = to_micros(FIRST_EVENT)
    last = to_micros(FIRST_EVENT + (events - 1) * BETWEEN_EVENTS)
    found = store.stored(load, before)
    if found != Stored(events, events, events, first, last, events, 0):
        raise Failed(f"what it stored is not what was sent: {found}")


def _resident(pid: int, name: str) -> float:
    """Return a field of /proc/PID/status, in megabytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise Failed(f"the kernel tells no {name} of process {pid}")


def _open_alerts(database: Path) -> int:
    with closing(read_only(database)) as connection:
        (count,) = connection.execute(
            "SELECT count(*) FROM events WHERE type = 'alert' AND NOT resolved"
            " AND timestamp < 1780000000000000"
        ).fetchone()
    return int(count)
