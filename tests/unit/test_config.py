"""The sources of settings, and the errors for wrong ones."""

import os
from pathlib import Path

import pytest

from jarvis_recorder.config import loading
from jarvis_recorder.config.loading import load, sqlite_path
from jarvis_recorder.config.secrets import exposed_secrets, protection, redacted
from jarvis_recorder.config.settings import NAMES
from jarvis_recorder.errors import ConfigurationError

LEVEL = "JARVIS_RECORDER_LOG__LEVEL"


@pytest.fixture
def toml(tmp_path):
    """Write a TOML file and return its path."""

    def write(text):
        path = tmp_path / "config.toml"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def credentials(tmp_path):
    """Write credentials as systemd does and return the environment that names them."""

    def write(**values):
        directory = tmp_path / "credentials"
        directory.mkdir()
        for name, value in values.items():
            (directory / name.replace("__", ".")).write_text(value)
        return {"CREDENTIALS_DIRECTORY": str(directory)}

    return write


def test_without_any_source_everything_has_its_default():
    settings, origins = load({}, {"XDG_STATE_HOME": "/state"})

    assert settings.broker.url.get_secret_value() == "amqp://guest:guest@localhost:5672/"
    assert settings.store.url.get_secret_value() == "sqlite:////state/jarvis-recorder/recorder.db"
    assert settings.http.listen == "127.0.0.1:9464"
    assert settings.log.level == "info"
    assert origins == dict.fromkeys(NAMES, "default")


def test_the_first_source_that_names_a_setting_wins(toml, credentials):
    """Command line, environment, credentials directory, TOML file, default."""
    file = toml('[log]\nlevel = "error"\n')
    directory = credentials(log__level="warning\n")
    environment = directory | {LEVEL: "debug"}

    assert load({}, {}).settings.log.level == "info"
    assert load({}, {}, file).settings.log.level == "error"
    assert load({}, directory, file).settings.log.level == "warning"
    assert load({}, environment, file).settings.log.level == "debug"
    assert load({"log.level": "info"}, environment, file).settings.log.level == "info"


def test_every_setting_says_where_it_came_from(toml, credentials):
    file = toml("[ingest]\nprefetch = 100\n")
    environment = credentials(broker__url="amqp://h/") | {LEVEL: "debug"}

    origins = load({"log.format": "json"}, environment, file).origins

    assert origins["ingest.prefetch"] == str(file)
    assert origins["broker.url"].startswith("credential (")
    assert origins["broker.url"].endswith("/broker.url)")
    assert origins["log.level"] == f"environment ({LEVEL})"
    assert origins["log.format"].startswith("command line")
    assert origins["store.url"] == "default"


def test_sections_of_a_file_mix_with_other_sources(toml):
    file = toml('[log]\nlevel = "error"\nformat = "json"\n')

    settings = load({}, {LEVEL: "debug"}, file).settings

    assert (settings.log.level, settings.log.format) == ("debug", "json")


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("JARVIS_RECORDER_BROKR__URL", "JARVIS_RECORDER_BROKER__URL"),
        ("JARVIS_RECORDER_LOG__LEVLE", LEVEL),
        ("JARVIS_RECORDER_BROKER_URL", "JARVIS_RECORDER_BROKER__URL"),
        ("JARVIS_RECORDER_STORE__URI", "JARVIS_RECORDER_STORE__URL"),
    ],
)
def test_a_misspelt_variable_is_an_error_with_the_nearest_right_one(variable, meant):
    with pytest.raises(ConfigurationError, match=f"{variable} is not .*did you mean {meant}"):
        load({}, {variable: "x"})


@pytest.mark.parametrize(
    ("text", "wrong", "meant"),
    [
        ('[brokr]\nurl = "amqp://h/"\n', r"section \[brokr\]", "broker"),
        ('[broker]\nurll = "amqp://h/"\n', r"broker\.urll", "broker.url"),
        ('[log]\nlvl = "info"\n', r"log\.lvl", "log.level"),
    ],
)
def test_a_misspelt_name_in_a_file_is_an_error_with_the_nearest_right_one(toml, text, wrong, meant):
    file = toml(text)

    with pytest.raises(ConfigurationError, match=rf"{wrong} in {file} is not .*mean {meant}\?"):
        load({}, {}, file)


