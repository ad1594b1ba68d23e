"""CPU masks as the kernel writes them: hexadecimal words of 32 bits, "00000000,0000000f".

Called by: rt.reading, rt.catalogue. Calls: rt.limits. Source: lib/bitmap-str.c (bitmap_parse),
Documentation/core-api/irq/irq-affinity.rst.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tickpath.rt.limits import CPU_NUMBER_MAX

if TYPE_CHECKING:
    from collections.abc import Collection

WORD_BITS = 32
MASK = re.compile(r"[0-9a-fA-F]{1,8}(?:,[0-9a-fA-F]{1,8})*")


def parse_cpu_mask(text: str) -> tuple[int, ...]:
    """Parse a mask into sorted CPU numbers. Raises ValueError naming what is wrong."""
    stripped = text.strip()
    if not MASK.fullmatch(stripped):
        raise ValueError(
            f"{text!r} is no CPU mask: expected hexadecimal words of up to 8 digits between "
            'commas, as in "00000000,0000000f"'
        )
    bits = 0
    for word in stripped.split(","):
        bits = bits << WORD_BITS | int(word, 16)
    if bits.bit_length() > CPU_NUMBER_MAX + 1:
        raise ValueError(f"CPU {bits.bit_length() - 1} in a mask: at most {CPU_NUMBER_MAX}")
    return tuple(cpu for cpu in range(bits.bit_length()) if bits >> cpu & 1)


def format_cpu_mask(cpus: Collection[int]) -> str:
    """Write CPU numbers as a mask, unpadded: the inverse of parse_cpu_mask."""
    bits = sum(1 << cpu for cpu in set(cpus))
    words = [f"{bits & 0xFFFFFFFF:x}"]
    while bits := bits >> WORD_BITS:
        words[0] = words[0].rjust(8, "0")
        words.insert(0, f"{bits & 0xFFFFFFFF:x}")
    return ",".join(words)
