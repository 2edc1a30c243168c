"""Each method of the table has its route, its command and its place in the documents."""

from unittest.mock import Mock

import pytest
import typer
from argon2 import PasswordHasher

from jarvis_recorder import cli
from jarvis_recorder.config.settings import GatewaySettings
from jarvis_recorder.gateway.app import create
from jarvis_recorder.wire.rpc.methods import METHODS

BY_NAME = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)


@pytest.fixture(scope="module")
def routes():
    hashed = PasswordHasher(1, 8, 1).hash("a password")
    settings = GatewaySettings(token_secret="x" * 32, password_hash=hashed)
    return create(Mock(), Mock(), settings).openapi()["paths"]


@BY_NAME
def test_a_method_has_the_route_that_the_table_names(method, routes):
    place = method.rest()
    if place is None:
        return
    verb, path = place
    operation = routes[f"/api{path}"][verb.lower()]

    assert operation["security"] == [{"token": []}]
    assert operation["responses"]["200" if method.name != "events.record" else "201"]


def test_no_two_methods_share_a_route():
    places = [place for method in METHODS if (place := method.rest()) is not None]

    assert len(set(places)) == len(places)


@pytest.fixture(scope="module")
def commands():
    return typer.main.get_command(cli._application())


@BY_NAME
def test_a_method_has_the_command_that_the_table_names(method, commands):
    found = commands
    for word in (method.words() or "").split():
        found = found.commands[word]

    assert found.help
