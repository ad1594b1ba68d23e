"""`@tickpath.native`: a Python function that Numba compiles once, at start, to a strategy.

    @tickpath.native(state={"spread_min": 2, "quantity": 1000, "orders": 0})
    def crossing(event, book, state, orders):
        bid, ask = book.bids[0].price, book.asks[0].price
        if book.state == BookState.LIVE and ask - bid >= state.spread_min:
            state.orders += 1
            tickpath.place(orders, book, state.orders, Side.BID, (bid, state.quantity))

The function sees the very records of proto/records.h: `event` with the fields of all its types side
by side, `book` with bids and asks, `state` with what the decorator declares, and the order buffer.
No interpreter is part of it, nor an allocation: what needs either is refused at start. Where it
raises, it is stopped. Without the extra `tickpath[native]` the decorator works, `compile_function`
does not. Called by: native.py; users' files by tickpath.native, tickpath.place, tickpath.cancel.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from tickpath._core import ffi, lib
from tickpath.proto.records import RECORDS_VERSION, EventType, book_dtype, event_dtype, layout_of
from tickpath.shm.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np

RAISED = -1
"""What a compiled strategy returns where its function raised."""
INTENTS_MAX = int(lib.TP_ORDER_INTENTS_MAX)
PLACE, CANCEL = int(lib.TP_ORDER_PLACE), int(lib.TP_ORDER_CANCEL)
USUAL = ("TOP", "STATE", "TRADE", "BEST")
REMEDY = "pip install 'tickpath[native]' brings it; a strategy in C needs none"
ARGUMENTS = 4
TAKES_GIL = "numba_gil_ensure"
READ_ONLY = "event and book are read-only"  # in the words of readonly.py
NO_ALLOCATION = "NRT required but not enabled"  # Numba's words
_PLACE_IN_FILE = re.compile(r'File "([^"]*)", line (\d+)|(?:at|from) (\S+) \((\d+)\)')


@dataclass(frozen=True, slots=True)
class NativeFunction:
    """A function that was declared to be a native strategy; it is compiled when it is loaded."""

    function: Callable[..., None]
    events: int
    state: Mapping[str, Any]


def native(
    function: Callable[..., None] | None = None,
    *,
    state: Mapping[str, Any] | None = None,
    events: Sequence[str] = USUAL,
) -> Any:
    """Declare a function of (event, book, state, orders) to be a native strategy.

    state: the fields of its own state with what each begins as: an int (64 bits), a float, or a
    numpy array of numbers. Ints and floats are its parameters, which the configuration may set.
    events: names of EventType; it is called for these only. Raises ValueError for an unknown one.
    """
    unknown = [name for name in events if name not in EventType.__members__]
    if unknown or not events:
        raise ValueError(
            f"events {unknown or list(events)}: expected names of EventType: "
            f"{', '.join(EventType.__members__)}"
        )
    mask = sum(1 << EventType[name] for name in set(events))

    def declare(function: Callable[..., None]) -> NativeFunction:
        return NativeFunction(function, mask, dict(state or {}))

    return declare if function is None else declare(function)


def place(orders: Any, book: Any, order: int, side: int, level: tuple[int, int]) -> bool:
    """Ask for an order at a price, of a quantity; False: the call has eight intents already.

    level: price and quantity, mantissas of the book's exponents. order: a number of the strategy's
    own, by which `cancel` names it. In compiled functions only.
    """
    index = orders.count
    if index >= INTENTS_MAX:
        orders.overfull += 1
        return False
    one = orders.intents[index]
    one.order = order
    one.price = level[0]
    one.quantity = level[1]
    one.instrument = book.instrument
    one.verb = PLACE
    one.side = side
    one.price_exponent = book.price_exponent
    one.quantity_exponent = book.quantity_exponent
    one.reserved = 0
    orders.count = index + 1
    return True


def cancel(orders: Any, book: Any, order: int) -> bool:
    """Ask for the end of an order; False: the call has eight intents already."""
    index = orders.count
    if index >= INTENTS_MAX:
        orders.overfull += 1
        return False
    one = orders.intents[index]
    one.order = order
    one.price = 0
    one.quantity = 0
    one.instrument = book.instrument
    one.verb = CANCEL
    one.side = 0
    one.price_exponent = book.price_exponent
    one.quantity_exponent = book.quantity_exponent
    one.reserved = 0
    orders.count = index + 1
    return True


@cache
def flat_event_dtype() -> np.dtype[Any]:
    """Return struct tp_event with the fields of all its types side by side, each in its place."""
    import numpy as np  # noqa: PLC0415 - only who compiles needs it

    fields: dict[str, tuple[Any, int]] = {}
    union: Any = None
    for name, (kind, offset, *_) in (event_dtype().fields or {}).items():
        if name == "u":
            union, start = kind, offset
        else:
            fields[name] = (kind, offset)
    for kind, _ in (union.fields[name][:2] for name in union.names if name != "value"):
        for name, (scalar, offset, *_) in kind.fields.items():
            if name != "reserved" and fields.setdefault(name, (scalar, start + offset))[1] != (
                start + offset
            ):
                raise AssertionError(f"{name} stands in two places of an event")
    rows = sorted(fields.items(), key=lambda row: row[1][1])
    return np.dtype(
        {
            "names": [name for name, _ in rows],
            "formats": [kind for _, (kind, _) in rows],
            "offsets": [offset for _, (_, offset) in rows],
            "itemsize": event_dtype().itemsize,
        }
    )


def state_dtype(state: Mapping[str, Any]) -> np.dtype[Any]:
    """Return the layout of a declared state; raises ValueError for a field that is no number."""
    import numpy as np  # noqa: PLC0415 - only who compiles needs it

    rows: list[Any] = []
    for name, value in state.items():
        if isinstance(value, np.ndarray) and value.dtype.kind in "iuf" and value.size:
            rows.append((name, value.dtype, value.shape))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
                raise ValueError(f"state {name} is {value}, expected a whole number of 64 bits")
            rows.append((name, "i8" if isinstance(value, int) else "f8"))
        else:
            raise ValueError(
                f"state {name} is a {type(value).__name__}, expected an int, a float or a numpy "
                "array of numbers"
            )
    return np.dtype(rows or [("unused", "i8")], align=True)


@dataclass(frozen=True, slots=True)
class Compiled:
    """A compiled function: its `struct tp_strategy`, and what its state begins as."""

    strategy: Any
    initial: bytes
    kept: Any = field(repr=False)


def compile_function(source: str, declared: NativeFunction) -> Compiled:
    """Compile; raises LocalError with the line that cannot be, or where Numba is missing."""
    numba = _numba(source)
    _refuse_other_functions(source, declared.function)
    try:
        dtype = state_dtype(declared.state)
    except ValueError as error:
        where = _line_of(declared.function)
        raise LocalError(f"strategy {source}: {where}: {error}") from error
    try:
        entry, inner = _entry(numba, declared, dtype)
    except KeyError as error:  # Numba's own, for a field that a record does not have
        raise LocalError(
            f"strategy {source}: {_line_of_field(error.args[0], declared)}: no such field: "
            f"{error.args[0]}; a state has those that its decorator declares"
        ) from error
    except Exception as error:  # its own kinds are not all of them: it is of this function
        raise LocalError(f"strategy {source}: {_explain(error, declared)}") from error
    _refuse_interpreter(source, inner)
    return _as_strategy(declared, dtype, entry)


def _line_of(function: Any) -> str:
    return f"{function.__code__.co_filename} line {function.__code__.co_firstlineno}"


def _refuse_other_functions(source: str, function: Any) -> None:
    if not inspect.isfunction(function):
        raise LocalError(f"strategy {source}: @tickpath.native stands over no function")
    where = f"strategy {source}: {_line_of(function)}"
    # Numba makes a generator of one that yields: the call returns it, and nothing runs.
    if inspect.isgeneratorfunction(function):
        raise LocalError(f"{where}: it has a yield, expected a function that runs to its end")
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise LocalError(f"{where}: it is async, expected a function that runs to its end")
    count = len(inspect.signature(function).parameters)
    if count != ARGUMENTS:
        raise LocalError(
            f"{where}: a function of {count} arguments, expected four: event, book, state, orders"
        )


def _numba(source: str) -> Any:
    try:
        import numba  # noqa: PLC0415 - an extra, and half a second
        import numba.core.errors  # noqa: PLC0415 - an extra, as Numba itself
        import numba.extending  # noqa: PLC0415 - an extra, as Numba itself
    except ImportError as error:
        raise LocalError(
            f"strategy {source}: a compiled function needs Numba, which is not there ({error}): "
            f"{REMEDY}"
        ) from error
    except PermissionError as error:
        raise LocalError(
            f"strategy {source}: this process may not make machine code ({error.strerror}): a "
            "strategy in C needs none to be made, or a drop-in of the unit says "
            "MemoryDenyWriteExecute=no"
        ) from error
    for function in (place, cancel):
        if function not in _REGISTERED:
            _REGISTERED.add(function)
            numba.extending.register_jitable(function)
    return numba


_REGISTERED: set[Any] = set()


def _entry(numba: Any, declared: NativeFunction, state: np.dtype[Any]) -> tuple[Any, Any]:
    """Return the C function, and what it calls: the user's, which no exception leaves."""
    # Bounds are checked: a write beyond a record would be into the feed handler's memory. _nrt: no
    # allocation, of arrays or anything else; the compiler refuses what needs one.
    options = {"boundscheck": True, "_nrt": False}
    # Nothing in it is for Python's own calls, which would take the GIL.
    options |= {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    user = numba.njit(declared.function, **options)
    from tickpath.engine.strategy.readonly import record_of  # noqa: PLC0415 - it needs Numba

    event_of = record_of("event", flat_event_dtype())
    book_of = record_of("book", book_dtype())
    orders = layout_of("tp_order_buffer")
    carray, pointer = numba.carray, numba.types.voidptr

    def call(event_at: Any, book_at: Any, state_at: Any, orders_at: Any) -> int:
        try:
            user(
                event_of(event_at),
                book_of(book_at),
                carray(state_at, 1, state)[0],
                carray(orders_at, 1, orders)[0],
            )
        except Exception:
            return RAISED
        return 0

    entry = numba.cfunc(numba.types.int32(pointer, pointer, pointer, pointer))(call)
    return entry, user


def _refuse_interpreter(source: str, inner: Any) -> None:
    """Refuse a function that takes the GIL, as print does: the hot thread would wait for Python."""
    for code in inner.inspect_llvm().values():
        if TAKES_GIL in code:
            raise LocalError(
                f"strategy {source}: it calls the interpreter (print, or object mode), which the "
                "hot thread must not wait for: keep what you want to know in its state"
            )


def _explain(error: Any, declared: NativeFunction) -> str:
    """Say in a line where and why Numba could not compile it."""
    text = str(error) or type(error).__name__
    code = declared.function.__code__
    file = code.co_filename
    found = [(a or b, int(line or other)) for a, line, b, other in _PLACE_IN_FILE.findall(text)]
    places = [line for name, line in found if file.endswith(name)]
    where = f"{file} line {places[-1] if places else code.co_firstlineno}"
    lines = (line.strip() for line in text.splitlines())
    told = [line for line in lines if line and not line.startswith(("Failed in", "During", "File"))]
    if READ_ONLY in text:
        return f"{where}: {READ_ONLY}, all readers would see it: keep what changes in the state"
    if NO_ALLOCATION in text:
        return f"{where}: it allocates memory (a list, a string, an array): keep it in the state"
    return f"{where}: Numba cannot compile it: {told[0] if told else text}"


def _line_of_field(name: str, declared: NativeFunction) -> str:
    lines, first = inspect.getsourcelines(declared.function)
    found = [number for number, line in enumerate(lines, first) if f".{name}" in line]
    return f"{inspect.getsourcefile(declared.function)} line {found[0] if found else first}"


def _as_strategy(declared: NativeFunction, dtype: np.dtype[Any], entry: Any) -> Compiled:
    import numpy as np  # noqa: PLC0415 - only who compiles needs it

    kinds = {"i": lib.TP_STRATEGY_INT64, "f": lib.TP_STRATEGY_FLOAT64}
    places = {name: dtype.fields[name] for name in declared.state} if dtype.fields else {}
    scalars = [name for name, place_ in places.items() if place_[0].subdtype is None]
    names = [ffi.new("char[]", name.encode()) for name in scalars]
    fields = ffi.new("struct tp_strategy_field[]", max(len(scalars), 1))
    for row, name, text in zip(fields, scalars, names, strict=False):
        row.name, row.kind, row.offset = text, kinds[places[name][0].kind], places[name][1]
    initial = np.zeros(1, dtype=dtype)
    for name, value in declared.state.items():
        initial[name] = value
    strategy = ffi.new("struct tp_strategy *")
    strategy.magic, strategy.abi = lib.TP_STRATEGY_MAGIC, lib.TP_STRATEGY_ABI
    strategy.records_version, strategy.events = RECORDS_VERSION, declared.events
    strategy.state_size = dtype.itemsize
    strategy.on_event = ffi.cast("tp_strategy_event", entry.address)
    strategy.fields, strategy.field_count = fields, len(scalars)
    return Compiled(strategy, initial.tobytes(), (strategy, fields, names, entry))
