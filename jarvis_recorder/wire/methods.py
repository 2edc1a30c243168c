"""The one table of what can be asked: each method's name, its question and its answer."""

from functools import cache
from typing import Any, Final, NamedTuple

from pydantic import TypeAdapter

from jarvis_recorder.wire import answers, questions


class Method(NamedTuple):
    """
    A method of the recorder.

    `changes` says that it writes. `asker` names the parameter that is the asker's own user
    where it is left out; with `needs_asker` it is not answered where both are missing.
    """

    name: str
    question: type[Any]
    answer: type[Any]
    changes: bool = False
    asker: str | None = None
    needs_asker: bool = False


METHODS: Final = (
    Method("events.list", questions.ListEvents, answers.EventPage),
    Method("events.unresolved", questions.UnresolvedEvents, answers.EventPage),
    Method("events.get", questions.GetEvent, answers.OneEvent),
    Method("events.record", questions.RecordEvent, answers.OneEvent, changes=True),
    Method(
        "events.resolve",
        questions.ResolveEvent,
        answers.OneEvent,
        changes=True,
        asker="resolved_by",
        needs_asker=True,
    ),
    Method("events.histogram", questions.EventHistogram, answers.Histogram),
    Method("conversations.sessions", questions.ListSessions, answers.SessionPage),
    Method("conversations.turns", questions.ListTurns, answers.TurnPage),
    Method("conversations.get", questions.GetTurn, answers.OneTurn),
    Method("conversations.search", questions.SearchTurns, answers.FoundTurns),
    Method("conversations.usage", questions.ReportUsage, answers.UsageReport),
    Method("conversations.delete", questions.DeleteConversation, answers.Deleted, changes=True),
    Method("snapshots.latest", questions.LatestSnapshot, answers.OneSnapshot),
    Method("snapshots.at", questions.SnapshotAt, answers.OneSnapshot),
    Method("snapshots.list", questions.ListSnapshots, answers.SnapshotPage),
    Method("timeline.around", questions.TimelineAround, answers.Timeline),
    Method("preferences.get", questions.GetPreference, answers.OnePreference),
    Method("preferences.list", questions.ListPreferences, answers.PreferencePage),
    Method(
        "preferences.set",
        questions.SetPreference,
        answers.OnePreference,
        changes=True,
        asker="updated_by",
    ),
    Method("preferences.delete", questions.DeletePreference, answers.Deleted, changes=True),
    Method("recorder.stats", questions.ReadStats, answers.Stats),
    Method("rpc.discover", questions.Discover, answers.Document),
)

BY_NAME: Final = {method.name: method for method in METHODS}
BY_QUESTION: Final = {method.question: method for method in METHODS}


def adapter(shape: Any) -> TypeAdapter[Any]:
    """Return what validates and writes a question or an answer of this class."""
    return _adapter(shape)


@cache
def _adapter(shape: Any) -> TypeAdapter[Any]:
    return TypeAdapter(shape)
