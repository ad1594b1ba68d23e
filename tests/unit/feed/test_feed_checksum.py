"""Checksums of a venue's own messages, byte for byte: Kraken's decoder, the feed, its books.

What must hold is computed here from the wire's own text, with zlib: every level's digits as they
were written, the book cut to its depth. Frames of the venue are read where they lie beside the
project: they have no licence to be copied into it, and where they are missing the tests of them do
not exist, as no test may be skipped in CI. Constructed messages say the same everywhere.
"""

from __future__ import annotations

import json
import random
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tickpath._core import lib
from tickpath.engine.feed_handler.canary import Canary

from tests.unit.feed.conftest import BROKEN, GAP, LEVEL, LIVE, NONE, SYNCING, WS_TEXT, Rig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FRAMES = Path(__file__).resolve().parents[4] / "shared/reference/data/venues/kraken"
CAPTURES = {
    "book_btc_usd_d10_20260816": ("BTC/USD", -1),
    "book_algo_usd_d10_20241003": ("ALGO/USD", -5),
}
APPLIED = int(lib.TP_FEED_APPLIED)
Make = Any
Side = dict[str, str]


class Wire:
    """A book as text, from the wire's own strings; numbers are compared as such, never printed."""

    def __init__(self, depth: int | None) -> None:
        self.depth = depth
        self.bids: Side = {}
        self.asks: Side = {}

    def take(self, message: bytes) -> int:
        """Apply a message; return the checksum that it names."""
        said = json.loads(message, parse_float=str, parse_int=str)
        (item,) = said["data"]
        for name, side, is_bid in (("bids", self.bids, True), ("asks", self.asks, False)):
            if said["type"] == "snapshot":
                side.clear()
            for level in item[name]:
                if float(level["qty"]) == 0:
                    side.pop(level["price"], None)
                else:
                    side[level["price"]] = level["qty"]
            for price in self.best(side, is_bid=is_bid)[self.depth :] if self.depth else []:
                del side[price]
        return int(item["checksum"])

    @staticmethod
    def best(side: Side, *, is_bid: bool) -> list[str]:
        return sorted(side, key=float, reverse=is_bid)

    def checksum(self) -> int:
        """Asks rising, then bids falling, ten each; digits without point and zeros in front."""
        rows = [(price, self.asks[price]) for price in self.best(self.asks, is_bid=False)[:10]]
        rows += [(price, self.bids[price]) for price in self.best(self.bids, is_bid=True)[:10]]
        return zlib.crc32(
            "".join(text.replace(".", "").lstrip("0") for row in rows for text in row).encode()
        )


def mantissas(side: Side) -> dict[int, int]:
    return {int(price.replace(".", "")): int(qty.replace(".", "")) for price, qty in side.items()}


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Rig]]:
    made: list[Rig] = []

    def one(symbol: str, price_exponent: int, depth: int = 10) -> Rig:
        rig = Rig(tmp_path, venue=lib.tp_venue_find(b"kraken"), added=0)
        channel = f"book-{depth}:{symbol}".encode()
        assert rig.add(0, channel, price_exponent=price_exponent, quantity_exponent=-8)
        rig.up()
        made.append(rig)
        return rig

    yield one
    for rig in made:
        rig.close()


def say(rig: Rig, message: bytes) -> int:
    return rig.message(message, opcode=WS_TEXT)


# ---- constructed: a walk whose every message is written as the venue writes it -------------------


