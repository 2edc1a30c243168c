"""The doctor's findings about retention, budget and backups."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from jarvis_recorder.config.loading import load
from jarvis_recorder.monitoring.doctor import _bounds
from jarvis_recorder.storage.sqlite import files
from jarvis_recorder.storage.sqlite.admin import backup
from jarvis_recorder.storage.sqlite.admin.checks import _backups, _clock
from jarvis_recorder.wire.times import to_micros
from tests.support.files import make


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


def test_a_backup_that_is_gone_is_none(database, tmp_path):
    backup.backup(database, tmp_path / "elsewhere", None, nothing).path.unlink()

    assert _backups(database).light == "yellow"
