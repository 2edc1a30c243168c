"""The deletion, in small steps, of what is left over once rows have expired."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection

from jarvis_recorder.retention_policy import FUTURE, RetentionPolicy, event_horizons
from jarvis_recorder.storage import series
from jarvis_recorder.storage.expired_rows import BEGINNING
from jarvis_recorder.storage.incidents import pruning as incident_pruning
from jarvis_recorder.storage.tables import cluster_snapshots

_FIRST_ID: Final = 0


class Leftover(NamedTuple):
    """One pass through a table."""

    beginning: Any
    step: Callable[[Connection, Any], Any]
    """Deletes a little from a place on; returns the next place, None at the end."""


def leftovers(policy: RetentionPolicy, now: int, gone: Counter[str]) -> list[Leftover]:
    """
    Return the passes to make after those through the rows, of which so many of each table are gone.

    A pass that was cut short is made again with the next rows that go: it looks at everything.
    """
    found = []
    horizon = policy.snapshot_horizon(now)
    if horizon is not None and gone[cluster_snapshots.name]:
        measures = partial(series.forget_some, horizon, now + FUTURE)
        found.append(Leftover(series.BEGINNING, measures))
    if horizons := event_horizons(policy, now):
        incidents = partial(incident_pruning.expire_incidents, horizons)
        found.append(Leftover(BEGINNING, incidents))
        well = partial(incident_pruning.expire_well, min(horizons.values()))
        found.append(Leftover(_FIRST_ID, well))
    return found
