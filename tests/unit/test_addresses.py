"""The addresses of one broker: which are taken, and in which order they are tried."""

import pytest

from jarvis_recorder.config.loading import load
from jarvis_recorder.errors import ConfigurationError
from jarvis_recorder.net.addresses import Addresses

URL = "amqps://jarvis:p%2Fw@node1:5671/v%2Fh?auth=plain"


def test_other_nodes_are_reached_like_the_first():
    addresses = Addresses(URL, ["node2", "[fd00::1]:5673", "10.0.0.7:1"])

    assert addresses.in_turn() == (
        URL,
        "amqps://jarvis:p%2Fw@node2:5671/v%2Fh?auth=plain",
        "amqps://jarvis:p%2Fw@[fd00::1]:5673/v%2Fh?auth=plain",
        "amqps://jarvis:p%2Fw@10.0.0.7:1/v%2Fh?auth=plain",
    )


def test_one_that_was_left_comes_last():
    addresses = Addresses("amqp://a/", ["b", "c"])

    addresses.leave("amqp://a/")
    # Of two connections to one node the second to be lost changes nothing more.
    addresses.leave("amqp://a/")

    assert addresses.in_turn() == ("amqp://b/", "amqp://c/", "amqp://a/")


@pytest.mark.parametrize(
    "node", ["", "node2/vhost", "user@node2", "node2:0", "node2:65536", ":5672", "a,b", "fd00::1"]
)
def test_what_names_no_node_is_refused(node):
    with pytest.raises(ConfigurationError, match=r"broker\.also.*must be a host name or address"):
        load({"broker.also": f'["{node}"]'}, {}, None)


@pytest.mark.parametrize("url", ["amqp://u:p@a,b,c/", "amqp://a,b:5672/"])
def test_a_url_that_names_several_hosts_is_refused(url):
    with pytest.raises(ConfigurationError, match=r"names one host: .* broker\.also"):
        load({"broker.url": url}, {}, None)
