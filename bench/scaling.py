"""A model of the rate that more cores give, from the CPU time measured for one event."""

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Final, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.table import Table

from bench.measure import Throughput

CORES: Final = (4, 8, 16, 64)
# What keeps the last tenths from use: waits for the disk, checkpoints, other programs.
USED: Final = 0.7
_RECORDER: Final = "jarvis-recorder on PostgreSQL"
_CONSUMER: Final = "librabbitmq alone"


class Costs(NamedTuple):
    """
    The microseconds of CPU that each part spends on an event, measured while one queue is drained.

    `queue_per_second` is what a consumer in C takes from one queue and stores nowhere: one
    process of the broker serves a queue, so that more cores make it no faster.
    """

    recorder_us: float
    broker_us: float
    server_us: float
    wal_bytes: float
    queue_per_second: float

    @property
    def event_us(self) -> float:
        return self.recorder_us + self.broker_us + self.server_us


class Scaled(NamedTuple):
    """The rate of so many cores in all, and the parts that it needs."""

    cores: int
    per_second: float
    recorders: int
    queues: int
    wal_megabytes: float


def costs(runs: Mapping[str, Sequence[Throughput]]) -> Costs | None:
    """Return the costs, medians of the rounds; None unless both contenders were measured."""
    recorded, consumed = runs.get(_RECORDER), runs.get(_CONSUMER)
    if not recorded or not consumed:
        return None
    return Costs(
        median(run.cpu_us for run in recorded),
        median(run.broker_us for run in recorded),
        median(run.server_us for run in recorded),
        median(run.wal_bytes for run in recorded),
        median(run.per_second for run in consumed),
    )


def scaled(cost: Costs, cores: int) -> Scaled:
    """Return what so many cores give if events are spread over recorders and queues."""
    per_second = USED * cores * 1e6 / cost.event_us
    return Scaled(
        cores,
        per_second,
        # A recorder's event loop has one core.
        math.ceil(per_second * cost.recorder_us / 1e6 / USED),
        math.ceil(per_second / cost.queue_per_second),
        per_second * cost.wal_bytes / 1e6,
    )


def table(cost: Costs) -> Table:
    """Return the model as a table."""
    columns = ("Cores", "Events a second", "Recorders", "Queues", "MB of WAL a second")
    made = Table(title="Modelled, not measured", box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        made.add_column(column, justify="right")
    for cores in CORES:
        one = scaled(cost, cores)
        made.add_row(
            f"{one.cores}",
            f"{one.per_second:,.0f}",
            f"{one.recorders}",
            f"{one.queues}",
            f"{one.wal_megabytes:,.0f}",
        )
    made.caption = (
        f"From the table above: recorder {cost.recorder_us:.1f}, broker {cost.broker_us:.1f} and "
        f"server {cost.server_us:.1f} µs of CPU an event, {cost.wal_bytes:.0f} B of WAL; one queue "
        f"gives {cost.queue_per_second:,.0f} a second. {USED:.0%} of the cores count."
    )
    return made
