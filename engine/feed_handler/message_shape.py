"""The shape of a message: which fields it has and of what kind, whatever its encoding.

JSON: the keys' path and the type of each value, elements of a list as one (`bids[][]`). Protobuf,
without a schema: field numbers (`313.1`), numbers or text; bytes that read as fields are a message.
What only a schema tells apart the venue unpacks (`Venue.unpacked`).
A contract is learned from samples: the kinds of a field that any of them shows, and which fields
never lack where what they stand in is there. Pure, bounded by the message's size; the cold side's.
Called by: canary.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Path = tuple[str | int, ...]
"""Keys or field numbers from the message, which is (), downwards; ELEMENT: of a list."""
Shape = dict[Path, set[str]]
"""The kinds of value at each path."""
ELEMENT: Final = -1
Unpack: TypeAlias = "Callable[[bytes], object]"
"""Reads a message that only a schema tells apart to JSON's objects; None: it is none of those."""

OBJECT, LIST, TEXT, NUMBER, BOOLEAN, NULL = (
    "an object", "a list", "text", "a number", "true or false", "null",
)  # fmt: skip
_KINDS: Final = {
    dict: OBJECT, list: LIST, str: TEXT, int: NUMBER, float: NUMBER, bool: BOOLEAN,
    type(None): NULL,
}  # fmt: skip
_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5  # wire types of protobuf
_VARINT_BYTES_MAX: Final = 10
_DEPTH_MAX: Final = 8
"""Of protobuf: whatever stands deeper is bytes."""


def no_schema(data: bytes) -> object:  # noqa: ARG001 - there is none to read it by
    """Read nothing."""
    return None


def shape_of(data: bytes, unpack: Unpack = no_schema) -> Shape | None:
    """Return a message's shape; None where it is neither JSON nor protobuf, nor of a schema."""
    unpacked = unpack(data)
    if unpacked is not None:
        return _json_shape(unpacked)
    if data[:1] in (b"{", b"["):
        try:
            return _json_shape(msgspec.json.decode(data))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
    return _protobuf_shape(data)


def _json_shape(message: Any) -> Shape:
    shape: Shape = {}
    left: list[tuple[Path, Any]] = [((), message)]
    while left:
        path, value = left.pop()
        shape.setdefault(path, set()).add(_KINDS[type(value)])
        if isinstance(value, dict):
            left += [((*path, key), one) for key, one in value.items()]
        elif isinstance(value, list):
            left += [((*path, ELEMENT), one) for one in value]
    return shape


def _protobuf_shape(message: bytes) -> Shape | None:
    shape: Shape = {(): {OBJECT}}
    fields = _fields(message)
    if not fields:
        return None
    left: list[tuple[Path, int | bytes]] = [((number,), one) for number, one in fields]
    while left:
        path, value = left.pop()
        kind = NUMBER
        if isinstance(value, bytes):
            inside = None if _is_text(value) or len(path) >= _DEPTH_MAX else _fields(value)
            kind = TEXT if inside is None else OBJECT
            left += [((*path, number), one) for number, one in inside or ()]
        shape.setdefault(path, set()).add(kind)
    return shape


def _is_text(value: bytes) -> bool:
    """Tell text from a message: the tag of its first field is mostly no printable character."""
    try:
        return value.decode().isprintable()
    except UnicodeDecodeError:
        return False


def _fields(data: bytes) -> list[tuple[int, int | bytes]] | None:
    """Return numbers and values of the fields; None where these are no fields."""
    found: list[tuple[int, int | bytes]] = []
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        number, wire_type = key >> 3, key & 7
        value: int | bytes = 0
        if wire_type == _VARINT:
            value, place = _varint(data, place)
        elif wire_type == _BYTES:
            size, place = _varint(data, place)
            value, place = data[place : place + size], place + size
        elif wire_type in (_FIXED_64, _FIXED_32):
            place += 8 if wire_type == _FIXED_64 else 4
        else:
            return None
        if number < 1 or place > len(data) or key < 0:
            return None
        found.append((number, value))
    return found


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """Return a number and the place behind it, which is beyond the data where it does not end."""
    value = 0
    for count, byte in enumerate(data[place : place + _VARINT_BYTES_MAX]):
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:  # the last of a varint has no high bit
            return value, place + count + 1
    return 0, len(data) + 1


# ---- what is expected ----------------------------------------------------------------------------


def name_of(path: Path) -> str:
    """Write a path as bids[].price."""
    text = "".join("[]" if one == ELEMENT else f".{one}" for one in path)
    return text.removeprefix(".") or "the message"


@dataclass(frozen=True, slots=True)
class Contract:
    """What messages of one kind look like."""

    kinds: dict[Path, frozenset[str]]
    needed: frozenset[Path]
    """Fields that are there wherever what they stand in is."""

    def differences(self, shape: Shape) -> list[str]:
        """Say what a message has that none before had, and what it lacks; [] where nothing.

        Elements of a list that no sample fills are not judged.
        """
        found = []
        for path, kinds in shape.items():
            known = self.kinds.get(path)
            if known is None:
                if path[:-1] in self.kinds and path[-1] != ELEMENT:  # of a new object only itself
                    found.append(f"new field {name_of(path)} ({_words(kinds)})")
            elif not kinds <= known:
                words = f"{_words(kinds - known)}, expected {_words(known)}"
                found.append(f"{name_of(path)} is {words}")
        found += [
            f"no field {name_of(path)}"
            for path in self.needed
            if path not in shape and OBJECT in shape.get(path[:-1], ())
        ]
        return sorted(found)


def _words(kinds: Iterable[str]) -> str:
    return " or ".join(sorted(kinds))


def learn(messages: Iterable[bytes], unpack: Unpack = no_schema) -> Contract | None:
    """Learn a contract from messages of one kind; None where none could be read."""
    found = (shape_of(one, unpack) for one in messages)
    shapes = [shape for shape in found if shape is not None]
    if not shapes:
        return None
    kinds: dict[Path, set[str]] = {}
    for shape in shapes:
        for path, some in shape.items():
            kinds.setdefault(path, set()).update(some)
    needed = {
        path
        for path in kinds
        if path
        and path[-1] != ELEMENT
        and all(path in shape for shape in shapes if OBJECT in shape.get(path[:-1], ()))
    }
    return Contract({path: frozenset(some) for path, some in kinds.items()}, frozenset(needed))
