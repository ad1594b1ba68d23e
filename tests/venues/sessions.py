"""Sessions of simulated venues as others would record them: lines, and what the books were.

No socket and no clock: a dialect's own words, the plan's subscriptions, a base where the venue
gives them by REST. Truth is the market's, which knows nothing of how it is written.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tickpath.engine.config.schema import VenueConfig
from tickpath.engine.feed_handler.plan import make_plan
from tickpath.engine.sim.dialect import Client, Dialect, Floor, HttpRequest, Message
from tickpath.engine.sim.market import instrument_names
from tickpath.engine.sim.venues import load_dialect
from tickpath.proto.venue import BaseSource, Meaning
from tickpath.proto.venues import pair_symbol
from tickpath.proto.venues.decoder import find_decoder, meaning_of

if TYPE_CHECKING:
    from collections.abc import Iterable

START_NS = 1_795_000_000_000_000_000
STEP_NS = 1_000_000_000
"""Longer than any venue gathers changes for."""
Levels = tuple[list[tuple[Decimal, Decimal]], list[tuple[Decimal, Decimal]]]
Best = tuple[Decimal, Decimal, Decimal, Decimal]


@dataclass(frozen=True)
class Row:
    """What somebody who listens would write down; symbol: of a base by REST."""

    t_ns: int
    direction: str
    data: bytes
    is_text: bool = True
    symbol: str = ""


@dataclass
class Session:
    """A venue's messages of some instruments, and the best prices after each change."""

    venue: str
    symbols: list[str]
    rows: list[Row] = field(default_factory=list)
    truth: dict[tuple[str, int], Best] = field(default_factory=dict)
    """By symbol and time."""
    books: dict[tuple[str, int], Levels] = field(default_factory=dict)
    """All of a book, bids and asks, best first, likewise."""
    pushed: Counter[Meaning] = field(default_factory=Counter)
    """Messages by what their channel is of."""

    def lines(self, conn: int | str = 0) -> list[dict[str, Any]]:
        """Return lines of JSON."""
        found = []
        for row in self.rows:
            kind, text = ("text", row.data.decode()) if row.is_text else ("base64", _packed(row))
            line = {"t_ns": row.t_ns, "venue": self.venue, "conn": conn, "dir": row.direction}
            found.append(line | {kind: text} | ({"symbol": row.symbol} if row.symbol else {}))
        return found

    @property
    def traded(self) -> bool:
        """Say whether trades were pushed."""
        return self.pushed[Meaning.TRADES] > 0

    def last(self, symbol: str) -> Best:
        """Return the best prices at the end."""
        return [best for (name, _), best in self.truth.items() if name == symbol][-1]


def _packed(row: Row) -> str:
    return base64.b64encode(row.data).decode()


def written(lines: Iterable[dict[str, Any]]) -> str:
    """Return a file's text."""
    return "".join(json.dumps(one) + "\n" for one in lines)


class _Maker:
    def __init__(self, venue: str, count: int, *, with_market: bool) -> None:
        kind = load_dialect(venue)
        settings = kind.venue.settings()
        if with_market:
            wanted = {"trades", "best"} & set(type(settings).__struct_fields__)
            settings = type(settings)(**dict.fromkeys(wanted, True))
        config = VenueConfig(symbols=(), name=venue, settings=settings)
        symbols = [pair_symbol(kind.venue, one) for one in instrument_names(count)]
        self.config, self.plan = config, make_plan(config, symbols)
        self.floor = Floor(kind.venue, symbols, depth=30, seed=11)
        self.dialect: Dialect = kind(self.floor)
        self.session = Session(venue, symbols)
        self.client, self.t_ns = Client(), START_NS

    def take(self, messages: Iterable[Message]) -> None:
        rows = self.session.rows
        rows += [Row(self.t_ns, "in", one.data, one.is_text) for one in messages]

    def open(self) -> None:
        self.take(self.dialect.opened(self.client, self.t_ns))
        for data in self.plan.open_messages(0, request=1, time_s=self.t_ns // 10**9):
            self.say(data)
        for symbol in self.session.symbols:
            self.note_truth(symbol)

    def say(self, data: bytes) -> None:
        self.session.rows.append(Row(self.t_ns, "out", data))
        said = Message(data, is_text=True)
        self.take(self.dialect.received(self.client, said, self.t_ns))

    def step(self, symbol: str) -> None:
        self.t_ns += STEP_NS
        delta = self.floor.listings[symbol].book.step(3)
        for channel, message in self.dialect.pushes(symbol, delta, self.t_ns):
            self.take([message])
            meaning = find_decoder(self.session.venue).describe(channel.encode()).meaning
            self.session.pushed[meaning_of(meaning)] += 1
        self.note_truth(symbol)

    def base(self, symbol: str) -> None:
        """Fetch a base, from where the venue has them."""
        venue, source = self.config.venue, self.config.base_source
        (channel, *_) = venue.channels(symbol, self.config.settings)
        if source is BaseSource.REQUEST:
            self.say(venue.base_message(channel, request=99, time_s=self.t_ns // 10**9))
        if source is not BaseSource.REST:
            return
        asked = venue.base_request(symbol, self.config.settings)
        request = HttpRequest("POST" if asked.body else "GET", asked.target, {}, asked.body)
        answer = self.dialect.http(request, self.t_ns)
        assert answer is not None
        self.session.rows.append(Row(self.t_ns, "base", answer.body, symbol=symbol))

    def note_truth(self, symbol: str) -> None:
        book = self.floor.listings[symbol].book
        row = book.instrument
        bids, asks = (
            [
                (
                    Decimal(price).scaleb(row.price_exponent),
                    Decimal(size).scaleb(row.quantity_exponent),
                )
                for price, size in side.levels(len(side.prices))
            ]
            for side in (book.bids, book.asks)
        )
        self.session.books[symbol, self.t_ns] = (bids, asks)
        self.session.truth[symbol, self.t_ns] = (*bids[0], *asks[0])


def make_session(venue: str, *, steps: int = 40, with_market: bool = True) -> Session:
    """Let a simulated venue speak of two instruments; with_market: trades and best prices too."""
    return _played(_Maker(venue, 2, with_market=with_market), steps).session


def make_reconnected(venue: str) -> tuple[Session, int]:
    """Let it speak on a second connection after the first; return where its rows begin too."""
    maker = _played(_Maker(venue, 2, with_market=False), 40)
    begin = len(maker.session.rows)
    maker.floor.forget(maker.client)
    maker.client = Client()
    maker.t_ns += STEP_NS
    maker.open()
    for symbol in maker.session.symbols:
        maker.step(symbol)
    return maker.session, begin


def _played(maker: _Maker, steps: int) -> _Maker:
    maker.open()
    for number in range(steps):
        symbol = maker.session.symbols[number % 2]
        maker.step(symbol)
        if number in (2, 3):
            maker.base(symbol)
    return maker
