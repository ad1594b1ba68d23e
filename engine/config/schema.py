"""The sections of a configuration: keys, types, ranges, defaults.

Called by: check.py, and whoever reads a checked configuration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta
from tickpath._core import lib
from tickpath.proto.venue import Endpoint
from tickpath.proto.venues import DEFAULT_NAME, load_venue

if TYPE_CHECKING:
    from tickpath.proto.venue import BaseSource, Venue

RING_CAPACITY_MIN, RING_CAPACITY_MAX = 1 << 10, 1 << 24
TAP_CAPACITY_MIN = 1 << 14  # a base of 5,000 levels a side fits a quarter of it
MS_MAX = 3_600_000
RACE_MAX = int(lib.TP_RACE_COUNT_MAX)
KEEP_BYTES_MIN, KEEP_BYTES_MAX = 1 << 16, 1 << 36
REST_PORT = 443  # of HTTPS, whatever the port of the venue's WebSocket
RENAMED = {"reader": "feed_handler"}  # sections: their names of the version before, still accepted
SPLIT: Final = "split"
INLINE_NATIVE: Final = "inline-native"
LOSSLESS_DEADLINE_US_MAX = 50_000  # half of what readers take for a silent writer


def _remedy(text: str) -> dict[str, str]:
    return {"remedy": text}


Port = Annotated[int, Meta(ge=1, le=65535)]
LocalPort = Annotated[int, Meta(ge=1024, le=65535)]
Seconds = Annotated[float, Meta(gt=0.0, le=3600.0)]


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class FeedHandlerConfig(_Section, frozen=True):
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
    rehearse: Literal["auto", "on", "off"] = "auto"
    """on: recent messages go through the path again while nothing comes; auto: where that is
    measured to make messages behind a silence cheaper. With AF_XDP and spin only."""
    rehearse_share: Annotated[
        float,
        Meta(gt=0.0, le=0.5, extra=_remedy("0.05: at most a twentieth of the idle core")),
    ] = 0.05


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
    """One venue and what is read from it: the keys that all venues have, and its own."""

    symbols: tuple[str, ...]
    """By the venue's own names or the canonical ones."""
    name: str = DEFAULT_NAME
    host: str | None = None
    """None: the venue's own, as for port and path."""
    port: Port | None = None
    path: str | None = None
    rest_host: str | None = None
    """None: the venue's own for its own host, else the same as host."""
    rest_port: Port | None = None
    """None: the same as port; where that is left out too, 443."""
    tls: bool = True
    ca_file: str | None = None
    """Certificates (PEM) to trust instead of the system's."""
    insecure: bool = False
    """Do not verify certificate and name: for tests only."""
    server_name: str | None = None
    """The name in the certificate, where it is not host."""
    race: Annotated[
        int,
        Meta(
            ge=1,
            le=RACE_MAX,
            extra=_remedy("1: one connection for each stream; more: the first copy of each counts"),
        ),
    ] = 1
    """Over how many connections the same is read at once, where the venue's numbers allow it."""
    overlap: bool = False
    """A connection that is to be replaced, since it is old or the venue says that it ends, is
    replaced by one that carries its books already. Of a race the others do, without this."""
    addresses: tuple[str, ...] = ()
    """IPv4 addresses of its WebSocket host to connect to, instead of what DNS has."""
    resolve: dict[str, str] = {}
    """"host:port" to IPv4 address, before DNS is asked."""
    settings: Any = None
    """The venue's own keys, an object of its `settings`; None: all their defaults."""

    def __post_init__(self) -> None:
        """Take the venue's defaults; raises ValueError for a venue that is not known."""
        if self.settings is None:
            msgspec.structs.force_setattr(self, "settings", self.venue.settings())

    @property
    def seats(self) -> int:
        """Return how many connections may carry the same at once, successors included."""
        return 2 if self.overlap and self.race == 1 else self.race

    @property
    def has_successors(self) -> bool:
        """Say whether a connection is replaced by another one beside it, which is closed else."""
        return self.seats > self.race

    @property
    def venue(self) -> Venue:
        """Return the venue itself."""
        return load_venue(self.name)

    @property
    def base_source(self) -> BaseSource:
        """Return where bases come from."""
        return self.venue.base_from(self.settings)

    def endpoint(self, own: Endpoint) -> Endpoint:
        """Return where to go instead of the venue's own endpoint."""
        host, path, port = self.host or own.host, self.path or own.path, self.port or own.port
        return Endpoint(host, path, port, own.headers, own.credentials)

    @property
    def rest(self) -> tuple[str, int]:
        """Return host and port of the venue's REST service."""
        venue = self.venue
        (channel, *_) = venue.channels(venue.example_symbol, self.settings)
        own = venue.endpoint(channel, self.settings)
        here = self.endpoint(own)
        host = venue.rest_host if here.host == own.host else here.host
        return self.rest_host or host, self.rest_port or self.port or REST_PORT


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
    instrument_spare: Annotated[int, Meta(ge=0, le=4096)] = 16
    """How many instruments may come while the feed handler runs (SIGHUP); each costs a book."""
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
    """What `tickpath record` can see of the feed handler's raw messages."""

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
    verify_quiet_after_s: Seconds = 60.0
    """A book without a message of its own for so long is LIVE only if it was proved meanwhile."""
    verify_max_s: Seconds = 600.0
    """Where the venue's budget cannot prove all quiet books so soon, it takes so long at most."""
    list_every_s: Annotated[
        float, Meta(ge=10.0, le=86400.0, extra=_remedy("an instrument list is large: 300 is often"))
    ] = 300.0
    """The venue's instrument list is read again: what it does not trade is not LIVE."""
    keep_s: Seconds = 30.0
    """Messages of a book that waits for a base are kept for so long: it may lag as much."""
    keep_bytes: (
        Annotated[
            int,
            Meta(
                ge=KEEP_BYTES_MIN,
                le=KEEP_BYTES_MAX,
                extra=_remedy("3000000 is one book of 100 kB/s for 30 s"),
            ),
        ]
        | None
    ) = None
    """What all books that wait may keep together; None: by their number, 8 MiB or more."""


