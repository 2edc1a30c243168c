"""A file that a command writes has its name when it is whole, or never."""

import contextlib
import errno
import os

import pytest

from jarvis_recorder.cli.files import new_file


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def test_it_has_its_name_only_when_it_is_whole(tmp_path):
    with new_file(tmp_path / "dead.jsonl") as out:
        out.write(b"one")
        out.flush()
        assert names(tmp_path) == [".dead.jsonl.unfinished"]
        out.write(b" two")

    assert names(tmp_path) == ["dead.jsonl"]
    assert (tmp_path / "dead.jsonl").read_bytes() == b"one two"


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()]
)
def test_after_an_error_there_is_none(tmp_path, error):
    with pytest.raises(type(error)), new_file(tmp_path / "dead.jsonl") as out:
        out.write(b"half of it")
        raise error

    assert names(tmp_path) == []


def test_where_it_cannot_be_synced_there_is_none(tmp_path, monkeypatch):
    def fail(_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output"), new_file(tmp_path / "dead.jsonl") as out:
        out.write(b"never on disk")

    assert names(tmp_path) == []


def test_what_a_killed_one_has_left_is_replaced(tmp_path):
    (tmp_path / ".dead.jsonl.unfinished").write_bytes(b"much of an earlier export")

    with new_file(tmp_path / "dead.jsonl") as out:
        out.write(b"new")

    assert names(tmp_path) == ["dead.jsonl"]
    assert (tmp_path / "dead.jsonl").read_bytes() == b"new"


def test_a_file_that_is_there_stays_as_it_is(tmp_path):
    """A link that leads nowhere is there, too."""
    file, link = tmp_path / "dead.jsonl", tmp_path / "link"
    file.write_bytes(b"mine")
    link.symlink_to(tmp_path / "none")

    for path in (file, link):
        with pytest.raises(FileExistsError), new_file(path):
            pytest.fail("nothing is read for it")

    assert file.read_bytes() == b"mine"
    assert names(tmp_path) == ["dead.jsonl", "link"]


def test_a_file_that_comes_meanwhile_stays_as_it_is(tmp_path):
    file = tmp_path / "dead.jsonl"

    with pytest.raises(FileExistsError), new_file(file) as out:
        out.write(b"ours")
        file.write_bytes(b"mine")

    assert file.read_bytes() == b"mine"
    assert names(tmp_path) == ["dead.jsonl"]


def test_of_two_at_once_the_later_is_whole_and_the_other_is_told(tmp_path):
    file = tmp_path / "dead.jsonl"

    with contextlib.ExitStack() as later:
        with (
            pytest.raises(FileExistsError, match="another command writes it too"),
            new_file(file) as earlier,
        ):
            earlier.write(b"earlier")
            out = later.enter_context(new_file(file))
            out.write(b"la")
        out.write(b"ter")

    assert names(tmp_path) == ["dead.jsonl"]
    assert file.read_bytes() == b"later"
