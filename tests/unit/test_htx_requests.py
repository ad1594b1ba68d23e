"""What is asked of HTX and what it answers, worded as its documents and captures word it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from tickpath.engine.config.schema import VenueConfig
from tickpath.engine.feed_handler.plan import make_plan
from tickpath.engine.feed_handler.speaker import Speaker
from tickpath.engine.feed_handler.subscriptions import Subscriptions
from tickpath.proto.instrument import Status, Symbol, parse_symbol
from tickpath.proto.venue import BaseSource, HttpResponse, Meaning, Note, Verification
from tickpath.proto.venues.htx.settings import HtxSettings
from tickpath.proto.venues.htx.venue import VENUE

NOW = datetime(2026, 11, 30, tzinfo=UTC)
TOPIC = "market.btcusdt.mbp.150"


def note(**fields: Any) -> Note:
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    (one,) = VENUE.parse_notes(json.dumps(named).encode())
    return one


# ---- requests ------------------------------------------------------------------------------------


def test_requests_have_one_topic_and_an_id_each() -> None:
    names = [TOPIC, "market.ethusdt.bbo"]
    said = VENUE.subscribe(names, request=3, time_s=0)
    assert [json.loads(one) for one in said] == [
        {"sub": names[0], "id": "3"},
        {"sub": names[1], "id": "4"},
    ]
    asked = VENUE.asked(said[1])
    assert asked is not None
    assert (asked.request, asked.channels) == (4, ("market.ethusdt.bbo",))


def test_requests_that_are_no_subscription_ask_for_no_channel() -> None:
    (end,) = VENUE.unsubscribe([TOPIC], request=4, time_s=0)
    base = VENUE.base_message(TOPIC, request=5, time_s=0)
    assert json.loads(end) == {"unsub": TOPIC, "id": "4"}
    assert json.loads(base) == {"req": TOPIC, "id": "5"}
    for data, number in ((end, 4), (base, 5)):
        asked = VENUE.asked(data)
        assert asked is not None
        assert (asked.request, asked.channels) == (number, ())
    assert VENUE.asked(b'{"pong":5}') is None


def test_channels_follow_the_settings() -> None:
    assert VENUE.channels("btcusdt", HtxSettings()) == (TOPIC,)
    wanted = HtxSettings(depth=20, refresh=True, trades=True, best=True)
    wanted.check()
    assert VENUE.channels("btcusdt", wanted) == (
        *("market.btcusdt.mbp.refresh.20", "market.btcusdt.trade.detail", "market.btcusdt.bbo"),
    )
    paths = [VENUE.endpoint(one, wanted).path for one in VENUE.channels("btcusdt", wanted)]
    assert paths == ["/feed", "/ws", "/ws"]
    with pytest.raises(ValueError, match=r"depth 150: expected 20 with refresh = true"):
        HtxSettings(refresh=True).check()


def test_bases_come_by_request_unless_each_message_is_one() -> None:
    changes, whole = HtxSettings(), HtxSettings(depth=20, refresh=True)
    assert (VENUE.base_from(changes), VENUE.verification(changes)) == (
        *(BaseSource.REQUEST, Verification.ASK),
    )
    assert (VENUE.base_from(whole), VENUE.verification(whole)) == (
        *(BaseSource.IN_BAND, Verification.ASIDE),
    )


@pytest.mark.parametrize("name", ["btcusdt", "market.btcusdt.mbp.400", "market.btcusdt.kline.1min"])
def test_channel_of_nobody_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"expected one such as market\.btcusdt\.mbp\.150"):
        VENUE.subscribe([name], request=1, time_s=0)


@pytest.mark.parametrize("symbol", ["BTCUSDT", "btc-usdt", "", "a.b", 'a"b', "ab\u00e9", "a" * 65])
def test_symbol_that_is_none_is_refused(symbol: str) -> None:
    with pytest.raises(ValueError, match="expected small letters and digits"):
        VENUE.check_symbol(symbol)


def test_canonical_names_are_of_spot_alone() -> None:
    assert VENUE.venue_symbol(parse_symbol("BTC/USDT")) == "btcusdt"
    assert VENUE.venue_symbol(parse_symbol("BTC/USDT:USDT")) is None
    assert VENUE.venue_symbol(Symbol("B.C", "USDT")) is None


# ---- answers -------------------------------------------------------------------------------------


def test_acknowledgement_names_its_topic() -> None:
    yes = note(id="1", status="ok", subbed=TOPIC, ts=1489474081631)
    assert (yes.meaning, yes.channels, yes.request) == (Meaning.ACKNOWLEDGEMENT, (TOPIC,), 1)
    end = note(id="id4", status="ok", unsubbed=TOPIC, ts=1494326028889)
    assert (end.meaning, end.channels, end.request) == (Meaning.ACKNOWLEDGEMENT, (), None)


def test_refusal_is_of_the_topic_in_its_words() -> None:
    words = "invalid topic market.nope.mbp.150"
    no = note(status="error", ts=1790134833291, id="7", err_code="bad-request", err_msg=words)
    assert (no.meaning, no.channels, no.request) == (
        *(Meaning.REFUSAL, ("market.nope.mbp.150",), 7),
    )
    assert no.reason == f"bad-request: {words}"


@pytest.mark.parametrize(
    ("code", "words", "reason"),
    [(2002, "auth", "2002: auth"), ("x", None, "x"), (None, "auth", "auth"), (0, "", "0")],
)
def test_refusal_in_another_form_is_one(
    code: str | int | None, words: str | None, reason: str
) -> None:
    no = note(status="error", id="7", err_code=code, err_msg=words)
    assert (no.meaning, no.request, no.reason) == (Meaning.REFUSAL, 7, reason)


def test_ping_is_answered_by_its_number() -> None:
    ping = note(ping=1492420473027)
    assert (ping.meaning, ping.answer) == (Meaning.HEARTBEAT, b'{"pong":1492420473027}')


@pytest.mark.parametrize("data", [b"", b"[]", b"5", b'{"ping":"x"}', b"\x1f\x8b\x08\x00"])
def test_what_is_none_of_its_answers_is_broken(data: bytes) -> None:
    (one,) = VENUE.parse_notes(data)
    assert one.meaning is Meaning.BROKEN


def test_member_that_was_refused_is_said_in_words() -> None:
    (one,) = VENUE.parse_notes(b"\x1f\x8b\x08\x00\x00\xff{")
    assert one.reason.startswith("a message that is no whole gzip member was left out")


def test_request_for_a_base_that_is_refused_refuses_no_book() -> None:
    plan = make_plan(VenueConfig(symbols=(), name="htx"), ["btcusdt", "ethusdt"])
    subscriptions, said = Subscriptions(plan), list[bytes]()
    subscriptions.opened(0, 0.0)
    for channel in plan.book_channels():
        yes = {"id": "1", "status": "ok", "subbed": channel.name, "ts": 1}
        subscriptions.take(0, json.dumps(yes).encode(), 0.0)

    def send(connection: int, text: bytes) -> bool:
        subscriptions.said(connection, text)
        said.append(text)
        return True

    speaker = Speaker(plan, send)
    speaker.request_base(1)
    speaker.step(0.0, 7)
    (asked,) = map(json.loads, said)
    assert asked["req"] == "market.ethusdt.mbp.150"
    words = "429 too many request topic is market.ethusdt.mbp.150"
    no = {"status": "error", "ts": 1, "id": asked["id"], "err-code": "bad-request"}
    answer = subscriptions.take(0, json.dumps(no | {"err-msg": words}).encode(), 0.0)
    assert (answer.refused, answer.changes) == ([], [])
    assert answer.lines == [f"connection 0: refused a request: bad-request: {words}"]
    assert subscriptions.pending(0) == ()


def test_channel_that_brings_nothing_is_subscribed_to_anew_rather_than_asked_for_a_base() -> None:
    plan, said = make_plan(VenueConfig(symbols=(), name="htx"), ["btcusdt"]), list[bytes]()

    def send(_: int, text: bytes) -> bool:
        said.append(text)
        return True

    speaker = Speaker(plan, send)
    speaker.subscribe_anew(0)
    for step in range(3):
        speaker.step(step * 0.1, 7)
    assert [sorted(json.loads(one)) for one in said] == [["id", "unsub"], ["id", "sub"]]


# ---- the list ------------------------------------------------------------------------------------

ROW = {
    **{"symbol": "btcusdt", "state": "online", "bc": "btc", "qc": "usdt", "pp": 2, "ap": 6},
    **{"sp": "main", "vp": 8, "minoa": 0.0001, "maxoa": 1000, "minov": 10, "at": "enabled"},
}


def listed(*rows: dict[str, Any], status: str = "ok") -> Any:
    body = {"status": status, "data": rows, "ts": "1641880897191", "full": 1}
    return VENUE.parse_instruments(json.dumps(body).encode())


def test_list_row_is_an_instrument() -> None:
    (one,) = listed(ROW).instruments.values()
    assert (one.symbol, str(one.name)) == ("btcusdt", "BTC/USDT")
    assert (one.price_exponent, one.quantity_exponent) == (-2, -6)
    assert (one.tick_size, one.lot_size, one.quantity_min) == (1, 1, 100)
    assert one.notional_min == Decimal(10)
    assert one.status is Status.TRADING


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"state": "suspend"}, Status.HALTED),
        ({"state": "pre-online"}, Status.HALTED),
        ({"state": "offline"}, Status.DELISTED),
        ({"at": "disabled"}, Status.HALTED),
        ({"state": "new one"}, Status.HALTED),
    ],
)
def test_list_row_says_what_is_traded(fields: dict[str, str], status: Status) -> None:
    (one,) = listed(ROW | fields).instruments.values()
    assert one.status is status


@pytest.mark.parametrize(
    "wrong",
    [
        *({"pp": 19}, {"ap": -1}, {"pp": "x"}, {"minoa": -1}, {"minov": "NaN"}, {"minoa": 1e300}),
        *({"symbol": "BTCUSDT"}, {"symbol": "ethusdt"}, {"bc": ""}, {"bc": 5}, {"state": None}),
    ],
)
def test_list_row_that_is_wrong_takes_itself_out(wrong: dict[str, Any]) -> None:
    good = ROW | {"symbol": "ltcusdt", "bc": "ltc"}
    found = listed(ROW | wrong, good)
    assert list(found.instruments) == ["ltcusdt"]
    assert len(found.left_out) == 1


def test_list_row_that_comes_twice_counts_once() -> None:
    found = listed(ROW, ROW | {"pp": 4})
    assert found.instruments["btcusdt"].price_exponent == -2
    assert "listed twice" in found.left_out["btcusdt"]


def test_list_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="the venue says error"):
        listed(status="error")
    for code in ('"gateway"', "504"):
        no = f'{{"status":"error","err-code":{code},"err-msg":"late","data":null}}'
        with pytest.raises(ValueError, match=f"the venue says error: {code.strip(chr(34))}: late"):
            VENUE.parse_instruments(no.encode())
    with pytest.raises(ValueError, match="expected rows as its data"):
        VENUE.parse_instruments(b'{"status":"ok","data":null}')
    with pytest.raises(ValueError, match="expected the JSON of instruments"):
        VENUE.parse_instruments(b"[]")


def test_limits_of_rest() -> None:
    refusal = VENUE.rest_refusal(HttpResponse(429, {"retry-after": "3"}, b""), NOW)
    assert refusal is not None
    assert (refusal.is_ban, refusal.retry_after_s) == (False, 3.0)
    assert VENUE.rest_refusal(HttpResponse(200, {}, b"{}"), NOW) is None
