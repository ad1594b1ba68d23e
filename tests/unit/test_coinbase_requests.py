"""What is asked of Coinbase Advanced Trade and what it answers, as captures and fixtures say."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from tickpath.proto.instrument import Instrument, Status, Symbol, parse_symbol
from tickpath.proto.records import ScaleError
from tickpath.proto.venue import HttpResponse, Meaning, Note, Verification
from tickpath.proto.venues.coinbase.settings import CoinbaseSettings
from tickpath.proto.venues.coinbase.venue import VENUE

NOW = datetime(2026, 11, 30, tzinfo=UTC)
SETTINGS = CoinbaseSettings()


def note(**fields: Any) -> Note:
    (one,) = VENUE.parse_notes(json.dumps(fields).encode())
    return one


# ---- requests ------------------------------------------------------------------------------------


def test_subscriptions_have_one_channel_a_message() -> None:
    channels = ["level2:BTC-USD", "ticker:BTC-USD", "level2:ETH-USD"]
    said = [json.loads(one) for one in VENUE.subscribe(channels, request=3, time_s=0)]
    assert said == [
        {"type": "subscribe", "product_ids": ["BTC-USD", "ETH-USD"], "channel": "level2"},
        {"type": "subscribe", "product_ids": ["BTC-USD"], "channel": "ticker"},
    ]
    (end,) = VENUE.unsubscribe(channels[:1], request=4, time_s=0)
    assert json.loads(end) == said[0] | {"type": "unsubscribe", "product_ids": ["BTC-USD"]}
    many = VENUE.subscribe([f"level2:A{i}-USD" for i in range(25)], request=1, time_s=0)
    assert [len(json.loads(one)["product_ids"]) for one in many] == [10, 10, 5]


def test_connection_begins_with_heartbeats_within_a_seconds_messages() -> None:
    (first,) = VENUE.greeting(request=1, time_s=0)
    assert json.loads(first) == {"type": "subscribe", "channel": "heartbeats"}
    every = CoinbaseSettings(trades=True, best=True)
    names = [one for i in range(10) for one in VENUE.channels(f"A{i}-USD", every)]
    assert len(names) == VENUE.limits.channels_per_connection
    said = 1 + len(VENUE.subscribe(names, request=1, time_s=0))
    assert said <= VENUE.limits.messages_per_second


def test_channels_follow_the_settings() -> None:
    assert VENUE.channels("BTC-USD", SETTINGS) == ("level2:BTC-USD",)
    assert VENUE.channels("BTC-USD", CoinbaseSettings(trades=True, best=True)) == (
        *("level2:BTC-USD", "market_trades:BTC-USD", "ticker:BTC-USD"),
    )


@pytest.mark.parametrize("name", ["BTC-USD", "l2_data:BTC-USD", "candles:BTC-USD"])
def test_channel_of_nobody_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="expected one such as level2:BTC-USD"):
        VENUE.subscribe([name], request=1, time_s=0)


@pytest.mark.parametrize("symbol", ["BTCUSD", "BTC-", "-USD", 'A"-B', "A\\-B", "A:-B", "A/B"])
def test_symbol_that_is_none_is_refused(symbol: str) -> None:
    with pytest.raises(ValueError, match="expected a product such as BTC-USD"):
        VENUE.check_symbol(symbol)


@pytest.mark.parametrize(
    ("name", "symbol"),
    [("BTC/USD", "BTC-USD"), ("ETH/BTC", "ETH-BTC"), ("BTC/USDC:USDC", None)],
)
def test_canonical_names_of_spot_are_written(name: str, symbol: str | None) -> None:
    assert VENUE.venue_symbol(parse_symbol(name)) == symbol


# ---- answers -------------------------------------------------------------------------------------


def test_answer_has_all_that_is_subscribed_to() -> None:
    listed = {"heartbeats": ["heartbeats"], "level2": ["BTC-USD", "ETH-USD"], "ticker": ["A-B"]}
    one = note(channel="subscriptions", sequence_num=2, events=[{"subscriptions": listed}])
    assert one.meaning is Meaning.ACKNOWLEDGEMENT
    assert one.channels == ("level2:BTC-USD", "level2:ETH-USD", "ticker:A-B")
    none = note(channel="subscriptions", sequence_num=2, events=[{"subscriptions": {}}])
    assert (none.meaning, none.channels) == (Meaning.ACKNOWLEDGEMENT, ())


def test_error_refuses_and_says_why() -> None:
    one = note(type="error", message="authentication failure")
    assert (one.meaning, one.channels, one.reason) == (
        *(Meaning.REFUSAL, ()),
        "authentication failure",
    )
    assert note(type="error", message="a", reason="b").reason == "a: b"


def test_what_else_is_said_is_a_heartbeat_unknown_or_broken() -> None:
    assert note(channel="heartbeats", sequence_num=1, events=[]).meaning is Meaning.HEARTBEAT
    assert note(channel="candles", events=[]).meaning is Meaning.UNKNOWN
    assert note(type="status").meaning is Meaning.UNKNOWN
    assert note(channel="subscriptions", events=[{"subscriptions": 5}]).meaning is Meaning.BROKEN


# ---- the list ------------------------------------------------------------------------------------

ROW: dict[str, Any] = {
    **{"product_id": "BTC-USD", "base_currency_id": "BTC", "quote_currency_id": "USD"},
    **{"base_increment": "0.00000001", "quote_increment": "0.01", "price_increment": "0.01"},
    **{"base_min_size": "0.000016", "quote_min_size": "1", "status": "online", "alias": ""},
    **{"product_type": "SPOT", "trading_disabled": False, "cancel_only": False},
    **{"view_only": False, "auction_mode": False, "is_disabled": False},
}


def listed(*rows: Any) -> Any:
    return VENUE.parse_instruments(json.dumps({"products": rows, "num_products": 1}).encode())


def test_list_has_scale_minima_and_name() -> None:
    (row,) = listed(ROW).instruments.values()
    assert (row.symbol, row.name) == ("BTC-USD", Symbol("BTC", "USD"))
    assert (row.price_exponent, row.quantity_exponent, row.tick_size) == (-2, -8, 1)
    assert (row.quantity_min, row.notional_min, row.status) == (1600, Decimal(1), Status.TRADING)
    (half,) = listed(ROW | {"price_increment": "0.05"}).instruments.values()
    assert (half.price_exponent, half.tick_size) == (-2, 5)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        *(({"trading_disabled": True}, Status.HALTED), ({"auction_mode": True}, Status.HALTED)),
        *(({"view_only": True}, Status.HALTED), ({"status": "offline"}, Status.HALTED)),
        *(({"cancel_only": True}, Status.CANCEL_ONLY), ({"status": "delisted"}, Status.DELISTED)),
    ],
)
def test_list_says_what_may_be_traded(fields: dict[str, Any], status: Status) -> None:
    (row,) = listed(ROW | fields).instruments.values()
    assert row.status is status


def test_row_that_cannot_be_read_takes_itself_out() -> None:
    found = listed(
        ROW,
        ROW,
        ROW | {"product_id": "BTC-USDC", "alias": "BTC-USD"},
        ROW | {"product_id": "X-USD", "price_increment": "1e-400"},
        ROW | {"product_id": "Y-USD", "base_increment": "0"},
        ROW | {"product_id": "BIT-28NOV25-CDE", "product_type": "FUTURE"},
        {"product_id": "Z-USD"},
        None,
    )
    assert list(found.instruments) == ["BTC-USD"]
    assert "ask for that" in found.left_out["BTC-USDC"]
    assert set(found.left_out) == {
        *("BTC-USD", "BTC-USDC", "X-USD", "Y-USD", "BIT-28NOV25-CDE", "Z-USD", "row 7"),
    }


@pytest.mark.parametrize("data", [b"null", b"[]", b"{}", b'{"products":5}', b"\xff"])
def test_list_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="expected the JSON of products"):
        VENUE.parse_instruments(data)


# ---- a book by REST ------------------------------------------------------------------------------

BTC = Instrument(0, "coinbase", "BTC-USD", -2, -8)


def book(price: str = "68923.66", product: str = "BTC-USD") -> bytes:
    sides = {"bids": [{"price": price, "size": "0.17189468"}], "asks": []}
    whole = {"product_id": product, **sides, "time": "2026-04-07T00:28:59.662782Z"}
    return json.dumps({"pricebook": whole, "last": "68923.665"}).encode()


def test_quiet_book_is_compared_with_the_best_levels_by_rest() -> None:
    assert VENUE.verification(SETTINGS) is Verification.REST
    asked = VENUE.check_request("BTC-USD", SETTINGS)
    path = "/api/v3/brokerage/market/product_book?product_id=BTC-USD&limit=100"
    assert (asked.target, asked.body) == (path, b"")
    assert VENUE.check_depth(SETTINGS) == 100
    base = VENUE.parse_base(book(), BTC)
    assert [(one.price, one.quantity) for one in base.bids] == [(6892366, 17189468)]
    assert (base.version, len(base.asks)) == (0, 0)


def test_book_by_rest_that_is_another_or_none_is_refused() -> None:
    with pytest.raises(ValueError, match="book of ETH-USD: expected that of BTC-USD"):
        VENUE.parse_base(book(product="ETH-USD"), BTC)
    for data in (b"null", b"{}", b"\xff"):
        with pytest.raises(ValueError, match="expected the JSON of a pricebook"):
            VENUE.parse_base(data, BTC)
    with pytest.raises(ScaleError):
        VENUE.parse_base(book("68923.665"), BTC)


def test_refusal_of_rest_is_429_alone() -> None:
    busy = VENUE.rest_refusal(HttpResponse(429, {}, b""), NOW)
    assert busy is not None
    assert (busy.is_ban, busy.retry_after_s) == (False, None)
    assert VENUE.rest_refusal(HttpResponse(400, {}, b""), NOW) is None
