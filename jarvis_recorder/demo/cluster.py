"""A simulated cluster: five nodes, twenty machines, one node that goes down and comes back."""

from typing import Any, Final

SECOND: Final = 1_000_000
MINUTE: Final = 60 * SECOND
LENGTH: Final = 30 * MINUTE
CLUSTER: Final = "home"

DOWN: Final = 11 * MINUTE + 12 * SECOND
UP: Final = 17 * MINUTE + 40 * SECOND

NODES: Final = ("Home", "pve", "agent1", "agent", "vault")
VMS: Final = (
    "media", "dns", "proxy", "git", "ci", "wiki", "mail", "photos", "backup", "metrics",
    "logs", "chat", "db1", "db2", "cache", "queue", "vpn", "lab1", "lab2", "games",
)  # fmt: skip
FIRST_VMID: Final = 101
_GIB: Final = 1024**3


def is_down(node: str, at: int) -> bool:
    return node == "pve" and DOWN <= at < UP


def vmids_on(node: str) -> list[int]:
    place = NODES.index(node)
    return [FIRST_VMID + number for number in range(place, len(VMS), len(NODES))]


def load(number: int, at: int) -> float:
    """Return a load: a triangle wave of 5 to 10 minutes, with its own period for each number."""
    period = (5 + number % 6) * MINUTE
    phase = (at + number * 37 * SECOND) % period / period
    return round(0.08 + 0.05 * (number % 5) + 0.4 * abs(2 * phase - 1), 3)


def state(at: int) -> dict[str, Any]:
    """Return the state of the whole cluster, as its monitor would read it from the nodes."""
    nodes = [_node_state(number, node, at) for number, node in enumerate(NODES)]
    online = sum(node["status"] == "online" for node in nodes)
    return {
        "nodes": nodes,
        "vms": [_vm_state(number, name, at) for number, name in enumerate(VMS)],
        "quorum": {"quorate": online > len(NODES) // 2, "nodes": online, "expected": len(NODES)},
    }


def _node_state(number: int, name: str, at: int) -> dict[str, Any]:
    down = is_down(name, at)
    return {
        "name": name,
        "host": f"192.168.1.{50 + number}",
        "status": "offline" if down else "online",
        "cpu": 0 if down else load(number, at),
        "maxcpu": 8,
        "mem": 0 if down else 4 * _GIB + at % 65_521 * 4_096,
        "maxmem": 16 * _GIB,
        "disk": 50 * _GIB + number * _GIB,
        "maxdisk": 500 * _GIB,
        "uptime": 0 if down else 86_400 + at // SECOND,
    }


def _vm_state(number: int, name: str, at: int) -> dict[str, Any]:
    node = NODES[number % len(NODES)]
    down = is_down(node, at)
    return {
        "vmid": FIRST_VMID + number,
        "name": name,
        "type": "lxc" if number % 3 else "qemu",
        "status": "stopped" if down else "running",
        "node": node,
        "cpu": 0 if down else load(number + 3, at),
        "maxcpu": 4,
        "mem": 0 if down else _GIB + (at + number) % 32_749 * 4_096,
        "maxmem": 4 * _GIB,
        "disk": 0,
        "maxdisk": 32 * _GIB,
        "uptime": 0 if down else 86_400 + at // SECOND,
    }
