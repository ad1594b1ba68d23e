"""Write HTTP/1.1 requests and read responses, as bytes in and bytes out (RFC 9112).

Called by engine/commands/get.py and the tests; calls netstack/http1/*.c through tickpath._core.
One thread.
"""

from __future__ import annotations

import re
from functools import lru_cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import msgspec
from tickpath._core import ffi, lib
from tickpath.shm.errors import LocalError, RemoteError

if TYPE_CHECKING:
    from collections.abc import Sequence

REQUEST_SIZE_MAX = 65536
_FOLD = re.compile(r"[ \t]*\r\n[ \t]+")  # RFC 9112 5.2: one space for each obs-fold


class Http1Error(RemoteError):
    """The server's bytes break RFC 9112, or their framing could be read in two ways."""


class ResponseHead(msgspec.Struct, frozen=True):
    """Hold a response's status line and header fields, in the order in which they came."""

    status: int
    version_minor: int
    reason: str
    headers: tuple[tuple[str, str], ...]

    def get(self, name: str) -> str | None:
        """Return the first value of a header, compared without case, or None."""
        wanted = name.lower()
        return next((value for key, value in self.headers if key.lower() == wanted), None)


def header_lines(headers: Sequence[tuple[str, str]]) -> str:
    """Return "Name: value" lines; raise ValueError for a line break inside a name or value."""
    for name, value in headers:
        if any(character in name + value for character in "\r\n\0"):
            raise ValueError(f"header {name!r}: {value!r}: expected no CR, LF or NUL")
    return "".join(f"{name}: {value}\r\n" for name, value in headers)


@lru_cache
def user_agent() -> str:
    """Return what each request of ours says that we are; many servers refuse those that do not."""
    return f"tickpath/{version('tickpath')}"


def with_agent(headers: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return headers with our User-Agent, unless they have one."""
    if any(name.lower() == "user-agent" for name, _ in headers):
        return list(headers)
    return [("User-Agent", user_agent()), *headers]


def agent_line(lines: str) -> str:
    """Return "Name: value" lines with our User-Agent, unless they have one."""
    if re.search(r"(?im)^user-agent:", lines):
        return lines
    return header_lines([("User-Agent", user_agent())]) + lines


def parse_header(line: str) -> tuple[str, str]:
    """Split "Name: value"; raises LocalError where a request cannot have it."""
    name, colon, value = line.partition(":")
    pair = (name, value.strip())
    try:
        request("host", "/", [pair])
    except ValueError:
        colon = ""
    if not colon:
        raise LocalError(
            "a header, not shown since it may be a secret: expected Name: value, in printable "
            "characters, and none of Host, Content-Length and Transfer-Encoding, which are ours"
        )
    return pair


def request(
    host: str,
    target: str,
    headers: Sequence[tuple[str, str]] = (),
    method: str = "GET",
    body: bytes | None = None,
) -> bytes:
    """Return a request; raise ValueError if an argument could break out of its place."""
    arguments = (method, host, target, header_lines(headers))
    out = ffi.new("uint8_t[]", REQUEST_SIZE_MAX)
    size = 0
    if not any("\0" in text for text in arguments):
        encoded = [ffi.new("char[]", text.encode()) for text in arguments]
        described = ffi.new("struct tp_http1_request *", encoded)
        described.has_body, described.body_size = body is not None, len(body or b"")
        size = lib.tp_http1_request_write(out, REQUEST_SIZE_MAX, described)
    if size == 0:
        raise ValueError(
            f"cannot ask host {host!r} for {target!r} with headers "
            f"{[name for name, _ in headers]!r}: expected "
            f"visible ASCII, a target that starts with '/', no line breaks, no Host, "
            f"Content-Length or Transfer-Encoding, and at most {REQUEST_SIZE_MAX} bytes in all"
        )
    return bytes(ffi.buffer(out, size)) + (body or b"")


def _text(span: Any) -> str:
    return bytes(ffi.buffer(span.data, span.size)).decode("latin-1") if span.size else ""


def parse_head(data: bytes, *, skip_interim: bool = True) -> tuple[ResponseHead, int] | None:
    """Parse the head at the start of data; None if it is not complete.

    Returns the head and its size in bytes; with skip_interim, 1xx heads before the final one
    (except 101) are passed over and counted in the size. Raises Http1Error.
    """
    parsed = parse_c_head(data, skip_interim=skip_interim)
    return None if parsed is None else (_copy_head(parsed[0]), parsed[1])


def parse_c_head(data: bytes, *, skip_interim: bool = True) -> tuple[Any, int] | None:
    """Return the C head, whose spans live as long as data does, and its size."""
    keep = ffi.from_buffer("uint8_t[]", data)
    head, size, error = ffi.new("struct tp_http1_head *"), ffi.new("size_t *"), ffi.new("char **")
    parse = lib.tp_http1_final_head_parse if skip_interim else lib.tp_http1_head_parse
    status = parse((keep, len(data)), head, size, error)
    if status == lib.TP_ERROR:
        raise Http1Error(f"response head: {ffi.string(error[0]).decode()}")
    return None if status == lib.TP_NEED_MORE else (head, size[0])


def _copy_head(head: Any) -> ResponseHead:
    return ResponseHead(
        status=head.status,
        version_minor=head.version_minor,
        reason=_text(head.reason),
        headers=tuple(
            (_text(head.header[i].name), _FOLD.sub(" ", _text(head.header[i].value)))
            for i in range(head.header_count)
        ),
    )


class ResponseReader:
    """Read one response: feed() it the connection's bytes until complete."""

    def __init__(self, *, head_request: bool = False) -> None:
        self.head: ResponseHead | None = None
        self.complete = False
        self.excess = b""  # what came behind the response
        self._head_request = head_request
        self._pending = b""
        self._body = ffi.gc(lib.tp_http1_body_new(), lib.tp_http1_body_free)
        if self._body == ffi.NULL:
            raise MemoryError

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes in order; return the body's new pieces. Raises Http1Error."""
        if self.head is None:
            self._pending += data
            parsed = parse_c_head(self._pending)
            if parsed is None:
                return []
            head, size = parsed
            self.head = _copy_head(head)
            error = ffi.new("char **")
            if lib.tp_http1_body_init(self._body, head, self._head_request, error) == lib.TP_ERROR:
                raise Http1Error(f"response body: {ffi.string(error[0]).decode()}")
            data, self._pending = self._pending[size:], b""
        return self._feed_body(data)

    def _feed_body(self, data: bytes) -> list[bytes]:
        pieces: list[bytes] = []
        keep = ffi.from_buffer("uint8_t[]", data)
        rest, out = ffi.new("struct tp_span *", (keep, len(data))), ffi.new("struct tp_span *")
        error = ffi.new("char **")
        while (status := lib.tp_http1_body_input(self._body, rest, out, error)) == lib.TP_OK:
            pieces.append(bytes(ffi.buffer(out.data, out.size)))
        if status == lib.TP_ERROR:
            raise Http1Error(f"response body: {ffi.string(error[0]).decode()}")
        if status == lib.TP_CLOSED:
            self.complete = True
            self.excess += data[len(data) - rest.size :]
        return pieces

    def end_of_input(self) -> None:
        """Say that the connection ended. Raises Http1Error if the response is not whole."""
        if self.head is None:
            raise Http1Error("the connection ended before the response's head was complete")
        if lib.tp_http1_body_end_of_input(self._body) == lib.TP_ERROR:
            raise Http1Error("the connection ended inside the response's body")
        self.complete = True
