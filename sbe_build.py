"""Make C accessors of a schema of Simple Binary Encoding (FIX SBE 1.0): offsets, sizes, numbers.

`sbe_build.py SCHEMA.xml PREFIX HEADER.h`. Of what a schema may say only what our venues' say is
read, and all else is refused: messages in the lowest byte first, with blocks, groups of blocks and
texts behind them. A message's name is written without "StreamEvent". What a block is read by is in
proto/encoding/sbe.h. Called by: meson.build of venues that have a schema, tests/fuzz/run.py.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree  # the schema is a file of ours

SBE = "{http://fixprotocol.io/2016/sbe}"
PRIMITIVES = {
    **{"uint8": ("uint8_t", 1, "u8"), "int8": ("int8_t", 1, "i8")},
    **{"uint16": ("uint16_t", 2, "u16"), "uint32": ("uint32_t", 4, "u32")},
    "int64": ("int64_t", 8, "i64"),
}
"""C's type, size and reader of sbe.h."""
HEADER = [(name, "uint16") for name in ("blockLength", "templateId", "schemaId", "version")]
TEXT = [("length", "uint8"), ("varData", "uint8")]


class SchemaError(Exception):
    """A schema says something that is not read here."""


@dataclass
class Types:
    """What a schema calls its types: primitives by name, and members of composites."""

    primitives: dict[str, str] = field(default_factory=lambda: {one: one for one in PRIMITIVES})
    composites: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    def primitive(self, name: str) -> str:
        """Return what a type is made of."""
        if name not in self.primitives:
            raise SchemaError(f"type {name!r}: expected one of {', '.join(self.primitives)}")
        return self.primitives[name]


def asked(element: ElementTree.Element, name: str) -> str:
    """Return an attribute that must be there."""
    value = element.get(name)
    if value is None:
        raise SchemaError(f"{element.tag} {dict(element.attrib)}: no {name}")
    return value


def read_types(root: ElementTree.Element) -> Types:
    """Read all types; raises SchemaError where the message header is another than sbe.h reads."""
    types = Types()
    for one in root.iterfind("types/*"):
        name = asked(one, "name")
        if one.tag == "composite":
            members = one.iterfind("type")
            found = [(asked(part, "name"), asked(part, "primitiveType")) for part in members]
            types.composites[name] = found
        elif one.tag == "type":
            types.primitives[name] = types.primitive(asked(one, "primitiveType"))
        elif one.tag == "enum":
            types.primitives[name] = types.primitive(asked(one, "encodingType"))
        else:
            raise SchemaError(f"{one.tag} {name}: not read here")
    if types.composites.get("messageHeader") != HEADER:
        raise SchemaError(f"messageHeader: expected {HEADER}")
    return types


def words(name: str) -> str:
    """Write eventTime as event_time."""
    name = name.removesuffix("StreamEvent")
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


@dataclass
class Writer:
    """The lines of a header."""

    types: Types
    prefix: str
    constants: list[str] = field(default_factory=list)
    accessors: list[str] = field(default_factory=list)

    def constant(self, name: str, value: int) -> None:
        """Write a number."""
        self.constants.append(f"    TP_{self.prefix}_{name} = {value},".upper())

    def block(self, element: ElementTree.Element, name: str) -> None:
        """Write a block's size, and an accessor for each field of it."""
        offset = 0
        for one in element.iterfind("field"):
            if one.get("presence") == "constant":
                continue  # it takes no room
            own, kind = words(asked(one, "name")), self.types.primitive(asked(one, "type"))
            c_type, size, reader = PRIMITIVES[kind]
            offset = int(one.get("offset", offset))
            self.constant(f"{name}_{own}_at", offset)
            self.accessors.append(
                f"static inline {c_type} tp_{self.prefix}_{name}_{own}(const uint8_t *block)\n"
                f"{{\n    return tp_sbe_{reader}(block + {offset});\n}}\n"
            )
            offset += size
        self.constant(f"{name}_size", offset)

    def group(self, element: ElementTree.Element, name: str) -> None:
        """Write what a group is read by."""
        dimensions = element.get("dimensionType", "groupSizeEncoding")
        (length, count) = self.types.composites.get(dimensions, [("", ""), ("", "")])
        if length != ("blockLength", "uint16") or count[1] not in {"uint16", "uint32"}:
            raise SchemaError(f"group {name}: dimensions {dimensions}: not read here")
        self.constant(f"{name}_count_size", PRIMITIVES[count[1]][1])
        self.block(element, name)

    def message(self, element: ElementTree.Element) -> None:
        """Write all of a message."""
        name = words(asked(element, "name"))
        self.constant(f"{name}_id", int(asked(element, "id")))
        self.block(element, name)
        for one in element:
            if one.tag == "group":
                self.group(one, f"{name}_{words(asked(one, 'name'))}")
            elif one.tag == "data":
                if self.types.composites.get(asked(one, "type")) != TEXT:
                    raise SchemaError(f"data of {name}: expected a length of one byte")
            elif one.tag != "field":
                raise SchemaError(f"{one.tag} of {name}: not read here")


def header_of(text: str, prefix: str, source: str) -> str:
    """Return the C header of a schema's text; raises SchemaError."""
    root = ElementTree.fromstring(text)  # noqa: S314 - a file of ours
    if root.get("byteOrder", "littleEndian") != "littleEndian":
        raise SchemaError("byteOrder: expected littleEndian")
    writer = Writer(read_types(root), prefix)
    writer.constant("schema_id", int(asked(root, "id")))
    writer.constant("schema_version", int(asked(root, "version")))
    for one in root.iterfind(f"{SBE}message"):
        writer.message(one)
    guard = f"TP_{prefix.upper()}_SCHEMA_H"
    head = (
        f"/* Made by sbe_build.py of {source}; `block`: where one of this kind begins. */",
        f"#ifndef {guard}",
        f"#define {guard}",
        '#include "proto/encoding/sbe.h"',
        "",
    )
    body = ("enum {", *writer.constants, "};", "", *writer.accessors)
    return "\n".join((*head, *body, "#endif", ""))


def main(schema: str, prefix: str, header: str) -> int:
    """Write a header; returns 1, and says why, where the schema cannot be read."""
    path = Path(schema)
    try:
        text = header_of(path.read_text(), prefix, path.name)
    except (SchemaError, ElementTree.ParseError, ValueError) as error:
        print(f"{schema}: {error}", file=sys.stderr)
        return 1
    Path(header).parent.mkdir(parents=True, exist_ok=True)
    Path(header).write_text(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
