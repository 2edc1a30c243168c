"""A browser before the page, behind it a gateway and a recorder with half an hour of cluster life."""

import random
import re
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.async_api import async_playwright, expect

from jarvis_recorder.broker.session import open_session
from jarvis_recorder.config.loading import load
from jarvis_recorder.demo.cluster import LENGTH
from jarvis_recorder.demo.story import tell
from jarvis_recorder.net.addresses import Addresses
from jarvis_recorder.wire.topics import EXCHANGE
from tests.support.gateway import PASSWORD, Gateway
from tests.support.publisher import event
from tests.support.recorder import wait_until

CHROMIUM = "/usr/bin/chromium"
FIREFOX = "/usr/bin/firefox-esr"
FOR_FIREFOX = Path(__file__).parents[1] / "support" / "firefox.cjs"
ARTEFACTS = Path(__file__).parents[2] / ".artefacts"
UNDO_MS = 10_000
AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text()
FIRST_VIEW_BYTES = 90 * 1024
expect.set_options(timeout=30_000)
THEMES = pytest.mark.parametrize("theme", ["light", "dark"])
BOTH = pytest.mark.parametrize("engine", ["chromium", "firefox"])
LAUNCH_MS = 300_000
LEAST_FIREFOX = 150
# Playwright puts `body {}` into a page of Firefox before a picture; the page's policy refuses it.
OF_A_PICTURE = "sha256-YjaKGiklmzC6wjXA513HAMmzus8VE61XCOT+SmwNZWA="
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


def require_recent_firefox():
    """Skip where it is a Firefox of before Debian's security source, and say so."""
    said = subprocess.run([FIREFOX, "--version"], capture_output=True, text=True, check=True).stdout
    version = int(re.search(r"Firefox (\d+)", said)[1])
    if version < LEAST_FIREFOX:
        pytest.skip(
            f"Firefox {version} knows too few commands of WebDriver BiDi: {LEAST_FIREFOX} does"
        )


async def launch(playwright, engine):
    if engine == "firefox":
        require_recent_firefox()
        # Debian's own build is one that only WebDriver BiDi drives, which the channel stands for.
        return await playwright.firefox.launch(
            executable_path=FIREFOX, channel="moz-firefox", timeout=LAUNCH_MS
        )
    return await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS, timeout=LAUNCH_MS)


@pytest.fixture(scope="session")
async def browsers():
    """Return a browser by its engine; it is launched where none is running."""
    launched = {}
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("NODE_OPTIONS", f"--require {FOR_FIREFOX}")
        playwright = await async_playwright().start()

    async def running(engine):
        if engine not in launched or not launched[engine].is_connected():
            launched[engine] = await launch(playwright, engine)
        return launched[engine]

    yield running
    for browser in launched.values():
        await browser.close()
    await playwright.stop()


@pytest.fixture(scope="module")
def gateway(broker_url, tmp_path_factory):
    """A gateway for the tests of a file: it holds nothing of a recorder."""
    gateway = Gateway(broker_url, tmp_path_factory.mktemp("gateway"))
    yield gateway
    gateway.kill()


@pytest.fixture
def engine():
    """The engine of the test's browser: a test that has the mark BOTH runs in two."""
    return "chromium"


@pytest.fixture
async def browser(browsers, engine):
    return await browsers(engine)


class Seen:
    """The errors of a page, and its requests to other hosts."""

    def __init__(self, page, own):
        self.errors = []
        self.strangers = []
        page.on("console", lambda message: message.type == "error" and self._failed(message.text))
        page.on("pageerror", lambda error: self._failed(str(error)))
        page.on("request", lambda request: self._asked(request.url, own))

    def _failed(self, text):
        # The browser itself notes each answer that is no success; the page shows those.
        if not text.startswith("Failed to load resource") and OF_A_PICTURE not in text:
            self.errors.append(text)

    def _asked(self, url, own):
        if not url.startswith((own, "blob:", "data:")):
            self.strangers.append(url)


@pytest.fixture
async def page(browser, gateway, recorder):
    ARTEFACTS.mkdir(exist_ok=True)
    context = await browser.new_context(viewport={"width": 1280, "height": 900})
    page = await context.new_page()
    page.set_default_timeout(60_000)
    page.seen = Seen(page, gateway.url)
    await page.goto(gateway.url)
    yield page
    assert page.seen.errors == []
    assert page.seen.strangers == []
    await context.close()


async def log_in(page, password=PASSWORD):
    await page.get_by_label("Password").fill(password)
    await page.keyboard.press("Enter")
    await page.get_by_role("heading", name="Incidents").wait_for()


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


async def assert_fits(page, name):
    """Look at what is shown on a desk and on a telephone, and leave it on the desk."""
    for width in (1280, 390):
        await page.set_viewport_size({"width": width, "height": 900})
        await page.screenshot(path=ARTEFACTS / f"{name}-{width}.png", full_page=True)
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        await assert_accessible(page)
    await page.set_viewport_size({"width": 1280, "height": 900})
