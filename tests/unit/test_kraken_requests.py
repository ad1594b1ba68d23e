"""What is asked of Kraken and what it answers, worded as its documents and captures word it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from tickpath.proto.instrument import Status, Symbol
from tickpath.proto.venue import Asked, HttpResponse, Meaning, Note
from tickpath.proto.venues.kraken import requests
from tickpath.proto.venues.kraken.settings import KrakenSettings
from tickpath.proto.venues.kraken.venue import VENUE

NOW = datetime(2026, 11, 30, tzinfo=UTC)
TIMES = {"time_in": "2026-08-16T23:37:04.334090Z", "time_out": "2026-08-16T23:37:04.334135Z"}


def asked(messages: list[bytes]) -> list[dict[str, Any]]:
    return [json.loads(one) for one in messages]


def notes(**fields: Any) -> tuple[Note, ...]:
    return VENUE.parse_notes(json.dumps(fields | TIMES).encode())


def test_subscriptions_of_a_kind_share_a_message() -> None:
    channels = ["book-10:BTC/USD", "trade:BTC/USD", "book-10:ETH/USD", "book-25:SOL/USD"]
    said = asked(VENUE.subscribe([*channels, "ticker:BTC/USD"], request=3, time_s=0))
    assert [one["method"] for one in said] == ["subscribe"] * 4
    assert [one["params"] for one in said] == [
        {"channel": "book", "symbol": ["BTC/USD", "ETH/USD"], "depth": 10, "snapshot": True},
        {"channel": "trade", "symbol": ["BTC/USD"], "snapshot": False},
        {"channel": "book", "symbol": ["SOL/USD"], "depth": 25, "snapshot": True},
        {"channel": "ticker", "symbol": ["BTC/USD"], "event_trigger": "bbo"},
    ]
    assert [one["req_id"] // 8 for one in said] == [3, 4, 5, 6]


def test_unsubscriptions_name_the_depth_too() -> None:
    (said,) = asked(VENUE.unsubscribe(["book-100:BTC/USD"], request=1, time_s=0))
    assert said["method"] == "unsubscribe"
    assert said["params"] == {"channel": "book", "symbol": ["BTC/USD"], "depth": 100}


def test_subscriptions_are_shared_out_within_the_limits() -> None:
    names = [f"book-10:SYM{number}/USD" for number in range(120)]
    said = asked(VENUE.subscribe(names, request=1, time_s=0))
    assert [len(one["params"]["symbol"]) for one in said] == [50, 50, 20]
    assert len({one["req_id"] for one in said}) == 3


@pytest.mark.parametrize("name", ["BTC/USD", "book:BTC/USD", "book-11:BTC/USD", "ohlc:BTC/USD"])
def test_channel_of_nobody_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="expected one such as book-10:BTC/USD"):
        VENUE.subscribe([name], request=1, time_s=0)


@pytest.mark.parametrize("symbol", ["BTCUSD", "BTC/", "/USD", "A/B/C", 'A"/B', "A\\/B", "A:/B"])
def test_symbol_that_is_none_is_refused(symbol: str) -> None:
    with pytest.raises(ValueError, match="expected one such as BTC/USD"):
        VENUE.check_symbol(symbol)


def test_channels_follow_the_configured_depth() -> None:
    assert VENUE.channels("BTC/USD", KrakenSettings()) == ("book-10:BTC/USD",)
    assert VENUE.channels("BTC/USD", KrakenSettings(depth=1000)) == ("book-1000:BTC/USD",)


# ---- answers -------------------------------------------------------------------------------------


def test_acknowledgement_names_its_channel_by_the_venues_words() -> None:
    result = {"channel": "book", "depth": 10, "snapshot": True, "symbol": "BTC/USD"}
    (note,) = notes(method="subscribe", result=result, success=True)
    assert (note.meaning, note.channels) == (Meaning.ACKNOWLEDGEMENT, ("book-10:BTC/USD",))
    (note,) = notes(
        method="subscribe", result={"channel": "trade", "symbol": "A/B"}, success=True, req_id=5
    )
    assert (note.channels, note.request) == (("trade:A/B",), 5)


def test_acknowledgement_without_its_depth_is_named_by_our_id() -> None:
    """The documents' own example leaves it out."""
    (said,) = asked(VENUE.subscribe(["book-25:BTC/USD"], request=9, time_s=0))
    result = {"channel": "book", "snapshot": True, "symbol": "BTC/USD"}
    (note,) = notes(method="subscribe", result=result, success=True, req_id=said["req_id"])
    assert note.channels == ("book-25:BTC/USD",)
    (note,) = notes(method="subscribe", result=result, success=True)
    assert (note.meaning, note.channels) == (Meaning.ACKNOWLEDGEMENT, ())


