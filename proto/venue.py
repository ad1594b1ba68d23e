"""The venue seam, Python's side: all that the engine asks of a venue, as one frozen object.

A venue is the folder proto/venues/<name>; its `venue.py` has the object, `VENUE`, of the Protocol
`Venue` below. Nothing here does I/O, reads a clock or keeps state: bytes, settings and times in,
bytes and records out. The engine connects, waits, retries and logs. C's side of the seam decodes
what comes every microsecond; this side says what is asked and reads what comes every minute.
Called by: proto/venues, engine (configuration, plan, connections, bases, simulator).
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from tickpath.proto.instrument import Instrument, Status, Symbol

SECONDS_DIGITS_MAX: Final = 9
VERSION_MAX: Final = (1 << 64) - 1
UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are no such JSON, or nested too deep to be read."""


class Meaning(Enum):
    """What a message of a venue says; the same as C's enum tp_meaning."""

    BASE = "base"
    """A whole book that a sync starts from."""
    DELTA = "delta"
    TOP = "top"
    TRADES = "trades"
    ACKNOWLEDGEMENT = "acknowledgement"
    """The channels that it names are subscribed to; where it names a request alone, that one's."""
    REFUSAL = "refusal"
    """Not accepted: its channels; where it names none, its request's, or else all pending ones."""
    HEARTBEAT = "heartbeat"
    """A ping or a pong of theirs: proves the connection, never a book."""
    NOTICE = "notice"
    """Whatever else the venue says: shutdown, maintenance, errors; `reason` has its words."""
    STATUS = "status"
    """An instrument may be traded from now on, or no longer."""
    OWN = "own"
    """News of one's own orders or account."""
    UNKNOWN = "unknown"
    BROKEN = "broken"


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """A message that is no market data, parsed."""

    meaning: Meaning
    channels: tuple[str, ...] = ()
    """What an acknowledgement or a refusal names; () where it names none."""
    is_all: bool = False
    """`channels` are all that the connection is subscribed to: what is not among them has ended."""
    request: int | None = None
    """The id of the request that it answers, where the venue echoes it."""
    reason: str = ""
    """In the venue's words."""
    is_ending: bool = False
    """The venue will close this connection soon."""
    code: int = 0
    answer: bytes = b""
    """What must be sent back, as text; b"" for nothing."""
    trading: Status | None = None
    """Whether anything of the venue's is traded; None: it does not say. An instrument's own status
    counts besides."""


class Asked(msgspec.Struct, frozen=True):
    """What a message of ours asks for, where its answer names the request alone."""

    request: int
    channels: tuple[str, ...] = ()
    """What it subscribes to; () for all other messages."""


class BaseSource(Enum):
    """Where the book comes from that a sync starts from."""

    REST = "rest"
    IN_BAND = "in-band"
    """Pushed after the acknowledgement; a new one is had by subscribing anew."""
    REQUEST = "request"
    """Asked for on the same socket, by `base_message`."""


class Verification(Enum):
    """How the book of a quiet instrument is proved; a heartbeat of the connection proves none."""

    REST = "rest"
    """A base by REST (`check_request`) is compared with it, wherever its own bases come from."""
    ASK = "ask"
    """A base is asked for on the socket, as after a lost message, and compared with it."""
    ASIDE = "aside"
    """The base of another subscription, on a connection of its own, is compared with it."""
    HEARTBEAT = "heartbeat"
    """Its own channel says "unchanged", oftener than `verify_quiet_after_s`: nothing is asked."""


class Endpoint(msgspec.Struct, frozen=True):
    """Where a WebSocket goes; `headers` are sent with its upgrade."""

    host: str
    path: str
    port: int = 443
    headers: tuple[tuple[str, str], ...] = ()
    credentials: tuple[tuple[str, str], ...] = ()
    """Headers too, by where their values are kept (credential.py): read before each upgrade."""


