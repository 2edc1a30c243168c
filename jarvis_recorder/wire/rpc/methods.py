"""The one table of methods: the name, params and result of each."""

from functools import cache
from typing import Any, Final, NamedTuple

from pydantic import TypeAdapter

from jarvis_recorder.wire.rpc import params, results


class Method(NamedTuple):
    """
    A method of the recorder.

    `changes` is true if it writes. `caller` names the parameter that defaults to the caller's
    own user; with `needs_caller` the request is refused if both are missing.
    """

    name: str
    params: type[Any]
    result: type[Any]
    changes: bool = False
    caller: str | None = None
    needs_caller: bool = False


METHODS: Final = (
    Method("events.list", params.ListEvents, results.EventPage),
    Method("events.unresolved", params.UnresolvedEvents, results.EventPage),
    Method("events.get", params.GetEvent, results.OneEvent),
    Method("events.record", params.RecordEvent, results.OneEvent, changes=True),
    Method(
        "events.resolve",
        params.ResolveEvent,
        results.OneEvent,
        changes=True,
        caller="resolved_by",
        needs_caller=True,
    ),
    Method("events.histogram", params.EventHistogram, results.Histogram),
    Method("conversations.sessions", params.ListSessions, results.SessionPage),
    Method("conversations.turns", params.ListTurns, results.TurnPage),
    Method("conversations.get", params.GetTurn, results.OneTurn),
    Method("conversations.search", params.SearchTurns, results.FoundTurns),
    Method("conversations.usage", params.ReportUsage, results.UsageReport),
    Method("conversations.delete", params.DeleteConversation, results.Deleted, changes=True),
    Method("snapshots.latest", params.LatestSnapshot, results.OneSnapshot),
    Method("snapshots.at", params.SnapshotAt, results.OneSnapshot),
    Method("snapshots.list", params.ListSnapshots, results.SnapshotPage),
    Method("timeline.around", params.TimelineAround, results.Timeline),
    Method("preferences.get", params.GetPreference, results.OnePreference),
    Method("preferences.list", params.ListPreferences, results.PreferencePage),
    Method(
        "preferences.set",
        params.SetPreference,
        results.OnePreference,
        changes=True,
        caller="updated_by",
    ),
    Method("preferences.delete", params.DeletePreference, results.Deleted, changes=True),
    Method("recorder.stats", params.ReadStats, results.Stats),
    Method("rpc.discover", params.Discover, results.Document),
)

BY_NAME: Final = {method.name: method for method in METHODS}
BY_PARAMS: Final = {method.params: method for method in METHODS}


def adapter(shape: Any) -> TypeAdapter[Any]:
    """Return the adapter that validates and writes params or results of this class."""
    return _adapter(shape)


@cache
def _adapter(shape: Any) -> TypeAdapter[Any]:
    return TypeAdapter(shape)
