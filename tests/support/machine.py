"""
A machine with its own systemd on this system's files, whose changes are discarded afterwards.

`systemd-nspawn` boots it from an overlay of `/`, so it has this system's versions of everything.
It has its own network, so its services take no port of this system.
"""

import contextlib
import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.support.recorder import wait_until

CHECKOUT: Final = "/usr/local/src/jarvis-recorder"
_ROOT: Final = Path(__file__).parents[2]
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# The settings by which this system reaches its package index.
_PASSED_ON: Final = ("PIP_", "SSL_", "REQUESTS_", "http_proxy", "https_proxy", "no_proxy")

# systemd 252 would read these of process 1, which may be another user's in a container.
_LIMITS: Final = tuple(
    "--rlimit={}={}:{}".format(name, *resource.getrlimit(getattr(resource, f"RLIMIT_{name}")))
    for name in ("NPROC", "SIGPENDING")
)


def as_root() -> list[str] | None:
    """Return the prefix that runs a command as root, None if that needs a password."""
    if os.geteuid() == 0:
        return []
    asks_nothing = shutil.which("sudo") and not subprocess.run(
        ["sudo", "-n", "true"], check=False, capture_output=True
    ).returncode  # fmt: skip
    return ["sudo", "-n"] if asks_nothing else None


class Machine:
    """A machine whose files can be changed before it is booted."""

    def __init__(self, directory: Path, root: list[str]) -> None:
        self._as_root = root
        self._files = directory / "root"
        self._log = directory / "console.log"
        self._nspawn: subprocess.Popen[bytes] | None = None
        for name in ("upper", "work", "root"):
            (directory / name).mkdir()
        # Otherwise the machine's `/` would belong to the user who runs the tests.
        self._run("chown", "root:root", str(directory / "upper"))
        layers = f"lowerdir=/,upperdir={directory}/upper,workdir={directory}/work"
        self._run("mount", "-t", "overlay", "overlay", "-o", layers, str(self._files))

    def _run(self, *command: str, **options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*self._as_root, *command], check=True, text=True, **options)  # type: ignore[call-overload]

    def prepare(self, script: str) -> str:
        """Run a script as root on these files, with this system's network; return its output."""
        passed_on = [
            f"--setenv={name}={value}"
            for name, value in os.environ.items()
            if name.startswith(_PASSED_ON)
        ]
        done = subprocess.run(
            [*self._as_root, *self._nspawn_command(), *passed_on, "--pipe", "--resolv-conf=off",
             "/bin/bash", "-euc", script],
            check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def _nspawn_command(self) -> list[str]:
        return [
            "systemd-nspawn", "--quiet", f"--directory={self._files}", "--register=no",
            "--keep-unit", f"--machine=jarvis-test-{os.getpid()}", "--hostname=localhost",
            f"--bind-ro={_ROOT}:{CHECKOUT}", *_LIMITS,
        ]  # fmt: skip

    def boot(self) -> None:
        """Boot until services can be started, without starting this system's own."""
        with self._log.open("wb") as log:
            self._nspawn = subprocess.Popen(
                [*self._as_root, *self._nspawn_command(), "--boot", "--private-network",
                 "--link-journal=no", "systemd.unit=sysinit.target"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        wait_until(self._is_up, f"the machine is up: {self._log}", 60)

    def _is_up(self) -> bool:
        assert self._nspawn is not None
        assert self._nspawn.poll() is None, self._log.read_text(errors="replace")[-2000:]
        return bool(_init(self._nspawn.pid)) and self.run("systemctl is-system-running").stdout in (
            "running\n", "degraded\n", "starting\n",
        )  # fmt: skip

    def run(self, script: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """Run a script in the booted machine as root, as a login would."""
        assert self._nspawn is not None
        return subprocess.run(
            [*self._as_root, "nsenter", "-t", str(_init(self._nspawn.pid)),
             "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w", "--",
             "env", "-i", f"PATH={_PATH}", "HOME=/root", "LANG=C.UTF-8", "TERM=dumb",
             "/bin/bash", "-c", f"cd {CHECKOUT}; {script}"],
            check=False, capture_output=True, text=True, input=given, timeout=120,
        )  # fmt: skip

    def does(self, script: str, given: str = "") -> str:
        """Run a script that must succeed; return what it printed."""
        done = self.run(script, given)
        assert done.returncode == 0, f"{script}: {done.stdout}{done.stderr}"
        return done.stdout

    def close(self) -> None:
        if self._nspawn is not None:
            everyone = map(str, _descendants(self._nspawn.pid))
            # `kill` fails if one has ended since it was found: only the wait tells.
            subprocess.run(
                [*self._as_root, "kill", "-KILL", *everyone], check=False, capture_output=True
            )
            self._nspawn.wait(30)
        self._run("umount", "--lazy", str(self._files))


@contextlib.contextmanager
def machine(root: list[str]) -> Iterator[Machine]:
    """Yield a machine that is removed afterwards with all changes on it."""
    directory = Path(tempfile.mkdtemp(prefix="jarvis-machine-"))
    made = None
    try:
        made = Machine(directory, root)
        yield made
    finally:
        if made is not None:
            made.close()
        subprocess.run([*root, "rm", "-rf", "--one-file-system", directory], check=True)


def _descendants(pid: int) -> list[int]:
    found = [pid]
    for each in found:
        children = Path(f"/proc/{each}/task/{each}/children")
        with contextlib.suppress(OSError):
            found += map(int, children.read_text().split())
    return found


def _init(nspawn: int) -> int | None:
    """Return the machine's first process as seen from this system."""
    for pid in _descendants(nspawn):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text() == "systemd\n":
                return pid
    return None
