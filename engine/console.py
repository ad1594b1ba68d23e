"""Rich's console, with this project's end where nobody reads any more.

Called by: the commands that print tables. Calls: rich.
"""

from __future__ import annotations

import rich.console


class Console(rich.console.Console):
    """As rich's; `tickpath … | head` ends by the status of a closed pipe, as without rich."""

    def on_broken_pipe(self) -> None:
        """Leave it to engine/cli: rich's own way is status 1, which is the remote end's here."""
        raise BrokenPipeError
