"""Bitget's contracts in USDT from their side of the wire: what differs from spot (bitget.py).

Called by: ../exchange.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tickpath.engine.sim.depth_view import decimal
from tickpath.engine.sim.venues.bitget import BitgetDialect
from tickpath.proto.venues.bitget.listing import PERPETUAL
from tickpath.proto.venues.bitget_usdt.venue import VENUE

if TYPE_CHECKING:
    from tickpath.engine.sim.depth_view import Scale


class BitgetUsdtDialect(BitgetDialect):
    """Bitget's contracts in USDT."""

    venue = VENUE

    def row(self, scale: Scale, *, is_halted: bool) -> dict[str, object]:
        """Write what else a contract's row has."""
        least = decimal(1, scale[1])
        return {
            **{"buyLimitPriceRatio": "0.05", "sellLimitPriceRatio": "0.05"},
            **{"feeRateUpRatio": "0.005", "makerFeeRate": "0.0002", "takerFeeRate": "0.0006"},
            **{"openCostUpRatio": "0.01", "supportMarginCoins": ["USDT"], "minTradeNum": least},
            **{"priceEndStep": "1", "volumePlace": str(-scale[1]), "pricePlace": str(-scale[0])},
            **{"sizeMultiplier": least, "symbolType": PERPETUAL, "minTradeUSDT": "5"},
            **{"maxSymbolOrderNum": "200", "maxProductOrderNum": "1000", "maxPositionNum": "200"},
            **{"symbolStatus": "maintain" if is_halted else "normal", "offTime": "-1"},
            **{"limitOpenTime": "-1", "deliveryTime": "", "deliveryStartTime": ""},
            **{"launchTime": "", "fundInterval": "8", "minLever": "1", "maxLever": "150"},
            **{"posLimit": "0.2", "maintainTime": "", "isRwa": "NO"},
        }


DIALECT: Final = BitgetUsdtDialect
