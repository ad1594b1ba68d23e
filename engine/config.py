"""The configuration of `tickpath run CONFIG.toml`: its schema, and everything that can be wrong.

`load_config` checks the file by itself: unknown keys, types, ranges. `check_host` checks what it
names on this machine: interface, CPU, certificates. Both run before anything is touched, and raise
LocalError naming the key, what it was, what was expected and the remedy. examples/mexc.toml
explains every key. Called by: engine/app.py, engine/reader_process.py, engine/snapshots.py.
"""

from __future__ import annotations

import difflib
import grp
import re
import socket
import ssl
import tomllib
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta
from tickpath.proto.venues.mexc import requests
from tickpath.rt import limits
from tickpath.shm.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Collection

INSTANCE_LENGTH_MAX = 64
RING_CAPACITY_MIN, RING_CAPACITY_MAX = 1 << 10, 1 << 24
TAP_CAPACITY_MIN = 1 << 14  # a snapshot of 5,000 levels a side fits a quarter of it
MS_MAX = 3_600_000
LOSSLESS_DEADLINE_US_MAX = 50_000  # half of what readers take for a silent writer
PORT_COUNT_MAX = 4096  # netif.h: TP_NETIF_PORT_COUNT_MAX
KERNEL_PORT_COUNT_MIN = 1024
_INSTANCE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


def _remedy(text: str) -> dict[str, str]:
    return {"remedy": text}


Port = Annotated[int, Meta(ge=1, le=65535)]
LocalPort = Annotated[int, Meta(ge=1024, le=65535)]
Seconds = Annotated[float, Meta(gt=0.0, le=3600.0)]


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class ReaderConfig(_Section, frozen=True):
    """Where and how the hot thread runs."""

    cpu: Annotated[int, Meta(ge=0, le=8191)] | None = None
    """The CPU it is pinned to; None: wherever the kernel puts it."""
    priority: Annotated[
        int,
        Meta(
            ge=0,
            le=40,
            extra=_remedy("0: ordinary thread; SCHED_FIFO stays well below interrupts at 50"),
        ),
    ] = 0
    spin: bool = True
    """Never sleep; False: sleep 50 us at a time when nothing came for 20 us."""
    yield_to_others: bool = False
    """Sleep 60 us in each ms, so that a SCHED_FIFO thread stays below the kernel's RT limit."""
    lock_memory: bool = True
    huge_pages: bool = True
    """Frames and books stand in 2 MiB pages where enough are reserved; else it says so."""


class NetworkConfig(_Section, frozen=True):
    """Which path the bytes take."""

    interface: str | None = None
    """None: the one that the route to the venue leaves by."""
    backend: Literal["auto", "af_xdp", "kernel"] = "auto"
    mode: Literal["auto", "native zero-copy", "native copy", "generic copy"] = "auto"
    queue: Annotated[int, Meta(ge=0, le=1023)] = 0
    port_range: tuple[LocalPort, LocalPort] = (61000, 61999)
    """Local ports, first and last, that belong to tickpath alone while it runs."""


class VenueConfig(_Section, frozen=True):
    """One venue and what is read from it."""

    symbols: tuple[str, ...]
    name: Literal["mexc"] = "mexc"
    host: str = requests.WEBSOCKET_HOST
    port: Port = 443
    path: str = requests.WEBSOCKET_PATH
    rest_host: str | None = None
    """None: the venue's own for its own host, else the same as host."""
    rest_port: Port | None = None
    """None: the same as port."""
    tls: bool = True
    ca_file: str | None = None
    """Certificates (PEM) to trust instead of the system's."""
    insecure: bool = False
    """Do not verify certificate and name: for tests only."""
    server_name: str | None = None
    """The name in the certificate, where it is not host."""
    resolve: dict[str, str] = {}
    """"host:port" to IPv4 address, before DNS is asked."""
    speed: Literal["10ms", "100ms"] = "100ms"
    depth: Annotated[int, Meta(ge=1, le=requests.SNAPSHOT_LEVELS_MAX)] = (
        requests.SNAPSHOT_LEVELS_DEFAULT
    )
    """Levels a side of a REST snapshot."""
    snapshots_per_second: Annotated[
        int,
        Meta(ge=1, le=45, extra=_remedy("MEXC bans an address that asks 500 times in 10 s")),
    ] = 10
    """How many REST snapshots are fetched in a second at most, after a burst of 10."""

    @property
    def rest(self) -> tuple[str, int]:
        """Return host and port of the venue's REST service."""
        own = requests.REST_HOST if self.host == requests.WEBSOCKET_HOST else self.host
        return self.rest_host or own, self.rest_port or self.port


