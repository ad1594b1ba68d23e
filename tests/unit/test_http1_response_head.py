"""HTTP/1.1 response heads against http.client, and each rule of RFC 9112 just broken."""

import http.client
import io
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickpath.netstack.http1 import http1

if TYPE_CHECKING:
    import socket

NAME_CHARACTERS = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
VALUE_CHARACTERS = "".join(chr(c) for c in range(0x21, 0x100) if c not in range(0x7F, 0xA1))


class _Socket:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._data)


def standard_library(data: bytes) -> http.client.HTTPResponse:
    """Return what http.client makes of the bytes."""
    response = http.client.HTTPResponse(cast("socket.socket", _Socket(data)))
    response.begin()
    return response


header_names = st.text(NAME_CHARACTERS, min_size=1, max_size=30).filter(
    lambda name: name.lower() not in {"transfer-encoding", "content-length"}
)
header_values = st.lists(st.text(VALUE_CHARACTERS, min_size=1, max_size=20), max_size=4).map(
    " ".join
)
space = st.sampled_from(["", " ", "\t", "  \t "])


@given(
    status=st.integers(200, 999),
    minor=st.sampled_from([0, 1]),
    reason=st.none() | header_values,
    headers=st.lists(st.tuples(header_names, space, header_values, space), max_size=20),
    rest=st.binary(max_size=20),
)
def test_head_valid_reads_as_in_http_client(
    status: int,
    minor: int,
    reason: str | None,
    headers: list[tuple[str, str, str, str]],
    rest: bytes,
) -> None:
    lines = [f"HTTP/1.{minor} {status}" + ("" if reason is None else f" {reason}")]
    lines += [f"{name}:{before}{value}{after}" for name, before, value, after in headers]
    data = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
    parsed = http1.parse_head(data + rest)
    assert parsed is not None
    head, size = parsed
    theirs = standard_library(data + rest)
    assert size == len(data)
    assert head.status == theirs.status
    assert head.version_minor == theirs.version - 10
    assert head.reason.strip() == theirs.reason
    ours = [(name, value) for name, value in head.headers]
    assert ours == [(name, value.strip(" \t")) for name, value in theirs.getheaders()]


VALID = b"HTTP/1.1 200 OK\r\nA: b\r\nC:d\r\n\r\n"


def test_head_every_proper_prefix_needs_more() -> None:
    for size in range(len(VALID)):
        assert http1.parse_head(VALID[:size]) is None
    assert http1.parse_head(VALID) is not None


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"HTTP/1.1 101 Switching Protocols", "Switching Protocols"),
        (b"HTTP/1.1 101 null", "null"),
        (b"HTTP/1.1 101 ", ""),
        (b"HTTP/1.1 101", ""),
        (b"HTTP/1.1 101 \xe9\tx", "\xe9\tx"),
    ],
)
def test_head_reason_phrase_is_free(line: bytes, reason: str) -> None:
    parsed = http1.parse_head(line + b"\r\n\r\n")
    assert parsed is not None
    assert (parsed[0].status, parsed[0].reason) == (101, reason)


BAD_HEADS = {
    b"HTTP/2.0 200 OK\r\n\r\n": "does not start with HTTP/1.",
    b"HTTP/1.x 200 OK\r\n\r\n": "does not start with HTTP/1.",
    b"http/1.1 200 OK\r\n\r\n": "does not start with HTTP/1.",
    b"\r\nHTTP/1.1 200 OK\r\n\r\n": "does not start with HTTP/1.",
    b" HTTP/1.1 200 OK\r\n\r\n": "does not start with HTTP/1.",
    b"HTTP/1.1  200 OK\r\n\r\n": "status code",
    b"HTTP/1.1 20 OK\r\n\r\n": "status code",
    b"HTTP/1.1 2000 OK\r\n\r\n": "status code",
    b"HTTP/1.1 099 OK\r\n\r\n": "status code",
    b"HTTP/1.1 -20 OK\r\n\r\n": "status code",
    b"HTTP/1.1\r\n\r\n": "status code",
    b"HTTP/1.1 200\tOK\r\n\r\n": "status code",
    b"HTTP/1.1 200 O\x00K\r\n\r\n": "reason",
    b"HTTP/1.1 200 O\rK\r\n\r\n": "reason",
    b"HTTP/1.1 200 OK\n\r\n": "bare LF",
    b"HTTP/1.1 200 OK\r\nA: b\n\r\n": "bare LF",
    b"HTTP/1.1 200 OK\r\nA: b\r\n\n": "bare LF",
    b"HTTP/1.1 200 OK\r\n A: b\r\n\r\n": "folded line before the first",
    b"HTTP/1.1 200 OK\r\nA: b\r\n c\x00\r\n\r\n": "header value",
    b"HTTP/1.1 200 OK\r\nA: b\r\n c\rd\r\n\r\n": "header value",
    b"HTTP/1.1 200 OK\r\nA: b\r\n c\n\r\n": "bare LF",
    b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n": "token",
    b"HTTP/1.1 200 OK\r\n: b\r\n\r\n": "token",
    b"HTTP/1.1 200 OK\r\nA\r\n\r\n": "token",
    b"HTTP/1.1 200 OK\r\nA(: b\r\n\r\n": "token",
    b"HTTP/1.1 200 OK\r\nA\xe9: b\r\n\r\n": "token",
    b"HTTP/1.1 200 OK\r\nA\x00: b\r\n\r\n": "token",
    b"HTTP/1.1 200 OK\r\nA: b\x00c\r\n\r\n": "header value",
    b"HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n": "header value",
    b"HTTP/1.1 200 OK\r\nA: b\x7f\r\n\r\n": "header value",
    b"HTTP/1.1 200 OK\r\nA: b\x1f\r\n\r\n": "header value",
}


