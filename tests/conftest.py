"""The broker that the tests share, and a recorder in front of it."""

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import aio_pika
import pytest
from hypothesis import settings

from jarvis_recorder.broker.topology import QUEUES
from jarvis_recorder.demo.node import private_node
from tests.support.engines import POSTGRESQL, SQLITE, Database, File, OnServer, on_one_unnamed
from tests.support.files import make
from tests.support.gateway import Gateway
from tests.support.postgres import Cluster, cluster
from tests.support.recorder import RecorderProcess

# Directories of tests that wait for brokers, browsers and machines, and of those that `make test-slow` runs.
LONG = {"e2e", "faults", "integration"}
SLOW = {"e2e", "faults"}

# The first place is read up to 3.13, the second from 4.0 on.
MESSAGES_OF_128_MIB = """
    Size = 134217728,
    application:set_env(rabbit, max_message_size, Size),
    persistent_term:put(max_message_size, Size).
"""

# A busy machine is no fault of the code: Hypothesis allows an example 200 ms unless it is told.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI, report a skipped test as failed: every part must be installed there."""
    report: pytest.TestReport = yield
    if report.skipped and os.environ.get("CI"):
        report.outcome = "failed"
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """
    Begin with the files that take minutes, so that no worker is left with one at the end.

    The directories take turns: browsers need the processors that tests of faults leave idle.
    Tests of faults and of the page get the mark `slow`, before `-m` looks for it.
    A file whose tests run on one kind of database and that is not named as such ends the run.
    """
    if unnamed := on_one_unnamed(items, Path(__file__).parent):
        raise pytest.UsageError(
            f"{', '.join(sorted(unnamed))}: mark the tests on_both, or say in ON_ONE of "
            "tests/support/engines.py why they run on one kind of database"
        )
    for item in items:
        if _is_in(SLOW, item):
            item.add_marker(pytest.mark.slow)
    place: dict[Path, int] = {}
    files = Counter[Path]()
    for item in items:
        if item.path not in place:
            place[item.path] = files[item.path.parent]
            files[item.path.parent] += 1
    items.sort(key=lambda item: (not _is_in(LONG, item), place[item.path]))


def _is_in(directories: set[str], item: pytest.Item) -> bool:
    return not directories.isdisjoint(item.path.relative_to(item.config.rootpath).parts)


@pytest.fixture(scope="session")
def broker_url() -> Iterator[str]:
    """The URL of a broker that may be filled with anything."""
    if url := os.environ.get("JARVIS_TEST_AMQP_URL"):
        yield url
        return
    with private_node() as node:
        yield node.url


@pytest.fixture(scope="module")
def generous_url() -> Iterator[str]:
    """A node that takes messages of 128 MiB, as RabbitMQ does by default up to 3.13."""
    with private_node() as node:
        node.ctl("eval", MESSAGES_OF_128_MIB)
        yield node.url


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """A PostgreSQL server; its databases survive no crash, which makes them fast."""
    with cluster() as made:
        yield made


@pytest.fixture
def postgres_url(postgres: Cluster) -> str:
    """A database with all tables, which are empty."""
    return postgres.emptied()


@pytest.fixture
async def amqp_url(broker_url: str) -> str:
    """The broker without any queue of the recorder's."""
    await delete_queues(broker_url)
    return broker_url


async def delete_queues(url: str) -> None:
    connection = await aio_pika.connect(url, timeout=60)
    async with connection:
        channel = await connection.channel()
        for queue in QUEUES:
            await channel.queue_delete(queue.name)


@pytest.fixture
def reachable() -> Iterator[Path]:
    """An empty directory that every user of the machine can reach, unlike `tmp_path`."""
    directory = Path(tempfile.mkdtemp(prefix="jarvis-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "state" / "recorder.db"


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> str:
    """The kind of the test's database: SQLite, but for the tests with the mark `on_both`."""
    found: str = getattr(request, "param", SQLITE)
    return found


@pytest.fixture
def recorded(engine: str, database: Path, request: pytest.FixtureRequest) -> Database:
    """The database of the test's recorders."""
    if engine != POSTGRESQL:
        return File(database)
    return OnServer(*map(request.getfixturevalue, ("postgres", "postgres_url")))


@pytest.fixture
def start_recorder(database: Path, recorded: Database) -> Iterator[Callable[..., RecorderProcess]]:
    """Start recorders on the test's database; those still running are killed at the end."""
    database.parent.mkdir(mode=0o700, exist_ok=True)
    started: list[RecorderProcess] = []

    def start(url: str, *settings: str, path: Path | None = None) -> RecorderProcess:
        recorder = RecorderProcess(
            url, path or database, *settings, database=None if path else recorded
        )
        started.append(recorder)
        return recorder

    yield start
    for recorder in started:
        # pytest shows this where the test failed.
        print(recorder.last_words())
        if recorder.process.poll() is None:
            recorder.kill()


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with all tables: a recorder that makes them starts later by a third of a second."""
    return make(tmp_path_factory.mktemp("empty") / "recorder.db")


@pytest.fixture
def recorder(
    amqp_url: str,
    start_recorder: Callable[..., RecorderProcess],
    engine: str,
    database: Path,
    empty_database: Path,
) -> RecorderProcess:
    """A recorder at work."""
    if engine == SQLITE and not database.exists():
        shutil.copy(empty_database, database)
    recorder = start_recorder(amqp_url)
    recorder.wait_for("answering")
    recorder.wait_for("recording")
    return recorder


@pytest.fixture
def gateway(amqp_url: str, recorder: RecorderProcess, tmp_path: Path) -> Iterator[Gateway]:
    """A gateway in front of it."""
    gateway = Gateway(amqp_url, tmp_path)
    yield gateway
    gateway.kill()
