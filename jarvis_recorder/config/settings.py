"""The settings: their names, types, bounds and defaults."""

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)

from jarvis_recorder.net import amqp_url, database_url
from jarvis_recorder.net.addresses import Addresses, check_node
from jarvis_recorder.net.listen_address import host_and_port
from jarvis_recorder.net.tls import Tls
from jarvis_recorder.retention_policy import Bounds, RetentionPolicy
from jarvis_recorder.runtime.texts import from_json


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _of_its_kind(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse true and false as numbers, and a NUL; take an empty variable for no file."""
        kind = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool) and kind is not bool:
            raise ValueError("must not be true or false")
        if any("\0" in text for text in _texts_of(value)):
            raise ValueError("must not hold a NUL character")
        return None if value == "" and kind == Path | None else value


def _texts_of(value: Any) -> Iterator[str]:
    """Yield the texts in a value of TOML or JSON, however deep they lie."""
    ahead = [value]
    while ahead:
        one = ahead.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, list):
            ahead += one
        elif isinstance(one, dict):
            ahead += (*one, *one.values())


def _parsed(value: Any, example: str) -> Any:
    """Parse JSON from sources that have only text: the environment, the command line."""
    if not isinstance(value, str):
        return value
    try:
        return from_json(value)
    except ValueError:
        raise ValueError(f"must be JSON, such as {example}") from None


class BrokerSettings(_Section):
    """The connection to RabbitMQ."""

    url: SecretStr = Field(
        SecretStr("amqp://guest:guest@localhost:5672/"),
        description="amqp:// or amqps:// address of the broker, with user and virtual host",
    )
    also: list[str] = Field(
        [],
        description="the other nodes of a cluster, as a JSON array of HOST or HOST:PORT; tried in "
        "turn, with user, virtual host and TLS of broker.url",
    )
    topology: Literal["declare", "passive"] = Field(
        "declare",
        description="declare exchanges and queues on start, or only check that they are there",
    )
    heartbeat: Annotated[int, Field(ge=1, le=60)] = Field(
        10,
        description="seconds between heartbeats; after three without a byte the connection is closed",
    )
    ca_file: Path | None = Field(
        None,
        description="PEM file of the authorities to trust for amqps://, instead of the system's",
    )
    cert_file: Path | None = Field(None, description="PEM; the client certificate to show")
    key_file: Path | None = Field(None, description="PEM; its key, where not in cert_file")

    @property
    def tls(self) -> Tls:
        return Tls(self.ca_file, self.cert_file, self.key_file)

    def new_addresses(self) -> Addresses:
        """Return the addresses; they note for their owner which comes first."""
        return Addresses(self.url.get_secret_value(), self.also)

    @field_validator("also", mode="before")
    @classmethod
    def _also_from_json(cls, value: Any) -> Any:
        return _parsed(value, '["node2:5672", "node3:5672"]')

    @field_validator("also")
    @classmethod
    def _names_nodes(cls, also: list[str]) -> list[str]:
        for node in also:
            check_node(node)
        return also

    @field_validator("url")
    @classmethod
    def _names_a_broker(cls, url: SecretStr) -> SecretStr:
        amqp_url.check(url.get_secret_value())
        return url


# `ByteSize` takes the beginning of a text: 90% would be 90 bytes.
_SIZE: Final = re.compile(
    r"\s*(?:[0-9]+\s*B?|[0-9]+(?:\.[0-9]+)?\s*[KMGTPE]i?B?)\s*", re.IGNORECASE
)
# Less than the smallest database takes: a unit was left out.
_LEAST_ROOM: Final = 256 * 1024
_MOST_ROOM: Final = 2**63 - 1


def _with_its_unit(value: Any) -> Any:
    if isinstance(value, float) or (isinstance(value, str) and _SIZE.fullmatch(value) is None):
        raise ValueError("must be a size, such as 20GiB")
    return value


def _of_a_disk(size: ByteSize) -> ByteSize:
    if 0 < size < _LEAST_ROOM:
        raise ValueError("must be 0, or at least 256 KiB: name a unit, as in 20GiB")
    if size > _MOST_ROOM:
        raise ValueError("must be less than 8 EiB")
    return size


_Size = Annotated[ByteSize, BeforeValidator(_with_its_unit), AfterValidator(_of_a_disk)]


class StoreSettings(_Section):
    """The database that holds the records."""

    url: SecretStr = Field(
        SecretStr(""),
        description="sqlite:///path, or postgresql://user:password@host/database; by default "
        "recorder.db in a state directory",
    )
    on_corruption: Literal["stop", "quarantine"] = Field(
        "stop",
        description="a damaged file: stop, or move it aside, begin a new one, and continue",
    )
    budget: _Size = Field(
        ByteSize(0),
        description="the most the database may take, such as 20GiB; 0: no bound. The least "
        "important records are deleted before it is reached",
    )
    keep_free: _Size = Field(
        ByteSize(0),
        description="room that is left free on its disk in the same way, such as 1GiB; 0: none",
    )
    partitions: Literal["off", "month"] = Field(
        "off",
        description="of a new database on a server: month has the events partitioned by month, so "
        "that whole months are dropped",
    )

    @field_validator("url")
    @classmethod
    def _names_a_host(cls, url: SecretStr) -> SecretStr:
        database_url.check(url.get_secret_value())
        return url

    @property
    def by_month(self) -> bool:
        return self.partitions == "month"


_Days = Annotated[int, Field(ge=0, le=36_500)]


class RetentionSettings(_Section):
    """Days that records are kept; 0 is for ever. Unresolved alerts stay in any case."""

    info: _Days = Field(0, description="events of severity info")
    warning: _Days = Field(0, description="events of severity warning")
    error: _Days = Field(0, description="events of severity error")
    critical: _Days = Field(0, description="events of severity critical")
    snapshots_hourly_after: _Days = Field(
        0, description="older snapshots are thinned to the last of each hour"
    )
    snapshots_daily_after: _Days = Field(
        0, description="older snapshots are thinned to the last of each day"
    )
    snapshots: _Days = Field(0, description="snapshots; the newest of a cluster stays")
    turns: _Days = Field(0, description="turns of conversations, and what search knows of them")


class IncidentSettings(_Section):
    """The incidents that are made of events."""

    quiet_hours: Annotated[int, Field(ge=1, le=8_760)] = Field(
        48, description="hours without a problem after which the next one opens a new incident"
    )
    rules: Path | None = Field(
        None,
        description="TOML file of rules, which come before those shipped; see docs/incidents.md",
    )


class IngestSettings(_Section):
    """Bounds of consuming."""

    prefetch: Annotated[int, Field(ge=1, le=65_535)] = Field(
        10_000,
        description="messages of one queue that may be under way unsettled; of snapshots at most 100",
    )


class RpcSettings(_Section):
    """The permissions and bounds of requests."""

    concurrency: Annotated[int, Field(ge=1, le=1_000)] = Field(
        16, description="requests that may be under way together"
    )
    permissions: dict[str, list[str]] = Field(
        {},
        description="for each user the methods it may call, with * as in events.*; empty: every user may call every method",
    )

    @field_validator("permissions", mode="before")
    @classmethod
    def _from_json(cls, value: Any) -> Any:
        return _parsed(value, '{"dashboard": ["events.*"]}')

    @field_validator("permissions")
    @classmethod
    def _names_methods(cls, permissions: dict[str, list[str]]) -> dict[str, list[str]]:
        # Where no permission is given, a command that calls no method begins without them.
        from jarvis_recorder.wire.rpc.methods import BY_NAME

        for user, patterns in permissions.items():
            for pattern in patterns:
                if not any(fnmatchcase(name, pattern) for name in BY_NAME):
                    raise ValueError(f"{pattern!r} of user {user!r} fits no method")
        return permissions


class LogSettings(_Section):
    """The log."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level")
    format: Literal["auto", "console", "json"] = Field(
        "auto", description="auto is console on a terminal and json elsewhere"
    )


