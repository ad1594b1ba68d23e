"""Write what mypy knows of a cffi module: functions, constants, and the structs with their fields.

`python cffi_stub.py core OUTPUT` writes _core.pyi, `bench` _bench.pyi. A struct and a pointer to it
are one class, as cffi treats them: `struct tp_span` is TpSpan. Other pointers and arrays are CData.
These classes exist for mypy only: import them under TYPE_CHECKING.
Called by: meson.build.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cffi import model

import cffi_build

HEADER = '''\
"""Written by cffi_stub.py from the .cdef files; the build writes it anew."""

'''
PRELUDE = """\
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, Self, SupportsIndex, TypeVar, overload

T = TypeVar("T")

class CType:
    cname: str
    kind: str
    fields: list[tuple[str, Any]]
    elements: dict[int, str]
    relements: dict[str, int]
    item: CType
    length: int | None

class CData:
    def __getitem__(self, index: Any) -> Any: ...
    def __setitem__(self, index: Any, value: Any) -> None: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Any]: ...
    def __int__(self) -> int: ...
    def __bool__(self) -> bool: ...
    # What a field of a pointer to a function is.
    def __call__(self, *arguments: Any) -> Any: ...
    def __add__(self, count: int) -> Self: ...
    @overload
    def __sub__(self, other: int) -> Self: ...
    @overload
    def __sub__(self, other: CData) -> int: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *exception: object) -> None: ...

class Struct(CData):
    def __getitem__(self, index: int) -> Self: ...

# What initializes a struct that is passed by value.
Fields = tuple[Any, ...] | list[Any] | Mapping[str, Any]

class Array:
    def __get__(self, struct: object, kind: object = None) -> CData: ...
    def __set__(self, struct: object, values: CData | bytes | Sequence[Any]) -> None: ...

class Buffer:
    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> bytes: ...
    def __setitem__(self, index: Any, value: bytes) -> None: ...
    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

"""
INCLUDED = """\
from typing import Final, SupportsIndex

from tickpath import _core
from tickpath._core import Array, CData, Fields, Struct

"""
FFI_METHODS = """\
    # One value for every type of pointer.
    NULL: Any
    error: type[Exception]
    errno: int
    def gc(self, cdata: T, destructor: Callable[[T], object] | None, size: int = 0) -> T: ...
    def release(self, cdata: CData) -> None: ...
    def string(self, cdata: CData, maxlen: int = -1) -> bytes: ...
    def unpack(self, cdata: CData, length: int) -> Any: ...
    def buffer(self, cdata: CData, size: int = -1) -> Buffer: ...
    @overload
    def from_buffer(self, cdecl: str, data: object, require_writable: bool = False) -> Any: ...
    @overload
    def from_buffer(self, cdecl: object, *, require_writable: bool = False) -> CData: ...
    def memmove(self, dest: object, src: object, n: int) -> None: ...
    def addressof(self, cdata: object, *fields: str | int) -> Any: ...
    def sizeof(self, of: str | CData | CType) -> int: ...
    def alignof(self, cdecl: str | CType) -> int: ...
    def offsetof(self, cdecl: str | CType, *fields: str | int) -> int: ...
    def typeof(self, of: str | CData) -> CType: ...
    def list_types(self) -> tuple[list[str], list[str], list[str]]: ...
    def new_handle(self, target: object) -> CData: ...
    def from_handle(self, handle: CData) -> Any: ...
