"""Incidents: a fold of signals, which is the same in whatever order they arrived."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jarvis_recorder.errors import ConfigurationError
from jarvis_recorder.incidents import state
from jarvis_recorder.incidents.rules import load_rules, shipped_rules
from jarvis_recorder.incidents.signals import (
    Effect,
    EventFacts,
    Signal,
    details_read,
    read_event,
)
from jarvis_recorder.incidents.state import next_incidents, state_of, transitions, with_late
from jarvis_recorder.wire.records import SEVERITIES

RULES = shipped_rules()
SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR


def event(summary="[Monitor] NODE_DOWN: pve1 changed from online to offline", **fields):
    facts = {
        "type": "alert", "severity": "critical", "node": "pve1", "cluster": None,
        "summary": summary, "details": None, "subject": None,
    }  # fmt: skip
    return EventFacts(**facts | fields)


def read(*args, **fields):
    return read_event(event(*args, **fields), RULES)


def problem(at, severity="error"):
    return Signal(at, Effect.PROBLEM, severity)


def recovery(at):
    return Signal(at, Effect.RECOVERY)


def fold(signals, rules, **options):
    """Return the incidents of signals in whatever order they are given."""
    return state.fold(sorted(signals, key=Signal.order), rules, **options)


def folded(*signals, **options):
    return fold(signals, RULES, **options)


class TestSignals:
    def test_a_node_that_goes_and_comes_back_is_one_condition(self):
        down, effect = read()
        up, ended = read(
            "[Monitor] NODE_UP: pve1 changed from offline to online",
            type="status", severity="info",
        )  # fmt: skip

        assert (effect, ended) == (Effect.PROBLEM, Effect.RECOVERY)
        assert down == up
        assert (down.key, down.kind, down.guessed) == ("pve1/NODE_DOWN", "NODE_DOWN", True)
        assert (down.evidence, down.shown_as, down.covers) == ("node", "pve1", True)

    @pytest.mark.parametrize(
        ("details", "object_of"), [({"vmid": 105}, "105"), (None, "105"), ({"vmid": "7"}, "7")]
    )
    def test_a_guest_is_named_by_its_details_or_by_its_summary(self, details, object_of):
        condition, _ = read("[Monitor] VM_CRASHED: mail (105) is gone", details=details)

        assert (condition.object, condition.evidence) == (object_of, "guest")
        assert condition.key == f"pve1/VM_CRASHED/{object_of}"

    def test_the_publisher_may_name_the_condition(self):
        by_details, _ = read(details={"incident": "disk-7"})
        by_subject, _ = read("It broke", subject="vm/105")

        assert (by_details.key, by_details.guessed) == ("disk-7", False)
        assert (by_subject.key, by_subject.guessed) == ("vm/105", False)

    def test_a_nul_is_no_part_of_a_key(self):
        """Another program may have stored one as an escape in JSON."""
        by_details, _ = read(details={"incident": "disk\0-7"})
        by_subject, _ = read("It broke", subject="\0")
        guessed, _ = read("[Monitor] VM_CRASHED: mail is gone", details={"vmid": "1\x0005"})

        assert by_details.key == "disk-7"
        assert (by_subject.key, by_subject.guessed) == ("pve1/It broke", True)
        assert (guessed.object, guessed.shown_as) == ("105", "105")

    def test_the_cluster_is_part_of_the_condition(self):
        assert read(cluster="home")[0].key == "home/pve1/NODE_DOWN"
        assert read(cluster="")[0].key == "pve1/NODE_DOWN"

    def test_a_node_that_the_event_does_not_name_is_read_from_the_summary(self):
        first, _ = read("[Monitor] NODE_DOWN: pve1 changed from online to offline", node=None)
        other, _ = read("NODE_DOWN: node pve2.lan is gone", node=None)
        up, ended = read(
            "[Monitor] NODE_UP: pve1 is back", node=None, type="status", severity="info"
        )
        named, _ = read("NODE_DOWN: pve1 is gone")
        several, _ = read("NODE_DOWN: 2 nodes are gone", node=None)

        assert (first.key, first.node, first.shown_as) == ("pve1/NODE_DOWN", "pve1", "pve1")
        assert (up, ended, named) == (first, Effect.RECOVERY, first)
        assert (other.key, other.node) == ("pve2.lan/NODE_DOWN", "pve2.lan")
        assert (several.key, several.node) == ("NODE_DOWN", None)

    def test_a_cluster_is_not_taken_for_a_node(self):
        of_cluster, _ = read("BACKUP: failed", cluster="a", node=None)
        of_node, _ = read("BACKUP: failed", node="a")
        of_both, _ = read("BACKUP: failed", cluster="a", node="b")
        of_none, _ = read("BACKUP: failed", node=None)

        assert (of_cluster.key, of_node.key) == ("a/-/BACKUP", "a/BACKUP")
        assert (of_both.key, of_none.key) == ("a/b/BACKUP", "BACKUP")

    @pytest.mark.parametrize(
        "naming",
        [
            lambda name: {"details": {"incident": name}},
            lambda name: {"subject": name},
            lambda name: {"node": name},
            lambda name: {"details": {"storage": name}},
        ],
    )
    def test_long_names_differ_by_their_end(self, naming):
        summary = "[Monitor] STORAGE_DOWN: storage"
        keys = [
            read(summary, **naming(name))[0].key
            for name in ("x" * 300 + "1", "x" * 300 + "2", "y" * 200, "x" * 300 + "1")
        ]

        assert keys[0] == keys[3]
        assert len({*keys}) == 3
        assert all(len(key) <= 200 for key in keys)
        assert read(incident := "z" * 200, details={"incident": incident})[0].key == incident

    def test_numbers_do_not_tell_conditions_apart_in_a_summary_without_a_tag(self):
        first, _ = read("Pool tank is 95.5 % full")
        second, _ = read("Pool  tank is 96 % full")
        other, _ = read("Pool rust is 96 % full")

        assert first.key == second.key == "pve1/Pool tank is N % full"
        assert read("pve2 did not answer for 12.5s")[0].kind == "pve2 did not answer for Ns"
        assert other.key != first.key

    def test_one_tag_without_a_rule_has_conditions_by_object(self):
        degraded, effect = read("[Monitor] ZFS: pool rpool is DEGRADED")
        well, ended = read("[Monitor] ZFS: pool rpool is ONLINE", type="status", severity="info")
        other, _ = read("[Monitor] ZFS: pool tank is DEGRADED")

        assert (effect, ended) == (Effect.PROBLEM, Effect.RECOVERY)
        assert degraded == well != other

    @pytest.mark.parametrize(
        "recovered",
        [
            {"severity": "info"},
            {"details": {"currentState": "online"}},
            {"details": {"state": "OK"}},
            {"type": "status", "severity": "info"},
            {"type": "status", "severity": "warning", "details": {"state": "ok"}},
        ],
    )
    def test_a_condition_ends_when_it_is_said_to_be_well(self, recovered):
        assert read("[Monitor] THRESHOLD: cpu of pve1", **recovered)[1] is Effect.RECOVERY

    @pytest.mark.parametrize(
        ("summary", "details"),
        [
            ("STORAGE_FULL: storage tank at 97%", {"storage": "tank", "status": "available"}),
            ("THRESHOLD: cpu above 90%", {"vmid": 101, "status": "running", "metric": "cpu"}),
            ("CPU_HIGH: of a guest", {"vmid": 101, "state": "running"}),
        ],
    )
    def test_an_object_that_is_up_may_have_a_problem(self, summary, details):
        assert read(f"[Monitor] {summary}", details=details)[1] is Effect.PROBLEM

    def test_a_node_that_is_online_has_none(self):
        alert = read("[Monitor] NODE_DOWN: pve1", details={"status": "online"})

        assert alert[1] is Effect.RECOVERY

    def test_a_measure_of_two_guests_is_two_conditions(self):
        objects = [
            read("[Monitor] THRESHOLD: cpu above 90 %", details=details)[0].object
            for details in (
                {"vmid": 101, "metric": "cpu"}, {"vmid": 102, "metric": "cpu"},
                {"metric": "disk", "pool": "tank"}, {"metric": "cpu"}, {"vmid": 101}, {},
            )
        ]  # fmt: skip

        assert objects == ["101/cpu", "102/cpu", "tank", "cpu", "101", "cpu"]

    @pytest.mark.parametrize(
        "fields",
        [
            {"type": "metric", "severity": "critical"},
            {"type": "status", "severity": "critical"},
            {"type": "action", "severity": "warning"},
            {"type": "status", "severity": "info", "summary": "[Monitor] Systems Nominal: all"},
        ],
    )
    def test_nothing_but_an_alert_is_a_problem(self, fields):
        assert read(**fields) is None

    def test_a_number_of_thousands_of_digits_names_nothing(self):
        condition, _ = read("it broke", details={"incident": 10**5_000, "vmid": -(10**5_000)})

        assert (condition.guessed, condition.object) == (True, None)

    def test_alerts_of_nothing_known_are_conditions_all_the_same(self):
        condition, effect = read(" ", node=None)

        assert (condition.key, effect) == ("event", Effect.PROBLEM)


class Asked(dict):
    """Details that note which of their members are asked for."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def get(self, name, default=None):
        self.names.add(name)
        return super().get(name, default)


