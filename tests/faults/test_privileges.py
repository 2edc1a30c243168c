"""
Root that looks after the recorder's database is not led by it to a file of its own.

The recorder's user owns the directory, and may put links there under every name that is used.
"""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

import jarvis_recorder
from jarvis_recorder.cli.toml_file import set_lines
from jarvis_recorder.errors import ConfigurationError
from jarvis_recorder.runtime.ownership import acting_for
from jarvis_recorder.storage import revisions
from jarvis_recorder.storage.sqlite.admin.backup import backup
from tests.support.files import add, ids, leave_log, make, nothing, overwrite_pages
from tests.unit.test_database_files import make_older

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act for another user")

SERVICE = 4711
CONTENT = "root:secret"
ORIGINAL = Path(__file__).parents[1] / "samples" / "origin-2026-01.db"
# Whatever is made or opened beside the database.
NAMES = (
    "recorder.db",
    "recorder.db.lock",
    "recorder.db-wal",
    "recorder.db-shm",
    "recorder.db-journal",
    "recorder.db.restoring",
    "recorder.db.restoring-journal",
    "recorder.db.damaged",
    "recorder.db.damaged.unfinished",
    f"recorder.db.before-{revisions.HEAD}",
)


@pytest.fixture
def state(reachable: Path) -> Path:
    """The recorder's directory, with a database of ten events, for the recorder's user alone."""
    directory = reachable / "state"
    make(directory / "recorder.db", 10)
    give(directory)
    return directory


@pytest.fixture
def saved(reachable: Path) -> Path:
    """Root's own backup, which the recorder's user cannot read."""
    other = make(reachable / "root" / "other.db", 7, first=1_000)
    (reachable / "root").chmod(0o700)
    return backup(other, reachable / "root" / "backups", None, nothing).path


@pytest.fixture
def secret(reachable: Path) -> Path:
    file = reachable / "secret"
    file.write_text(CONTENT)
    file.chmod(0o600)
    return file


def give(directory: Path) -> None:
    for path in (directory, *directory.iterdir()):
        os.chown(path, SERVICE, SERVICE, follow_symlinks=False)


def plant(link: Path, target: Path) -> None:
    """Put a link in place of a file, as the recorder's user may."""
    link.unlink(missing_ok=True)
    link.symlink_to(target)
    os.lchown(link, SERVICE, SERVICE)


def jarvis(
    state: Path, *arguments: object, directory: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "jarvis_recorder", *map(str, arguments),
         f"--set=store.url=sqlite:///{state / 'recorder.db'}",
         "--set=broker.url=amqp://127.0.0.1:1/"],
        capture_output=True, text=True, check=False, timeout=60, cwd=directory,
    )  # fmt: skip


def owners(state: Path) -> set[int]:
    return {path.lstat().st_uid for path in state.iterdir()}


COMMANDS: dict[str, Callable[[Path], tuple[object, ...]]] = {
    "restore": lambda root: ("db", "restore", next((root / "backups").iterdir())),
    "upgrade": lambda _: ("db", "upgrade"),
    "vacuum": lambda _: ("db", "vacuum"),
    "prune": lambda _: ("db", "prune", "--yes", "--set=retention.info=1"),
    "backup": lambda root: ("db", "backup", "--to", root / "backups"),
    "verify": lambda _: ("db", "verify"),
    "stats": lambda _: ("db", "stats"),
    "acknowledge": lambda _: ("db", "acknowledge"),
    "import": lambda _: ("import", ORIGINAL),
    "doctor": lambda _: ("doctor",),
}


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("names", [NAMES[:1], NAMES[1:2], NAMES[2:]], ids=" ".join)
def test_no_command_of_roots_touches_what_a_link_leads_to(state, saved, secret, command, names):
    before = secret.lstat()
    for name in names:
        plant(state / name, secret)

    jarvis(state, *COMMANDS[command](saved.parents[1]))

    after = secret.lstat()
    assert secret.read_text() == CONTENT
    assert (after.st_uid, after.st_mode, after.st_ino) == (0, before.st_mode, before.st_ino)
    assert owners(state) <= {SERVICE}


@pytest.mark.parametrize("command", COMMANDS)
def test_what_roots_commands_make_belongs_to_the_recorder(state, saved, command):
    done = jarvis(state, *COMMANDS[command](saved.parents[1]))

    # The doctor's broker is not there.
    assert done.returncode == (69 if command == "doctor" else 0), done.stderr
    assert owners(state) == {SERVICE}
    assert "recorder.db" in {path.name for path in state.iterdir()}


@pytest.mark.parametrize("command", ["upgrade", "import"])
def test_the_recorders_user_need_not_be_able_to_read_the_program(state, reachable, command):
    private = reachable / "private"
    private.mkdir(mode=0o700)
    shutil.copytree(Path(jarvis_recorder.__file__).parent, private / "jarvis_recorder")
    for file in state.iterdir():
        file.unlink()

    done = jarvis(state, *COMMANDS[command](reachable), directory=private)

    assert done.returncode == 0, done.stderr
    assert owners(state) == {SERVICE}


async def test_an_older_database_is_copied_and_upgraded_for_its_owner(state):
    """Its user may not be able to read Python's own modules either."""
    database = state / "recorder.db"
    database.unlink()
    await make_older(database)
    give(state)

    done = jarvis(state, "db", "upgrade")

    assert done.returncode == 0, done.stderr
    assert f"recorder.db.before-{revisions.HEAD}" in {path.name for path in state.iterdir()}
    assert owners(state) == {SERVICE}


