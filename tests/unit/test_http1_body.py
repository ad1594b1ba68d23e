"""HTTP/1.1 bodies against http.client, and framing that must be refused (RFC 9112 6 and 7)."""

import http.client
import io
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickpath.netstack.http1 import http1

if TYPE_CHECKING:
    import socket

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def read(
    data: bytes, piece_size: int = 1 << 20, *, head_request: bool = False
) -> tuple[bytes, bool]:
    """Return the body and whether it is complete without the connection's end."""
    reader = http1.ResponseReader(head_request=head_request)
    pieces: list[bytes] = []
    for start in range(0, len(data), piece_size):
        pieces += reader.feed(data[start : start + piece_size])
    return b"".join(pieces), reader.complete


class _Socket:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._data)


def standard_library(data: bytes) -> bytes:
    """Return the body that http.client reads."""
    response = http.client.HTTPResponse(cast("socket.socket", _Socket(data)))
    response.begin()
    return response.read()


extension = st.sampled_from([b"", b";a", b";a=b", b';a="b c"', b"; x = y"])
trailer = st.sampled_from([b"", b"X: y\r\n", b"X:\r\nY: z\r\n"])


@given(
    chunks=st.lists(st.tuples(st.binary(min_size=1, max_size=300), extension), max_size=8),
    trailer=trailer,
    upper=st.booleans(),
    piece_size=st.integers(1, 400),
)
def test_body_chunked_reads_as_in_http_client(
    chunks: list[tuple[bytes, bytes]], trailer: bytes, upper: bool, piece_size: int
) -> None:
    coded = b""
    for chunk, name in chunks:
        size = f"{len(chunk):X}" if upper else f"{len(chunk):03x}"
        coded += size.encode() + name + b"\r\n" + chunk + b"\r\n"
    data = CHUNKED + coded + b"0\r\n" + trailer + b"\r\n"
    assert read(data, piece_size) == (b"".join(chunk for chunk, _ in chunks), True)
    assert standard_library(data) == b"".join(chunk for chunk, _ in chunks)


@given(body=st.binary(max_size=300), piece_size=st.integers(1, 400))
def test_body_with_content_length_reads_as_in_http_client(body: bytes, piece_size: int) -> None:
    data = HEAD + f"Content-Length: {len(body)}\r\n\r\n".encode() + body
    assert read(data, piece_size) == (body, True)
    assert standard_library(data) == body


def test_body_excess_behind_the_response_is_kept_apart() -> None:
    for response in (
        HEAD + b"Content-Length: 2\r\n\r\nab",
        CHUNKED + b"2\r\nab\r\n0\r\n\r\n",
    ):
        reader = http1.ResponseReader()
        assert reader.feed(response + b"HTTP/1.1") == [b"ab"]
        assert reader.complete
        assert reader.excess == b"HTTP/1.1"
        reader.end_of_input()


def test_body_until_close_ends_with_the_connection() -> None:
    for head in (HEAD + b"\r\n", b"HTTP/1.0 200 OK\r\n\r\n"):
        reader = http1.ResponseReader()
        assert b"".join(reader.feed(head + b"abc") + reader.feed(b"def")) == b"abcdef"
        assert not reader.complete
        reader.end_of_input()
        assert reader.complete


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 20",
        HEAD + b"Content-Length: 3\r\n\r\nab",
        CHUNKED,
        CHUNKED + b"2\r\nab",
        CHUNKED + b"2\r\nab\r\n",
        CHUNKED + b"2\r\nab\r\n0\r\n",
        CHUNKED + b"2\r\nab\r\n0\r\n\r",
        CHUNKED + b"2\r\nab\r\n0\r\nX: y\r\n",
    ],
)
def test_body_cut_short_is_an_error(data: bytes) -> None:
    reader = http1.ResponseReader()
    reader.feed(data)
    assert not reader.complete
    with pytest.raises(http1.Http1Error, match="ended"):
        reader.end_of_input()


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified", b"101 Switching"])
def test_body_of_a_bodiless_status_is_empty_whatever_the_headers_say(status: bytes) -> None:
    head = b"HTTP/1.1 " + status + b"\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert read(head) == (b"", True)


def test_body_of_a_head_request_is_empty() -> None:
    assert read(HEAD + b"Content-Length: 5\r\n\r\n", head_request=True) == (b"", True)
    assert read(HEAD + b"\r\n", head_request=True) == (b"", True)


@pytest.mark.parametrize("length", [b"2", b"002", b"2, 2", b"2,2 ,\t2"])
def test_body_content_length_valid_forms_are_read(length: bytes) -> None:
    assert read(HEAD + b"Content-Length: " + length + b"\r\n\r\nab") == (b"ab", True)


def test_body_content_length_repeated_with_the_same_value_is_read() -> None:
    assert read(HEAD + b"Content-Length: 2\r\ncontent-LENGTH: 2\r\n\r\nab") == (b"ab", True)


