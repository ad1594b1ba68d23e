"""Binance's SBE messages as Python has them: a template is a table, `pack` and `unpack` go by it.

For whoever is not in a hurry: simulator, transcripts, the canary, tests. Offsets and widths are
written here a second time, as formats of `struct`, so that a fault in one of the two shows; schema,
sources and dates: stream_1_0.xml and README.md beside this file. Pure.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SCHEMA_ID: Final = 1
SCHEMA_VERSION: Final = 0
_HEADER: Final = struct.Struct("<HHHH")


@dataclass(frozen=True, slots=True)
class Block:
    """Fields at fixed places, one behind the other."""

    form: struct.Struct
    names: tuple[str, ...]

    def read(self, data: bytes, at: int) -> dict[str, int]:
        """Read one; raises struct.error where it is cut."""
        return dict(zip(self.names, self.form.unpack_from(data, at), strict=True))

    def write(self, values: Mapping[str, int]) -> bytes:
        """Write one."""
        return self.form.pack(*(values[name] for name in self.names))


@dataclass(frozen=True, slots=True)
class Group:
    """Blocks of one kind; counted: the header that says how long each is and how many there are."""

    name: str
    counted: struct.Struct
    entry: Block


@dataclass(frozen=True, slots=True)
class Template:
    """One kind of message, and what the venue calls its stream."""

    number: int
    name: str
    stream: str
    block: Block
    groups: tuple[Group, ...] = ()


def _block(form: str, names: str) -> Block:
    return Block(struct.Struct(f"<{form}"), tuple(names.split()))


_LEVEL: Final = _block("qq", "price qty")
_SIDES: Final = tuple(Group(name, struct.Struct("<HH"), _LEVEL) for name in ("bids", "asks"))
_TRADE: Final = Group("trades", struct.Struct("<HI"), _block("qqqB", "id price qty isBuyerMaker"))

TRADES: Final = Template(
    10000,
    "TradesStreamEvent",
    "trade",
    _block("qqbb", "eventTime transactTime priceExponent qtyExponent"),
    (_TRADE,),
)
BEST: Final = Template(
    10001,
    "BestBidAskStreamEvent",
    "bestBidAsk",
    _block(
        "qqbbqqqq",
        "eventTime bookUpdateId priceExponent qtyExponent bidPrice bidQty askPrice askQty",
    ),
)
WHOLE: Final = Template(
    10002,
    "DepthSnapshotStreamEvent",
    "depth20",
    _block("qqbb", "eventTime bookUpdateId priceExponent qtyExponent"),
    _SIDES,
)
DIFF: Final = Template(
    10003,
    "DepthDiffStreamEvent",
    "depth",
    _block("qqqbb", "eventTime firstBookUpdateId lastBookUpdateId priceExponent qtyExponent"),
    _SIDES,
)
TEMPLATES: Final = {one.number: one for one in (TRADES, BEST, WHOLE, DIFF)}


@dataclass(frozen=True, slots=True)
class Event:
    """One message, read."""

    template: Template
    version: int
    block_length: int
    fields: dict[str, int]
    groups: dict[str, list[dict[str, int]]]
    symbol: str

    @property
    def channel(self) -> str:
        """Return the stream that it is of."""
        return f"{self.symbol.lower()}@{self.template.stream}"

    def shape(self) -> dict[str, Any]:
        """Return it as an object of JSON whose keys name version and block: a new one shows."""
        inside = {**self.fields, **self.groups, "symbol": self.symbol}
        name = f"{self.template.name} of {self.block_length} bytes"
        return {f"schema {SCHEMA_ID} version {self.version}": {name: inside}}


def pack(
    template: Template,
    fields: Mapping[str, int],
    groups: Mapping[str, Sequence[Mapping[str, int]]],
    symbol: str,
) -> bytes:
    """Write a message of our version of the schema."""
    header = _HEADER.pack(template.block.form.size, template.number, SCHEMA_ID, SCHEMA_VERSION)
    parts = [header, template.block.write(fields)]
    for group in template.groups:
        entries = groups[group.name]
        parts.append(group.counted.pack(group.entry.form.size, len(entries)))
        parts += [group.entry.write(one) for one in entries]
    name = symbol.encode()
    return b"".join((*parts, bytes((len(name),)), name))


def unpack(data: bytes) -> Event | None:
    """Read a message of a template of ours, by the lengths that it says; None where it is none."""
    try:
        return _unpack(data)
    except (struct.error, UnicodeDecodeError):
        return None


def _unpack(data: bytes) -> Event | None:
    block_length, number, schema_id, version = _HEADER.unpack_from(data)
    template = TEMPLATES.get(number) if schema_id == SCHEMA_ID else None
    if template is None or block_length < template.block.form.size:
        return None
    at = _HEADER.size
    fields = template.block.read(data, at)
    at += block_length
    groups = {}
    for group in template.groups:
        stride, count = group.counted.unpack_from(data, at)
        at += group.counted.size
        if (count and stride < group.entry.form.size) or at + count * stride > len(data):
            return None
        groups[group.name] = [group.entry.read(data, at + i * stride) for i in range(count)]
        at += count * stride
    (size,) = struct.unpack_from("<B", data, at)
    at += 1 + size
    if at > len(data) or (at < len(data) and version <= SCHEMA_VERSION):
        return None
    return Event(template, version, block_length, fields, groups, data[at - size : at].decode())
