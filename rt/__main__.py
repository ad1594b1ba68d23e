"""`python3 -P -m tickpath.rt`, and what the zipapp starts. Calls: rt.command."""

from __future__ import annotations

import sys

from tickpath.rt.command import main

if __name__ == "__main__":
    sys.exit(main())
