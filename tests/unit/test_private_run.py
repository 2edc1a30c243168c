"""`run --private-broker` on a machine that has the service: nothing of the service is read or taken."""

import contextlib
import os
import signal
from types import SimpleNamespace

import pytest

from jarvis_recorder.cli.run import _with_private_broker
from jarvis_recorder.config import loading
from jarvis_recorder.demo import node

URL = "amqp://guest:guest@127.0.0.1:5999/"


@pytest.fixture(autouse=True)
def service(tmp_path, monkeypatch):
    """The settings and credentials of an installed service, which has the port 9464."""
    file, credentials = tmp_path / "config.toml", tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "rpc.permissions").write_text('{"admin": ["*"]}')
    file.write_text('[broker]\nalso = ["node2"]\n[store]\nbudget = "1GiB"\n')
    monkeypatch.setattr(loading, "SYSTEM_FILE", file)
    monkeypatch.setattr(loading, "SYSTEM_CREDENTIALS", credentials)
    monkeypatch.setattr(node, "is_free", lambda port: port != 9464)


@pytest.fixture
def given(monkeypatch):
    """Return the settings of a private run, which gets a broker of the test's."""
    for name in os.environ:
        if name.startswith("JARVIS_RECORDER"):
            monkeypatch.delenv(name)
    broker = SimpleNamespace(url=URL)
    monkeypatch.setattr(node, "private_node", lambda **_: contextlib.nullcontext(broker))
    before = signal.getsignal(signal.SIGTERM)

    def settings(*overrides, config=None):
        with _with_private_broker(config, list(overrides)) as loaded:
            return loaded.settings

    yield settings
    signal.signal(signal.SIGTERM, before)


def test_settings_and_credentials_of_the_service_are_not_read(given):
    settings = given()

    assert settings.broker.url.get_secret_value() == URL
    assert settings.broker.also == []
    assert settings.rpc.permissions == {}
    assert settings.store.budget == 0


def test_its_health_is_on_another_port_and_other_commands_are_told(given, capsys):
    listen = given().http.listen

    assert listen.startswith("127.0.0.1:")
    assert not listen.endswith(":9464")
    told = capsys.readouterr().err
    assert f"export JARVIS_RECORDER_BROKER__URL={URL}\n" in told
    assert f"export JARVIS_RECORDER_HTTP__LISTEN={listen}\n" in told


def test_the_usual_port_is_taken_where_it_is_free(given, monkeypatch, capsys):
    monkeypatch.setattr(node, "is_free", lambda _: True)

    assert given().http.listen == "127.0.0.1:9464"
    assert "HTTP__LISTEN" not in capsys.readouterr().err


def test_what_the_caller_names_is_what_it_gets(given, tmp_path):
    mine = tmp_path / "mine.toml"
    mine.write_text('[log]\nlevel = "debug"\n')

    settings = given("http.listen=127.0.0.1:9464", config=mine)

    assert settings.http.listen == "127.0.0.1:9464"
    assert settings.log.level == "debug"
