"""What goes wrong for a reason that a person can mend; each names the value and the remedy.

Called by: all of rt. Calls: nothing.
"""

from __future__ import annotations


class RequestError(Exception):
    """What was asked for cannot be: a CPU list with a hole, a NIC that is not there. Status 2."""


class HostError(Exception):
    """This machine lacks something: root, a writable /sys, a package. Status 3."""
