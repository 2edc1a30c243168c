"""The view of a result by its class, for commands that have none of their own."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from jarvis_recorder.cli.output import (
    cluster,
    conversations,
    dead_letters,
    differences,
    events,
    incidents,
    matrix,
    series,
)
from jarvis_recorder.cli.output.pages import ListView
from jarvis_recorder.cli.output.screen import Screen
from jarvis_recorder.wire.rpc import results
from jarvis_recorder.wire.rpc.methods import adapter

_VIEWS: Final[dict[type, Callable[[Screen, Any], None]]] = {
    results.OneEvent: events.show_event,
    results.SnapshotDifferences: differences.show_differences,
    results.DeadLetterFaults: dead_letters.show_faults,
    results.OneIncident: incidents.show_incident,
    results.Forecast: series.show_forecast,
    results.Matrix: matrix.show_matrix,
    results.Series: series.show_series,
    results.Stats: cluster.show_stats,
}
_LISTS: Final[dict[type, Callable[[], ListView]]] = {
    results.SessionPage: lambda: conversations.show_sessions,
    results.SnapshotPage: lambda: cluster.show_snapshots,
    results.IndexedDeadLetters: lambda: dead_letters.show_dead_letters,
    results.IncidentPage: lambda: incidents.show_incidents,
    results.IncidentHistory: events.EventTable,
    results.SilencePage: lambda: incidents.show_silences,
}
_NOTHING: Final[dict[type, str]] = {
    results.SessionPage: "No conversation fits. Try an earlier --since, or none.",
    results.SnapshotPage: "No snapshot fits. Try an earlier --since, or no --cluster.",
}
_REMARKS: Final[dict[type, Callable[[Any], str | None]]] = {
    results.IndexedDeadLetters: dead_letters.not_complete,
    results.IncidentHistory: incidents.history_of,
    results.IncidentPage: incidents.not_complete,
}


def view_of(result: type) -> Callable[[Screen, Any], None]:
    """Return the view of a result; where it has none, its fields and tables of its objects."""
    return _VIEWS.get(result, _show_fields)


def view_of_page(result: type) -> ListView:
    """Return the view of the items of a page; where it has none, a table of all their fields."""
    return _LISTS.get(result, lambda: _show_items)()


def nothing_in(result: type) -> str:
    """Return the text for a list without items."""
    return _NOTHING.get(result, "There is none that fits.")


def remark_on_page(result: type) -> Callable[[Any], str | None]:
    """Return the function that says what else is to be known of a page, if anything is."""
    return _REMARKS.get(result, lambda _: None)


def _show_fields(screen: Screen, answer: Any) -> None:
    members = adapter(type(answer)).dump_python(answer, mode="json", by_alias=True)
    values = list(members.values())
    # The only member of a result is what was asked for.
    is_wrapped = len(values) == 1 and isinstance(values[0], dict)
    cluster.show_object(screen, values[0] if is_wrapped else members)


def _show_items(screen: Screen, items: Sequence[Any], *, continued: bool = False) -> None:
    if continued:
        screen.blank()
    cluster.show_objects(
        screen, [adapter(type(one)).dump_python(one, mode="json", by_alias=True) for one in items]
    )