@pytest.mark.parametrize(
    ("name", "meant"), [("brokr.url", "broker.url"), ("log.levle", "log.level"), ("foo", "")]
)
def test_a_misspelt_name_on_the_command_line_is_an_error_with_the_nearest_right_one(name, meant):
    with pytest.raises(ConfigurationError, match=f"{name}.* is not .*did you mean {meant}"):
        load({name: "x"}, {})


@pytest.mark.parametrize(
    ("name", "meant"),
    [("brokr.url", "broker.url"), ("broker_url", "broker.url"), ("store.uri", "store.url"),
     ("rpc.permission", "rpc.permissions"), ("log.levle", "log.level")],
)  # fmt: skip
def test_a_misspelt_credential_is_an_error_with_the_nearest_right_one(credentials, name, meant):
    """Without it a command would go to a broker, and a database, that no one meant."""
    environment = credentials(**{name: "x"})

    with pytest.raises(
        ConfigurationError, match=rf"/{name} is not a setting; did you mean {meant}"
    ):
        load({}, environment)


def test_other_files_may_lie_next_to_credentials(credentials):
    names = ("broker.key", "broker.ca.pem", "gateway.toml", "broker.url.1", "broker.url~", "x")
    environment = credentials(broker__url="amqp://h/", **dict.fromkeys(names, "x"))

    assert load({}, environment).settings.broker.url.get_secret_value() == "amqp://h/"


def test_a_credentials_directory_that_is_not_there_is_an_error(tmp_path):
    """A command would go to the broker on this machine, as its guest."""
    (tmp_path / "file").touch()

    for name, why in (("gone", "No such file or directory"), ("file", "Not a directory")):
        with pytest.raises(ConfigurationError, match=rf"{tmp_path / name}: cannot be read: {why}"):
            load({}, {"CREDENTIALS_DIRECTORY": str(tmp_path / name)})


def test_other_variables_are_none_of_our_business():
    load({}, {"JARVIS_TEST_AMQP_URL": "x", "RECORDER_LOG__LEVEL": "x"})


@pytest.mark.parametrize(
    ("overrides", "environment", "text", "origin"),
    [
        ({"log.level": "loud"}, {}, "", "command line"),
        ({}, {LEVEL: "loud"}, "", rf"environment \({LEVEL}\)"),
        ({}, {}, '[log]\nlevel = "loud"\n', r"config\.toml"),
    ],
)
def test_a_wrong_value_names_its_origin(toml, overrides, environment, text, origin):
    with pytest.raises(ConfigurationError, match=rf"log\.level: .*set in .*{origin}"):
        load(overrides, environment, toml(text))


@pytest.mark.parametrize(
    ("name", "value"),
    [("ingest.prefetch", "0"), ("ingest.prefetch", "65536"), ("broker.heartbeat", "soon")],
)
def test_a_number_has_to_be_one_that_works(name, value):
    with pytest.raises(ConfigurationError, match=name):
        load({name: value}, {})


# Of the two last ones the parser raises no TOMLDecodeError.
@pytest.mark.parametrize(
    "text",
    [
        "[log\n",
        "log = 1\n",
        "\0",
        pytest.param(f"[store]\nbudget = {'9' * 5_000}\n", id="long"),
        pytest.param(f"[broker]\nalso = {'[' * 3_000}{']' * 3_000}\n", id="deep"),
    ],
)
def test_a_file_that_is_no_configuration_is_named(toml, text):
    file = toml(text)

    with pytest.raises(ConfigurationError, match=str(file)):
        load({}, {}, file)


def test_a_file_that_is_asked_for_has_to_be_there(tmp_path):
    with pytest.raises(ConfigurationError, match=r"gone\.toml: cannot be read: No such file"):
        load({}, {}, tmp_path / "gone.toml")


