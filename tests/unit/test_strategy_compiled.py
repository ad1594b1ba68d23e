"""`@tickpath.native`: what Numba compiles, what is refused with its line, and what raises."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tickpath._core import ffi, lib
from tickpath.engine.strategy.compiled import RAISED, flat_event_dtype, native, state_dtype
from tickpath.engine.strategy.native import load_native, make_state, why_stopped
from tickpath.proto.records import EventType, event_dtype
from tickpath.shm.errors import LocalError

from tests.unit.feed.conftest import Rig, Venue, go_live
from tests.unit.native_library import CROSSING, compile_library
from tests.unit.test_strategy_native import Inline, check_cancels

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
HEAD = """\
import numpy as np
import tickpath
from tickpath import BookState, EventType, Side

"""
slow = pytest.mark.slow  # each compiles for a second or two, some ten on a busy machine


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    pytest.importorskip("numba", reason="missing capability: Numba (tickpath[native])")
    rig = Rig(tmp_path, instruments=2)
    yield rig
    rig.close()


def source_of(folder: Path, text: str) -> str:
    """Write a module whose function is `tried`; return its source."""
    path = folder / "mine.py"
    path.write_text(HEAD + textwrap.dedent(text), encoding="utf-8")
    path.chmod(0o644)
    return f"{path}:tried"


def write_words(tried: Inline, count: int) -> bytes:
    return bytes(ffi.buffer(tried.rows, count * ffi.sizeof("struct tp_native_intent")))


@slow
def test_compiled_example_leaves_the_intents_of_its_twin_in_c(rig: Rig, tmp_path: Path) -> None:
    library = compile_library(CROSSING, tmp_path / "crossing.so")
    # A copy: whoever owns this tree, code that runs as root must be root's.
    example = tmp_path / "crossing.py"
    example.write_bytes((ROOT / "examples" / "crossing.py").read_bytes())
    example.chmod(0o644)
    parameters = {"spread_min": 2, "quantity": 7}
    twins = [
        Inline(rig, f"{library}:crossing", [0], **parameters),
        Inline(rig, f"{example}:crossing", [0], **parameters),
    ]
    venue = Venue()
    go_live(rig, venue)
    for _ in range(300):
        rig.message(venue.step())
        for one in twins:
            one.follow()
    count = int(twins[0].log.count)
    assert count == twins[1].log.count > 20
    assert write_words(twins[0], count) == write_words(twins[1], count)
    assert twins[0].counts == twins[1].counts


@slow
def test_compiled_example_cancels_the_bid_of_the_same_instrument(rig: Rig, tmp_path: Path) -> None:
    example = tmp_path / "crossing.py"
    example.write_bytes((ROOT / "examples" / "crossing.py").read_bytes())
    example.chmod(0o644)
    check_cancels(Inline(rig, f"{example}:crossing", [0, 1], spread_min=1, quantity=7), rig, 7)


def test_documentation_shows_the_example() -> None:
    code = (ROOT / "examples" / "crossing.py").read_text("utf-8").partition('"""\n\n')[2]
    assert f"```python\n{code}```\n" in (ROOT / "docs" / "strategies.md").read_text("utf-8")


@slow
def test_compiled_function_that_raises_is_stopped(rig: Rig, tmp_path: Path) -> None:
    text = """
        @tickpath.native(state={"calls": 0, "limit": 3, "seen": np.zeros(2)})
        def tried(event, book, state, orders):
            state.calls += 1
            state.seen[1] += 0.5
            tickpath.place(orders, book, 1, Side.BID, (book.bids[0].price, 1))
            if state.calls == state.limit:
                raise ValueError("enough")
        """
    venue, tried = Venue(), Inline(rig, source_of(tmp_path, text), limit=4)
    go_live(rig, venue)
    for _ in range(6):
        rig.message(venue.step([(0, venue.middle - 1, 3)]))
    tried.follow()
    assert ffi.cast("int64_t *", tried.state)[0] == 4
    assert ffi.cast("double *", tried.state)[3] == 2.0
    assert int(tried.row.stopped_by) == RAISED
    # The intent of the call that raised is of no call that went well.
    assert tried.counts["places"] + tried.counts["refused"] == 4
    assert tried.counts["refused"] >= 1
    assert why_stopped(RAISED, is_compiled=True) == "it raised an exception"


