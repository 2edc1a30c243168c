"""The line of tokens above the events: the same filters as in the controls and in the address."""

import random
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.async_api import expect

from tests.e2e.conftest import BOTH, assert_fits, just_now, log_in, show
from tests.support.publisher import EVENT_KEY, publish
from tests.support.recorder import wait_until

pytestmark = [pytest.mark.broker, pytest.mark.browser]

NONE = {
    "severity": [], "minSeverity": "", "node": [], "cluster": "", "type": "", "source": "",
    "resolved": "", "exclude": [], "text": "",
}  # fmt: skip
SEVERITIES = ["critical", "error", "warning", "info"]
# What a line is divided by, and what could be taken for it.
SIGNS = 'aZ_-:+"\\ \t\n\u00a0\u2028é日5,.'
READ = """async (lines) => {
    const { parse } = await import("/static/js/tokens.js");
    return lines.map((line) => parse(line));
}"""
WRITTEN_AND_READ = """async (all) => {
    const { format, parse } = await import("/static/js/tokens.js");
    return all.map((filters) => parse(format(filters)));
}"""
READ_AGAIN = """async (lines) => {
    const { format, parse } = await import("/static/js/tokens.js");
    return lines.map((line) => {
        const read = parse(line);
        return [read, parse(`${format(read.filters)} ${read.rest}`)];
    });
}"""


@pytest.fixture
async def module(browser, gateway):
    """A page that has the modules, before anybody has logged in."""
    page = await browser.new_page()
    page.set_default_timeout(60_000)
    await page.goto(gateway.url)
    yield page
    await page.close()


@BOTH
async def test_a_line_is_read_as_filters(module):
    expected = {
        'sev:warning+ node:pve3 -type:metric "degraded"': {
            "minSeverity": "warning", "node": ["pve3"], "exclude": ["type:metric"],
            "text": "degraded",
        },
        "": {},
        "  lost   its node:a quorum ": {"text": "lost its quorum", "node": ["a"]},
        '"lost   its" node:"my node"': {"text": "lost   its", "node": ["my node"]},
        r'node:"a \"b\" \\c" C\d': {"node": ['a "b" \\c'], "text": "C\\d"},
        "sev:error SEVERITY:Warning sev:error": {"severity": ["error", "warning"]},
        "type:any source:user cluster:home": {"type": "any", "source": "user", "cluster": "home"},
        "resolved:no": {"resolved": "false"},
        '-node: -cluster:"" -sev:info -source:user': {
            "exclude": ["node:", "cluster:", "severity:info", "source:user"]
        },
        "NODE_DOWN: pve3 at 12:30, -5 - --": {"text": "NODE_DOWN: pve3 at 12:30, -5 - --"},
        '"node:pve3" "-word" "a:b"': {"text": "node:pve3 -word a:b"},
    }  # fmt: skip

    read = await module.evaluate(READ, list(expected))

    assert read == [
        {"filters": NONE | filters, "rest": "", "problems": []} for filters in expected.values()
    ]


async def test_what_is_no_token_is_named_and_kept(module):
    expected = {
        "nod:pve3": "there is no token nod",
        "https://pve3": "there is no token https",
        "__proto__:x": "there is no token __proto__",
        "sev:loud": "sev is one of critical, error, warning, info",
        "sev:loud+": "sev is one of",
        "-sev:warning+": "sev is one of",
        "-type:any": "type is one of alert, action, status, metric.",
        "node:": "node needs a value",
        "-resolved:yes": "resolved cannot be left out",
        "-degraded": "only tokens can be left out",
        '"lost its node:a': "the quotation mark is not closed",
        'node:"a b': "the quotation mark is not closed",
    }

    read = await module.evaluate(READ, [f"before {part}" for part in expected])
    [twice] = await module.evaluate(READ, ["type:alert type:action type:alert"])

    for (part, words), found in zip(expected.items(), read, strict=True):
        assert (found["filters"], found["rest"]) == (NONE | {"text": "before"}, part)
        assert len(found["problems"]) == 1
        assert words in found["problems"][0]
    assert twice["filters"]["type"] == "alert"
    assert twice["rest"] == "type:action"