BAD_FRAMING = {
    b"Content-Length: 2\r\nContent-Length: 3\r\n": "disagree",
    b"Content-Length: 2, 3\r\n": "disagree",
    b"Content-Length: +2\r\n": "decimal",
    b"Content-Length: -2\r\n": "decimal",
    b"Content-Length: 2 2\r\n": "decimal",
    b"Content-Length: 0x2\r\n": "decimal",
    b"Content-Length: 2.0\r\n": "decimal",
    b"Content-Length: 2,\r\n": "decimal",
    b"Content-Length:\r\n": "decimal",
    b"Content-Length: \xb2\r\n": "decimal",
    b"Content-Length: 9223372036854775808\r\n": "decimal",
    b"Content-Length: 18446744073709551618\r\n": "decimal",
    b"Content-Length: 99999999999999999999999999999\r\n": "decimal",
    b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n": "both",
    b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n": "both",
    b"Transfer-Encoding: gzip\r\n": "chunked",
    b"Transfer-Encoding: gzip, chunked\r\n": "chunked",
    b"Transfer-Encoding: chunked, gzip\r\n": "chunked",
    b"Transfer-Encoding: chunked, chunked\r\n": "chunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n": "chunked",
    b"Transfer-Encoding: xchunked\r\n": "chunked",
    b"Transfer-Encoding: chunked;q=1\r\n": "chunked",
    b"Transfer-Encoding: \x0bchunked\r\n": "control",
    b"Transfer-Encoding:\r\n": "chunked",
    b"Transfer-Encoding: identity\r\n": "chunked",
}


@pytest.mark.parametrize(("headers", "why"), BAD_FRAMING.items())
def test_body_framing_that_can_be_read_in_two_ways_is_refused(headers: bytes, why: str) -> None:
    with pytest.raises(http1.Http1Error, match=why):
        http1.ResponseReader().feed(HEAD + headers + b"\r\n")


def test_body_largest_content_length_is_taken() -> None:
    reader = http1.ResponseReader()
    assert reader.feed(HEAD + b"Content-Length: 9223372036854775799\r\n\r\nab") == [b"ab"]
    assert not reader.complete


def test_body_transfer_encoding_in_http_1_0_is_refused() -> None:
    with pytest.raises(http1.Http1Error, match=r"HTTP/1\.0"):
        http1.ResponseReader().feed(b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")


@pytest.mark.parametrize("value", [b"Chunked", b"\tCHUNKED ", b", chunked ,"])
def test_body_transfer_encoding_is_compared_without_case(value: bytes) -> None:
    data = HEAD + b"Transfer-Encoding:" + value + b"\r\n\r\n1\r\na\r\n0\r\n\r\n"
    assert read(data) == (b"a", True)


BAD_CHUNKS = {
    b"\r\n": "hexadecimal",
    b";a\r\n": "hexadecimal",
    b"g\r\n": "hexadecimal",
    b"-1\r\n": "hexadecimal",
    b"+1\r\na\r\n": "hexadecimal",
    b"0x1\r\na\r\n": "hexadecimal",
    b" 1\r\na\r\n": "hexadecimal",
    b"1 1\r\na\r\n": "hexadecimal",
    b"1 x\r\na\r\n": "hexadecimal",
    b"1" + b" " * 5000: "4096",
    b"1\na\r\n": "hexadecimal",
    b"1\r\r\n": "CR LF",
    b"1\r\nab\r\n": "CR LF",
    b"1\r\na\n": "CR LF",
    b"1\r\na\r\r": "CR LF",
    b"1\r\na0\r\n": "CR LF",
    b"1;a\nb\r\n": "control character",
    b"1;a\x00b\r\n": "control character",
    b"fffffffffffffffff\r\n": "15 digits",
    b"10000000000000000\r\n": "15 digits",
    b"01000000000000000\r\n": "15 digits",
    b"0" * 257: "256 digits",
    b"1;" + b"a" * 5000: "4096",
    b"0\r\nX: y\n\r\n": "control character",
    b"0\r\nX: y\x00\r\n": "control character",
    b"0\r\nX\r\n": "token",
    b"0\r\n X: y\r\n": "token",
    b"0\r\n: y\r\n": "token",
    b"0\r\n\r\r": "CR LF",
    b"0\r\n\n": "token",
    b"0\r\n" + b"X: y\r\n" * 3000: "16384",
}


@pytest.mark.parametrize(("coded", "why"), BAD_CHUNKS.items())
@pytest.mark.parametrize("piece_size", [1, 1 << 20])
def test_body_chunked_broken_is_refused(coded: bytes, why: str, piece_size: int) -> None:
    with pytest.raises(http1.Http1Error, match=why):
        read(CHUNKED + b"3\r\nabc\r\n" + coded, piece_size)


@pytest.mark.parametrize(
    "size", [b"1 ", b"1 \t ", b"1 ;x=y", b"1;x=y ", b"0000000000000001", b"0" * 255 + b"1"]
)
@pytest.mark.parametrize("piece_size", [1, 1 << 20])
def test_body_chunk_size_with_blanks_or_zeros_is_taken(size: bytes, piece_size: int) -> None:
    """RFC 9112 7.1.1: BWS behind the size; servers pad it to a fixed width, either way."""
    assert read(CHUNKED + size + b"\r\na\r\n0\r\n\r\n", piece_size) == (b"a", True)


def test_body_framing_of_folded_fields_is_read() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: ,\r\n chunked\r\n\r\n"
    reader = http1.ResponseReader()
    assert reader.feed(head + b"1\r\na\r\n0\r\n\r\n") == [b"a"]
    assert reader.complete


def test_body_chunk_size_of_15_digits_is_taken() -> None:
    reader = http1.ResponseReader()
    assert reader.feed(CHUNKED + b"fffffffffffffff\r\nab") == [b"ab"]
    assert not reader.complete


def test_body_error_stays() -> None:
    reader = http1.ResponseReader()
    with pytest.raises(http1.Http1Error):
        reader.feed(CHUNKED + b"g")
    with pytest.raises(http1.Http1Error, match="hexadecimal"):
        reader.feed(b"1\r\na\r\n0\r\n\r\n")
