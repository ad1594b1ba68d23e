"""The WebSocket opening handshake against RFC 6455 1.3 and the `websockets` package's server."""

import pytest
from tickpath.netstack.http1 import http1
from tickpath.netstack.ws import ws
from websockets.datastructures import Headers
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.typing import Origin

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455 1.3
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
GOOD = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Accept": ACCEPT,
}


def answer(status: str = "101 Switching Protocols", version: str = "1.1", **changes: str) -> bytes:
    """Return the example's answer with headers replaced; an empty value removes one."""
    headers = {**GOOD, **{name.replace("_", "-"): value for name, value in changes.items()}}
    lines = [f"{name}: {value}" for name, value in headers.items() if value]
    return "\r\n".join([f"HTTP/{version} {status}", *lines, "", ""]).encode("latin-1")


def test_handshake_of_rfc_6455_1_3_is_accepted() -> None:
    assert ws.check_handshake(answer(), KEY) == len(answer())


def test_handshake_bytes_behind_the_head_are_left_to_the_caller() -> None:
    assert ws.check_handshake(answer() + b"\x81\x05Hello", KEY) == len(answer())


def test_handshake_byte_by_byte_needs_more_until_it_is_whole() -> None:
    data = answer()
    assert all(ws.check_handshake(data[:size], KEY) is None for size in range(len(data)))


def test_handshake_with_the_server_of_websockets_succeeds() -> None:
    for _ in range(20):
        key = ws.new_key()
        server = ServerProtocol()
        server.receive_data(
            ws.handshake_request("example.com:8443", "/ws?x=1", key, [("User-Agent", "tickpath")])
        )
        (request,) = server.events_received()
        assert isinstance(request, Request)
        assert request.path == "/ws?x=1"
        assert request.headers["Host"] == "example.com:8443"
        assert request.headers["User-Agent"] == "tickpath"
        assert request.headers["Sec-WebSocket-Version"] == "13"
        server.send_response(server.accept(request))
        data = b"".join(server.data_to_send())
        assert ws.check_handshake(data, key) == len(data)
        with pytest.raises(ws.HandshakeError, match="does not answer our key"):
            ws.check_handshake(data, ws.new_key())


def test_handshake_refused_by_the_server_of_websockets_names_the_status() -> None:
    server = ServerProtocol(origins=[Origin("https://example.com")])
    server.receive_data(ws.handshake_request("h", "/", KEY, [("Origin", "https://other.com")]))
    (request,) = server.events_received()
    assert isinstance(request, Request)
    server.send_response(server.accept(request))
    with pytest.raises(ws.HandshakeError, match="status 403"):
        ws.check_handshake(b"".join(server.data_to_send()), KEY)


