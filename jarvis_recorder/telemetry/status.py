"""The recorder's state and its counts since the start."""

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from jarvis_recorder.telemetry.metrics import Batches, Sent
from jarvis_recorder.wire.refusal import Reason


class State(StrEnum):
    """The state of recording: the part it waits for, if any."""

    CONNECTING = "connecting"
    RECORDING = "recording"
    STORAGE_UNAVAILABLE = "storage_unavailable"
    STOPPING = "stopping"


@dataclass
class RecorderStatus:
    """State, and counts since the start. The recorder writes them; monitoring reads them."""

    state: State = State.CONNECTING
    connected: bool = False
    attached: bool = False
    """True while every queue is consumed."""
    answering: bool = False
    attachments: int = 0
    oldest: int | None = None
    """Arrival of the oldest delivery in the current batch (microseconds); None between batches."""
    oldest_undecoded: int | None = None
    """Arrival of the oldest delivery that waits to be decoded in a thread; None if none does."""
    settled: Counter[str] = field(default_factory=Counter)
    """Settled deliveries of each queue, including redeliveries."""
    batches: int = 0
    stored: int = 0
    duplicates: int = 0
    dead_letters: Counter[Reason] = field(default_factory=Counter)
    decoded: Counter[str] = field(default_factory=Counter)
    """By path, `plain` or `full`: records decoded on it and then committed or refused."""
    near_misses: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By queue and field: records with a name that resembles the field, which is empty in them."""
    dead_letters_waiting: int = 0
    """Deliveries held unsettled because the dead letter queue does not accept their dead letters."""
    alarms: dict[str, str] = field(default_factory=dict)
    """By the connection's purpose: the reason for which the broker reads nothing of it."""
    measured: Batches = field(default_factory=Batches)
    sent: Sent = field(default_factory=Sent)

    @contextlib.contextmanager
    def under_way(self, oldest: int | None) -> Iterator[None]:
        """Expose the age of the batch that is being committed and settled."""
        self.oldest = oldest
        try:
            yield
        finally:
            self.oldest = None

    @property
    def waiting_since(self) -> int | None:
        """Arrival of the oldest delivery that is not settled; None if none waits."""
        arrivals = (self.oldest, self.oldest_undecoded)
        return min((arrival for arrival in arrivals if arrival is not None), default=None)

    def lag_seconds(self, now: int) -> float:
        """Return how long the oldest delivery has waited for its commit; `now` in microseconds."""
        since = self.waiting_since
        return 0.0 if since is None else max(0.0, (now - since) / 1e6)

    def note_alarm(self, purpose: str, reason: str | None) -> None:
        """Expose that the broker reads nothing of a connection, or that it does again."""
        if reason is None:
            self.alarms.pop(purpose, None)
        else:
            self.alarms[purpose] = reason

    def attach(self) -> None:
        self.attached = True
        self.attachments += 1
        self.state = State.RECORDING

    def detach(self) -> None:
        """Record that the session is lost, at once: the next one may take long."""
        self.connected = self.attached = False
        if self.state is State.RECORDING:
            self.state = State.CONNECTING

    def count_batch(self, stored: int, duplicates: int) -> None:
        self.batches += 1
        self.stored += stored
        self.duplicates += duplicates

    def count_decoded(self, records: int, plain: int) -> None:
        """Count the records of a batch, and how many of them were decoded on the plain path."""
        self.decoded["plain"] += plain
        self.decoded["full"] += records - plain

    def count_near_misses(self, queue: str, field_: str, records: int) -> bool:
        """Count records with a name that resembles a field; return True if they are the first."""
        is_first = (queue, field_) not in self.near_misses
        self.near_misses[queue, field_] += records
        return is_first

    def count_dead_letter(self, reason: Reason) -> None:
        self.dead_letters[reason] += 1
