"""The states of an incident: a fold of the signals of its condition, in the order of their times."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Final, Literal, NamedTuple

from jarvis_recorder.incidents.rules import Rules
from jarvis_recorder.incidents.signals import Effect, Signal
from jarvis_recorder.wire.records import RANKS, Severity

State = Literal["open", "acknowledged", "unknown", "recovered", "resolved"]

# Of signals that are known to belong together.
_ENDLESS: Final = Rules((), quiet=2**62)
_MOST_OPENINGS: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """
    A stretch of time in which a condition was a problem; times in microseconds.

    `heard_at` is the order of the newest signal. `openings` are the newest ones, by a problem after
    it was over or by hand, as many as decide about flapping. Of `recovered_at` and `resolved_at`
    each is None while it is not so.
    """

    first_at: int
    last_at: int
    heard_at: tuple[int, int]
    count: int
    severity: Severity
    openings: tuple[int, ...]
    flapping: bool = False
    recovered_at: int | None = None
    resolved_at: int | None = None
    resolved_by: str | None = None
    acknowledged_at: int | None = None
    acknowledged_by: str | None = None
    note: str | None = None

    @property
    def was_over(self) -> bool:
        """True if it was no problem at any time."""
        return self.is_over or len(self.openings) > 1

    @property
    def is_over(self) -> bool:
        """True if it is no problem any more."""
        return self.recovered_at is not None or self.resolved_at is not None


class Transition(NamedTuple):
    """A change of the state of an incident: when, to which, by whom, and why."""

    at: int
    state: State
    by: str | None
    reason: str | None


def next_incidents(
    before: tuple[Incident, ...], signal: Signal, rules: Rules, *, resolves: bool = False
) -> tuple[Incident, ...]:
    """
    Return the incidents of a condition after a signal, oldest first.

    Only the last two can differ, and the one that the signal is `of`. The signals come in their
    order, so that the same ones give the same incidents whenever each of them arrived. `resolves`
    says that a recovery needs no one to look at it.
    """
    last = before[-1] if before else None
    if signal.effect is Effect.PROBLEM:
        if last is None or signal.at - _active_until(last) > rules.quiet:
            return (*before[:-1], *_given_up(last, signal.at), _opened(signal))
        return (*before[:-1], _continued(last, signal, rules))
    if last is None:
        return before
    if signal.of is not None:
        place = _place(before, signal.of)
        if place < 0:
            return before
        return (*before[:place], changed(before[place], signal), *before[place + 1 :])
    return (*before[:-1], changed(last, signal, resolves=resolves))


def with_late(incident: Incident, signal: Signal) -> Incident | None:
    """
    Return an incident with a signal that came late, None if all have to be folded again.

    Where it was never over since it opened, an earlier problem is one more, whenever it was: a
    publisher that sends thousands of them in disorder costs no more than in order.
    """
    is_within = incident.first_at <= signal.at <= incident.last_at
    if signal.effect is not Effect.PROBLEM or not is_within or incident.was_over:
        return None
    return replace(
        incident,
        count=incident.count + 1,
        severity=max(incident.severity, signal.severity, key=RANKS.__getitem__),
    )


def fold(
    signals: Iterable[Signal], rules: Rules, *, resolves: bool = False
) -> tuple[Incident, ...]:
    """Return the incidents that the signals of a condition make, given in their order, one at a time."""
    incidents: list[Incident] = []
    for signal in signals:
        since = -1 if signal.of is None else _place(incidents, signal.of)
        after = next_incidents(tuple(incidents[since:]), signal, rules, resolves=resolves)
        incidents[since:] = after
    return tuple(incidents)


def state_of(incident: Incident, evidence_at: int | None) -> State:
    """
    Return the state of an incident.

    It is unknown whether it still is so where the newest evidence is older than the problem.
    """
    if incident.resolved_at is not None:
        return "resolved"
    if incident.recovered_at is not None:
        return "recovered"
    if incident.acknowledged_at is not None:
        return "acknowledged"
    return "unknown" if evidence_at is not None and evidence_at < incident.last_at else "open"


def transitions(signals: Iterable[Signal], *, resolves: bool = False) -> Iterator[Transition]:
    """Yield the changes of state that the signals of one incident make, in their order."""
    incidents: tuple[Incident, ...] = ()
    state: State | None = None
    for signal in sorted(signals, key=Signal.order):
        incidents = next_incidents(incidents, signal, _ENDLESS, resolves=resolves)
        if not incidents:
            continue
        now = state_of(incidents[-1], None)
        if now != state:
            yield Transition(signal.at, now, signal.by, signal.note)
        state = now


def changed(incident: Incident, signal: Signal, *, resolves: bool = False) -> Incident:
    """Return an incident after a signal that is not a problem."""
    heard = replace(incident, heard_at=signal.order())
    is_of_last = signal.of in (None, incident.last_at)
    match signal.effect:
        case Effect.RECOVERY if incident.recovered_at is None:
            return replace(
                heard,
                recovered_at=signal.at,
                resolved_at=signal.at if resolves else incident.resolved_at,
                acknowledged_at=None,
                acknowledged_by=None,
                note=None,
            )
        case Effect.ACKNOWLEDGE if not incident.is_over:
            return replace(
                heard,
                acknowledged_at=signal.at,
                acknowledged_by=signal.by,
                note=signal.note if signal.note is not None else incident.note,
            )
        case Effect.RESOLVE if incident.resolved_at is None and is_of_last:
            return replace(heard, resolved_at=signal.at, resolved_by=signal.by)
        case Effect.REOPEN:
            return replace(
                heard,
                openings=(*incident.openings, signal.at)[-_MOST_OPENINGS:],
                recovered_at=None,
                resolved_at=None,
                resolved_by=None,
            )
    return heard


def _place(incidents: Sequence[Incident], at: int) -> int:
    """Return the place of the incident that a time is in or behind, -1 if there is none."""
    return bisect_right(incidents, at, key=attrgetter("first_at")) - 1


def _active_until(incident: Incident) -> int:
    # What someone has opened again is no incident of last spring.
    return max(incident.last_at, incident.openings[-1], incident.recovered_at or incident.last_at)


def _given_up(incident: Incident | None, at: int) -> Iterator[Incident]:
    """Yield the incident before a new one: nothing was heard of it, so it is not open any more."""
    if incident is not None:
        yield incident if incident.is_over else replace(incident, resolved_at=at)


def _opened(signal: Signal) -> Incident:
    return Incident(
        first_at=signal.at,
        last_at=signal.at,
        heard_at=signal.order(),
        count=1,
        severity=signal.severity,
        openings=(signal.at,),
    )


def _continued(incident: Incident, signal: Signal, rules: Rules) -> Incident:
    openings, flapping = incident.openings, incident.flapping
    seen_at, seen_by, note = incident.acknowledged_at, incident.acknowledged_by, incident.note
    if incident.is_over:
        seen_at = seen_by = note = None
        openings = (*openings, signal.at)[-rules.flaps :]
        flapping = (
            len(openings) == rules.flaps and openings[-1] - openings[0] <= rules.flapping_span
        )
    return replace(
        incident,
        last_at=signal.at,
        heard_at=signal.order(),
        count=incident.count + 1,
        severity=max(incident.severity, signal.severity, key=RANKS.__getitem__),
        openings=openings,
        flapping=flapping,
        recovered_at=None,
        resolved_at=None,
        resolved_by=None,
        acknowledged_at=seen_at,
        acknowledged_by=seen_by,
        note=note,
    )
