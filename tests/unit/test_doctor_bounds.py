"""The doctor's findings about retention, budget and backups."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from jarvis_recorder.config.loading import load
from jarvis_recorder.monitoring.doctor import _bounds
from jarvis_recorder.retention_policy import UNBOUNDED
from jarvis_recorder.storage.checks import _permissions
from jarvis_recorder.storage.sqlite import files
from jarvis_recorder.storage.sqlite.admin import backup, checks
from jarvis_recorder.storage.sqlite.admin.checks import _backups, _clock, _copies
from jarvis_recorder.wire.times import to_micros
from tests.support.files import make
from tests.support.strangers import as_stranger


def lights(**settings):
    pairs = {name.replace("__", "."): value for name, value in settings.items()}
    return {one.name: one.light for one in _bounds(load(pairs, {}, None).settings)}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {"retention": "yellow", "budget": "yellow"}),
        ({"retention__info": "30"}, {"retention": "green", "budget": "yellow"}),
        ({"store__budget": "20GiB"}, {"retention": "green", "budget": "green"}),
        ({"store__keep_free": "1GiB"}, {"retention": "green", "budget": "green"}),
    ],
)
def test_it_warns_where_nothing_ever_goes_and_where_there_is_no_bound(settings, expected):
    assert lights(**settings) == expected


def test_no_bound_is_advised_that_a_server_does_not_have():
    """With `store.budget` or `store.keep_free` the recorder would not start."""
    assert lights(store__url="postgresql://recorder:x@h/db") == {"retention": "yellow"}
    assert lights(store__url="postgresql://h/db", retention__info="30") == {"retention": "green"}


@pytest.mark.parametrize(
    ("name", "value", "mode", "light"),
    [
        ("store.url", "postgresql://recorder:geheim@h/db", 0o644, "yellow"),
        ("broker.url", "amqp://recorder:geheim@h/", 0o644, "yellow"),
        ("broker.url", "amqp://recorder:geheim@h/", 0o640, "green"),
        ("broker.url", "amqp://h/", 0o644, "green"),
    ],
)
def test_a_file_with_any_password_that_others_may_read_is_named(tmp_path, name, value, mode, light):
    (tmp_path / name).write_text(value)
    (tmp_path / name).chmod(mode)

    found = _permissions(load({}, {"CREDENTIALS_DIRECTORY": str(tmp_path)}), None)

    assert found.light == light
    assert found.remedy == (f"chmod 600 {tmp_path / name}" if light == "yellow" else "")


def test_a_database_that_others_may_read_is_named(database):
    loaded = load({"store.url": f"sqlite:///{database}"}, {})
    assert _permissions(loaded, database).light == "green"
    database.chmod(0o640)

    assert _permissions(loaded, database).remedy == f"chmod 600 {database}"


@pytest.mark.parametrize(
    ("ahead", "said"),
    [
        (timedelta(minutes=30), "30 minutes"),
        (timedelta(hours=5), "5 hours"),
        (timedelta(days=40), "40 days"),
        (timedelta(days=12 * 365), "12 years"),
    ],
)
@pytest.mark.parametrize("table", ["events", "cluster_snapshots"])
def test_a_wrong_clock_is_reported_in_the_unit_that_people_would_use(database, ahead, said, table):
    other = {
        "events": "'alert', 'info', 'user', 's'", "cluster_snapshots": "'', x'00', 1, NULL"
    }[table]  # fmt: skip
    columns = {
        "events": "type, severity, source, summary", "cluster_snapshots": "cluster, snapshot, size_bytes, extra"
    }[table]  # fmt: skip
    then = to_micros(datetime.now(UTC) + ahead + timedelta(seconds=5))
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(
            f"INSERT INTO {table} (timestamp, stamped, recorded_at, {columns}) VALUES (?, 0, 0, {other})",
            (then,),
        )

    assert f"the newest record lies {said} in the future" in _clock(database).detail


def nothing(*_):
    pass


@pytest.fixture
def database(tmp_path, monkeypatch):
    monkeypatch.setattr(backup, "USUAL_DIRECTORY", tmp_path / "usual")
    return make(tmp_path / "recorder.db")


def test_a_database_without_a_backup_is_warned_of(database, tmp_path):
    assert _backups(database).light == "yellow"
    assert _backups(tmp_path / "none.db").light == "green", "there is nothing to lose yet"


def test_a_backup_of_today_is_well_wherever_it_lies(database, tmp_path):
    made = backup.backup(database, tmp_path / "elsewhere", None, nothing)

    found = _backups(database)

    assert (found.light, str(made.path) in found.detail) == ("green", True)


@pytest.mark.parametrize(("days", "light"), [(1.9, "green"), (2.1, "yellow"), (400, "yellow")])
def test_a_backup_is_old_after_two_days(database, tmp_path, days, light):
    made = backup.backup(database, tmp_path / "usual", None, nothing)
    then = datetime.now(UTC) - timedelta(days=days)
    made.path.rename(made.path.with_name(f"recorder-{then.strftime(files.TIMESTAMP_FORMAT)}.db"))
    files.sibling(database, ".backups").unlink()

    assert _backups(database).light == light


def test_a_backup_of_a_clock_ahead_is_not_the_newest(database, tmp_path):
    ahead = backup.backup(database, tmp_path / "usual", None, nothing).path
    ahead = ahead.rename(ahead.with_name("recorder-29990101T000000.000000Z.db"))

    alone = _backups(database)
    old = ahead.with_name("recorder-20200101T000000.000000Z.db")
    old.touch()
    with_old = _backups(database)
    made = backup.backup(database, tmp_path / "usual", None, nothing).path
    with_new = _backups(database)

    assert (alone.light, "ahead" in alone.detail) == ("yellow", True)
    assert (with_old.light, str(old) in with_old.detail) == ("yellow", True)
    assert (with_new.light, str(made) in with_new.detail) == ("green", True)


@pytest.mark.parametrize("name", [b"b\xfc", b"", b"b\0"])
def test_a_note_that_names_no_directory_with_a_backup_is_a_warning(database, name):
    files.sibling(database, ".backups").write_bytes(name)

    assert _backups(database).light == "yellow"


def test_a_backup_that_is_gone_is_none(database, tmp_path):
    backup.backup(database, tmp_path / "elsewhere", None, nothing).path.unlink()

    assert _backups(database).light == "yellow"


def test_what_upgrade_restore_and_damage_have_left_is_named_with_its_size(database):
    assert _copies(database).light == "green"
    assert _copies(database.with_name("none") / "recorder.db").light == "green"
    quarantine = database.with_name("recorder.db.quarantine-20261123T000000.000000Z")
    quarantine.mkdir()
    left = (
        database.with_name("recorder.db.before-0008"),
        database.with_name("recorder.db.replaced-20261123T000000.000000Z"),
        quarantine / "recorder.db",
    )
    for path in left:
        path.write_bytes(bytes(1024 * 1024))

    found = _copies(database)

    assert found.light == "yellow"
    assert "3.0 MiB" in found.detail
    assert found.remedy.endswith(f"rm -r {left[0]} {quarantine} {left[1]}")


def test_what_lies_next_to_another_database_is_not_named(database):
    database.with_name("other.db.before-0008").touch()
    database.with_name("recorder.db.backups").touch()

    assert _copies(database).light == "green"


@pytest.mark.parametrize("name", ["recorder.db", "deeper/recorder.db"])
def test_a_directory_that_is_closed_is_named_to_a_user_who_is_not_root(reachable, name):
    """As next to an installed service, whose configuration names the database to everyone."""
    path = make(reachable / "state" / name, 1)
    (reachable / "state").chmod(0o700)

    found = as_stranger(checks.check, path, UNBOUNDED, recorder_is_at_work=None)

    reds = {one.name: one for one in found if one.light == "red"}
    assert list(reds) == ["directory", "database"]
    assert {one.exit_code for one in reds.values()} == {78}
    assert reds["database"].detail.startswith(f"{path}: Permission denied")
    assert "room" in {one.name for one in found}