@slow
@pytest.mark.parametrize(
    ("body", "line", "told"),
    [
        ('x = 1\n    y = x + "text"', 8, "Numba cannot compile it: No implementation of"),
        ("x = [1, 2]\n    x.append(event.type)", 7, "it allocates memory"),
        ("x = np.zeros(3)", 7, "Numba cannot compile it"),
        ("state.absent = 1", 7, "no such field: absent"),
        ("import math", 7, "Numba cannot compile it: Use of unsupported opcode"),
        ("with state:\n        pass", 5, "Numba cannot compile it"),
        ("book.state = 1", 7, "event and book are read-only"),
        ("book.bid_count += 1", 7, "event and book are read-only"),
        ("event.bid = 1", 7, "event and book are read-only"),
        ("book.bids[0].price = 7", 7, "event and book are read-only"),
        ("book.bids[0] = book.asks[0]", 7, "event and book are read-only"),
        (
            "level = book.bids[event.type]\n    level.quantity = 7",
            8,
            "event and book are read-only",
        ),
        ("book['state'] = 1", 7, "Numba cannot compile it|event and book are read-only"),
        ("book.bids.sort()", 7, "Numba cannot compile it: .*"),
        ("book.bids.price[:] = 7", 7, "Numba cannot compile it: .*"),
        ("other = book if event.type else state\n    other.x = 7", 7, "Numba cannot compile it"),
        ("print(event.type)", 0, r"it calls the interpreter \(print, or object mode\)"),
    ],
)
def test_function_that_cannot_be_compiled_is_refused_with_its_line(
    rig: Rig, tmp_path: Path, body: str, line: int, told: str
) -> None:
    assert rig
    text = f"@tickpath.native\ndef tried(event, book, state, orders):\n    {body}\n"
    where = rf"mine\.py line {line}: " if line else ""
    with pytest.raises(LocalError, match=where + told):
        load_native(source_of(tmp_path, text))


@slow
def test_compiled_helper_that_writes_the_book_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("numba", reason="missing capability: Numba (tickpath[native])")
    text = """
        import numba

        @numba.njit
        def spoil(level):
            level.price = 7

        @tickpath.native
        def tried(event, book, state, orders):
            spoil(book.bids[0])
        """
    with pytest.raises(LocalError, match=r"mine\.py line \d+: event and book are read-only"):
        load_native(source_of(tmp_path, text))


@slow
@pytest.mark.parametrize(
    ("at", "level"), [("0", 0), ("event.type - event.type + 1", 1), ("-1", 19), ("19", 19)]
)
def test_compiled_function_reads_what_stands_in_the_book(
    rig: Rig, tmp_path: Path, at: str, level: int
) -> None:
    text = f"""
        @tickpath.native(state={{"price": -1, "quantity": -1, "asked": -1, "size": 0}})
        def tried(event, book, state, orders):
            state.price = book.bids[{at}].price
            state.quantity = book.bids[{at}].quantity
            state.asked = book.asks[{at}].price
            state.size = len(book.bids)
        """
    venue, tried = Venue(), Inline(rig, source_of(tmp_path, text))
    go_live(rig, venue)
    tried.follow()
    assert int(tried.row.stopped_by) == 0
    sides = [sorted(venue.book[0].items(), reverse=True), sorted(venue.book[1].items())]
    bids, asks = (side + [(0, 0)] * (20 - len(side)) for side in sides)
    words = ffi.cast("int64_t *", tried.state)
    assert [words[i] for i in range(4)] == [*bids[level], asks[level][0], 20]


@slow
def test_compiled_index_beyond_the_levels_raises_and_is_no_fault(rig: Rig, tmp_path: Path) -> None:
    text = """
        @tickpath.native(state={"sum": 0})
        def tried(event, book, state, orders):
            for i in range(book.bid_count + 20):
                state.sum += book.bids[i].price
        """
    venue, tried = Venue(), Inline(rig, source_of(tmp_path, text))
    go_live(rig, venue)
    tried.follow()
    assert int(tried.row.stopped_by) == RAISED


