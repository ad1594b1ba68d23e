"""Binance's USD-M contracts: what differs from spot, in C and in Python."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickpath._core import ffi, lib
from tickpath.proto.instrument import Status, parse_symbol
from tickpath.proto.venues.binance_usdm import requests
from tickpath.proto.venues.binance_usdm.settings import BinanceUsdmSettings
from tickpath.proto.venues.binance_usdm.venue import VENUE
from tickpath.proto.venues.decoder import find_decoder

from tests.unit.feed.test_feed_rule import VENUES

FRAMES = Path(__file__).resolve().parents[3] / "shared/reference/data/venues/binance_usdm"
INSTRUMENT, SCALE = 7, (-2, -3)
OK, UNKNOWN = int(lib.TP_DECODE_OK), int(lib.TP_DECODE_UNKNOWN)
DELTA, TOP, TRADES = (
    int(getattr(lib, f"TP_MEANING_{name}")) for name in ("DELTA", "TOP", "TRADES")
)
NO_MEANING = int(lib.TP_MEANING_UNKNOWN)

usdm: Any = find_decoder("binance_usdm")
spot: Any = find_decoder("binance")
depth = ffi.new("struct tp_depth_update *")
trades = ffi.new("struct tp_trade_update *")


def make_router(*channels: str, venue: Any = usdm) -> Any:
    memory = ffi.new("uint64_t[]", venue.router_size(8, 1) // 8 + 1)
    venue.router_init(memory, 8, 1)
    for name in channels:
        assert venue.router_add(memory, name.encode(), INSTRUMENT), name
    return memory


ROUTER = make_router("ethusdt@depth@0ms")


class Part:
    """A message at the very end of its memory, and what is decoded of it."""

    def __init__(self, data: bytes, router: Any = ROUTER) -> None:
        self._data = ffi.new("uint8_t[]", data)
        message = ffi.new(
            "struct tp_venue_message *", {"data": self._data, "size": len(data), "opcode": 1}
        )
        route = ffi.new("struct tp_route *")
        usdm.route(router, message, 0, route)
        self.meaning = int(route.meaning)
        self._body = ffi.new("uint8_t[]", data[route.body_offset :][: route.body_size])
        what = {"data": self._body, "size": route.body_size, "meaning": self.meaning}
        self.body = ffi.new("struct tp_body *", what | {"scale": SCALE})

    def decode(self) -> int:
        if self.meaning == TRADES:
            return int(usdm.decode_trades(self.body, trades))
        return int(usdm.decode_depth(self.body, depth))

    def read_versions(self) -> bool:
        return bool(usdm.read_versions(self.body, depth))


def numbers() -> tuple[int, int, int]:
    return depth.first_version, depth.last_version, depth.previous_version


def change(**fields: Any) -> bytes:
    data = {
        **{"e": "depthUpdate", "E": 1723161256303, "T": 1723161256302, "s": "ETHUSDT"},
        **{"U": 5123107832349, "u": 5123107837896, "pu": 5123107832175},
        **{"b": [["2681.62", "16.969"]], "a": [["2681.63", "0.000"]]},
    } | fields
    text = {"stream": "ethusdt@depth@0ms", "data": data}
    return json.dumps(text, separators=(",", ":")).encode()


# ---- books ---------------------------------------------------------------------------------------


def test_change_names_the_number_before_it_and_when_it_was_matched() -> None:
    part = Part(change())
    assert (part.meaning, part.decode()) == (DELTA, OK)
    assert numbers() == (5123107832349, 5123107837896, 5123107832175)
    assert depth.exchange_ns == 1723161256302 * 10**6
    assert [(one.price, one.quantity) for one in (depth.bids[0], depth.asks[0])] == [
        *((268162, 16969), (268163, 0)),
    ]
    assert part.read_versions()
    assert numbers() == (5123107832349, 5123107837896, 5123107832175)


def test_order_of_times_does_not_matter_and_more_keys_are_read_over() -> None:
    data = json.loads(change(st=1, ps="ETHUSDT"))
    data["data"] = dict(reversed(data["data"].items()))
    part = Part(json.dumps(data).encode())
    assert (part.meaning, part.decode()) == (DELTA, OK)
    assert depth.exchange_ns == 1723161256302 * 10**6
    assert numbers() == (5123107832349, 5123107837896, 5123107832175)


def test_change_without_the_number_before_it_is_refused() -> None:
    """It would be followed whatever was lost."""
    data = change().replace(b'"pu":', b'"px":')
    assert Part(data).decode() == UNKNOWN
    assert not Part(data).read_versions()
    assert Part(change(pu=-1)).decode() == lib.TP_DECODE_BAD_NUMBER
    assert Part(change(U=5123107837897)).decode() == lib.TP_DECODE_BAD_NUMBER


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_numbers_are_those_that_stand_there(first: int, last: int, previous: int) -> None:
    part = Part(change(U=first, u=last, pu=previous))
    assert (part.decode() == OK) == (first <= last)
    if first <= last:
        assert numbers() == (first, last, previous)
        assert part.read_versions()
        assert numbers() == (first, last, previous)


def test_numbers_of_a_message_that_was_refused_are_read() -> None:
    part = Part(change(b=[["2681.625", "1"]]))
    assert part.decode() == lib.TP_DECODE_TOO_FINE
    assert part.read_versions()
    assert numbers() == (5123107832349, 5123107837896, 5123107832175)


def test_spot_is_as_it_was() -> None:
    """Spot's messages name no number before them, and one that would is read over."""
    body = json.dumps({"U": 5, "u": 7, "pu": 3, "T": 9, "E": 8, "b": [], "a": []}).encode() + b"}"
    memory = ffi.new("uint8_t[]", body)
    what = ffi.new("struct tp_body *", {"data": memory, "size": len(body), "meaning": DELTA})
    for read in (spot.decode_depth, spot.read_versions):
        assert read(what, depth) in (OK, True)
        assert numbers() == (5, 7, 0)
    assert spot.decode_depth(what, depth) == OK
    assert depth.exchange_ns == 8_000_000


