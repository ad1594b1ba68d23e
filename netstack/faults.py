"""Faults on purpose, for tests of everything above the link: a spec in words, an injector in C.

Called by transport.py; the dice and the queues are link/fault_injector.c's. The same spec with the
same seed throws the same dice, in the order of the frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tickpath._core import ffi, lib
from tickpath.shm.errors import LocalError, SystemSetupError

REORDER_DELAY_NS = 2_000_000  # later frames overtake within it
FRAME_COUNT = 4096  # a 4 MB window of 1460-byte segments, and what was duplicated
FRAME_SIZE = 1 << 16  # a veth hands over what its peer did not segment
NS_PER_MS = 1_000_000
PERCENTAGES = ("loss", "reorder", "duplicate", "corrupt")
KEYS = (*PERCENTAGES, "delay_ms", "seed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What happens to frames, each way; percentages are of all frames."""

    loss: float = 0.0
    reorder: float = 0.0
    duplicate: float = 0.0
    corrupt: float = 0.0
    delay_ms: float = 0.0
    seed: int = 1


def parse_faults(text: str) -> Faults:
    """Parse "loss=1%,reorder=1%,duplicate=0.5%,corrupt=0.1%,delay_ms=5,seed=7".

    Raises LocalError naming the piece that is wrong.
    """
    values: dict[str, float] = {}
    for piece in text.split(","):
        name, _, value = piece.partition("=")
        if name not in KEYS or name in values:
            raise LocalError(f"faults {text!r}: {piece!r}, expected each of {', '.join(KEYS)} once")
        try:
            number = float(value.removesuffix("%") if name in PERCENTAGES else value)
        except ValueError as error:
            raise LocalError(f"faults {text!r}: {piece!r}, expected a number after =") from error
        limit = 100 if name in PERCENTAGES else 10_000 if name == "delay_ms" else 1 << 53
        if not 0 <= number <= limit or (name == "seed" and number != int(number)):
            raise LocalError(f"faults {text!r}: {piece!r}, expected a number from 0 to {limit}")
        values[name] = number
    seed = int(values.pop("seed", 1))
    return Faults(**values, seed=seed)


def open_injector(link: Any, faults: Faults) -> Any:
    """Wrap a `struct tp_link *`, borrowed for the life of the self-freeing injector returned."""
    config = ffi.new("struct tp_fault_config *")
    config.seed, config.frame_count, config.frame_size = faults.seed, FRAME_COUNT, FRAME_SIZE
    for profile in (config.rx, config.tx):
        for name in PERCENTAGES:
            setattr(profile, name, round(getattr(faults, name) * lib.TP_FAULT_CERTAIN / 100))
        profile.delay_ns = int(faults.delay_ms * NS_PER_MS)
        profile.reorder_delay_ns = REORDER_DELAY_NS
    injector = lib.tp_fault_injector_create(link, config)
    if injector == ffi.NULL:
        raise SystemSetupError("out of memory for the fault injector's frames")
    if faults.corrupt > 0:
        # Damage must meet the checksum that a wire would have carried.
        lib.tp_fault_injector_link(injector).partial_checksums = False
    return ffi.gc(injector, lib.tp_fault_injector_destroy)