def test_all_that_is_read_of_details_is_named(tmp_path):
    path = tmp_path / "rules.toml"
    path.write_text(
        '[[rule]]\nkind = "UPS"\nproblem = ["ON_BATTERY"]\nobject = ["rack+ups", "u"]\n'
    )
    rules = load_rules(path, 24)
    details = Asked()
    for tag in (*rules.problems, *rules.recoveries, "OTHER"):
        read_event(event(f"{tag}: it is", details=details), rules)

    assert {"incident", "state", "currentState", "vmid", "rack", "u"} <= details.names
    assert details.names <= details_read(rules)


class TestRules:
    def test_a_rule_of_ones_own_comes_before_those_shipped(self, tmp_path):
        path = tmp_path / "rules.toml"
        path.write_text(
            '[[rule]]\nkind = "UPS"\nproblem = ["ON_BATTERY"]\nrecovery = ["ON_LINE"]\n'
            '[[rule]]\nkind = "NODE_DOWN"\nproblem = ["GONE"]\n'
        )
        rules = load_rules(path, 24)

        assert rules.quiet == DAY
        assert rules.problems["ON_BATTERY"].kind == "UPS"
        assert "NODE_DOWN" not in rules.problems
        assert "VM_CRASHED" in rules.problems
        assert rules.version() != shipped_rules().version()

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("rule = 7", "rule"),
            ("[[rule]]\nkind = 7", "rule.0.kind"),
            ('[[rule]]\nkind = "A"\ntext = "("', "regular expression"),
            ('[[rule]]\nkind = "A"\ntext = "a"', "one group"),
            ('[[rule]]\nkind = "A"\ntext = "(a{99999999999})"', "regular expression"),
            ('[[rule]]\nkind = "A\\u0000"', "rule.0.kind"),
            ("[[rule]", "line 1"),
            pytest.param("rule = " + "[" * 3_000, "nested too deeply", id="deep"),
            pytest.param("rule = " + "9" * 5_000, "too many digits", id="long"),
        ],
    )
    def test_a_wrong_rule_is_named(self, tmp_path, text, said):
        path = tmp_path / "rules.toml"
        path.write_text(text)

        with pytest.raises(ConfigurationError, match=r"incidents\.rules") as raised:
            load_rules(path, 24)

        assert said in str(raised.value)

    def test_a_missing_file_is_named(self, tmp_path):
        with pytest.raises(ConfigurationError, match=r"none\.toml"):
            load_rules(tmp_path / "none.toml", 24)


