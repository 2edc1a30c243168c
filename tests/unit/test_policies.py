"""Which of a broker's policies the doctor warns of."""

import pytest

from jarvis_recorder.broker.policies import _Policy, harmful, unbound
from jarvis_recorder.broker.topology import QUEUES


def policy(pattern="^jarvis", *, applies_to="all", priority=0, operators=False, **definition):
    keys = {name.replace("_", "-"): value for name, value in definition.items()}
    name = "operators" if operators else f"p{priority}"
    return _Policy(name, pattern, applies_to, priority, keys, operators)


def found(*policies):
    return [(one.name, one.detail) for one in harmful(policies, "/")]


@pytest.mark.parametrize(
    ("harmful", "says", "queues"),
    [
        (policy(expires=60_000), "expires deletes a queue that no recorder consumes for 60 s", 5),
        (policy(message_ttl=1_000), "message-ttl takes away what waits for 1 s", 4),
        (policy(max_length=10), "max-length lets no more than 10 wait", 4),
        (policy(max_length_bytes=10), "max-length-bytes lets no more than 10 wait", 4),
        (policy(".*", applies_to="queues", expires=1_000), "expires deletes", 5),
        (policy(r"recorder\.turns$", operators=True, max_length=1), "max-length lets", 1),
        (policy("(?|never(", expires=1_000), "expires deletes", 5),
    ],
)
def test_a_policy_that_deletes_queues_or_messages_is_warned_of(harmful, says, queues):
    ((name, detail),) = found(harmful)

    assert name == f"policy {harmful.name}"
    assert detail.startswith(says)
    assert detail.count("jarvis.recorder.") == queues


@pytest.mark.parametrize(
    "harmless",
    [
        policy("^mine", expires=1_000),
        policy(applies_to="exchanges", alternate_exchange="x"),
        policy(delivery_limit=10),
        policy(r"\.rpc$", message_ttl=1_000),
    ],
)
def test_any_other_policy_is_not(harmless):
    assert found(harmless) == []


def test_of_several_policies_the_one_in_force_counts():
    """RabbitMQ applies one of each kind to a queue: that of the highest priority."""
    shadowed, in_force = policy(expires=1_000), policy(priority=5, delivery_limit=3)

    assert found(shadowed, in_force) == []
    assert [name for name, _ in found(shadowed, in_force, policy(operators=True, expires=1))] == [
        "policy operators"
    ]


def bindings(*left_out):
    """The bindings that `rabbitmqctl` lists, but for those to some queues."""
    exchanges = [("", queue) for queue in QUEUES] + [(queue.exchange, queue) for queue in QUEUES]
    return [
        {"source_name": exchange, "destination_name": queue.name}
        for exchange, queue in exchanges
        if not exchange or queue.name not in left_out
    ]


def test_a_queue_that_nothing_leads_to_is_warned_of():
    (one,) = unbound(bindings("jarvis.recorder.turns"))

    assert one.name == "bindings"
    assert "does not reach jarvis.recorder.turns: " in one.detail


def test_nothing_is_said_of_bindings_that_are_there_or_of_queues_that_are_not():
    assert unbound(bindings()) == unbound([]) == []
