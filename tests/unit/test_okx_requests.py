"""What is asked of OKX and what it answers, worded as its documents and captures word it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from tickpath.engine.feed_handler.canary import Canary
from tickpath.proto.instrument import Status, Symbol, parse_symbol
from tickpath.proto.venue import HttpResponse, Meaning, Note, Verification
from tickpath.proto.venues.okx.settings import OkxSettings
from tickpath.proto.venues.okx.venue import VENUE

NOW = datetime(2026, 11, 30, tzinfo=UTC)


def note(**fields: Any) -> Note:
    (one,) = VENUE.parse_notes(json.dumps(fields).encode())
    return one


# ---- requests ------------------------------------------------------------------------------------


def test_subscriptions_name_channel_and_instrument() -> None:
    channels = ["books:BTC-USDT", "trades:BTC-USDT", "books5:ETH-USD-SWAP"]
    (said,) = VENUE.subscribe(channels, request=3, time_s=0)
    assert json.loads(said) == {
        "id": "3",
        "op": "subscribe",
        "args": [
            {"channel": "books", "instId": "BTC-USDT"},
            {"channel": "trades", "instId": "BTC-USDT"},
            {"channel": "books5", "instId": "ETH-USD-SWAP"},
        ],
    }
    asked = VENUE.asked(said)
    assert asked is not None
    assert (asked.request, asked.channels) == (3, tuple(channels))


def test_unsubscriptions_ask_for_no_channel() -> None:
    (said,) = VENUE.unsubscribe(["books:BTC-USDT"], request=4, time_s=0)
    assert json.loads(said)["op"] == "unsubscribe"
    asked = VENUE.asked(said)
    assert asked is not None
    assert (asked.request, asked.channels) == (4, ())
    assert VENUE.asked(VENUE.ping(request=0, time_s=0)) is None


def test_channels_follow_the_settings() -> None:
    assert VENUE.channels("BTC-USDT", OkxSettings()) == ("books:BTC-USDT",)
    assert VENUE.channels("BTC-USDT", OkxSettings(depth=5, trades=True, best=True)) == (
        *("books5:BTC-USDT", "trades:BTC-USDT", "bbo-tbt:BTC-USDT"),
    )


@pytest.mark.parametrize("name", ["BTC-USDT", "book:BTC-USDT", "tickers:BTC-USDT"])
def test_channel_of_nobody_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="expected one such as books:BTC-USDT"):
        VENUE.subscribe([name], request=1, time_s=0)


@pytest.mark.parametrize("symbol", ["BTCUSDT", "BTC-", "-USD", 'A"-B', "A\\-B", "A:-B", "A/B"])
def test_symbol_that_is_none_is_refused(symbol: str) -> None:
    with pytest.raises(ValueError, match="expected one such as BTC-USDT"):
        VENUE.check_symbol(symbol)


@pytest.mark.parametrize(
    ("name", "symbol"),
    [
        *(("BTC/USDT", "BTC-USDT"), ("BTC/USDT:USDT", "BTC-USDT-SWAP"), ("BTC/USD", "BTC-USD")),
        *(("BTC/USD:BTC", "BTC-USD-SWAP"), ("BTC/USDC:USDC", "BTC-USDC-SWAP")),
        *(("BTC/USD:USD", None), ("BTC/USDT:BTC", None), ("BTC/USDT:USDT-261225", None)),
    ],
)
def test_canonical_names_of_spot_and_swaps_are_written(name: str, symbol: str | None) -> None:
    assert VENUE.venue_symbol(parse_symbol(name)) == symbol


def test_quiet_book_is_asked_about_behind_what_its_channel_says() -> None:
    settings = OkxSettings(unchanged_s=30.0)
    assert VENUE.verification(settings) is Verification.ASIDE
    assert (VENUE.unchanged_s(settings), VENUE.unchanged_s(OkxSettings())) == (30.0, 60.0)
    for unchanged_s in (0.0, 241.0, float("nan")):
        with pytest.raises(ValueError, match=r"unchanged_s .*expected 1 to 240 s"):
            OkxSettings(unchanged_s=unchanged_s).check()


# ---- answers -------------------------------------------------------------------------------------

ARG = {"channel": "books", "instId": "BTC-USDT"}


def test_acknowledgement_names_its_channel() -> None:
    for more in ({"id": "3"}, {}):
        one = note(event="subscribe", arg=ARG, connId="a4d3ae55", **more)
        assert (one.meaning, one.channels) == (Meaning.ACKNOWLEDGEMENT, ("books:BTC-USDT",))


def test_acknowledgement_of_an_unknown_channel_confirms_nothing_of_its_request() -> None:
    one = note(id="3", event="subscribe", arg={"channel": "status"})
    assert (one.meaning, one.channels, one.request) == (Meaning.ACKNOWLEDGEMENT, (), None)


def test_acknowledged_unsubscription_confirms_nothing() -> None:
    one = note(id="3", event="unsubscribe", arg=ARG)
    assert (one.meaning, one.channels, one.request) == (Meaning.ACKNOWLEDGEMENT, (), None)


@pytest.mark.parametrize(
    "words",
    [
        "Wrong URL or channel:books,instId:NOPE-USDT doesn't exist. Please use the correct URL, "
        "channel and parameters referring to API document.",
        "Subscribe failed, wrong URL or channel:books,instId:NOPE-USDT doesn't exist.",
        "channel:books,instId:NOPE-USDT doesn't exist",
        "Wrong URL or channel:books,instId:NOPE-USDT",
        "Wrong URL or channel:books,instId:NOPE-USDT.",
    ],
)
def test_refusal_names_its_channel_in_words(words: str) -> None:
    one = note(event="error", msg=words, code="60018", connId="b2b0944b")
    assert (one.meaning, one.channels) == (Meaning.REFUSAL, ("books:NOPE-USDT",))
    assert (one.code, one.reason) == (60018, f"60018: {words}")


def test_refusal_of_a_request_names_its_id_alone() -> None:
    one = note(id="12", event="error", code="60012", msg='Invalid request: {"op": "subscribe"}')
    assert (one.meaning, one.channels, one.request) == (Meaning.REFUSAL, (), 12)
    one = note(event="error", code="60011", msg="Please log in")
    assert (one.meaning, one.channels, one.request) == (Meaning.REFUSAL, (), None)
    one = note(event="error", code="60018", msg="channel:tickers,instId:A-B doesn't exist")
    assert one.channels == ()


def test_pong_proves_the_connection_and_a_ping_is_answered() -> None:
    (pong,) = VENUE.parse_notes(b"pong")
    (ping,) = VENUE.parse_notes(b"ping")
    assert (pong.meaning, pong.answer) == (Meaning.HEARTBEAT, b"")
    assert (ping.meaning, ping.answer) == (Meaning.HEARTBEAT, b"pong")
    assert VENUE.ping(request=5, time_s=0) == b"ping"


def test_pong_is_what_the_venue_sends_and_another_word_is_not() -> None:
    lines: list[str] = []
    canary = Canary("okx", ["books:BTC-USDT"], 1, lines.append)
    canary.take(b"pong", 0, 0.0)
    assert (canary.unexpected, lines) == (0, [])
    canary.take(b"pang", 0, 1.0)
    assert canary.unexpected == 1


def test_notice_before_an_upgrade_is_said() -> None:
    words = "The connection will soon be closed for a service upgrade. Please reconnect."
    one = note(event="notice", code="64008", msg=words, connId="a4d3ae55")
    assert (one.meaning, one.reason, one.code) == (Meaning.NOTICE, f"64008: {words}", 64008)
    assert one.is_ending
    other = note(event="channel-conn-count", channel="orders", connCount="2")
    assert other.reason
    assert not other.is_ending


# ---- REST ----------------------------------------------------------------------------------------


def row(**fields: Any) -> dict[str, Any]:
    return {
        **{"instType": "SPOT", "instId": "BTC-USDT", "baseCcy": "BTC", "quoteCcy": "USDT"},
        **{"tickSz": "0.1", "lotSz": "0.00000001", "minSz": "0.00001", "state": "live"},
        **{"settleCcy": "", "ctVal": "", "ctMult": "", "instFamily": "", "expTime": ""},
    } | fields


def swap(**fields: Any) -> dict[str, Any]:
    one = row(instType="SWAP", instId="BTC-USDT-SWAP", baseCcy="", quoteCcy="", settleCcy="USDT")
    more = {"instFamily": "BTC-USDT", "ctVal": "0.01", "ctMult": "1", "lotSz": "0.01", "minSz": "1"}
    return one | more | fields


def listed(*rows: dict[str, Any], **fields: Any) -> Any:
    reply = {"code": "0", "msg": "", "data": rows} | fields
    return VENUE.parse_instruments(json.dumps(reply).encode())


def test_spot_instruments_have_tick_lot_and_state() -> None:
    found = listed(
        row(),
        row(instId="ETH-BTC", baseCcy="ETH", quoteCcy="BTC", tickSz="0.00005", state="suspend"),
        row(instId="A-B", baseCcy="A", quoteCcy="B", tickSz="5", lotSz="10", state="preopen"),
        row(instId="C-D", baseCcy="C", quoteCcy="D", state="post_only"),
    )
    assert found.left_out == {}
    btc, eth, a, c = found.instruments.values()
    assert (btc.symbol, btc.name) == ("BTC-USDT", Symbol("BTC", "USDT"))
    assert (btc.price_exponent, btc.quantity_exponent, btc.tick_size) == (-1, -8, 1)
    assert (btc.lot_size, btc.quantity_min, btc.multiplier) == (1, 1000, 1)
    assert (eth.price_exponent, eth.tick_size) == (-5, 5)
    assert (a.price_exponent, a.tick_size, a.quantity_exponent, a.lot_size) == (0, 5, 0, 10)
    statuses = [one.status for one in (btc, eth, a, c)]
    assert statuses == [Status.TRADING, Status.HALTED, Status.HALTED, Status.TRADING]


def test_swaps_count_contracts() -> None:
    found = listed(
        swap(),
        swap(instId="BTC-USD-SWAP", instFamily="BTC-USD", settleCcy="BTC", ctVal="100", lotSz="1"),
        swap(instId="X-USDT-SWAP", instFamily="", uly="X-USDT", ctVal="10", ctMult="100"),
    )
    assert found.left_out == {}
    linear, inverse, other = found.instruments.values()
    assert [str(one.name) for one in (linear, inverse, other)] == [
        *("BTC/USDT:USDT", "BTC/USD:BTC", "X/USDT:USDT"),
    ]
    assert (linear.multiplier, linear.quantity_exponent) == (Decimal("0.01"), -2)
    assert linear.quantity_min == 100
    assert (inverse.multiplier, other.multiplier) == (100, 1000)


def test_list_of_swaps_is_the_second_page_of_spot() -> None:
    first = VENUE.instruments_request(OkxSettings())
    assert first.target == "/api/v5/public/instruments?instType=SPOT"
    more = listed(row(instId="?")).more
    assert more is not None
    assert more.target == "/api/v5/public/instruments?instType=SWAP"
    assert listed(swap()).more is None
    assert listed(swap(), row(), swap()).more is None, "one odd row would ask for it again"
    assert listed(row(), swap(), row()).more == more


def test_instrument_rows_that_cannot_be_read_take_themselves_out() -> None:
    rows = {
        "AGAIN": row(),
        "NO-TICK": row(instId="NO-TICK", baseCcy="NO", quoteCcy="TICK", tickSz=""),
        "NO-LOT": row(instId="NO-LOT", baseCcy="NO", quoteCcy="LOT", lotSz="0"),
        "FINE-LOT": row(instId="FINE-LOT", baseCcy="FINE", quoteCcy="LOT", lotSz="1e-19"),
        "HUGE-TICK": row(instId="HUGE-TICK", baseCcy="HUGE", quoteCcy="TICK", tickSz="1e999"),
        "WORD-MIN": row(instId="WORD-MIN", baseCcy="WORD", quoteCcy="MIN", minSz="some"),
        "OTHER-NAME": row(instId="OTHER-NAME"),
        "NO-VALUE-SWAP": swap(
            instId="NO-VALUE-SWAP", instFamily="NO-VALUE", settleCcy="VALUE", ctVal=""
        ),
        "QUANTO-USDT-SWAP": swap(
            instId="QUANTO-USDT-SWAP", instFamily="QUANTO-USDT", settleCcy="BTC"
        ),
        "BTC-USDT-261225": row(instId="BTC-USDT-261225", instType="FUTURES", instFamily="BTC-USDT"),
        "row 11": {"tickSz": 5},
    }
    found = listed(row(), *rows.values())
    assert list(found.instruments) == ["BTC-USDT"]
    assert set(found.left_out) == {*rows, "BTC-USDT"} - {"AGAIN"}
    assert "listed twice" in found.left_out["BTC-USDT"]


def test_instrument_list_that_is_an_error_is_none() -> None:
    with pytest.raises(ValueError, match="51000: Parameter instType error"):
        listed(code="51000", msg="Parameter instType error")


def test_rate_limit_is_known_by_its_code_too() -> None:
    said = b'{"msg":"Too Many Requests","code":"50011"}'
    refusal = VENUE.rest_refusal(HttpResponse(200, {}, said), NOW)
    assert refusal is not None
    assert (refusal.reason, refusal.is_ban) == ("code 50011", False)