def verdict(data: bytes) -> str:
    """Return the error's text, or nothing if more is needed."""
    try:
        assert http1.parse_head(data) is None
    except http1.Http1Error as error:
        return str(error)
    return ""


@pytest.mark.parametrize(("data", "why"), BAD_HEADS.items())
def test_head_broken_is_refused_with_the_same_error_in_each_prefix(data: bytes, why: str) -> None:
    for size in range(len(data)):
        assert verdict(data[:size]) in ("", verdict(data))
    with pytest.raises(http1.Http1Error, match=why):
        http1.parse_head(data)


@pytest.mark.parametrize(
    ("lines", "value"),
    [
        (b"A: b\r\n c", "b c"),
        (b"A: b \r\n \t c\r\n\td ", "b c d"),
        (b"A:\r\n b", "b"),
        (b"A: b\r\n ", "b"),
        (b"A:\r\n \r\n b\r\n ", "b"),
    ],
)
def test_head_folded_value_is_one_line(lines: bytes, value: str) -> None:
    """RFC 9112 5.2: a user agent reads each obs-fold of a response as a space."""
    data = b"HTTP/1.1 200 OK\r\n" + lines + b"\r\nB: c\r\n\r\n"
    parsed = http1.parse_head(data)
    assert parsed is not None
    assert parsed[0].headers == (("A", value), ("B", "c"))
    assert parsed[1] == len(data)
    for size in range(len(data)):
        assert http1.parse_head(data[:size]) is None


@pytest.mark.parametrize("data", [b"SSH-2.0-OpenSSH", b"\x15\x03\x01\x00\x02", b"HTTP/2"])
def test_head_of_another_protocol_is_refused_without_waiting_for_a_line(data: bytes) -> None:
    with pytest.raises(http1.Http1Error, match="does not start with HTTP/1"):
        http1.parse_head(data)


def test_head_header_count_limit_is_100() -> None:
    start = b"HTTP/1.1 200 OK\r\n"
    parsed = http1.parse_head(start + b"A: b\r\n" * 100 + b"\r\n")
    assert parsed is not None
    assert len(parsed[0].headers) == 100
    with pytest.raises(http1.Http1Error, match="more than 100"):
        http1.parse_head(start + b"A: b\r\n" * 101 + b"\r\n")


def test_head_size_limit_is_64_kib() -> None:
    start, end = b"HTTP/1.1 200 OK\r\nA: ", b"\r\n\r\n"
    filling = 65536 - len(start) - len(end)
    parsed = http1.parse_head(start + b"x" * filling + end + b"body" * 100)
    assert parsed is not None
    assert parsed[1] == 65536
    for data in (start + b"x" * (filling + 1) + end, start + b"x" * filling + end[:-1] + b"yyyy"):
        with pytest.raises(http1.Http1Error, match=r"larger than 65536|bare|control"):
            http1.parse_head(data)
    assert http1.parse_head(start + b"x" * (65535 - len(start))) is None
    with pytest.raises(http1.Http1Error, match="larger than 65536"):
        http1.parse_head(start + b"x" * (65536 - len(start)))


def test_head_interim_responses_are_passed_over_except_101() -> None:
    interim = b"HTTP/1.1 100\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    for final in (b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n", b"HTTP/1.1 101 x\r\n\r\n"):
        parsed = http1.parse_head(interim + final + b"rest")
        assert parsed is not None
        assert parsed[0].status == int(final[9:12])
        assert parsed[1] == len(interim + final)
    assert http1.parse_head(interim) is None
    first = http1.parse_head(interim, skip_interim=False)
    assert first is not None
    assert (first[0].status, first[1]) == (100, len(b"HTTP/1.1 100\r\n\r\n"))


def test_head_interim_flood_is_bounded_by_the_size_limit() -> None:
    with pytest.raises(http1.Http1Error, match="larger than 65536"):
        http1.parse_head(b"HTTP/1.1 100\r\n\r\n" * 5000)
