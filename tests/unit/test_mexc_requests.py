"""MEXC's JSON: expected texts are those of MEXC's documents (see proto/venues/mexc/README.md)."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickpath._core import lib
from tickpath.proto.instrument import Instrument, Status, pack_row
from tickpath.proto.records import format_fixed, instrument_dtype, parse_fixed
from tickpath.proto.venue import BaseSource, Meaning, Note, Verification
from tickpath.proto.venues.mexc import requests
from tickpath.proto.venues.mexc.settings import MexcSettings
from tickpath.proto.venues.mexc.venue import VENUE

DEPTH = "spot@public.aggre.depth.v3.api.pb@100ms@BTCUSDT"


def test_channel_depth_matches_documented_name() -> None:
    assert requests.depth_channel("BTCUSDT") == DEPTH
    assert requests.depth_channel("BTCUSDT", "10ms") == DEPTH.replace("100ms", "10ms")
    assert (
        requests.limited_depth_channel("BTCUSDT", 5)
        == "spot@public.limit.depth.v3.api.pb@BTCUSDT@5"
    )


CHANNELS: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ["aggre.depth.v3.api.pb@100ms@X"]),
    (
        {"speed": "10ms", "trades": True, "best": True},
        [
            "aggre.depth.v3.api.pb@10ms@X",
            "aggre.deals.v3.api.pb@10ms@X",
            "aggre.bookTicker.v3.api.pb@10ms@X",
        ],
    ),
    ({"book": "increase"}, ["increase.depth.v3.api.pb@X"]),
    (
        {"book": "increase_batch", "best": True, "best_batch": True},
        ["increase.depth.batch.v3.api.pb@X", "bookTicker.batch.v3.api.pb@X"],
    ),
    (
        {"book": "limit", "levels": 5, "trades": True},
        ["limit.depth.v3.api.pb@X@5", "aggre.deals.v3.api.pb@100ms@X"],
    ),
]


@pytest.mark.parametrize(("fields", "channels"), CHANNELS)
def test_settings_choose_the_channels(fields: dict[str, Any], channels: list[str]) -> None:
    settings = MexcSettings(**fields)
    assert VENUE.channels("X", settings) == tuple(f"spot@public.{one}" for one in channels)
    assert all(lib.tp_mexc_describe(one.encode()) for one in VENUE.channels("X", settings))


@pytest.mark.parametrize(
    ("book", "base", "target"),
    [
        ("aggregated", BaseSource.REST, "limit=700"),
        ("increase", BaseSource.REST, "limit=700"),
        ("increase_batch", BaseSource.REST, "limit=700"),
        ("limit", BaseSource.IN_BAND, "limit=10"),
    ],
)
def test_settings_choose_where_bases_and_proofs_come_from(
    book: Any, base: BaseSource, target: str
) -> None:
    settings = MexcSettings(book=book, levels=10, depth=700)
    assert VENUE.base_from(settings) is base
    assert VENUE.verification(settings) is Verification.REST
    assert VENUE.check_request("X", settings).target == f"/api/v3/depth?symbol=X&{target}"
    assert VENUE.check_depth(settings) == int(target.partition("=")[2])
    kind = lib.tp_mexc_describe(VENUE.channels("X", settings)[0].encode())
    assert kind.rule.base == (lib.TP_BASE_REST if base is BaseSource.REST else lib.TP_BASE_IN_BAND)


def test_settings_batches_of_no_best_prices_are_refused() -> None:
    with pytest.raises(ValueError, match="add best = true"):
        MexcSettings(best_batch=True).check()


@pytest.mark.parametrize("symbol", ["btcusdt", "", "BTC USDT", "BTC@USDT", "A" * 32])
def test_channel_bad_symbol_is_refused(symbol: str) -> None:
    with pytest.raises(ValueError, match="expected up to 31 upper-case"):
        requests.depth_channel(symbol)


def test_channel_unknown_speed_is_refused() -> None:
    with pytest.raises(ValueError, match="10ms, 100ms"):
        requests.depth_channel("BTCUSDT", "1ms")


def test_request_bytes_match_documented_json() -> None:
    assert (
        requests.subscribe_request([DEPTH])
        == b'{"method":"SUBSCRIPTION","params":["' + DEPTH.encode() + b'"]}'
    )
    assert json.loads(requests.unsubscribe_request([DEPTH])) == {
        "method": "UNSUBSCRIPTION",
        "params": [DEPTH],
    }
    assert requests.ping_request() == b'{"method":"PING"}'


@pytest.mark.parametrize(("count", "fits"), [(0, False), (1, True), (30, True), (31, False)])
def test_request_channel_count_is_limited(count: int, fits: bool) -> None:
    channels = [f"spot@{i}" for i in range(count)]
    if fits:
        assert len(json.loads(requests.subscribe_request(channels))["params"]) == count
    else:
        with pytest.raises(ValueError, match="1 to 30"):
            requests.subscribe_request(channels)


def _said(text: str) -> tuple[Note, ...]:
    return requests.parse_notes(json.dumps({"id": 0, "code": 0, "msg": text}).encode())


def test_reply_documented_texts_are_told_apart() -> None:
    assert _said(DEPTH) == (Note(meaning=Meaning.ACKNOWLEDGEMENT, channels=(DEPTH,)),)
    assert _said("PONG") == (Note(meaning=Meaning.HEARTBEAT),)


@pytest.mark.parametrize("colon", ["：", ":"])  # noqa: RUF001 - the first is MEXC's
def test_reply_refusal_with_code_zero_is_a_refusal(colon: str) -> None:
    said = _said(f"Not Subscribed successfully! [{DEPTH}].  Reason{colon} Blocked! ")
    assert said == (Note(meaning=Meaning.REFUSAL, channels=(DEPTH,), reason="Blocked!"),)


def test_reply_partly_accepted_says_both() -> None:
    other = DEPTH.replace("BTC", "ETH")
    said = _said(
        f"Subscribed successful! [{DEPTH},{other}]. Not Subscribed successfully! [spot@d].  "
        "Reason\N{FULLWIDTH COLON} Blocked! "
    )
    assert said == (
        Note(meaning=Meaning.ACKNOWLEDGEMENT, channels=(DEPTH, other)),
        Note(meaning=Meaning.REFUSAL, channels=("spot@d",), reason="Blocked!"),
    )
    assert _said(f"Subscribed successful! [{DEPTH}].")[0].channels == (DEPTH,)


def test_reply_error_code_is_a_refusal() -> None:
    said = requests.parse_notes(b'{"id":0,"code":700,"msg":"no"}')
    assert said == (Note(meaning=Meaning.REFUSAL, code=700, reason="no"),)


def test_reply_other_text_is_a_notice_and_broken_text_is_broken() -> None:
    assert _said("hello") == (Note(meaning=Meaning.NOTICE, reason="hello"),)
    for broken in (b"[]", b"{", b"\xff", b'{"code":"x"}'):
        (said,) = requests.parse_notes(broken)
        assert said.meaning is Meaning.BROKEN
        assert "expected a JSON object" in said.reason


@given(st.binary(max_size=80))
def test_reply_whatever_comes_is_read(data: bytes) -> None:
    assert requests.parse_notes(data)


def _info(**fields: object) -> bytes:
    row = {
        "symbol": "BTCUSDT",
        "status": "1",
        "baseAsset": "BTC",
        "baseAssetPrecision": 8,
        "quoteAsset": "USDT",
        "quotePrecision": 2,
        "baseSizePrecision": "0.000001",
        "orderTypes": ["LIMIT"],
    }
    return json.dumps({"timezone": "CST", "symbols": [row | fields]}).encode()


def _listed(**fields: object) -> Instrument:
    return requests.parse_instruments(_info(**fields)).instruments["BTCUSDT"]


def test_instruments_exchange_info_gives_scale_and_name() -> None:
    instrument = _listed(quoteAmountPrecision="1.5")
    assert (instrument.price_exponent, instrument.quantity_exponent) == (-2, -8)
    assert (str(instrument.name), instrument.status) == ("BTC/USDT", Status.TRADING)
    assert (instrument.quantity_min, instrument.notional_min) == (100, Decimal("1.5"))
    assert [_listed(status=text).status for text in ("2", "3", 1)] == [
        Status.HALTED,
        Status.DELISTED,
        Status.TRADING,
    ]
    assert _listed(baseAssetPrecision=2).quantity_exponent == -6  # baseSizePrecision has more


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"quotePrecision": 19}, "quotePrecision 19"),
        ({"quotePrecision": "2"}, "Expected `int`"),
        ({"baseSizePrecision": "1e-6"}, "expected a plain decimal"),
        ({"quoteAmountPrecision": "NaN"}, "expected a decimal number"),
        ({"symbol": "btcusdt"}, "expected up to 31 upper-case"),
    ],
)
def test_instruments_bad_row_takes_itself_out(fields: dict[str, object], why: str) -> None:
    rows = json.loads(_info())["symbols"] + json.loads(_info(symbol="ETHUSDT"))["symbols"]
    rows[0] |= fields
    listed = requests.parse_instruments(json.dumps({"symbols": rows}).encode())
    assert list(listed.instruments) == ["ETHUSDT"]
    ((symbol, reason),) = listed.left_out.items()
    assert symbol == rows[0]["symbol"]
    assert why in reason


def test_instruments_no_list_is_refused() -> None:
    for data in (b"", b"<html>", b"[]", b'{"symbols":5}'):
        with pytest.raises(ValueError, match="expected exchangeInfo"):
            requests.parse_instruments(data)


def test_instrument_row_has_the_header_layout() -> None:
    data = pack_row(_listed())
    row = np.frombuffer(data, instrument_dtype())
    assert (len(data), row.nbytes) == (248, 248)
    assert (row["symbol"][0], row["venue"][0]) == (b"BTCUSDT", b"mexc")
    assert (row["price_exponent"][0], row["tick_size"][0]) == (-2, 1)


def test_base_levels_are_exact() -> None:
    text = b'{"lastUpdateId":1377043284,"bids":[["30225.77","0.084"],["0.01","0"]],"asks":[]}'
    base = requests.parse_base(text, -2, -6)
    assert base.version == 1377043284
    assert [(one.price, one.quantity) for one in base.bids] == [(3022577, 84000), (1, 0)]
    assert list(base.asks) == []


@pytest.mark.parametrize(
    "text",
    [
        '{"lastUpdateId":1,"bids":[["1.001","1"]],"asks":[]}',
        '{"lastUpdateId":1,"bids":[],"asks":[["1","-1"]]}',
        '{"lastUpdateId":1,"bids":[],"asks":[["1"]]}',
        '{"lastUpdateId":-1,"bids":[],"asks":[]}',
        '{"lastUpdateId":1,"bids":[1,2],"asks":[]}',
        '{"code":-1121,"msg":"Invalid symbol."}',
        "",
    ],
)
def test_base_bad_reply_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        requests.parse_base(text.encode(), -2, -6)


def test_base_path_names_symbol_and_limit() -> None:
    assert requests.base_path("BTCUSDT") == "/api/v3/depth?symbol=BTCUSDT&limit=1000"
    with pytest.raises(ValueError, match="1 to 5000"):
        requests.base_path("BTCUSDT", 5001)


@given(st.integers(-(2**63), 2**63 - 1), st.integers(-18, 0))
def test_format_fixed_equals_decimal(mantissa: int, exponent: int) -> None:
    expected = format(Decimal(mantissa).scaleb(exponent), "f")
    text = format_fixed(mantissa, exponent)
    assert Decimal(text) == Decimal(mantissa).scaleb(exponent)
    assert text.lstrip("-") == expected.lstrip("-")
    if mantissa >= 0:
        assert parse_fixed(text, exponent) == mantissa


@given(
    st.one_of(
        st.from_regex(r"[0-9]{0,22}(\.[0-9]{0,22})?", fullmatch=True),
        st.from_regex(r"[0-9]{1,9}\.[0-9]{1,9}0{0,9}", fullmatch=True),
        st.text("0123456789.-+eE _", max_size=24),
        st.text(max_size=12),
    ),
    st.integers(-18, 0),
)
def test_parse_fixed_equals_decimal_or_refuses(text: str, exponent: int) -> None:
    expected: int | None = None
    whole, point, fraction = text.partition(".")
    plain = (whole + fraction).isascii() and whole.isdigit() and (not point or fraction.isdigit())
    if plain:
        scaled = Fraction(text) * 10**-exponent
        if scaled.denominator == 1 and scaled < 2**63:
            expected = int(scaled)
    if expected is None:
        with pytest.raises(ValueError, match="expected a plain decimal"):
            parse_fixed(text, exponent)
    else:
        assert parse_fixed(text, exponent) == expected


@pytest.mark.parametrize(
    ("status", "side", "expected"),
    [
        ("1", 1, Status.TRADING),
        ("1", 2, Status.TRADING),
        ("1", "4", Status.HALTED),
        ("3", 4, Status.DELISTED),
        ("2", 1, Status.HALTED),
    ],
)
def test_instrument_that_no_side_may_trade_is_halted(
    status: str, side: int | str, expected: Status
) -> None:
    assert _listed(status=status, tradeSideType=side).status is expected
