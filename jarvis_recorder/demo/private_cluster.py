"""A private cluster of RabbitMQ nodes on one machine, ended when its owner ends."""

import contextlib
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Self

from jarvis_recorder.demo.node import PrivateNode, free_ports

_COOKIE: Final = ".erlang.cookie"
# Three nodes share one machine, so none may take much of its memory.
_MEMORY_SHARE: Final = "0.2"

# As in `node`: the name daemon ends when its standard input does, however its owner dies.
_KEEPER: Final = """
epmd -port "$1" -address 127.0.0.1 &
read -r _
kill -KILL 0
"""


class PrivateCluster:
    """
    Nodes that form one cluster, empty at first; each can be killed and started again.

    The side of a partition that has fewer nodes pauses, and a queue is led by any node.
    """

    def __init__(self, directory: Path, size: int = 3) -> None:
        (self._epmd_port,) = free_ports(1)
        self._epmd: subprocess.Popen[bytes] | None = None
        cookie = secrets.token_hex(16)
        self.nodes = [self._node(directory / f"node{at}", cookie) for at in range(size)]
        named = "".join(
            f"cluster_formation.classic_config.nodes.{at} = {node.name}\n"
            for at, node in enumerate(self.nodes, 1)
        )
        for node in self.nodes:
            node.configure(
                "cluster_formation.peer_discovery_backend = classic_config\n"
                "cluster_partition_handling = pause_minority\n"
                f"queue_leader_locator = balanced\n{named}"
            )

    def _node(self, directory: Path, cookie: str) -> PrivateNode:
        directory.mkdir()
        path = directory / _COOKIE
        path.write_text(cookie)
        path.chmod(0o400)
        return PrivateNode(
            directory, vm_memory_high_watermark=_MEMORY_SHARE, epmd_port=self._epmd_port
        )

    @property
    def url(self) -> str:
        """The URL of the first node."""
        return self.nodes[0].url

    @property
    def also(self) -> list[str]:
        """The other nodes, as the setting `broker.also` names them."""
        return [f"127.0.0.1:{node.port}" for node in self.nodes[1:]]

    def start(self) -> Self:
        """
        Start the nodes and return once each accepts connections.

        Raises:
            BrokerUnavailable: One did not come up; the message names its log.
        """
        self._epmd = subprocess.Popen(
            ["/bin/sh", "-c", _KEEPER, "keeper", str(self._epmd_port)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        # Together: RabbitMQ 4 waits for the others before it forms a cluster.
        with ThreadPoolExecutor() as pool:
            list(pool.map(PrivateNode.start, self.nodes))
        return self

    def kill(self) -> None:
        """Kill all nodes at once."""
        for node in self.nodes:
            node.kill()
        if self._epmd is not None:
            self._epmd.communicate()
            self._epmd = None


@contextlib.contextmanager
def private_cluster(size: int = 3) -> Iterator[PrivateCluster]:
    """Run a cluster in a new directory; remove both afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="jarvis-rabbitmq-"))
    cluster = PrivateCluster(directory, size)
    try:
        yield cluster.start()
    finally:
        cluster.kill()
        shutil.rmtree(directory, ignore_errors=True)
