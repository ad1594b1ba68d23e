"""Messages that are gzip members, as the hot thread undoes them; Python's zlib made them."""

from __future__ import annotations

import gzip
import zlib
from typing import Any

import pytest
from tickpath._core import ffi, lib

PLAIN, DONE, REFUSED = lib.TP_INFLATED_PLAIN, lib.TP_INFLATED_DONE, lib.TP_INFLATED_REFUSED
SIZE_MAX = 1 << 16
TEXT = b'{"ch":"market.btcusdt.mbp.150","ts":1573199608679,"tick":{"seqNum":2,"prevSeqNum":1}}' * 7
MEMBER = gzip.compress(TEXT, mtime=0)
FTEXT, FHCRC, FEXTRA, FNAME, FCOMMENT = 1, 2, 4, 8, 16  # RFC 1952 section 2.3.1


@pytest.fixture(scope="module")
def inflate() -> Any:
    return ffi.gc(lib.tp_inflate_new(SIZE_MAX), lib.tp_inflate_free)


def take(inflate: Any, data: bytes) -> tuple[int, bytes]:
    """Return what became of a message: it lies alone in memory, so that a read beyond is seen."""
    kept = ffi.from_buffer("uint8_t[]", data)
    message = ffi.new("struct tp_span *", {"data": kept, "size": len(data)})
    result = lib.tp_inflate_message(inflate, message)
    assert (message.data == kept) == (result != DONE)
    return int(result), bytes(ffi.buffer(message.data, message.size))


@pytest.mark.parametrize("text", [b"", b"{}", TEXT, bytes(SIZE_MAX), bytes(range(256)) * 256])
@pytest.mark.parametrize("level", [0, 1, 6, 9])
def test_inflate_member_is_its_text(inflate: Any, text: bytes, level: int) -> None:
    assert take(inflate, gzip.compress(text, level, mtime=0)) == (DONE, text)


def test_inflate_member_of_javas_writer_is_its_text(inflate: Any) -> None:
    """Time, extra flags and system are 0 there, as in frames of 2021-04-17."""
    squeezed = zlib.compressobj(wbits=-15)
    body = squeezed.compress(TEXT) + squeezed.flush()
    tail = zlib.crc32(TEXT).to_bytes(4, "little") + len(TEXT).to_bytes(4, "little")
    assert take(inflate, b"\x1f\x8b\x08" + bytes(7) + body + tail) == (DONE, TEXT)


@pytest.mark.parametrize("data", [b"", b"\x1f", b"{", b'{"ping":1}', b"\x1f\x8a" + MEMBER[2:]])
def test_inflate_what_begins_as_no_member_passes(inflate: Any, data: bytes) -> None:
    assert take(inflate, data) == (PLAIN, data)


def test_inflate_cut_member_is_refused_wherever_it_is_cut(inflate: Any) -> None:
    for size in range(2, len(MEMBER)):
        assert take(inflate, MEMBER[:size]) == (REFUSED, MEMBER[:size])


def test_inflate_text_of_one_byte_too_much_is_refused(inflate: Any) -> None:
    """However much more it would be: nothing behind the buffer is written."""
    for size in (SIZE_MAX + 1, 1 << 24):
        assert take(inflate, gzip.compress(bytes(size), 9, mtime=0))[0] == REFUSED


@pytest.mark.parametrize("more", [b"\0", b"{}", MEMBER], ids=["zero", "text", "member"])
def test_inflate_what_stands_behind_a_member_has_all_refused(inflate: Any, more: bytes) -> None:
    assert take(inflate, MEMBER + more)[0] == REFUSED


@pytest.mark.parametrize(
    ("flag", "field"),
    [
        (FTEXT, b""),
        (FHCRC, (zlib.crc32(b"\x1f\x8b\x08\x02" + MEMBER[4:10]) & 0xFFFF).to_bytes(2, "little")),
        (FEXTRA, b"\x04\0ab\0\0"),
        (FNAME, b"name\0"),
        (FCOMMENT, b"comment\0"),
    ],
)
def test_inflate_member_with_more_in_its_header_is_refused(
    inflate: Any, flag: int, field: bytes
) -> None:
    data = MEMBER[:3] + bytes([flag]) + MEMBER[4:10] + field + MEMBER[10:]
    assert gzip.decompress(data) == TEXT  # sound by the RFC, and sent by no venue
    assert take(inflate, data)[0] == REFUSED


def test_inflate_altered_bit_never_gives_another_text(inflate: Any) -> None:
    """A few bits say nothing: of time and system in the header, and those that fill a byte."""
    free = range(4 * 8, 10 * 8)
    for bit in range(2 * 8, len(MEMBER) * 8):
        data = bytearray(MEMBER)
        data[bit // 8] ^= 1 << bit % 8
        result, text = take(inflate, bytes(data))
        assert (result, text) in [(DONE, TEXT), (REFUSED, bytes(data))]
        assert result == REFUSED or bit in free or bit // 8 < len(MEMBER) - 8


def test_inflate_refused_message_leaves_the_next_one_sound(inflate: Any) -> None:
    assert take(inflate, MEMBER[:-1])[0] == REFUSED
    assert take(inflate, MEMBER) == (DONE, TEXT)
