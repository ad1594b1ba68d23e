"""The old name of tickpath.engine.client.reader, for one version: it warns, and hands all over."""

from __future__ import annotations

import warnings

from tickpath.engine.client.reader import *  # noqa: F403 # all that it has, by its __all__
from tickpath.engine.client.reader import __all__  # noqa: F401 - the same list of names

warnings.warn(
    "tickpath.engine.reader is now tickpath.engine.client.reader: import from there; the next "
    "version has the new name alone",
    DeprecationWarning,
    stacklevel=2,
)
