"""HTTP/1.1 request heads: what is written, and what must never be (RFC 9112 3)."""

import io
from http.server import BaseHTTPRequestHandler

import pytest
from tickpath.netstack.http1 import http1


class _Handler(BaseHTTPRequestHandler):
    """The standard library's server-side parser, fed from memory."""

    def __init__(self, data: bytes) -> None:
        self.rfile = io.BufferedReader(io.BytesIO(data))
        self.raw_requestline = self.rfile.readline()
        self.ok = self.parse_request()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        raise AssertionError(code, message, explain)


def test_request_get_is_what_the_standard_library_reads_back() -> None:
    headers = [("User-Agent", "tickpath"), ("Accept", "*/*")]
    data = http1.request("example.com:8443", "/a/b?c=d&e=%20", headers)
    handler = _Handler(data)
    assert handler.ok
    assert (handler.command, handler.path) == ("GET", "/a/b?c=d&e=%20")
    assert handler.request_version == "HTTP/1.1"
    assert handler.headers.items() == [("Host", "example.com:8443"), *headers]
    assert handler.rfile.read() == b""


def test_request_without_headers_is_exact() -> None:
    assert http1.request("h", "/") == b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


BAD_HOSTS = ["", "a\r\nX: y", "a\nX: y", "a\0", "a b", "a/b", "user@a", "a\x7f", "a\xe9", "a#b"]
BAD_TARGETS = ["", "a", "*", "/a b", "/\r\n", "/\n", "/\0", "/a#b", "/\x7f", "/\xe9", "http://a/"]
BAD_HEADERS = [
    ("A\r\nB", "c"),
    ("A", "b\r\nC: d"),
    ("A", "b\nC: d"),
    ("A", "b\rC: d"),
    ("A", "b\0"),
    ("A", "b\r\n\r\nGET / HTTP/1.1"),
    ("A", "b\r\n folded"),
    ("", "b"),
    ("A B", "c"),
    ("A ", "c"),
    ("A\xe9", "c"),
    ("Host", "other"),
    ("hOST", "other"),
    ("Content-Length", "5"),
    ("Transfer-Encoding", "chunked"),
    ("A", "\x01"),
    ("A", "\x7f"),
]


@pytest.mark.parametrize("host", BAD_HOSTS)
def test_request_host_that_breaks_out_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="cannot ask host"):
        http1.request(host, "/")


@pytest.mark.parametrize("target", BAD_TARGETS)
def test_request_target_that_breaks_out_is_refused(target: str) -> None:
    with pytest.raises(ValueError, match="cannot ask host"):
        http1.request("h", target)


@pytest.mark.parametrize("header", BAD_HEADERS)
def test_request_header_that_breaks_out_is_refused(header: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match=r"cannot ask host|expected no CR"):
        http1.request("h", "/", [("Good", "one"), header])


def test_request_larger_than_the_buffer_is_refused() -> None:
    fits = http1.REQUEST_SIZE_MAX - len(http1.request("h", "/"))
    assert len(http1.request("h", "/" + "a" * fits)) == http1.REQUEST_SIZE_MAX
    with pytest.raises(ValueError, match="65536"):
        http1.request("h", "/" + "a" * (fits + 1))