# ---- routing -------------------------------------------------------------------------------------


def test_streams_are_those_of_the_market() -> None:
    ours = {"depth@0ms", "depth@100ms", "depth", "depth@500ms", "trade", "bookTicker"}
    spots = {"depth@100ms", "depth", "trade", "bookTicker"}
    for name in ours | {"depth@250ms", "depth20", "depth20@100ms", "aggTrade", "markPrice@1s", ""}:
        channel = f"ethusdt@{name}".encode()
        assert (usdm.describe(channel) != ffi.NULL) == (name in ours), name
        assert (spot.describe(channel) != ffi.NULL) == (name in spots), name
    # A depth-limited stream has the same shape under another name.
    assert Part(change().replace(b"@depth@0ms", b"@depth20@0ms")).meaning == NO_MEANING
    assert Part(change().replace(b"@depth@0ms", b"@depth@100ms")).meaning == NO_MEANING


def test_rule_is_that_which_the_documents_were_read_for() -> None:
    fields = [name for name, _ in ffi.typeof("struct tp_sync_rule").fields]
    row = VENUES["binance_usdm"].rule
    for name in requests.SPEEDS.values():
        rule = usdm.describe(f"btcusdt@{name}".encode()).rule
        assert {one: getattr(rule, one) for one in fields} == dict.fromkeys(fields, 0) | row


def test_settings_choose_streams_and_where_they_come_from() -> None:
    for speed, name in (("0ms", "depth@0ms"), ("100ms", "depth@100ms"), ("250ms", "depth")):
        settings = msgspec.convert(
            {"speed": speed, "trades": True, "best": True}, BinanceUsdmSettings
        )
        channels = VENUE.channels("BTCUSDT", settings)
        assert channels == (f"btcusdt@{name}", "btcusdt@trade", "btcusdt@bookTicker")
        endpoint = VENUE.endpoint(channels[0], settings)
        assert (endpoint.host, endpoint.path) == ("fstream.binance.com", "/public/stream")


# ---- best prices and trades ----------------------------------------------------------------------


