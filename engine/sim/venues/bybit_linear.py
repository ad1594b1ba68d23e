"""Bybit's linear contracts from their side of the wire: what differs from spot (bybit.py).

Called by: ../exchange.py.
"""

from __future__ import annotations

import uuid
from typing import Final

from tickpath.engine.sim.venues.bybit import BybitDialect
from tickpath.proto.venues.bybit import requests
from tickpath.proto.venues.bybit_linear.venue import VENUE


class BybitLinearDialect(BybitDialect):
    """Bybit's linear contracts."""

    venue = VENUE
    websocket_paths = frozenset({requests.websocket_path(requests.LINEAR)})
    arguments_max = None
    type_is_first = True

    def trade_id(self, number: int) -> str:
        """Write a trade's id: a UUID."""
        return str(uuid.UUID(int=number))

    def lot(self, least: str) -> dict[str, str]:
        """Write an instrument's lotSizeFilter."""
        return {
            **{"minOrderQty": least, "qtyStep": least, "maxOrderQty": "1190.000"},
            **{"postOnlyMaxOrderQty": "1190.000", "minNotionalValue": "5"},
        }

    def contract(self, settle: str) -> dict[str, object]:
        """Write what else a perpetual contract's row has."""
        return {
            **{"contractType": "LinearPerpetual", "settleCoin": settle, "deliveryTime": "0"},
            **{"launchTime": "1585526400000", "priceScale": "2", "symbolType": ""},
        }


DIALECT: Final = BybitLinearDialect
