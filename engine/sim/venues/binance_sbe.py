"""Binance's SBE streams from their side of the wire: spot's requests and REST, binary pushes.

Exponents are in no document: books come with eight digits behind the point, as JSON's numbers do,
trades and best prices with those of their steps. `key`, where a test sets one, is asked for at the
upgrade. Called by: ../exchange.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from tickpath.engine.sim.dialect import HttpResponse, Message, json_response
from tickpath.engine.sim.venues.binance import BinanceDialect
from tickpath.proto.venues.binance_sbe import messages
from tickpath.proto.venues.binance_sbe.venue import KEY_HEADER, VENUE, WEBSOCKET_PATH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tickpath.engine.sim.dialect import HttpRequest
    from tickpath.engine.sim.market import Book, Delta

NS_PER_US: Final = 1000
DIGITS: Final = 8
WHOLE_LEVELS: Final = 20
MANTISSA_MAX: Final = 2**63 - 1
REFUSED_STATUS: Final = 401


class Decimals:
    """A message's two exponents, and numbers at them."""

    def __init__(self, book: Book, digits: int, largest: int) -> None:
        """Keep so many digits, or as many as the book's numbers have or as 64 bits bear."""
        row = book.instrument
        self._own = (row.price_exponent, row.quantity_exponent)
        fits = largest * 10 ** (digits + max(self._own)) <= MANTISSA_MAX
        self.exponents = tuple(min(one, -digits) if fits else one for one in self._own)

    def fields(self) -> dict[str, int]:
        """Return the fields that name them."""
        return dict(zip(("priceExponent", "qtyExponent"), self.exponents, strict=True))

    def pair(self, price: int, quantity: int) -> tuple[int, int]:
        """Write a price and a quantity."""
        own = zip((price, quantity), self._own, self.exponents, strict=True)
        scaled = [number * 10 ** (had - has) for number, had, has in own]
        return scaled[0], scaled[1]

    def levels(self, some: Iterable[tuple[int, int]]) -> list[dict[str, int]]:
        """Write levels."""
        return [dict(zip(("price", "qty"), self.pair(*one), strict=True)) for one in some]


class BinanceSbeDialect(BinanceDialect):
    """Binance spot, binary."""

    venue = VENUE
    websocket_paths = frozenset({WEBSOCKET_PATH})
    kinds = ("depth", "depth20", "trade", "bestBidAsk")
    key: ClassVar[str] = ""
    """What must be in the header; "": nobody is asked."""

    def refuses_upgrade(self, request: HttpRequest) -> HttpResponse | None:
        """Let nobody in without the key. How the venue says so was never seen."""
        if request.headers.get(KEY_HEADER.lower(), "") == self.key or not self.key:
            return None
        return json_response(REFUSED_STATUS, {"code": -2015, "msg": "Invalid API-key"})

    def pushes(self, symbol: str, delta: Delta, now_ns: int) -> list[tuple[str, Message]]:
        """Write what each stream says of a change."""
        listing = self._floor.listings[symbol]
        writers: dict[str, Callable[[Book, Delta, int], bytes]] = {
            "trade": self.write_trade,
            "bestBidAsk": self.write_best,
            "depth20": self.write_whole,
            "depth": self.write_diff,
        }
        return [
            (
                channel,
                self._message(writers[channel.partition("@")[2]], listing.book, delta, now_ns),
            )
            for channel in listing.subscribers
        ]

    def _message(
        self, write: Callable[[Book, Delta, int], bytes], book: Book, delta: Delta, now_ns: int
    ) -> Message:
        return Message(write(book, delta, now_ns // NS_PER_US), is_text=False)

    def base(self, symbol: str, channel: str, now_ns: int) -> Message | None:
        """Write a whole book, where those are streamed."""
        if channel.partition("@")[2] != "depth20":
            return None
        book = self._floor.listings[symbol].book
        return Message(self._whole(book, book.version, now_ns // NS_PER_US), is_text=False)

    def write_diff(self, book: Book, delta: Delta, time_us: int) -> bytes:
        """Write a change."""
        changes = [*delta.bids, *delta.asks]
        decimals = Decimals(book, DIGITS, max((max(one) for one in changes), default=0))
        fields = {
            **{"eventTime": time_us, "firstBookUpdateId": delta.first_version},
            **{"lastBookUpdateId": delta.last_version, **decimals.fields()},
        }
        sides = {"bids": decimals.levels(delta.bids), "asks": decimals.levels(delta.asks)}
        return messages.pack(messages.DIFF, fields, sides, book.instrument.symbol)

    def write_whole(self, book: Book, delta: Delta, time_us: int) -> bytes:
        """Write the best levels."""
        return self._whole(book, delta.last_version, time_us)

    def _whole(self, book: Book, version: int, time_us: int) -> bytes:
        sides = [side.levels(WHOLE_LEVELS) for side in (book.bids, book.asks)]
        decimals = Decimals(book, DIGITS, max(max(one) for side in sides for one in side))
        fields = {"eventTime": time_us, "bookUpdateId": version, **decimals.fields()}
        written = {
            name: decimals.levels(one) for name, one in zip(("bids", "asks"), sides, strict=True)
        }
        return messages.pack(messages.WHOLE, fields, written, book.instrument.symbol)

    def write_best(self, book: Book, delta: Delta, time_us: int) -> bytes:
        """Write the best prices."""
        decimals = Decimals(book, 0, 0)
        touch: list[int] = []
        for side in (book.bids, book.asks):
            touch += decimals.pair(side.best(), side.quantities[side.best()])
        names = ("bidPrice", "bidQty", "askPrice", "askQty")
        fields = {
            **{"eventTime": time_us, "bookUpdateId": delta.last_version, **decimals.fields()},
            **dict(zip(names, touch, strict=True)),
        }
        return messages.pack(messages.BEST, fields, {}, book.instrument.symbol)

    def write_trade(self, book: Book, delta: Delta, time_us: int) -> bytes:
        """Write a trade at the touch."""
        sold = delta.last_version % 2 == 0
        decimals = Decimals(book, 0, 0)
        touch = book.bids.best() if sold else book.asks.best()
        price, quantity = decimals.pair(touch, 1 + delta.last_version % 1000)
        trade = {"id": delta.last_version, "price": price, "qty": quantity, "isBuyerMaker": sold}
        fields = {"eventTime": time_us, "transactTime": time_us, **decimals.fields()}
        return messages.pack(messages.TRADES, fields, {"trades": [trade]}, book.instrument.symbol)

    def garbage(self, symbol: str, channel: str) -> Message:
        """Write a level below nothing: sound lengths, and nothing that can be applied."""
        number, level = {"price": -1, "qty": 1}, {"priceExponent": 0, "qtyExponent": 0}
        fields = {"eventTime": 1, "firstBookUpdateId": 1, "lastBookUpdateId": 2, **level}
        template = messages.DIFF
        if channel.partition("@")[2] == "depth20":
            template, fields = messages.WHOLE, {"eventTime": 1, "bookUpdateId": 1, **level}
        data = messages.pack(template, fields, {"bids": [number], "asks": []}, symbol)
        return Message(data, is_text=False)


DIALECT: Final = BinanceSbeDialect
