"""A browser before the page, behind it a gateway and a recorder with half an hour of cluster life."""

import random
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.async_api import async_playwright

from jarvis_recorder.broker.session import open_session
from jarvis_recorder.config.loading import load
from jarvis_recorder.demo.cluster import LENGTH
from jarvis_recorder.demo.story import tell
from jarvis_recorder.net.addresses import Addresses
from jarvis_recorder.wire.topics import EXCHANGE
from tests.support.gateway import PASSWORD
from tests.support.publisher import event
from tests.support.recorder import wait_until

CHROMIUM = "/usr/bin/chromium"
ARTEFACTS = Path(__file__).parents[2] / ".artefacts"
UNDO_MS = 10_000
AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text()
FIRST_VIEW_BYTES = 90 * 1024
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


async def tell_story(url):
    broker = load({"broker.url": url}, {}, Path("/dev/null")).settings.broker
    messages = tell(time.time_ns() // 1000 - LENGTH, random.Random(5))
    async with open_session(Addresses(url), broker.topology, tls=broker.tls) as session:
        for message in messages:
            await session.publisher.publish(
                EXCHANGE, message.routing_key, message.properties, message.body
            )


@pytest.fixture
async def browser():
    async with async_playwright() as started:
        browser = await started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        await browser.close()


class Seen:
    """The errors of a page, and its requests to other hosts."""

    def __init__(self, page, own):
        self.errors = []
        self.strangers = []
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self._asked(request.url, own))

    def _said(self, message):
        # The browser itself notes each answer that is no success; the page shows those.
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            self.errors.append(message.text)

    def _asked(self, url, own):
        if not url.startswith((own, "blob:", "data:")):
            self.strangers.append(url)


@pytest.fixture
async def page(browser, gateway):
    ARTEFACTS.mkdir(exist_ok=True)
    context = await browser.new_context(viewport={"width": 1280, "height": 900})
    page = await context.new_page()
    page.set_default_timeout(30_000)
    page.seen = Seen(page, gateway.url)
    await page.goto(gateway.url)
    yield page
    assert page.seen.errors == []
    assert page.seen.strangers == []
    await context.close()


async def log_in(page, password=PASSWORD):
    await page.get_by_label("Password").fill(password)
    await page.keyboard.press("Enter")
    await page.get_by_role("heading", name="Unresolved alerts").wait_for()


def ago(**since):
    return (datetime.now(UTC) - timedelta(**since)).isoformat().replace("+00:00", "Z")


def just_now(summary, **changes):
    return event(summary=summary, timestamp=ago(), **changes)


def snapshot(cluster, *nodes, **since):
    """Return what a monitor publishes about a cluster of such nodes, so long ago."""
    state = {"nodes": [{"name": name, "status": "online", "cpu": 0.2} for name in nodes]}
    body = {"snapshot": state, "timestamp": ago(**since), "cluster": cluster}
    return ("cluster.snapshot", body, {})


async def told(amqp_url, recorder):
    await tell_story(amqp_url)
    wait_until(lambda: recorder.count("cluster_snapshots") >= 60, "the story is recorded")


async def show(page, view):
    await page.evaluate(f"location.hash = '#/{view}'")
    name = view.partition("?")[0].partition("/")[0]
    await page.locator(f"#nav [data-view='{name}'][aria-current]").wait_for()


async def assert_accessible(page):
    """Hold what is shown at the moment against axe-core's rules."""
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(AXE)
    found = await page.evaluate("axe.run()")
    bad = [
        (one["id"], [node["html"][:200] for node in one["nodes"]][:3])
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    assert bad == []
