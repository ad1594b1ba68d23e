"""What is asked of Bitget and what it answers, worded as its documents and captures word it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from tickpath.engine.config.schema import VenueConfig
from tickpath.engine.feed_handler.canary import Canary
from tickpath.engine.feed_handler.plan import make_plan
from tickpath.proto.instrument import Status, Symbol, parse_symbol
from tickpath.proto.venue import HttpResponse, Meaning, Note, Verification
from tickpath.proto.venues.bitget.settings import BitgetSettings
from tickpath.proto.venues.bitget.venue import VENUE
from tickpath.proto.venues.bitget_usdt.venue import VENUE as USDT

if TYPE_CHECKING:
    from tickpath.proto.venue import Venue

NOW = datetime(2026, 11, 30, tzinfo=UTC)


def note(venue: Venue = VENUE, **fields: Any) -> Note:
    (one,) = venue.parse_notes(json.dumps(fields).encode())
    return one


# ---- requests ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("venue", "classic", "unified"),
    [(VENUE, "SPOT", "spot"), (USDT, "USDT-FUTURES", "usdt-futures")],
)
def test_subscriptions_name_market_channel_and_instrument(
    venue: Venue, classic: str, unified: str
) -> None:
    channels = ["books:BTCUSDT", "trade:BTCUSDT", "uta.books:牛来USDT", "uta.publicTrade:ETHUSDT"]
    for op, make in (("subscribe", venue.subscribe), ("unsubscribe", venue.unsubscribe)):
        (said,) = make(channels, request=3, time_s=0)
        assert json.loads(said) == {
            "op": op,
            "args": [
                {"instType": classic, "channel": "books", "instId": "BTCUSDT"},
                {"instType": classic, "channel": "trade", "instId": "BTCUSDT"},
                {"instType": unified, "topic": "books", "symbol": "牛来USDT"},
                {"instType": unified, "topic": "publicTrade", "symbol": "ETHUSDT"},
            ],
        }
        assert venue.asked(said) is None, "answers name channels"


@pytest.mark.parametrize(
    ("depth", "names", "path"),
    [
        (500, ("books", "trade", "books1"), "/v2/ws/public"),
        (5, ("books5", "trade", "books1"), "/v2/ws/public"),
        (15, ("books15", "trade", "books1"), "/v2/ws/public"),
        (1000, ("uta.books", "uta.publicTrade", "uta.books1"), "/v3/ws/public"),
        (50, ("uta.books50", "uta.publicTrade", "uta.books1"), "/v3/ws/public"),
    ],
)
def test_depth_chooses_the_websocket_of_all_channels(
    depth: Any, names: tuple[str, ...], path: str
) -> None:
    settings = BitgetSettings(depth=depth, trades=True, best=True)
    channels = VENUE.channels("BTCUSDT", settings)
    assert channels == tuple(f"{name}:BTCUSDT" for name in names)
    assert VENUE.channels("BTCUSDT", BitgetSettings(depth=depth)) == channels[:1]
    endpoints = {VENUE.endpoint(one, settings) for one in channels}
    assert {(one.host, one.port, one.path) for one in endpoints} == {("ws.bitget.com", 443, path)}
    assert VENUE.verification(settings) is Verification.ASIDE


def test_requests_stay_below_what_ended_connections() -> None:
    """25 arguments of the unified WebSocket did, and 4,096 bytes are the documents' limit."""
    symbols = [f"{number:03}{'X' * 50}USDT" for number in range(60)]
    settings = BitgetSettings(depth=1000, trades=True, best=True)
    plan = make_plan(VenueConfig(symbols=(), name="bitget", settings=settings), symbols)
    assert len(plan.connections) == 4
    for number in range(4):
        said = plan.open_messages(number, request=1, time_s=0)
        assert len(said) <= 10
        for one in said:
            assert len(one) <= 4096
            assert 1 <= len(json.loads(one)["args"]) <= 10


@pytest.mark.parametrize("name", ["BTCUSDT", "book:BTCUSDT", "ticker:BTCUSDT", "uta.trade:BTCUSDT"])
def test_channel_of_nobody_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="expected one such as books:BTCUSDT"):
        VENUE.subscribe([name], request=1, time_s=0)


