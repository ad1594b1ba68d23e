"""`tickpath dump`: everything that one segment holds, once.

Header, sections, schema, counters, hops, and, of a feed, instruments and whole books. Called by:
engine/cli.py. Calls: shm/segment, engine/client/reader.
"""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

import msgspec
from tickpath.engine.cli import printable
from tickpath.engine.client.feed_segment import SCHEMA, read_instruments
from tickpath.engine.client.reader import Book, open_reader
from tickpath.proto.records import BOOK_WORDS, format_fixed
from tickpath.proto.venues import DEFAULT_NAME
from tickpath.shm.control_segment import consumers
from tickpath.shm.segment import Segment

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from tickpath.proto.instrument import Instrument

SECTIONS = (
    *("schema", "table", "counter_names", "histogram_names", "live"),
    *("counters", "histograms", "snapshot_index", "snapshot_cells", "ring"),
)
STATES = ("INIT", "READY", "CLOSING")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the options of `tickpath dump`."""
    parser = subparsers.add_parser(
        "dump",
        description="Show all that one segment holds: header, schema, counters, hops, books.",
        epilog=f"example: tickpath dump {DEFAULT_NAME} --json | python3 -m json.tool",
    )
    parser.add_argument("instance", help="segment name (tickpath stat lists them)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print; 0, or 3 where the segment cannot be read, with the reason."""
    told = describe_segment(args.instance)
    print(json.dumps(told) if args.json else format_dump(told))
    return 0


def describe_segment(instance: str) -> dict[str, Any]:
    """Read everything of a segment; raises SegmentError."""
    with Segment(instance) as segment:
        is_feed = segment.schema == SCHEMA
        told: dict[str, Any] = {
            "instance": instance,
            "header": _header(segment),
            "sections": {name: _section(segment, name) for name in SECTIONS},
            "live": _live(segment),
            "schema": segment.schema.splitlines(),
            "counters": segment.counters(),
            "hops": msgspec.to_builtins(segment.histograms()),
            "consumers": msgspec.to_builtins(consumers(segment)),
        }
        if is_feed and not segment.writer_lives():
            told["instruments"] = msgspec.to_builtins(read_instruments(segment))
            told["books"] = list(_left_books(segment))
    if is_feed and "books" not in told:
        with open_reader(instance, name=None) as reader:
            told["instruments"] = msgspec.to_builtins(reader.instruments)
            told["books"] = [_book(one, reader.book(one.index)) for one in reader.instruments]
    return told


def _left_books(segment: Segment) -> Iterator[dict[str, Any]]:
    """Read the books that a dead writer left; all are STALE."""
    if int(segment.header.snapshot_word_count) != BOOK_WORDS:
        return
    for row in read_instruments(segment)[: int(segment.header.snapshot_index.count)]:
        data = segment.snapshot(row.index)
        words = data[:16] + struct.pack("<QQ", 0, 1) + data[16:]  # not silent: ended
        yield _book(row, Book(memoryview(words).cast("q")))


def _header(segment: Segment) -> dict[str, Any]:
    header = segment.header
    return {
        "layout": f"{header.layout_major}.{header.layout_minor}",
        "static_size": int(header.static_size),
        "total_size": int(header.total_size),
        "schema_hash": f"{header.schema_hash:#018x}",
        "instance_id": f"{header.instance_id:#018x}",
        "writer_pid": int(header.writer_pid),
        "writer_start_time": int(header.writer_start_time),
        "clock": {
            "tsc_base": int(header.clock.tsc_base),
            "ns_base": int(header.clock.ns_base),
            "mult": int(header.clock.mult),
            "realtime_offset_ns": int(header.clock.realtime_offset_ns),
        },
    }


def _section(segment: Segment, name: str) -> dict[str, int]:
    section = getattr(segment.header, name)
    return {
        "offset": int(section.offset),
        "count": int(section.count),
        "entry_size": int(section.entry_size),
    }


def _live(segment: Segment) -> dict[str, Any]:
    live = segment.live
    state = int(live.state)
    return {
        "state": STATES[state] if state < len(STATES) else state,
        "writer_lives": segment.writer_lives(),
        "heartbeat_age_ms": round(segment.heartbeat_age_ns() / 1e6, 3),
        "loop_count": int(live.loop_count),
        "superseded_by": int(live.superseded_by),
        "head": int(live.head),
        "crc32": f"{live.crc32:#010x}",
        "is_locked_in_memory": segment.is_locked_in_memory,
    }


def _book(row: Instrument, book: Book) -> dict[str, Any]:
    def side(levels: list[tuple[int, int]]) -> list[tuple[str, str]]:
        return [
            (format_fixed(price, book.price_exponent), format_fixed(size, book.quantity_exponent))
            for price, size in levels
        ]

    return {
        "venue": row.venue,
        "symbol": row.symbol,
        "state": book.state.name,
        "why": book.why,
        "version": book.version,
        "ring_index": book.ring_index,
        "book_sequence": book.book_sequence,
        "connection": book.connection,
        "generation": book.generation,
        "exchange_ns": book.exchange_ns,
        "received_ns": book.received_ns,
        "taken_ns": book.taken_ns,
        "decoded_ns": book.decoded_ns,
        "published_ns": book.published_ns,
        "message_ns": book.message_ns,
        "verified_ns": book.verified_ns,
        "bids": side(book.bids),
        "asks": side(book.asks),
    }


def format_dump(told: dict[str, Any]) -> str:
    """Write it as people read it."""
    lines = [f"segment {told['instance']}"]
    for part in ("header", "live", "counters"):
        lines.append(f"{part}:")
        lines += [f"  {name:<26} {_as_text(value)}" for name, value in told[part].items()]
    lines.append("sections (offset, count, entry size):")
    for name, one in told["sections"].items():
        lines.append(f"  {name:<26} {one['offset']:>10} {one['count']:>8} {one['entry_size']:>8}")
    lines.append("hops, ns:")
    for name, hop in told["hops"].items():
        figures = ", ".join(f"{key} {hop[key]:,}" for key in ("n", "p50", "p99", "p999", "max"))
        lines.append(f"  {name:<26} {figures}")
    for one in told["consumers"]:
        lines.append(f"reader {one['name']} (pid {one['pid']}): lag {one['lag']:,}")
    lines.append("schema:")
    lines += [f"  {line}" for line in told["schema"]]
    for book in told.get("books", []):
        why = f" ({book['why']})" if book["why"] else ""
        name = f"{book['venue']} {book['symbol']}"
        lines.append(f"book {name}: {book['state']}{why}, version {book['version']:,}")
        for place in range(max(len(book["bids"]), len(book["asks"]))):
            lines.append(f"  {_level(book['bids'], place)} | {_level(book['asks'], place)}")
    return "\n".join(printable(line) for line in lines)


def _as_text(value: object) -> object:
    if not isinstance(value, dict):
        return value
    return ", ".join(f"{name.replace('_', ' ')} {one}" for name, one in value.items())


def _level(side: list[tuple[str, str]], place: int) -> str:
    if place >= len(side):
        return " " * 37
    price, quantity = side[place]
    return f"{quantity:>18} {price:>18}"