ACCEPTED = {
    "upgrade in another case": answer(Upgrade="WebSocket"),
    "connection in another case": answer(Connection="upgrade"),
    "connection is a list": answer(Connection="keep-alive, UPGRADE"),
    "upgrade is a list": answer(Upgrade="h2c ,websocket"),
    "header names in another case": answer().replace(
        b"Sec-WebSocket-Accept", b"sec-websocket-accept"
    ),
    "connection in two lines": answer(Connection="keep-alive").replace(
        b"Upgrade: w", b"Connection: Upgrade\r\nUpgrade: w"
    ),
    "reason null": answer(status="101 null"),
    "reason empty": answer(status="101 "),
    "no reason": answer(status="101"),
    "spaces around values": answer().replace(b": ", b": \t ").replace(b"\r\nS", b"  \r\nS"),
    "framing headers, which a 101 cannot have": answer(Content_Length="5"),
    "other headers": answer(Server="x", Date="y", Set_Cookie="z"),
}
REFUSED = {
    "status 200": (answer(status="200 OK"), "status 200"),
    "status 301": (answer(status="301 Moved", Location="wss://other/"), "status 301"),
    "status 401": (answer(status="401 Unauthorized"), "status 401"),
    "status 503": (answer(status="503 Unavailable"), "status 503"),
    "status 599": (answer(status="599"), "status 599"),
    "status 999": (answer(status="999"), "status 999"),
    "status 204": (answer(status="204"), "status 204"),
    "HTTP/1.0": (answer(version="1.0"), "HTTP/1.0"),
    "no upgrade": (answer(Upgrade=""), "Upgrade header"),
    "wrong upgrade": (answer(Upgrade="h2c"), "Upgrade header"),
    "upgrade only contains the word": (answer(Upgrade="websockets"), "Upgrade header"),
    "no connection": (answer(Connection=""), "Connection header"),
    "wrong connection": (answer(Connection="close"), "Connection header"),
    "connection only contains the word": (answer(Connection="no-upgrade"), "Connection header"),
    "no accept": (answer(Sec_WebSocket_Accept=""), "Accept is missing"),
    "wrong accept": (answer(Sec_WebSocket_Accept="t" + ACCEPT[1:]), "does not answer"),
    "accept in another case": (answer(Sec_WebSocket_Accept=ACCEPT.lower()), "does not answer"),
    "accept too short": (answer(Sec_WebSocket_Accept=ACCEPT[:-1]), "does not answer"),
    "accept too long": (answer(Sec_WebSocket_Accept=ACCEPT + "="), "does not answer"),
    "key echoed": (answer(Sec_WebSocket_Accept=KEY), "does not answer"),
    "accept twice": (
        answer().replace(b"Upgrade: w", f"Sec-WebSocket-Accept: {ACCEPT}\r\nUpgrade: w".encode()),
        "Accept is repeated",
    ),
    "extension": (answer(Sec_WebSocket_Extensions="permessage-deflate"), "Extensions was not"),
    "a line folded into it": (answer().replace(b"\r\nConn", b"\r\n Conn"), "Upgrade header"),
    "subprotocol": (answer(Sec_WebSocket_Protocol="chat"), "Protocol was not"),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_handshake_unusual_but_right_is_accepted(name: str) -> None:
    assert ws.check_handshake(ACCEPTED[name], KEY) == len(ACCEPTED[name])


@pytest.mark.parametrize("name", REFUSED)
def test_handshake_wrong_is_refused_with_the_reason(name: str) -> None:
    data, why = REFUSED[name]
    with pytest.raises(ws.HandshakeError, match=why):
        ws.check_handshake(data, KEY)


@pytest.mark.parametrize(
    "data",
    [
        answer().replace(b"\r\n", b"\n"),
        answer(X="a" * 65536),
        answer().replace(b"Upgrade:", b"Upgrade :"),
    ],
)
def test_handshake_with_a_malformed_head_is_refused(data: bytes) -> None:
    with pytest.raises(http1.Http1Error):
        ws.check_handshake(data, KEY)


def test_handshake_is_not_looked_for_behind_interim_responses_only() -> None:
    data = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + answer()
    assert ws.check_handshake(data, KEY) == len(data)


@pytest.mark.parametrize(
    ("host", "target", "key", "header"),
    [
        ("h\r\nX: y", "/", KEY, ("A", "b")),
        ("h", "/\r\nX: y", KEY, ("A", "b")),
        ("h", "/ HTTP/1.1\r\n\r\nGET /", KEY, ("A", "b")),
        ("h", "", KEY, ("A", "b")),
        ("h", "/", KEY[:-1], ("A", "b")),
        ("h", "/", "*" + KEY[1:], ("A", "b")),
        ("h", "/", KEY[:22] + "\r\n", ("A", "b")),
        ("h", "/", KEY, ("A", "b\r\nC: d")),
        ("h", "/", KEY, ("A", "b\0")),
        ("h", "/", KEY, ("Host", "b")),
        ("h", "/", KEY, ("Connection", "close")),
        ("h", "/", KEY, ("UPGRADE", "h2c")),
        ("h", "/", KEY, ("Sec-WebSocket-Extensions", "permessage-deflate")),
        ("h", "/", KEY, ("sec-websocket-key", KEY)),
    ],
)
def test_handshake_request_with_an_argument_that_breaks_out_is_refused(
    host: str, target: str, key: str, header: tuple[str, str]
) -> None:
    ws.handshake_request("h", "/", KEY, [("A", "b")])
    with pytest.raises(ValueError, match="expected"):
        ws.handshake_request(host, target, key, [("Fine", "yes"), header])


def test_handshake_keys_are_fresh_and_of_16_bytes() -> None:
    keys = {ws.new_key() for _ in range(32)}
    assert len(keys) == 32
    assert all(len(key) == 24 and key.endswith("==") for key in keys)


def test_handshake_request_headers_are_those_of_websockets_parser() -> None:
    server = ServerProtocol()
    server.receive_data(ws.handshake_request("h", "/", KEY))
    (request,) = server.events_received()
    assert isinstance(request, Request)
    expected = Headers(
        {
            "Host": "h",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": KEY,
        }
    )
    assert sorted(request.headers.raw_items()) == sorted(expected.raw_items())