@pytest.mark.parametrize("symbol", ["btcusdt", "BTC/USDT", 'A"B', "A\\B", "A:B", "A B", "A.B"])
def test_symbol_that_is_none_is_refused(symbol: str) -> None:
    with pytest.raises(ValueError, match="upper case such as BTCUSDT"):
        VENUE.check_symbol(symbol)


@pytest.mark.parametrize(
    ("name", "spot", "linear"),
    [
        *(("BTC/USDT", "BTCUSDT", None), ("BTC/USDT:USDT", None, "BTCUSDT")),
        *(("rAAPL/USDT", "RAAPLUSDT", None), ("ETH/BTC", "ETHBTC", None)),
        *(("BTC/USDC:USDC", None, None), ("BTC/USD:BTC", None, None)),
        ("BTC/USDT:USDT-261225", None, None),
    ],
)
def test_canonical_names_are_written(name: str, spot: str | None, linear: str | None) -> None:
    symbol = parse_symbol(name)
    assert (VENUE.venue_symbol(symbol), USDT.venue_symbol(symbol)) == (spot, linear)


# ---- answers -------------------------------------------------------------------------------------

ARG = {"instType": "SPOT", "channel": "books", "instId": "BTCUSDT"}
TOPIC = {"instType": "spot", "topic": "books", "symbol": "BTCUSDT"}


def test_acknowledgement_names_its_channel() -> None:
    for arg, name in ((ARG, "books:BTCUSDT"), (TOPIC, "uta.books:BTCUSDT")):
        one = note(event="subscribe", arg=arg, connId="0ac601")
        assert (one.meaning, one.channels) == (Meaning.ACKNOWLEDGEMENT, (name,))


def test_acknowledgement_of_another_market_or_channel_confirms_nothing() -> None:
    for arg in (
        *({**ARG, "instType": "USDT-FUTURES"}, {**ARG, "instType": "spot"}, {**ARG, "instId": ""}),
        *({**ARG, "channel": "ticker"}, {**TOPIC, "topic": "trade"}, {**TOPIC, "instType": "SPOT"}),
    ):
        one = note(event="subscribe", arg=arg)
        assert (one.meaning, one.channels) == (Meaning.ACKNOWLEDGEMENT, ()), arg
    other = note(USDT, event="subscribe", arg={**ARG, "instType": "USDT-FUTURES"})
    assert other.channels == ("books:BTCUSDT",)


def test_acknowledged_unsubscription_confirms_nothing() -> None:
    one = note(event="unsubscribe", arg=ARG)
    assert (one.meaning, one.channels) == (Meaning.ACKNOWLEDGEMENT, ())


def test_refusal_names_its_channel_or_says_it_in_words() -> None:
    words = "instType:SPOT,channel:books,instId:BTCUSDT,precision:null doesn't exist"
    one = note(event="error", arg=ARG, code=30001, msg=words, op="subscribe")
    assert (one.meaning, one.channels) == (Meaning.REFUSAL, ("books:BTCUSDT",))
    assert (one.code, one.reason) == (30001, f"30001: {words}")
    words = json.dumps(TOPIC) + " doesn't exist"
    one = note(event="error", code=30001, msg=words, connId="0ac601")
    assert (one.meaning, one.channels) == (Meaning.REFUSAL, ("uta.books:BTCUSDT",))


@pytest.mark.parametrize("words", ["Param error", "", "}", '{"topic":5}', "Unrecognized request:{"])
def test_refusal_that_names_nothing_is_of_all(words: str) -> None:
    one = note(event="error", code="30016", msg=words)
    assert (one.meaning, one.channels, one.code) == (Meaning.REFUSAL, (), 30016)


def test_refused_unsubscription_ends_no_subscription() -> None:
    one = note(event="error", arg=ARG, code=30001, msg="doesn't exist", op="unsubscribe")
    assert (one.meaning, one.channels) == (Meaning.NOTICE, ())
    assert one.reason == "30001: doesn't exist"


