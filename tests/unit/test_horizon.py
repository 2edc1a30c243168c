"""Events on a server are final once the transactions that were writing others then have ended."""

import pytest

from jarvis_recorder.storage.postgres import horizon as horizons
from jarvis_recorder.storage.postgres.horizon import Horizon


class Server:
    """A server as one look sees it: its newest event, and the transactions that write some."""

    def __init__(self):
        self.newest, self.reached, self.writers, self.began = 0, 0, [], "monday"

    def execute(self, _):
        return self

    def one(self):
        writers = [[one, one.removeprefix("3/")] for one in self.writers]
        return self.newest, self.reached, writers, self.began


@pytest.fixture
def server():
    return Server()


def test_without_writers_what_is_visible_is_final(server):
    server.newest = 7

    assert Horizon()(server) == 7


def test_those_that_began_later_are_not_waited_for(server):
    horizon = Horizon()
    server.newest, server.reached, server.writers = 7, 2, ["3/1", "3/2"]
    seen = [horizon(server)]
    server.newest, server.writers = 9, ["3/2", "3/3"]
    seen.append(horizon(server))
    server.writers = ["3/3"]
    seen.append(horizon(server))

    assert seen == [2, 2, 7]


def test_writers_that_overlap_without_end_hold_nothing_up_for_long(server):
    """Each lasts 200 looks, with a new event each, and another begins before it ends."""
    horizon = Horizon()
    for look in range(3_000):
        server.newest += 1
        server.writers = [f"3/{look // 200}", f"3/{(look + 100) // 200 + 1_000}"]
        server.reached = horizon(server)

    assert server.newest - server.reached < 600


def test_of_a_server_that_was_promoted_nothing_is_remembered(server):
    """It may give the ids of lost events again, and they may be beyond the old ones by now."""
    horizon = Horizon()
    server.newest, server.reached = 9, 5
    assert horizon(server) == 9
    server.newest, server.reached, server.writers, server.began = 12, 4, ["3/1"], "tuesday"

    assert horizon(server) == 4


def test_what_another_recorder_has_read_by_now_is_waited_for_no_more(server, monkeypatch):
    monkeypatch.setattr(horizons, "_PATIENCE_SECONDS", 0.0)
    horizon = Horizon()
    server.newest, server.reached, server.writers = 9, 5, ["3/1"]
    horizon(server)
    assert "(1)" in horizon.failure
    server.reached = 9

    assert horizon(server) == 9
    assert horizon.failure is None
