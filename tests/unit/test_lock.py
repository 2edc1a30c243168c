"""
The locks, against a future in which every package has a later release.

Each locked package stands here as an empty wheel with the requirements of the real one, once in
the locked version and once in a far later one. The Makefile's own pip commands install from these.
"""

import base64
import re
import shlex
import subprocess
import sys
import zipfile
from hashlib import sha256
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = ("requirements-run.lock", "requirements-build.lock", "requirements.lock")
LATER = "9999"
# Debian's own, whose pip may be older than that of the environment the tests run in.
PYTHONS = sorted({sys.executable, "/usr/bin/python3"})

pytestmark = pytest.mark.slow


def pip_commands(target):
    """Return the arguments of each pip command with a lock that the Makefile runs."""
    printed = subprocess.run(
        ["make", "--dry-run", "--always-make", "--no-print-directory", target],
        check=True, capture_output=True, text=True, cwd=ROOT,
    ).stdout  # fmt: skip
    commands = [shlex.split(line) for line in printed.splitlines() if "/pip " in line]
    return [command[1:] for command in commands if any(lock in command for lock in LOCKS)]


def locked():
    """Return the version of each package that is locked and installed here."""
    pins = re.findall(
        r"^([\w.-]+)==([\w.]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE
    )
    installed = {one.metadata["Name"].lower().replace("_", "-") for one in metadata.distributions()}
    return {name: version for name, version in pins if name in installed}


def write_wheel(directory, name, version):
    """Write an empty wheel with the real one's requirements; return the digest of its file."""
    stem = name.replace("-", "_")
    info = f"{stem}-{version}.dist-info"
    real = metadata.metadata(name)
    fields = [
        f"{field}: {value}"
        for field in ("Requires-Dist", "Provides-Extra")
        for value in real.get_all(field) or ()
    ]
    files = {
        f"{info}/METADATA": "\n".join(
            ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *fields, ""]
        ),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
    }
    record = [
        f"{path},sha256={_urlsafe(sha256(text.encode()).digest())},{len(text.encode())}"
        for path, text in files.items()
    ]
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""])
    wheel = directory / f"{stem}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return sha256(wheel.read_bytes()).hexdigest()


def _urlsafe(digest):
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


@pytest.fixture(scope="module")
def future(tmp_path_factory):
    """A directory of wheels, and the locks with the digests of these wheels."""
    directory = tmp_path_factory.mktemp("future")
    digests = {}
    for name, version in locked().items():
        digests[name] = write_wheel(directory, name, version)
        write_wheel(directory, name, LATER)
    for lock in LOCKS:
        blocks = re.split(r"\n(?=[a-z])", (ROOT / lock).read_text())
        lines = [block.splitlines()[0].rstrip("\\ ") for block in blocks]
        kept = [(line, re.match(r"[\w.-]+", line)[0]) for line in lines]
        (directory / lock).write_text(
            "".join(
                f"{line} --hash=sha256:{digests[name]}\n" for line, name in kept if name in digests
            )
        )
    return directory


@pytest.mark.parametrize("python", PYTHONS)
def test_no_later_release_changes_what_is_installed(python, future, tmp_path):
    if not Path(python).exists():
        pytest.skip(f"{python} is not there")
    subprocess.run([python, "-m", "venv", tmp_path / "venv"], check=True)
    pip = [tmp_path / "venv/bin/python", "-m", "pip", "--isolated"]

    for command in pip_commands(".venv/ready"):
        done = subprocess.run(
            [*pip, *command, "--no-index", f"--find-links={future}"],
            check=False, capture_output=True, text=True, cwd=future,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    checked = subprocess.run([*pip, "check"], check=False, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
    listed = subprocess.run([*pip, "freeze", "--all"], check=True, capture_output=True, text=True)
    installed = dict(line.split("==") for line in listed.stdout.split() if "==" in line)
    versions = locked()
    assert installed.keys() >= versions.keys()
    own = {"pip", "setuptools", "wheel"}
    assert {n: v for n, v in installed.items() if n not in own} == {
        name: versions[name] for name in installed if name not in own
    }


def test_what_is_installed_for_all_users_is_what_the_demo_runs_with():
    (_, *first), *_ = pip_commands(".venv/ready")
    ((_, *fetched),) = pip_commands("install")

    at = fetched.index("--wheel-dir")
    assert [*fetched[:at], *fetched[at + 2 :]] == first


def test_the_image_is_installed_in_the_same_way():
    text = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
    installs = re.findall(r"pip install ([^&\n]*)", text)

    assert installs
    for arguments in installs:
        assert "--no-deps" in arguments
        assert "--require-hashes" in arguments or ".whl" in arguments
    assert "pip check" in text
