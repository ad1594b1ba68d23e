"""What the engine relies on, asked of every registered venue's C side, over its samples.

proto/venues/<name>/samples.ndjson: one message a line, {"meaning", "channel" (subscribed, else ""),
"opcode", "text" | "base64"}. Every message stands at the very end of a page with an unreadable one
behind it, so that a single byte read beyond it ends the run.
"""

from __future__ import annotations

import base64
import ctypes
import json
import mmap
import random
from dataclasses import dataclass
from typing import Any

import pytest
from tickpath import _core
from tickpath.proto.venues import load_venue, venue_names
from tickpath.proto.venues.decoder import find_decoder

from tests.venues.outside import OUTSIDE, samples_path

ffi: Any = _core.ffi
lib: Any = _core.lib

PAGE = mmap.PAGESIZE
PAGES = 4
SEED = 20261130
INSTRUMENT = 3
SCALE = [-2, -8]
MEANINGS = {
    name.removeprefix("TP_MEANING_"): int(getattr(lib, name))
    for name in dir(lib)
    if name.startswith("TP_MEANING_")
}
NAMES = {value: name for name, value in MEANINGS.items()}
DEPTH = ("BASE", "DELTA", "TOP")
COLD = ("ACKNOWLEDGEMENT", "REFUSAL", "HEARTBEAT", "NOTICE")
TEXT, BINARY = 1, 2
RUBBISH = b"\x5a" * ffi.sizeof("struct tp_route")


@dataclass(frozen=True)
class Sample:
    """One message and what it means."""

    meaning: str
    channel: str
    opcode: int
    data: bytes


def samples(name: str) -> list[Sample]:
    lines = samples_path(name).read_text().splitlines()
    found = []
    for one in map(json.loads, lines):
        data = one["text"].encode() if "text" in one else base64.b64decode(one["base64"])
        found.append(Sample(one["meaning"], one["channel"], one["opcode"], data))
    return found


class GuardedPage:
    """Memory behind whose last byte nothing may be read."""

    def __init__(self) -> None:
        self._map = mmap.mmap(-1, (PAGES + 1) * PAGE)
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        libc = ctypes.CDLL(None, use_errno=True)
        guard = ctypes.c_void_p(self._address + PAGES * PAGE)
        assert libc.mprotect(guard, ctypes.c_size_t(PAGE), 0) == 0, ctypes.get_errno()

    def put(self, data: bytes) -> Any:
        start = PAGES * PAGE - len(data)
        self._map[start : PAGES * PAGE] = data
        return ffi.cast("uint8_t *", self._address + start)


PAGE_OF_ALL = GuardedPage()