class Walk:
    """A book of the venue's, whole, and what it tells of it to a depth."""

    def __init__(self, seed: int, depth: int, digits: tuple[int, int] = (1, 8)) -> None:
        self.rng = random.Random(seed)  # not a secret
        self.depth, self.digits = depth, digits
        self.whole: tuple[dict[int, int], dict[int, int]] = ({}, {})
        for offset in range(1, 40):
            self.whole[0][628_000 - offset] = self.quantity()
            self.whole[1][628_000 + offset] = self.quantity()

    def quantity(self) -> int:
        return self.rng.choice([5100, 36_000_000, 79_625_467, 10**8, 123, 10**12])

    def view(self) -> tuple[dict[int, int], dict[int, int]]:
        bids = sorted(self.whole[0].items(), reverse=True)[: self.depth]
        return dict(bids), dict(sorted(self.whole[1].items())[: self.depth])

    def text(self, number: int, digits: int) -> str:
        padded = f"{number:0{digits + 1}}"
        return f"{padded[:-digits]}.{padded[-digits:]}" if digits else padded

    def message(self, kind: str, sides: list[list[tuple[int, int]]]) -> bytes:
        bids, asks = self.view()
        rows = [*sorted(asks.items())[:10], *sorted(bids.items(), reverse=True)[:10]]
        crc = zlib.crc32("".join(f"{price}{quantity}" for price, quantity in rows).encode())
        texts = [
            ",".join(
                f'{{"price":{self.text(p, self.digits[0])},"qty":{self.text(q, self.digits[1])}}}'
                for p, q in side
            )
            for side in sides
        ]
        return (
            f'{{"channel":"book","type":"{kind}","data":[{{"symbol":"BTC/USD","bids":[{texts[0]}],'
            f'"asks":[{texts[1]}],"checksum":{crc},"timestamp":"2026-08-16T23:37:05.376419Z"}}]}}'
        ).encode()

    def snapshot(self) -> bytes:
        return self.message("snapshot", [list(side.items()) for side in self.view()])

    def step(self) -> bytes:
        """Change the book where the client sees it; levels that fall out are not said."""
        before, sides = self.view(), []
        for whole, seen in zip(self.whole, before, strict=True):
            for _ in range(self.rng.randrange(3)):
                price = self.rng.choice(list(seen)) + self.rng.choice([-1, 0, 0, 1])
                is_crossing = price in self.whole[0] and whole is self.whole[1]
                is_crossing |= price in self.whole[1] and whole is self.whole[0]
                if is_crossing:
                    continue
                if price in whole and len(whole) > 30 and self.rng.random() < 0.5:
                    del whole[price]
                else:
                    whole[price] = self.quantity()
        after = self.view()
        for whole, old, new in zip(self.whole, before, after, strict=True):
            gone = [(price, 0) for price in old if price not in new and price not in whole]
            sides.append(gone + [one for one in new.items() if old.get(one[0]) != one[1]])
        self.rng.shuffle(sides[0])
        return self.message("update", sides)


@pytest.mark.parametrize("depth", [10, 25])
@pytest.mark.parametrize("seed", range(4))
def test_checksum_of_a_walk_holds_at_every_message(make: Make, seed: int, depth: int) -> None:
    walk = Walk(seed, depth)
    rig, wire = make("BTC/USD", -1, depth), Wire(depth)
    first = walk.snapshot()
    assert say(rig, first) == APPLIED
    assert wire.take(first) == wire.checksum()
    for _ in range(300):
        message = walk.step()
        assert say(rig, message) == APPLIED
        assert wire.take(message) == wire.checksum()
        assert rig.levels() == (mantissas(wire.bids), mantissas(wire.asks))
    assert (rig.state(), rig.counters.checksums) == ((LIVE, NONE), 0)


def test_walks_need_levels_that_fell_out_to_be_forgotten() -> None:
    differs = 0
    for seed in range(8):
        walk, uncut = Walk(seed, 10), Wire(None)
        uncut.take(walk.snapshot())
        messages = [walk.step() for _ in range(200)]
        differs += any(uncut.take(message) != uncut.checksum() for message in messages)
    assert differs >= 3


def test_checksum_of_a_lost_message_ends_the_book_until_another_base(make: Make) -> None:
    walk = Walk(7, 10)
    rig = make("BTC/USD", -1)
    say(rig, walk.snapshot())
    walk.step()  # lost
    for _ in range(20):
        if say(rig, walk.step()) != APPLIED:
            break
    assert (rig.state(), rig.counters.checksums) == ((SYNCING, GAP), 1)
    assert rig.wanted() == [0]
    assert say(rig, walk.step()) != APPLIED  # of no use before a base
    assert say(rig, walk.snapshot()) == APPLIED
    assert say(rig, walk.step()) == APPLIED
    assert rig.state() == (LIVE, NONE)


