"""The machine that is measured on, as far as the results depend on it."""

import os
import platform
import sqlite3
import statistics
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path


def facts(broker_version: str, directory: Path) -> dict[str, str]:
    """Return the facts, with the load of now and the cost of a commit in this directory."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "processor": models[0] if models else platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "rabbitmq": broker_version,
        "node": _node_version(),
        "fsync": f"{_fsync_seconds(directory) * 1_000:.2f} ms",
        "load": f"{os.getloadavg()[0]:.2f}",
    }


def _node_version() -> str:
    try:
        asked = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "-"
    return asked.stdout.strip().removeprefix("v")


def _fsync_seconds(directory: Path) -> float:
    """Return the median seconds of an fsync of 4 KiB, the cost of one commit a message."""
    took = []
    with (directory / "fsync").open("wb", buffering=0) as file:
        for _ in range(100):
            file.write(bytes(4096))
            began = time.perf_counter()
            os.fsync(file.fileno())
            took.append(time.perf_counter() - began)
    return statistics.median(took)
