"""What is asked of Bybit and what it answers, by its documents and by what others recorded."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from tickpath.proto.instrument import Status, Symbol, parse_symbol
from tickpath.proto.venue import Asked, HttpResponse, Meaning
from tickpath.proto.venues import load_venue, name_symbol, pair_symbol, resolve_symbol
from tickpath.proto.venues.bybit import requests
from tickpath.proto.venues.bybit.settings import BybitSettings

SPOT, LINEAR = load_venue("bybit"), load_venue("bybit_linear")
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
SETTINGS = BybitSettings()


def test_bybit_requests_have_ten_topics_and_an_id_each() -> None:
    channels = [f"orderbook.50.SYM{number}USDT" for number in range(23)]
    for make, op in ((SPOT.subscribe, "subscribe"), (SPOT.unsubscribe, "unsubscribe")):
        said = [json.loads(one) for one in make(channels, request=7, time_s=0)]
        assert [one["req_id"] for one in said] == ["7", "8", "9"]
        assert {one["op"] for one in said} == {op}
        assert [len(one["args"]) for one in said] == [10, 10, 3]
        assert [name for one in said for name in one["args"]] == channels


def test_bybit_all_topics_of_a_connection_are_within_the_venues_limit() -> None:
    name = requests.topic("orderbook.1000", "X" * 64)
    size = len(name) * requests.CHANNELS_PER_CONNECTION
    assert size <= requests.ARGUMENTS_SIZE_MAX
    first = -(-requests.CHANNELS_PER_CONNECTION // requests.CHANNELS_PER_MESSAGE)
    assert first <= requests.MESSAGES_PER_SECOND, "what a connection opens with fits a second"


def test_bybit_channels_are_what_was_configured_the_book_first() -> None:
    all_of_it = BybitSettings(depth=200, trades=True, best=True)
    assert SPOT.channels("BTCUSDT", SETTINGS) == ("orderbook.50.BTCUSDT",)
    assert SPOT.channels("BTCUSDT", all_of_it) == (
        *("orderbook.200.BTCUSDT", "publicTrade.BTCUSDT", "orderbook.1.BTCUSDT"),
    )


def test_bybit_requests_are_read_back() -> None:
    (text,) = SPOT.subscribe(["orderbook.50.BTCUSDT"], request=7, time_s=0)
    assert SPOT.asked(text) == Asked(7, ("orderbook.50.BTCUSDT",))
    (text,) = SPOT.unsubscribe(["orderbook.50.BTCUSDT"], request=8, time_s=0)
    assert SPOT.asked(text) == Asked(8, ())
    assert SPOT.asked(SPOT.ping(request=9, time_s=0)) == Asked(0, ())
    assert SPOT.asked(b'{"req_id":"x","op":"subscribe","args":[]}') is None
    assert SPOT.asked(b"{") is None


@pytest.mark.parametrize(
    ("text", "meaning", "request_id", "channels"),
    [
        ('{"success":true,"ret_msg":"","req_id":"7","op":"subscribe"}', "ACKNOWLEDGEMENT", 7, ()),
        ('{"success":true,"ret_msg":"subscribe","op":"subscribe"}', "ACKNOWLEDGEMENT", None, ()),
        (
            '{"success":true,"ret_msg":"","req_id":"x","op":"subscribe"}',
            "ACKNOWLEDGEMENT",
            None,
            (),
        ),
        (
            '{"success":false,"ret_msg":"Invalid symbol :[orderbook.50.A]","op":"subscribe"}',
            *("REFUSAL", None, ()),
        ),
        ('{"success":false,"ret_msg":"no","req_id":"7","op":"subscribe"}', "REFUSAL", 7, ()),
        (
            '{"success":false,"ret_msg":"error:already subscribed,topic:orderbook.50.A",'
            '"req_id":"7","op":"subscribe"}',
            *("ACKNOWLEDGEMENT", 7, ("orderbook.50.A",)),
        ),
        ('{"success":false,"ret_msg":"no","req_id":"7","op":"unsubscribe"}', "NOTICE", 7, ()),
        ('{"success":true,"ret_msg":"pong","req_id":"0","op":"ping"}', "HEARTBEAT", 0, ()),
        ('{"op":"pong","args":["1795000000127"]}', "HEARTBEAT", None, ()),
        ('{"success":true,"ret_msg":"pong","op":"pong"}', "HEARTBEAT", None, ()),
        ('{"topic":"tickers.BTCUSDT","data":{}}', "UNKNOWN", None, ()),
        ('{"success":1}', "BROKEN", None, ()),
    ],
)
def test_bybit_answer_is_read(
    text: str, meaning: str, request_id: int | None, channels: tuple[str, ...]
) -> None:
    (note,) = SPOT.parse_notes(text.encode())
    assert (note.meaning, note.channels) == (Meaning[meaning], channels)
    if meaning != "BROKEN":
        assert note.request == request_id


# ---- names ---------------------------------------------------------------------------------------


def test_bybit_names_of_one_market_are_none_of_the_other() -> None:
    """BTCUSDT is listed on both: only the venue's name tells which one is meant."""
    assert resolve_symbol(SPOT, "BTC/USDT") == resolve_symbol(LINEAR, "BTC/USDT:USDT") == "BTCUSDT"
    for venue, name in ((SPOT, "BTC/USDT:USDT"), (LINEAR, "BTC/USDT"), (LINEAR, "BTC/USD:BTC")):
        with pytest.raises(ValueError, match="lists nothing of this kind"):
            resolve_symbol(venue, name)
    assert LINEAR.venue_symbol(parse_symbol("BTC/USDT:USDT-261225")) is None
    pair = parse_symbol("BTC/USDT")
    assert pair_symbol(SPOT, pair) == pair_symbol(LINEAR, pair) == "BTCUSDT"
    assert str(name_symbol(SPOT, "BTCUSDT")) == "BTC/USDT"
    assert str(name_symbol(LINEAR, "BTCUSDT")) == "BTC/USDT:USDT"


