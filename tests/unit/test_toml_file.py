"""The gateway's password, set in a TOML file that somebody wrote."""

import subprocess
import sys
import tomllib

import pytest
from argon2 import PasswordHasher

pytestmark = pytest.mark.long

PASSWORD = "correct horse"


def passwd(*arguments, to=subprocess.PIPE, given=f"{PASSWORD}\n"):
    return subprocess.run(
        [sys.executable, "-m", "jarvis_recorder", "gateway", "passwd", *map(str, arguments)],
        input=given, stdout=to, stderr=subprocess.PIPE, check=False,
        encoding="utf-8", errors="surrogateescape",
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
    assert file.read_text().count("# It signs the tokens") == 1
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
        "gateway = 1\n",
        "[[gateway]]\nissuer = 'me'\n",
        pytest.param("a = " + "[" * 3_000, id="deep"),
        pytest.param("a = " + "9" * 5_000, id="long"),
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


def test_a_line_break_of_another_system_is_no_part_of_the_password(file):
    assert passwd("--to", file, given=f"{PASSWORD}\r\n").returncode == 0

    assert lets_in(tomllib.loads(file.read_text()))


def test_what_is_no_text_is_said_to_be_none(file):
    wrong_password = passwd("--to", file, given="gr\udcfcne Wiese\n")
    assert not file.exists()
    file.write_bytes(b"# gr\xfcn\n")
    wrong_file = passwd("--to", file)

    assert wrong_password.returncode == 2
    assert "standard input is not UTF-8" in wrong_password.stderr
    assert wrong_file.returncode == 78
    assert wrong_file.stderr == f"jarvis-recorder: {file}: not UTF-8; nothing was written\n"
    assert file.read_bytes() == b"# gr\xfcn\n"
