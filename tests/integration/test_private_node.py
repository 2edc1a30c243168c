"""A broker of one's own next to others: it reads nothing of theirs, and is where clients look."""

import re
import socket

import pytest

from jarvis_recorder.demo import node
from jarvis_recorder.demo.node import PrivateNode

pytestmark = pytest.mark.broker

# What a node reads when it starts, by the names of `rabbit_prelaunch`.
READ = (
    "main_config_file",
    "additional_config_files",
    "advanced_config_file",
    "conf_env_file",
    "enabled_plugins_file",
)


@pytest.fixture
def make_node(tmp_path):
    """Make a node that ends with the test."""
    made = []

    def make(**options):
        made.append(PrivateNode(tmp_path, **options))
        return made[-1]

    yield make
    for one in made:
        one.kill()


@pytest.fixture
def usual(monkeypatch):
    """A port in the place of 5672, which some broker of this machine may have."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(node, "_USUAL_PORT", server.getsockname()[1])
        yield server


def test_it_reads_no_file_of_this_machines_broker(make_node, tmp_path):
    started = make_node().start()

    names = ", ".join(READ)
    told = started.ctl("eval", f"maps:with([{names}], rabbit_prelaunch:get_context()).")

    paths = dict(re.findall(r'(\w+)\s*=>\s*"([^"]*)"', told))
    assert set(paths) == set(READ)
    assert [path for path in paths.values() if not path.startswith(f"{tmp_path}/")] == []


def test_it_is_where_clients_look(make_node, usual):
    port = usual.getsockname()[1]
    usual.close()

    assert make_node(usual_port=True).port == port


def test_it_leaves_the_usual_port_to_a_broker_that_is_there(make_node, usual):
    assert make_node(usual_port=True).port != usual.getsockname()[1]