@pytest.mark.parametrize("name", NAMES)
def test_no_setting_takes_a_nul(name):
    """No path and no database takes one, and what they raise is no error of the settings."""
    with pytest.raises(ConfigurationError, match=name):
        load({name: "a\0b"}, {})


@pytest.mark.parametrize("name", ["broker.also", "gateway.cors_origins", "gateway.trusted_proxies"])
def test_a_nul_may_be_an_escape_in_json(name):
    with pytest.raises(ConfigurationError, match=f"{name}: must not hold a NUL"):
        load({name: '["a\\u0000b"]'}, {})


def test_a_nul_in_a_file_of_settings_is_named(toml):
    file = toml('[store]\nurl = "sqlite:////var/a\\u0000b"\n')

    with pytest.raises(ConfigurationError, match=rf"store\.url: must not hold a NUL .*{file}"):
        load({}, {}, file)


SECRET = "amqp://jarvis:geheim@broker:5672/v"


def test_a_secret_is_never_shown():
    settings = load({"broker.url": SECRET}, {}).settings

    assert redacted("broker.url", settings) == "amqp://jarvis:***@broker:5672/v"
    assert all("geheim" not in redacted(name, settings) for name in NAMES)
    assert "geheim" not in repr(settings)
    assert "geheim" not in settings.model_dump_json()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://u:geheim@h/d", "Postgresql://u:geheim@h/d", "mysql://u:geheim@h/d",
        " postgresql://u:geheim@h/d", "host=h password=geheim", "postgresql://u:geheim@h/d",
        "postgresql://h/d?pass%77ord=geheim", "postgresql://h/d?a=1&oauth_client_secret=geheim",
    ],
)  # fmt: skip
def test_a_password_in_any_form_of_url_is_hidden(url):
    settings = load({"store.url": url}, {}).settings

    assert "geheim" not in redacted("store.url", settings)


@pytest.mark.parametrize(
    "url", ["sqlite:////srv/a.db", "postgresql://u@h/d?sslmode=require&port=1"]
)
def test_a_url_without_a_password_is_shown_whole(url):
    assert redacted("store.url", load({"store.url": url}, {}).settings) == url


@pytest.mark.parametrize("name", ["store.budget", "store.keep_free"])
@pytest.mark.parametrize(
    "size",
    [
        "90%",
        "20,5GiB",
        "1,000GiB",
        "1.5.0GiB",
        "20-GiB",
        "0.5",
        "20",
        "90",
        "0.5 B",
        "-1",
        "1e3GiB",
        "8EiB",
        "9" * 400,
    ],
)
def test_a_size_of_which_only_the_beginning_would_count_is_refused(name, size):
    with pytest.raises(ConfigurationError, match=name):
        load({name: size}, {})


def test_a_size_with_more_digits_than_python_writes_is_refused(toml):
    file = toml(f"[store]\nbudget = 0x{'f' * 5_000}\n")

    with pytest.raises(ConfigurationError, match=r"store\.budget: must be less than 8 EiB"):
        load({}, {}, file)


@pytest.mark.parametrize(
    ("size", "count"), [("0", 0), ("20GiB", 20 << 30), (" 1.5 MB ", 1_500_000), ("300000", 300_000)]
)
def test_a_size_has_a_unit_or_is_in_bytes(size, count):
    assert load({"store.budget": size}, {}).settings.store.budget == count


@pytest.mark.parametrize("text", ["[retention]\ninfo = true", "[store]\nbudget = true"])
def test_true_is_no_number(toml, text):
    with pytest.raises(ConfigurationError, match="must not be true or false"):
        load({}, {}, toml(text))


def test_an_empty_variable_names_no_file():
    settings = load({"incidents.rules": "", "broker.ca_file": ""}, {}).settings

    assert (settings.incidents.rules, settings.broker.ca_file) == (None, None)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o600])
