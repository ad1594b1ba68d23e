"""Gate's contracts in USDT from their side of the wire: what differs from spot (gate.py).

Without the header that asks for fractions, REST gives whole contracts; on the WebSocket all clients
are taken to have sent it. Called by: ../exchange.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tickpath.engine.sim.depth_view import decimal, scale_of
from tickpath.engine.sim.venues.gate import NS_PER_MS, NS_PER_S, GateDialect
from tickpath.proto.venues.gate import listing, requests
from tickpath.proto.venues.gate_usdt.venue import VENUE

if TYPE_CHECKING:
    from tickpath.engine.sim.dialect import HttpRequest
    from tickpath.engine.sim.market import Book
    from tickpath.engine.sim.venues.gate import Levels
    from tickpath.proto.venues.gate.requests import Channel


class GateUsdtDialect(GateDialect):
    """Gate's perpetual contracts settled in USDT."""

    venue = VENUE
    websocket_paths = frozenset({requests.USDT_PATH})
    list_path = listing.CONTRACTS_PATH
    book_path = listing.CONTRACT_BOOK_PATH
    book_key = "contract"

    def levels(self, kind: str, levels: Levels, scale: tuple[int, int]) -> list[Any]:
        """Write levels: order_book_update has objects."""
        pairs = self.pairs(levels, scale)
        return pairs if kind == requests.OBU else [{"p": price, "s": size} for price, size in pairs]

    def book_fields(
        self, one: Channel, numbers: dict[str, int], sides: dict[str, Any], now_ns: int
    ) -> dict[str, object]:
        """Write a change of a book, in the order of its channel."""
        if one.kind == requests.OBU:
            return super().book_fields(one, numbers, sides, now_ns)
        fields = {**numbers, "s": one.symbol, "a": sides["a"], "b": sides["b"]}
        return {"t": now_ns // NS_PER_MS, **fields, "l": str(one.depth)}

    def trade(
        self, symbol: str, what: tuple[str, str], sold: bool, number: int, now_ns: int
    ) -> object:
        """Write a trade in a list; below 0 where who took sold."""
        price, size = what
        times = {"create_time": now_ns // NS_PER_S, "create_time_ms": now_ns // NS_PER_MS}
        signed = f"-{size}" if sold else size
        return [{"size": signed, "id": number, **times, "price": price, "contract": symbol}]

    def base_levels(
        self, levels: Levels, scale: tuple[int, int], request: HttpRequest
    ) -> list[Any]:
        """Write levels of a base, in whole contracts unless asked otherwise."""
        name, value = requests.DECIMAL
        has_fractions = request.headers.get(name.lower()) == value
        return [
            {"s": size if has_fractions else int(float(size)), "p": price}
            for price, size in self.pairs(levels, scale)
        ]

    def base_times(self, now_ns: int) -> dict[str, object]:
        """Write when a base was made: seconds."""
        return {"current": now_ns // NS_PER_MS / 1000, "update": now_ns // NS_PER_MS / 1000}

    def row(self, symbol: str, book: Book) -> dict[str, object]:
        """Write a row of the list."""
        price, quantity = scale_of(book)
        is_halted = symbol in self._floor.halted
        return {
            **{"name": symbol, "type": "direct", "quanto_multiplier": "0.0001"},
            **{"order_price_round": decimal(1, price), "mark_price_round": "0.01"},
            **{"order_size_min": decimal(1, quantity), "order_size_max": "1000000"},
            **{"enable_decimal": quantity < 0, "in_delisting": False, "position_size": "1200"},
            **{"status": "circuit_breaker" if is_halted else "trading", "funding_rate": "0.0001"},
            **{"last_price": decimal(book.bids.best(), price), "orderbook_id": book.version},
        }


DIALECT: Final = GateUsdtDialect
