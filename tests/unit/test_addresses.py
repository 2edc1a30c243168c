"""The addresses of one broker: which are taken, and in which order they are tried."""

import asyncio

import pytest

from jarvis_recorder.client import RecorderClient, reconnect
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


# A typing error, a forgotten name in a template, two names grown together.
IMPOSSIBLE = ["node1..lan", ".lan", "n" * 64, "node1.lan.."]


@pytest.mark.parametrize("host", IMPOSSIBLE)
@pytest.mark.parametrize(
    ("setting", "written"),
    [
        ("broker.url", "amqp://u:p@{}:5672/"),
        ("broker.url", "amqps://{}/v"),
        ("broker.also", '["node2", "{}"]'),
        ("store.url", "postgresql://u:p@{}/recorder"),
        ("store.url", "postgresql://u:p@db1:5432,{}:5432/recorder"),
        ("store.url", "postgresql://u:p@/recorder?sslmode=require&host=db1,{}"),
        ("http.listen", "{}:9464"),
        ("gateway.listen", "{}:8080"),
    ],
)
def test_a_host_that_no_resolver_takes_is_refused_before_it_is_tried(setting, written, host):
    with pytest.raises(ConfigurationError, match=f"{setting}.*names a host that cannot exist"):
        load({setting: written.format(host)}, {}, None)


@pytest.mark.parametrize(
    "host", ["node1.lan.", "n" * 63, "b\u00fccher.example", "[fd00::1]", "a_b"]
)
def test_any_other_host_is_taken(host):
    assert Addresses(f"amqp://u:p@{host}/").are_several is False


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://u:p@{'n' * 63}:5432/recorder",
        "postgresql://u:p@[fd00::1]:5432,db2/recorder",
        f"postgresql://u@%2Frun%2F{'s' * 64}/recorder",
        "postgresql:///recorder",
        f"postgresql:///recorder?host=/run/{'s' * 64},%2Frun%2F{'s' * 64}",
        "sqlite:///a..b/recorder.db",
    ],
)
def test_any_other_database_is_taken(url):
    assert load({"store.url": url}, {}).settings.store.url.get_secret_value() == url


@pytest.mark.parametrize("name", ["v" * 128, "\u20ac" * 100])
def test_a_virtual_host_that_no_frame_takes_is_refused(name):
    with pytest.raises(ConfigurationError, match=r"broker\.url.*virtual host of more than 127"):
        load({"broker.url": f"amqp://u:p@node1/{name}"}, {}, None)
    assert load({"broker.url": f"amqp://u:p@node1/{name[:85]}"}, {}, None)


async def test_a_client_names_a_host_that_cannot_exist():
    with pytest.raises(ConfigurationError, match="names a host that cannot exist"):
        async with RecorderClient("amqp://u:p@node1..lan/", timeout=2):
            pass


async def test_a_client_gets_the_error_that_no_one_expected_and_does_not_wait(monkeypatch):
    def fails(*_, **__):
        raise UnicodeError("no one expected this")

    monkeypatch.setattr(reconnect, "open_link", fails)

    async with asyncio.timeout(60):
        with pytest.raises(UnicodeError, match="no one expected this"):
            async with RecorderClient("amqp://u:p@node1/"):
                pass
