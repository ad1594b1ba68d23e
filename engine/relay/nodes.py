"""Connections to one Redis, or to every primary of a cluster, and what went wrong with them.

redis-py connects, authenticates, speaks TLS and parses (with hiredis); this file asks the cluster
for its slots and tells errors by who is to blame. Blocking sockets: the relay looks with
`can_read` before it reads. Called by: publisher, follower.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec
from hiredis import pack_command
from redis.backoff import NoBackoff
from redis.connection import Connection, SSLConnection
from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.retry import Retry
from tickpath.shm.errors import LocalError, RemoteError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PORT_DEFAULT = 6379
SLOT_COUNT = 16384
TIMEOUT_S = 5.0
CONNECT_TIMEOUT_S = 3.0
# Answers that another node, or a later try, may not give.
ELSEWHERE = (
    AskError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    ReadOnlyError,
    TryAgainError,
)
Address = tuple[str, int]


class NodeError(RemoteError):
    """Say what a Redis answered or failed to; `is_lasting` where trying again cannot help."""

    def __init__(self, message: str, *, is_lasting: bool = False) -> None:
        super().__init__(message)
        self.is_lasting = is_lasting


class RedisOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Where Redis is and how to be let in."""

    host: str
    port: int = PORT_DEFAULT
    database: int = 0
    tls: bool = False
    username: str | None = None
    password: str | None = None
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None

    def __repr__(self) -> str:
        """Show where, never the password."""
        return f"RedisOptions({self.url})"

    @property
    def url(self) -> str:
        """Return the address without user and password."""
        scheme = "rediss" if self.tls else "redis"
        return f"{scheme}://{self.host}:{self.port}/{self.database}"


def read_url(url: str) -> dict[str, Any]:
    """Return the fields of RedisOptions that stand in redis://[user@]host[:port][/database]."""
    try:
        parts = urlsplit(url)
        port = parts.port or PORT_DEFAULT
    except ValueError as error:
        raise LocalError(f"{url!r}: {error}; expected redis://host:port/0") from error
    if parts.scheme not in ("redis", "rediss") or not parts.hostname:
        raise LocalError(f"{url!r}: expected redis://host:port/0, or rediss:// for TLS")
    if parts.password is not None:
        raise LocalError(
            "a password in the URL is seen by everybody on this machine: use --password-file "
            "or the environment variable TICKPATH_REDIS_PASSWORD"
        )
    database = parts.path.strip("/") or "0"
    if not database.isdigit() or parts.query or parts.fragment:
        raise LocalError(f"{url!r}: expected redis://host:port/0 with nothing behind it")
    return {
        "host": parts.hostname,
        "port": port,
        "database": int(database),
        "tls": parts.scheme == "rediss",
        "username": parts.username,
    }


class NodeConnection:
    """One connection that is let in: many commands out, their answers in."""

    def __init__(self, made: Any, address: Address) -> None:
        self._made = made  # redis-py's, whose methods have no types
        self.host, self.port = address

    def send(self, commands: Sequence[tuple[Any, ...]]) -> None:
        """Send commands, words of bytes or numbers; raises RedisError or OSError."""
        packed = b"".join([pack_command(one) for one in commands])
        self._made.send_packed_command([packed], check_health=False)

    def can_read(self, timeout_s: float) -> bool:
        """Wait for the beginning of an answer; raises where the node closed."""
        return bool(self._made.can_read(timeout_s))

    def answer(self) -> Any:
        """Read one answer, strings as bytes; raises ResponseError for an error, RedisError else."""
        return self._made.read_response(disable_decoding=True)

    def close(self) -> None:
        """Disconnect."""
        self._made.disconnect()


def connect(options: RedisOptions, address: Address | None = None) -> NodeConnection:
    """Return a connection that is let in; raises NodeError."""
    host, port = address or (options.host, options.port)
    chosen: dict[str, Any] = {
        "host": host,
        "port": port,
        "db": options.database,
        "username": options.username,
        "password": options.password,
        "socket_timeout": TIMEOUT_S,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_read_size": 1 << 18,
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
        "driver_info": None,  # no CLIENT SETINFO, which Redis 7.0 does not know
    }
    kind: Any = Connection
    if options.tls:
        kind = SSLConnection
        chosen |= {
            "ssl_ca_certs": options.ca_file,
            "ssl_certfile": options.cert_file,
            "ssl_keyfile": options.key_file,
            "ssl_min_version": ssl.TLSVersion.TLSv1_2,
        }
    try:
        made = kind(**chosen)
        made.connect()
    except (RedisError, OSError) as error:
        raise told(error, f"{host}:{port}", options) from error
    return NodeConnection(made, (host, port))