def test_root_restores_a_backup_that_only_root_can_read(state, saved):
    done = jarvis(state, "db", "restore", saved)

    assert done.returncode == 0, done.stderr
    assert ids(state / "recorder.db") == {f"m{number}" for number in range(1_000, 1_007)}
    assert saved.stat().st_uid == 0


def test_root_backs_up_to_where_only_root_can_write(state, reachable):
    (reachable / "safe").mkdir(mode=0o700)

    for _ in range(2):
        done = jarvis(state, "db", "backup", "--to", reachable / "safe", "--keep", "1")
        assert done.returncode == 0, done.stderr

    (made,) = (reachable / "safe").iterdir()
    assert made.stat().st_uid == 0
    assert ids(made) == {f"m{number}" for number in range(10)}


def test_a_directory_for_backups_that_the_recorder_owns_leads_nowhere(state, reachable):
    """It may be a link to where only root may write."""
    (reachable / "safe").mkdir(mode=0o700)
    plant(state / "backups", reachable / "safe")

    done = jarvis(state, "db", "backup", "--to", state / "backups")

    assert done.returncode == 78
    assert "Permission denied" in done.stderr
    assert not list((reachable / "safe").iterdir())


def test_a_backup_that_the_recorder_owns_leads_to_nothing_of_roots(state, saved):
    """Otherwise the recorder's user would own a copy of a file that only root can read."""
    plant(state / "nightly.db", saved)

    done = jarvis(state, "db", "restore", state / "nightly.db")

    assert done.returncode == 78, done.stderr
    assert ids(state / "recorder.db") == {f"m{number}" for number in range(10)}


def test_a_link_on_the_way_counts_as_its_directorys_owner(state, reachable, saved):
    """Root's own directory is not root's to use where another user says which it is."""
    own = reachable / "own"
    own.mkdir()
    add(make(own / "recorder.db", 3), 2, first=3)
    before = ids(own / "recorder.db")
    plant(state / "there", own)

    done = jarvis(state / "there", "db", "restore", saved)

    assert done.returncode == 78, done.stderr
    assert ids(own / "recorder.db") == before


def test_a_configuration_in_the_recorders_directory_leads_to_nothing_of_roots(state, secret):
    secret.write_text('password = "root"\n')
    plant(state / "recorder.toml", secret)

    with pytest.raises(ConfigurationError, match="name that file itself"):
        set_lines(state / "recorder.toml", "gateway", ['password_hash = "x"'])

    assert secret.read_text() == 'password = "root"\n'


def test_a_configuration_of_the_recorders_stays_its_own(state):
    (state / "recorder.toml").write_text("[log]\n")
    give(state)

    set_lines(state / "recorder.toml", "gateway", ['password_hash = "x"'])

    assert "password_hash" in (state / "recorder.toml").read_text()
    assert owners(state) == {SERVICE}


def test_a_process_of_the_owner_is_never_root(state, monkeypatch):
    """Another thread of the recorder may be at work meanwhile."""
    became = []
    with acting_for(state / "recorder.db"), monkeypatch.context() as patched:
        patched.setattr(os, "seteuid", became.append)
        with acting_for(state / "recorder.db-wal"):
            assert os.geteuid() == SERVICE

    assert became == []


def test_a_name_that_is_too_long_is_no_missing_right(reachable):
    with (
        pytest.raises(ConfigurationError, match=r"File name too long$"),
        acting_for(reachable / ("n" * 256)),
    ):
        pass

    assert os.geteuid() == 0


def test_a_damaged_database_is_marked_by_its_own_user(state, secret):
    overwrite_pages(state / "recorder.db", 5)
    plant(state / "recorder.db.damaged.unfinished", secret)

    started = jarvis(state, "run", "--set=http.listen=")

    assert started.returncode == 1
    assert secret.read_text() == CONTENT
    assert (state / "recorder.db.damaged").is_file()
    assert owners(state) == {SERVICE}


def test_what_a_killed_recorder_has_left_is_restored_over_by_root(state, saved):
    leave_log(state / "recorder.db", 5, first=10)
    give(state)

    done = jarvis(state, "db", "restore", saved)

    assert done.returncode == 0, done.stderr
    (kept,) = (path for path in state.iterdir() if "replaced" in path.name)
    assert kept.stat().st_uid == SERVICE
    with closing(sqlite3.connect(f"file:{kept}?mode=ro", uri=True)) as connection:
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (15,)


def test_root_copies_to_a_server_with_its_own_rights(state, reachable, postgres, postgres_url):
    """The socket, the program and what libpq reads may be for others than the file's owner."""
    private = reachable / "private"
    private.mkdir(mode=0o700)
    shutil.copytree(Path(jarvis_recorder.__file__).parent, private / "jarvis_recorder")

    done = subprocess.run(
        [sys.executable, "-m", "jarvis_recorder", "db", "copy", state / "recorder.db",
         f"--set=store.url={postgres_url}"],
        capture_output=True, text=True, check=False, timeout=300, cwd=private,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert owners(state) == {SERVICE}
    assert postgres.execute("SELECT count(*) FROM events", "shared") == [(10,)]