class TestStates:
    def test_48_rows_a_day_of_one_full_pool_are_one_incident_with_its_count(self):
        (incident,) = folded(*(problem(n * 30 * MINUTE) for n in range(48 * 3)))

        assert (incident.count, incident.first_at) == (144, 0)
        assert incident.last_at == 143 * 30 * MINUTE
        assert (state_of(incident, None), incident.flapping) == ("open", False)

    def test_eight_pairs_in_forty_minutes_are_one_that_flaps(self):
        pairs = [
            one
            for n in range(8)
            for one in (problem(n * 5 * MINUTE), recovery(n * 5 * MINUTE + 2 * MINUTE))
        ]
        (incident,) = folded(*pairs)
        (open_one,) = folded(*pairs[:-1])

        assert (incident.count, incident.flapping) == (8, True)
        assert (state_of(incident, None), incident.recovered_at) == ("recovered", 37 * MINUTE)
        assert (state_of(open_one, None), open_one.flapping) == ("open", True)

    def test_a_backup_that_pauses_a_guest_each_night_does_not_flap(self):
        nights = [
            one for n in range(10) for one in (problem(n * DAY), recovery(n * DAY + 3 * MINUTE))
        ]
        (incident,) = folded(*nights)

        assert not incident.flapping

    def test_after_a_quiet_time_another_incident_opens(self):
        first, second = folded(problem(0), recovery(HOUR), problem(3 * DAY))

        assert (state_of(first, None), first.recovered_at) == ("recovered", HOUR)
        assert (state_of(second, None), second.count) == ("open", 1)

    def test_one_that_nothing_was_heard_of_ends_when_another_opens(self):
        first, second = folded(problem(0), problem(90 * DAY))

        assert (state_of(first, None), first.resolved_at) == ("resolved", 90 * DAY)
        assert state_of(second, None) == "open"

    def test_an_acknowledged_one_stays_so_until_it_recovers(self):
        seen = Signal(5, Effect.ACKNOWLEDGE, by="anna", note="on my way")
        (again,) = folded(problem(0), seen, problem(10))
        (recovered,) = folded(problem(0), seen, problem(10), recovery(20))
        (open_again,) = folded(problem(0), seen, recovery(20), problem(30))

        assert (state_of(again, None), again.acknowledged_by) == ("acknowledged", "anna")
        assert again.note == "on my way"
        assert (state_of(recovered, None), recovered.acknowledged_by) == ("recovered", None)
        assert state_of(open_again, None) == "open"

    def test_a_note_goes_with_the_outage_it_was_written_of(self):
        seen = Signal(5, Effect.ACKNOWLEDGE, by="anna", note="on my way")
        by_bert = Signal(40, Effect.ACKNOWLEDGE, by="bert")
        for end in (recovery(20), Signal(20, Effect.RESOLVE, by="anna")):
            (again,) = folded(problem(0), seen, end, problem(30))
            (seen_again,) = folded(problem(0), seen, end, problem(30), by_bert)

            assert again.note is None
            assert (seen_again.acknowledged_by, seen_again.note) == ("bert", None)
        (recovered,) = folded(problem(0), seen, recovery(20))
        assert recovered.note is None

    def test_what_was_resolved_opens_again_with_the_next_problem_and_by_hand(self):
        resolved = Signal(5, Effect.RESOLVE, by="anna")
        (once,) = folded(problem(0), resolved)
        (again,) = folded(problem(0), resolved, problem(10))
        (by_hand,) = folded(problem(0), resolved, Signal(7, Effect.REOPEN))

        assert (state_of(once, None), once.resolved_by) == ("resolved", "anna")
        assert state_of(again, None) == state_of(by_hand, None) == "open"

    def test_what_was_closed_by_hand_opens_as_seen_by_no_one(self):
        seen = Signal(11, Effect.ACKNOWLEDGE, by="anna")
        closed = Signal(12, Effect.RESOLVE, by="anna")
        (again,) = folded(problem(10), seen, closed, problem(20))

        assert (state_of(again, None), again.acknowledged_by) == ("open", None)

    @pytest.mark.parametrize("end", [recovery(MINUTE), Signal(MINUTE, Effect.RESOLVE, by="anna")])
    def test_what_somebody_opened_again_is_the_incident_of_the_next_problem(self, end):
        (again,) = folded(
            problem(0), end, Signal(5 * DAY, Effect.REOPEN),
            Signal(5 * DAY + 1, Effect.ACKNOWLEDGE, by="anna"), problem(5 * DAY + HOUR),
        )  # fmt: skip

        assert (state_of(again, None), again.acknowledged_by) == ("acknowledged", "anna")
        assert again.count == 2

    def test_a_late_problem_may_keep_open_what_was_resolved(self):
        story = [
            problem(10), problem(20), Signal(20, Effect.RESOLVE, by="anna"),
            Signal(25, Effect.ACKNOWLEDGE, by="bert"), problem(30),
        ]  # fmt: skip
        (before,) = folded(*story)
        (whole,) = folded(*story, problem(22))

        assert with_late(before, problem(22)) is None
        assert (state_of(before, None), state_of(whole, None)) == ("open", "acknowledged")

    def test_an_event_that_is_resolved_closes_when_somebody_did_it(self):
        """All that was done before stays, and a later problem leaves it open."""
        seen = Signal(5, Effect.ACKNOWLEDGE, by="anna", note="on my way")
        again = Signal(6, Effect.RESOLVE, by="bert"), Signal(7, Effect.REOPEN)
        resolved = Signal(9, Effect.RESOLVE, by="cora", of=0)
        (closed,) = folded(problem(0), seen, resolved)
        (opened_before,) = folded(problem(0), *again, resolved)
        (open_still,) = folded(problem(0), problem(8), resolved)
        (open_again,) = folded(problem(0), resolved, problem(10))

        assert (closed.resolved_at, closed.resolved_by) == (9, "cora")
        assert (closed.acknowledged_by, closed.note) == ("anna", "on my way")
        assert (opened_before.resolved_at, opened_before.resolved_by) == (9, "cora")
        assert state_of(open_still, None) == state_of(open_again, None) == "open"
        assert len(open_still.openings) == 1

    def test_an_event_that_is_resolved_closes_its_own_incident_and_not_the_next(self):
        resolved = Signal(4 * DAY, Effect.RESOLVE, by="anna", of=0)
        first, second = folded(problem(0), recovery(HOUR), problem(3 * DAY), resolved)

        assert (first.resolved_at, first.resolved_by) == (4 * DAY, "anna")
        assert state_of(second, None) == "open"
        assert folded(problem(3 * DAY), resolved) == folded(problem(3 * DAY))

    def test_four_that_were_closed_by_hand_within_an_hour_flap_too(self):
        closed = [
            one
            for n in range(4)
            for one in (problem(n * MINUTE), Signal(n * MINUTE + SECOND, Effect.RESOLVE, by="a"))
        ]

        assert folded(*closed)[0].flapping

    def test_recovery_resolves_only_where_the_rule_says_so(self):
        signals = problem(0), recovery(5)

        assert state_of(folded(*signals)[0], None) == "recovered"
        assert state_of(folded(*signals, resolves=True)[0], None) == "resolved"

    def test_nothing_recovers_that_never_was_a_problem(self):
        assert folded(recovery(0), Signal(1, Effect.ACKNOWLEDGE)) == ()

    def test_it_is_unknown_whether_it_is_so_where_the_evidence_is_older(self):
        (down,) = folded(problem(10))

        assert state_of(down, 20) == "open"
        assert state_of(down, 5) == "unknown"
        assert state_of(down, None) == "open"

    def test_the_worst_severity_counts(self):
        (incident,) = folded(problem(0, "warning"), problem(1, "critical"), problem(2, "error"))

        assert incident.severity == "critical"

    def test_transitions_say_who_did_what(self):
        signals = (
            problem(0), problem(1), Signal(2, Effect.ACKNOWLEDGE, by="anna", note="seen"),
            recovery(3), Signal(4, Effect.RESOLVE, by="bert"),
        )  # fmt: skip

        assert [tuple(one) for one in transitions(signals)] == [
            (0, "open", None, None),
            (2, "acknowledged", "anna", "seen"),
            (3, "recovered", None, None),
            (4, "resolved", "bert", None),
        ]