class ShmConfig(_Section, frozen=True):
    """What stands in shared memory."""

    ring_capacity: Annotated[
        int,
        Meta(
            ge=RING_CAPACITY_MIN,
            le=RING_CAPACITY_MAX,
            extra=_remedy("16384 slots are 1 MiB and stay in the second-level cache"),
        ),
    ] = 16384
    group: str | None = None
    """Whose members may read, and register as consumers; None: the process's own."""
    mode: Literal["0600", "0640", "0644"] = "0640"
    lossless_deadline_us: Annotated[
        int,
        Meta(
            ge=0,
            le=LOSSLESS_DEADLINE_US_MAX,
            extra=_remedy("0: the feed waits for nobody; its heartbeat stands still meanwhile"),
        ),
    ] = 0
    """How long the feed waits for lossless consumers before they are evicted."""
    waker_poll_us: Annotated[int, Meta(ge=5, le=10_000)] = 20
    """How often the waker looks for events while consumers sleep."""


class RecordConfig(_Section, frozen=True):
    """What `tickpath record` can see of the reader's raw messages."""

    tap: bool = False
    """Keep them in a ring of shared memory, instance.raw, for recorders."""
    ring_capacity: Annotated[
        int,
        Meta(
            ge=TAP_CAPACITY_MIN,
            le=RING_CAPACITY_MAX,
            extra=_remedy("262144 slots are 16 MiB; a message takes 16 bytes more than its own"),
        ),
    ] = 1 << 18
    checkpoint_s: Seconds = 10.0
    """Every LIVE book is written whole into the ring once in so long: a replay can begin there."""


class HealthConfig(_Section, frozen=True):
    """When data is too old to be trusted."""

    silent_after_ms: Annotated[
        int,
        Meta(
            ge=1,
            le=MS_MAX,
            extra=_remedy("more than the 15000 between pings, whose answers count as life"),
        ),
    ] = 20_000
    """Nothing came on a connection for so long: its books are STALE."""


class ReconnectConfig(_Section, frozen=True):
    """How patiently a lost connection is tried again: doubling from first_s to max_s, jittered."""

    first_s: Seconds = 0.1
    max_s: Seconds = 30.0
    stable_after_s: Seconds = 30.0
    """A connection that held for so long starts the next series anew."""


class Config(_Section, frozen=True, rename={"venues": "venue"}):
    """The whole file."""

    venues: tuple[VenueConfig, ...]
    instance: str = "mexc"
    """The name of the segment that strategies open."""
    reader: ReaderConfig = ReaderConfig()
    network: NetworkConfig = NetworkConfig()
    shm: ShmConfig = ShmConfig()
    record: RecordConfig = RecordConfig()
    health: HealthConfig = HealthConfig()
    reconnect: ReconnectConfig = ReconnectConfig()


# ---- types and ranges, from the schema above -----------------------------------------------------


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _describe(value: object) -> str:
    kinds = {str: "a string", bool: "a boolean", int: "an integer", float: "a number"}
    kinds |= {list: "an array", dict: "a table"}
    text = repr(value)
    shown = text if len(text) <= 80 else text[:77] + "..."
    return f"{shown} ({kinds.get(type(value), type(value).__name__)})"


