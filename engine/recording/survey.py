"""What a recording of somebody else's shows when it is read once: instruments, and their decimals.

No line of one says which instruments there are, on which channel each stands and how many decimals
its numbers have. The venue's router and decoder say so, message after message, at the scale that
the numbers so far need; a message of no channel that is known is read by the venue's transcript
(proto/transcript.py). Constant memory: what is kept is kept by instrument.
Called by: foreign.py. Calls: proto/venue.h.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
from tickpath._core import ffi, lib
from tickpath.engine.recording.tap import Subscription
from tickpath.proto.instrument import Instrument
from tickpath.proto.records import EXPONENT_MIN, ScaleError
from tickpath.proto.transcript import load_transcript
from tickpath.proto.venue import BaseSource
from tickpath.proto.venues import load_venue, resolve_symbol
from tickpath.proto.venues.decoder import find_decoder

if TYPE_CHECKING:
    from tickpath.proto.venue import Base

Connection = int | str
TEXT, BINARY = 1, 2  # RFC 6455 section 5.2
DIGITS_MAX: Final = -EXPONENT_MIN
ROOM_MIN: Final = 64
BOOKS: Final = (lib.TP_MEANING_BASE, lib.TP_MEANING_DELTA)
DECODED: Final = (*BOOKS, lib.TP_MEANING_TOP, lib.TP_MEANING_TRADES)
LEVEL_DTYPE: Final = np.dtype([("price", "i8"), ("quantity", "i8")])


@dataclass(slots=True)
class Found:
    """One instrument."""

    symbol: str
    channel: str
    is_silent: bool = True
    """No message of its book came: its channel is one that it may have."""
    has_base: bool = False
    """A base by REST of it came."""
    conn: Connection | None = None
    digits: list[int] = field(default_factory=lambda: [0, 0])
    """Of prices and quantities, behind the point."""
    conns: set[Connection] = field(default_factory=set)
    last_conn: Connection | None = None
    switches: int = 0
    """How often its book's messages went on over another connection."""
    versions: list[int] = field(default_factory=list)
    """Least and greatest of its messages; kept where bases come by REST, as the next."""
    prices: list[float] = field(default_factory=list)
    """Likewise; only ever compared."""

    @property
    def exponents(self) -> tuple[int, int]:
        """Return the scale that its numbers need."""
        return -self.digits[0], -self.digits[1]

    @property
    def is_raced(self) -> bool:
        """Say whether connections bring it in turn, more often than reconnects explain."""
        return self.switches >= 2 * len(self.conns) > 0

    def widen(self, what: int, text: str) -> bool:
        """Take a number that the scale does not hold; False: no scale would change that."""
        exponent = Decimal(text).normalize().as_tuple().exponent
        digits = min(DIGITS_MAX, -exponent if isinstance(exponent, int) else 0)
        if digits <= self.digits[what]:
            return False
        self.digits[what] = digits
        return True

    def heard(self, conn: Connection) -> None:
        """Count a message of its book."""
        self.switches += self.last_conn not in (None, conn)
        self.last_conn = conn
        self.conns.add(conn)

    def may_own(self, version: int, prices: list[float]) -> bool:
        """Say whether a base can belong to these messages."""
        if not self.versions or not self.versions[0] - 1 <= version <= self.versions[1]:
            return False
        spread = self.prices[1] - self.prices[0] if self.prices else 0.0
        return any(
            self.prices[0] - spread <= price <= self.prices[1] + spread for price in prices
        ) or not (prices and self.prices)


@dataclass(frozen=True, slots=True)
class _Nameless:
    """A base that says nowhere whose it is, until all messages were seen."""

    number: int
    version: int
    prices: list[float]
    digits: list[int]


def _widen(span: list[Any], *values: Any) -> None:
    span[:] = [min((*span, *values)), max((*span, *values))]


def _best(base: Base, exponent: int) -> list[float]:
    sides = (base.bids, base.asks)
    return [side[0].price * 10.0**exponent for side in sides if len(side)]


