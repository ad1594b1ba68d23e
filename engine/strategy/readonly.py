"""Numba's types of `event` and `book`: records that a compiled strategy reads and cannot write.

They stand in the ring and in the snapshot table, where all readers see a store. Numba's own
records and arrays have many ways to be written, in place sorting among them. These have none: a
field can be read, an array of records can be indexed, and there is nothing else. That is part of
the type, and so holds in whatever function they are passed to. Called by: compiled.py, once Numba
is wanted.
"""

from __future__ import annotations

import operator
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

# By name: checked alike where Numba, an extra, is installed and where it is not.
types: Any = import_module("numba.core.types")
templates: Any = import_module("numba.core.typing.templates")
extending: Any = import_module("numba.extending")
TypingError: Any = import_module("numba.core.errors").TypingError
from_dtype: Any = import_module("numba.np.numpy_support").from_dtype

READ_ONLY = "event and book are read-only"


class Record(types.Type):  # type: ignore[misc] # Numba has no annotations
    """A record at an address."""

    def __init__(self, what: str, dtype: np.dtype[Any]) -> None:
        """Be told by `what` in messages, which is of one layout only."""
        self.dtype = dtype
        super().__init__(name=f"read-only {what}")

    def offset(self, name: str) -> int:
        """Return where a field stands."""
        fields = self.dtype.fields
        return int(fields[name][1]) if fields else 0

    def field(self, name: str) -> Any:
        """Return a field's type; None: it has no such field."""
        fields = self.dtype.fields
        if not fields or name not in fields:
            return None
        found = fields[name]
        if found[0].subdtype is None:
            return from_dtype(found[0])
        element, shape = found[0].subdtype
        return Records(Record("level", element), shape[0]) if element.fields else None


class Records(types.Type):  # type: ignore[misc] # Numba has no annotations
    """Records side by side, of a number that the layout gives."""

    def __init__(self, record: Record, count: int) -> None:
        """Each is a `record`."""
        self.record, self.count = record, count
        super().__init__(name=f"{count} x {record.name}")


class Fields(templates.AttributeTemplate):  # type: ignore[misc] # Numba has no annotations
    """The attributes of a record are its fields."""

    key = Record

    def generic_resolve(self, record: Record, name: str) -> Any:
        """Return the type of an attribute."""
        return record.field(name)


def _load(context: Any, builder: Any, record: Record, address: Any, name: str) -> Any:
    found = record.field(name)
    offset = record.offset(name)
    at = builder.gep(address, [context.get_constant(types.intp, offset)])
    if isinstance(found, Records):
        return at
    pointer = builder.bitcast(at, context.get_data_type(found).as_pointer())
    return context.unpack_value(builder, found, pointer)


def _refuse_store(*_: object) -> Any:
    raise TypingError(READ_ONLY)


def _record_at(_context: Any, records: Any, index: Any) -> Any:  # noqa: ARG001 - of Numba's form
    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        size = context.get_constant(types.intp, records.record.dtype.itemsize)
        return builder.gep(arguments[0], [builder.mul(arguments[1], size)])

    return records.record(records, types.intp), generate


record_at = extending.intrinsic(_record_at)


def _item(records: Any, index: Any) -> Callable[..., Any] | None:
    if not isinstance(records, Records) or not isinstance(index, types.Integer):
        return None
    count = records.count

    def checked(records: Any, index: Any) -> Any:
        if index < -count or index >= count:
            raise IndexError("beyond the levels")
        return record_at(records, index + count if index < 0 else index)

    return checked


def _store(records: Any, index: Any, value: Any) -> None:  # noqa: ARG001 - Numba goes by names
    if isinstance(records, Record | Records):
        raise TypingError(READ_ONLY)


def _length(records: Any) -> Callable[..., Any] | None:
    if not isinstance(records, Records):
        return None
    count = records.count

    def length(records: Any) -> Any:  # noqa: ARG001 - Numba goes by names
        return count

    return length


extending.register_model(Record)(extending.models.OpaqueModel)
extending.register_model(Records)(extending.models.OpaqueModel)
extending.infer_getattr(Fields)
extending.lower_getattr_generic(Record)(_load)
extending.lower_setattr_generic(Record)(_refuse_store)
extending.overload(operator.getitem)(_item)
extending.overload(operator.setitem)(_store)
extending.overload(len)(_length)


def record_of(what: str, dtype: np.dtype[Any]) -> Any:
    """Return what makes a read-only record of an address, in compiled functions."""
    record = Record(what, dtype)

    def typed(_context: Any, address: Any) -> Any:
        return record(address), lambda _context, _builder, _signature, arguments: arguments[0]

    return extending.intrinsic(typed)
