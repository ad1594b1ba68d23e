"""Where a secret is kept, as a configuration names it: the place stands there, never the secret.

"file:/PATH", "env:NAME", or "credential:NAME" of the service manager. Pure: whoever needs the
secret reads it (engine/config/credential.py). Called by: settings of venues.
"""

from __future__ import annotations

import re
from typing import Final

PLACE_FORM: Final = re.compile(
    r"(?P<kind>file):(?P<path>/[^\0]{1,4095})"
    r"|env:(?P<variable>[A-Za-z_][A-Za-z0-9_]{0,254})"
    r"|credential:(?P<credential>[A-Za-z0-9_][A-Za-z0-9_.-]{0,254})"
)


def check_place(key: str, place: str) -> None:
    """Raise ValueError where a key's value names no place; it may be a secret, and is not shown."""
    if not PLACE_FORM.fullmatch(place):
        raise ValueError(
            f'{key} names no place: expected "file:/PATH", "env:NAME" or "credential:NAME"; what '
            "is kept there never stands in a configuration"
        )
