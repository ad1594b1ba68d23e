"""Requests of orders as they stand on the wire, and their signatures.

Vectors: RFC 4231 (HMAC-SHA256), RFC 8032 (Ed25519), and those in the documents of MEXC ("Signed",
example 2) and Binance ("SIGNED Endpoint Examples"; web-socket-api.md, "Request security").
Requests are read back by the standard library, and signed again by its hmac.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import subprocess
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tickpath._core import ffi, lib

if TYPE_CHECKING:
    from pathlib import Path

RFC_4231 = [
    (b"\x0b" * 20, b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
    (
        b"Jefe",
        b"what do ya want for nothing?",
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
    ),
    (
        b"\xaa" * 20,
        b"\xdd" * 50,
        "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
    ),
    (
        b"\xaa" * 131,
        b"Test Using Larger Than Block-Size Key - Hash Key First",
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
    ),
]
MEXC_SECRET = b"45d0b3c26f2644f19bfb98b07741b2f5"
BINANCE_SECRET = b"NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
BINANCE_KEY = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"
PUBLISHED = [
    (
        MEXC_SECRET,
        "symbol=BTCUSDT&side=BUY&type=LIMIT&quantity=1&price=11&recvWindow=5000"
        "&timestamp=1644489390087",
        "fd3e4e8543c5188531eb7279d68ae7d26a573d0fc5ab0d18eb692451654d837a",
    ),
    (
        BINANCE_SECRET,
        "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000"
        "&timestamp=1499827319559",
        "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71",
    ),
    (
        BINANCE_SECRET,
        f"apiKey={BINANCE_KEY}&price=52000.00&quantity=0.01000000&recvWindow=100&side=SELL"
        "&symbol=BTCUSDT&timeInForce=GTC&timestamp=1645423376532&type=LIMIT",
        "aa1b5712c094bc4e57c05a1a5c1fd8d88dcd628338ea863fec7b88e59fe2db24",
    ),
    (
        BINANCE_SECRET,
        f"apiKey={BINANCE_KEY}&price=0.10000000&quantity=1.00000000&recvWindow=5000&side=BUY"
        "&symbol=\uff11\uff12\uff13\uff14\uff15\uff16&timeInForce=GTC&timestamp=1645423376532"
        "&type=LIMIT",
        "b33892ae8e687c939f4468c6268ddd4c40ac1af18ad19a064864c47bae0752cd",
    ),
]
PREFIX = "tp0000abcd00000007"
HOST = "api.mexc.com"


def key_of(secret: bytes) -> Any:
    key = ffi.new("struct tp_hmac_key *")
    lib.tp_hmac_key_init(key, secret, len(secret))
    return key


def signed(secret: bytes, text: bytes, split: int = 0) -> str:
    key = key_of(secret)
    state = ffi.new("struct tp_sha256 *", key.inner)
    lib.tp_hmac_absorb(state, text[:split], split)
    hex_ = ffi.new("char[]", int(lib.TP_SHA256_HEX_SIZE))
    lib.tp_hmac_sign(key, state, text[split:], len(text) - split, hex_)
    return str(ffi.string(hex_, len(hex_)).decode())


@pytest.mark.parametrize(("secret", "text", "signature"), RFC_4231)
def test_hmac_is_that_of_rfc_4231(secret: bytes, text: bytes, signature: str) -> None:
    assert signed(secret, text) == signature


@pytest.mark.parametrize(("secret", "text", "signature"), PUBLISHED)
def test_hmac_is_what_venues_publish_wherever_the_prefix_ends(
    secret: bytes, text: str, signature: str
) -> None:
    data = text.encode()
    assert {signed(secret, data, split) for split in range(len(data) + 1)} == {signature}


@given(st.binary(max_size=200), st.binary(max_size=300), st.integers(0, 300))
def test_hmac_is_that_of_the_standard_library(secret: bytes, text: bytes, split: int) -> None:
    assert signed(secret, text, min(split, len(text))) == hmac.digest(secret, text, "sha256").hex()


def test_hmac_key_that_is_wiped_is_zero() -> None:
    key = key_of(b"secret")
    lib.tp_hmac_key_wipe(key)
    assert not any(bytes(ffi.buffer(key)))


@given(st.integers(0, 2**63 - 1), st.integers(-18, 0))
def test_decimal_is_written_exactly(mantissa: int, exponent: int) -> None:
    out = ffi.new("char[]", 64)
    text = ffi.new("struct tp_order_text *", {"at": out, "room": 64})
    lib.tp_text_add_decimal(text, mantissa, exponent)
    written = ffi.string(out).decode()
    assert Decimal(written) == Decimal(mantissa).scaleb(exponent)
    assert written[0] != "."
    assert written[-1] != "."
    assert written == "0" or not written.startswith("00")
    assert "." not in written or not written.endswith("0")


# ---- requests ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Order:
    """An order to be written, by its own words."""

    number: int = 0x1F
    side: str = "BUY"
    kind: str = "LIMIT"
    price: int = 6712345
    price_exponent: int = -2
    quantity: int = 1500
    quantity_exponent: int = -6
    timestamp: int = 1644489390087
    symbol: str = "BTCUSDT"
    window: int = 5000

    def wire(self) -> Any:
        fields = {
            "number": self.number,
            "side": int(lib.TP_SIDE_BID if self.side == "BUY" else lib.TP_SIDE_ASK),
            "type": int(getattr(lib, f"TP_ORDER_{self.kind}")),
            "price_exponent": self.price_exponent,
            "quantity_exponent": self.quantity_exponent,
            "price": self.price,
            "quantity": self.quantity,
            "timestamp_ms": self.timestamp,
        }
        return ffi.new("struct tp_order_wire *", fields)

    def id_text(self) -> str:
        return f"{PREFIX}{self.number:08x}"


def account(venue: str, order: Order, key: str) -> tuple[Any, list[Any]]:
    encodes = venue == "mexc" and not set(order.symbol) & set('"& ')
    symbol = quote(order.symbol) if encodes else order.symbol
    kept = [ffi.new("char[]", text.encode()) for text in (key, symbol, PREFIX, HOST)]
    made = ffi.new(f"struct tp_{venue}_account *")
    made.key, made.key_size = kept[0], len(key)
    made.symbol, made.symbol_size = kept[1], len(symbol.encode())
    made.id_prefix, made.recv_window_ms = kept[2], order.window
    if venue == "mexc":
        made.host, made.host_size = kept[3], len(HOST)
    return made, kept


def request(venue: str, verb: str, order: Order, *, room: int = 1024, key: str = "mykey") -> bytes:
    """Return the request; guards stand behind its room."""
    secret = key_of(MEXC_SECRET)
    made, _kept = account(venue, order, key)
    template = ffi.new(f"struct tp_{venue}_template *")
    number = getattr(lib, f"TP_{venue.upper()}_{verb}")
    assert getattr(lib, f"tp_{venue}_template_init")(template, number, made, secret)
    out = ffi.new("char[]", b"\xee" * (room + 16))
    size = getattr(lib, f"tp_{venue}_request")(template, secret, order.wire(), out, room)
    assert bytes(ffi.buffer(out))[room : room + 16] == b"\xee" * 16
    return bytes(ffi.buffer(out, size))


KINDS = {
    "LIMIT": ("LIMIT", "LIMIT", "GTC"),
    "MARKET": ("MARKET", "MARKET", None),
    "IOC": ("IMMEDIATE_OR_CANCEL", "LIMIT", "IOC"),
    "FOK": ("FILL_OR_KILL", "LIMIT", "FOK"),
    "POST_ONLY": ("LIMIT_MAKER", "LIMIT_MAKER", None),
}
ORDERS = st.builds(
    Order,
    number=st.integers(1, 2**32 - 1),
    side=st.sampled_from(["BUY", "SELL"]),
    kind=st.sampled_from(sorted(KINDS)),
    price=st.integers(1, 10**12),
    price_exponent=st.integers(-12, 0),
    quantity=st.integers(1, 10**12),
    quantity_exponent=st.integers(-12, 0),
    timestamp=st.integers(10**12, 10**13 - 1),
    symbol=st.sampled_from(["BTCUSDT", "龙虾USDT", "1000SATSUSDT"]),
    window=st.integers(1, 60000),
)


def read_mexc(data: bytes) -> tuple[str, dict[str, str], dict[str, str]]:
    """Return method, parameters and headers; the signature is proved."""
    head, _, rest = data.decode().partition("\r\n")
    method, target, version = head.split(" ")
    path, _, query = target.partition("?")
    assert version == "HTTP/1.1"
    assert rest.endswith("\r\n\r\n")
    headers = dict(line.split(": ") for line in rest.strip().split("\r\n"))
    signed_part, _, signature = query.partition("&signature=")
    assert signature == hmac.new(MEXC_SECRET, signed_part.encode(), hashlib.sha256).hexdigest()
    return f"{method} {path}", dict(parse_qsl(signed_part, strict_parsing=True)), headers


@settings(deadline=None)
@given(ORDERS)
def test_mexc_order_is_read_back_as_it_was_meant(order: Order) -> None:
    line, said, headers = read_mexc(request("mexc", "PLACE", order))
    price = Decimal(order.price).scaleb(order.price_exponent)
    assert line == "POST /api/v3/order"
    assert headers == {
        "Host": HOST,
        "X-MEXC-APIKEY": "mykey",
        "Content-Type": "application/json",
        "Content-Length": "0",
    }
    assert Decimal(said.pop("quantity")) == Decimal(order.quantity).scaleb(order.quantity_exponent)
    assert order.kind == "MARKET" or Decimal(said.pop("price")) == price
    assert said == {
        "recvWindow": str(order.window),
        "symbol": order.symbol,
        "newClientOrderId": order.id_text(),
        "side": order.side,
        "type": KINDS[order.kind][0],
        "timestamp": str(order.timestamp),
    }


@pytest.mark.parametrize(
    ("verb", "line"),
    [
        ("CANCEL", "DELETE /api/v3/order"),
        ("ASK", "GET /api/v3/order"),
        ("TEST", "POST /api/v3/order/test"),
    ],
)
def test_mexc_request_is_of_its_verb(verb: str, line: str) -> None:
    got, said, headers = read_mexc(request("mexc", verb, Order()))
    assert got == line
    name = "newClientOrderId" if verb == "TEST" else "origClientOrderId"
    assert said[name] == Order().id_text()
    assert ("side" in said) == (verb == "TEST")
    assert ("Content-Length" in headers) == (verb != "ASK")


@settings(deadline=None)
@given(ORDERS, st.booleans())
def test_binance_order_is_read_back_as_it_was_meant(order: Order, is_signed: bool) -> None:
    data = request("binance", "PLACE", order, key=BINANCE_KEY if is_signed else "")
    message = json.loads(data)
    said = message["params"]
    assert (message["id"], message["method"]) == (f"p{order.number:08x}", "order.place")
    if is_signed:
        signature = said.pop("signature")
        text = "&".join(f"{name}={said[name]}" for name in sorted(said))
        assert signature == hmac.new(MEXC_SECRET, text.encode(), hashlib.sha256).hexdigest()
        assert said.pop("apiKey") == BINANCE_KEY
    _, kind, time_in_force = KINDS[order.kind]
    assert said.pop("timeInForce", None) == time_in_force
    assert Decimal(said.pop("quantity")) == Decimal(order.quantity).scaleb(order.quantity_exponent)
    price = Decimal(order.price).scaleb(order.price_exponent)
    assert order.kind == "MARKET" or Decimal(said.pop("price")) == price
    assert said == {
        "newClientOrderId": order.id_text(),
        "newOrderRespType": "ACK",
        "recvWindow": order.window,
        "side": order.side,
        "symbol": order.symbol,
        "timestamp": order.timestamp,
        "type": kind,
    }


@pytest.mark.parametrize(("verb", "method"), [("CANCEL", "order.cancel"), ("ASK", "order.status")])
def test_binance_request_is_of_its_verb(verb: str, method: str) -> None:
    message = json.loads(request("binance", verb, Order(), key=""))
    assert message["method"] == method
    assert message["id"] == f"{method[6]}0000001f".replace("s", "a")
    assert message["params"] == {
        "origClientOrderId": Order().id_text(),
        "recvWindow": 5000,
        "symbol": "BTCUSDT",
        "timestamp": 1644489390087,
    }


CHANGES: list[dict[str, Any]] = [
    {"number": 0x20},
    {"side": "SELL"},
    {"kind": "IOC"},
    {"price": 6712346},
    {"price_exponent": -3},
    {"quantity": 1501},
    {"quantity_exponent": -5},
    {"timestamp": 1644489390088},
    {"symbol": "ETHUSDT"},
    {"window": 5001},
]


def signature_of(venue: str, verb: str, order: Order) -> str:
    data = request(venue, verb, order, key=BINANCE_KEY).decode()
    return data.partition("signature")[2].lstrip('=":')[:64]


@pytest.mark.parametrize("venue", ["mexc", "binance"])
def test_no_two_requests_have_one_signature(venue: str) -> None:
    orders = [Order(), *(replace(Order(), **change) for change in CHANGES)]
    found = [signature_of(venue, "PLACE", one) for one in orders]
    assert len(set(found)) == len(orders)
    # A cancel has no side, kind, price or quantity to be told apart by.
    found += {signature_of(venue, "CANCEL", one) for one in orders}
    assert len(set(found)) == len(orders) + 5


@pytest.mark.parametrize("venue", ["mexc", "binance"])
def test_request_without_room_is_none(venue: str) -> None:
    whole = request(venue, "PLACE", Order(), key=BINANCE_KEY)
    for room in range(len(whole)):
        assert request(venue, "PLACE", Order(), room=room, key=BINANCE_KEY) == b""
    assert request(venue, "PLACE", Order(), room=len(whole), key=BINANCE_KEY) == whole


@pytest.mark.parametrize("venue", ["mexc", "binance"])
@pytest.mark.parametrize(
    "change",
    [
        {"symbol": "X" * 300},
        {"symbol": ""},
        {"symbol": 'X"'},
        {"symbol": "X&side=BUY"},
        {"symbol": "X Y"},
        {"window": 0},
        {"window": 60001},
    ],
)
def test_template_of_what_cannot_be_is_refused(venue: str, change: dict[str, Any]) -> None:
    order = replace(Order(), **change)
    made, _kept = account(venue, order, "mykey")
    template = ffi.new(f"struct tp_{venue}_template *")
    assert not getattr(lib, f"tp_{venue}_template_init")(template, 0, made, key_of(b"x"))


@pytest.mark.parametrize("venue", ["mexc", "binance"])
def test_order_of_no_type_is_not_written(venue: str) -> None:
    secret = key_of(MEXC_SECRET)
    made, _kept = account(venue, Order(), "mykey")
    template = ffi.new(f"struct tp_{venue}_template *")
    getattr(lib, f"tp_{venue}_template_init")(template, 0, made, secret)
    wire, out = Order().wire(), ffi.new("char[]", 1024)
    wire.type = 9
    assert getattr(lib, f"tp_{venue}_request")(template, secret, wire, out, 1024) == 0


# ---- Ed25519 -----------------------------------------------------------------------------------

RFC_8032 = [  # section 7.1, TEST 1 and TEST 3: secret, message, signature
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
]


@pytest.mark.parametrize(("secret", "text", "signature"), RFC_8032)
def test_ed25519_is_that_of_rfc_8032(secret: str, text: str, signature: str) -> None:
    out = ffi.new("uint8_t[]", 64)
    data = bytes.fromhex(text)
    assert lib.tp_ed25519_sign(bytes.fromhex(secret), data, len(data), out)
    assert bytes(out).hex() == signature


def test_ed25519_key_is_read_from_pem_and_another_kind_is_not(tmp_path: Path) -> None:
    secret = ffi.new("uint8_t[]", 32)
    for kind, is_read in (("ed25519", True), ("x25519", False)):
        path = tmp_path / kind
        words = ["openssl", "genpkey", "-algorithm", kind, "-out", str(path)]
        subprocess.run(words, check=True, capture_output=True)
        pem = path.read_bytes()
        assert lib.tp_ed25519_read_pem(pem, len(pem), secret) is is_read
        if is_read:
            der = subprocess.run(
                ["openssl", "pkey", "-in", path, "-outform", "DER"], check=True, capture_output=True
            ).stdout
            assert der.endswith(bytes(secret))
    assert not lib.tp_ed25519_read_pem(b"no key", 6, secret)
