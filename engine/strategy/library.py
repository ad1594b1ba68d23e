"""A strategy in C: a shared library that is opened once it is seen that only we could write it.

Called by: native.py. Calls: the dynamic loader. What the library exports is a `struct tp_strategy`
(tickpath-strategy.h).
"""

from __future__ import annotations

import ctypes
import os
import stat
from typing import TYPE_CHECKING, Any

from tickpath._core import ffi, lib
from tickpath.proto.records import RECORDS_VERSION
from tickpath.shm.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ABI = int(lib.TP_STRATEGY_ABI)
OTHERS = stat.S_IWGRP | stat.S_IWOTH


def check_writers(path: Path, *, owner_is_believed: bool = False) -> None:
    """Refuse, as root, code that somebody else could write or put another in the place of.

    `owner_is_believed`: the command line named it, as in `sudo python3 file.py`; what is refused
    then is only what anybody may write. Raises LocalError naming the file or folder, and what
    makes it fit.
    """
    if os.geteuid() != 0:
        return
    imports: tuple[Path, ...] = ()
    if (
        path.suffix == ".py"
    ):  # its folder comes on the path: what anybody puts there may be imported
        cache = path.parent / "__pycache__"
        imports = (path.parent, cache) if cache.exists() else (path.parent,)
    for one in (path, *path.parents, *imports[1:]):
        status = one.stat()
        is_folder = stat.S_ISDIR(status.st_mode)
        # In a sticky folder nobody moves what is another one's: /tmp.
        is_sticky = is_folder and bool(status.st_mode & stat.S_ISVTX)
        others = stat.S_IWOTH if owner_is_believed else OTHERS
        may_others = status.st_mode & others and (not is_sticky or one in imports)
        if may_others or (status.st_uid != 0 and not owner_is_believed):
            who = "others may write" if may_others else f"user {status.st_uid} owns"
            remedy = f"chmod go-w {one}"
            if not owner_is_believed:
                remedy = f"chown root {one} && {remedy}"
            if is_sticky:
                remedy = "move it into a folder that only root may write"
            raise LocalError(
                f"{path}: {who} {one if one != path else 'it'}, and it would run as root: "
                f"{remedy}, or run as an ordinary user"
            )


def open_library(path: Path, symbol: str) -> tuple[Any, Any]:
    """Return the library, to be kept, and its `const struct tp_strategy *`.

    Raises LocalError where it is not there, not ours alone, no such library, or of another version.
    """
    where = f"strategy {path}:{symbol}"
    try:
        whole = path.resolve(strict=True)
        whole.open("rb").close()
    except OSError as error:
        raise LocalError(
            f"{where}: {error.strerror}: expected a readable shared library"
        ) from error
    check_writers(whole)
    try:
        library = ctypes.CDLL(os.fspath(whole), mode=os.RTLD_NOW | os.RTLD_LOCAL)
    except OSError as error:
        why = error.strerror or error
        raise LocalError(f"{where}: not a library that can be loaded: {why}") from error
    try:
        address = ctypes.addressof(ctypes.c_char.in_dll(library, symbol))
    except ValueError as error:
        raise LocalError(
            f"{where}: no such symbol: expected an exported `const struct tp_strategy {symbol}`"
        ) from error
    strategy = ffi.cast("const struct tp_strategy *", address)
    for complaint in _complaints(strategy):
        raise LocalError(f"{where}: {complaint}")
    return library, strategy


def _complaints(strategy: Any) -> Iterator[str]:
    """Say what is wrong with it; nothing behind a wrong version is looked at."""
    if strategy.magic != lib.TP_STRATEGY_MAGIC:
        yield "not a struct tp_strategy: expected magic = TP_STRATEGY_MAGIC"
    elif strategy.abi != ABI:
        yield (
            f"built for version {strategy.abi} of the strategy interface, expected {ABI}: compile "
            "it again with this version's tickpath-strategy.h"
        )
    elif strategy.records_version != RECORDS_VERSION:
        yield (
            f"built for version {strategy.records_version} of the records, expected "
            f"{RECORDS_VERSION}: compile it again with this version's proto/records.h"
        )
    elif strategy.on_event == ffi.NULL:
        yield "on_event is NULL, expected a function"
    elif strategy.events == 0:
        yield "it wants no event: expected events = TP_STRATEGY_ON_USUAL, or TP_STRATEGY_ON(...)"
    elif strategy.state_size > lib.TP_STRATEGY_STATE_SIZE_MAX:
        yield (
            f"a state of {strategy.state_size} bytes, expected at most "
            f"{lib.TP_STRATEGY_STATE_SIZE_MAX}"
        )
    elif strategy.field_count > lib.TP_STRATEGY_FIELDS_MAX:
        yield f"{strategy.field_count} fields, expected at most {lib.TP_STRATEGY_FIELDS_MAX}"
    else:
        yield from _field_complaints(strategy)


def _field_complaints(strategy: Any) -> Iterator[str]:
    for index in range(strategy.field_count):
        field = strategy.fields[index]
        if field.name == ffi.NULL or not ffi.string(field.name):
            yield f"field {index} has no name"
        elif field.kind not in (lib.TP_STRATEGY_INT64, lib.TP_STRATEGY_FLOAT64):
            yield f"field {index} is of kind {field.kind}, expected TP_STRATEGY_INT64 or _FLOAT64"
        elif field.offset % 8 or field.offset + 8 > strategy.state_size:
            yield (
                f"field {index} at offset {field.offset}, expected a multiple of 8 within the "
                f"state's {strategy.state_size} bytes"
            )