def test_pong_proves_the_connection_and_a_ping_is_answered() -> None:
    (pong,) = VENUE.parse_notes(b"pong")
    (ping,) = VENUE.parse_notes(b"ping")
    assert (pong.meaning, pong.answer) == (Meaning.HEARTBEAT, b"")
    assert (ping.meaning, ping.answer) == (Meaning.HEARTBEAT, b"pong")
    assert VENUE.ping(request=5, time_s=0) == b"ping"


def test_pong_is_what_the_venue_sends_and_another_word_is_not() -> None:
    lines: list[str] = []
    canary = Canary("bitget", ["books:BTCUSDT"], 1, lines.append)
    canary.take(b"pong", 0, 0.0)
    assert (canary.unexpected, lines) == (0, [])
    canary.take(b"pang", 0, 1.0)
    assert canary.unexpected == 1


# ---- REST ----------------------------------------------------------------------------------------


def spot(**fields: Any) -> dict[str, Any]:
    """Return BTCUSDT as the venue listed it on 2026-09-25."""
    return {
        **{"symbol": "BTCUSDT", "baseCoin": "BTC", "quoteCoin": "USDT", "minTradeAmount": "0"},
        **{"maxTradeAmount": "900000000000000000000", "takerFeeRate": "0.002"},
        **{"pricePrecision": "2", "quantityPrecision": "6", "quotePrecision": "8"},
        **{"status": "online", "minTradeUSDT": "1", "areaSymbol": "no", "offTime": ""},
    } | fields


def contract(**fields: Any) -> dict[str, Any]:
    """Return BTCUSDT as the venue listed it on 2026-09-25."""
    return {
        **{"symbol": "BTCUSDT", "baseCoin": "BTC", "quoteCoin": "USDT"},
        **{"supportMarginCoins": ["USDT"], "minTradeNum": "0.0001", "priceEndStep": "1"},
        **{"volumePlace": "4", "pricePlace": "1", "sizeMultiplier": "0.0001"},
        **{"symbolType": "perpetual", "minTradeUSDT": "5", "symbolStatus": "normal"},
        **{"offTime": "-1", "deliveryTime": "", "fundInterval": "8", "isRwa": "NO"},
    } | fields


def listed(venue: Venue, *rows: dict[str, Any], **fields: Any) -> Any:
    reply = {"code": "00000", "msg": "success", "requestTime": 1790358274804, "data": rows} | fields
    return venue.parse_instruments(json.dumps(reply).encode())


def test_lists_are_asked_for_by_market() -> None:
    ask = [one.instruments_request(BitgetSettings()).target for one in (VENUE, USDT)]
    assert ask == [
        "/api/v2/spot/public/symbols",
        "/api/v2/mix/market/contracts?productType=USDT-FUTURES",
    ]


def test_spot_instruments_have_digits_minima_and_status() -> None:
    found = listed(
        VENUE,
        spot(),
        spot(symbol="ETHUSDT", baseCoin="ETH", quantityPrecision="4", minTradeAmount="0.0005"),
        spot(symbol="ETHBTC", baseCoin="ETH", quoteCoin="BTC", status="halt"),
        spot(symbol="RAAPLUSDT", baseCoin="rAAPL", status="gray"),
        spot(symbol="OLDUSDT", baseCoin="OLD", status="offline"),
        spot(symbol="PITUSDT", baseCoin="PIT", pricePrecision="12", quantityPrecision="0"),
    )
    assert found.left_out == {}
    assert found.more is None
    btc, eth, cross, stock, old, pit = found.instruments.values()
    assert (btc.venue, btc.symbol, btc.name) == ("bitget", "BTCUSDT", Symbol("BTC", "USDT"))
    assert (btc.price_exponent, btc.quantity_exponent, btc.tick_size, btc.lot_size) == (
        -2,
        -6,
        1,
        1,
    )
    assert (btc.quantity_min, btc.notional_min, btc.multiplier) == (0, Decimal(1), 1)
    assert (eth.quantity_exponent, eth.quantity_min) == (-4, 5)
    assert cross.notional_min == 0, "the venue counts it in USDT, not in the quote"
    assert str(stock.name) == "rAAPL/USDT"
    assert VENUE.venue_symbol(stock.name) == stock.symbol
    assert (pit.price_exponent, pit.quantity_exponent) == (-12, 0)
    assert [one.status for one in (btc, cross, stock, old)] == [
        *(Status.TRADING, Status.HALTED, Status.HALTED, Status.DELISTED),
    ]


