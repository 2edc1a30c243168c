"""The pruning of a file that no recorder holds."""

import time
from collections import Counter
from functools import partial
from pathlib import Path

from jarvis_recorder.retention_policy import RetentionPolicy
from jarvis_recorder.runtime.ownership import resolved
from jarvis_recorder.storage import expired_rows, revisions
from jarvis_recorder.storage.sqlite import connections, files, lock, pruner, trusted_time
from jarvis_recorder.storage.sqlite.writer import open_writer


def count_now(path: Path, policy: RetentionPolicy) -> Counter[str]:
    """
    Return how many rows of each table `prune_now` would delete, without changing the file.

    Raises:
        ConfigurationError: See `revisions.require_current`.
        StorageUnavailable, StorageDamaged: The file does not exist, or cannot be read.
    """
    files.require_file(path)
    with connections.reading(path) as connection:
        revisions.require_current(connection, path)
        return +expired_rows.count(connection, policy, time.time_ns() // 1_000)


async def prune_now(path: Path, policy: RetentionPolicy, report: files.Report) -> Counter[str]:
    """
    Prune a file that no recorder holds, and return how many rows of each table were deleted.

    Raises:
        AnotherRecorder: Another process holds it.
        ConfigurationError: See `revisions.require_current`.
        StorageUnavailable, StorageDamaged: It cannot be written.
    """
    path = resolved(path)
    with lock.locked(path):
        async with open_writer(path) as writer:
            await writer.run(partial(revisions.require_current, where=path))
            now = time.time_ns() // 1_000
            # An operator who runs this confirms that the clock is right.
            await writer.run(partial(trusted_time.remember, now))
            gone = await pruner.prune(
                writer, policy, now, progress=lambda rows: report("pruning", rows, 0)
            )
            report("giving room back", 0, 0)
            await pruner.give_back(writer, least=0)
            await writer.forget_deleted()
    return gone
