"""The recorder as a service: what `provision systemd` installs, judged by systemd itself."""

import os
import pty
import shlex
import shutil
import subprocess
import sys
import tempfile
import termios
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from jarvis_recorder import cli
from jarvis_recorder.cli import files
from tests.support.recorder import wait_until

URL = "amqp://recorder:geheim@broker/"
EXECUTABLE = "/bin/true"
UNITS = (
    "jarvis-recorder.service",
    "jarvis-recorder@.service",
    "jarvis-recorder-backup.service",
    "jarvis-recorder-backup.timer",
    "jarvis-recorder-gateway.service",
)


@pytest.fixture
def provision(tmp_path, capsys, monkeypatch):
    """Run `provision systemd` below a directory of the test's; return code, output, errors."""

    def run(*options, url=URL):
        given = tmp_path / "url"
        given.write_bytes(url if isinstance(url, bytes) else url.encode())
        arguments = ["provision", "systemd", f"--root={tmp_path / 'root'}"]
        with given.open() as stdin:
            monkeypatch.setattr(sys, "stdin", stdin)
            monkeypatch.setattr(
                sys, "argv", ["jarvis-recorder", *arguments, f"--executable={EXECUTABLE}", *options]
            )
            with pytest.raises(SystemExit) as ended:
                cli.main()
        return ended.value.code, *capsys.readouterr()

    return run


@pytest.fixture
def root(tmp_path):
    return tmp_path / "root"


@pytest.fixture
def units(root):
    return root / "etc" / "systemd" / "system"


@pytest.fixture
def credential(root):
    return root / "etc" / "jarvis-recorder" / "credentials" / "broker.url"


@pytest.fixture
def settings(root):
    return root / "etc" / "jarvis-recorder" / "config.toml"


@pytest.fixture
def analyze():
    """Run `systemd-analyze`, as old as Debian's."""
    if shutil.which("systemd-analyze") is None:
        pytest.fail("systemd-analyze is missing: tools/get-systemd installs Debian's systemd")

    def run(*arguments):
        return subprocess.run(
            ["systemd-analyze", *map(str, arguments)],
            check=False, capture_output=True, text=True, env=os.environ | {"SYSTEMD_COLORS": "0"},
        )  # fmt: skip

    return run


def test_a_url_that_is_no_text_is_wrong_usage(provision, credential):
    code, _, err = provision(url=b"amqp://recorder:gr\xfcn@broker/\n")

    assert (code, credential.exists()) == (2, False)
    assert "standard input is not UTF-8" in err


def test_the_units_are_what_systemd_understands(provision, analyze, units):
    provision()

    for unit in UNITS:
        verified = analyze("verify", "--man=no", units / unit)
        assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")


@pytest.mark.parametrize("unit", [unit for unit in UNITS if unit.endswith(".service")])
def test_the_services_may_do_little(provision, analyze, units, unit):
    provision()

    judged = analyze("security", "--offline=true", "--threshold=15", units / unit)

    assert judged.returncode == 0, judged.stdout
    assert "Overall exposure level" in judged.stdout + judged.stderr


def test_user_and_directories_come_from_what_is_installed(provision, root):
    if os.geteuid() != 0 or shutil.which("systemd-sysusers") is None:
        pytest.skip("only root can make users, and only with systemd-sysusers")
    provision()

    for command in (["systemd-sysusers"], ["systemd-tmpfiles", "--create"]):
        subprocess.run([*command, f"--root={root}"], check=True, capture_output=True)

    assert "jarvis-recorder:" in (root / "etc" / "passwd").read_text()
    backups = root / "var" / "backups" / "jarvis-recorder"
    assert backups.stat().st_mode & 0o777 == 0o700
    assert f":{backups.stat().st_uid}:" in (root / "etc" / "passwd").read_text()


def test_the_units_start_the_command_that_installed_them(provision, units):
    provision()

    for unit, started in (
        ("jarvis-recorder.service", f"ExecStart={EXECUTABLE} run\n"),
        (
            "jarvis-recorder@.service",
            f"ExecStart={EXECUTABLE} run --config /etc/jarvis-recorder/%i.",
        ),
        ("jarvis-recorder-backup.service", f"ExecStart={EXECUTABLE} db backup --to /var/"),
        ("jarvis-recorder-gateway.service", f"ExecStart={EXECUTABLE} gateway --config ${{"),
    ):
        assert started in (units / unit).read_text()