# ---- what needs no compiler ----------------------------------------------------------------------


def test_event_of_compiled_functions_has_all_fields_in_their_places() -> None:
    flat = flat_event_dtype()
    assert flat.itemsize == event_dtype().itemsize == 56
    assert flat.fields is not None
    places = {name: row[1] for name, row in flat.fields.items()}
    assert (places["type"], places["received_ns"], places["bid"], places["price"]) == (2, 8, 24, 24)
    assert (places["ask_quantity"], places["trade_id"], places["state"]) == (48, 48, 24)


@pytest.mark.parametrize("value", [1 << 63, -(1 << 63) - 1])
def test_state_beyond_64_bits_is_refused_with_its_line(tmp_path: Path, value: int) -> None:
    pytest.importorskip("numba", reason="missing capability: Numba (tickpath[native])")
    text = f"@tickpath.native(state={{'x': {value}}})\ndef tried(e, b, s, o):\n    pass\n"
    told = rf"mine\.py line 5: state x is {value}, expected a whole number of 64 bits"
    with pytest.raises(LocalError, match=told):
        load_native(source_of(tmp_path, text))


@pytest.mark.parametrize(
    ("head", "body", "told"),
    [
        ("def", "yield 1", "it has a yield"),
        ("async def", "pass", "it is async"),
        ("async def", "yield 1", "it is async"),
        ("class", "pass", None),
    ],
)
def test_function_that_would_never_run_is_refused(
    tmp_path: Path, head: str, body: str, told: str | None
) -> None:
    pytest.importorskip("numba", reason="missing capability: Numba (tickpath[native])")
    arguments = "(event, book, state, orders)" if told else ""
    text = f"@tickpath.native\n{head} tried{arguments}:\n    {body}\n"
    match = rf"mine\.py line 5: {told}" if told else "stands over no function"
    with pytest.raises(LocalError, match=match):
        load_native(source_of(tmp_path, text))


@pytest.mark.parametrize("value", ["text", True, None, np.zeros(0), np.array(["a"])])
def test_state_of_something_else_than_numbers_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="expected an int, a float or a numpy array"):
        state_dtype({"x": value})


def test_state_layout_is_aligned_and_never_empty() -> None:
    assert state_dtype({}).itemsize == 8
    layout = state_dtype({"a": np.zeros(3, dtype="u1"), "b": 0.5, "c": 1})
    assert layout.fields is not None
    assert [layout.fields[name][1] for name in "abc"] == [0, 8, 16]


def test_events_are_named() -> None:
    made = native(lambda *_: None, events=("TOP", "TRADE"))
    assert made.events == 1 << EventType.TOP | 1 << EventType.TRADE
    assert native(lambda *_: None).events == lib.TP_STRATEGY_ON_USUAL
    with pytest.raises(ValueError, match="expected names of EventType"):
        native(lambda *_: None, events=("TOPS",))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("tried = 1\n", "tried is no function under @tickpath.native"),
        ("", "tried is not there"),
        ("raise OSError('no')\n", r"mine\.py line 5: OSError: no"),
        ("class tried(tickpath.Strategy): pass\n", "a class, which runs split only"),
    ],
)
def test_file_without_a_native_function_is_refused(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(LocalError, match=told):
        load_native(source_of(tmp_path, text))


def test_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="no such file"):
        load_native(f"{tmp_path}/none.py:tried")


@pytest.mark.parametrize("arguments", ["event, book", "event, book, state, orders, more"])
def test_function_of_other_arguments_is_refused(tmp_path: Path, arguments: str) -> None:
    pytest.importorskip("numba", reason="missing capability: Numba (tickpath[native])")
    text = f"@tickpath.native\ndef tried({arguments}):\n    pass\n"
    with pytest.raises(LocalError, match="expected four: event, book, state, orders"):
        load_native(source_of(tmp_path, text))