class Decoder:
    """One venue's C side with its samples' channels subscribed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.c: Any = find_decoder(name)
        channels = sorted({one.channel for one in samples(name)} - {""})
        size = self.c.router_size(max(len(channels), 1), 1)
        self._memory = ffi.new("uint64_t[]", size // 8 + 1)
        self.router = ffi.cast("void *", self._memory)
        self.c.router_init(self.router, max(len(channels), 1), 1)
        for channel in channels:
            assert self.c.router_add(self.router, channel.encode(), INSTRUMENT), channel
        kinds = [self.c.describe(channel.encode()) for channel in channels]
        self.is_counted = any(k.rule != ffi.NULL and k.rule.counts_connection for k in kinds)
        self.depth = ffi.new("struct tp_depth_update *")
        self.trades = ffi.new("struct tp_trade_update *")
        self.status = ffi.new("struct tp_status_update *")

    def parts(self, data: bytes, opcode: int) -> list[Any]:
        """Route a whole message, holding each part to proto/venue.h."""
        pointer = PAGE_OF_ALL.put(data)
        message = ffi.new(
            "struct tp_venue_message *", {"data": pointer, "size": len(data), "opcode": opcode}
        )
        found, start = [], 0
        for _ in range(len(data) + 1):
            route = ffi.new("struct tp_route *")
            ffi.memmove(route, RUBBISH, len(RUBBISH))  # the engine clears nothing
            self.c.route(self.router, message, start, route)
            assert route.meaning in NAMES
            if self.is_counted and start == 0 and NAMES[route.meaning] != "BROKEN":
                assert route.sequence != int.from_bytes(RUBBISH[:8], "little")
            if NAMES[route.meaning] in (*DEPTH, "TRADES", "STATUS"):
                assert route.instrument == INSTRUMENT
                assert route.body_offset + route.body_size <= len(data)
            found.append(route)
            if route.next_offset == 0:
                return found
            assert start < route.next_offset <= len(data)
            start = route.next_offset
        raise AssertionError("the parts of a message do not end")

    def decode(self, data: bytes, route: Any, scale: list[int] = SCALE) -> int | None:
        """Decode one part alone, at the very end of memory; None: there is no decoder yet."""
        kind = NAMES[route.meaning]
        function, out = {
            **dict.fromkeys(DEPTH, (self.c.decode_depth, self.depth)),
            "TRADES": (self.c.decode_trades, self.trades),
            "STATUS": (self.c.decode_status, self.status),
        }.get(kind, (ffi.NULL, None))
        if function == ffi.NULL:
            return None
        body = data[route.body_offset : route.body_offset + route.body_size]
        self.misfit = ffi.new("struct tp_misfit *")
        what = ffi.new(
            "struct tp_body *",
            {
                "data": PAGE_OF_ALL.put(body),
                "size": len(body),
                "meaning": route.meaning,
                "scale": scale,
                "misfit": self.misfit,
            },
        )
        status = int(function(what, out))
        assert status <= lib.TP_DECODE_TOO_LARGE
        self.check_misfit(status, what)
        if status == lib.TP_DECODE_OK and kind in DEPTH:
            self.check_depth(kind, len(body))
        return status

    def check_misfit(self, status: int, what: Any) -> None:
        """A number that another scale would hold is named, and is a piece of the body."""
        if status not in (lib.TP_DECODE_TOO_FINE, lib.TP_DECODE_TOO_LARGE):
            return
        text, kind = self.misfit.text, self.misfit.kind
        assert what.data <= text.at
        assert text.at + text.size <= what.data + what.size
        assert kind in (lib.TP_NUMBER_PRICE, lib.TP_NUMBER_QUANTITY)
        of = what.scale
        exponent = of.price_exponent if kind == lib.TP_NUMBER_PRICE else of.quantity_exponent
        space = ffi.new("uint8_t[]", int(lib.TP_DECIMAL_SPACE))
        written = lib.tp_misfit_text(self.misfit, space)
        assert lib.tp_decimal_refusal(written, exponent, True) == status

    def check_depth(self, kind: str, size: int) -> None:
        out = self.depth
        assert out.first_version <= out.last_version
        assert max(out.bid_count, out.ask_count) <= lib.TP_DEPTH_LEVEL_COUNT_MAX
        assert out.bid_count + out.ask_count <= size
        assert bool(out.flags & lib.TP_DEPTH_TOP) == (kind == "TOP")
        if kind == "BASE":
            assert out.flags & lib.TP_DEPTH_BASE
        for levels, count in ((out.bids, out.bid_count), (out.asks, out.ask_count)):
            assert all(levels[i].price >= 0 and levels[i].quantity >= 0 for i in range(count))


@pytest.fixture(scope="module", params=venue_names())
def decoder(request: pytest.FixtureRequest) -> Decoder:
    return Decoder(request.param)


def test_both_sides_of_the_seam_know_the_same_venues() -> None:
    built = [ffi.string(lib.tp_venue_at(i).name).decode() for i in range(lib.tp_venue_count())]
    assert sorted([*built, *OUTSIDE]) == sorted(venue_names())
    assert lib.tp_venue_find(b"nope") == ffi.NULL
    assert lib.tp_venue_find(b"") == ffi.NULL


def test_both_sides_of_the_seam_say_the_same_of_the_venue(decoder: Decoder) -> None:
    venue, facts = load_venue(decoder.name), decoder.c.facts
    limits = venue.limits
    said = {
        "channels_per_connection": limits.channels_per_connection,
        "messages_per_second": limits.messages_per_second,
        "connections": limits.connections or 0,
        "connection_age_max_s": limits.connection_age_max_s or 0,
        "idle_without_channel_s": limits.idle_without_channel_s or 0,
        "idle_without_data_s": limits.idle_without_data_s or 0,
    }
    assert {name: getattr(facts, name) for name in said} == said
    (channel, *_) = venue.channels(venue.example_symbol, venue.settings())
    described = decoder.c.describe(channel.encode())
    assert described != ffi.NULL
    assert described.rule != ffi.NULL
    bases = {"rest": lib.TP_BASE_REST, "in-band": lib.TP_BASE_IN_BAND}
    assert described.rule.base == bases.get(venue.base_source.value, lib.TP_BASE_REQUEST)
    assert facts.ping_interval_s == 0 or venue.ping_interval_s <= facts.ping_interval_s


def test_samples_mean_what_they_are_said_to_mean(decoder: Decoder) -> None:
    for sample in samples(decoder.name):
        for opcode in (sample.opcode, TEXT if sample.opcode == BINARY else BINARY):
            found = [NAMES[part.meaning] for part in decoder.parts(sample.data, opcode)]
            if opcode == sample.opcode or sample.meaning not in ("UNKNOWN", "BROKEN"):
                assert sample.meaning in found, (sample, opcode, found)


def test_samples_decode(decoder: Decoder) -> None:
    decoded = 0
    for sample in samples(decoder.name):
        for part in decoder.parts(sample.data, sample.opcode):
            status = decoder.decode(sample.data, part)
            assert status in (None, lib.TP_DECODE_OK), sample
            decoded += status is not None
    assert decoded >= 2, "samples of a base or of changes are the least"


@pytest.mark.parametrize(
    ("scale", "status"), [([0, 0], "TP_DECODE_TOO_FINE"), ([-18, -18], "TP_DECODE_TOO_LARGE")]
)
def test_samples_at_another_scale_name_the_number(
    decoder: Decoder, scale: list[int], status: str
) -> None:
    """Some number of the samples has a fraction, some does not fit 64 bits with 18 digits of it."""
    found = set()
    for sample in samples(decoder.name):
        for part in decoder.parts(sample.data, sample.opcode):
            found.add(decoder.decode(sample.data, part, scale))
    assert found <= {None, int(lib.TP_DECODE_OK), int(getattr(lib, status))}
    assert int(getattr(lib, status)) in found


def test_samples_cover_what_the_cold_side_must_see(decoder: Decoder) -> None:
    seen = {one.meaning for one in samples(decoder.name)}
    assert seen >= {*("ACKNOWLEDGEMENT", "REFUSAL", "HEARTBEAT", "UNKNOWN", "BROKEN")}
    assert seen & {"BASE", "DELTA"}


def test_notes_mean_the_same_on_both_sides(decoder: Decoder) -> None:
    venue = load_venue(decoder.name)
    for sample in samples(decoder.name):
        if sample.meaning in ("ACKNOWLEDGEMENT", "REFUSAL", "HEARTBEAT", "BROKEN"):
            found = {note.meaning.name for note in venue.parse_notes(sample.data)}
            assert sample.meaning in found, sample


def test_every_truncation_stays_inside(decoder: Decoder) -> None:
    for sample in samples(decoder.name):
        for size in range(len(sample.data)):
            data = sample.data[:size]
            for part in decoder.parts(data, sample.opcode):
                decoder.decode(data, part)


def test_every_changed_byte_stays_inside(decoder: Decoder) -> None:
    rng = random.Random(SEED)  # not a secret
    for sample in samples(decoder.name):
        for at in range(len(sample.data)):
            data = bytearray(sample.data)
            data[at] = rng.randrange(256)
            for part in decoder.parts(bytes(data), sample.opcode):
                decoder.decode(bytes(data), part)


def test_noise_is_unknown_or_broken(decoder: Decoder) -> None:
    rng = random.Random(SEED)  # not a secret
    for _ in range(3000):
        data = rng.randbytes(rng.randrange(64))
        for opcode in (TEXT, BINARY):
            (part,) = decoder.parts(data, opcode)
            assert NAMES[part.meaning] in ("UNKNOWN", "BROKEN"), (data, opcode)


def test_channels_of_nobody_are_not_described(decoder: Decoder) -> None:
    for name in (b"", b"x", b"\xff" * 300):
        assert decoder.c.describe(name) == ffi.NULL
        assert not decoder.c.router_add(decoder.router, name, 0)
