"""A feed handler of one's own for a moment: a temporary instance, gone with whoever asked for it.

Over kernel sockets, at no priority, pinned nowhere, with no memory locked. Its segments and files
are removed whatever happens, `kill -9` included. Called by: book.py. Calls: the feed handler as a
process, supervisor/janitor.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgspec
from tickpath.engine.commands.venue_arguments import by_option, check_options, config_text
from tickpath.engine.supervisor.child_process import spawn, stop
from tickpath.engine.supervisor.janitor import segments_of, start_janitor
from tickpath.shm.errors import LocalError, RemoteError, SystemSetupError

if TYPE_CHECKING:
    from types import TracebackType

EXIT_LOCAL, EXIT_SYSTEM = 2, 3
SECTIONS = """
[feed_handler]
spin = false
lock_memory = false
huge_pages = false

[network]
backend = "kernel"

[shm]
mode = "0600"
"""


class _Line(msgspec.Struct):
    text: str = ""


class PrivateFeed:
    """One feed handler and all that it leaves; a context manager."""

    def __init__(self, section: dict[str, Any]) -> None:
        """Check a [[venue]] section; start nothing. Raises LocalError."""
        self.instance = f"book-{os.getpid()}"
        self._text = config_text(section, self.instance, SECTIONS)
        check_options(self._text)
        self._stack = ExitStack()
        self._child: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._directory = Path(tempfile.mkdtemp(prefix="tickpath-book-"))
            stack.callback(self._tidy)
            stack.callback(start_janitor(self._directory, self.instance))
            config = self._directory / "book.toml"
            config.write_text(self._text, encoding="utf-8")
            command = [sys.executable, "-P", "-m", "tickpath.engine.feed_handler.process"]
            log = stack.enter_context((self._directory / "log").open("w", encoding="utf-8"))
            # A session of its own: Ctrl-C is for us, who end it in good order.
            self._child = spawn(
                [*command, str(config), "--json"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            stack.callback(stop, self._child)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _tidy(self) -> None:
        """Remove what is left after the process, should the janitor be dead."""
        for pattern in segments_of(self.instance):
            for path in pattern.parent.glob(pattern.name):
                path.unlink(missing_ok=True)
        shutil.rmtree(self._directory, ignore_errors=True)

    def last_words(self) -> str:
        """Return the last line of its log; "" where it said nothing yet."""
        said = ""
        with contextlib.suppress(OSError):
            for line in (self._directory / "log").read_bytes().splitlines():
                with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
                    said = msgspec.json.decode(line, type=_Line).text or said
        return said

    @property
    def is_running(self) -> bool:
        """Say whether its process has not ended."""
        return self._child is not None and self._child.poll() is None

    def check(self) -> None:
        """Raise what its end says: LocalError, SystemSetupError or RemoteError; nothing else."""
        status = None if self._child is None else self._child.poll()
        if status is None:
            return
        words = self.last_words() or f"the feed handler ended with status {status}"
        kinds = {EXIT_LOCAL: LocalError, EXIT_SYSTEM: SystemSetupError}
        raise kinds.get(status, RemoteError)(by_option(words))
