"""Numbers that an instrument's scale does not hold: the book's word goes first, then the scale."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tickpath._core import ffi, lib

from tests.unit.feed.conftest import (
    ASK,
    BID,
    CLEAR,
    LIVE,
    MS,
    NONE,
    SECOND,
    SETTLE,
    STALE,
    STATE,
    SYNCING,
    WS_TEXT,
    Rig,
    Venue,
    channel,
    field,
    go_live,
    varint,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCALE_REASON, INSTRUMENT, SCALED = 12, 8, 3
STARTING, DISCONNECTED = 1, 3
FINE, LARGE = int(lib.TP_DECODE_TOO_FINE), int(lib.TP_DECODE_TOO_LARGE)
BAD = int(lib.TP_DECODE_BAD_NUMBER)
PRICE, QUANTITY = int(lib.TP_NUMBER_PRICE), int(lib.TP_NUMBER_QUANTITY)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path, moves_scale=True)
    yield rig
    rig.close()


@pytest.fixture
def rig_of_two(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path, instruments=2, moves_scale=True)
    yield rig
    rig.close()


Texts = list[tuple[int, str, str]]  # side, price, quantity


def message(first: int, last: int, levels: Texts, instrument: int = 0) -> bytes:
    """Write a depth message with its numbers as the venue spells them."""

    def items(side: int, number: int) -> bytes:
        return b"".join(
            field(number, field(1, price.encode()) + field(2, quantity.encode()))
            for of, price, quantity in levels
            if of == side
        )

    body = items(ASK, 1) + items(BID, 2)
    body += field(3, b"spot@public.aggre.depth.v3.api.pb@100ms")
    body += field(4, str(first).encode()) + field(5, str(last).encode())
    return (
        field(1, channel(instrument))
        + field(3, f"COIN{instrument}USDT".encode())
        + b"\x30"
        + varint(1_700_000_000_000 + last)
        + field(313, body)
    )


def next_message(venue: Venue, levels: Texts) -> bytes:
    venue.version += 1
    return message(venue.version, venue.version, levels)


def live(rig: Rig, venue: Venue) -> None:
    """Go LIVE, and wait until nothing is asked for without a reason of its own."""
    go_live(rig, venue)
    rig.tick(SETTLE + MS)


def misfits(rig: Rig) -> list[dict[str, Any]]:
    out, found = ffi.new("struct tp_feed_misfit *"), []
    while lib.tp_feed_misfit_take(rig.feed, out):
        found.append(
            {
                "instrument": out.instrument,
                "scale": (out.price_exponent, out.quantity_exponent),
                "status": out.status,
                "kind": out.kind,
                "text": bytes(ffi.buffer(out.text, out.text_size)).decode(),
            }
        )
    return found


def rescale(rig: Rig, price: int, quantity: int, instrument: int = 0, **more: int) -> bool:
    scale = ffi.new(
        "struct tp_feed_scale *",
        {
            "price_exponent": price,
            "quantity_exponent": quantity,
            "tick_size": 1,
            "generation": 2,
            **more,
        },
    )
    return bool(lib.tp_feed_rescale(rig.feed, instrument, scale, rig.now))


def scales(rig: Rig) -> list[tuple[int, tuple[int, int], list[int]]]:
    """Drain the ring: type, exponents and values of each event."""
    out = []
    while rig.reader.poll() == 1:
        words = rig.reader.event
        data = memoryview(words).cast("B")
        exponents = memoryview(data[12:14]).cast("b")
        out.append((words[1] >> 16 & 0xFF, (exponents[0], exponents[1]), list(words[4:8])))
    return out


def record_scale(rig: Rig) -> tuple[int, int, int]:
    assert rig.reader.read_snapshot(0)
    raw = bytes(memoryview(rig.reader.snapshot).cast("B"))[32:]
    record = ffi.cast("struct tp_book_record *", ffi.from_buffer(raw))
    return record.price_exponent, record.quantity_exponent, record.generation


@pytest.mark.parametrize(
    ("level", "told"),
    [
        (("500.001", "5"), (FINE, PRICE, "500.001")),
        (("500.01", "0.000000001"), (FINE, QUANTITY, "0.000000001")),
        (("500.01", "92233720369"), (LARGE, QUANTITY, "92233720369")),
        (("92233720368547758.1", "5"), (LARGE, PRICE, "92233720368547758.1")),
    ],
)
def test_scale_misfit_is_told_and_nothing_of_the_message_counts(
    rig: Rig, level: tuple[str, str], told: tuple[int, int, str]
) -> None:
    venue, (status, kind, text) = Venue(), told
    live(rig, venue)
    before = rig.levels()
    sound = (BID, "499.00", "7")
    result = rig.message(next_message(venue, [sound, (ASK, *level)]))
    assert result == lib.TP_FEED_BROKEN
    assert rig.state() == (SYNCING, SCALE_REASON)
    assert rig.levels() == before, "a message is refused whole"
    assert misfits(rig) == [
        {"instrument": 0, "scale": (-2, -8), "status": status, "kind": kind, "text": text}
    ]
    counters = rig.counters
    assert (counters.too_fine, counters.too_large) == (status == FINE, status == LARGE)
    assert counters.broken == 0
    assert rig.wanted() == [], "a base of the old scale is of no use"
    assert rig.message(next_message(venue, [sound])) == lib.TP_FEED_BUFFERED
    assert (counters_of(rig)["unscaled"], counters_of(rig)["buffered"]) == (1, 3)
    assert rig.state() == (SYNCING, SCALE_REASON)


def counters_of(rig: Rig) -> dict[str, int]:
    names = [name for name, _ in ffi.typeof("struct tp_feed_counters").fields]
    return {name: int(getattr(rig.counters, name)) for name in names}


@pytest.mark.parametrize("price", ["1" * 40, "x", "-1.00", "1e400", "9223372036854775808"])
def test_scale_garbage_is_broken_and_said(rig: Rig, price: str) -> None:
    venue = Venue()
    live(rig, venue)
    assert rig.message(next_message(venue, [(ASK, price, "5")])) == lib.TP_FEED_BROKEN
    assert rig.state() == (SYNCING, 7)
    assert counters_of(rig)["broken"] == 1
    assert counters_of(rig)["too_fine"] == counters_of(rig)["too_large"] == 0
    (told,) = misfits(rig)
    assert (told["status"], told["text"]) == (BAD, price)
    assert rig.wanted() == [0]


def test_scale_padding_zeros_are_no_digits(rig: Rig) -> None:
    venue = Venue()
    live(rig, venue)
    text = "495.500000000000"
    assert rig.message(next_message(venue, [(BID, text, "5.00000000000")])) == lib.TP_FEED_APPLIED
    assert rig.levels()[BID][49550] == 500_000_000


def test_rescale_shows_the_row_then_an_empty_book_then_numbers_of_it(rig: Rig) -> None:
    venue = Venue()
    live(rig, venue)
    rig.message(next_message(venue, [(ASK, "500.001", "5")]))
    assert [kind for kind, _, _ in scales(rig)] == [STATE]
    assert rescale(rig, -3, -8)
    (row, clear) = scales(rig)
    assert row == (INSTRUMENT, (-3, -8), [2, SCALED, 0, 0])
    assert clear == (CLEAR, (-3, -8), [0, 0, 0, 0])
    assert record_scale(rig) == (-3, -8, 2)
    assert rig.levels() == ({}, {})
    assert rig.state() == (SYNCING, SCALE_REASON)
    assert rig.wanted() == [0]
    assert rig.message(next_message(venue, [(ASK, "500.001", "5")])) == lib.TP_FEED_BUFFERED
    assert rig.offer(venue.version, {499_990: 1}, {500_001: 500_000_000})
    rig.tick()
    assert rig.state() == (LIVE, NONE)
    assert {exponents for _, exponents, _ in scales(rig)} == {(-3, -8)}
    assert rig.message(next_message(venue, [(ASK, "500.001", "6")])) == lib.TP_FEED_APPLIED
    assert rig.levels()[ASK] == {500_001: 600_000_000}
    assert rig.counters.rescaled == 1


def test_rescale_of_a_live_book_takes_its_word_before_its_levels(rig: Rig) -> None:
    live(rig, Venue())
    assert rescale(rig, -3, -9, tick_size=5)
    kinds = [(kind, exponents) for kind, exponents, _ in scales(rig)]
    assert kinds == [(STATE, (-2, -8)), (INSTRUMENT, (-3, -9)), (CLEAR, (-3, -9))]
    assert lib.tp_book_step(lib.tp_feed_book(rig.feed, 0)) == 5


def test_rescale_forgets_a_base_of_the_old_scale_that_is_under_way(rig: Rig) -> None:
    venue = Venue()
    rig.up()
    rig.message(venue.step())
    assert rig.wanted() == [0]
    assert rig.offer(venue.version, *venue.history[venue.version])
    assert rescale(rig, -3, -8)
    rig.tick()
    assert rig.state() == (SYNCING, SCALE_REASON)
    assert rig.counters.bases_unasked == 1
    assert rig.wanted() == [0]


def test_scale_misfit_among_the_kept_messages_is_found_with_the_base(rig: Rig) -> None:
    venue = Venue()
    rig.up()
    rig.message(venue.step())
    base, version = venue.history[venue.version], venue.version
    rig.message(next_message(venue, [(ASK, "500.001", "5")]))
    assert rig.wanted() == [0]
    assert rig.offer(version, *base)
    rig.tick()
    assert rig.state() == (SYNCING, SCALE_REASON)
    assert [one["text"] for one in misfits(rig)] == ["500.001"]
    assert rig.wanted() == []


@pytest.mark.parametrize(
    "scale", [(1, -8), (-19, -8), (-2, 1), (-2, -19), (-2, -8, 0), (-2, -8, 2**62 + 1)]
)
def test_rescale_refuses_what_is_no_scale(rig: Rig, scale: tuple[int, ...]) -> None:
    live(rig, Venue())
    price, quantity, *tick = scale
    assert not rescale(rig, price, quantity, tick_size=tick[0] if tick else 1)
    assert not rescale(rig, -3, -8, instrument=1)
    assert rig.state() == (LIVE, NONE)
    assert scales(rig) == []


def test_rescale_while_disconnected_is_shown_and_asks_for_nothing(rig: Rig) -> None:
    live(rig, Venue())
    rig.down()
    scales(rig)
    assert rescale(rig, -3, -8)
    assert [kind for kind, _, _ in scales(rig)] == [INSTRUMENT, CLEAR]
    assert rig.state() == (STALE, DISCONNECTED)
    assert rig.wanted() == []
    rig.up()
    rig.tick(SETTLE + MS)
    assert rig.wanted() == [0]


def test_scale_is_still_waited_for_after_a_reconnect(rig: Rig) -> None:
    venue = Venue()
    live(rig, venue)
    rig.message(next_message(venue, [(ASK, "500.001", "5")]))
    rig.down()
    rig.up()
    assert rig.state() == (SYNCING, SCALE_REASON)
    rig.tick(2 * SETTLE)
    rig.message(next_message(venue, [(ASK, "500.01", "5")]))
    assert rig.state() == (SYNCING, SCALE_REASON)
    assert rig.wanted() == []
    assert rescale(rig, -3, -8)
    assert rig.wanted() == [0]


def test_scale_misfit_of_one_book_is_no_other_books(rig_of_two: Rig) -> None:
    rig = rig_of_two
    venues = [Venue(instrument=0), Venue(instrument=1)]
    rig.up()
    for venue in venues:
        rig.message(venue.step())
    rig.wanted()
    for venue in venues:
        rig.offer(venue.version, *venue.history[venue.version], instrument=venue.instrument)
        rig.tick()
    rig.message(next_message(venues[0], [(ASK, "500.001", "5")]))
    assert rig.message(venues[1].step()) == lib.TP_FEED_APPLIED
    assert (rig.state(0), rig.state(1)) == ((SYNCING, SCALE_REASON), (LIVE, NONE))
    assert rescale(rig, -3, -8)
    assert rig.message(venues[1].step()) == lib.TP_FEED_APPLIED
    assert rig.state(1) == (LIVE, NONE)


def test_scale_misfit_of_a_book_is_told_once_the_slot_is_free(rig: Rig) -> None:
    """The cold thread is late: nothing more of the book is decoded, so that none may be lost."""
    venue = Venue()
    live(rig, venue)
    rig.message(next_message(venue, [(ASK, "500.001", "5")]))
    assert rescale(rig, -2, -8)
    rig.message(venue.step())
    assert rig.wanted() == [0]
    assert rig.offer(venue.version, *venue.history[venue.version])
    rig.tick(SECOND)
    rig.message(next_message(venue, [(ASK, "500.0001", "5")]))
    rig.tick(SECOND)
    assert [one["text"] for one in misfits(rig)] == ["500.001"]
    assert rig.counters.too_fine == 2
    rig.tick(MS)
    assert [one["text"] for one in misfits(rig)] == ["500.0001"]
    rig.tick(MS)
    assert misfits(rig) == [], "each once"


@pytest.mark.parametrize("way", ["scale moved", "reconnected"])
def test_scale_misfit_that_waits_is_forgotten_when_the_scale_moves_alone(
    rig: Rig, way: str
) -> None:
    venue = Venue()
    live(rig, venue)
    rig.message(next_message(venue, [(ASK, "500.001", "5")]))
    assert rescale(rig, -2, -8)
    rig.message(venue.step())
    assert rig.wanted() == [0]
    assert rig.offer(venue.version, *venue.history[venue.version])
    rig.tick(SECOND)
    rig.message(next_message(venue, [(ASK, "500.0001", "5")]))
    assert rig.counters.too_fine == 2
    if way == "scale moved":
        assert rescale(rig, -4, -8)
    else:
        rig.down()
        rig.up()
    assert [one["text"] for one in misfits(rig)] == ["500.001"]
    rig.tick(MS)
    left = [] if way == "scale moved" else ["500.0001"]
    assert [one["text"] for one in misfits(rig)] == left


def binance_rig(path: Path) -> Rig:
    rig = Rig(path, venue=lib.tp_venue_find(b"binance"), added=0, moves_scale=True)
    assert rig.add(0, b"coin0usdt@depth@100ms")
    return rig


def say(rig: Rig, stream: str, **data: Any) -> int:
    message = {"stream": f"coin0usdt@{stream}", "data": {"E": 1, "s": "COIN0USDT", **data}}
    return rig.message(json.dumps(message).encode(), opcode=WS_TEXT)


def test_scale_misfit_behind_a_trade_of_the_scale_before_is_told(tmp_path: Path) -> None:
    """What is in the slot is no news to the cold side: the book's own number must follow it."""
    rig, venue = binance_rig(tmp_path), Venue()
    rig.up()
    rig.tick(SETTLE + MS)
    assert rig.offer(venue.version, *venue.book)
    trade = {"e": "trade", "t": 7, "p": "500.001", "q": "1", "T": 2, "m": True}
    say(rig, "trade", **trade)
    assert [one["scale"] for one in misfits(rig)] == [(-2, -8)]
    say(rig, "trade", **trade)
    assert rescale(rig, -3, -8)
    assert rig.wanted() == [0]
    bids, asks = ({price * 10: size for price, size in side.items()} for side in venue.book)
    assert rig.offer(venue.version, bids, asks)
    rig.tick()
    assert rig.state() == (LIVE, NONE)
    number = venue.version + 1
    say(rig, "depth@100ms", e="depthUpdate", U=number, u=number, b=[], a=[["500.0001", "5"]])
    assert rig.state() == (SYNCING, SCALE_REASON)
    assert [one["scale"] for one in misfits(rig)] == [(-2, -8)]
    rig.tick(MS)
    (told,) = misfits(rig)
    assert (told["scale"], told["text"]) == ((-3, -8), "500.0001")
    rig.close()