def _wrong(path: str, value: object, expected: str, remedy: str = "") -> LocalError:
    return LocalError(
        f"{path} is {_describe(value)}, expected {expected}" + (f": {remedy}" if remedy else "")
    )


def _plain(limit: float) -> str:
    return str(int(limit)) if limit == int(limit) else f"{limit:g}"


def _number(kind: str, info: msgspec.inspect.IntType | msgspec.inspect.FloatType) -> str:
    low = info.ge if info.ge is not None else info.gt
    if low is None or info.le is None:
        return kind
    return f"{kind} {'from' if info.ge is not None else 'above'} {_plain(low)} to {_plain(info.le)}"


def _not_none(types: tuple[msgspec.inspect.Type, ...]) -> msgspec.inspect.Type:
    return next(one for one in types if not isinstance(one, msgspec.inspect.NoneType))


def _expected(info: msgspec.inspect.Type) -> str:
    words = "a table"
    match info:
        case msgspec.inspect.Metadata(type=inner):
            words = _expected(inner)
        case msgspec.inspect.UnionType(types=types):
            words = _expected(_not_none(types))
        case msgspec.inspect.LiteralType(values=values):
            words = "one of " + ", ".join(f'"{value}"' for value in values)
        case msgspec.inspect.IntType():
            words = _number("an integer", info)
        case msgspec.inspect.FloatType():
            words = _number("a number", info)
        case msgspec.inspect.BoolType():
            words = "true or false"
        case msgspec.inspect.StrType():
            words = "a string"
        case msgspec.inspect.VarTupleType(item_type=item):
            words = f"an array, each {_expected(item)}"
        case msgspec.inspect.TupleType(item_types=items):
            words = f"an array of {len(items)}, each {_expected(items[0])}"
        case msgspec.inspect.DictType(value_type=item):
            words = f"a table, each value {_expected(item)}"
    return words


def _in_range(value: float, info: msgspec.inspect.IntType | msgspec.inspect.FloatType) -> bool:
    return (
        (info.ge is None or value >= info.ge)
        and (info.gt is None or value > info.gt)
        and (info.le is None or value <= info.le)
    )


def _is_of(value: object, info: msgspec.inspect.Type) -> bool:
    """Tell whether a scalar is of the type and in its range."""
    if isinstance(value, bool):  # an int too, but not to people
        return isinstance(info, msgspec.inspect.BoolType)
    match info:
        case msgspec.inspect.LiteralType(values=values):
            return isinstance(value, str) and value in values
        case msgspec.inspect.StrType():
            return isinstance(value, str)
        case msgspec.inspect.IntType():
            return isinstance(value, int) and _in_range(value, info)
        case msgspec.inspect.FloatType():
            return isinstance(value, int | float) and _in_range(value, info)
    return False


def _check(value: object, info: msgspec.inspect.Type, path: str, remedy: str = "") -> None:
    """Raise LocalError for the first thing that does not fit the schema."""
    match info:
        case msgspec.inspect.Metadata(type=inner, extra=extra):
            _check(value, inner, path, (extra or {}).get("remedy", ""))
        case msgspec.inspect.UnionType(types=types):
            _check(value, _not_none(types), path, remedy)
        case msgspec.inspect.StructType():
            _check_table(value, info, path)
        case msgspec.inspect.VarTupleType(item_type=item) if isinstance(value, list):
            for index, one in enumerate(value):
                _check(one, item, f"{path}[{index}]")
        case msgspec.inspect.TupleType(item_types=items) if isinstance(value, list) and len(
            value
        ) == len(items):
            for index, one in enumerate(value):
                _check(one, items[index], f"{path}[{index}]")
        case msgspec.inspect.DictType(value_type=item) if isinstance(value, dict):
            for key, one in value.items():
                _check(one, item, _join(path, f'"{key}"'))
        case _:
            if not _is_of(value, info):
                raise _wrong(path, value, _expected(info), remedy)