def test_missing_numba_is_one_line_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    text = "@tickpath.native\ndef tried(event, book, state, orders):\n    pass\n"
    with pytest.raises(LocalError, match=r"pip install 'tickpath\[native\]'") as told:
        load_native(source_of(tmp_path, text))
    assert "\n" not in str(told.value)


@slow
def test_process_that_may_not_make_code_says_so(tmp_path: Path) -> None:
    pytest.importorskip("numba", reason="missing capability: Numba (tickpath[native])")
    text = "@tickpath.native\ndef tried(event, book, state, orders):\n    pass\n"
    program = (
        "import ctypes, sys\n"
        "ctypes.CDLL(None).prctl(65, 1, 0, 0, 0)  # PR_SET_MDWE, as MemoryDenyWriteExecute= does\n"
        "from tickpath.engine.strategy.native import load_native\n"
        "load_native(sys.argv[1])\n"
    )
    words = [sys.executable, "-P", "-c", program, source_of(tmp_path, text)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    if "may not make machine code" not in done.stderr:  # a kernel before 6.3 has no such prctl
        assert done.returncode == 0, done.stderr
        return
    assert "LocalError" in done.stderr
    assert "MemoryDenyWriteExecute=no" in done.stderr


def test_file_that_others_may_write_is_refused_as_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_of(tmp_path, "")
    Path(source.rpartition(":")[0]).chmod(0o666)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(LocalError, match="others may write it"):
        load_native(source)


def unsafe_as_root(folder: Path, name: str) -> tuple[str, Path]:
    """Return a source, and what beside it is made unsafe."""
    folder.chmod(0o755)
    source = source_of(folder, "class tried(tickpath.Strategy): pass\n")
    unsafe = folder / name
    unsafe.mkdir(exist_ok=True)
    return source, unsafe


@pytest.mark.parametrize("name", [".", "__pycache__"])
def test_file_in_a_sticky_folder_is_refused_as_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    source, unsafe = unsafe_as_root(tmp_path, name)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    if tmp_path.stat().st_uid == 0:  # as another, what it owns is refused before
        with pytest.raises(LocalError, match="a class, which runs split only"):
            load_native(source)
    unsafe.chmod(0o1777)
    told = "others may write .*: move it into a folder that only root may write|owns"
    with pytest.raises(LocalError, match=told):
        load_native(source)
    assert os.fspath(tmp_path) not in sys.path or tmp_path.stat().st_uid == 0


def test_file_behind_a_link_that_changes_is_the_one_that_was_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("good", "bad"):
        (tmp_path / name).mkdir()
    source_of(tmp_path / "good", "class tried(tickpath.Strategy): pass\n")
    source_of(tmp_path / "bad", "raise SystemExit('planted')\n")
    link = tmp_path / "link.py"
    link.symlink_to(tmp_path / "good" / "mine.py")

    def swap(path: Path) -> None:
        assert path == tmp_path / "good" / "mine.py"
        link.unlink()
        link.symlink_to(tmp_path / "bad" / "mine.py")

    monkeypatch.setattr("tickpath.engine.strategy.native.check_writers", swap)
    with pytest.raises(LocalError, match="a class, which runs split only"):
        load_native(f"{link}:tried")


def test_parameter_of_a_declared_state_replaces_its_beginning(tmp_path: Path) -> None:
    pytest.importorskip("numba", reason="missing capability: Numba (tickpath[native])")
    text = """
        @tickpath.native(state={"a": np.arange(2.0), "n": 5, "x": 0.25})
        def tried(event, book, state, orders):
            pass
        """
    loaded = load_native(source_of(tmp_path, text))
    assert loaded.fields() == {"n": (1, 16), "x": (2, 24)}
    state = make_state(loaded, {"x": 0.75})
    assert np.frombuffer(ffi.buffer(state)[0:32], dtype="f8")[[0, 1, 3]].tolist() == [0, 1, 0.75]
    assert ffi.cast("int64_t *", state)[2] == 5
    with pytest.raises(LocalError, match="parameter x is too large"):
        make_state(loaded, {"x": 10**400})