@pytest.mark.parametrize("first", ["doubt", "garbage"])
def test_scale_misfit_behind_a_doubt_or_garbage_is_told(tmp_path: Path, first: str) -> None:
    """One burst: the cold side takes neither before both are there."""
    rig = Rig(tmp_path, venue=lib.tp_venue_find(b"kraken"), added=0, moves_scale=True)
    assert rig.add(0, b"book-10:BTC/USD")
    rig.up()

    def book(kind: str, price: str) -> int:
        text = (
            '{"channel":"book","type":"%s","data":[{"symbol":"BTC/USD","bids":[{"price":%s,'
            '"qty":1.00000000}],"asks":[],"checksum":1,'
            '"timestamp":"2023-10-06T17:35:55.440295Z"}]}'
        )
        return rig.message((text % (kind, price)).encode(), opcode=WS_TEXT)

    book("snapshot", "500.01" if first == "doubt" else "5" * 40)
    book("update", "500.001")
    assert rig.state() == (SYNCING, SCALE_REASON)
    (told,) = misfits(rig)
    assert told["status"] == (int(lib.TP_DECODE_OK) if first == "doubt" else BAD)
    rig.tick(MS)
    (told,) = misfits(rig)
    assert (told["status"], told["text"]) == (FINE, "500.001")
    rig.close()