def test_best_price_has_its_time() -> None:
    data = {"e": "bookTicker", "u": 5123107838717, "s": "ETHUSDT", "b": "2681.62", "B": "1.165"}
    more = {"a": "2681.63", "A": "73.077", "T": 1723161256310, "E": 1723161256311}
    text = json.dumps({"stream": "ethusdt@bookTicker", "data": data | more}).encode()
    part = Part(text)
    assert (part.meaning, part.decode(), depth.flags) == (TOP, OK, lib.TP_DEPTH_TOP)
    assert (depth.bids[0].quantity, depth.asks[0].quantity) == (1165, 73077)
    assert depth.exchange_ns == 1723161256311 * 10**6


def trade(**fields: Any) -> bytes:
    data = {
        **{"e": "trade", "E": 1723161256560, "T": 1723161256559, "s": "ETHUSDT", "t": 4308068523},
        **{"p": "2681.62", "q": "1.000", "X": "MARKET", "m": True},
    } | fields
    text = {"stream": "ethusdt@trade", "data": data}
    return json.dumps(text, separators=(",", ":")).encode()


def test_trade_is_one_unless_the_venue_says_that_it_is_none() -> None:
    for origin in ("MARKET", "INSURANCE_FUND", "NAV"):
        part = Part(trade(X=origin))
        assert (part.meaning, part.decode(), trades.count) == (TRADES, OK, 1)
        one = trades.trades[0]
        assert (one.id, one.price, one.quantity) == (4308068523, 268162, 1000)
        assert (one.flags, one.exchange_ns) == (lib.TP_TRADE_SELL, 1723161256559 * 10**6)
    assert Part(trade(X="NA", p="0", q="0")).decode() == OK
    assert trades.count == 0
    assert Part(trade(X="NA")).decode() == OK
    assert trades.count == 0, "its word counts"
    assert Part(trade(X="NA", p="x")).decode() != OK, "it must be read all the same"


# ---- REST ----------------------------------------------------------------------------------------


def row(symbol: str = "BTCUSDT", **fields: Any) -> dict[str, Any]:
    return {
        **{"symbol": symbol, "pair": symbol, "contractType": "PERPETUAL", "status": "TRADING"},
        **{"deliveryDate": 4133404800000, "baseAsset": symbol[:3], "quoteAsset": "USDT"},
        **{"marginAsset": "USDT", "pricePrecision": 2, "quantityPrecision": 3},
        "filters": [
            {"minPrice": "556.72", "filterType": "PRICE_FILTER", "tickSize": "0.10"},
            {"stepSize": "0.001", "filterType": "LOT_SIZE", "maxQty": "1000", "minQty": "0.002"},
            {"limit": 200, "filterType": "MAX_NUM_ORDERS"},
            {"notional": "5", "filterType": "MIN_NOTIONAL"},
        ],
    } | fields


def listed(*rows: dict[str, Any]) -> Any:
    return VENUE.parse_instruments(json.dumps({"symbols": rows}).encode())


def test_contracts_have_names_steps_and_statuses() -> None:
    found = listed(
        row(),
        row("ETHUSDT", status="SETTLING"),
        row("OLDUSDT", status="CLOSE"),
        row("TSLUSDT", contractType="TRADIFI_PERPETUAL"),
        row(
            "BTCUSDT_261225",
            contractType="CURRENT_QUARTER",
            deliveryDate=1798185600000,
            baseAsset="BTC",
        ),
        row("ETHUSDC", quoteAsset="USDC", marginAsset="USDC"),
    )
    assert found.left_out == {}
    names = [str(one.name) for one in found.instruments.values()]
    assert names == [
        *("BTC/USDT:USDT", "ETH/USDT:USDT", "OLD/USDT:USDT", "TSL/USDT:USDT"),
        *("BTC/USDT:USDT-261225", "ETH/USDC:USDC"),
    ]
    btc, eth, old, *_ = found.instruments.values()
    assert (btc.venue, btc.price_exponent, btc.tick_size) == ("binance_usdm", -1, 1)
    assert (btc.quantity_exponent, btc.lot_size, btc.quantity_min) == (-3, 1, 2)
    assert btc.notional_min == Decimal(5)
    assert [one.status for one in (btc, eth, old)] == [
        *(Status.TRADING, Status.HALTED, Status.DELISTED),
    ]


