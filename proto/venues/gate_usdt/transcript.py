"""Gate's messages as others record them: those of ../gate."""

from __future__ import annotations

from tickpath.proto.venues.gate.transcript import TRANSCRIPT

__all__ = ["TRANSCRIPT"]
