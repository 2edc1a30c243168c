"""The tools of a checkout: what they install, and what they leave as it was."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def script(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.mark.parametrize("ended", [0, 1])
def test_a_user_with_sudo_gets_the_database_server_and_no_cluster(tmp_path, ended):
    """Only `sudo` can write below `/etc`, and afterwards nothing there has changed."""
    etc = tmp_path / "etc" / "postgresql-common"
    settings = etc / "createcluster.conf"
    settings.parent.mkdir(parents=True)
    settings.write_text("#create_main_cluster = true\n")
    commands = tmp_path / "bin"
    script(commands / "id", "echo 1000")
    script(commands / "sudo", 'AS_ROOT=yes exec "$@"')
    for name in ("install", "rm", "sed", "tee"):
        script(commands / name, f'[ -n "$AS_ROOT" ] && PATH=$SYSTEM exec {name} "$@"')
    tools = tmp_path / "tools"
    script(tools / "get-parts", "")
    script(tools / "apt-install", f'echo "$@"; cat {etc}/*/*.conf; exit {ended}')
    tool = (ROOT / "tools" / "get-postgresql").read_text()
    for place in ("/etc/postgresql-common", "/usr/lib/postgresql"):
        tool = tool.replace(place, f"{tmp_path}{place}")
    script(tools / "get-postgresql", tool)

    path = os.environ["PATH"]
    done = subprocess.run(
        [tools / "get-postgresql"],
        check=False, capture_output=True, text=True,
        env={"SYSTEM": path, "PATH": f"{commands}:{path}", "AS_ROOT": ""},
    )  # fmt: skip

    assert (done.returncode, done.stdout) == (ended, "postgresql\ncreate_main_cluster = false\n")
    assert [path for path in etc.rglob("*") if path.is_file()] == [settings]
    assert settings.read_text() == "#create_main_cluster = true\n"


def apt(tmp_path, update, **environment):
    """Run apt-install with an `apt-get` whose `update` is given; return it, and what was called."""
    commands, told = tmp_path / "bin", tmp_path / "told"
    script(commands / "id", "echo 1000")
    script(commands / "sudo", 'exec env -i PATH="$PATH" "$@"')
    script(commands / "sleep", "")
    script(
        commands / "apt-get",
        f'echo "$@" proxy=$http_proxy >> {told}; [ "$1" != update ] || {{ {update}; }}',
    )
    done = subprocess.run(
        [ROOT / "tools" / "apt-install", "one", "two"],
        check=False, capture_output=True, text=True,
        env={"PATH": f"{commands}:{os.environ['PATH']}", **environment},
    )  # fmt: skip
    return done, told.read_text().splitlines()


def test_a_machine_that_installs_its_updates_is_waited_for(tmp_path):
    marked = tmp_path / "marked"
    locked = (
        f"[ -e {marked} ] || {{ touch {marked}; echo 'E: Could not get lock /x' >&2; exit 100; }}"
    )

    done, called = apt(tmp_path, locked)

    assert (done.returncode, done.stderr) == (0, "")
    assert [call.split()[0] for call in called[:2]] == ["update", "update"]
    assert "DPkg::Lock::Timeout=300 install" in called[2]


def test_lists_that_cannot_be_fetched_are_not_waited_for(tmp_path):
    done, called = apt(tmp_path, "echo 'E: no network' >&2; exit 100")

    assert (done.returncode, done.stderr) == (1, "E: no network\n")
    assert len(called) == 1


def test_apt_has_the_proxy_of_a_user_with_sudo(tmp_path):
    done, called = apt(tmp_path, "true", http_proxy="http://proxy.lan:3128")

    assert done.returncode == 0
    assert all(call.endswith("proxy=http://proxy.lan:3128") for call in called)


def test_blanks_in_the_list_of_hosts_without_a_proxy_part_no_command(tmp_path):
    done, called = apt(tmp_path, "true", http_proxy="http://proxy:3128", no_proxy="localhost, ::1")

    assert (done.returncode, done.stderr) == (0, "")
    assert len(called) == 2


@pytest.mark.parametrize("given", ["PREFIX=/srv/my apps", "PREFIX=", "VENV=.venv two"])
def test_a_directory_with_a_space_is_refused_before_anything_is_removed(given):
    done = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", "install", given],
        check=False, capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip

    assert done.returncode == 2
    assert done.stdout == ""
    assert "one path without spaces" in done.stderr


@pytest.mark.parametrize("ended", ["exit 0", "exit 1", "kill -INT $PPID", "kill -TERM $PPID"])
def test_the_services_of_a_broker_that_is_installed_are_left_disabled(tmp_path, ended):
    """By Ctrl-C too, with which apt goes on."""
    commands = tmp_path / "bin"
    (tmp_path / "run" / "systemd" / "system").mkdir(parents=True)
    told = tmp_path / "told"
    script(commands / "id", "echo 0")
    script(commands / "systemctl", f'[ "$1" != cat ] || exit 1; echo "$@" >> {told}')
    tools = tmp_path / "tools"
    script(tools / "apt-install", f"echo installed >> {told}; {ended}")
    tool = (ROOT / "tools" / "get-rabbitmq").read_text()
    for place in ("/run/systemd/system", "/usr/lib/rabbitmq/bin", "/opt/rabbitmq/sbin"):
        tool = tool.replace(place, f"{tmp_path}{place}")
    script(tools / "get-rabbitmq", tool)

    # A program that runs in the background may have been started with some of them ignored.
    done = subprocess.run(
        ["env", "--default-signal", tools / "get-rabbitmq"],
        check=False, capture_output=True, text=True,
        env={"PATH": f"{commands}:{os.environ['PATH']}"},
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (int(ended != "exit 0"), "")
    services = ["rabbitmq-server.service", "epmd.service", "epmd.socket"]
    assert told.read_text().splitlines() == [
        f"--runtime --quiet mask {' '.join(services)}",
        "installed",
        *(f"--quiet disable {service}" for service in services),
        f"--runtime --quiet unmask {' '.join(services)}",
    ]


@pytest.fixture
def install(tmp_path):
    """Run `make install` where an older one is, with a Python and a pip that only leave traces."""
    installed = tmp_path / "lib" / "jarvis-recorder"
    script(installed / "bin" / "jarvis-recorder", "echo older")
    installed.chmod(0o700)
    script(tmp_path / "pip", '[ "$1" != wheel ] || exit $OFFLINE; touch "$0.new"')
    script(
        tmp_path / "python",
        f'[ "$1" = -m ] || exit 0; rm -rf "$4"/*; mkdir -p "$4"/bin; cp {tmp_path}/pip "$4"/bin',
    )

    def run(*, offline):
        done = subprocess.run(
            ["make", f"PYTHON={tmp_path}/python", f"PREFIX={tmp_path}", "install"],
            check=False, capture_output=True, text=True, cwd=ROOT, umask=0o077,
            env={"PATH": os.environ["PATH"], "OFFLINE": str(int(offline))},
        )  # fmt: skip
        return done.returncode, installed

    return run


def test_what_is_installed_stays_until_the_next_packages_are_there(install):
    code, installed = install(offline=True)

    assert code != 0
    assert (installed / "bin" / "jarvis-recorder").is_file()


def test_what_is_installed_is_for_all_users_whatever_roots_umask(install):
    code, installed = install(offline=False)

    assert code == 0
    assert not (installed / "bin" / "jarvis-recorder").exists(), "nothing of the older one is left"
    found = [installed, *installed.rglob("*"), installed.parents[1] / "share" / "man"]
    assert [path for path in found if path.stat().st_mode & 0o004 == 0] == []
    assert (installed / "bin" / "pip.new") in found
    assert list(installed.parent.iterdir()) == [installed]


@pytest.fixture
def environment(tmp_path):
    """An environment that is up to date, whose Python finds its packages."""
    made = tmp_path / "venv"
    script(made / "bin" / "python", "exit 0")
    for stamp in ("run", "ready"):
        (made / stamp).touch()
    return made


def planned(environment, *options):
    """Return the commands by which `make` would bring an environment up to date."""
    return subprocess.run(
        ["make", "--dry-run", *options, f"VENV={environment}", f"{environment}/ready"],
        check=True, capture_output=True, text=True, cwd=ROOT,
    ).stdout  # fmt: skip


def test_an_environment_that_is_up_to_date_stays(environment):
    told = planned(environment)

    assert "-m venv" not in told
    assert "pip install" not in told


def test_an_environment_of_an_older_python_is_made_again(environment):
    """After an upgrade of Debian its Python is another, and looks for packages elsewhere."""
    script(environment / "bin" / "python", "exit 1")

    told = planned(environment)

    assert f"-m venv --clear {environment}\n" in told
    assert "-r requirements-run.lock" in told
    assert "-r requirements.lock" in told


@pytest.mark.parametrize("lock", ["requirements-run.lock", "requirements.lock"])
def test_nothing_of_an_older_lock_is_left(environment, lock):
    assert f"-m venv --clear {environment}\n" in planned(environment, f"--what-if={lock}")


def test_a_changed_project_throws_no_package_away(environment):
    told = planned(environment, "--what-if=pyproject.toml")

    assert re.search(rf"-m venv +{environment}\n", told)
    assert "-e ." in told