def test_contract_rows_that_cannot_be_read_take_themselves_out() -> None:
    rows = {
        "BTSUSDT": row("BTSUSDT", contractType="", status="PENDING_TRADING"),
        "FARUSDT": row("FARUSDT", contractType="CURRENT_QUARTER", deliveryDate=10**18),
        "btcusdt": row("btcusdt"),
        "BADUSDT": row("BADUSDT", filters=[{"filterType": "PRICE_FILTER", "tickSize": "1e-19"}]),
        "row 5": {"status": 5},
    }
    found = listed(row(), *rows.values())
    assert list(found.instruments) == ["BTCUSDT"]
    assert set(found.left_out) == set(rows)


@pytest.mark.parametrize(
    ("name", "symbol"),
    [
        *(("BTC/USDT:USDT", "BTCUSDT"), ("BTC/USDC:USDC", "BTCUSDC"), ("BTC/USDT", None)),
        *(("BTC/USD:BTC", None), ("BTC/USDT:USDT-261225", None)),
    ],
)
def test_canonical_names_of_perpetuals_are_written(name: str, symbol: str | None) -> None:
    assert VENUE.venue_symbol(parse_symbol(name)) == symbol


def test_bases_cost_what_their_levels_weigh() -> None:
    for levels, weight in ((5, 2), (50, 2), (100, 5), (500, 10), (1000, 20)):
        settings = msgspec.convert({"depth": levels}, BinanceUsdmSettings)
        assert VENUE.rest_budget(settings).per_second == 1200 / weight / 60
        target = VENUE.base_request("龙虾USDT", settings).target
        assert target == f"/fapi/v1/depth?symbol=%E9%BE%99%E8%99%BEUSDT&limit={levels}"
        assert VENUE.base_depth(settings) == levels
        assert VENUE.request_weight(VENUE.base_request("BTCUSDT", settings)) == weight
    assert VENUE.request_weight(VENUE.instruments_request(BinanceUsdmSettings())) == 20
    with pytest.raises(msgspec.ValidationError, match="depth"):
        msgspec.convert({"depth": 200}, BinanceUsdmSettings)


# ---- the venue's own frames ----------------------------------------------------------------------

if FRAMES.is_dir():  # beside the project; no test may be skipped in CI
    RECORDED = (
        ("stream_ethusdt_20240808.jsonl", "rest_depth_ethusdt_20240808.json"),
        ("book_keepusdt_2021.jsonl", "rest_depth_keepusdt_2021.json"),
        ("book_sushiusdt_2021.jsonl", "rest_depth_sushiusdt_2021.json"),
    )

    @pytest.mark.parametrize(("stream", "base"), RECORDED)
    def test_recorded_book_chains_and_its_base_is_met(stream: str, base: str) -> None:
        rule = ffi.new("struct tp_sync_rule *", VENUES["binance_usdm"].rule)
        version = int(json.loads((FRAMES / base).read_bytes())["lastUpdateId"])
        phase, applied = int(lib.TP_SYNC_FIRST), 0
        before: int | None = None
        for line in (FRAMES / stream).read_bytes().splitlines():
            said = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
            if b"@depth" not in bytes(said.get("stream", b"")):
                continue
            body = bytes(said["data"]) + b"}"
            memory = ffi.new("uint8_t[]", body)
            what = {"data": memory, "size": len(body), "meaning": DELTA, "scale": (-6, -6)}
            assert usdm.decode_depth(ffi.new("struct tp_body *", what), depth) == OK
            assert before in (None, depth.previous_version)
            before = depth.last_version
            verdict = lib.tp_sync_judge(rule, phase, version, depth)
            assert verdict in (lib.TP_SYNC_APPLY, lib.TP_SYNC_DROP)
            if verdict == lib.TP_SYNC_APPLY:
                phase, version, applied = (
                    int(lib.TP_SYNC_FOLLOWING),
                    depth.last_version,
                    applied + 1,
                )
        assert applied > 5
