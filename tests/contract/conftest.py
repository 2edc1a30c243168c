"""The stores that the contract tests run on."""

import pytest

from jarvis_recorder.storage.postgres import store as postgres
from jarvis_recorder.storage.sqlite.store import open_store
from tests.support.archive import clock


@pytest.fixture
def path(tmp_path):
    return tmp_path / "recorder.db"


@pytest.fixture
async def sqlite_store(path):
    async with open_store(path, clock) as store:
        yield store


@pytest.fixture
async def postgresql_store(postgres_url):
    async with postgres.open_store(postgres_url, clock) as store:
        yield store


@pytest.fixture(params=["sqlite_store", "postgresql_store"])
def store(request):
    """Tests of one thing that only a file has take `sqlite_store`."""
    return request.getfixturevalue(request.param)
