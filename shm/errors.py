"""Who is to blame: one exception class per guilty party, told in one line by the command line.

They lie in shm because netstack and engine may both import it. Called by: netstack, engine.
"""

from __future__ import annotations


class LocalError(Exception):
    """Say that our side asked for the impossible: a wrong argument, configuration or file."""


class RemoteError(Exception):
    """Say that the peer, or the path to it, failed: refused, reset, bad certificate or bytes."""


class SystemSetupError(Exception):
    """Say that this machine lacks a privilege, a device, a kernel feature or a setting."""
