"""Every ordering of an atomic access or a fence is listed, with the proof that it suffices.

orders.toml has a table for each function of the product that orders memory: what it does, in order,
and which model check, code check or sanitizer holds it. An ordering that is weakened, dropped or
added differs from the list, whatever the machine that the tests run on; x86-64 hides most.
Relaxed accesses order nothing and are not listed. A membarrier(2) is a fence in every thread.

Each listed function is also compiled for aarch64, where an ordering is an instruction of its own:
what the source asks for is in the machine code. Source: Arm Architecture Reference Manual, B2.3.
"""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections import Counter
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ROOMS = ("proto", "shm", "netstack", "engine")
# The benchmarks' extension is no part of the product's path.
LEFT_OUT = ("engine/bench/", "shm/atomic")  # and the names of C11 for C++
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)
FUNCTION = re.compile(r"^(?!typedef|else|do)\w[^;{}=()]*?\b(\w+)\s*\([^;{}]*\)\s*\{", re.M)
CALL = re.compile(r"\b(atomic_\w+|membarrier)\s*\(")
ORDER = re.compile(r"memory_order_(\w+)")


def arguments(text: str, start: int) -> str:
    """Return what stands between the parenthesis at `start` and its partner."""
    depth = 0
    for at in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        if depth == 0:
            return text[start + 1 : at]
    raise AssertionError("a parenthesis is not closed")


def operations(body: str) -> list[str]:
    """Return what a function's body orders, as `store release slot->sequence`."""
    found = []
    for call in CALL.finditer(body):
        inside = arguments(body, call.end() - 1)
        orders = [one for one in ORDER.findall(inside) if one != "relaxed"]
        name = call[1].removeprefix("atomic_").removesuffix("_explicit")
        if name in {"thread_fence", "signal_fence"}:
            found.append(f"{name} {orders[0]}")
        elif name == "membarrier":
            found.append(f"membarrier {inside.removeprefix('MEMBARRIER_CMD_').lower()}")
        elif name == "init":
            continue
        elif not call[1].endswith("_explicit"):
            found.append(f"{name} seq_cst by default")
        elif orders:
            what = re.sub(r"\s+", "", inside.split(",")[0]).lstrip("&")
            found.append(f"{name} {'/'.join(orders)} {what}")
    return found


def functions(text: str) -> dict[str, list[str]]:
    """Return the functions of a C file that order memory."""
    code = COMMENT.sub(" ", text)
    starts = list(FUNCTION.finditer(code))
    ends = [*(one.start() for one in starts[1:]), len(code)]
    found = {
        one[1]: operations(code[one.end() : end])
        for one, end in zip(starts, ends[: len(starts)], strict=True)
    }
    assert not operations(code[: starts[0].start() if starts else len(code)]), "not in a function"
    return {name: orders for name, orders in found.items() if orders}


def in_the_tree() -> dict[str, list[str]]:
    """Return `file:function` and its orderings, for all of the product."""
    return {
        f"{path.relative_to(ROOT)}:{name}": orders
        for room in ROOMS
        for path in sorted((ROOT / room).rglob("*.[ch]"))
        if not str(path.relative_to(ROOT)).startswith(LEFT_OUT)
        for name, orders in functions(path.read_text()).items()
    }


def listed() -> dict[str, dict[str, list[str] | str]]:
    return tomllib.loads((HERE / "orders.toml").read_text())


def test_orderings_are_those_that_are_listed() -> None:
    expected = {name: entry["orders"] for name, entry in listed().items()}
    assert in_the_tree() == expected, (
        "tests/proofs/orders.toml lists each ordering: change it, and the model that holds it, too"
    )


def test_orderings_name_a_proof_that_exists() -> None:
    for name, entry in listed().items():
        proofs = entry["held_by"]
        assert isinstance(proofs, list)
        assert proofs, f"{name}: held by nothing"
        for proof in proofs:
            assert (ROOT / proof).is_file(), f"{name}: {proof} is not there"


def test_orderings_outside_of_explicit_calls_are_found() -> None:
    text = """
static int take(struct box *box)
{
    /* atomic_load_explicit(&box->old, memory_order_acquire) */
    if (atomic_load_explicit(&box->ready, memory_order_acquire) == 0)
        return atomic_load(&box->other);
    atomic_thread_fence(memory_order_release);
    atomic_store_explicit(&box->count, 1, memory_order_relaxed);
    return membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
}
"""
    assert functions(text) == {
        "take": [
            "load acquire box->ready",
            "load seq_cst by default",
            "thread_fence release",
            "membarrier private_expedited",
        ]
    }


# Of one operation, the instructions that it becomes: an exclusive pair for what reads and writes.
INSTRUCTIONS: dict[str, dict[str, list[str]]] = {
    "load": {"acquire": ["ldar"], "seq_cst": ["ldar"]},
    "store": {"release": ["stlr"], "seq_cst": ["stlr"]},
    "thread_fence": {"release": ["dmb ish"], "seq_cst": ["dmb ish"], "acquire": ["dmb ishld"]},
    "signal_fence": {"seq_cst": []},
    "membarrier": {"register_private_expedited": [], "private_expedited": []},  # the kernel's
    "update": {
        "acquire": ["ldaxr"],
        "release": ["stlxr"],
        "acq_rel": ["ldaxr", "stlxr"],
        "seq_cst": ["ldaxr", "stlxr"],
    },
}
AARCH64 = [
    *["clang-14", "-std=c11", "-D_GNU_SOURCE", "-O1", "-fno-inline", "-mno-outline-atomics", "-S"],
    *["--target=aarch64-linux-gnu", f"-isystem{HERE / 'aarch64'}"],
    *["-isystem/usr/include/x86_64-linux-gnu", "-D__regparm__(n)=", f"-I{ROOT}", "-o", "-"],
]


def expected_instructions(orders: list[str]) -> Counter[str]:
    """Return what must stand in a function's machine code at least."""
    found: Counter[str] = Counter()
    for order in orders:
        name, kind, *_ = order.split()
        kinds = INSTRUCTIONS[name if name in INSTRUCTIONS else "update"]
        found.update(kinds[kind.split("/")[0]])
    return found


def machine_code(path: str, names: list[str], folder: Path) -> str:
    """Compile one file; of a header, the functions that are named."""
    source = ROOT / path
    if path.endswith(".h"):
        kept = ", ".join(f"(void *){name}" for name in names)
        source = folder / "kept.c"
        source.write_text(f'#include "{path}"\nvoid *const kept[] = {{{kept}}};\n')
    return subprocess.run([*AARCH64, source], capture_output=True, text=True, check=True).stdout


@pytest.mark.needs("clang")
@pytest.mark.parametrize("path", sorted({name.split(":")[0] for name in listed()}))
def test_orderings_are_in_the_machine_code_of_aarch64(path: str, tmp_path: Path) -> None:
    wanted = {
        name.split(":")[1]: expected_instructions(list(entry["orders"]))
        for name, entry in listed().items()
        if name.split(":")[0] == path
    }
    text = machine_code(path, list(wanted), tmp_path)
    for name, expected in wanted.items():
        body = re.search(rf"^{name}:.*?\n(.*?)^\s*\.size\s+{name},", text, re.S | re.M)
        assert body, f"{name} is not in the assembly of {path}"
        lines = (
            re.sub(r"\s+", " ", line.partition("//")[0]).strip() for line in body[1].split("\n")
        )
        found = Counter(
            line if line.startswith("dmb") else re.split(r"[bh]? ", line)[0] for line in lines
        )
        for instruction, count in expected.items():
            assert found[instruction] >= count, f"{name}: {instruction}"
