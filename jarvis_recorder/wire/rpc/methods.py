"""
The one table of methods: everything about each, once.

RPC, the client's methods, REST routes, commands, the permissions of the broker's users, OpenRPC
and the tables in docs/ follow from it.
"""

from dataclasses import fields
from functools import cache
from typing import Any, Final, NamedTuple, get_origin

from pydantic import TypeAdapter

from jarvis_recorder.errors import Conflict, NotFound, RecorderError
from jarvis_recorder.wire.rpc import examples, params, results


class Example(NamedTuple):
    """The params and the result of one call, as JSON."""

    params: dict[str, Any]
    result: dict[str, Any]


class Method(NamedTuple):
    """
    A method of the recorder; the docstring of its params says what it does.

    * `changes`: it writes.
    * `caller`: the parameter that defaults to the caller's own user; with `needs_caller` the
      request is refused if both are missing.
    * `fails`: the error that it answers next to those of any method.
    * `users`: the broker's users that may call it, next to `admin`.
    * `route`: verb and path of the REST route below `/api`, with parameters in braces. Empty:
      `/GROUP/ACTION`, or `/GROUP/{id}/ACTION` if it takes an `id`; POST if it changes something.
    * `command`: the words of the command. Empty: `GROUP ACTION`.

    With None it has no route, or no command.
    """

    name: str
    params: type[Any]
    result: type[Any]
    changes: bool = False
    caller: str | None = None
    needs_caller: bool = False
    fails: type[RecorderError] | None = None
    users: tuple[str, ...] = ("chat", "dashboard")
    route: str | None = ""
    command: str | None = ""
    example: Example | None = None

    @property
    def group(self) -> str:
        """The first part of the name."""
        return self.name.partition(".")[0]

    @property
    def action(self) -> str:
        """The last part of the name."""
        return self.name.partition(".")[2]

    @property
    def items(self) -> str | None:
        """The field of the result with the items of a page, None if there are no pages."""
        if "cursor" not in self.params.__dataclass_fields__:
            return None
        return next(one.name for one in fields(self.result) if get_origin(one.type) is list)

    def rest(self) -> tuple[str, str] | None:
        """Return verb and path of its route, None if it has none."""
        if self.route is None:
            return None
        place = "/{id}" if "id" in self.params.__dataclass_fields__ else ""
        usual = f"{'POST' if self.changes else 'GET'} /{self.group}{place}/{self.action}"
        verb, _, path = (self.route or usual).partition(" ")
        return verb, path

    def words(self) -> str | None:
        """Return the words of its command, None if it has none."""
        return self.name.replace(".", " ") if self.command == "" else self.command


GROUPS: Final = {
    "events": "Events in the cluster.",
    "incidents": "Incidents: the conditions that events tell of.",
    "conversations": "Conversations with the assistant.",
    "snapshots": "Snapshots of the cluster's state.",
    "timeline": "Snapshot, events and turns around one time.",
    "preferences": "Preferences that the assistant remembers.",
    "dead": "The index of the dead letters, whose queue is the truth.",
}
"""The groups of methods, of which the client makes an attribute; the others are its own methods."""

