"""
A private RabbitMQ node: its own name, ports and directory, ended when its owner ends.

It touches no broker that already runs, and reads no configuration of this machine's RabbitMQ.
The wrapper in a system's `sbin` switches to another user, so the scripts below
`/usr/lib/rabbitmq` are run directly.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

from jarvis_recorder.errors import BrokerUnavailable, ConfigurationError

SCRIPTS: Final = (Path("/usr/lib/rabbitmq/bin"), Path("/opt/rabbitmq/sbin"))
_BOOT_SECONDS: Final = 60.0
# The port that clients use by default.
_USUAL_PORT: Final = 5672

# The name daemon and the node run in one process group, whose leader kills the group when its
# standard input ends: so the node cannot outlive its owner, however the owner dies.
_KEEPER: Final = """
[ -z "$OWN_EPMD" ] || epmd -port "$ERL_EPMD_PORT" -address 127.0.0.1 &
"$1"/rabbitmq-server &
read -r _
kill -KILL 0
"""


class PrivateNode:
    """A RabbitMQ node on the loopback interface, empty at first."""

    def __init__(
        self,
        directory: Path,
        *,
        vm_memory_high_watermark: str = "0.6",
        configuration: str = "",
        plugins: str = "",
        usual_port: bool = False,
        epmd_port: int = 0,
    ) -> None:
        """Write its configuration; with `epmd_port`, it uses the name daemon that runs there."""
        self.directory = directory
        self.port, own_epmd_port, distribution_port = free_ports(3)
        if usual_port and is_free(_USUAL_PORT):
            self.port = _USUAL_PORT
        self.name = f"jarvis{self.port}@localhost"
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}/"
        self._scripts = _find_scripts()
        self._keeper: subprocess.Popen[bytes] | None = None
        self._log = directory / "console.log"
        self._config = directory / "rabbitmq.conf"
        self._config.write_text(
            f"listeners.tcp.default = 127.0.0.1:{self.port}\n"
            f"vm_memory_high_watermark.relative = {vm_memory_high_watermark}\n"
            "disk_free_limit.absolute = 50MB\n"
            f"log.console = false\n{configuration}"
        )
        (directory / "enabled_plugins").write_text(f"[{plugins}].\n")
        (directory / "advanced.config").write_text("[].\n")
        (directory / "rabbitmq-env.conf").touch()
        (directory / "conf.d").mkdir(exist_ok=True)
        self._environment = {
            "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "HOME": str(directory),
            "OWN_EPMD": "" if epmd_port else "yes",
            "ERL_EPMD_PORT": str(epmd_port or own_epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": self.name,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(distribution_port),
            "RABBITMQ_CONFIG_FILE": str(self._config),
            "RABBITMQ_CONFIG_FILES": str(directory / "conf.d"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(directory / "advanced.config"),
            "RABBITMQ_CONF_ENV_FILE": str(directory / "rabbitmq-env.conf"),
            "RABBITMQ_MNESIA_BASE": str(directory / "data"),
            "RABBITMQ_LOG_BASE": str(directory / "log"),
            "RABBITMQ_PID_FILE": str(directory / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "enabled_plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none"
            ),
        }

    def configure(self, lines: str) -> None:
        """Add lines to the configuration; they hold from the next start on."""
        with self._config.open("a") as config:
            config.write(lines)

    def start(self) -> Self:
        """
        Start the node and return once it accepts connections; it keeps the data of an earlier run.

        Raises:
            BrokerUnavailable: It did not come up; the message names its log.
        """
        with self._log.open("ab") as log:
            self._keeper = subprocess.Popen(
                ["/bin/sh", "-c", _KEEPER, "keeper", str(self._scripts)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=self._environment,
                cwd=self.directory,
                start_new_session=True,
            )
        deadline = time.monotonic() + _BOOT_SECONDS
        while not _greets(self.port):
            if time.monotonic() > deadline:
                self.kill()
                raise BrokerUnavailable(f"the private RabbitMQ did not start; see {self._log}")
            time.sleep(0.05)
        return self

    def kill(self) -> None:
        """Kill the node at once, as a power cut would; `start` restarts it with its data."""
        if self._keeper is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._keeper.pid, signal.SIGKILL)
        self._keeper.communicate()
        self._keeper = None

    def ctl(self, *arguments: str) -> str:
        """Run `rabbitmqctl` against this node and return what it prints."""
        return subprocess.run(
            [self._scripts / "rabbitmqctl", "--quiet", *arguments],
            env=self._environment,
            cwd=self.directory,
            check=True,
            capture_output=True,
            text=True,
        ).stdout


@contextlib.contextmanager
def private_node(*, usual_port: bool = False) -> Iterator[PrivateNode]:
    """
    Run a node in a new directory; remove both afterwards.

    With `usual_port` it listens on the clients' default port, unless another broker does.
    """
    directory = Path(tempfile.mkdtemp(prefix="jarvis-rabbitmq-"))
    node = None
    try:
        node = PrivateNode(directory, usual_port=usual_port)
        yield node.start()
    finally:
        if node is not None:
            node.kill()
        shutil.rmtree(directory, ignore_errors=True)


def _find_scripts() -> Path:
    for scripts in SCRIPTS:
        if (scripts / "rabbitmq-server").exists():
            return scripts
    raise ConfigurationError(
        "RabbitMQ is not installed: on Debian, `apt install rabbitmq-server` as root"
    )


def free_ports(count: int) -> list[int]:
    """Return so many ports of the loopback interface that no one listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for candidate in sockets:
            candidate.bind(("127.0.0.1", 0))
        return [candidate.getsockname()[1] for candidate in sockets]


def is_free(port: int) -> bool:
    """Return whether no one listens on this port of the loopback interface."""
    try:
        socket.create_connection(("localhost", port), timeout=1).close()
    except OSError:
        return True
    return False


def _greets(port: int) -> bool:
    """Return whether an AMQP broker replies to the protocol header; an open port proves little."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"AMQP\x00\x00\x09\x01")
            return connection.recv(1) == b"\x01"
    except OSError:
        return False