class HttpSettings(_Section):
    """The HTTP server of health and metrics."""

    listen: str = Field("127.0.0.1:9464", description="address and port; empty: no server")

    @field_validator("listen")
    @classmethod
    def _names_an_address(cls, listen: str) -> str:
        if listen:
            host_and_port(listen)
        return listen


class GatewaySettings(_Section):
    """The HTTP gateway: its address, passwords and tokens."""

    listen: str = Field("127.0.0.1:8080", description="address and port of the dashboard and REST")
    password_hash: SecretStr = Field(
        SecretStr(""), description="the operator's password; `gateway passwd` makes it"
    )
    reader_password_hash: SecretStr = Field(
        SecretStr(""), description="the password of those who may only read, where there is one"
    )
    token_secret: SecretStr = Field(
        SecretStr(""), description="signs the tokens; `gateway passwd` makes it"
    )
    token_days: Annotated[int, Field(ge=1, le=365)] = Field(
        7, description="days that a token is valid"
    )
    issuer: str = Field("jarvis-recorder", min_length=1, description="`iss` that tokens name")
    audience: str = Field("jarvis-recorder", min_length=1, description="`aud` that tokens name")
    jwks_file: str = Field(
        "", description="public keys of another issuer (JWKS), whose tokens are taken instead"
    )
    cors_origins: list[str] = Field(
        [], description="origins whose pages may call the gateway, as a JSON array"
    )
    trusted_proxies: list[str] = Field(
        [],
        description="addresses or networks of reverse proxies whose X-Forwarded-For is believed, "
        "as a JSON array; empty: none is",
    )

    @field_validator("listen")
    @classmethod
    def _names_an_address(cls, listen: str) -> str:
        host_and_port(listen)
        return listen

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _from_json(cls, value: Any) -> Any:
        return _parsed(value, '["https://home.example"]')

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _proxies_from_json(cls, value: Any) -> Any:
        return _parsed(value, '["127.0.0.1"]')

    @field_validator("trusted_proxies")
    @classmethod
    def _names_networks(cls, proxies: list[str]) -> list[str]:
        for proxy in proxies:
            try:
                ip_network(proxy)
            except ValueError as error:
                raise ValueError(f"names no proxy: {error}") from None
        return proxies


