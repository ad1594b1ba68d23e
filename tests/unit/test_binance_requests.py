"""Binance's instrument list: one row that is strange takes itself out, whatever is in it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tickpath.proto.venues import load_venue

VENUE = load_venue("binance")


def row(symbol: str, **numbers: str) -> dict[str, Any]:
    """Return a row as exchangeInfo has it (see the venue's README), with other numbers."""
    price = {"filterType": "PRICE_FILTER", "tickSize": numbers.get("tickSize", "0.01000000")}
    lot = {
        "filterType": "LOT_SIZE",
        "stepSize": numbers.get("stepSize", "0.00001000"),
        "minQty": numbers.get("minQty", "0.00001000"),
    }
    return {
        "symbol": symbol,
        "status": "TRADING",
        "baseAsset": symbol[:3],
        "quoteAsset": "USDT",
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "filters": [price, lot],
    }


@pytest.mark.parametrize("key", ["tickSize", "stepSize", "minQty"])
@pytest.mark.parametrize("number", ["1e999999", "1e-999999", "NaN", "-1", "Infinity", "x"])
def test_list_row_with_an_impossible_number_takes_itself_out(key: str, number: str) -> None:
    rows = [row("BTCUSDT"), row("ETHUSDT", **{key: number})]
    found = VENUE.parse_instruments(json.dumps({"symbols": rows}).encode())
    assert "BTCUSDT" in found.instruments
    assert "ETHUSDT" in found.left_out