def test_scale_price_that_only_the_book_cannot_hold_is_a_misfit(rig: Rig) -> None:
    venue = Venue()
    live(rig, venue)
    price = "50000000000000000.00"  # 63 bits hold the mantissa, the book's ticks do not
    assert rig.message(next_message(venue, [(ASK, price, "5")])) == lib.TP_FEED_BROKEN
    assert rig.state() == (SYNCING, SCALE_REASON)
    (told,) = misfits(rig)
    assert (told["status"], told["kind"], told["text"]) == (LARGE, PRICE, "5000000000000000000e-2")


def test_scale_misfit_that_nobody_would_take_is_a_broken_message(tmp_path: Path) -> None:
    """As recordings were made that know of no moves."""
    rig = Rig(tmp_path)
    venue = Venue()
    live(rig, venue)
    assert rig.message(next_message(venue, [(ASK, "500.001", "5")])) == lib.TP_FEED_BROKEN
    assert rig.state() == (SYNCING, 7)
    assert rig.counters.broken == 1
    assert misfits(rig) == []
    rig.close()


@pytest.mark.parametrize(("scale", "is_taken"), [((-2, -8), True), ((-3, -8), False)])
def test_base_of_another_scale_is_not_taken(
    rig: Rig, scale: tuple[int, int], *, is_taken: bool
) -> None:
    """It was read before the move, or for one that has yet to come: its numbers mean others."""
    venue = Venue()
    rig.up()
    rig.message(venue.step())
    assert rig.wanted() == [0]
    bids = ffi.new("struct tp_level[]", [(49_999, 5)])
    asks = ffi.new("struct tp_level[]", [(50_001, 5)])
    base = ffi.new(
        "struct tp_feed_base *",
        {
            "version": venue.version,
            "bids": bids,
            "asks": asks,
            "bid_count": 1,
            "ask_count": 1,
            "scale": lib.tp_record_scale_flags(*scale),
        },
    )
    assert lib.tp_feed_base_offer(rig.feed, 0, base)
    rig.tick()
    assert rig.state() == ((LIVE, NONE) if is_taken else (SYNCING, STARTING))
    assert rig.wanted() == ([] if is_taken else [0])


