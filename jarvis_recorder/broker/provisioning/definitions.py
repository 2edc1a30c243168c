"""The broker's definitions, for `rabbitmqctl import_definitions`: users, rights, topology."""

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

from jarvis_recorder.broker.provisioning.roles import ROLES, BrokerUser
from jarvis_recorder.broker.topology import whole
from jarvis_recorder.wire.topics import EXCHANGE


def password_hash(password: str, salt: bytes) -> str:
    """Return the hash that RabbitMQ stores of a password (`rabbit_password_hashing_sha256`)."""
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def definitions(
    vhost: str, hashes: Mapping[str, str], *, in_a_cluster: bool = False
) -> dict[str, Any]:
    """
    Return all definitions that the recorder and its clients need on a broker.

    `hashes` has the password hash of each role; a role without one can log in only by a client
    certificate.
    """
    exchanges, queues = whole(in_a_cluster=in_a_cluster)
    return {
        "vhosts": [{"name": vhost}],
        "users": [_user(role, hashes.get(role.name, "")) for role in ROLES],
        "permissions": [
            {
                "user": role.name,
                "vhost": vhost,
                "configure": role.configure,
                "write": role.write,
                "read": role.read,
            }
            for role in ROLES
        ],
        "topic_permissions": [
            {
                "user": role.name,
                "vhost": vhost,
                "exchange": EXCHANGE,
                "write": role.publishes,
                "read": role.tails,
            }
            for role in ROLES
        ],
        "exchanges": [
            {
                "name": exchange.name,
                "vhost": vhost,
                "type": exchange.type,
                "durable": True,
                "auto_delete": False,
                "internal": False,
                "arguments": {},
            }
            for exchange in exchanges
        ],
        "queues": [
            {
                "name": queue.name,
                "vhost": vhost,
                "durable": True,
                "auto_delete": False,
                "arguments": dict(queue.arguments),
            }
            for queue in queues
        ],
        "bindings": [
            {
                "source": queue.exchange,
                "vhost": vhost,
                "destination": queue.name,
                "destination_type": "queue",
                "routing_key": queue.routing_key,
                "arguments": {},
            }
            for queue in queues
        ],
        "parameters": [],
        "policies": [],
    }


def _user(role: BrokerUser, password: str) -> dict[str, Any]:
    return {
        "name": role.name,
        "password_hash": password,
        "hashing_algorithm": "rabbit_password_hashing_sha256",
        "tags": list(role.tags),
        "limits": {},
    }
