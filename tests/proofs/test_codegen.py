"""Read the machine code of ring and snapshot table: every ordering there, and none that costs.

On x86-64 loads and stores are ordered by the machine, so no fence and no locked instruction may
appear, and the compiler must have kept the stores in the protocol's order. On aarch64 each ordering
is an instruction: dmb ish (release fence), dmb ishld (acquire fence), stlr, ldar.
Source: Arm Architecture Reference Manual, B2.3; Intel SDM volume 3A, 8.2.2.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PAYLOAD = [8 * (i + 1) for i in range(7)]
X86_COMPILERS = {
    "gcc -O2": ["gcc", "-O2"],
    "gcc -O3": ["gcc", "-O3"],
    "clang -O2": ["clang-14", "-O2", "--target=x86_64-linux-gnu"],
}
AARCH64 = ["clang-14", "-O2", "--target=aarch64-linux-gnu", "-ffreestanding"]

pytestmark = pytest.mark.needs("clang")


def instructions(compiler: list[str], source: Path, function: str) -> list[str]:
    """Return a function's instructions, one string each, without labels and directives."""
    words = [*compiler, "-std=c11", "-S", f"-I{ROOT}", f"-I{HERE / 'freestanding'}", "-o", "-"]
    text = subprocess.run([*words, source], capture_output=True, text=True, check=True).stdout
    body = re.search(rf"^{function}:.*?\n(.*?)^\s*\.size\s+{function},", text, re.S | re.M)
    assert body, f"{function} is not in the assembly of {source}"
    lines = (re.sub(r"\s+", " ", line.partition("//")[0]).strip() for line in body[1].splitlines())
    return [line for line in lines if line and not line.startswith((".", "#")) and ":" not in line]


def aarch64_order(lines: list[str], base: str) -> list[str | int]:
    """Return fences, and accesses through the register `base` as offsets, in program order.

    A release store or an acquire load is told by its own name.
    """
    order: list[str | int] = []
    for line in lines:
        if line.startswith("dmb"):
            order.append(line)
        elif match := re.match(r"(stlr|ldar)\b.*\[(\w+)\]$", line):
            order.append(match[1])
        elif match := re.match(rf"(?:str|ldr) \w+, \[{base}(?:, #(\d+))?\]$", line):
            order.append(int(match[1] or 0))
    return order


def slot_register(lines: list[str]) -> str:
    """Return the register with the slot's address: index & mask, shifted by 64-byte slots."""
    (found,) = (line for line in lines if line.startswith("add") and line.endswith("lsl #6"))
    return found.split()[1].rstrip(",")


def test_ring_publish_on_aarch64_has_each_ordering_in_its_place() -> None:
    lines = instructions(AARCH64, HERE / "codegen.c", "publish")
    order = aarch64_order(lines, slot_register(lines))
    assert order == [0, "dmb ish", *PAYLOAD, "stlr", "stlr"]


def test_ring_read_on_aarch64_has_each_ordering_in_its_place() -> None:
    lines = instructions(AARCH64, HERE / "codegen.c", "take")
    order = aarch64_order(lines, slot_register(lines))
    assert order == ["ldar", *PAYLOAD, "dmb ishld", 0]


def test_snapshot_table_on_aarch64_has_each_ordering_in_its_place() -> None:
    source = ROOT / "shm" / "snapshot_table.c"
    order = {"dmb", "stlr", "ldar"}

    def orderings(function: str) -> list[str]:
        lines = instructions(AARCH64, source, function)
        return [
            line if line.startswith("dmb") else line.split()[0]
            for line in lines
            if line.split()[0] in order
        ]

    assert orderings("tp_snapshot_publish") == ["dmb ish", "stlr", "stlr"]
    # A loop: the compiler may lay it out from the middle on.
    assert sorted(orderings("tp_snapshot_read")) == ["dmb ishld", "ldar", "ldar"]


@pytest.mark.parametrize("compiler", X86_COMPILERS)
@pytest.mark.parametrize(
    ("source", "function"),
    [
        (HERE / "codegen.c", "publish"),
        (HERE / "codegen.c", "take"),
        (ROOT / "shm" / "snapshot_table.c", "tp_snapshot_publish"),
        (ROOT / "shm" / "snapshot_table.c", "tp_snapshot_read"),
    ],
)
def test_code_on_x86_64_has_no_fence_and_nothing_locked(
    compiler: str, source: Path, function: str
) -> None:
    lines = instructions(X86_COMPILERS[compiler], source, function)
    costly = [line for line in lines if re.match(r"(lock|[mls]fence|xchg|cmpxchg|xadd)", line)]
    assert costly == []


@pytest.mark.parametrize("compiler", X86_COMPILERS)
def test_ring_publish_on_x86_64_stores_in_the_order_of_the_protocol(compiler: str) -> None:
    lines = instructions(X86_COMPILERS[compiler], HERE / "codegen.c", "publish")
    stores = [
        (match[2], match[1])
        for line in lines
        if (match := re.match(r"mov\w* [%$]\w+, (\d*)\((%\w+)", line)) and match[2] != "%rdi"
    ]
    slot, head = stores[0][0], stores[-1]
    assert stores[0] == (slot, "")  # the odd mark first
    assert stores[-2] == (slot, "")  # whole: after all of the payload
    payload = stores[1:-2]
    assert payload
    assert all(register == slot and offset != "" for register, offset in payload)
    assert head[1] == ""