def test_contracts_have_steps_of_their_own() -> None:
    found = listed(
        USDT,
        contract(),
        contract(
            symbol="XUSDT", baseCoin="X", priceEndStep="5", sizeMultiplier="10", volumePlace="0"
        ),
        contract(symbol="YUSDT", baseCoin="Y", symbolStatus="limit_open"),
        contract(symbol="ZUSDT", baseCoin="Z", symbolStatus="off"),
        contract(
            symbol="BTCUSDTZ26", symbolType="delivery", deliveryTime="1798185600000"
        ),  # 2026-12-25
    )
    assert found.left_out == {}
    btc, x, y, z, dated = found.instruments.values()
    assert (btc.venue, str(btc.name)) == ("bitget_usdt", "BTC/USDT:USDT")
    assert (btc.price_exponent, btc.tick_size, btc.quantity_exponent) == (-1, 1, -4)
    assert (btc.lot_size, btc.quantity_min, btc.notional_min) == (1, 1, Decimal(5))
    assert (x.price_exponent, x.tick_size, x.quantity_exponent, x.lot_size) == (-1, 5, 0, 10)
    assert [one.status for one in (btc, y, z)] == [
        *(Status.TRADING, Status.HALTED, Status.DELISTED)
    ]
    assert str(dated.name) == "BTC/USDT:USDT-261225"


def test_instrument_rows_that_cannot_be_read_take_themselves_out() -> None:
    rows = {
        "AUSDT": spot(symbol="AUSDT", pricePrecision=""),
        "BUSDT": spot(symbol="BUSDT", quantityPrecision="19"),
        "CUSDT": spot(symbol="CUSDT", pricePrecision="-1"),
        "DUSDT": spot(symbol="DUSDT", minTradeAmount="some"),
        "EUSDT": spot(symbol="EUSDT", minTradeUSDT="-1"),
        "FUSDT": spot(symbol="FUSDT", minTradeAmount="1e999"),
        "lower": spot(symbol="lower"),
        "row 8": {"pricePrecision": 5},
    }
    found = listed(VENUE, spot(), *rows.values(), spot())
    assert list(found.instruments) == ["BTCUSDT"]
    assert set(found.left_out) == {*rows, "BTCUSDT"}
    assert "listed twice" in found.left_out["BTCUSDT"]
    rows = {
        "AUSDT": contract(symbol="AUSDT", quoteCoin="USDC"),
        "BUSDT": contract(symbol="BUSDT", supportMarginCoins=["BTC"]),
        "CUSDT": contract(symbol="CUSDT", priceEndStep="0"),
        "DUSDT": contract(symbol="DUSDT", priceEndStep="0.5"),
        "EUSDT": contract(symbol="EUSDT", sizeMultiplier="0.00005"),
        "FUSDT": contract(symbol="FUSDT", symbolType="option"),
        "GUSDT": contract(symbol="GUSDT", symbolType="delivery", deliveryTime=""),
        "HUSDT": contract(symbol="HUSDT", symbolType="delivery", deliveryTime="9" * 18),
    }
    found = listed(USDT, contract(), *rows.values())
    assert list(found.instruments) == ["BTCUSDT"]
    assert set(found.left_out) == set(rows)


def test_instrument_list_that_is_an_error_is_none() -> None:
    with pytest.raises(ValueError, match="40034: Parameter does not exist"):
        listed(VENUE, code="40034", msg="Parameter does not exist", data=None)
    with pytest.raises(ValueError, match="the venue says"):
        listed(VENUE, data=None)


def test_rate_limit_is_known_by_its_code_too() -> None:
    said = b'{"code":"429","msg":"Too Many Requests","requestTime":1,"data":null}'
    refusal = VENUE.rest_refusal(HttpResponse(200, {}, said), NOW)
    assert refusal is not None
    assert (refusal.reason, refusal.is_ban) == ("code 429", False)