def _check_table(value: object, info: msgspec.inspect.StructType, path: str) -> None:
    if not isinstance(value, dict):
        name = path.rpartition(".")[2] or "the file"
        raise _wrong(path, value, f"a table: write [{name}] above its keys")
    fields = {one.encode_name: one for one in info.fields}
    for key in value:
        if key not in fields:
            close = difflib.get_close_matches(key, fields, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(fields)}"
            raise LocalError(
                f"{_join(path, key)} is {_describe(value[key])}, expected no such key: {hint}"
            )
    for key, one in fields.items():
        if key in value:
            _check(value[key], one.type, _join(path, key))
        elif one.required:
            raise LocalError(
                f"{_join(path, key)} is missing, expected {_expected(one.type)}: "
                "examples/mexc.toml shows it"
            )


# ---- what a type cannot say ----------------------------------------------------------------------


def check_name(what: str, name: str) -> None:
    """Check the name of an instance or a strategy; raises LocalError that names `what`."""
    if not _INSTANCE.fullmatch(name) or len(name) > INSTANCE_LENGTH_MAX:
        raise _wrong(
            what,
            name,
            f"1 to {INSTANCE_LENGTH_MAX} letters, digits, '.', '_' or '-', not '.' first",
            "it becomes part of a file's name",
        )


def _check_symbols(venue: VenueConfig, path: str) -> None:
    if not venue.symbols:
        raise _wrong(f"{path}.symbols", [], "at least one symbol", 'as in symbols = ["BTCUSDT"]')
    seen: dict[str, int] = {}
    for index, symbol in enumerate(venue.symbols):
        place = f"{path}.symbols[{index}]"
        try:
            requests.depth_channel(symbol, venue.speed)
        except ValueError as error:
            raise LocalError(f"{place} is {_describe(symbol)}: {error}") from error
        if symbol in seen:
            first = f"{path}.symbols[{seen[symbol]}]"
            raise _wrong(place, symbol, f"each symbol once, and it is {first} already", "remove it")
        seen[symbol] = index


def _check_names(venue: VenueConfig, path: str) -> None:
    for key in ("host", "rest_host", "server_name"):
        name = getattr(venue, key)
        if name is not None and not _HOST.fullmatch(name):
            raise _wrong(f"{path}.{key}", name, "a host name or an IPv4 address", "no port, no URL")
    if not venue.path.startswith("/") or any(not "!" <= c <= "~" for c in venue.path):
        raise _wrong(f"{path}.path", venue.path, 'printable ASCII that begins with "/"')
    for key, address in venue.resolve.items():
        place = f'{path}.resolve."{key}"'
        host, _, port = key.rpartition(":")
        if not _HOST.fullmatch(host) or not port.isascii() or not port.isdigit():
            raise _wrong(place, address, f'a key "host:port", not {key!r}')
        try:
            IPv4Address(address)
        except AddressValueError as error:
            raise _wrong(place, address, "an IPv4 address", str(error)) from error


def _check_values(config: Config) -> None:
    check_name("instance", config.instance)
    if len(config.venues) != 1:
        raise LocalError(
            f"venue stands {len(config.venues)} times, expected one [[venue]]: "
            "run one instance for each"
        )
    _check_symbols(config.venues[0], "venue[0]")
    _check_names(config.venues[0], "venue[0]")
    low, high = config.network.port_range
    if low > high:
        raise _wrong("network.port_range", [low, high], "the first port not above the last")
    if high - low + 1 > PORT_COUNT_MAX:
        raise _wrong(
            "network.port_range",
            [low, high],
            f"at most {PORT_COUNT_MAX} ports",
            f"no other program can use them meanwhile; [{low}, {low + PORT_COUNT_MAX - 1}] fits",
        )
    for section in ("shm", "record"):
        capacity = getattr(config, section).ring_capacity
        if capacity & (capacity - 1):
            below = 1 << (capacity.bit_length() - 1)
            remedy = f"{below} or {2 * below}"
            raise _wrong(f"{section}.ring_capacity", capacity, "a power of two", remedy)
    if config.reconnect.first_s > config.reconnect.max_s:
        raise _wrong(
            "reconnect.first_s",
            config.reconnect.first_s,
            f"at most max_s, {config.reconnect.max_s}",
        )


