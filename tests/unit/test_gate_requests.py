"""What is asked of Gate and what it answers, worded as its documents and captures word it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from tickpath.engine.config.schema import VenueConfig
from tickpath.engine.feed_handler.plan import make_plan
from tickpath.proto.instrument import Instrument, Status, Symbol, parse_symbol
from tickpath.proto.records import ScaleError
from tickpath.proto.venue import Asked, BaseSource, HttpResponse, Meaning, Note, Verification
from tickpath.proto.venues import load_venue
from tickpath.proto.venues.gate import requests
from tickpath.proto.venues.gate.settings import GateSettings

SPOT, USDT = load_venue("gate"), load_venue("gate_usdt")
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
TIME_S = 1_795_000_000
OBU, UPDATE = GateSettings(), GateSettings(depth=100)


def say(venue: Any, *names: str, request: int = 3) -> list[dict[str, Any]]:
    return [json.loads(one) for one in venue.subscribe(names, request=request, time_s=TIME_S)]


# ---- requests ------------------------------------------------------------------------------------


def test_gate_subscriptions_have_one_kind_each_and_an_id() -> None:
    said = say(
        SPOT,
        *("spot.obu.50:BTC_USDT", "spot.trades:BTC_USDT", "spot.book_ticker:BTC_USDT"),
        *("spot.obu.400:ETH_USDT", "spot.trades:ETH_USDT"),
    )
    head = {"time": TIME_S, "event": "subscribe"}
    assert said == [
        head | {"id": 3, "channel": "spot.obu", "payload": ["ob.BTC_USDT.50", "ob.ETH_USDT.400"]},
        head | {"id": 4, "channel": "spot.trades", "payload": ["BTC_USDT", "ETH_USDT"]},
        head | {"id": 5, "channel": "spot.book_ticker", "payload": ["BTC_USDT"]},
    ]


def test_gate_order_book_update_is_asked_for_one_by_one() -> None:
    names = [f"spot.order_book_update.100:{symbol}" for symbol in ("BTC_USDT", "ETH_USDT")]
    assert [one["payload"] for one in say(SPOT, *names)] == [
        ["BTC_USDT", "100ms"],
        ["ETH_USDT", "100ms"],
    ]
    (said,) = say(USDT, "futures.order_book_update.20:BTC_USDT")
    assert said["payload"] == ["BTC_USDT", "20ms", "20"]
    assert said["channel"] == "futures.order_book_update"


@pytest.mark.parametrize("depth", [20, 50, 100, 400])
@pytest.mark.parametrize("venue", [SPOT, USDT], ids=["spot", "usdt"])
def test_gate_requests_are_read_back(venue: Any, depth: int) -> None:
    (name, *_) = venue.channels("BTC_USDT", msgspec.convert({"depth": depth}, GateSettings))
    (text,) = venue.subscribe([name], request=7, time_s=TIME_S)
    assert venue.asked(text) == Asked(7, (name,))
    (text,) = venue.unsubscribe([name], request=8, time_s=TIME_S)
    assert json.loads(text)["event"] == "unsubscribe"
    assert venue.asked(text) == Asked(8, ())
    assert venue.asked(venue.ping(request=9, time_s=TIME_S)) is None


def test_gate_connection_opens_within_what_its_channels_allow() -> None:
    symbols = [f"SYM{number}_USDT" for number in range(45)]
    for settings, capacity in ((GateSettings(trades=True, best=True), 99), (UPDATE, 20)):
        plan = make_plan(VenueConfig(symbols=(), name="gate", settings=settings), symbols)
        for number, one in enumerate(plan.connections):
            assert one is not None
            assert len(one.channels) <= capacity
            opening = plan.open_messages(number, request=1, time_s=TIME_S)
            assert len(opening) <= requests.MESSAGES_PER_SECOND
            asked = [SPOT.asked(text) for text in opening]
            assert sum(len(of.channels) for of in asked if of is not None) == len(one.channels)


def test_gate_channels_follow_the_settings() -> None:
    assert SPOT.channels("BTC_USDT", OBU) == ("spot.obu.50:BTC_USDT",)
    assert USDT.channels("BTC_USDT", GateSettings(depth=20, trades=True, best=True)) == (
        "futures.order_book_update.20:BTC_USDT",
        *("futures.trades:BTC_USDT", "futures.book_ticker:BTC_USDT"),
    )
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"depth": 10}, GateSettings)


def test_gate_depth_says_where_bases_come_from_and_how_books_are_proved() -> None:
    assert (SPOT.base_from(OBU), SPOT.base_from(UPDATE)) == (BaseSource.IN_BAND, BaseSource.REST)
    assert SPOT.verification(OBU) is Verification.ASIDE
    assert SPOT.verification(UPDATE) is Verification.REST
    asked = SPOT.base_request("币_USDT", UPDATE)
    assert asked.target == (
        "/api/v4/spot/order_book?currency_pair=%E5%B8%81_USDT&limit=100&with_id=true"
    )
    assert SPOT.base_depth(GateSettings(depth=20)) == 20


def test_gate_contracts_are_asked_for_with_their_fractions() -> None:
    fields = (("X-Gate-Size-Decimal", "1"),)
    assert USDT.endpoint("futures.obu.50:BTC_USDT", OBU).headers == fields
    assert USDT.base_request("BTC_USDT", UPDATE).headers == fields
    assert USDT.instruments_request(OBU).headers == fields
    assert SPOT.endpoint("spot.obu.50:BTC_USDT", OBU).headers == ()


@pytest.mark.parametrize(
    "name", ["BTC_USDT", "spot.obu.20:A_B", "spot.candles:A_B", "x.obu.50:A_B"]
)
def test_gate_channel_of_nobody_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="expected one such as spot"):
        SPOT.subscribe([name], request=1, time_s=0)


@pytest.mark.parametrize(
    "symbol", ["BTCUSDT", "BTC_", "_USDT", "A.B_C", 'A"_B', "A:_B", "btc_usdt"]
)
def test_gate_symbol_that_is_none_is_refused(symbol: str) -> None:
    with pytest.raises(ValueError, match="such as BTC_USDT"):
        SPOT.check_symbol(symbol)


@pytest.mark.parametrize(
    ("name", "spot", "usdt"),
    [
        *(("BTC/USDT", "BTC_USDT", None), ("BTC/USDT:USDT", None, "BTC_USDT")),
        *(("BTC/USD:BTC", None, None), ("BTC/USDT:USDT-261225", None, None)),
        ("BTC/USDC:USDC", None, None),
    ],
)
def test_gate_canonical_names_are_written(name: str, spot: str | None, usdt: str | None) -> None:
    symbol = parse_symbol(name)
    assert (SPOT.venue_symbol(symbol), USDT.venue_symbol(symbol)) == (spot, usdt)


# ---- answers -------------------------------------------------------------------------------------


def notes(venue: Any = SPOT, **fields: Any) -> tuple[Note, ...]:
    found: tuple[Note, ...] = venue.parse_notes(json.dumps(fields).encode())
    return found


def note(**fields: Any) -> Note:
    (one,) = notes(**fields)
    return one


OBU_ACK = {"channel": "spot.obu", "event": "subscribe", "payload": ["ob.BTC_USDT.50"]}
FAIL = {"result": {"status": "fail"}}


def test_gate_acknowledgement_repeats_its_channels() -> None:
    one = note(**OBU_ACK, result={"status": "success"})
    assert (one.meaning, one.channels) == (Meaning.ACKNOWLEDGEMENT, ("spot.obu.50:BTC_USDT",))
    payload = ["GT_USDT", "100ms"]
    one = note(
        **{"channel": "spot.order_book_update", "event": "subscribe", "id": 4},
        payload=payload,
        result={"status": "success"},
    )
    assert one.channels == ("spot.order_book_update.100:GT_USDT",)
    assert one.request == 4


def test_gate_acknowledgement_without_channels_is_of_its_request() -> None:
    success = {"result": {"status": "success"}}
    one = note(channel="spot.trades", event="subscribe", id=4, error=None, **success)
    assert (one.meaning, one.channels, one.request) == (Meaning.ACKNOWLEDGEMENT, (), 4)
    one = note(channel="spot.trades", event="subscribe", **success)
    assert (one.channels, one.request) == ((), None)


def test_gate_acknowledged_unsubscription_confirms_nothing() -> None:
    one = note(**OBU_ACK | {"event": "unsubscribe"}, id=3, result={"status": "success"})
    assert (one.meaning, one.channels, one.request) == (Meaning.ACKNOWLEDGEMENT, (), None)


def test_gate_refusal_of_one_name_names_it_and_of_several_its_request() -> None:
    error = {"code": 2, "message": "unknown currency pair NOPE_USDT"}
    one = note(channel="spot.trades", event="subscribe", payload=["NOPE_USDT"], error=error, **FAIL)
    assert (one.meaning, one.channels) == (Meaning.REFUSAL, ("spot.trades:NOPE_USDT",))
    assert (one.code, one.reason) == (2, "2, unknown currency pair NOPE_USDT")
    both = ["NOPE_USDT", "BTC_USDT"]
    one = note(channel="spot.trades", event="subscribe", id=6, payload=both, error=error, **FAIL)
    assert (one.channels, one.request) == ((), 6)
    one = note(channel="spot.trades", event="subscribe", payload=both, error=error, **FAIL)
    assert one.channels == ("spot.trades:NOPE_USDT", "spot.trades:BTC_USDT")


def test_gate_name_that_is_subscribed_to_already_is_acknowledged_the_others_are_not() -> None:
    error = {"code": 2, "message": "Alert sub ob.BTC_USDT.50"}
    one = note(**OBU_ACK, error=error, **FAIL)
    assert (one.meaning, one.channels) == (Meaning.ACKNOWLEDGEMENT, ("spot.obu.50:BTC_USDT",))
    assert one.reason == "2, Alert sub ob.BTC_USDT.50", "no base comes of it"
    several = OBU_ACK | {"payload": ["ob.ETH_USDT.50", "ob.BTC_USDT.50"]}
    yes, no = notes(**several, id=9, error=error, **FAIL)
    assert (yes.meaning, yes.channels) == (Meaning.ACKNOWLEDGEMENT, ("spot.obu.50:BTC_USDT",))
    assert (no.meaning, no.channels) == (Meaning.REFUSAL, ("spot.obu.50:ETH_USDT",))


def test_gate_other_words_are_told_apart() -> None:
    error = {"code": 3, "message": "server error"}
    assert note(channel="spot.ping", error=error).meaning is Meaning.NOTICE
    assert note(channel="spot.obu", event="unsubscribe", error=error).meaning is Meaning.NOTICE
    assert note(channel="spot.pong", event="", result=None).meaning is Meaning.HEARTBEAT
    assert note(channel="spot.obu", event="update", result={"s": "x"}).meaning is Meaning.UNKNOWN
    assert note(channel="spot.obu", event="subscribe", error="no").reason == "0, no"
    msg = "The connection will soon be closed for a service upgrade. Please reconnect."
    result = {"type": "upgrade", "msg": msg}
    one = note(channel="futures.system", event="update", result=result)
    assert (one.meaning, one.reason) == (Meaning.NOTICE, msg)


# ---- REST ----------------------------------------------------------------------------------------

PAIR = {
    **{"id": "ETH_USDT", "base": "ETH", "quote": "USDT", "fee": "0.2", "min_base_amount": "0.001"},
    **{"min_quote_amount": "1.0", "amount_precision": 3, "precision": 6, "sell_start": 0},
    "trade_status": "tradable",
}
CONTRACT = {
    **{"name": "LAB_USDT", "type": "direct", "quanto_multiplier": "100", "in_delisting": False},
    **{"order_price_round": "0.00005", "order_size_min": "0.1", "order_size_max": "1200"},
    **{"position_size": "40177.8", "enable_decimal": True, "status": "trading"},
}


def listed(venue: Any, *rows: object) -> tuple[dict[str, Instrument], dict[str, str]]:
    found = venue.parse_instruments(json.dumps(rows).encode())
    assert found.more is None
    return found.instruments, found.left_out


def test_gate_pair_is_read() -> None:
    rows, left_out = listed(SPOT, PAIR)
    one = rows["ETH_USDT"]
    assert left_out == {}
    assert one.name == Symbol("ETH", "USDT")
    assert (one.price_exponent, one.quantity_exponent) == (-6, -3)
    assert (one.quantity_min, one.notional_min) == (1, Decimal("1.0"))
    assert (one.venue, one.multiplier, one.status) == ("gate", Decimal(1), Status.TRADING)


@pytest.mark.parametrize(
    ("word", "status"),
    [
        *(("tradable", Status.TRADING), ("buyable", Status.TRADING), ("sellable", Status.TRADING)),
        *(("untradable", Status.HALTED), ("something new", Status.HALTED)),
    ],
)
def test_gate_status_of_a_pair(word: str, status: Status) -> None:
    rows, _ = listed(SPOT, PAIR | {"trade_status": word, "min_base_amount": None})
    assert (rows["ETH_USDT"].status, rows["ETH_USDT"].quantity_min) == (status, 0)


def test_gate_contract_is_read_with_its_multiplier_and_its_fractions() -> None:
    rows, left_out = listed(USDT, CONTRACT)
    one = rows["LAB_USDT"]
    assert left_out == {}
    assert one.name == Symbol("LAB", "USDT", "USDT")
    assert (one.price_exponent, one.tick_size, one.quantity_exponent) == (-5, 5, -1)
    assert (one.quantity_min, one.multiplier) == (1, Decimal(100))
    assert (one.venue, one.status) == ("gate_usdt", Status.TRADING)
    whole = CONTRACT | {"order_size_min": 1, "enable_decimal": False}
    rows, _ = listed(USDT, {key: whole[key] for key in whole if key != "status"})
    assert (rows["LAB_USDT"].quantity_exponent, rows["LAB_USDT"].quantity_min) == (0, 1)
    assert rows["LAB_USDT"].status is Status.TRADING


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"status": "delisting"}, Status.TRADING),
        ({"status": "delisted"}, Status.DELISTED),
        ({"status": "prelaunch"}, Status.HALTED),
        ({"status": "circuit_breaker"}, Status.HALTED),
        ({"in_delisting": True}, Status.TRADING),
        ({"in_delisting": True, "position_size": 0}, Status.DELISTED),
        ({"in_delisting": True, "position_size": "0"}, Status.DELISTED),
        ({"position_size": 0}, Status.TRADING),
    ],
)
def test_gate_status_of_a_contract(more: dict[str, Any], status: Status) -> None:
    rows, _ = listed(USDT, CONTRACT | more)
    assert rows["LAB_USDT"].status is status


def test_gate_rows_that_cannot_be_read_take_themselves_out() -> None:
    bad: dict[str, dict[str, Any]] = {
        "A_USDT": {"precision": "6"},
        "B_USDT": {"precision": 19},
        "C_USDT": {"min_quote_amount": "-1"},
        "D_USDT": {"min_base_amount": "1e999999"},
        "btc_usdt": {},
    }
    rows, left_out = listed(SPOT, PAIR, *(PAIR | {"id": name} | bad[name] for name in bad), 5)
    assert list(rows) == ["ETH_USDT"]
    assert left_out.keys() == {*bad, "row 6"}
    contracts: dict[str, dict[str, Any]] = {
        "A_USDT": {"order_price_round": "0"},
        "B_USDT": {"quanto_multiplier": "0"},
        "C_USDT": {"type": "inverse"},
        "D_USD": {},
        "E_USDT": {"order_size_min": "x"},
        "F_USDT": {"in_delisting": True, "position_size": "many"},
    }
    rows, left_out = listed(
        USDT,
        CONTRACT,
        CONTRACT,
        *(CONTRACT | {"name": name} | contracts[name] for name in contracts),
    )
    assert list(rows) == ["LAB_USDT"]
    assert left_out.keys() == {*contracts, "LAB_USDT"}
    assert "listed twice" in left_out["LAB_USDT"]


@pytest.mark.parametrize("data", [b"", b"{}", b'{"label":"TOO_MANY_REQUESTS"}', b"<html>"])
def test_gate_list_that_is_none_is_refused(data: bytes) -> None:
    for venue in (SPOT, USDT):
        with pytest.raises(ValueError, match=r"expected a JSON array .*ask /api/v4/.* again"):
            venue.parse_instruments(data)


def row(venue: str, price: int, quantity: int) -> Instrument:
    return Instrument(0, venue, "BTC_USDT", price, quantity)


def levels(side: Any) -> list[tuple[int, int]]:
    return [(one.price, one.quantity) for one in side]


def test_gate_base_of_pairs_and_of_contracts_is_read() -> None:
    text = '{"id":123456,"current":1,"update":1,"asks":[["1.52","1.151"]],"bids":[["1.17","20"]]}'
    base = SPOT.parse_base(text.encode(), row("gate", -2, -3))
    assert base.version == 123456
    assert (levels(base.bids), levels(base.asks)) == ([(117, 20000)], [(152, 1151)])
    text = (
        '{"id":7,"current":1.5,"update":1.5,"asks":[{"p":"1.52","s":"100.5"},{"s":40,"p":"1.53"}],'
        '"bids":[ {"s":"150","p":"1.17"}]}'
    )
    base = USDT.parse_base(text.encode(), row("gate_usdt", -2, -1))
    assert (levels(base.bids), levels(base.asks)) == ([(117, 1500)], [(152, 1005), (153, 400)])


def test_gate_base_that_is_none_is_refused() -> None:
    for text in (
        *("", "[]", '{"asks":[],"bids":[]}', '{"id":-1,"asks":[],"bids":[]}'),
        *('{"id":1,"asks":[["1"]],"bids":[]}', '{"id":1,"asks":[{"p":"1"}],"bids":[]}'),
        '{"label":"INVALID_CURRENCY_PAIR"}',
    ):
        with pytest.raises(ValueError, match="base"):
            SPOT.parse_base(text.encode(), row("gate", -2, -3))
    fine = '{"id":1,"asks":[{"p":"1.5","s":"0.25"}],"bids":[]}'
    with pytest.raises(ScaleError):
        USDT.parse_base(fine.encode(), row("gate_usdt", -2, -1))


@pytest.mark.parametrize(
    ("fields", "pause_s"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"x-gate-ratelimit-reset-timestamp": str(int(NOW.timestamp()) + 4)}, 4.0),
        ({"x-gate-ratelimit-reset-timestamp": str(int(NOW.timestamp()) - 4)}, 0.0),
        ({"x-gate-ratelimit-reset-timestamp": "9999999999"}, 60.0),
        ({"x-gate-ratelimit-reset-timestamp": "soon"}, None),
    ],
)
def test_gate_limit_says_until_when(fields: dict[str, str], pause_s: float | None) -> None:
    refusal = SPOT.rest_refusal(HttpResponse(429, fields, b""), NOW)
    assert refusal is not None
    assert (refusal.is_ban, refusal.retry_after_s) == (False, pause_s)
    assert SPOT.rest_refusal(HttpResponse(400, fields, b""), NOW) is None


def test_requests_used_are_read_in_the_share_of_the_limit_that_is_told() -> None:
    names = ("limit", "requests-remain", "reset-timestamp")
    values = ("100", "25", str(int(NOW.timestamp()) + 3))
    fields = {f"x-gate-ratelimit-{name}": value for name, value in zip(names, values, strict=True)}
    assert load_venue("gate").requests_used(HttpResponse(200, fields, b""), NOW) == (150, 3.0)
    fields["x-gate-ratelimit-limit"] = "0"
    assert load_venue("gate").requests_used(HttpResponse(200, fields, b""), NOW) is None
