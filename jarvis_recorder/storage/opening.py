"""The one place that chooses a database, by `store.url`, and sets a damaged file aside."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

import structlog

from jarvis_recorder.config.loading import Loaded, server_url, sqlite_path
from jarvis_recorder.config.settings import bounds_of
from jarvis_recorder.errors import StorageDamaged
from jarvis_recorder.incidents.rules import Rules, load_rules
from jarvis_recorder.ports import Clock, Store
from jarvis_recorder.retention_policy import Bounds
from jarvis_recorder.storage.sqlite import damage
from jarvis_recorder.storage.sqlite.store import open_store

log = structlog.get_logger(__name__)

_ACKNOWLEDGE: Final = "jarvis-recorder db acknowledge"


async def with_store(loaded: Loaded, clock: Clock, use: Callable[[Store], Awaitable[None]]) -> None:
    """
    Open the database, migrated where needed, and return once `use` has returned.

    If the settings say so, a damaged database is set aside and `use` is called again with a new
    one; the broker redelivers what was not committed.

    Raises:
        AnotherRecorder: Another process holds it.
        ConfigurationError: The file is not a recorder database, or belongs to a newer version; or
            as `load_rules`.
        StorageUnavailable: It is locked, cannot be read or written, or its server cannot be reached.
        StorageDamaged: It is corrupt, and `store.on_corruption` is "stop".
    """
    settings = loaded.settings
    rules = load_rules(settings.incidents.rules, settings.incidents.quiet_hours)
    if (url := server_url(loaded)) is not None:
        by_month = settings.store.by_month
        async with _on_server(url, clock, bounds_of(settings), rules, by_month=by_month) as store:
            await use(store)
        return
    path = sqlite_path(loaded)
    while True:
        try:
            async with open_store(path, clock, bounds_of(settings), rules) as store:
                if waiting := damage.quarantined(path):
                    log.error("quarantine_waits", path=str(waiting), command=_ACKNOWLEDGE)
                await use(store)
        except StorageDamaged as error:
            if settings.store.on_corruption == "stop":
                raise
            damage.set_aside(path, error)
        else:
            return


def _on_server(
    url: str, clock: Clock, bounds: Bounds, rules: Rules, *, by_month: bool
) -> AbstractAsyncContextManager[Store]:
    # Imported here: with a file the process needs no driver of a server.
    from jarvis_recorder.storage.postgres.store import open_store as open_server_store

    return open_server_store(url, clock, bounds, rules, by_month=by_month)
