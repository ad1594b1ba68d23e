"""Binance's USD-M contracts from their side of the wire: what differs from spot (binance.py).

A message of a book names the last number before it, and its own first number leaves some out, as
numbers are those of all contracts. Called by: ../exchange.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from tickpath.engine.sim.dialect import HttpResponse, json_response
from tickpath.engine.sim.venues.binance import BinanceDialect
from tickpath.proto.records import format_fixed
from tickpath.proto.venues.binance_usdm import requests
from tickpath.proto.venues.binance_usdm.venue import VENUE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tickpath.engine.sim.market import Book, Delta

PERPETUAL_MS: Final = 4_133_404_800_000
"""The deliveryDate of what is never delivered."""


class BinanceUsdmDialect(BinanceDialect):
    """Binance's USD-M contracts."""

    venue = VENUE
    websocket_paths = frozenset({requests.WEBSOCKET_PATH})
    levels_max = requests.BASE_LEVELS_MAX
    exponents: ClassVar[Mapping[str, tuple[int, int]]] = {
        "BTC": (-1, -3),
        "ETH": (-2, -3),
        "SOL": (-2, -2),
        "XRP": (-4, -1),
        "DOGE": (-5, 0),
    }
    kinds = (*requests.SPEEDS.values(), "trade", "bookTicker")
    paths: ClassVar[Mapping[str, str]] = {
        **{"ping": requests.PING_PATH, "time": requests.TIME_PATH},
        **{"list": requests.EXCHANGE_INFO_PATH, "depth": requests.DEPTH_PATH},
    }

    def written(self, mantissa: int, exponent: int) -> str:
        """Write a number with the digits of its step."""
        return format_fixed(mantissa, exponent)

    def depth_update(self, book: Book, delta: Delta, time_ms: int) -> dict[str, object]:
        """Write a change: its first number is anywhere behind the last one before it."""
        left_out = (delta.last_version - delta.first_version) // 2
        return {
            **{"e": "depthUpdate", "E": time_ms, "T": time_ms - 1, "s": book.instrument.symbol},
            **{"U": delta.first_version + left_out, "u": delta.last_version},
            "pu": delta.first_version - 1,
            **{"b": self.levels(book, delta.bids), "a": self.levels(book, delta.asks)},
            **{"st": 1, "ps": book.instrument.symbol},
        }

    def ticker(self, book: Book, delta: Delta, time_ms: int) -> dict[str, object]:
        """Write the best prices, and when they were so."""
        own = super().ticker(book, delta, time_ms)
        return {"e": "bookTicker", **own, "T": time_ms - 1, "E": time_ms}

    def trade(self, book: Book, delta: Delta, time_ms: int) -> dict[str, object]:
        """Write a trade at the touch, and how it came about."""
        own = super().trade(book, delta, time_ms)
        del own["M"]
        return {**own, "X": "MARKET"}

    def row(self, symbol: str, book: Book) -> dict[str, object]:
        """Write a contract's row of exchangeInfo."""
        name, scale = book.name, book.instrument
        least = self.quantity(book, 1)
        return {
            **{"symbol": symbol, "pair": symbol, "contractType": "PERPETUAL"},
            **{"deliveryDate": PERPETUAL_MS, "onboardDate": 1_569_398_400_000},
            "status": "SETTLING" if symbol in self._floor.halted else "TRADING",
            **{"baseAsset": name.base, "quoteAsset": name.quote, "marginAsset": name.settle},
            **{"pricePrecision": -scale.price_exponent},
            **{"quantityPrecision": -scale.quantity_exponent},
            **{"baseAssetPrecision": 8, "quotePrecision": 8, "underlyingType": "COIN"},
            "filters": [
                {"filterType": "PRICE_FILTER", "tickSize": self.price(book, 1)},
                {"filterType": "LOT_SIZE", "maxQty": "1000", "minQty": least, "stepSize": least},
                {"filterType": "MIN_NOTIONAL", "notional": "5"},
            ],
        }

    def depth(self, query: Mapping[str, str], time_ms: int) -> HttpResponse:
        """Answer depth, of so many levels as the venue knows."""
        if query.get("limit") not in ("5", "10", "20", "50", "100", "500", "1000"):
            return json_response(400, {"code": -4021, "msg": "Limit is not valid."})
        return super().depth(query, time_ms)


DIALECT: Final = BinanceUsdmDialect