def told(error: Exception, where: str, options: RedisOptions) -> NodeError:
    """Return an error that names the place, what happened, and the remedy."""
    text = f"redis {where}: {' '.join(str(error).split())}"
    if isinstance(error, NoPermissionError):
        remedy = "the ACL user lacks a right: docs/relay.md lists those needed"
        return NodeError(f"{text}: {remedy}", is_lasting=True)
    if isinstance(error, AuthenticationError) or "NOAUTH" in str(error):
        user = options.username or "default"
        remedy = f"check user {user!r} and its password (--password-file)"
        return NodeError(f"{text}: {remedy}", is_lasting=True)
    if isinstance(error, FileNotFoundError | ssl.SSLError) or "certificate" in str(error).lower():
        remedy = "check --ca-file, --cert-file, --key-file, and the host's name"
        return NodeError(f"{text}: {remedy}", is_lasting=True)
    return NodeError(text)


def call(connection: NodeConnection, options: RedisOptions, *words: bytes | str | int) -> Any:
    """Send one command and wait for its answer; raises NodeError."""
    where = f"{connection.host}:{connection.port}"
    try:
        connection.send([words])
        return connection.answer()
    except ResponseError as error:
        raise told(error, where, options) from error
    except (RedisError, OSError) as error:
        connection.close()
        raise told(error, where, options) from error


def first_that_answers(options: RedisOptions, seeds: Iterable[Address]) -> NodeConnection:
    """Return a connection to the first of these that lets us in; raises what the first said."""
    trouble = NodeError(f"redis {options.host}:{options.port}: no address to try")
    for number, seed in enumerate(dict.fromkeys(seeds)):
        try:
            return connect(options, seed)
        except NodeError as error:
            if error.is_lasting:
                raise
            trouble = trouble if number else error
    raise trouble


def is_elsewhere(error: Exception) -> bool:
    """Say whether the answer means that another node has the key now, or will."""
    return isinstance(error, ELSEWHERE)


class Slots:
    """Which node has which key: one for all, or the primaries of a cluster."""

    def __init__(self, ranges: Iterable[tuple[int, int, Address]] = ()) -> None:
        self._ranges = sorted(ranges)
        self.is_cluster = bool(self._ranges)

    def addresses(self) -> list[Address]:
        """Return every primary of the cluster; none where there is one node alone."""
        return list(dict.fromkeys(address for _, _, address in self._ranges))

    def owner(self, key: bytes, single: Address) -> Address:
        """Return the address for a key; raises NodeError where no node serves its slot."""
        if not self.is_cluster:
            return single
        slot = key_slot(key)
        for first, last, address in self._ranges:
            if first <= slot <= last:
                return address
        raise NodeError(f"cluster slot {slot} has no node: repair the cluster")


def discover(connection: NodeConnection, options: RedisOptions) -> Slots:
    """Ask for the cluster's slots; one node alone has none. Raises NodeError."""
    try:
        answer = call(connection, options, "CLUSTER", "SLOTS")
    except NodeError as error:
        if "cluster support disabled" in str(error):
            return Slots()
        raise
    return Slots(read_slots(answer, str(connection.host)))


def read_slots(answer: object, asked_host: str) -> list[tuple[int, int, Address]]:
    """Check the answer to CLUSTER SLOTS; raises NodeError where it is none."""
    ranges = []
    try:
        for first, last, primary, *_ in answer:  # type: ignore[attr-defined] # checked by trying
            host, port = primary[0], primary[1]
            name = (host.decode() if isinstance(host, bytes) else host) or asked_host
            if not (0 <= first <= last < SLOT_COUNT and 0 < port < 1 << 16):
                raise ValueError(f"slots {first} to {last} at port {port}")
            ranges.append((int(first), int(last), (str(name), int(port))))
    except (TypeError, ValueError, IndexError, UnicodeDecodeError) as error:
        raise NodeError(f"redis {asked_host}: CLUSTER SLOTS answered {error}") from error
    if not ranges:
        raise NodeError(
            f"redis {asked_host}: the cluster has no slots assigned: redis-cli --cluster create"
        )
    return ranges