def test_a_file_with_a_secret_that_everyone_may_read_is_named(toml, credentials, monkeypatch, mode):
    """By a relative path, too: that is how one asks about the file one has just written."""
    file = toml('[broker]\nurl = "amqp://a:secret@h/"\nkey_file = "key.pem"\n')
    environment = credentials(gateway__token_secret="x" * 64)
    token = Path(environment["CREDENTIALS_DIRECTORY"]) / "gateway.token_secret"
    key = file.with_name("key.pem")
    key.touch()
    for path in (file, token, key):
        path.chmod(mode)
    monkeypatch.chdir(file.parent)

    found = exposed_secrets(*load({}, environment, Path(file.name)))

    exposed = {
        Path(file.name): ["broker.url"],
        Path("key.pem"): ["broker.key_file"],
        token: ["gateway.token_secret"],
    }
    assert found == (exposed if mode == 0o644 else {})


def test_a_file_without_a_secret_may_be_read_by_everyone(toml):
    file = toml('[broker]\nurl = "amqp://h/"\n[log]\nlevel = "info"\n')
    file.chmod(0o644)

    assert exposed_secrets(*load({"gateway.token_secret": "x" * 64}, {}, file)) == {}


def test_what_is_wrong_is_said_without_the_words_of_the_library():
    with pytest.raises(ConfigurationError) as raised:
        load({"broker.url": "http://h/"}, {})

    assert "Value error" not in str(raised.value)


