"""Binance's instrument list: one row that is strange takes itself out, whatever is in it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from tickpath.proto.venue import HttpRequest, HttpResponse
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


@pytest.mark.parametrize(
    ("target", "weight"),
    [
        ("/api/v3/depth?symbol=BTCUSDT&limit=100", 5),
        ("/api/v3/depth?symbol=BTCUSDT&limit=101", 25),
        ("/api/v3/depth?symbol=BTCUSDT&limit=1000", 50),
        ("/api/v3/depth?limit=5000&symbol=BTCUSDT", 250),
        ("/api/v3/depth?symbol=BTCUSDT&limit=5001", 20),
        ("/api/v3/exchangeInfo?showPermissionSets=false", 20),
    ],
)
def test_weight_of_a_request_is_that_of_the_documents(target: str, weight: int) -> None:
    assert VENUE.request_weight(HttpRequest(target)) == weight


def test_weight_used_is_of_this_minute() -> None:
    answer = HttpResponse(200, {"x-mbx-used-weight-1m": "5871"}, b"{}")
    at = datetime(2026, 11, 30, 12, 0, 45, tzinfo=UTC)
    assert VENUE.requests_used(answer, at) == (5871, 15.0)
