"""What the recorder has done so far and how it is."""

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from jarvis_recorder.telemetry.metrics import Batches, Sent
from jarvis_recorder.wire.refusal import Reason


class State(StrEnum):
    """What recording waits for, if anything."""

    CONNECTING = "connecting"
    RECORDING = "recording"
    STORAGE_UNAVAILABLE = "storage_unavailable"
    STOPPING = "stopping"


@dataclass
class RecorderStatus:
    """Counts since the process began. The recorder writes them; whoever reports reads them."""

    state: State = State.CONNECTING
    connected: bool = False
    attached: bool = False
    """Whether every queue is consumed."""
    answering: bool = False
    attachments: int = 0
    oldest: int | None = None
    """When the oldest delivery of the batch under way arrived (microseconds); None between two."""
    settled: Counter[str] = field(default_factory=Counter)
    """Deliveries of each queue, those that came again included."""
    batches: int = 0
    stored: int = 0
    duplicates: int = 0
    dead_letters: Counter[Reason] = field(default_factory=Counter)
    near_misses: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By queue and field: names that resemble a field which stayed empty."""
    letters_waiting: int = 0
    """Deliveries held because the queue of dead letters does not take what is refused of them."""
    measured: Batches = field(default_factory=Batches)
    sent: Sent = field(default_factory=Sent)

    @contextlib.contextmanager
    def under_way(self, oldest: int | None) -> Iterator[None]:
        """Show how old the batch is that is being committed and settled."""
        self.oldest = oldest
        try:
            yield
        finally:
            self.oldest = None

    def lag_seconds(self, now: int) -> float:
        """Return how long the oldest delivery has waited for its commit; `now` in microseconds."""
        return 0.0 if self.oldest is None else max(0.0, (now - self.oldest) / 1e6)

    def attach(self) -> None:
        self.attached = True
        self.attachments += 1
        self.state = State.RECORDING

    def detach(self) -> None:
        """Show at once that the session is gone: the next may be long in coming."""
        self.connected = self.attached = False
        if self.state is State.RECORDING:
            self.state = State.CONNECTING

    def count_batch(self, stored: int, duplicates: int) -> None:
        self.batches += 1
        self.stored += stored
        self.duplicates += duplicates

    def count_near_misses(self, queue: str, field_: str, records: int) -> bool:
        """Count names that resemble a field; say whether they are the first for that field."""
        is_first = (queue, field_) not in self.near_misses
        self.near_misses[queue, field_] += records
        return is_first

    def count_dead_letter(self, reason: Reason) -> None:
        self.dead_letters[reason] += 1
