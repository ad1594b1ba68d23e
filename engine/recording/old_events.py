"""Events of recordings of version 1, which hold them in shared memory's layout 1.

Called by: export.py. `from_layout_1` gives them in today's layout: the same numbers, and the scale
that the file's header names. docs/recording.md has the bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from tickpath.engine.recording.replayer import replay_event_dtype

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tickpath.engine.recording.format import Meta

LAYOUT_1: Final = np.dtype(
    [
        ("index", "<u8"),
        ("instrument", "<u4"),
        ("type", "<u2"),
        ("flags", "<u2"),
        ("received_ns", "<u8"),
        ("published_ns", "<u8"),
        ("value", "<i8", (4,)),
    ]
)


def from_layout_1(payload: bytes, meta: Meta) -> NDArray[Any]:
    """Return the events of a block; raises ValueError for one of no instrument or type."""
    old = np.frombuffer(payload, dtype=LAYOUT_1)
    if (old["instrument"] >= len(meta.instruments)).any():
        raise ValueError("an event of no instrument")
    if (old["type"] > 0xFF).any():
        raise ValueError("an event of no type")
    events = np.zeros(len(old), dtype=replay_event_dtype())
    for name in ("index", "instrument", "type", "flags", "received_ns", "published_ns"):
        events[name] = old[name]
    events["u"]["value"] = old["value"]
    rows = meta.instruments
    events["price_exponent"] = np.array([row.price_exponent for row in rows])[old["instrument"]]
    events["quantity_exponent"] = np.array([row.quantity_exponent for row in rows])[
        old["instrument"]
    ]
    events["connection"] = np.array([row.connection for row in rows])[old["instrument"]]
    return events