def parse_config(text: str) -> Config:
    """Check a configuration's text; raises LocalError without the file's name."""
    try:
        raw: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise LocalError(f"not TOML: {error}") from error
    _check(raw, msgspec.inspect.type_info(Config), "")
    config = msgspec.convert(raw, Config)
    _check_values(config)
    return config


def load_config(path: Path | str) -> Config:
    """Read and check a configuration file. Raises LocalError."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise LocalError(
            f"configuration {path}: {reason}; expected a readable TOML file: "
            "examples/mexc.toml is one to copy"
        ) from error
    try:
        return parse_config(text)
    except LocalError as error:
        raise LocalError(f"{path}: {error}") from error.__cause__


# ---- this machine --------------------------------------------------------------------------------


def _check_interface(name: str, interfaces: Collection[str] | None) -> None:
    # Not /sys/class/net: it shows the namespace that sysfs was mounted in, not necessarily ours.
    present = sorted(interfaces or (name for _, name in socket.if_nameindex()))
    if name not in present:
        raise _wrong(
            "network.interface", name, f"one of {', '.join(present) or 'none'}", "see `ip link`"
        )


def _check_certificates(name: str) -> None:
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cafile=name)
        count = len(context.get_ca_certs()) + context.cert_store_stats()["x509"]
    except ssl.SSLError as error:
        raise _wrong(
            "venue[0].ca_file", name, "certificates in PEM form", error.reason or str(error)
        ) from error
    except OSError as error:
        raise _wrong(
            "venue[0].ca_file", name, "a readable file of PEM certificates", str(error.strerror)
        ) from error
    if count == 0:
        raise _wrong("venue[0].ca_file", name, "at least one certificate in PEM form")


def _check_ports(low: int, high: int) -> None:
    """Leave the kernel enough of the ports that it gives to connections of its own."""
    name = "/proc/sys/net/ipv4/ip_local_port_range"
    first, last = map(int, Path(name).read_text(encoding="ascii").split())
    taken = max(0, min(high, last) - max(low, first) + 1)
    if taken > 0 and last - first + 1 - taken < KERNEL_PORT_COUNT_MIN:
        raise _wrong(
            "network.port_range",
            [low, high],
            f"{KERNEL_PORT_COUNT_MIN} of the kernel's own ports {first}-{last} left to it",
            f"choose ports outside them, see {name}",
        )


def _check_group(name: str) -> None:
    try:
        grp.getgrnam(name)
    except (KeyError, ValueError) as error:
        raise _wrong(
            "shm.group", name, "a group of this machine", f"groupadd {name}, see /etc/group"
        ) from error


def check_host(config: Config, *, interfaces: Collection[str] | None = None) -> None:
    """Check what the configuration names on this machine. Raises LocalError; changes nothing.

    interfaces: None for those of this network namespace.
    """
    if config.network.interface is not None:
        _check_interface(config.network.interface, interfaces)
    _check_ports(*config.network.port_range)
    cpus = limits.available_cpus()
    if config.reader.cpu is not None and config.reader.cpu not in cpus:
        raise _wrong(
            "reader.cpu",
            config.reader.cpu,
            f"one of the CPUs that this process may use, {limits.format_cpu_list(cpus)}",
        )
    if config.shm.group is not None:
        _check_group(config.shm.group)
    venue = config.venues[0]
    if venue.tls and venue.ca_file is not None:
        _check_certificates(venue.ca_file)
