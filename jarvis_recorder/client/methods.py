"""
The methods of the recorder, grouped as their names are.

Made from the table of methods by `make schemas`; not to be edited.
"""

from jarvis_recorder.client.rpc_methods import Ask, Group, paged_method, rpc_method
from jarvis_recorder.wire.rpc import params


class Events(Group):
    """Events in the cluster."""

    list = rpc_method(params.ListEvents)
    unresolved = rpc_method(params.UnresolvedEvents)
    get = rpc_method(params.GetEvent)
    record = rpc_method(params.RecordEvent)
    resolve = rpc_method(params.ResolveEvent)
    reopen = rpc_method(params.ReopenEvent)
    histogram = rpc_method(params.EventHistogram)
    matrix = rpc_method(params.EventMatrix)
    iter = paged_method(params.ListEvents, lambda page: page.events)
    iter_unresolved = paged_method(params.UnresolvedEvents, lambda page: page.events)


class Incidents(Group):
    """Incidents: the conditions that events tell of."""

    list = rpc_method(params.ListIncidents)
    get = rpc_method(params.GetIncident)
    acknowledge = rpc_method(params.AcknowledgeIncident)
    resolve = rpc_method(params.ResolveIncident)
    reopen = rpc_method(params.ReopenIncident)
    silence = rpc_method(params.SilenceIncidents)
    silences = rpc_method(params.ListSilences)
    iter = paged_method(params.ListIncidents, lambda page: page.incidents)
    iter_get = paged_method(params.GetIncident, lambda page: page.events)
    iter_silences = paged_method(params.ListSilences, lambda page: page.silences)


class Conversations(Group):
    """Conversations with the assistant."""

    sessions = rpc_method(params.ListSessions)
    turns = rpc_method(params.ListTurns)
    get = rpc_method(params.GetTurn)
    search = rpc_method(params.SearchTurns)
    usage = rpc_method(params.ReportUsage)
    delete = rpc_method(params.DeleteConversation)
    iter_sessions = paged_method(params.ListSessions, lambda page: page.sessions)
    iter_turns = paged_method(params.ListTurns, lambda page: page.turns)
    iter_search = paged_method(params.SearchTurns, lambda page: page.turns)
    iter_usage = paged_method(params.ReportUsage, lambda page: page.usage)


class Snapshots(Group):
    """Snapshots of the cluster's state."""

    latest = rpc_method(params.LatestSnapshot)
    at = rpc_method(params.SnapshotAt)
    list = rpc_method(params.ListSnapshots)
    diff = rpc_method(params.DiffSnapshots)
    overview = rpc_method(params.GetClusterOverview)
    series = rpc_method(params.MeasureSeries)
    forecast = rpc_method(params.ForecastMeasure)
    iter = paged_method(params.ListSnapshots, lambda page: page.snapshots)


class TimelineMethods(Group):
    """Snapshot, events and turns around one time."""

    around = rpc_method(params.TimelineAround)


class Preferences(Group):
    """Preferences that the assistant remembers."""

    get = rpc_method(params.GetPreference)
    list = rpc_method(params.ListPreferences)
    set = rpc_method(params.SetPreference)
    delete = rpc_method(params.DeletePreference)
    iter = paged_method(params.ListPreferences, lambda page: page.preferences)


class Dead(Group):
    """The index of the dead letters, whose queue is the truth."""

    faults = rpc_method(params.ListDeadFaults)
    list = rpc_method(params.ListDeadLetters)
    reconcile = rpc_method(params.ReconcileDeadLetters)
    iter = paged_method(params.ListDeadLetters, lambda page: page.letters)


class Methods:
    """The groups of methods as attributes."""

    def __init__(self, ask: Ask) -> None:
        self.events = Events(ask)
        self.incidents = Incidents(ask)
        self.conversations = Conversations(ask)
        self.snapshots = Snapshots(ask)
        self.timeline = TimelineMethods(ask)
        self.preferences = Preferences(ask)
        self.dead = Dead(ask)
