"""Settings are shown, and wrong ones refused, without the password in them."""

import sys

import pytest

from jarvis_recorder import cli
from tests.support.planted import CORE, QUOTED, SOURCES, assert_no_secret, given, planted_url

URL = planted_url()
TORN = f"amqp://keeper:p/{CORE}@broker/"


@pytest.fixture
def jarvis(monkeypatch, capsys, tmp_path):
    """Run a command that ends before it connects; return its code and all it has written."""

    def run(command, source, url, setting="broker.url"):
        arguments, environment = given(source, url, tmp_path, setting)
        return written([*command, *arguments], COLUMNS="300", **environment)

    def written(arguments, **environment):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["jarvis-recorder", *arguments])
            for name, value in environment.items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                cli.main()
        return ended.value.code, "".join(capsys.readouterr())

    run.written = written
    return run


@pytest.mark.parametrize("source", SOURCES)
def test_the_settings_are_shown_without_the_password(jarvis, source):
    for command in (["show"], ["show", "--json"], ["check"]):
        address = planted_url(5672, rest="v")
        code, text = jarvis(["config", *command], source, address)

        assert code == 0
        assert "amqp://keeper:***@127.0.0.1:5672/v" in text or command == ["check"]
        assert_no_secret(text)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("broker.url", TORN),
        ("broker.url", URL.replace("amqp:", "http:")),
        ("broker.url", URL.replace(":1/", ":port/")),
        ("broker.url", planted_url(5672, rest=f"v?password={QUOTED}")),
        ("log.format", URL),
        ("ingest.prefetch", URL),
        ("rpc.permissions", URL),
    ],
)
def test_a_wrong_value_is_not_repeated(jarvis, source, setting, value):
    code, text = jarvis(["run"], source, value, setting)

    assert code == 78
    assert_no_secret(text)


@pytest.mark.parametrize("source", ["command line", "environment", "file"])
def test_the_value_of_a_misspelt_name_is_not_repeated(jarvis, source):
    code, text = jarvis(["run"], source, URL, "broker.ulr")

    assert code == 78
    assert "did you mean" in text
    assert_no_secret(text)


@pytest.mark.parametrize("url", [URL, f"{URL}?heartbeat=5"])
def test_a_url_without_a_name_is_not_repeated(jarvis, url):
    code, text = jarvis.written(["run", "--set", url])

    assert code in (2, 78)
    assert_no_secret(text)


@pytest.mark.parametrize(
    "text",
    [f'broker.url = "{URL}" "', f'broker.url = "{URL}\\q"', f"broker.url = {URL}", f'b = "{URL}'],
)
def test_a_file_that_is_no_toml_is_not_repeated(jarvis, tmp_path, text):
    file = tmp_path / "broken.toml"
    file.write_text(text)

    code, said = jarvis.written(["run", "--config", str(file)])

    assert code == 78
    assert "not TOML" in said
    assert_no_secret(said)
