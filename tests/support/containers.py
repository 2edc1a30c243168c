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

# The base is the Debian that the Dockerfile's own base is made from.
SUITE = "trixie"
BASE = f"localhost/debian-python:{SUITE}"
IMAGE = "localhost/jarvis-recorder-test"
# crun leaves control groups alone here, and yet refuses to work where both versions are mounted.
_ONE_CONTROL_GROUP = (
    "unshare", "--mount", "sh", "-euc", 'mount -t cgroup2 none /sys/fs/cgroup; exec "$@"', "sh",
)  # fmt: skip
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")


def missing() -> str:
    """Return why no image can be built here; empty where it can."""
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    if absent:
        return f"without {', '.join(absent)} no image is built: make test-image installs it"
    if os.geteuid() != 0:
        return "an image is built and run by root alone: sudo make test-image"
    return ""


def buildah(*arguments: str | Path) -> str:
    """Run buildah on the store of the tests and return what it prints."""
    # vfs copies where overlay would share: it also works where the checkout is on an overlay.
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
        # In the build pip trusts the authorities that this machine trusts.
        if AUTHORITIES.is_file():
            shutil.copy(AUTHORITIES, root / AUTHORITIES.relative_to("/"))
        (root / "etc/pip.conf").write_text(f"[global]\ncert = {AUTHORITIES}\n")
        for downloaded in ("var/cache/apt", "var/lib/apt/lists"):
            shutil.rmtree(root / downloaded)
        buildah("commit", "--quiet", container, BASE)
    finally:
        buildah("rm", container)


def build_image() -> None:
    """Build the checkout's Dockerfile on that base; docker's format is the one with a health check."""
    # A run that was killed may have left something.
    buildah("rm", "--all")
    buildah("rmi", "--prune")
    # Without limits of ours buildah asks for a million files, which not every machine allows.
    buildah(
        "build", "--isolation", "chroot", "--format", "docker", "--pull-never",
        "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024",
        "--build-arg", f"BASE={BASE}", "--tag", IMAGE, ROOT,
    )  # fmt: skip


class Unpacked:
    """An image unpacked: its files, and how it wants to be run."""

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

    It has the image's user, environment and command, and of the service all that binds it; but
    the network of this machine, unless it is to have none.
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
        # Not `crun exec`: within a chroot it ends up at the root outside.
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
        """Return what the kernel says of its first process."""
        lines = self.run("cat", "/proc/1/status").stdout.splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}

    def stop(self) -> int:
        """Send the signal that the image names for it and return the exit code."""
        _run(*self._crun(), "kill", self.directory.name, self.image.config["StopSignal"])
        return self.process.wait(60)

    def said(self) -> str:
        """Return the last that it has logged."""
        return self.log.read_text()[-3000:]

    def kill(self) -> None:
        """End it, if it still runs, and forget it."""
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
    """Return crun's own default, without the control groups that a test may have no say in."""
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
    """Put in what the image and the service ask for."""
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
    """Run a command to its end and return what it prints; on failure show the last of it."""
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=900, cwd=cwd
    )
    said = (done.stdout + done.stderr)[-3000:]
    assert done.returncode == 0, f"{command[0]} ended with {done.returncode}:\n{said}"
    return done.stdout