class HttpRequest(msgspec.Struct, frozen=True):
    """One REST request that only reads: a GET, or a POST where it has a body of JSON."""

    target: str
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    """The venue's own, beside those that every request has."""


class HttpResponse(msgspec.Struct, frozen=True):
    """One REST answer; names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Rate(msgspec.Struct, frozen=True):
    """So much weight in any window of so long."""

    count: int
    per_s: float
    burst: int
    """Of it at once, where nothing was asked for long; the rest is earned evenly."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a venue bears. None: it names no such limit."""

    channels_per_connection: int
    channels_per_message: int
    message_size_max: int = 1 << 16
    """Bytes of one message of ours."""
    messages_per_second: float
    """Of ours, on one connection, control frames included."""
    messages_per_hour: int | None = None
    """Of those that subscribe or end subscriptions, on one connection."""
    connections: int | None = None
    """At once, of one address of ours."""
    connects: Rate | None = None
    """WebSockets opened from one address of ours."""
    address_messages: Rate | None = None
    """Of ours, on all connections of one address together."""
    requests: Rate | None = None
    """By REST, of one address, by their `request_weight`."""
    connection_age_max_s: float | None = None
    idle_without_channel_s: float | None = None
    """A connection without a subscription is closed after so long."""
    idle_without_data_s: float | None = None


class RestBudget(msgspec.Struct, frozen=True, kw_only=True):
    """How fast bases may be asked for, and how long a refusal lasts that does not say so."""

    per_second: float
    burst: int = 10
    limited_s: float = 10.0
    banned_s: float = 120.0
    banned_max_s: float = 3 * 24 * 3600.0


class RestRefusal(msgspec.Struct, frozen=True):
    """The venue wants no requests for a while: of this address, not of this one only."""

    reason: str
    is_ban: bool
    """Asking on makes it longer."""
    retry_after_s: float | None = None
    """None: it does not say; the budget's own pause, doubled each time."""


class Base(msgspec.Struct, frozen=True):
    """A whole book; each side an array of `struct tp_level` (cffi), owned by it, in any order."""

    version: int
    """Its place in the chain of deltas."""
    bids: Any
    asks: Any
    scale: tuple[int, int] | None = None
    """The exponents of its numbers, as the engine notes them; None: those of the instrument."""

    def __post_init__(self) -> None:
        """Raise ValueError for a number that no chain can have."""
        if not 0 <= self.version <= VERSION_MAX:
            raise ValueError(f"base version {self.version}: expected 0 to {VERSION_MAX}")


class InstrumentList(msgspec.Struct, frozen=True):
    """The venue's instruments by its own symbols, and which rows took themselves out and why."""

    instruments: dict[str, Instrument]
    left_out: dict[str, str]
    more: HttpRequest | None = None
    """What asks for the rest, where the venue gives its list in pages."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A venue's own keys in the configuration's [[venue]] section, beside the common ones."""

    renamed: ClassVar[dict[str, str]] = {}
    """Keys' names of the version before, still accepted, and their names of now."""

    def check(self) -> None:
        """Raise ValueError for values that contradict each other; most venues have none."""