METHODS: Final = (
    Method(
        "events.list", params.ListEvents, results.EventPage,
        route="GET /memory/events", command="query events",
        example=Example(
            {
                "severity": ["error", "critical"],
                "node": "pve",
                "exclude": ["type:metric"],
                "limit": 1,
            },
            {
                "events": [examples.EVENT],
                "next_cursor": "WzE3Njk0MTQ0Mzc2MDAwMDAsNDJd",
                "looked_to": None,
            },
        ),
    ),
    Method(
        "events.unresolved", params.UnresolvedEvents, results.EventPage,
        route="GET /memory/events/unresolved", command=None,
        example=Example(
            {"type": "alert"},
            {"events": [examples.EVENT], "next_cursor": None, "looked_to": None},
        ),
    ),
    Method(
        "events.get", params.GetEvent, results.OneEvent,
        fails=NotFound, route="GET /events/{id}", command="query event",
        example=Example({"id": 42}, {"event": examples.EVENT}),
    ),
    Method(
        "events.record", params.RecordEvent, results.OneEvent,
        changes=True, fails=Conflict, users=("chat",),
        route="POST /memory/events", command=None,
        example=Example(examples.NEW_EVENT, {"event": examples.EVENT}),
    ),
    Method(
        "events.resolve", params.ResolveEvent, results.OneEvent,
        changes=True, caller="resolved_by", needs_caller=True, fails=NotFound, command="resolve",
        example=Example({"id": 42, "resolved_by": "anna"}, {"event": examples.RESOLVED}),
    ),
    Method(
        "events.reopen", params.ReopenEvent, results.OneEvent,
        changes=True, fails=NotFound, command="reopen",
        example=Example({"id": 42}, {"event": examples.EVENT}),
    ),
    Method(
        "events.histogram", params.EventHistogram, results.Histogram, command="query histogram",
        example=Example(
            {"since": "2026-01-26T08:00:00.000000Z", "until": "2026-01-26T08:02:00.000000Z",
             "bucket_seconds": 60, "by": "type"},
            examples.HISTOGRAM,
        ),
    ),
    Method(
        "events.matrix", params.EventMatrix, results.Matrix,
        command="query matrix",
        example=Example(
            {
                "since": "2026-01-26T08:00:00.000000Z", "until": "2026-01-26T08:02:00.000000Z",
                "buckets": 2, "cluster": "home",
            },
            examples.MATRIX,
        ),
    ),
    Method(
        "incidents.list", params.ListIncidents, results.IncidentPage, route="GET /incidents",
        example=Example(
            {"state": ["open", "unknown"], "node": "pve"},
            {
                "incidents": [examples.INCIDENT], "next_cursor": None, "total": 1,
                "complete": True,
            },
        ),
    ),
    Method(
        "incidents.get", params.GetIncident, results.IncidentHistory, fails=NotFound,
        example=Example(
            {"key": examples.INCIDENT["key"]},
            {
                "events": [examples.EVENT], "next_cursor": None, "incident": examples.INCIDENT,
                "transitions": [examples.TRANSITION], "truncated": False,
            },
        ),
    ),
    Method(
        "incidents.acknowledge", params.AcknowledgeIncident, results.OneIncident,
        changes=True, caller="by", needs_caller=True, fails=NotFound,
        example=Example(
            {"key": examples.INCIDENT["key"], "by": "anna", "note": "on my way"},
            {"incident": examples.ACKNOWLEDGED},
        ),
    ),
    Method(
        "incidents.resolve", params.ResolveIncident, results.OneIncident,
        changes=True, caller="by", needs_caller=True, fails=NotFound,
        example=Example(
            {"key": examples.INCIDENT["key"], "by": "anna"}, {"incident": examples.CLOSED}
        ),
    ),
    Method(
        "incidents.reopen", params.ReopenIncident, results.OneIncident,
        changes=True, caller="by", fails=NotFound,
        example=Example({"key": examples.INCIDENT["key"]}, {"incident": examples.INCIDENT}),
    ),
    Method(
        "incidents.silence", params.SilenceIncidents, results.OneSilence,
        changes=True, caller="by",
        example=Example(
            {
                "until": examples.SILENCE["until"], "node": "pve", "reason": "new memory",
                "by": "anna",
            },
            {"silence": examples.SILENCE},
        ),
    ),
    Method(
        "incidents.silences", params.ListSilences, results.SilencePage,
        example=Example({}, {"silences": [examples.SILENCE], "next_cursor": None}),
    ),
    Method(
        "conversations.sessions", params.ListSessions, results.SessionPage,
        route="GET /conversations", command="query sessions",
        example=Example(
            {"since": "2026-01-26T08:00:00.000000Z"},
            {"sessions": [examples.SESSION], "next_cursor": None},
        ),
    ),
    Method(
        "conversations.turns", params.ListTurns, results.TurnPage,
        fails=NotFound, route="GET /conversations/{session_id}/turns", command="query turns",
        example=Example(
            {"session_id": "session-7"},
            {"turns": [examples.TURN], "next_cursor": None},
        ),
    ),
    Method(
        "conversations.get", params.GetTurn, results.OneTurn,
        fails=NotFound, route="GET /turns/{id}", command="query turn",
        example=Example({"id": 7}, {"turn": examples.TURN}),
    ),
    Method(
        "conversations.search", params.SearchTurns, results.FoundTurns, command="query search",
        example=Example({"query": "offline pve"}, {"turns": [examples.FOUND], "next_cursor": None}),
    ),
    Method(
        "conversations.usage", params.ReportUsage, results.UsageReport, command="query usage",
        example=Example(
            {"since": "2026-01-26T08:00:00.000000Z", "by": "model"},
            {"usage": [examples.USAGE], "total": examples.USAGE | {"key": None}, "next_cursor": None},
        ),
    ),
    Method(
        "conversations.delete", params.DeleteConversation, results.Deleted,
        changes=True, users=("chat",),
        route="DELETE /conversations/{session_id}/turns", command=None,
        example=Example({"session_id": "session-7"}, {"deleted": 2}),
    ),
    Method(
        "snapshots.latest", params.LatestSnapshot, results.OneSnapshot,
        fails=NotFound, command="query snapshot",
        example=Example({"cluster": "home"}, {"snapshot": examples.SNAPSHOT}),
    ),
    Method(
        "snapshots.at", params.SnapshotAt, results.OneSnapshot,
        fails=NotFound, command="query snapshot",
        example=Example(
            {"timestamp": "2026-01-26T08:00:37.000000Z", "cluster": "home"},
            {"snapshot": examples.SNAPSHOT},
        ),
    ),
    Method(
        "snapshots.list", params.ListSnapshots, results.SnapshotPage,
        route="GET /snapshots", command="query snapshots",
        example=Example(
            {"cluster": "home", "since": "2026-01-26T08:00:00.000000Z"},
            {"snapshots": [examples.SNAPSHOT_HEAD], "next_cursor": None},
        ),
    ),
    Method(
        "snapshots.diff", params.DiffSnapshots, results.SnapshotDifferences,
        fails=NotFound, command="query diff",
        example=Example(
            {
                "from": "2026-01-26T07:59:30.000000Z", "to": "2026-01-26T08:00:00.000000Z",
                "cluster": "home", "tolerance": 0.05,
            },
            examples.DIFFERENCES,
        ),
    ),
    Method(
        "snapshots.overview", params.GetClusterOverview, results.ClusterOverview,
        example=Example({"since": "2026-01-26T08:00:00.000000Z"}, examples.OVERVIEW),
    ),
    Method(
        "snapshots.series", params.MeasureSeries, results.Series, command="query series",
        example=Example(
            {
                "kind": "node", "name": "pve", "measures": ["cpu", "online"],
                "since": "2026-01-26T08:00:00.000000Z", "until": "2026-01-26T08:10:00.000000Z",
                "cluster": "home",
            },
            examples.SERIES,
        ),
    ),
    Method(
        "snapshots.forecast", params.ForecastMeasure, results.Forecast,
        fails=NotFound, command="query forecast",
        example=Example(
            {"kind": "storage", "name": "ceph", "measure": "used", "cluster": "home"},
            examples.FORECAST,
        ),
    ),
    Method(
        "timeline.around", params.TimelineAround, results.Timeline,
        route="GET /timeline", command="query timeline",
        example=Example(
            {"timestamp": "2026-01-26T08:00:37.000000Z", "window_seconds": 120, "cluster": "home"},
            examples.TIMELINE,
        ),
    ),
    Method(
        "preferences.get", params.GetPreference, results.OnePreference,
        fails=NotFound, route="GET /memory/preferences/{key}", command="prefs get",
        example=Example({"key": "dashboard.theme"}, {"preference": examples.PREFERENCE}),
    ),
    Method(
        "preferences.list", params.ListPreferences, results.PreferencePage,
        route="GET /memory/preferences", command="prefs list",
        example=Example(
            {"prefix": "dashboard."},
            {"preferences": [examples.PREFERENCE], "next_cursor": None},
        ),
    ),
    Method(
        "preferences.set", params.SetPreference, results.OnePreference,
        changes=True, caller="updated_by", fails=Conflict,
        route="PUT /memory/preferences/{key}", command="prefs set",
        example=Example(
            {"key": "dashboard.theme", "value": "dark", "expected_version": 1,
             "updated_by": "anna"},
            {"preference": examples.PREFERENCE},
        ),
    ),
    Method(
        "preferences.delete", params.DeletePreference, results.Deleted,
        changes=True, route="DELETE /memory/preferences/{key}", command="prefs delete",
        example=Example({"key": "dashboard.theme"}, {"deleted": 1}),
    ),
    Method(
        "dead.faults", params.ListDeadFaults, results.DeadLetterFaults, command="query faults",
        example=Example(
            {"reason": "invalid"},
            {"faults": [examples.DEAD_FAULT], **examples.INDEX, "truncated": False},
        ),
    ),
    Method(
        "dead.list", params.ListDeadLetters, results.IndexedDeadLetters, command="query dead",
        example=Example(
            {"fault": examples.DEAD_LETTER["fault"]},
            {"letters": [examples.DEAD_LETTER], "next_cursor": None, **examples.INDEX},
        ),
    ),
    Method(
        "dead.reconcile", params.ReconcileDeadLetters, results.Reconciled,
        changes=True, users=("recorder",), route=None, command=None,
        example=Example(
            {"letters": [examples.WAITING_LETTER], "began_seconds_ago": 1.5},
            {"added": 1, "removed": 0},
        ),
    ),
    Method(
        "recorder.stats", params.ReadStats, results.Stats,
        route="GET /stats", command="query stats",
        example=Example({}, examples.STATS),
    ),
    Method("rpc.discover", params.Discover, results.Document, route=None, command=None),
)  # fmt: skip

BY_NAME: Final = {method.name: method for method in METHODS}
BY_PARAMS: Final = {method.params: method for method in METHODS}


def adapter(shape: Any) -> TypeAdapter[Any]:
    """Return the adapter that validates and writes params or results of this class."""
    return _adapter(shape)


@cache
def _adapter(shape: Any) -> TypeAdapter[Any]:
    return TypeAdapter(shape)
