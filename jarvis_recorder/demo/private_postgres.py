"""
A private PostgreSQL server: its own directory, a Unix socket and no port, ended when its owner ends.

The server refuses root, so that root starts it as the user `nobody`.
"""

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, Self, TypeVar

from jarvis_recorder.errors import ConfigurationError, StorageUnavailable

_USER: Final = "jarvis"
_START_SECONDS: Final = 60.0
_SETTINGS: Final = ("listen_addresses = ''", "max_connections = 60", "shared_buffers = 32MB")

# As in `node`: the server ends when this standard input does, however its owner dies. Its own
# processes leave the group, and end when they see that it is gone; a new server refuses to start
# before that.
_KEEPER: Final = """
until "$1"/postgres -D "$2"; do sleep 0.1; done &
read -r _
kill -KILL 0
"""


class PrivateServer:
    """A server that survives a crash, with one empty database at first."""

    def __init__(self, directory: Path, settings: Sequence[str] = ()) -> None:
        """Make its files, with lines for `postgresql.conf`."""
        self._directory = directory
        self._data = directory / "data"
        self._log = directory / "console.log"
        self._programs = _find_programs()
        self._keeper: subprocess.Popen[bytes] | None = None
        self._as_user: list[str] = []
        if os.getuid() == 0:
            user = pwd.getpwnam("nobody")
            os.chown(directory, user.pw_uid, user.pw_gid)
            ids = (f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}")
            self._as_user = ["setpriv", *ids, "--clear-groups"]
        self._make_data()
        with (self._data / "postgresql.conf").open("a") as configuration:
            socket = f"unix_socket_directories = '{directory}'"
            configuration.write("\n".join((*_SETTINGS, socket, *settings, "")))

    def _make_data(self) -> None:
        self._call(
            # The files need not outlive the machine.
            *("initdb", "--no-sync", "--username", _USER, "--auth", "trust"),
            *("--encoding", "UTF8", "--locale", "C", "--pgdata", str(self._data)),
        )

    def url(self, name: str = "postgres") -> str:
        """Return the URL of a database."""
        return f"postgresql://{_USER}@/{name}?host={self._directory}"

    def start(self) -> Self:
        """
        Start it and return once it takes connections; after `kill` it recovers what was committed.

        Raises:
            StorageUnavailable: It did not come up; the message names its log.
        """
        self._run()
        deadline = time.monotonic() + _START_SECONDS
        while not self._is_ready():
            if time.monotonic() > deadline:
                self.kill()
                raise StorageUnavailable(f"the private PostgreSQL did not start; see {self._log}")
            time.sleep(0.1)
        return self

    def _run(self) -> None:
        with self._log.open("ab") as log:
            self._keeper = subprocess.Popen(
                [*self._as_user, "/bin/sh", "-c", _KEEPER, "keeper", self._programs, self._data],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=_environment(),
                cwd="/",
                start_new_session=True,
            )

    def kill(self) -> None:
        """Kill it at once, as a power cut would; `start` starts it again with its data."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.communicate()

    def _is_ready(self) -> bool:
        asked = [str(self._programs / "pg_isready"), "--quiet", "--host", str(self._directory)]
        return subprocess.run(asked, check=False, env=_environment()).returncode == 0

    def _call(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [*self._as_user, self._programs / program, *arguments],
            check=False,
            capture_output=True,
            text=True,
            cwd="/",
            env=_environment(),
        )
        if done.returncode:
            raise StorageUnavailable(f"{program} failed: {done.stderr.strip()}")


_Server = TypeVar("_Server", bound=PrivateServer)


@contextlib.contextmanager
def private_server(make: Callable[[Path], _Server]) -> Iterator[_Server]:
    """Run a server in a new directory; remove both afterwards."""
    # A short path, as that of a Unix socket has at most 107 bytes.
    directory = Path(tempfile.mkdtemp(prefix="jarvis-postgres-", dir="/tmp"))
    server = None
    try:
        server = make(directory)
        yield server.start()
    finally:
        if server is not None:
            server.kill()
        shutil.rmtree(directory, ignore_errors=True)


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C"}


def _find_programs() -> Path:
    found = Path("/usr/lib/postgresql").glob("*/bin/postgres")
    newest = max(found, key=lambda path: float(path.parent.parent.name), default=None)
    if newest is None:
        raise ConfigurationError(
            "PostgreSQL is not installed: on Debian, `apt install postgresql` as root"
        )
    return newest.parent