async def test_filters_that_are_written_are_read_as_the_same(module):
    some = random.Random(7)

    def words(least=0):
        return "".join(some.choices(SIGNS, k=some.randrange(least, 6)))

    def several(values):
        return [one for one in values if some.random() < 0.5]

    def filters():
        return {
            "severity": several(SEVERITIES),
            "minSeverity": some.choice(["", *SEVERITIES]),
            "node": list(dict.fromkeys(several([words(1), words(1)]))),
            "cluster": words(),
            "type": some.choice(["", "any", "alert", "metric"]),
            "source": some.choice(["", "monitor"]),
            "resolved": some.choice(["", "true", "false"]),
            "exclude": several(["type:metric", "severity:info", f"node:{words()}", "cluster:"]),
            "text": words(),
        }

    given = [filters() for _ in range(1_000)]
    lines = [words() + words() + words() for _ in range(1_000)]

    read = await module.evaluate(WRITTEN_AND_READ, given)
    again = await module.evaluate(READ_AGAIN, lines)

    assert read == [{"filters": one, "rest": "", "problems": []} for one in given]
    assert [first for first, _ in again] == [second for _, second in again]


async def test_a_line_of_any_length_is_read_at_once(module):
    long = ['"' + '\\"' * 50_000, '"' * 100_001, "a:" * 50_000, "-" * 100_000]

    took = await module.evaluate(
        """async (lines) => {
            const { parse } = await import("/static/js/tokens.js");
            const began = performance.now();
            lines.forEach((line) => parse(line));
            return performance.now() - began;
        }""",
        long,
    )

    assert took < 5_000


async def enter(line, words):
    # What `fill` writes is no change to Firefox.
    await line.press("ControlOrMeta+a")
    await line.press_sequentially(words)
    await line.press("Enter")


def asked(page):
    query = urlsplit(page.url).fragment.partition("?")[2]
    return {name: values for name, values in parse_qs(query).items() if name != "range"}


@BOTH
async def test_line_controls_and_address_say_the_same(page, amqp_url, recorder, engine):
    kinds = [
        ("the one", {"severity": "error", "node": "pve3"}),
        ("of another node", {"severity": "warning", "node": "pve1"}),
        ("not so severe", {"severity": "info", "node": "pve3", "type": "status"}),
        ("a measure", {"severity": "critical", "node": "pve3", "type": "metric"}),
    ]
    events = [just_now(f"{name} is degraded", **more) for name, more in kinds]
    other = just_now("without the word", severity="error", node="pve3")
    await publish(amqp_url, *((EVENT_KEY, one, {}) for one in [*events, other]))
    wait_until(lambda: recorder.count() == 5, "they are recorded")
    await log_in(page)
    await show(page, "events")
    line = page.get_by_label("Words and filters")
    found = page.locator(".event .text")

    await enter(line, 'sev:warning+ node:pve3 -type:metric "is degraded"')

    await expect(found).to_have_text(["the one is degraded"])
    await expect(line).to_have_value("sev:warning+ node:pve3 -type:metric is degraded")
    await expect(page.get_by_label("At least")).to_have_value("warning")
    assert asked(page) == {
        "minSeverity": ["warning"], "node": ["pve3"], "exclude": ["type:metric"],
        "text": ["is degraded"],
    }  # fmt: skip

    await page.get_by_role("link", name="node pve3 (remove)", exact=True).click()
    await expect(found).to_have_text(["of another node is degraded", "the one is degraded"])
    await expect(line).to_have_value("sev:warning+ -type:metric is degraded")
    await page.get_by_role("checkbox", name="error").check()
    await expect(found).to_have_text(["the one is degraded"])
    await expect(line).to_have_value("sev:error sev:warning+ -type:metric is degraded")
    await page.reload()
    await expect(line).to_have_value("sev:error sev:warning+ -type:metric is degraded")
    await page.go_back()
    await expect(line).to_have_value("sev:warning+ -type:metric is degraded")


@BOTH
async def test_what_is_no_token_stays_in_the_line_until_it_is_put_right(page, recorder, engine):
    await log_in(page)
    await show(page, "events?type=alert")
    line = page.get_by_label("Words and filters")
    problem = page.get_by_role("alert").get_by_text("there is no token nod")

    await enter(line, "nod:pve3 sev:critical")

    await problem.wait_for()
    await expect(line).to_have_value("sev:critical nod:pve3")
    await expect(line).to_have_attribute("aria-invalid", "true")
    assert asked(page) == {"severity": ["critical"]}
    await page.get_by_label("Source").select_option("monitor")
    await expect(line).to_have_value("sev:critical source:monitor nod:pve3")
    await expect(problem).to_be_visible()
    await assert_fits(page, f"tokens-{engine}")

    await enter(line, "sev:critical source:monitor node:pve3")

    await expect(problem).to_be_hidden()
    await expect(line).to_have_attribute("aria-invalid", "false")
    assert asked(page) == {"severity": ["critical"], "source": ["monitor"], "node": ["pve3"]}