class Settings(BaseModel):
    """All settings, valid and frozen."""

    model_config = _Section.model_config

    broker: BrokerSettings = BrokerSettings()
    store: StoreSettings = StoreSettings()
    retention: RetentionSettings = RetentionSettings()
    incidents: IncidentSettings = IncidentSettings()
    ingest: IngestSettings = IngestSettings()
    rpc: RpcSettings = RpcSettings()
    log: LogSettings = LogSettings()
    http: HttpSettings = HttpSettings()
    gateway: GatewaySettings = GatewaySettings()


NAMES: Final = tuple(
    f"{section}.{name}"
    for section, field in Settings.model_fields.items()
    for name in (field.annotation.model_fields if field.annotation else ())
)


def policy_of(settings: RetentionSettings) -> RetentionPolicy:
    """Return the policy that the settings describe."""
    return RetentionPolicy(
        events={
            "info": settings.info,
            "warning": settings.warning,
            "error": settings.error,
            "critical": settings.critical,
        },
        snapshots_hourly_after=settings.snapshots_hourly_after,
        snapshots_daily_after=settings.snapshots_daily_after,
        snapshots=settings.snapshots,
        turns=settings.turns,
    )


def bounds_of(settings: Settings) -> Bounds:
    """Return the bounds of the database that the settings describe."""
    store = settings.store
    return Bounds(
        policy=policy_of(settings.retention),
        budget=int(store.budget),
        keep_free=int(store.keep_free),
    )
