"""The gateway's password, set in a TOML file that somebody wrote."""

import subprocess
import sys
import tomllib

import pytest
from argon2 import PasswordHasher

PASSWORD = "correct horse"


def passwd(*arguments, to=subprocess.PIPE):
    return subprocess.run(
        [sys.executable, "-m", "jarvis_recorder", "gateway", "passwd", *map(str, arguments)],
        input=f"{PASSWORD}\n", stdout=to, stderr=subprocess.PIPE, check=False, text=True,
    )  # fmt: skip


def lets_in(settings, name="password_hash"):
    return PasswordHasher().verify(settings["gateway"][name], PASSWORD)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "gateway.toml"


def test_a_new_file_is_for_its_owner_alone(file):
    assert passwd("--to", file).returncode == 0

    assert file.stat().st_mode & 0o777 == 0o600
    assert lets_in(tomllib.loads(file.read_text()))


def test_as_often_as_one_likes_and_all_else_stays(file):
    file.write_text(
        '# ours\n[gateway] # the page\nlisten = "127.0.0.1:1"\npassword_hash = "old"\n\n'
        '[broker]\nurl = "amqp://h/" # home\n'
    )
    file.chmod(0o640)

    for _ in range(2):
        assert passwd("--to", file).returncode == 0
        assert passwd("--to", file, "--reader").returncode == 0

    settings = tomllib.loads(file.read_text())
    assert lets_in(settings)
    assert lets_in(settings, "reader_password_hash")
    assert set(settings["gateway"]) == {
        "listen", "password_hash", "reader_password_hash", "token_secret",
    }  # fmt: skip
    assert file.read_text().count("# Any caller") == 1
    assert file.read_text().startswith("# ours\n[gateway] # the page\n")
    assert file.read_text().endswith('\n[broker]\nurl = "amqp://h/" # home\n')
    assert file.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    "text",
    [
        'gateway.password_hash = "old"\n',
        'gateway = {password_hash = "old"}\n',
        '[gateway]\npassword_hash = """\nold"""\n',
        "[gateway\n",
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_changed_line_by_line_stays_as_it_is(file, text):
    file.write_text(text)

    refused = passwd("--to", file)

    assert refused.returncode == 78
    assert str(file) in refused.stderr
    assert file.read_text() == text


def test_what_is_appended_twice_is_refused_before_it_is_no_toml(file):
    for code in (0, 78):
        with file.open("a") as appended:
            done = passwd(to=appended)
        assert done.returncode == code, done.stderr

    assert f"gateway passwd --to {file}" in done.stderr
    assert lets_in(tomllib.loads(file.read_text()))