def test_base_at_any_time_replaces_the_book(make: Make) -> None:
    walk = Walk(3, 10)
    rig = make("BTC/USD", -1)
    say(rig, walk.snapshot())
    for _ in range(3):
        walk.step()
    assert say(rig, walk.snapshot()) == APPLIED
    bids, asks = walk.view()
    assert rig.levels() == (bids, asks)
    assert rig.state() == (LIVE, NONE)


def test_levels_pushed_out_are_said_to_readers(make: Make) -> None:
    walk = Walk(3, 10)
    rig = make("BTC/USD", -1)
    say(rig, walk.snapshot())
    rig.events()
    tenth = min(walk.view()[0])
    walk.whole[0][628_000] = 5100
    walk.whole[1].pop(628_000, None)
    assert say(rig, walk.message("update", [[(628_000, 5100)], []])) == APPLIED
    said = {tuple(values[:2]) for kind, _, values in rig.events() if kind == LEVEL}
    assert said == {(628_000, 5100), (tenth, 0)}


def test_message_without_a_checksum_ends_the_book(make: Make) -> None:
    """The documents give each message one: what has none is not what they describe."""
    walk = Walk(3, 10)
    rig = make("BTC/USD", -1)
    say(rig, walk.snapshot())
    message = walk.step()
    begin, end = message.index(b'"checksum"'), message.index(b'"timestamp"')
    assert say(rig, message[:begin] + message[end:]) == int(lib.TP_FEED_BROKEN)
    assert rig.state() == (SYNCING, BROKEN)


# ---- frames of the venue -------------------------------------------------------------------------

if FRAMES.is_dir():

    def books(name: str) -> list[bytes]:
        lines = (FRAMES / f"{name}.jsonl").read_bytes().splitlines()
        return [line for line in lines if line.startswith(b'{"channel":"book"')]

    @pytest.mark.parametrize("name", CAPTURES)
    def test_checksum_of_real_frames_holds_at_every_message(make: Make, name: str) -> None:
        rig, wire = make(*CAPTURES[name]), Wire(10)
        for message in books(name):
            assert say(rig, message) == APPLIED, message
            assert wire.take(message) == wire.checksum(), message
            assert rig.levels() == (mantissas(wire.bids), mantissas(wire.asks))
        assert (rig.state(), rig.counters.checksums) == ((LIVE, NONE), 0)

    def test_checksum_of_real_frames_needs_the_book_cut_to_its_depth() -> None:
        uncut, frames = Wire(None), books("book_btc_usd_d10_20260816")
        wrong = sum(uncut.take(message) != uncut.checksum() for message in frames)
        assert 0 < wrong < len(frames)

    def test_real_frames_without_one_of_them_end_the_book_or_make_it_all_the_same(
        make: Make,
    ) -> None:
        """A lost change whose level the next message changes again is no loss."""
        frames, wire = books("book_btc_usd_d10_20260816"), Wire(10)
        for message in frames:
            wire.take(message)
        ended = 0
        for lost in range(1, len(frames) - 3):
            rig = make("BTC/USD", -1)
            rest = frames[:lost] + frames[lost + 1 :]
            if any(say(rig, message) != APPLIED for message in rest):
                ended += 1
            else:
                assert rig.levels() == (mantissas(wire.bids), mantissas(wire.asks))
            rig.close()
        assert ended >= len(frames) - 6

    def test_real_frames_are_as_the_samples_show() -> None:
        """The documents' older example of a snapshot alone has no time."""
        said: list[str] = []
        channels = [f"book-10:{symbol}" for symbol, _ in CAPTURES.values()]
        canary = Canary("kraken", channels, 1, said.append)
        for name in (*CAPTURES, "refusal_instrument_misc_2026"):
            for line in (FRAMES / f"{name}.jsonl").read_bytes().splitlines():
                if not line.startswith((b'{"method":"subscribe","params"', b'{"symbol"')):
                    canary.take(line, 0, 0.0)
        assert canary.looked_at > 50
        assert said == []

    def test_every_real_frame_is_routed(make: Make) -> None:
        rig = make("BTC/USD", -1)
        for path in sorted(FRAMES.glob("*.jsonl")):
            if "requests" in path.name or "rest" in path.name or "http" in path.name:
                continue
            for line in path.read_bytes().splitlines():
                say(rig, line)
        assert rig.counters.unreadable == 0