def test_a_wrong_value_is_not_repeated():
    """It might be a secret in the wrong place."""
    with pytest.raises(ConfigurationError) as caught:
        load({"broker.heartbeat": SECRET}, {})

    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    ("environment", "path"),
    [
        ({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b", "XDG_STATE_HOME": "/x"}, "/var/lib/a"),
        ({"XDG_STATE_HOME": "/x"}, "/x/jarvis-recorder"),
    ],
)
def test_the_database_is_in_the_state_directory(environment, path):
    assert str(sqlite_path(load({}, environment))) == f"{path}/recorder.db"


def test_a_relative_path_counts_from_where_one_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    relative = load({"store.url": "sqlite:///run/recorder.db"}, {})

    assert sqlite_path(relative) == tmp_path / "run" / "recorder.db"


@pytest.fixture
def system(tmp_path, monkeypatch):
    """The files of an installed service, in a directory of the test's."""
    for name, path in (
        ("SYSTEM_FILE", tmp_path / "etc" / "config.toml"),
        ("SYSTEM_CREDENTIALS", tmp_path / "etc" / "credentials"),
        ("SERVICE_DATABASE", tmp_path / "lib" / "recorder.db"),
    ):
        monkeypatch.setattr(loading, name, path)
        path.parent.mkdir(exist_ok=True)
    loading.SYSTEM_CREDENTIALS.mkdir()
    return loading


def test_the_service_can_read_a_file_that_was_protected_as_advised(system):
    """It reads config.toml, the file of an instance and a key as its own user, and not as root."""
    etc = system.SYSTEM_FILE.parent
    key = etc / "tls" / "my key.pem"
    key.parent.mkdir()
    files = (system.SYSTEM_FILE, etc / "one.toml", etc / "gateway.toml", key)
    for file in files:
        file.touch()

    main, instance, gateway = (protection(file, ["broker.url"]) for file in files[:3])
    of_key = protection(key, ["broker.key_file"])

    assert "chmod 600 " not in main
    assert f"LoadCredential=broker.url:{system.SYSTEM_CREDENTIALS / 'broker.url'}" in main
    assert gateway == f"chmod 600 {etc / 'gateway.toml'}"
    if os.geteuid() == 0:
        assert instance == f"chgrp jarvis-recorder {etc}/one.toml; chmod 640 {etc}/one.toml"
        assert of_key == f"chgrp jarvis-recorder '{key}'; chmod 640 '{key}'"
    else:
        assert of_key == f"chmod 600 '{key}'"


def test_commands_next_to_the_service_use_its_broker_and_its_database(system):
    (system.SYSTEM_CREDENTIALS / "broker.url").write_text("amqp://service@h/\n")
    system.SYSTEM_FILE.write_text(f'[store]\nurl = "sqlite:///{system.SERVICE_DATABASE}"\n')
    system.SERVICE_DATABASE.touch()

    found = load({}, {"XDG_STATE_HOME": "/x"})

    assert found.settings.broker.url.get_secret_value() == "amqp://service@h/"
    assert sqlite_path(found) == system.SERVICE_DATABASE


def test_a_file_of_ones_own_takes_the_place_of_all_that_is_the_systems(system, toml):
    (system.SYSTEM_CREDENTIALS / "broker.url").write_text("amqp://service@h/\n")

    assert load({}, {}, toml("")).origins["broker.url"] == "default"


def test_credentials_of_another_user_are_passed_over(system, monkeypatch):
    (system.SYSTEM_CREDENTIALS / "broker.url").write_text("amqp://service@h/\n")
    monkeypatch.setattr(os, "access", lambda path, mode: path != system.SYSTEM_CREDENTIALS)

    assert load({}, {}).origins["broker.url"] == "default"


def test_the_users_own_database_is_not_taken_for_the_services(system):
    """Otherwise `import` as root would fill a file that no one reads, and report success."""
    system.SERVICE_DATABASE.touch()

    with pytest.raises(
        ConfigurationError, match=f"set store.url to sqlite:///{system.SERVICE_DATABASE}"
    ):
        sqlite_path(load({}, {"XDG_STATE_HOME": "/x"}))

    for named in (
        load({"store.url": "sqlite:////x/recorder.db"}, {}),
        load({}, {"STATE_DIRECTORY": "/x"}),
    ):
        assert str(sqlite_path(named)) == "/x/recorder.db"


def test_without_a_home_directory_only_the_database_is_missing(monkeypatch):
    """A dynamic user of systemd has none where libnss-systemd is not installed."""
    monkeypatch.setattr(Path, "home", lambda: Path("~no-such-user").expanduser())

    found = load({}, {})

    assert found.settings.gateway.listen == "127.0.0.1:8080"
    with pytest.raises(ConfigurationError, match=r"no home directory .* set store\.url"):
        sqlite_path(found)


@pytest.mark.parametrize("url", ["", "foo", "http://h/", "amqp://", "amqp://[h", "amqp://h:99999/"])
def test_a_broker_that_is_no_address_is_an_error(url):
    with pytest.raises(ConfigurationError, match=r"broker\.url: "):
        load({"broker.url": url}, {})


@pytest.mark.parametrize(
    "url", ["recorder.db", "sqlite://", "sqlite://host/path", "mysql://h/db", "::", "sqlite:///"]
)
def test_a_store_that_is_no_file_is_an_error_that_says_what_is(url):
    with pytest.raises(ConfigurationError, match=r"store\.url must be sqlite:///"):
        sqlite_path(load({"store.url": url}, {}))


def test_permissions_are_json_where_a_source_knows_only_text():
    rules = '{"dashboard": ["events.*"]}'
    settings = load({}, {"JARVIS_RECORDER_RPC__PERMISSIONS": rules}).settings

    assert settings.rpc.permissions == {"dashboard": ["events.*"]}


@pytest.mark.parametrize(
    ("rules", "hint"),
    [
        ("{", "must be JSON, such as"),
        pytest.param("[" * 100_000, "must be JSON, such as", id="deep"),
        ('{"dashboard": ["event.*"]}', "fits no method"),
        ('{"dash\\u0000": ["events.*"]}', "NUL"),
    ],
)
def test_permissions_that_allow_nothing_are_an_error(rules, hint):
    with pytest.raises(ConfigurationError, match=hint):
        load({"rpc.permissions": rules}, {})


@pytest.mark.parametrize("secret", ["12/secret", "12#secret"])
def test_a_password_that_tears_the_url_apart_is_not_shown(secret):
    with pytest.raises(ConfigurationError, match="%2F") as refused:
        load({"broker.url": f"amqp://user:{secret}@host/"}, {})
    assert "secret" not in str(refused.value)


def test_an_address_to_listen_on_is_one_or_none():
    assert load({"http.listen": ""}, {}).settings.http.listen == ""
    assert load({"http.listen": "[::1]:0"}, {}).settings.http.listen == "[::1]:0"
    with pytest.raises(ConfigurationError, match=r"http\.listen: .*must be HOST:PORT"):
        load({"http.listen": "9464"}, {})