class Venue(Protocol):
    """One venue. Every method is pure; ValueError says what was wrong with bytes or a name.

    A venue's class inherits from this one: what it must write has no body here, and mypy says so.
    """

    name: ClassVar[str]
    """Of its folder; what configuration and records call it."""
    title: ClassVar[str]
    """What people call it: "MEXC spot"."""
    settings: ClassVar[type[Settings]]
    limits: ClassVar[Limits]
    base_source: ClassVar[BaseSource]
    """By its own defaults; `base_from` says it of any settings."""
    base_may_precede: ClassVar[bool] = False
    """Whether a base that comes in-band may come before the acknowledgement of its subscription."""
    rest_host: ClassVar[str]
    ping_interval_s: ClassVar[float]
    """Below what their idle limit allows, well below `silent_after_ms` of most configurations."""
    example_symbol: ClassVar[str]
    """In help and messages."""
    never_seen: ClassVar[str] = ""
    """What of all this nobody here has seen on a wire, in words, as its README has it."""
    left_out: ClassVar[str] = ""
    """What else the venue sends that nothing here reads, in words, and what to read instead."""

    # Names.

    def check_symbol(self, symbol: str) -> None:
        """Raise ValueError where this can be no symbol of the venue's."""

    def venue_symbol(self, name: Symbol) -> str | None:
        """Write a canonical name as the venue does; None where it lists nothing of the kind."""

    # Channels: strings that name one subscription each, made and read by the venue alone.

    def endpoint(self, channel: str, settings: Any) -> Endpoint:
        """Return which of the venue's WebSockets carries a channel."""

    def channels(self, symbol: str, settings: Any) -> tuple[str, ...]:
        """Return what to subscribe to for an instrument, the book's channel first."""

    def lacks(self, settings: Any) -> str:  # noqa: ARG002 - most want nothing more
        """Say what the venue itself asks for and these settings do not have; "" where nothing."""
        return ""

    def base_from(self, settings: Any) -> BaseSource:  # noqa: ARG002 - of some by their channel
        """Return where the bases of the channel come from that these settings choose."""
        return self.base_source

    def channels_per_message(self, settings: Any) -> int:  # noqa: ARG002 - of some by their channel
        """Return how many of the channels that these settings choose fit one message."""
        return self.limits.channels_per_message

    def subscribe(self, channels: Sequence[str], *, request: int, time_s: int) -> list[bytes]:
        """Return the text messages that subscribe, each within the limits of a message.

        request: the id of the first message, which the following ones count on from; time_s: now,
        Unix time, for venues that want it.
        """

    def unsubscribe(self, channels: Sequence[str], *, request: int, time_s: int) -> list[bytes]:
        """Return the text messages that end subscriptions."""

    def asked(self, data: bytes) -> Asked | None:  # noqa: ARG002 - most venues name the channels
        """Read a message of ours back; None where answers name channels, or it has no id."""
        return None

    def greeting(self, *, request: int, time_s: int) -> list[bytes]:  # noqa: ARG002 - most say none
        """Return the texts that a connection says before it subscribes; none on most venues."""
        return []

    def ping(self, *, request: int, time_s: int) -> bytes:
        """Return the text that keeps a connection; b"" where a WebSocket ping does."""

    def parse_notes(self, data: bytes) -> tuple[Note, ...]:
        """Read a message that is no market data; one may say several things.

        Never raises: what cannot be read is BROKEN.
        """

    def unpacked(self, data: bytes) -> object:  # noqa: ARG002 - of those of a schema alone
        """Read a message whose fields only a schema tells apart, as objects and lists of JSON.

        None: it is JSON or protobuf, or cannot be read.
        """
        return None

    def base_message(self, channel: str, *, request: int, time_s: int) -> bytes:
        """Return the text that asks for a base; only where `base_from` is REQUEST."""
        raise AssertionError(f"{self.title} takes no such request: {channel}, {request}, {time_s}")

    # REST.

    def instruments_request(self, settings: Any) -> HttpRequest:
        """Return what asks for the instrument list."""

    def parse_instruments(self, data: bytes) -> InstrumentList:
        """Read the list; raises ValueError where it is none as a whole."""

    def base_request(self, symbol: str, settings: Any) -> HttpRequest:
        """Return what asks for a base; only where `base_from` is REST."""
        raise AssertionError(f"{self.title} gives no base by REST, asked for {symbol}: {settings}")

    def base_depth(self, settings: Any) -> int:
        """Return how many levels a side has where a base of REST does not show all of it.

        What is asked for, or less where the venue sends no more; 0: it always shows all.
        """
        raise AssertionError(f"{self.title} gives no base by REST: {settings}")

    def verification(self, settings: Any) -> Verification:
        """Return how a quiet book is proved: by a base from where all are, its stream untouched."""
        by_source = {
            BaseSource.REST: Verification.REST,
            BaseSource.IN_BAND: Verification.ASIDE,
            BaseSource.REQUEST: Verification.ASK,
        }
        return by_source[self.base_from(settings)]

    def unchanged_s(self, settings: Any) -> float:  # noqa: ARG002 - of some by their channel
        """Return how often the book's own channel says "unchanged" by itself; 0: it does not.

        A quiet book is asked about only where that is overdue.
        """
        return 0.0

    def check_request(self, symbol: str, settings: Any) -> HttpRequest:
        """Return what asks for a base to compare a quiet book with; it may show less than another.

        Only where `verification` is REST, as the next two; `parse_base` reads the answer.
        """
        return self.base_request(symbol, settings)

    def check_depth(self, settings: Any) -> int:
        """Return how many levels a side its answer has where it does not show all."""
        return self.base_depth(settings)

    def check_cost(self, settings: Any) -> float:  # noqa: ARG002 - of some by their depth
        """Return what it costs of `rest_budget`, in requests of a base."""
        return 1.0

    def parse_base(self, data: bytes, instrument: Instrument) -> Base:
        """Read a base of REST to exact mantissas at the instrument's exponents."""
        raise AssertionError(f"{self.title} gives no base by REST: {instrument}, {excerpt(data)}")

    def rest_budget(self, settings: Any) -> RestBudget:
        """Return how fast REST may be asked."""

    def request_weight(self, request: HttpRequest) -> int:  # noqa: ARG002 - most weigh alike
        """Return what a REST request costs of `limits.requests`."""
        return 1

    def requests_used(
        self,
        response: HttpResponse,  # noqa: ARG002 - most venues do not say
        now: datetime,  # noqa: ARG002 - needed where they do
    ) -> tuple[int, float] | None:
        """Return how much of `limits.requests` is used, by whomever, and how long that counts.

        None: it does not say; 0.0 s: it does not say how long its window goes on.
        """
        return None

    def rest_refusal(self, response: HttpResponse, now: datetime) -> RestRefusal | None:
        """Say whether an answer limits or bans us; None for all others, errors too."""


