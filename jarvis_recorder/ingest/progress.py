"""What the recorder has done so far and how it is."""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from jarvis_recorder.wire.refusal import Reason


class State(StrEnum):
    """What recording waits for, if anything."""

    CONNECTING = "connecting"
    RECORDING = "recording"
    STORAGE_UNAVAILABLE = "storage_unavailable"
    STOPPING = "stopping"


@dataclass
class Progress:
    """Counts since the process began. The recorder writes them; whoever reports reads them."""

    state: State = State.CONNECTING
    batches: int = 0
    stored: int = 0
    duplicates: int = 0
    dead_letters: Counter[Reason] = field(default_factory=Counter)

    def count_batch(self, stored: int, duplicates: int) -> None:
        self.batches += 1
        self.stored += stored
        self.duplicates += duplicates

    def count_dead_letter(self, reason: Reason) -> None:
        self.dead_letters[reason] += 1