def test_one_of_several_recorders_differs_in_its_settings_and_has_no_database_file(
    provision, units
):
    provision()

    alone, several = (
        {line for line in (units / unit).read_text().splitlines() if line[:1] not in ("#", "[")}
        for unit in ("jarvis-recorder.service", "jarvis-recorder@.service")
    )
    assert {line.partition("=")[0] for line in alone - several} == {
        "Description", "ExecStart", "RequiresMountsFor", "StateDirectory", "StateDirectoryMode",
    }  # fmt: skip
    assert {line.partition("=")[0] for line in several - alone} == {
        "Description", "ExecStart", "LoadCredential",
    }  # fmt: skip


def test_an_upgrade_restarts_every_service_that_runs_and_starts_none(provision):
    """`make install` has removed the files that they were started from."""
    _, told, _ = provision()
    (line,) = (line.strip() for line in told.splitlines() if "systemctl try-restart" in line)
    patterns = shlex.split(line)[2:]

    running = [unit for unit in UNITS if "backup" not in unit]
    assert [unit for unit in running if not any(fnmatch(unit, one) for one in patterns)] == []
    assert f"\n{line}\n" in (Path(__file__).parents[2] / "docs" / "install.md").read_text()


def test_the_url_is_for_root_only_and_nowhere_else(provision, root, credential):
    code, out, err = provision()

    assert code == 0
    assert credential.read_text() == f"{URL}\n"
    assert credential.stat().st_mode & 0o777 == 0o600
    assert credential.parent.stat().st_mode & 0o777 == 0o700
    others = [path for path in root.rglob("*") if path.is_file() and path != credential]
    assert len(others) == 8
    assert "geheim" not in out + err + "".join(path.read_text() for path in others)
    assert "systemctl enable --now jarvis-recorder.service" in out


def test_what_is_installed_is_for_all_whatever_roots_umask(provision, root, settings, credential):
    """The service reads its settings as its own user."""
    before = os.umask(0o077)
    try:
        assert provision()[0] == 0
    finally:
        os.umask(before)

    closed = [path for path in root.rglob("*") if path.stat().st_mode & 0o004 == 0]
    assert sorted(closed) == [credential.parent, credential]


def test_commands_find_the_services_database(provision, root, settings):
    provision()

    assert tomllib.loads(settings.read_text()) == {
        "store": {"url": "sqlite:////var/lib/jarvis-recorder/recorder.db"}
    }
    assert settings.stat().st_mode & 0o777 == 0o644


def test_settings_that_are_there_stay_and_a_missing_database_is_reported(provision, settings):
    settings.parent.mkdir(parents=True)
    settings.write_text('[log]\nlevel = "debug"\n')

    code, out, _ = provision()

    assert code == 0
    assert settings.read_text() == '[log]\nlevel = "debug"\n'
    assert "names no store.url" in out


@pytest.mark.parametrize("wrong", [b'[stor]\nurl = ""\n', b"\xff", b"[["])
def test_nothing_is_replaced_where_the_settings_cannot_be_read(
    provision, units, settings, credential, wrong
):
    settings.parent.mkdir(parents=True)
    settings.write_bytes(wrong)

    code, _, err = provision()

    assert code == 78
    assert str(settings) in err
    assert not units.exists()
    assert not credential.exists()


def test_twice_is_as_good_as_once_and_keeps_the_url(provision, units, credential):
    provision()
    before = {path: path.stat().st_mtime_ns for path in units.iterdir()}

    code, out, _ = provision(url="")

    assert code == 0
    assert {path: path.stat().st_mtime_ns for path in units.iterdir()} == before
    assert "is there already, and kept" in out
    assert credential.read_text() == f"{URL}\n"


def test_what_an_older_version_wrote_is_replaced(provision, units, monkeypatch):
    with monkeypatch.context() as older:
        older.setattr(files, "__version__", "0.0.1")
        provision()

    code, out, _ = provision()

    assert code == 0
    assert out.count("replaced, an older one") == 7
    assert "0.0.1" not in (units / UNITS[0]).read_text()


