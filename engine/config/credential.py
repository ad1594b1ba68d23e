"""Read a secret from where a configuration says it is kept; it is shown nowhere, in no message.

A file must be readable by its owner alone; what the service manager passes on (LoadCredential=) is
in a folder of its own. Nothing is kept: who needs it reads it again, so that a new one holds from
the next use on. Called by: engine/loop/connections.py, engine/feed_handler (the cold thread).
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from tickpath.proto.credential import PLACE_FORM
from tickpath.shm.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tickpath.engine.config.schema import VenueConfig

SIZE_MAX: Final = 1024
FOLDER_VARIABLE: Final = "CREDENTIALS_DIRECTORY"
"""Set by systemd for a unit with LoadCredential=, systemd.exec(5)."""
OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def read_credential(place: str) -> str:
    """Return what is kept there, without the end of its line; raises LocalError, which names it."""
    found = PLACE_FORM.fullmatch(place)
    if found is None:  # what stands here may be a secret itself
        raise LocalError('a credential: expected "file:/PATH", "env:NAME" or "credential:NAME"')
    if found["variable"]:
        text = os.environ.get(found["variable"])
        if text is None:
            raise LocalError(
                f"{place}: not set in the environment of this process: set it before it starts"
            )
        return _checked(place, text.encode(errors="surrogateescape"))
    if found["path"]:
        return _checked(place, _read_file(place, found["path"], is_own=True))
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder:
        raise LocalError(
            f"{place}: this process has no credentials of systemd's: add "
            f"LoadCredential={found['credential']}:/PATH to its unit"
        )
    return _checked(place, _read_file(place, f"{folder}/{found['credential']}", is_own=False))


def _read_file(place: str, path: str, *, is_own: bool) -> bytes:
    """is_own: nobody but us sees to who may read it."""
    try:
        # A FIFO without a writer would hold whoever opens it.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise LocalError(f"{place}: {error.strerror}") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise LocalError(f"{place}: expected a file")
        if is_own and stat.S_IMODE(status.st_mode) & OTHERS:
            mode = f"{stat.S_IMODE(status.st_mode):04o}"
            raise LocalError(
                f"{place}: mode {mode}, so that others than its owner may read or write it: "
                f"chmod 0600 {path}"
            )
        if is_own and status.st_uid not in (0, os.geteuid()):
            raise LocalError(
                f"{place}: belongs to user {status.st_uid}: expected root or ourselves"
            )
        return os.read(descriptor, SIZE_MAX + 1)
    except OSError as error:
        raise LocalError(f"{place}: {error.strerror}") from error
    finally:
        os.close(descriptor)


def _checked(place: str, data: bytes) -> str:
    """Refuse what no header may have: it would be another line of the request."""
    data = data.removesuffix(b"\n").removesuffix(b"\r")
    if not data:
        raise LocalError(f"{place}: is empty")
    if len(data) > SIZE_MAX or not all(0x21 <= byte <= 0x7E for byte in data):
        raise LocalError(
            f"{place}: expected one line of up to {SIZE_MAX} printable characters of ASCII without "
            "a space"
        )
    return data.decode()


def header_lines(headers: Iterable[tuple[str, str]], credentials: Iterable[tuple[str, str]]) -> str:
    """Write the lines of a request: headers, and those whose values are kept elsewhere."""
    read = ((name, read_credential(place)) for name, place in credentials)
    return "".join(f"{name}: {value}\r\n" for name, value in (*headers, *read))


def complaints(venue: VenueConfig) -> list[str]:
    """Say what a venue asks for that cannot be given: each credential that cannot be read, or none.

    Another host than the venue's own, as a simulator's, may let everybody in.
    """
    channels = venue.venue.channels(venue.venue.example_symbol, venue.settings)
    endpoints = {venue.venue.endpoint(one, venue.settings) for one in channels}
    lacks = venue.venue.lacks(venue.settings) if venue.host is None else ""
    found = [lacks] if lacks else []
    for place in sorted({place for one in endpoints for _, place in one.credentials}):
        try:
            read_credential(place)
        except LocalError as error:
            found.append(str(error))
    return found