class ReconnectConfig(_Section, frozen=True):
    """How patiently a lost connection is tried again: doubling from first_s to max_s, jittered."""

    first_s: Seconds = 0.1
    max_s: Seconds = 30.0
    stable_after_s: Seconds = 30.0
    """A connection that held for so long starts the next series anew."""


class StrategyConfig(_Section, frozen=True):
    """One strategy of this instance: its code, and in which process that runs."""

    name: str
    """Of its figures; once an instance."""
    source: str
    """"file.py:Class", "file.py:function" or "library.so:symbol"."""
    placement: Literal["split", "inline-native"] = SPLIT
    """A process of its own, which `tickpath strategy` starts, or the feed handler's hot thread."""
    trust_strategy: bool = False
    """It may run inline: with the feed handler's memory, and its fate."""
    instruments: tuple[str, ...] = ()
    """"SYMBOL" or "venue:SYMBOL"; none: all, also those to come."""
    parameters: dict[str, int | float] = {}
    """What its state begins with."""


class Config(_Section, frozen=True, rename={"venues": "venue", "strategies": "strategy"}):
    """The whole file."""

    venues: tuple[VenueConfig, ...]
    instance: str = ""
    """The name of the segment that strategies open; left out: the venue's."""
    feed_handler: FeedHandlerConfig = FeedHandlerConfig()
    network: NetworkConfig = NetworkConfig()
    shm: ShmConfig = ShmConfig()
    record: RecordConfig = RecordConfig()
    health: HealthConfig = HealthConfig()
    reconnect: ReconnectConfig = ReconnectConfig()
    strategies: tuple[StrategyConfig, ...] = ()

    def __post_init__(self) -> None:
        """Name the instance after the venue."""
        if not self.instance and self.venues:
            msgspec.structs.force_setattr(self, "instance", self.venues[0].name)