@pytest.mark.parametrize(
    ("price", "told"),
    [("500.001", (FINE, PRICE, "500.001")), ("92233720368547758.1", (LARGE, PRICE, None))],
)
def test_trade_that_does_not_fit_has_the_scale_moved_and_its_book_stays(
    tmp_path: Path, price: str, told: tuple[int, int, str | None]
) -> None:
    rig = Rig(tmp_path, venue=lib.tp_venue_find(b"binance"), added=0, moves_scale=True)
    assert rig.add(0, b"coin0usdt@depth@100ms")
    venue = Venue()
    rig.up()
    rig.tick(SETTLE + MS)
    assert rig.wanted() == [0]
    rig.offer(venue.version, *venue.book)
    rig.tick()
    assert rig.state() == (LIVE, NONE)
    trade = {"e": "trade", "E": 1, "s": "COIN0USDT", "t": 7, "p": price, "q": "1", "T": 2}
    data = {"stream": "coin0usdt@trade", "data": trade | {"m": True}}
    assert rig.message(json.dumps(data).encode(), opcode=WS_TEXT) == lib.TP_FEED_BROKEN
    assert rig.state() == (LIVE, NONE)
    (misfit,) = misfits(rig)
    status, kind, text = told
    assert (misfit["status"], misfit["kind"]) == (status, kind)
    assert text in (None, misfit["text"])
    counters = counters_of(rig)
    assert (counters["broken"], counters["too_fine"] + counters["too_large"]) == (0, 1)
    if status == FINE:
        assert rescale(rig, -3, -8)
        rig.events()
        assert rig.message(json.dumps(data).encode(), opcode=WS_TEXT) == lib.TP_FEED_APPLIED
        assert [values[0] for kind, _, values in rig.events()] == [500_001]
    data["data"] = trade | {"m": True, "p": "x"}
    assert rig.message(json.dumps(data).encode(), opcode=WS_TEXT) == lib.TP_FEED_BROKEN
    assert (counters_of(rig)["broken"], misfits(rig)) == (1, [])
    rig.close()
