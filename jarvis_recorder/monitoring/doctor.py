"""The doctor: checks of everything that a recorder depends on."""

import asyncio
from collections.abc import Sequence

from jarvis_recorder.broker import checks as broker
from jarvis_recorder.broker import policies
from jarvis_recorder.config.loading import Loaded
from jarvis_recorder.config.settings import Settings
from jarvis_recorder.errors import RecorderError
from jarvis_recorder.net import database_url
from jarvis_recorder.net.http_server import listening
from jarvis_recorder.storage import checks as storage
from jarvis_recorder.telemetry.check import Finding, Status, green, yellow


async def check(loaded: Loaded) -> list[Finding]:
    """Run all checks within half a minute, even if one hangs; nothing is changed."""
    settings = loaded.settings
    found = [green("settings", "valid")]
    addresses = settings.broker.new_addresses()
    seen = await broker.check(addresses, settings.broker.tls, settings.broker.topology)
    found += seen.findings
    if not any(one.name == "broker" and one.light is Status.RED for one in found):
        found += await policies.check(addresses, settings.broker.tls)
    found += _bounds(settings)
    if seen.recorder_is_at_work is False:
        found += await asyncio.to_thread(_port, settings.http.listen)
    found += await asyncio.to_thread(
        storage.check, loaded, recorder_is_at_work=seen.recorder_is_at_work
    )
    return found


def _bounds(settings: Settings) -> list[Finding]:
    """Check retention and budget: without them the database grows until its disk is full."""
    store = settings.store
    has_budget = bool(store.budget or store.keep_free)
    found = []
    if not has_budget and not any(dict(settings.retention).values()):
        text = "nothing is ever pruned: the database grows until its disk is full"
        found.append(yellow("retention", text, "set retention.info and its like to days"))
    else:
        found.append(green("retention", "what is old goes, or what has no room"))
    if database_url.is_server(store.url.get_secret_value()):
        # Its disk is its administrator's: no setting bounds it.
        return found
    if has_budget:
        return [*found, green("budget", "the database keeps to its room")]
    text = "none is set: a flood of messages may fill the disk"
    return [*found, yellow("budget", text, "set store.budget, such as 20GiB, or store.keep_free")]


def _port(listen: str) -> list[Finding]:
    """Check that the port of health and metrics is free, where no recorder at work has it."""
    name = "port"
    if not listen:
        return []
    try:
        with listening("http.listen", listen):
            return [green(name, f"{listen} is free")]
    except RecorderError as error:
        return [yellow(name, str(error), "ss -ltnp names the program that has it")]


def exit_code(findings: Sequence[Finding]) -> int:
    """Return the exit code of the first red finding, 0 if there is none."""
    return next((one.exit_code for one in findings if one.light is Status.RED), 0)
