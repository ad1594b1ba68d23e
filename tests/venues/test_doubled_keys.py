"""A key that stands twice in a message: no book takes what another reader reads as another's.

JSON does not say which of two counts, most readers take the last. A message that is routed by one
of two names, or channels, or bodies, would be a book's without being its own. Numbers of a book's
own and checksums show it with the next message; where there are none nothing would, so that it is
refused, or read by the last one.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tickpath import _core
from tickpath.proto.venues import load_venue, venue_names
from tickpath.proto.venues.decoder import find_decoder

from tests.venues.test_decoders import DEPTH, NAMES, Sample, samples

if TYPE_CHECKING:
    from collections.abc import Iterator

ffi: Any = _core.ffi
lib: Any = _core.lib
OURS, OTHER = 3, 4


class Pairs(list[tuple[str, Any]]):
    """An object of JSON, key by key."""


def dump(value: Any) -> str:
    """Write JSON as venues do: without a space, keys as they stand."""
    if isinstance(value, Pairs):
        return "{" + ",".join(f"{json.dumps(k)}:{dump(v)}" for k, v in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(dump, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def doubled(ours: Any, other: Any) -> Iterator[tuple[Any, bool]]:
    """Write a message with a key twice: the other's value is the last one, or the first."""
    if isinstance(ours, Pairs):
        for i, ((key, a), (_, b)) in enumerate(zip(ours, other, strict=True)):
            if dump(a) == dump(b):
                continue
            for is_last in (False, True):
                for at in {i + is_last, len(ours) if is_last else 0}:
                    yield Pairs([*ours[:at], (key, b), *ours[at:]]), is_last
            for part, is_last in doubled(a, b):
                yield Pairs([*ours[:i], (key, part), *ours[i + 1 :]]), is_last
    elif isinstance(ours, list):
        for i, (a, b) in enumerate(zip(ours, other, strict=True)):
            for part, is_last in doubled(a, b):
                yield [*ours[:i], part, *ours[i + 1 :]], is_last


class Seam:
    """A venue's C side that knows the samples' instrument, and one of another name."""

    def __init__(self, name: str, channels: list[tuple[str, str]]) -> None:
        self.c = find_decoder(name)
        self._memory = ffi.new("uint64_t[]", self.c.router_size(2 * len(channels), 1) // 8 + 1)
        self.router = ffi.cast("void *", self._memory)
        self.c.router_init(self.router, 2 * len(channels), 1)
        for pair in channels:
            for channel, instrument in zip(pair, (OURS, OTHER), strict=True):
                assert self.c.router_add(self.router, channel.encode(), instrument), channel

    def taken_by(self, data: bytes, opcode: int) -> set[int]:
        """Return the instruments that take a part of the message."""
        text = ffi.from_buffer(data)
        message = ffi.new(
            "struct tp_venue_message *", {"data": text, "size": len(data), "opcode": opcode}
        )
        route = ffi.new("struct tp_route *")
        found, start = set(), 0
        while True:
            self.c.route(self.router, message, start, route)
            kind = NAMES[route.meaning]
            if kind in DEPTH or kind == "TRADES":
                body = ffi.new(
                    "struct tp_body *",
                    {
                        "data": ffi.addressof(text, route.body_offset),
                        "size": route.body_size,
                        "meaning": route.meaning,
                        "scale": [-2, -8],
                    },
                )
                is_depth = kind in DEPTH
                out = ffi.new(f"struct tp_{'depth' if is_depth else 'trade'}_update *")
                decode = self.c.decode_depth if is_depth else self.c.decode_trades
                if decode(body, out) == lib.TP_DECODE_OK:
                    found.add(int(route.instrument))
            start = route.next_offset
            if start == 0:
                return found


def is_unnumbered(name: str, channel: str) -> bool:
    """Whether no number of a book's own, and no checksum, shows what it took by mistake."""
    kind = find_decoder(name).describe(channel.encode())
    rule = kind.rule if kind != ffi.NULL else ffi.NULL
    return rule != ffi.NULL and (rule.chain, rule.checksum) == (lib.TP_CHAIN_NONE, 0)


def _renamed(text: str, symbol: str, other: str) -> str:
    return text.replace(symbol, other).replace(symbol.lower(), other.lower())


def cases(name: str) -> Iterator[tuple[Sample, str, str]]:
    """Return messages of an instrument's own with their names for it and for the other one."""
    symbol = load_venue(name).example_symbol
    for sample in samples(name):
        is_book = sample.meaning in DEPTH and symbol.lower() in sample.channel.lower()
        if is_book and sample.data[:1] == b"{" and is_unnumbered(name, sample.channel):
            yield sample, symbol, symbol[1:] + symbol[:1]


UNNUMBERED = [name for name in venue_names() if any(cases(name))]


@pytest.mark.parametrize("name", UNNUMBERED)
def test_key_that_stands_twice_moves_no_other_instrument(name: str) -> None:
    rows = list(cases(name))
    channels = sorted({(s.channel, _renamed(s.channel, a, b)) for s, a, b in rows})
    seam = Seam(name, channels)
    wrong = []
    for sample, symbol, other in rows:
        text = sample.data.decode()
        both = [
            json.loads(one, object_pairs_hook=Pairs)
            for one in (text, _renamed(text, symbol, other))
        ]
        assert seam.taken_by(sample.data, sample.opcode) in ({OURS}, set())
        for message, is_last in doubled(*both):
            taken = seam.taken_by(dump(message).encode(), sample.opcode)
            if taken - {OTHER if is_last else OURS}:
                wrong.append((is_last, dump(message)[:300]))
    assert not wrong, "\n".join(map(str, wrong[:8])) + f"\n{len(wrong)} wrong"