"""
STRUCT = (model.StructType, model.UnionType)


def class_name(struct: str) -> str:
    """Return TpRingGate for tp_ring_gate."""
    return "".join(word.capitalize() for word in struct.split("_"))


class Stub:
    """The declarations of one builder, less those that it includes."""

    def __init__(self, module: str) -> None:
        builder = getattr(cffi_build, module)
        included = cffi_build.core if builder is not cffi_build.core else None
        # cffi has no public list of what was declared.
        parser: Any = builder._parser
        theirs: dict[str, Any] = included._parser._declarations if included else {}
        self._includes = included is not None
        self._theirs = {name.split()[-1] for name in theirs if name.startswith("struct ")}
        self._declared = {
            tuple(name.split()): kind[0]
            for name, kind in parser._declarations.items()
            if name not in theirs
        }

    def text(self) -> str:
        """Return the whole stub."""
        ours = "\n".join(self._structs())
        if self._includes:
            ffi, base, prelude = "class FFI(_core.FFI): ...\n", "(_core.Lib)", INCLUDED
        else:
            ffi, base, prelude = "class FFI:\n" + FFI_METHODS + self._makers(), "", PRELUDE
        lib = "\n".join([f"class Lib{base}:", *self._constants(), *self._functions()])
        return f"{HEADER}{prelude}{ours}\n{ffi}\n{lib}\n\nffi: FFI\nlib: Lib\n"

    def _named(self, *kinds: str) -> Iterator[tuple[str, Any]]:
        return ((name[1], kind) for name, kind in self._declared.items() if name[0] in kinds)

    def _structs(self) -> Iterator[str]:
        for name, kind in self._named("struct", "union"):
            fields = zip(kind.fldnames or (), kind.fldtypes or (), strict=True)
            lines = [
                f"    {field}: {'Array' if isinstance(its, model.ArrayType) else self._value(its)}"
                for field, its in fields
            ]
            body = "\n" + "\n".join(lines) if lines else " ..."
            yield f"class {class_name(name)}(Struct):{body}"

    def _makers(self) -> str:
        names = [name for name, _ in self._named("struct", "union")]
        lines = []
        for method, rest in (("new", "init: object = None"), ("cast", "source: object")):
            for name in names:
                lines += [
                    "    @overload",
                    f'    def {method}(self, cdecl: Literal["struct {name} *"], {rest}) '
                    f"-> {class_name(name)}: ...",
                ]
            lines.append("    @overload")
            lines.append(f"    def {method}(self, cdecl: str | CType, {rest}) -> Any: ...")
        return "\n".join(lines) + "\n"

    def _constants(self) -> Iterator[str]:
        names = {name for name, _ in self._named("macro", "constant")}
        for _, kind in self._named("enum", "anonymous"):
            names.update(kind.enumerators)
        return (f"    {name}: Final[int]" for name in sorted(names))

    def _functions(self) -> Iterator[str]:
        for name, kind in self._named("function"):
            arguments = "".join(
                f", a{number}: {self._argument(its)}" for number, its in enumerate(kind.args)
            )
            slash = ", /" if kind.args else ""
            yield f"    def {name}(self{arguments}{slash}) -> {self._value(kind.result)}: ..."

    def _value(self, kind: Any) -> str:
        """Return what Python reads from a field or a result of this type."""
        if isinstance(kind, model.VoidType):
            return "None"
        if isinstance(kind, model.EnumType):
            return "int"
        if isinstance(kind, model.PrimitiveType):
            return {"_Bool": "bool", "float": "float", "double": "float", "char": "bytes"}.get(
                kind.name, "int"
            )
        if isinstance(kind, model.PointerType):
            kind = kind.totype
        if isinstance(kind, STRUCT) and not kind.name.startswith("$"):
            place = "_core." if kind.name in self._theirs else ""
            return place + class_name(kind.name)
        return "Any" if isinstance(kind, STRUCT) else "CData"

    def _argument(self, kind: Any) -> str:
        """Return what C takes for a parameter of this type."""
        value = self._value(kind)
        if isinstance(kind, STRUCT):
            return f"{value} | Fields"
        # Whatever has __index__, as numpy's integers have; bytes go wherever a plain pointer does.
        return {"int": "SupportsIndex", "CData": "CData | bytes"}.get(value, value)


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(Stub(sys.argv[1]).text())
