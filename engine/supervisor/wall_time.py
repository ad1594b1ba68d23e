"""A moment as people read it: date, time and time zone of this host. Called by: what logs."""

from __future__ import annotations

from datetime import datetime


def wall_time(unix_s: float) -> str:
    """Write seconds of UNIX time as 2026-11-30T06:55:01.123+00:00 (RFC 3339), in local time."""
    return datetime.fromtimestamp(unix_s).astimezone().isoformat(timespec="milliseconds")
