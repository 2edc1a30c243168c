"""`events.matrix`: the worst severity and the number of events by node and stretch of time."""

from datetime import timedelta

import pytest
from pydantic import ValidationError
from sqlalchemy import event as sqlalchemy_event

from jarvis_recorder.errors import ResultTooLarge
from jarvis_recorder.storage.queries import matrix
from jarvis_recorder.wire.rpc.params import MAX_CELLS, EventMatrix
from tests.support.archive import ask
from tests.support.stored import at, event, put


def minutes(count, **more):
    return EventMatrix(since=at(0), until=at(60 * count), **more)


def seen(answer):
    """Return the cells of each node that have events, by cluster, node and number."""
    return {
        (row.cluster, row.node): {
            number: (cell.severity, cell.count)
            for number, cell in enumerate(row.cells)
            if cell.count
        }
        for row in answer.nodes
    }


async def test_one_critical_among_a_hundred_makes_a_cell_critical(store):
    await put(store, *(event(n * 0.5, node="pve1") for n in range(100)))
    await put(store, event(30, node="pve1", severity="critical"), event(60, node="pve1"))

    answer = await ask(store, minutes(3, buckets=3))

    assert answer.bucket_seconds == 60
    assert [(cell.severity, cell.count) for cell in answer.nodes[0].cells] == [
        ("critical", 101), ("info", 1), (None, 0),
    ]  # fmt: skip


async def test_a_cell_begins_at_its_first_moment_and_ends_before_the_next(store):
    await put(store, *(event(second, node="pve1") for second in (-1, 0, 59.999999, 60, 120)))

    assert seen(await ask(store, minutes(2, buckets=2))) == {
        (None, "pve1"): {0: ("info", 2), 1: ("info", 1)}
    }


async def test_a_span_of_centuries_has_a_cell_for_its_last_moment(store):
    end = at(0)
    await put(store, event(0, node="pve1"))

    answer = await ask(
        store,
        EventMatrix(
            since="0001-01-01T00:00:00Z", until=end + timedelta(microseconds=1), buckets=48
        ),
    )

    assert len(answer.nodes[0].cells) == 48
    assert answer.nodes[0].cells[-1].count == 1


async def test_nodes_of_the_same_name_in_two_clusters_are_two(store):
    await put(
        store,
        event(1, node="pve1", cluster="lab", severity="error"),
        event(2, node="pve1", cluster="home", severity="warning"),
        event(3, node="pve1"),
        event(4, cluster="home"),
    )

    every = await ask(store, minutes(1, buckets=1))
    home = await ask(store, minutes(1, buckets=1, cluster="home"))
    none = await ask(store, minutes(1, buckets=1, cluster=""))
    node = await ask(store, minutes(1, buckets=1, cluster="lab", node="PVE1"))

    assert list(seen(every)) == [
        ("home", "pve1"), ("home", None), ("lab", "pve1"), (None, "pve1"),
    ]  # fmt: skip
    assert seen(home) == {
        ("home", "pve1"): {0: ("warning", 1)}, ("home", None): {0: ("info", 1)},
    }  # fmt: skip
    assert seen(none) == {(None, "pve1"): {0: ("info", 1)}}
    assert seen(node) == {("lab", "pve1"): {0: ("error", 1)}}


async def test_a_time_that_does_not_divide_has_whole_seconds_and_no_cell_beyond_its_end(store):
    await put(store, event(9.5, node="pve1"))

    answer = await ask(store, EventMatrix(since=at(0), until=at(10), buckets=4))
    short = await ask(store, EventMatrix(since=at(9), until=at(10), buckets=200))

    assert (answer.bucket_seconds, len(answer.nodes[0].cells)) == (3, 4)
    assert seen(answer) == {(None, "pve1"): {3: ("info", 1)}}
    assert (short.bucket_seconds, len(short.nodes[0].cells)) == (1, 1)


async def test_of_too_many_nodes_the_worst_are_shown(store):
    names = [f"n{number:03}" for number in range(matrix.MOST_NODES + 1)]
    await put(store, *(event(1, node=name, severity="warning") for name in names[1:]))
    await put(store, event(1, node=names[0]), event(2, node="last", severity="critical"))
    full = await ask(store, minutes(1, cluster="", node=names[1]))

    answer = await ask(store, minutes(1, buckets=1))

    shown = [row.node for row in answer.nodes]
    assert len(shown) == matrix.MOST_NODES
    assert "last" in shown
    assert names[0] not in shown
    assert answer.truncated
    assert not full.truncated


async def test_cells_for_which_there_is_no_room_are_refused(store):
    await put(store, *(event(1, node=f"n{number}") for number in range(100)))

    with pytest.raises(ResultTooLarge) as refused:
        await ask(store, minutes(300, buckets=MAX_CELLS), room=100_000)
    assert "fewer buckets" in refused.value.hint


async def test_as_many_empty_cells_as_fit_are_in_a_reply(store):
    await put(store, *(event(1, node=f"n{number}") for number in range(100)))

    found = await ask(store, minutes(300, buckets=MAX_CELLS), room=600_000)

    assert sum(len(row.cells) for row in found.nodes) == 100 * MAX_CELLS


@pytest.mark.parametrize("more", [{}, {"cluster": "home"}, {"node": "pve1"}])
async def test_only_the_events_of_the_time_are_read(sqlite_store, more):
    """An index bounds what is read by the time; what is read is sorted, not the whole index."""
    await put(sqlite_store, event(1, node="pve1", cluster="home"))
    statements = []

    def keep(_connection, _cursor, statement, parameters, *_):
        if "max(" in statement:
            statements.append((statement, parameters))

    engine = sqlite_store.archive._readers._engine
    sqlalchemy_event.listen(engine, "before_cursor_execute", keep)
    await ask(sqlite_store, minutes(1, **more))
    [(statement, parameters)] = statements
    plan = await sqlite_store.archive._readers.run(
        lambda reading: [
            row[3]
            for row in reading.connection.exec_driver_sql(
                f"EXPLAIN QUERY PLAN {statement}", parameters
            )
        ],
        float("inf"),
    )

    assert plan[0].startswith("SEARCH events USING INDEX"), plan
    assert "timestamp>? AND timestamp<?" in plan[0], plan


@pytest.mark.parametrize("given", [{"buckets": 0}, {"buckets": MAX_CELLS + 1}, {"until": at(0)}])
def test_a_matrix_is_bounded(given):
    with pytest.raises(ValidationError):
        EventMatrix(**{"since": at(0), "until": at(60)} | given)