TIMES = st.integers(0, 12).map(lambda n: n * 10 * HOUR)


@st.composite
def resolutions(draw):
    """Somebody resolves an event, some time after its problem."""
    of, at = sorted((draw(TIMES), draw(TIMES)))
    return Signal(at, Effect.RESOLVE, by=draw(st.sampled_from("ab")), of=of)


SIGNALS = (
    st.builds(
        Signal, TIMES, st.sampled_from(Effect), st.sampled_from(SEVERITIES), st.sampled_from("ab")
    )
    | resolutions()
)


@given(st.data(), st.lists(SIGNALS, max_size=30, unique_by=Signal.order))
def test_any_order_gives_the_same_incidents(data, signals):
    assert fold(data.draw(st.permutations(signals)), RULES) == fold(signals, RULES)


@given(st.lists(SIGNALS, max_size=30), st.integers(0, 30))
def test_a_fold_continues_where_it_was_interrupted(signals, at):
    ordered = sorted(signals, key=Signal.order)
    incidents = fold(ordered[:at], RULES)
    for signal in ordered[at:]:
        # All that a fold goes on from is its last incident, and the one that the signal is of.
        known = 1 if signal.of is None else len(incidents)
        before, last = incidents[: len(incidents) - known], incidents[len(incidents) - known :]
        incidents = (*before, *next_incidents(last, signal, RULES))

    assert incidents == fold(signals, RULES)