# ---- what several venues share -------------------------------------------------------------------


def excerpt(data: bytes, size: int = 80) -> str:
    """Return the beginning of what a venue sent, in quotes, as a person reads it."""
    text = data[:size].decode(errors="backslashreplace")
    shown = "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)
    return f'"{shown}"' + (f" and {len(data) - size} bytes more" if len(data) > size else "")


def parse_retry_after(text: str | None, now: datetime) -> float | None:
    """Return the seconds of a Retry-After field, a number or a date (RFC 9110 section 10.2.3)."""
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit() and len(text) <= SECONDS_DIGITS_MAX:
        return float(text)
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - now).total_seconds())


def pack_messages(
    channels: Iterable[str], build: Callable[[list[str], int], bytes], limits: Limits, request: int
) -> list[bytes]:
    """Share channels out over as few messages as their limits allow, in order.

    build(channels, request) makes one message. Raises ValueError where one channel alone is too
    long for a message.
    """
    messages: list[bytes] = []
    taken: list[str] = []
    data = b""
    for channel in channels:
        longer = build([*taken, channel], request + len(messages))
        fits = len(taken) < limits.channels_per_message and len(longer) <= limits.message_size_max
        if fits:
            taken, data = [*taken, channel], longer
            continue
        if taken:
            messages.append(data)
        taken, data = [channel], build([channel], request + len(messages))
        if len(data) > limits.message_size_max:
            raise ValueError(
                f"channel {channel!r}: a message of {len(data)} bytes, expected at most "
                f"{limits.message_size_max}; leave this instrument out"
            )
    return [*messages, data] if taken else messages
