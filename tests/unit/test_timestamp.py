"""Times in text (proto/encoding/timestamp.h) against Python's datetime."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickpath._core import ffi, lib

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_out = ffi.new("uint64_t *")


def parse(text: str) -> int | None:
    """At the very end of its memory, so that a sanitizer sees reads beyond it."""
    data = text.encode()
    exact = ffi.new("uint8_t[]", data) if data else ffi.new("uint8_t[1]")
    return int(_out[0]) if lib.tp_timestamp_parse(exact, len(data), _out) else None


@given(
    st.datetimes(datetime(1970, 1, 1), datetime(2553, 12, 31)),
    st.integers(0, 9),
    st.integers(0, 999_999_999),
)
def test_timestamp_is_datetimes(at: datetime, digits: int, fraction: int) -> None:
    whole = at.replace(microsecond=0, tzinfo=UTC)
    shown = f"{fraction:09}"[:digits]
    text = f"{whole:%Y-%m-%dT%H:%M:%S}" + (f".{shown}" if digits else "") + "Z"
    seconds = (whole - EPOCH) // timedelta(seconds=1)
    assert parse(text) == seconds * 10**9 + int(shown.ljust(9, "0"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2000-02-29T00:00:00Z", 951_782_400 * 10**9),
        ("2026-08-16T23:37:05.376419Z", 1_786_923_425_376_419_000),
        ("2016-12-31T23:59:60Z", 1_483_228_800 * 10**9),  # a leap second
        ("2553-12-31T23:59:59.999999999Z", 18_429_292_799_999_999_999),
    ],
)
def test_timestamp_of_known_moments(text: str, expected: int) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "Z", "2026-08-16", "2026-08-16T23:37:05", "2026-08-16T23:37:05+00:00"),
        *("2026-08-16T23:37:05.Z", "2026-08-16T23:37:05.1234567890Z", "2026-08-16T23:37:05.12a4Z"),
        *("2026-08-16 23:37:05Z", "2026-08-16t23:37:05Z", "2026-08-16T23:37:05z"),
        *("2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z", "2026-02-29T00:00:00Z"),
        *("2026-04-31T00:00:00Z", "1900-02-29T00:00:00Z", "2026-01-00T00:00:00Z"),
        *("2026-01-01T24:00:00Z", "2026-01-01T00:60:00Z", "2026-01-01T00:00:61Z"),
        *("1969-12-31T23:59:59Z", "2554-01-01T00:00:00Z", "-026-01-01T00:00:00Z"),
        *("2026-01-0:T00:00:00Z", "2026-01-01T00:00:05 123Z", "2026-01-01T00:00:05.-12Z"),
    ],
)
def test_timestamp_of_no_moment_is_refused(text: str) -> None:
    assert parse(text) is None
