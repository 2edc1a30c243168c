"""Each test of a database runs on both kinds, or its file says in one place why it does not."""

from pathlib import Path

import pytest

from tests.support.engines import ON_ONE

TESTS = Path(__file__).parents[1]
CHOOSING = {"engine", "store", "module_store"}
ON_A_DATABASE = {"postgres", "postgres_url", "recorded", "sqlite_store", "start_recorder", "store"}


def test_a_test_that_runs_on_one_kind_is_named_with_its_reason(request):
    """Of those that are collected: of all of them in a run of the whole suite."""
    alone = {
        str(item.path.relative_to(TESTS))
        for item in request.session.items
        if isinstance(item, pytest.Function)
        # Those have fakes, and fixtures of these names for other things.
        and not item.path.is_relative_to(TESTS / "unit")
        and not CHOOSING & set(item.callspec.params if hasattr(item, "callspec") else ())
        and ON_A_DATABASE & set(item.fixturenames)
    }

    assert alone - {file for files in ON_ONE.values() for file in files} == set()


def test_what_is_named_is_there():
    assert [
        file for files in ON_ONE.values() for file in files if not (TESTS / file).is_file()
    ] == []