class Survey:
    """One venue's messages."""

    def __init__(self, venue: str) -> None:
        """Raise ValueError for a venue that is not known, or whose messages nobody reads."""
        self.venue = load_venue(venue)
        self.transcript = load_transcript(venue)
        self._decoder = find_decoder(venue)
        self.found: list[Found] = []
        self.listed: dict[str, Instrument] = {}
        self.asked: dict[Connection, str] = {}
        """The symbol that a message of ours asked for by REST."""
        self.owned: dict[int, str] = {}
        """Whose the bases are that nothing names, by number of their line."""
        self.foreign_channels: dict[str, int] = {}
        """Messages of channels that nothing is made of."""
        self.conns: dict[Connection, None] = {}
        """All that brought anything of an instrument, in their order."""
        self._by_symbol: dict[str, int] = {}
        self._nameless: list[_Nameless] = []
        self._room = ROOM_MIN
        self._message = ffi.new("struct tp_venue_message *")
        self._route = ffi.new("struct tp_route *")
        self._misfit = ffi.new("struct tp_misfit *")
        self._space = ffi.new("uint8_t[]", int(lib.TP_DECIMAL_SPACE))
        self._body = ffi.new("struct tp_body *")
        self._body.misfit = self._misfit
        self._depth = ffi.new("struct tp_depth_update *")
        self._trades = ffi.new("struct tp_trade_update *")
        self._open_router()

    # ---- channels --------------------------------------------------------------------------------

    def _open_router(self) -> None:
        """Make a router of all books that were found, with room for as many more."""
        self._room = max(self._room, 2 * len(self.found))
        size = self._decoder.router_size(self._room, 1)
        self._memory = ffi.new("uint64_t[]", size // 8 + 1)
        self._router = ffi.cast("void *", self._memory)
        self._decoder.router_init(self._router, self._room, 1)
        for index, one in enumerate(self.found):
            self._decoder.router_add(self._router, one.channel.encode(), index)

    def find(self, symbol: str) -> Found | None:
        """Return an instrument, which begins to be one; None where that can be no symbol."""
        index = self._by_symbol.get(symbol)
        if index is not None:
            return self.found[index]
        try:
            self.venue.check_symbol(symbol)
            (channel, *_) = self.venue.channels(symbol, self.venue.settings())
        except ValueError:
            return None
        return self._add(Found(symbol, channel))

    def _add(self, found: Found) -> Found | None:
        index = len(self.found)
        if index < self._room and not self._decoder.router_add(
            self._router, found.channel.encode(), index
        ):
            return None
        self.found.append(found)
        self._by_symbol[found.symbol] = index
        if index >= self._room:
            self._open_router()
        return found

    def claim(self, channel: str, conn: Connection | None) -> bool:
        """Take a channel that a message names; True where the router knows more than before."""
        described = self._decoder.describe(channel.encode())
        symbol = self.transcript.symbol_of(channel)
        if described == ffi.NULL:
            return False
        is_new = symbol not in self._by_symbol
        if described.rule == ffi.NULL:
            return is_new and self.find(symbol) is not None
        if is_new:
            return self._add(Found(symbol, channel, is_silent=False, conn=conn)) is not None
        found = self.found[self._by_symbol[symbol]]
        if not found.is_silent:
            return False
        is_other = found.channel != channel
        found.channel, found.is_silent, found.conn = channel, False, conn
        if is_other:
            self._open_router()
        return is_other

    def parts(self, payload: bytes, *, is_text: bool) -> list[tuple[int, int, int, int]]:
        """Route a message: meaning, instrument, offset and size of each part."""
        data = ffi.from_buffer("uint8_t[]", payload)
        message, route = self._message, self._route
        message.data, message.size = data, len(payload)
        message.opcode = TEXT if is_text else BINARY
        found, start = [], 0
        while True:
            self._decoder.route(self._router, message, start, route)
            found.append((route.meaning, route.instrument, route.body_offset, route.body_size))
            if route.next_offset <= start:
                return found
            start = route.next_offset

    # ---- messages --------------------------------------------------------------------------------

    def look_at_push(self, payload: bytes, conn: Connection, *, is_text: bool) -> None:
        """Take a message of the venue's."""
        parts = self.parts(payload, is_text=is_text)
        if any(self._is_news(meaning, index) for meaning, index, *_ in parts):
            names = self.transcript.channels_of(payload)
            if sum(self.claim(name, conn) for name in names):
                parts = self.parts(payload, is_text=is_text)
            elif not any(meaning in DECODED for meaning, *_ in parts):
                for name in names:
                    self.foreign_channels[name] = self.foreign_channels.get(name, 0) + 1
        for meaning, index, offset, size in parts:
            if meaning in DECODED:
                self.conns.setdefault(conn)
                self._take(payload, conn, (meaning, index, offset, size))

    def _is_news(self, meaning: int, index: int) -> bool:
        """Say whether the transcript may know more of a part than the router."""
        return meaning not in DECODED or (meaning in BOOKS and self.found[index].is_silent)

    def _take(self, payload: bytes, conn: Connection, part: tuple[int, int, int, int]) -> None:
        meaning, index, offset, size = part
        found = self.found[index]
        if found.conn is None:
            found.conn = conn
        if meaning in BOOKS:
            found.heard(conn)
        body = self._body
        data = ffi.from_buffer("uint8_t[]", payload)
        body.data, body.size, body.meaning = data + offset, size, meaning
        is_sound = self._decode(found, meaning)
        needs_base = meaning in BOOKS and self.venue.base_source is BaseSource.REST
        if is_sound and needs_base and not self._depth.flags & lib.TP_DEPTH_BASE:
            self._note_span(found)

    def _decode(self, found: Found, meaning: int) -> bool:
        """Decode a body; a number that the scale does not hold widens it."""
        is_trades = meaning == lib.TP_MEANING_TRADES
        function = self._decoder.decode_trades if is_trades else self._decoder.decode_depth
        if function == ffi.NULL:
            return False
        for _ in range(2 * DIGITS_MAX + 1):
            scale = self._body.scale
            scale.price_exponent, scale.quantity_exponent = found.exponents
            status = function(self._body, self._trades if is_trades else self._depth)
            if status != lib.TP_DECODE_TOO_FINE:
                return bool(status == lib.TP_DECODE_OK)
            text = lib.tp_misfit_text(self._misfit, self._space)
            digits = ffi.buffer(text.at, text.size)[:].decode()
            if not found.widen(int(self._misfit.kind == lib.TP_NUMBER_QUANTITY), digits):
                return False
        return False

    def _note_span(self, found: Found) -> None:
        depth = self._depth
        _widen(found.versions, depth.first_version, depth.last_version)
        for levels, count in ((depth.bids, depth.bid_count), (depth.asks, depth.ask_count)):
            if count:
                size = count * LEVEL_DTYPE.itemsize
                prices = np.frombuffer(bytes(ffi.buffer(levels, size)), LEVEL_DTYPE)["price"]
                scale = 10.0 ** found.exponents[0]
                _widen(found.prices, float(prices.min()) * scale, float(prices.max()) * scale)

    def look_at_request(self, payload: bytes, conn: Connection) -> None:
        """Take a message of ours."""
        request = self.transcript.request(payload.decode("utf-8", "replace"))
        if request.symbol:
            self.asked[conn] = request.symbol
        for name in request.channels:
            self.claim(name, conn)

    # ---- bases -----------------------------------------------------------------------------------

    def look_at_base(self, number: int, payload: bytes, symbol: str) -> None:
        """Take the body of a REST answer; raises ValueError where it is none of the venue's."""
        found = self.find(symbol) if symbol else Found("", "")
        if found is None:
            raise ValueError(f"base of {symbol!r}, which is no symbol of {self.venue.title}")
        base = self.base(payload, found)
        found.has_base = base is not None
        if base is not None and not symbol:
            prices = _best(base, found.exponents[0])
            self._nameless.append(_Nameless(number, base.version, prices, found.digits))

    def base(self, payload: bytes, found: Found) -> Base | None:
        """Read a base, and widen the scale to its numbers; None: an instrument list instead."""
        for _ in range(2 * DIGITS_MAX + 1):
            row = Instrument(0, self.venue.name, found.symbol, *found.exponents)
            try:
                return self.venue.parse_base(payload, row)
            except ScaleError as error:
                if not found.widen(int(error.what == "quantity"), error.text):
                    raise
            except (ValueError, AssertionError) as error:
                if self._take_list(payload):
                    return None
                if isinstance(error, AssertionError):
                    raise ValueError(
                        f"base: {self.venue.title} sends its bases on the socket: leave this out"
                    ) from error
                raise
        return None

    def _take_list(self, payload: bytes) -> bool:
        try:
            rows = self.venue.parse_instruments(payload).instruments
        except ValueError:
            return False
        self.listed |= rows
        return bool(rows)

    def symbol_of_base(
        self, number: int, payload: bytes, asked: tuple[Connection, str | None]
    ) -> str:
        """Return whose book a base is, "" where nothing near it says so.

        asked: the connection of its line, and the symbol that the line gives.
        """
        conn, name = asked
        if number in self.owned:
            return self.owned[number]
        if name is not None:
            return self._own_name(name)
        text = conn if isinstance(conn, str) else ""
        named = self.transcript.symbol_in_base(payload) or self.transcript.request(text).symbol
        return named or self.asked.get(conn, "") or (text if text in self._by_symbol else "")

    def _own_name(self, name: str) -> str:
        """Return the venue's own name of a line's symbol, which may be the canonical one."""
        if name in self._by_symbol:
            return name
        try:
            return resolve_symbol(self.venue, name)
        except ValueError:
            return name

    def infer(self) -> list[int]:
        """Find whose the nameless bases are; return the numbers of those that nobody's are.

        It is the one instrument whose versions and prices fit; where there is one only, that one.
        """
        orphans = []
        named = [one for one in self.found if not one.is_silent]
        for base in self._nameless:
            fitting = named
            if len(named) > 1:
                fitting = [one for one in named if one.may_own(base.version, base.prices)]
            if len(fitting) != 1:
                orphans.append(base.number)
                continue
            (one,) = fitting
            self.owned[base.number] = one.symbol
            one.has_base = True
            one.digits = [max(pair) for pair in zip(one.digits, base.digits, strict=True)]
        self._nameless = []
        return orphans

    # ---- results ---------------------------------------------------------------------------------

    def subscriptions(self, first: int) -> list[Subscription]:
        """Return the instruments; connections are numbered from `first` as they appeared."""
        numbers: dict[Connection | None, int] = {}
        rows = []
        for one in self.found:
            listed = self.listed.get(one.symbol)
            exponents = list(one.exponents)
            if listed is not None:
                exponents[0] = min(exponents[0], listed.price_exponent)
                exponents[1] = min(exponents[1], listed.quantity_exponent)
            rows.append(
                Subscription(
                    venue=self.venue.name,
                    symbol=one.symbol,
                    price_exponent=exponents[0],
                    quantity_exponent=exponents[1],
                    channel=one.channel,
                    connection=first + numbers.setdefault(one.conn, len(numbers)),
                )
            )
        return rows

    def connections(self, rows: list[Subscription]) -> dict[Connection, int]:
        """Return the number of each connection: owners of a book, then those that bring none."""
        numbers = {
            one.conn: row.connection
            for one, row in zip(self.found, rows, strict=True)
            if one.conn is not None
        }
        taken = max((row.connection for row in rows), default=-1)
        of_books = {conn for one in self.found for conn in one.conns}
        for conn in self.conns:
            if conn not in numbers and conn not in of_books:
                taken += 1
                numbers[conn] = taken
        return numbers


def list_instruments(surveys: list[Survey], data: bytes) -> None:
    """Give an instrument list to the venue whose it is; raises ValueError where it is nobody's."""
    errors = []
    for survey in surveys:
        try:
            survey.listed |= survey.venue.parse_instruments(data).instruments
        except (ValueError, msgspec.DecodeError) as error:
            errors.append(str(error))
        else:
            return
    raise ValueError("; ".join(errors) or "no venue is in the file")
