"""Bybit's messages as others record them: those of ../bybit."""

from __future__ import annotations

from tickpath.proto.venues.bybit.transcript import TRANSCRIPT

__all__ = ["TRANSCRIPT"]
