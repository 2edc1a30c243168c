"""The stores that the contract tests run on."""

import pytest

from jarvis_recorder.storage.postgres import store as postgres_store
from jarvis_recorder.storage.sqlite.store import open_store
from tests.support import archive


@pytest.fixture
def path(tmp_path):
    return tmp_path / "recorder.db"


@pytest.fixture
def clock():
    """The clock of the test's store."""
    return archive.clock


@pytest.fixture
async def sqlite_store(path, clock):
    async with open_store(path, clock) as store:
        yield store


@pytest.fixture
async def postgresql_store(postgres_url, clock):
    async with postgres_store.open_store(postgres_url, clock) as store:
        yield store


@pytest.fixture(params=["sqlite_store", "postgresql_store"])
def store(request):
    """Tests of one thing that only a file has take `sqlite_store`."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
async def module_store(request, tmp_path_factory, postgres):
    """A store that is empty at first, and shared by the tests of a module."""
    if request.param == "sqlite":
        async with open_store(
            tmp_path_factory.mktemp("store") / "recorder.db", archive.clock
        ) as store:
            yield store
    else:
        with postgres.database() as url:
            async with postgres_store.open_store(url, archive.clock) as store:
                yield store