def test_bybit_markets_have_a_path_each() -> None:
    for venue, path in ((SPOT, "/v5/public/spot"), (LINEAR, "/v5/public/linear")):
        endpoint = venue.endpoint("orderbook.50.BTCUSDT", SETTINGS)
        assert (endpoint.host, endpoint.path) == ("stream.bybit.com", path)


@pytest.mark.parametrize("symbol", ["btcusdt", "BTC/USDT", "BTC.USDT", 'BTC"', "BTC%20", "A&B"])
def test_bybit_symbol_that_no_topic_is_made_of_is_refused(symbol: str) -> None:
    with pytest.raises(ValueError, match="upper case such as BTCUSDT"):
        SPOT.check_symbol(symbol)


# ---- the list ------------------------------------------------------------------------------------


def spot_row(**fields: Any) -> dict[str, Any]:
    """Write a row as the documents' example has it."""
    return {
        **{"symbol": "BTCUSDT", "baseCoin": "BTC", "quoteCoin": "USDT", "status": "Trading"},
        "lotSizeFilter": {
            **{"basePrecision": "0.000001", "quotePrecision": "0.0000001", "maxOrderQty": "83"},
            **{"minOrderQty": "0.000011", "minOrderAmt": "5", "maxOrderAmt": "8000000"},
        },
        "priceFilter": {"tickSize": "0.1"},
        **fields,
    }


def linear_row(**fields: Any) -> dict[str, Any]:
    """Write a row as the documents' example has it."""
    return {
        **{"symbol": "BTCUSDT", "contractType": "LinearPerpetual", "status": "Trading"},
        **{"baseCoin": "BTC", "quoteCoin": "USDT", "settleCoin": "USDT", "deliveryTime": "0"},
        "priceFilter": {"minPrice": "0.10", "maxPrice": "1999999.80", "tickSize": "0.10"},
        "lotSizeFilter": {"minOrderQty": "0.001", "qtyStep": "0.001", "minNotionalValue": "5"},
        **fields,
    }


def page(category: str, *rows: dict[str, Any], **more: Any) -> bytes:
    result = {"category": category, "list": rows, **more}
    return json.dumps({"retCode": 0, "retMsg": "OK", "result": result}).encode()


def test_bybit_spot_row_says_scale_steps_and_minima() -> None:
    listed = SPOT.parse_instruments(page("spot", spot_row()))
    assert (listed.left_out, listed.more) == ({}, None)
    row = listed.instruments["BTCUSDT"]
    assert (row.venue, row.name) == ("bybit", Symbol("BTC", "USDT"))
    assert (row.price_exponent, row.tick_size) == (-1, 1)
    assert (row.quantity_exponent, row.lot_size, row.quantity_min) == (-6, 1, 11)
    assert (row.notional_min, row.multiplier) == (Decimal(5), Decimal(1))
    assert row.status is Status.TRADING


def test_bybit_linear_rows_are_perpetual_or_dated() -> None:
    dated = linear_row(
        symbol="BTC-25DEC26",
        contractType="LinearFutures",
        settleCoin="USDC",
        quoteCoin="USDC",
        deliveryTime="1798185600000",
    )
    odd = linear_row(symbol="BTCUSD", contractType="InversePerpetual")
    listed = LINEAR.parse_instruments(page("linear", linear_row(), dated, odd))
    assert [str(row.name) for row in listed.instruments.values()] == [
        *("BTC/USDT:USDT", "BTC/USDC:USDC-261225"),
    ]
    row = listed.instruments["BTCUSDT"]
    assert (row.venue, row.price_exponent, row.tick_size) == ("bybit_linear", -1, 1)
    assert (row.quantity_exponent, row.quantity_min, row.notional_min) == (-3, 1, Decimal(5))
    assert list(listed.left_out) == ["BTCUSD"]
    assert "'InversePerpetual': expected LinearPerpetual" in listed.left_out["BTCUSD"]