def test_acknowledgement_without_a_symbol_confirms_nothing_of_its_request() -> None:
    (note,) = notes(method="subscribe", result={"channel": "book"}, success=True, req_id=8)
    assert (note.channels, note.request) == ((), None)


def test_request_of_ours_is_read_back() -> None:
    names = ("book-10:BTC/USD", "book-10:ETH/USD")
    (said,) = VENUE.subscribe(names, request=9, time_s=0)
    assert VENUE.asked(said) == Asked(72, names)
    (said,) = VENUE.unsubscribe(names, request=9, time_s=0)
    assert VENUE.asked(said) == Asked(72)
    assert VENUE.asked(VENUE.ping(request=0, time_s=0)) == Asked(0)
    assert VENUE.asked(b'{"method":') is None


def test_acknowledged_unsubscription_confirms_nothing() -> None:
    result = {"channel": "book", "depth": 10, "symbol": "BTC/USD"}
    (note,) = notes(method="unsubscribe", result=result, success=True, req_id=8)
    assert (note.meaning, note.channels) == (Meaning.ACKNOWLEDGEMENT, ())


def test_refusal_names_its_symbol_and_our_id_the_channel() -> None:
    words = {"error": "Currency pair not supported XBT/USD", "method": "subscribe"}
    (said,) = asked(VENUE.subscribe(["book-10:XBT/USD"], request=9, time_s=0))
    refused = {**words, "success": False, "symbol": "XBT/USD"}
    (note,) = notes(**refused, req_id=said["req_id"])
    assert (note.meaning, note.channels) == (Meaning.REFUSAL, ("book-10:XBT/USD",))
    assert note.reason == "Currency pair not supported XBT/USD"
    (note,) = notes(**refused)
    assert set(note.channels) == {f"{kind}:XBT/USD" for kind in requests.KINDS}


def test_refusal_without_a_symbol_names_no_channel() -> None:
    """A capture of 2026-08-16."""
    (note,) = notes(error="Subscription depth not supported", method="subscribe", success=False)
    assert (note.meaning, note.channels) == (Meaning.REFUSAL, ())
    assert note.reason == "Subscription depth not supported"


def test_refusal_of_a_second_subscription_is_a_yes() -> None:
    words = {"error": "Already subscribed", "method": "subscribe", "success": False}
    (note,) = notes(**words, symbol="BTC/USD", req_id=8)
    assert (note.meaning, note.channels) == (Meaning.ACKNOWLEDGEMENT, ("book-10:BTC/USD",))


def test_refused_unsubscription_refuses_no_channel() -> None:
    words = {"error": "Subscription Not Found", "method": "unsubscribe", "success": False}
    (note,) = notes(**words, symbol="BTC/USD")
    assert (note.meaning, note.channels) == (Meaning.NOTICE, ())
    assert note.reason == "unsubscribe: Subscription Not Found"


def test_heartbeats_and_pongs_prove_the_connection() -> None:
    for data in (b'{"channel":"heartbeat"}', b'{"method":"pong","req_id":0}'):
        assert VENUE.parse_notes(data)[0].meaning is Meaning.HEARTBEAT


