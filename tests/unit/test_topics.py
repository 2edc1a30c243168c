"""Which routing keys belong to which queue, as the broker's own topic exchange has it."""

import pytest

from jarvis_recorder.wire.topics import TOPICS, is_bound, is_smuggled


@pytest.mark.parametrize(
    ("key", "bound"),
    [
        (b"cluster.event", True),
        (b"cluster.event.alert.critical", True),
        (b"cluster.event.\xff", True),
        (b"cluster.events", False),
        (b"cluster", False),
        (b"x.cluster.event.a", False),
        (b"", False),
    ],
)
def test_a_key_is_bound_where_it_begins_with_the_words_of_the_binding(key, bound):
    assert is_bound(key, TOPICS[0].binding) is bound


def test_only_what_came_by_the_exchange_of_the_recorder_is_held_against_its_bindings():
    bindings = [topic.binding for topic in TOPICS]

    assert is_smuggled(b"jarvis", b"recorder.event.resolved", bindings)
    assert not is_smuggled(b"jarvis", b"chat.turn.user", bindings)
    assert not is_smuggled(b"", b"jarvis.recorder.events", bindings)