NAMES = ["incident", "vmid", "state", "currentState", "metric", "storage", "x"]
VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=300)
DETAILS = st.dictionaries(st.sampled_from(NAMES), VALUES | st.lists(VALUES, max_size=2)) | VALUES
TAGS = st.sampled_from(["[Monitor] NODE_DOWN: ", "VM_CRASHED: (", "THRESHOLD: ", "ZFS: pool ", ""])


@given(
    st.sampled_from(["alert", "status", "action", "metric"]),
    st.sampled_from(SEVERITIES),
    st.builds(str.__add__, TAGS, st.text(max_size=2_000)),
    DETAILS,
    st.none() | st.text(max_size=600),
)
def test_whatever_an_event_says_it_is_a_condition_of_bounded_length_or_none(
    kind, severity, summary, details, subject
):
    read_of_it = read(summary, type=kind, severity=severity, details=details, subject=subject)

    if read_of_it is not None:
        condition, _ = read_of_it
        assert 0 < len(condition.key) <= 200
        assert len(condition.kind) <= 200
        assert condition.object is None or 0 < len(condition.object) <= 200


@given(st.lists(SIGNALS, max_size=30), SIGNALS)
def test_a_late_signal_is_one_more_or_has_all_folded_again(signals, late):
    before = fold(signals, RULES)
    if not before or late.order() >= before[-1].heard_at:
        return
    if any(one.of == late.at for one in signals):
        # That a problem was resolved is never read before the problem.
        return
    with_it = with_late(before[-1], late)

    if with_it is not None:
        assert (*before[:-1], with_it) == fold([*signals, late], RULES)


@given(st.lists(SIGNALS, max_size=30))
def test_each_problem_is_counted_once(signals):
    problems = [one for one in signals if one.effect is Effect.PROBLEM]

    assert sum(one.count for one in fold(signals, RULES)) == len(problems)
