"""A venue is one folder: nothing else in the product names one.

A name counts wherever it stands in a word, as in `tp_mexc_route` or `MexcFeed`.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tickpath.proto.venues import venue_names

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("engine", "netstack", "rt", "shm")
VENUES_OWN = ("engine/sim/venues/", "engine/bench/venues/")
SUFFIXES = frozenset({".py", ".pyi", ".c", ".h", ".cdef", ".build", ".toml"})
# As configurations and documents call them; those of folders to come are banned already.
NAMES = (
    *("mexc", "binance", "gate", "okx", "bybit", "kraken", "coinbase", "kucoin", "bitget", "htx"),
    *("binance_sbe", "binance_usdm", "bitget_usdt", "bybit_linear", "gate_usdt"),
    *("deribit", "hyperliquid", "toy"),
)
# "gate" is a word of ours: only names that carry it as a venue's are found.
WORDS = {
    "gate": r"gate_?io|tp_gate_venue|venues?[/.]gate|[\"']gate[\"']",
    "toy": r"(?<![a-z])toy",  # not that of "destroy"
}


def naming(root: Path) -> dict[str, str]:
    """Return the first venue that each file of the rooms names."""
    pattern = re.compile("|".join(WORDS.get(name, name) for name in NAMES), re.IGNORECASE)
    found = {}
    for room in ROOMS:
        for path in sorted((root / room).rglob("*")):
            place = path.relative_to(root).as_posix()
            if path.suffix not in SUFFIXES or place.startswith(VENUES_OWN):
                continue
            match = pattern.search(f"{place}\n{path.read_text()}")
            if match is not None:
                found[place] = match[0]
    return found


def test_venue_is_named_by_its_folder_only() -> None:
    found = naming(ROOT)
    assert not found, (
        "these name a venue; ask the Venue object (proto/venue.py) or struct tp_venue instead, or "
        f"move it to proto/venues/<name>: {found}"
    )


def test_venue_folders_are_all_known_here() -> None:
    assert set(venue_names()) <= set(NAMES)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("engine/x.py", "from tickpath.proto.venues.mexc import requests\n"),
        ("engine/x.py", '"""Asks MEXC."""\n'),
        ("engine/feed/x.c", "tp_mexc_route(a);\n"),
        ("engine/x.py", "class MexcFeed:\n"),
        ("engine/mexc.py", "\n"),
        ("rt/x.py", 'venue = "gate"\n'),
        ("shm/x.h", "/* OKX's */\n"),
        ("engine/x.c", "&tp_venue_toy;\n"),
    ],
)
def test_venue_planted_name_is_found(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert list(naming(tmp_path)) == [name]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("engine/x.py", "self.hot.gate = gate  # the ring's\n"),
        ("engine/sim/venues/mexc.py", "# MEXC\n"),
        ("engine/bench/venues/mexc/decode.c", "tp_mexc_route(a);\n"),
        ("proto/venues/mexc/decode.c", "tp_mexc_route(a);\n"),
        ("netstack/x.c", "session_destroy(a);\n"),
    ],
)
def test_venue_allowed_text_is_not_found(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert naming(tmp_path) == {}
