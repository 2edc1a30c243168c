"""Images made by buildah and containers run by crun, in a store of their own in the checkout."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.recorder import wait_until

ROOT = Path(__file__).parents[2]
STORE = ROOT / ".run" / "containers"
TOOLS = ("buildah", "crun", "debootstrap")

# The Debian release of the Dockerfile's own base image.
SUITE = "trixie"
BASE = f"localhost/debian-python:{SUITE}"
IMAGE = "localhost/jarvis-recorder-test"
# crun does not use control groups here, but refuses to run if both versions are mounted.
_ONE_CONTROL_GROUP = (
    "unshare", "--mount", "sh", "-euc", 'mount -t cgroup2 none /sys/fs/cgroup; exec "$@"', "sh",
)  # fmt: skip
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")


def missing() -> str:
    """Return the reason why no image can be built here, empty if one can."""
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    if absent:
        return f"without {', '.join(absent)} no image is built: make test-image installs it"
    if os.geteuid() != 0:
        return "an image is built and run by root alone: sudo make test-image"
    return ""


def buildah(*arguments: str | Path) -> str:
    """Run buildah on the store of the tests and return what it prints."""
    # vfs copies layers that overlay would share, but also works on top of an overlay.
    store = ("--root", STORE / "images", "--runroot", STORE / "run", "--storage-driver", "vfs")
    return _run("buildah", *store, *arguments)


def make_base() -> None:
    """Make a minimal Debian with Python, once, from Debian's mirror."""
    if BASE in buildah("images", "--format", "{{.Name}}:{{.Tag}}").split():
        return
    container = buildah("from", "scratch").strip()
    try:
        root = Path(buildah("mount", container).strip())
        packages = "--include=ca-certificates,python3,python3-venv"
        _run("debootstrap", "--variant=minbase", packages, SUITE, root)
        # Lets pip trust this machine's authorities during the build.
        if AUTHORITIES.is_file():
            shutil.copy(AUTHORITIES, root / AUTHORITIES.relative_to("/"))
        (root / "etc/pip.conf").write_text(f"[global]\ncert = {AUTHORITIES}\n")
        for downloaded in ("var/cache/apt", "var/lib/apt/lists"):
            shutil.rmtree(root / downloaded)
        buildah("commit", "--quiet", container, BASE)
    finally:
        buildah("rm", container)


def build_image() -> None:
    """Build the checkout's Dockerfile on that base, in docker's format, which has health checks."""
    # A killed run may have left files.
    buildah("rm", "--all")
    buildah("rmi", "--prune")
    # By default buildah requests a million open files, which not every machine allows.
    buildah(
        "build", "--isolation", "chroot", "--format", "docker", "--pull-never",
        "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024",
        "--build-arg", f"BASE={BASE}", "--tag", IMAGE, ROOT,
    )  # fmt: skip


class Unpacked:
    """An unpacked image: its files and its run configuration."""

    def __init__(self) -> None:
        self._container = buildah("from", "--pull-never", IMAGE).strip()
        self.root = Path(buildah("mount", self._container).strip())
        self.config = json.loads(buildah("inspect", "--type", "image", IMAGE))["Docker"]["config"]

    def remove(self) -> None:
        buildah("rm", self._container)
        buildah("rmi", IMAGE)


