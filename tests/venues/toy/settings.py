"""The toy's own keys in the configuration's [[venue]] section."""

from __future__ import annotations

from tickpath.proto.venue import Settings


class ToySettings(Settings, frozen=True):
    """None: it has one kind of book."""
