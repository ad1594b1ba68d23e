"""Fixtures of the virtual machine: one disk, one guest, and the times of all phases at the end.

A guest is dear (half a minute to boot), so that one serves a whole run: the fixtures are stages of
its life, and the tests are ordered by file name along them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.vm import image, phases

if TYPE_CHECKING:
    from tests.vm.image import Image


@pytest.fixture(scope="session")
def disk() -> Image:
    """Return the disk, made first where the cache lacks it, which takes root."""
    return image.ensure()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = phases.table()
    if lines:
        terminalreporter.section("virtual machine: phases")
        terminalreporter.write_line("\n".join(lines))
