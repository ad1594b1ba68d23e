"""The old name of tickpath.engine.client.feeds, for one version: it warns, and hands all over."""

from __future__ import annotations

import warnings

from tickpath.engine.client.feeds import *  # noqa: F403 # all that it has, by its __all__
from tickpath.engine.client.feeds import __all__  # noqa: F401 - the same list of names

warnings.warn(
    "tickpath.engine.feeds is now tickpath.engine.client.feeds: import from there; the next "
    "version has the new name alone",
    DeprecationWarning,
    stacklevel=2,
)