def test_what_somebody_changed_is_left_alone_and_so_is_all_the_rest(provision, units):
    provision()
    unit, timer = units / UNITS[0], units / UNITS[3]
    unit.write_text(unit.read_text().replace("WatchdogSec=60s", "WatchdogSec=10s"))
    changed = unit.read_text()
    timer.unlink()

    code, _, err = provision()

    assert code == 78
    assert str(unit) in err
    assert "--force" in err
    assert unit.read_text() == changed
    assert not timer.exists()

    assert provision("--force")[0] == 0
    assert "WatchdogSec=60s" in unit.read_text()
    assert timer.exists()


def test_a_dry_run_shows_everything_and_does_nothing(provision, root, units):
    code, out, _ = provision("--dry-run", url="")

    assert code == 0
    assert not root.exists()
    assert out.count("would be written") == 8
    assert "would be asked for" in out

    provision()
    (units / UNITS[0]).write_text("mine")
    assert "only --force would replace it" in provision("--dry-run")[1]


@pytest.mark.parametrize("url", ["", "http://geheim/", "amqp://recorder:ge/heim@broker/"])
def test_without_a_url_nothing_is_written(provision, root, url):
    code, _, err = provision(url=url)

    assert code == 78
    assert "broker's URL" in err
    assert "geheim" not in err
    assert not root.exists()


def test_a_caller_who_is_not_root_gets_an_error(provision, root, monkeypatch):
    monkeypatch.setattr(os, "access", lambda _, wanted: wanted != os.W_OK)

    code, _, err = provision()

    assert code == 78
    assert "Permission denied: run it as root" in err
    assert not root.exists()


@pytest.mark.parametrize("closed", ["lib", "lib/recorder", "lib/recorder/jarvis-recorder"])
def test_a_command_for_root_alone_is_refused(provision, monkeypatch, request, closed):
    """As it is installed under the umask 077."""
    monkeypatch.setattr("jarvis_recorder.cli.provision.systemd._HIDDEN", ())
    # Below a directory that is open, as pytest's is not.
    place = tempfile.TemporaryDirectory(dir="/tmp")
    request.addfinalizer(place.cleanup)
    prefix = Path(place.name)
    prefix.chmod(0o755)
    program = prefix / "lib" / "recorder" / "jarvis-recorder"
    program.parent.mkdir(parents=True)
    program.touch()
    options = ("--root=/", f"--executable={program}", "--dry-run")
    assert provision(*options)[0] == 0
    (prefix / closed).chmod(0o700)

    code, out, err = provision(*options)

    assert (code, out) == (78, "")
    assert f"{prefix / closed}: closed to other users" in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--executable=/usr/bin/no such"], "absolute path"),
        (["--executable=bin/jarvis-recorder"], "absolute path"),
        (["--root=/", "--executable=/nowhere/jarvis-recorder"], "no such command"),
        (["--root=/", "--executable={tmp_path}/jarvis-recorder"], "no access to home directories"),
    ],
)
def test_a_command_that_the_service_could_not_start_is_refused(provision, tmp_path, options, said):
    (tmp_path / "jarvis-recorder").touch()

    code, _, err = provision(*(option.format(tmp_path=tmp_path) for option in options), "--dry-run")

    assert code == 78
    assert said in err


def test_at_a_terminal_the_url_is_asked_for_and_not_shown(tmp_path, credential):
    leader, follower = pty.openpty()
    command = [
        sys.executable, "-m", "jarvis_recorder", "provision", "systemd",
        f"--root={tmp_path / 'root'}", f"--executable={EXECUTABLE}",
    ]  # fmt: skip
    with subprocess.Popen(
        command, stdin=follower, stdout=follower, stderr=follower, start_new_session=True
    ) as process:
        # What is typed before the echo is off would be discarded.
        try:
            wait_until(lambda: not echoes(follower), "it asks")
            os.write(leader, f"{URL}\n".encode())
            assert process.wait(20) == 0
        finally:
            process.kill()
    shown = os.read(leader, 65_536).decode()
    os.close(follower)
    os.close(leader)

    assert "broker.url" in shown
    assert "geheim" not in shown
    assert credential.read_text() == f"{URL}\n"


def echoes(terminal):
    return bool(termios.tcgetattr(terminal)[3] & termios.ECHO)
