"""The metrics that Prometheus reads; dashboard and alerts ask for nothing else."""

import json
import re
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client import Metric as PrometheusMetric

from jarvis_recorder.errors import NotConfirmed
from jarvis_recorder.monitoring.collector import Facts, registry
from jarvis_recorder.monitoring.health import Storage, health_checks
from jarvis_recorder.ports import StorageHealth
from jarvis_recorder.telemetry.metrics import (
    METRICS,
    CallMetrics,
    MeasuredPublisher,
    Metric,
    MetricKind,
)
from jarvis_recorder.telemetry.status import RecorderStatus
from jarvis_recorder.wire.refusal import Reason

DEPLOY = Path(__file__).parents[2] / "deploy"
NOW = 1_800_000_000_000_000
HEALTH = StorageHealth(3, 4096, 8192, 1_000_000_000)


def of(status: RecorderStatus, calls: CallMetrics | None = None) -> CollectorRegistry:
    facts = Facts(
        status=status,
        health=lambda: HEALTH,
        checks=lambda: health_checks(status, Storage(None, 0.0, HEALTH), NOW),
        clock=lambda: NOW,
    )
    return registry(status, calls or CallMetrics(), facts)


def test_each_reader_sees_what_was_counted():
    status = RecorderStatus(connected=True, answering=True, stored=7, duplicates=2)
    status.attach()
    status.settled["jarvis.recorder.events"] += 9
    status.count_dead_letter(Reason.NOT_JSON)
    assert status.count_near_misses("jarvis.recorder.turns", "cost_usd", 2)
    assert not status.count_near_misses("jarvis.recorder.turns", "cost_usd", 3)
    status.count_decoded(5, 3)
    status.oldest = NOW - 1_500_000
    read = of(status).get_sample_value

    events = {
        "messaging_system": "rabbitmq",
        "messaging_operation_name": "process",
        "messaging_destination_name": "jarvis.recorder.events",
    }
    assert read("messaging_client_consumed_messages_total", events) == 9
    assert read("jarvis_recorder_stored_total") == 7
    assert read("jarvis_recorder_duplicates_total") == 2
    assert read("jarvis_recorder_dead_lettered_total", {"reason": "not_json"}) == 1
    assert read("jarvis_recorder_dead_lettered_total", {"reason": "invalid"}) == 0
    near = {"messaging_destination_name": "jarvis.recorder.turns", "field": "cost_usd"}
    assert read("jarvis_recorder_near_misses_total", near) == 5
    assert read("jarvis_recorder_decoded_total", {"path": "plain"}) == 3
    assert read("jarvis_recorder_decoded_total", {"path": "full"}) == 2
    assert read("jarvis_recorder_oldest_unacked_seconds") == 1.5
    assert read("jarvis_recorder_state", {"state": "recording"}) == 1
    assert read("jarvis_recorder_ready") == 1
    assert read("jarvis_recorder_wal_bytes") == 8192
    assert read("jarvis_recorder_announcements_waiting") == 3


class Refusing:
    async def publish(self, *_, mandatory=True):
        raise NotConfirmed("the queue is full")


async def test_a_publication_that_fails_is_counted_as_such():
    status = RecorderStatus()
    with pytest.raises(NotConfirmed):
        await MeasuredPublisher(Refusing(), status.sent).publish("jarvis.dead", "key", b"", b"")

    labels = {
        "messaging_system": "rabbitmq",
        "messaging_operation_name": "send",
        "messaging_destination_name": "jarvis.dead",
        "error_type": "NotConfirmed",
    }
    read = of(status).get_sample_value
    assert read("messaging_client_sent_messages_total", labels) == 1
    assert read("messaging_client_operation_duration_seconds_count", labels) == 1


def test_two_recorders_of_one_process_share_no_measure():
    one, other = RecorderStatus(), RecorderStatus()
    one.measured.records.observe(5)
    assert of(one).get_sample_value("jarvis_recorder_batch_records_count") == 1
    assert of(other).get_sample_value("jarvis_recorder_batch_records_count") == 0


def families() -> dict[str, PrometheusMetric]:
    """Return everything that is exported once each of it was observed, by the table's names."""
    status, calls = RecorderStatus(), CallMetrics()
    for measure in (status.measured.process_seconds, status.sent.seconds):
        measure.labels(*measure._labelnames)
    status.sent.messages.labels(*status.sent.messages._labelnames)
    status.count_near_misses("jarvis.recorder.turns", "cost_usd", 1)
    calls.answered("events.list", None, 0.1)
    suffix = {"counter": "_total", "info": "_info"}
    return {
        family.name + suffix.get(family.type, ""): family for family in of(status, calls).collect()
    }


def test_the_table_has_every_metric_as_it_is_exported():
    exported = families()

    assert set(exported) == {metric.name for metric in METRICS}
    for metric in METRICS:
        family = exported[metric.name]
        kind = {"info": "gauge"}.get(family.type, family.type)
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        assert (kind, family.documentation, labels) == (
            metric.kind, metric.help, set(metric.labels)
        )  # fmt: skip


def test_the_help_that_prometheus_reads_is_that_of_the_table():
    text = generate_latest(of(RecorderStatus())).decode()

    for metric in METRICS:
        assert f"# HELP {metric.name} {metric.help}\n# TYPE {metric.name} {metric.kind}\n" in text


def samples_of(metric: Metric) -> set[str]:
    if metric.kind is MetricKind.HISTOGRAM:
        return {f"{metric.name}_{part}" for part in ("bucket", "count", "sum")}
    return {metric.name}


SAMPLES = set().union(*map(samples_of, METRICS))


_NAME = re.compile(r"\b(?:jarvis_recorder|messaging|rpc|process)_[a-z_]+\b(?!\s*=)")


def named_in(expression: str) -> set[str]:
    return set(_NAME.findall(re.sub(r"\{[^}]*\}|by\s*\([^)]*\)", "", expression)))


def test_the_dashboard_asks_for_nothing_that_is_not_in_the_table():
    dashboard = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())
    expressions = [
        target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())
    ]
    assert len(expressions) > 10
    assert set().union(*map(named_in, expressions)) <= SAMPLES
    identifiers = [panel["id"] for panel in dashboard["panels"]]
    assert len(identifiers) == len(set(identifiers))


def test_the_alerts_ask_for_nothing_that_is_not_in_the_table():
    groups = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules) > 6
    for rule in rules:
        assert named_in(rule["expr"]) <= SAMPLES, rule["alert"]
        assert {"summary", "description"} <= rule["annotations"].keys()
        assert rule["labels"]["severity"] in ("warning", "critical")
