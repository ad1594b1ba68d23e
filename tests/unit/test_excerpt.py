"""What a venue sent, as messages show it: words, no language's literals."""

from __future__ import annotations

import pytest
from tickpath.proto.venue import excerpt
from tickpath.proto.venues import load_venue, venue_names


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"", '""'),
        (b"<html>", '"<html>"'),
        ("märz".encode(), '"märz"'),
        (b"\xff\x00\n", '"\\xff\\x00\\n"'),
        (b"x" * 100, f'"{"x" * 80}" and 20 bytes more'),
    ],
)
def test_excerpt_is_readable(data: bytes, shown: str) -> None:
    assert excerpt(data) == shown


@pytest.mark.parametrize("name", venue_names())
def test_messages_of_a_venue_have_no_python_literal_of_bytes(name: str) -> None:
    venue, rubbish = load_venue(name), b"<html>busy\xff</html>"
    with pytest.raises(ValueError, match="busy") as caught:
        venue.parse_instruments(rubbish)
    said = [str(caught.value), *(note.reason for note in venue.parse_notes(rubbish))]
    assert not [words for words in said if "b'" in words or 'b"' in words]
