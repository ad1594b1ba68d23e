"""Fixtures of the tests on a fake machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.unit.rt_apply.machine import build

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out waiting for the disk: a test kills processes, not the machine."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def machine(tmp_path: Path, quick_disk: None) -> Path:
    return build(tmp_path / "machine")
