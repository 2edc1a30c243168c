"""The search benchmark on a small database."""

from bench import search
from jarvis_recorder.storage.sqlite.admin.integrity import verify
from jarvis_recorder.storage.sqlite.store import open_store
from tests.support.files import nothing


async def test_searches_are_measured_by_kind_in_a_database_as_the_recorder_makes_it(tmp_path):
    path = tmp_path / "recorder.db"
    async with open_store(path, lambda: 0):
        pass

    assert list(search.fill(path, 300)) == [300]
    found = {one.name: one for one in await search.searched(path, times=3)}

    assert [check.problems for check in verify(path, nothing) if check.problems] == []
    assert {name for name, one in found.items() if one.hits == 3} >= {
        "a common word",
        "a common word with a star",
    }
    assert {name for name, one in found.items() if one.hits == 0} >= {
        "nothing",
        "nothing, next to a common word",
    }
    assert 0 < search.index_share(path) < 2
