"""The page's modules without a browser, where time and the gateway's answers must be steered."""

import subprocess
from pathlib import Path

import pytest
from playwright._impl._driver import compute_driver_executable

SCENARIOS = sorted((Path(__file__).parent / "page").glob("*.test.mjs"))


@pytest.mark.parametrize(
    "scenario", SCENARIOS, ids=lambda path: path.name.removesuffix(".test.mjs")
)
def test_the_modules_of_the_page(scenario):
    node, _ = compute_driver_executable()

    done = subprocess.run(
        [node, "--disable-warning=ExperimentalWarning", "--test-reporter=spec", scenario],
        check=False, capture_output=True, text=True, timeout=300,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