@pytest.mark.parametrize(("system", "said"), [("online", False), ("maintenance", True)])
def test_status_is_said_where_the_system_is_not_online(system: str, said: bool) -> None:
    (note,) = notes(channel="status", type="update", data=[{"system": system, "version": "2"}])
    assert note.meaning is Meaning.NOTICE
    assert (system in note.reason) == said == bool(note.reason)


@pytest.mark.parametrize(
    ("systems", "trading"),
    [
        (["online"], Status.TRADING),
        (["post_only"], Status.TRADING),
        (["cancel_only"], Status.CANCEL_ONLY),
        (["maintenance"], Status.HALTED),
        (["a new word"], Status.HALTED),
        (["online", "cancel_only"], Status.CANCEL_ONLY),
        ([""], None),
        ([], None),
    ],
)
def test_status_of_the_system_says_what_is_traded(
    systems: list[str], trading: Status | None
) -> None:
    (note,) = notes(channel="status", type="update", data=[{"system": one} for one in systems])
    assert note.trading is trading


def test_answer_without_a_method_is_a_notice() -> None:
    (note,) = notes(error="Malformed request", success=False)
    assert (note.meaning, note.reason) == (Meaning.NOTICE, "Malformed request")


# ---- REST ----------------------------------------------------------------------------------------


def row(**fields: Any) -> dict[str, Any]:
    return {"wsname": "XBT/USD", "pair_decimals": 1, "lot_decimals": 8} | fields


def listed(**rows: Any) -> Any:
    return VENUE.parse_instruments(json.dumps({"error": [], "result": rows}).encode())


def test_instruments_have_the_names_of_version_two() -> None:
    found = listed(
        XXBTZUSD=row(tick_size="0.5", ordermin="0.00005", costmin="0.5", status="online"),
        XDGUSD=row(wsname="XDG/USD"),
        ETHXBT=row(wsname="ETH/XBT", pair_decimals=5, status="cancel_only"),
        XRPUSD=row(wsname="XRP/USD", status="maintenance"),
    )
    assert found.left_out == {}
    btc, doge, eth, xrp = found.instruments.values()
    assert list(found.instruments) == ["BTC/USD", "DOGE/USD", "ETH/BTC", "XRP/USD"]
    assert (btc.symbol, btc.name) == ("BTC/USD", Symbol("BTC", "USD"))
    assert (btc.price_exponent, btc.quantity_exponent, btc.tick_size) == (-1, -8, 5)
    assert (btc.quantity_min, btc.notional_min) == (5000, Decimal("0.5"))
    statuses = [one.status for one in (btc, doge, eth, xrp)]
    assert statuses == [Status.TRADING, Status.TRADING, Status.CANCEL_ONLY, Status.HALTED]


def test_instrument_rows_that_cannot_be_read_take_themselves_out() -> None:
    found = listed(
        GOOD=row(),
        AGAIN=row(),
        NONAME={"pair_decimals": 1, "lot_decimals": 8},
        DEEP=row(wsname="A/B", lot_decimals=19),
        TICK=row(wsname="C/D", tick_size="0.05"),
        ZERO=row(wsname="E/F", tick_size="0.0"),
        WORD=row(wsname="G/H", costmin="half"),
        ODD=row(wsname="G"),
    )
    assert list(found.instruments) == ["BTC/USD"]
    names = ("AGAIN", "NONAME", "DEEP", "TICK", "ZERO", "WORD", "ODD")
    assert tuple(found.left_out) == names


def test_instrument_list_that_is_an_error_is_none() -> None:
    with pytest.raises(ValueError, match="EGeneral:Internal error"):
        VENUE.parse_instruments(b'{"error":["EGeneral:Internal error"]}')


def test_rate_limit_is_known_by_words_too() -> None:
    said = b'{"error":["EGeneral:Too many requests"]}'
    refusal = VENUE.rest_refusal(HttpResponse(200, {}, said), NOW)
    assert refusal is not None
    assert (refusal.reason, refusal.is_ban) == ("EGeneral:Too many requests", False)
