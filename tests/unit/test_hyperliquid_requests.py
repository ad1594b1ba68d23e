"""What is asked of Hyperliquid and what it answers, worded as captures and logs word it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from tickpath.proto.instrument import Instrument, Status, Symbol, parse_symbol
from tickpath.proto.records import ScaleError
from tickpath.proto.venue import HttpResponse, Meaning, Note, Verification
from tickpath.proto.venues import name_symbol, pair_symbol
from tickpath.proto.venues.hyperliquid.settings import HyperliquidSettings
from tickpath.proto.venues.hyperliquid.venue import VENUE

NOW = datetime(2026, 11, 30, tzinfo=UTC)


def note(channel: str, data: Any) -> Note:
    (one,) = VENUE.parse_notes(json.dumps({"channel": channel, "data": data}).encode())
    return one


# ---- requests ------------------------------------------------------------------------------------


def test_subscriptions_are_one_a_message() -> None:
    channels = ["l2Book:BTC", "l2Book-fast:@107", "trades:xyz:SP500", "bbo:PURR/USDC"]
    said = [json.loads(one) for one in VENUE.subscribe(channels, request=3, time_s=0)]
    assert said == [
        {"method": "subscribe", "subscription": {"type": "l2Book", "coin": "BTC"}},
        {"method": "subscribe", "subscription": {"type": "l2Book", "coin": "@107", "fast": True}},
        {"method": "subscribe", "subscription": {"type": "trades", "coin": "xyz:SP500"}},
        {"method": "subscribe", "subscription": {"type": "bbo", "coin": "PURR/USDC"}},
    ]
    (end,) = VENUE.unsubscribe(channels[:1], request=4, time_s=0)
    assert json.loads(end) == said[0] | {"method": "unsubscribe"}


def test_channels_follow_the_settings() -> None:
    assert VENUE.channels("BTC", HyperliquidSettings()) == ("l2Book:BTC",)
    every = HyperliquidSettings(fast=True, trades=True, best=True)
    assert VENUE.channels("BTC", every) == ("l2Book-fast:BTC", "trades:BTC", "bbo:BTC")


@pytest.mark.parametrize("name", ["BTC", "book:BTC", "candle:BTC"])
def test_channel_of_nobody_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="expected one such as l2Book:BTC"):
        VENUE.subscribe([name], request=1, time_s=0)


@pytest.mark.parametrize(
    ("name", "symbol"),
    [
        *(("BTC/USDC:USDC", "BTC"), ("kPEPE/USDC:USDC", "kPEPE"), ("PURR/USDC", "PURR/USDC")),
        *(("HYPE/USDH", "HYPE/USDH"), ("BTC/USDT", None), ("BTC/USDT:USDT", None)),
        *(("BTC/USDC:BTC", None), ("BTC/USDC:USDC-261225", None)),
    ],
)
def test_canonical_names_are_written(name: str, symbol: str | None) -> None:
    assert VENUE.venue_symbol(parse_symbol(name)) == symbol


def test_pair_of_dollars_is_the_perpetual() -> None:
    """For what runs over every venue: nothing here is quoted in USDT."""
    assert pair_symbol(VENUE, Symbol("BTC", "USDT")) == "BTC"
    assert name_symbol(VENUE, "BTC") == Symbol("BTC", "USDC", "USDC")
    assert name_symbol(VENUE, "PURR/USDC") == Symbol("PURR", "USDC")


# ---- answers -------------------------------------------------------------------------------------


def subscription(**fields: Any) -> dict[str, Any]:
    return {"type": "l2Book", "coin": "BTC", "nSigFigs": None, "mantissa": None} | fields


@pytest.mark.parametrize(
    ("said", "names"),
    [
        (subscription(fast=False), ("l2Book:BTC",)),
        (subscription(), ("l2Book:BTC",)),
        (subscription(fast=True), ("l2Book-fast:BTC",)),
        (subscription(nSigFigs=5), ()),
        ({"type": "trades", "coin": "@107"}, ("trades:@107",)),
        ({"type": "candle", "coin": "BTC", "interval": "1m"}, ()),
        ({"type": "l2Book-fast", "coin": "BTC"}, ("l2Book-fast:BTC",)),
    ],
)
def test_acknowledgement_names_its_channel(said: dict[str, Any], names: tuple[str, ...]) -> None:
    one = note("subscriptionResponse", {"method": "subscribe", "subscription": said})
    assert (one.meaning, one.channels) == (Meaning.ACKNOWLEDGEMENT, names)
    end = note("subscriptionResponse", {"method": "unsubscribe", "subscription": said})
    assert (end.meaning, end.channels) == (Meaning.ACKNOWLEDGEMENT, ())


def test_errors_are_read_by_their_words() -> None:
    shown = json.dumps(subscription(fast=False))
    again = note("error", f"Already subscribed: {shown}")
    assert (again.meaning, again.channels) == (Meaning.ACKNOWLEDGEMENT, ("l2Book:BTC",))
    assert note("error", f"Already unsubscribed: {shown}").meaning is Meaning.NOTICE
    request = json.dumps({"method": "subscribe", "subscription": subscription(fast=True)})
    for words, names in (
        (f"Error parsing JSON into valid websocket request: {request}", ("l2Book-fast:BTC",)),
        (f"Invalid subscription: {shown}", ("l2Book:BTC",)),
        ("Cannot subscribe to more than 1000 channels.", ()),
        ('Error parsing JSON: {"method":"subscribe","subscription":{"coin":["BTC"]}}', ()),
    ):
        refused = note("error", words)
        assert (refused.meaning, refused.channels) == (Meaning.REFUSAL, names)
        assert refused.reason == words


def test_what_is_none_of_the_venues_is_broken_or_unknown() -> None:
    assert note("pong", None).meaning is Meaning.HEARTBEAT
    assert note("candle", {}).meaning is Meaning.UNKNOWN
    wrong: tuple[Any, ...] = (5, [], {"method": 5}, None)
    for data in wrong:
        assert note("subscriptionResponse", data).meaning is Meaning.BROKEN
    assert note("error", {"words": 1}).meaning is Meaning.BROKEN


# ---- lists ---------------------------------------------------------------------------------------

META = {
    "universe": [
        {"szDecimals": 5, "name": "BTC", "maxLeverage": 40},
        {"szDecimals": 0, "name": "kPEPE", "maxLeverage": 10, "onlyIsolated": None},
        {"szDecimals": 1, "name": "MATIC", "maxLeverage": 20, "isDelisted": True},
        {"szDecimals": 7, "name": "BAD", "maxLeverage": 20},
        {"szDecimals": 2, "name": "BTC", "maxLeverage": 20},
        {"name": "LESS"},
        None,
    ],
    "collateralToken": 0,
}
SPOT = {
    "tokens": [
        {"name": "USDC", "szDecimals": 8, "weiDecimals": 8, "index": 0, "isCanonical": True},
        {"name": "PURR", "szDecimals": 0, "weiDecimals": 5, "index": 1, "isCanonical": True},
        {"name": "HYPE", "szDecimals": 2, "weiDecimals": 8, "index": 150},
        {"index": "x"},
    ],
    "universe": [
        {"name": "PURR/USDC", "tokens": [1, 0], "index": 0, "isCanonical": True},
        {"name": "@107", "tokens": [150, 0], "index": 107, "isCanonical": False},
        {"name": "@108", "tokens": [151, 0], "index": 108},
        {"name": "A B", "tokens": [1, 0], "index": 109},
    ],
}


def test_list_of_perpetuals_has_the_scale_of_any_price_and_leads_to_spot() -> None:
    request = VENUE.instruments_request(HyperliquidSettings())
    assert (request.target, json.loads(request.body)) == ("/info", {"type": "meta"})
    listed = VENUE.parse_instruments(json.dumps(META).encode())
    assert listed.more is not None
    assert json.loads(listed.more.body) == {"type": "spotMeta"}
    rows = {
        one.symbol: (one.name, one.price_exponent, one.quantity_exponent, one.status)
        for one in listed.instruments.values()
    }
    assert rows == {
        "BTC": (Symbol("BTC", "USDC", "USDC"), -1, -5, Status.TRADING),
        "kPEPE": (Symbol("kPEPE", "USDC", "USDC"), -6, 0, Status.TRADING),
        "MATIC": (Symbol("MATIC", "USDC", "USDC"), -5, -1, Status.DELISTED),
    }
    assert set(listed.left_out) == {"BAD", "BTC", "LESS", "row 6"}


def test_list_of_another_collateral_names_no_quote() -> None:
    listed = VENUE.parse_instruments(json.dumps(META | {"collateralToken": 360}).encode())
    assert [one.name for one in listed.instruments.values()] == [None] * 3


def test_list_of_spot_names_pairs_by_their_tokens() -> None:
    listed = VENUE.parse_instruments(json.dumps(SPOT).encode())
    assert listed.more is None
    rows = {
        one.symbol: (one.name, one.price_exponent, one.quantity_exponent)
        for one in listed.instruments.values()
    }
    assert rows == {
        "PURR/USDC": (Symbol("PURR", "USDC"), -8, 0),
        "@107": (Symbol("HYPE", "USDC"), -6, -2),
    }
    assert set(listed.left_out) == {"@108", "A B"}


@pytest.mark.parametrize("data", [b"null", b"[]", b"{}", b'{"universe":5}', b'"deserialize"'])
def test_list_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="expected the JSON of meta or spotMeta"):
        VENUE.parse_instruments(data)


# ---- a book by REST ------------------------------------------------------------------------------

BTC = Instrument(0, "hyperliquid", "BTC", -1, -5)


def book(price: str = "84143.0", coin: str = "BTC") -> bytes:
    levels = [[{"px": price, "sz": "10.25923", "n": 36}], [{"px": "84144.0", "sz": "1.0", "n": 1}]]
    return json.dumps({"coin": coin, "time": 1_790_232_236_546, "levels": levels}).encode()


def test_quiet_book_is_compared_with_one_by_rest() -> None:
    settings = HyperliquidSettings()
    assert VENUE.verification(settings) is Verification.REST
    asked = VENUE.check_request("BTC", settings)
    assert (asked.target, json.loads(asked.body)) == ("/info", {"type": "l2Book", "coin": "BTC"})
    base = VENUE.parse_base(book(), BTC)
    sides = [[(one.price, one.quantity) for one in side] for side in (base.bids, base.asks)]
    assert (base.version, sides) == (0, [[(841430, 1025923)], [(841440, 100000)]])


def test_book_by_rest_that_is_another_or_none_is_refused() -> None:
    for data, words in (
        *((b"null", "no coin"), (book(coin="ETH"), "book of ETH: expected that of BTC")),
        *((b"{}", "expected the JSON of l2Book"), (b"\xff", "expected the JSON of l2Book")),
    ):
        with pytest.raises(ValueError, match=words):
            VENUE.parse_base(data, BTC)
    with pytest.raises(ScaleError):
        VENUE.parse_base(book("84143.05"), BTC)


def test_refusal_of_rest_is_429_alone() -> None:
    busy = VENUE.rest_refusal(HttpResponse(429, {}, b"null"), NOW)
    assert busy is not None
    assert (busy.is_ban, busy.retry_after_s) == (False, None)
    assert VENUE.rest_refusal(HttpResponse(422, {}, b""), NOW) is None


def test_weight_of_a_book_is_a_tenth_of_a_lists() -> None:
    settings = HyperliquidSettings()
    assert VENUE.request_weight(VENUE.check_request("BTC", settings)) == 2
    assert VENUE.request_weight(VENUE.instruments_request(settings)) == 20