@pytest.mark.parametrize(
    ("status", "found"),
    [
        ("Trading", Status.TRADING),
        ("PreLaunch", Status.HALTED),
        ("Delivering", Status.HALTED),
        ("Closed", Status.DELISTED),
    ],
)
def test_bybit_status_of_a_row(status: str, found: Status) -> None:
    listed = LINEAR.parse_instruments(page("linear", linear_row(status=status)))
    assert listed.instruments["BTCUSDT"].status is found


def test_bybit_list_in_pages_asks_for_the_next() -> None:
    assert SPOT.instruments_request(SETTINGS).target == (
        "/v5/market/instruments-info?category=spot"
    )
    first = LINEAR.instruments_request(SETTINGS)
    assert first.target == "/v5/market/instruments-info?category=linear&limit=1000"
    more = LINEAR.parse_instruments(
        page("linear", linear_row(), nextPageCursor="first%3DBIOUSDT%26last%3DBIOUSDT")
    ).more
    assert more is not None
    assert more.target == f"{first.target}&cursor=first%253DBIOUSDT%2526last%253DBIOUSDT"
    for last in ("", None):
        assert LINEAR.parse_instruments(page("linear", nextPageCursor=last)).more is None


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"priceFilter": {"tickSize": "0"}}, "tickSize '0': expected more than 0"),
        ({"priceFilter": {"tickSize": "x"}}, "expected a decimal number"),
        ({"priceFilter": {"tickSize": "1e-19"}}, "expected 0 to 18 digits"),
        ({"priceFilter": {"tickSize": "1e-999999"}}, "digits"),
        ({"priceFilter": {}}, "tickSize"),
        ({"lotSizeFilter": {"qtyStep": "1"}}, "basePrecision '': expected more than 0"),
        ({"symbol": "A B"}, "upper case such as BTCUSDT"),
        ({"status": 1}, "status"),
    ],
)
def test_bybit_row_that_cannot_be_read_takes_itself_out(fields: dict[str, Any], why: str) -> None:
    other = spot_row(symbol="ETHUSDT", baseCoin="ETH")
    listed = SPOT.parse_instruments(page("spot", spot_row(**fields), other))
    assert list(listed.instruments) == ["ETHUSDT"]
    (found,) = listed.left_out.values()
    assert why in found


def test_bybit_row_of_the_list_twice_counts_once() -> None:
    listed = SPOT.parse_instruments(page("spot", spot_row(), spot_row(status="Closed")))
    assert listed.instruments["BTCUSDT"].status is Status.TRADING
    assert listed.left_out == {"BTCUSDT": "BTCUSDT: listed twice; the first row counts"}


@pytest.mark.parametrize("delivery", ["", "x", "9" * 18])
def test_bybit_dated_contract_without_a_date_takes_itself_out(delivery: str) -> None:
    row = linear_row(contractType="LinearFutures", deliveryTime=delivery)
    listed = LINEAR.parse_instruments(page("linear", row))
    assert listed.instruments == {}
    assert "BTCUSDT" in listed.left_out


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"<html>", "expected the JSON of instruments-info"),
        (b'{"retCode":0,"result":[]}', "expected the JSON of instruments-info"),
        (b'{"retCode":10001,"retMsg":"params error","result":{}}', "10001, params error"),
        (page("linear", linear_row()), "of linear, expected spot"),
    ],
)
def test_bybit_answer_that_is_no_list_is_an_error(data: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        SPOT.parse_instruments(data)


# ---- limits --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "found"),
    [
        (403, b"", (True, None)),
        (429, b"", (False, None)),
        (200, b'{"retCode":10006,"retMsg":"Too many visits!"}', (False, None)),
        (200, b'{"retMsg":"Too many visits!","retCode":10006}', (False, None)),
        (200, b'{"retCode":0,"retMsg":"OK"}', None),
        (200, b'{"retCode":10001,"retMsg":"params error"}', None),
        (200, b"[", None),
        (503, b"", None),
    ],
)
def test_bybit_answer_that_limits(
    status: int, body: bytes, found: tuple[bool, float | None] | None
) -> None:
    refusal = SPOT.rest_refusal(HttpResponse(status, {}, body), NOW)
    assert (None if refusal is None else (refusal.is_ban, refusal.retry_after_s)) == found


def test_bybit_ban_lasts_ten_minutes() -> None:
    assert SPOT.rest_budget(SETTINGS).banned_s == 600.0