class Container:
    """
    A service of the compose file, run by crun instead of Docker.

    It has the image's user, environment and command, and the service's restrictions; but it uses
    this machine's network, unless it is to have none.
    """

    def __init__(
        self, image: Unpacked, service: Mapping[str, Any], volumes: Path, **environment: str
    ) -> None:
        self.image = image
        self.environment = service.get("environment", {}) | environment
        of_image = image.config["Healthcheck"]["Test"]
        self._check = service.get("healthcheck", {}).get("test", of_image)
        self.directory = Path(tempfile.mkdtemp(prefix="jarvis-container-"))
        self.log = self.directory / "log"
        spec = _specification(self.directory)
        _configure(spec, image, service, self.environment)
        self._environment: list[str] = spec["process"]["env"]
        spec["mounts"] += [_tmpfs(mount) for mount in service.get("tmpfs", ())]
        spec["mounts"] += [self._volume(volumes, mount) for mount in service["volumes"]]
        (self.directory / "config.json").write_text(json.dumps(spec))
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*self._crun(), "run", "--bundle", self.directory, self.directory.name],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def _volume(self, volumes: Path, mount: str) -> dict[str, Any]:
        name, destination, *options = mount.split(":")
        volume = volumes / name
        if not volume.exists():
            # A new volume begins as the directory of the image that it is mounted on.
            _run("cp", "--archive", self.image.root / destination.removeprefix("/"), volume)
        return {
            "destination": destination,
            "type": "bind",
            "source": str(volume),
            "options": ["bind", *options],
        }

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the container, as its user."""
        found = _ended(*self._crun(), "state", self.directory.name)
        if found.returncode != 0:
            return found
        user, group = self.image.config["User"].split(":")
        # Not `crun exec`, which ends up at the outer root if run in a chroot.
        return _ended(
            "nsenter", f"--target={json.loads(found.stdout)['pid']}", "--all", "--root", "--wd",
            f"--setuid={user}", f"--setgid={group}", "env", "-i", *self._environment, *command,
        )  # fmt: skip

    def health(self) -> subprocess.CompletedProcess[str]:
        """Run the health check that Docker would run: the service's own, or else the image's."""
        assert self.process.poll() is None, self.said()
        kind, *command = self._check
        assert kind == "CMD"
        return self.run(*command)

    def wait_until_healthy(self) -> None:
        try:
            wait_until(lambda: self.health().returncode == 0, "it is healthy", 120)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.health()}\n{self.said()}") from None

    def status(self) -> dict[str, str]:
        """Return the kernel's status of its first process."""
        lines = self.run("cat", "/proc/1/status").stdout.splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}

    def stop(self) -> int:
        """Send the image's stop signal and return the exit code."""
        _run(*self._crun(), "kill", self.directory.name, self.image.config["StopSignal"])
        return self.process.wait(60)

    def said(self) -> str:
        """Return the end of its log."""
        return self.log.read_text()[-3000:]

    def kill(self) -> None:
        """End it if it still runs, and delete it."""
        if self.process.poll() is None:
            self.process.kill()
        subprocess.run(
            [*self._crun(), "delete", "--force", self.directory.name],
            check=False, capture_output=True,
        )  # fmt: skip
        self.process.wait(10)
        shutil.rmtree(self.directory)

    def _crun(self) -> tuple[str, ...]:
        state = str(self.directory / "state")
        return (*_ONE_CONTROL_GROUP, "crun", "--root", state, "--cgroup-manager", "disabled")


def _specification(directory: Path) -> dict[str, Any]:
    """Return crun's default without control groups, which a test may not be able to change."""
    _run("crun", "spec", cwd=directory)
    spec: dict[str, Any] = json.loads((directory / "config.json").read_text())
    spec["mounts"] = [one for one in spec["mounts"] if one["type"] not in {"cgroup", "cgroup2"}]
    linux = spec["linux"]
    linux.pop("resources", None)
    linux["namespaces"] = [one for one in linux["namespaces"] if one["type"] != "cgroup"]
    return spec


def _configure(
    spec: dict[str, Any],
    image: Unpacked,
    service: Mapping[str, Any],
    environment: Mapping[str, str],
) -> None:
    """Apply the settings of the image and of the service."""
    user, group = map(int, image.config["User"].split(":"))
    capabilities = spec["process"]["capabilities"]
    if service["cap_drop"] == ["ALL"]:
        capabilities = {kind: [] for kind in capabilities}
    spec["root"] = {"path": str(image.root), "readonly": service["read_only"]}
    spec["process"] |= {
        "terminal": False,
        "user": {"uid": user, "gid": group},
        "args": image.config["Entrypoint"] + service.get("command", image.config["Cmd"]),
        "env": image.config["Env"] + [f"{name}={value}" for name, value in environment.items()],
        "cwd": image.config["WorkingDir"],
        "capabilities": capabilities,
        "noNewPrivileges": "no-new-privileges:true" in service["security_opt"],
    }
    if service.get("network_mode") != "none":
        linux = spec["linux"]
        linux["namespaces"] = [one for one in linux["namespaces"] if one["type"] != "network"]


def _tmpfs(mount: str) -> dict[str, Any]:
    destination, _, options = mount.partition(":")
    return {
        "destination": destination,
        "type": "tmpfs",
        "source": "tmpfs",
        "options": ["nosuid", "nodev", *options.split(",")],
    }


def _ended(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)


def _run(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a command and return its output; on failure show the end of it."""
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=900, cwd=cwd
    )
    said = (done.stdout + done.stderr)[-3000:]
    assert done.returncode == 0, f"{command[0]} ended with {done.returncode}:\n{said}"
    return done.stdout
