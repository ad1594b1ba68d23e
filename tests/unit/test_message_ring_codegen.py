"""Read the machine code of the message ring: every ordering there, and none that costs.

As for the ring below it: on x86-64 no fence and nothing locked; on aarch64 each ordering is an
instruction of its own (Arm Architecture Reference Manual, B2.3).
"""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "shm" / "message_ring.c"
X86_COMPILERS = {
    "gcc -O2": ["gcc", "-O2"],
    "gcc -O3": ["gcc", "-O3"],
    "clang -O2": ["clang-14", "-O2", "--target=x86_64-linux-gnu"],
}
AARCH64 = ["clang-14", "-O2", "--target=aarch64-linux-gnu", "-ffreestanding"]
# What the C library's headers would say: there are none for aarch64 here.
HEADERS = {
    "string.h": "void *memcpy(void *, const void *, unsigned long);\n",
    "assert.h": "#define assert(x) ((void)(x))\n#define static_assert _Static_assert\n",
}

pytestmark = pytest.mark.needs("clang")


def instructions(words: list[str], function: str) -> list[str]:
    command = [*words, "-std=c11", "-S", f"-I{ROOT}", "-o", "-", str(SOURCE)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    body = re.search(rf"^{function}:.*?\n(.*?)^\s*\.size\s+{function},", text, re.S | re.M)
    assert body, f"{function} is not in the assembly"
    return [re.sub(r"\s+", " ", line).strip() for line in body[1].splitlines()]


@pytest.mark.parametrize("compiler", X86_COMPILERS)
@pytest.mark.parametrize("function", ["tp_message_publish", "tp_message_drain"])
def test_message_ring_on_x86_64_has_no_fence_and_nothing_locked(
    compiler: str, function: str
) -> None:
    lines = instructions(X86_COMPILERS[compiler], function)
    assert len(lines) > 20
    assert [x for x in lines if re.match(r"(lock|[mls]fence|xchg|cmpxchg|xadd)", x)] == []


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        # The odd mark's fence; a slot made whole, and head behind the run.
        ("tp_message_publish", {"dmb ish": 1, "stlr": 2}),
        # A slot's sequence and, after a lap, head; the fence before the second look.
        ("tp_message_drain", {"dmb ishld": 1, "ldar": 2}),
    ],
)
def test_message_ring_on_aarch64_has_each_ordering(
    tmp_path: Path, function: str, expected: dict[str, int]
) -> None:
    for name, text in HEADERS.items():
        (tmp_path / name).write_text(text)
    lines = instructions([*AARCH64, f"-isystem{tmp_path}"], function)
    found = Counter(
        line if line.startswith("dmb") else line.split()[0]
        for line in lines
        if line.startswith(("dmb", "stlr", "ldar", "ldapr"))
    )
    assert set(found) == set(expected)
    # More where the compiler unrolled a loop.
    assert all(found[name] >= least for name, least in expected.items())
