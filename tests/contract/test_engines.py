"""The files whose tests run on one kind of database, as tests/support/engines.py names them."""

from pathlib import Path

from tests.support.engines import ON_ONE

TESTS = Path(__file__).parents[1]


def test_what_is_named_is_there():
    assert [
        file for files in ON_ONE.values() for file in files if not (TESTS / file).is_file()
    ] == []
