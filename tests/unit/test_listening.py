"""The address to listen on: what comes right by itself, and what has to be changed."""

import socket

import pytest

from jarvis_recorder.errors import AddressUnavailable, ConfigurationError
from jarvis_recorder.net.http_server import listening


def test_an_address_that_no_interface_has_may_come():
    with pytest.raises(AddressUnavailable, match=r"192\.0\.2\.7"), listening("x", "192.0.2.7:9464"):
        pass


def test_a_name_that_cannot_be_looked_up_now_may_come(monkeypatch):
    def later(*_, **__):
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", later)

    with pytest.raises(AddressUnavailable, match="Temporary"), listening("x", "recorder.lan:9464"):
        pass


def test_an_address_in_use_has_to_be_changed():
    with listening("x", "127.0.0.1:0") as taken:
        port = taken.getsockname()[1]

        with pytest.raises(ConfigurationError), listening("x", f"127.0.0.1:{port}"):
            pass
