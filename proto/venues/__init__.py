"""One folder a venue: its wire schema, its decoder, its requests, and `venue.py` with its `VENUE`.

`venue_names` lists the folders, `load_venue` imports one: who asks for one pays for one. Folders
outside of the tree, as many as TICKPATH_VENUES names, are searched as well.
"""

from __future__ import annotations

import difflib
import os
import pkgutil
import sys
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tickpath.proto.instrument import Symbol, find_instrument, is_canonical, parse_symbol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tickpath.proto.instrument import Instrument
    from tickpath.proto.venue import Venue

DEFAULT_NAME: Final = "mexc"
"""The venue of a configuration that names none, and of examples in help."""
QUOTES: Final = ("USDT", "USDC", "USD", "EUR", "BTC", "ETH")
FOLDERS_VARIABLE: Final = "TICKPATH_VENUES"
"""Folders of venues outside of the tree, separated as in PATH; what lies there is run."""
REFUSED: Final = {
    "coinbase_exchange": (
        "nothing on its public channel of books (level2_batch) shows a lost message, neither a "
        "number nor a checksum, so that no book of it could be LIVE: use coinbase, which numbers "
        "its messages, for the same products (docs/adr/0017-coinbase-exchange.md)"
    ),
}
"""Venues that are left out on purpose, and why, with what to use instead."""


def _find_outside() -> None:
    """Have Python search the folders of the environment behind our own, which wins."""
    for folder in os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep):
        if folder and folder not in __path__:
            __path__.append(folder)


@cache
def venue_names() -> tuple[str, ...]:
    """Return the known venues' names, without importing any."""
    _find_outside()
    folders = sorted(one.name for one in pkgutil.iter_modules(__path__) if one.ispkg)
    return tuple(name for name in folders if find_spec(f"{__name__}.{name}.venue") is not None)


def why_refused(name: object) -> str:
    """Return why a venue is left out on purpose; "" of all others.

    One of that name outside of the tree is its owner's to believe.
    """
    return "" if name in venue_names() or not isinstance(name, str) else REFUSED.get(name, "")


@cache
def load_venue(name: str) -> Venue:
    """Import one venue; raises ValueError, which lists the known, for a name of none."""
    known = venue_names()
    if reason := why_refused(name):
        raise ValueError(f"venue {name!r} is refused: {reason}")
    if name not in known:
        close = difflib.get_close_matches(name.lower(), known, n=1)
        hint = f": did you mean {close[0]}?" if close else ""
        raise ValueError(f"venue {name!r}: expected one of {', '.join(known)}{hint}")
    venue: Venue = import_module(f"{__name__}.{name}.venue").VENUE
    return venue


def venue_folder(name: str) -> Path:
    """Return where a known venue's Python files are; raises ValueError for a name of none."""
    return Path(sys.modules[type(load_venue(name)).__module__].__file__ or "").parent


def venue_symbol(venue: str, name: Symbol) -> str | None:
    """Write a canonical name as a venue does; None for a venue that is not known here."""
    return load_venue(venue).venue_symbol(name) if venue in venue_names() else None


def resolve_symbol(venue: Venue, text: str) -> str:
    """Return the venue's own name of a symbol, without its list; raises ValueError for none.

    A name that only the list can tell is found by `find_symbol` once that is there.
    """
    if not is_canonical(text):
        venue.check_symbol(text)
        return text
    symbol = venue.venue_symbol(parse_symbol(text))
    if symbol is None:
        kind = parse_symbol(text).kind.value
        raise ValueError(f"{venue.title} lists nothing of this kind ({kind})")
    venue.check_symbol(symbol)
    return symbol


def pair_symbol(venue: Venue, pair: Symbol) -> str:
    """Return the venue's own name of a pair: spot, else the contract settled in its quote or base.

    Where it lists neither, a contract that is quoted and settled in something else. For what runs
    over every venue, whatever each lists. Raises ValueError where there is none.
    """
    own = [(pair.quote, settle) for settle in (pair.settle, pair.quote, pair.base)]
    for quote, settle in dict.fromkeys([*own, *((one, one) for one in QUOTES)]):
        symbol = venue.venue_symbol(Symbol(pair.base, quote, settle))
        if symbol is not None:
            return symbol
    raise ValueError(f"{venue.title} lists nothing of {pair}")


def name_symbol(venue: Venue, text: str) -> Symbol:
    """Return the canonical name that a venue's symbol most likely is, without its list.

    For simulations: of quotes in the order of their use, the first that the venue would write so.
    Raises ValueError where none is.
    """
    for quote in QUOTES:
        for size in range(1, len(text) + 1):  # a coin alone may be its name
            base = text[:size]
            for settle in ("", quote, base):
                for name in (Symbol(base, quote, settle), Symbol(base.upper(), quote, settle)):
                    if venue.venue_symbol(name) == text:
                        return name
    raise ValueError(f"symbol {text!r}: expected one quoted in {', '.join(QUOTES)}")


def find_symbol(instruments: Iterable[Instrument], text: str) -> Instrument:
    """Return the instrument that `text` names, BTCUSDT or BTC/USDT alike; raises ValueError."""
    return find_instrument(instruments, text, venue_symbol)
