"""The build keeps its promises (docs/adr/0001)."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_build_configured_without_assertions_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        ["meson", "setup", str(tmp_path / "build"), str(ROOT), "-Db_ndebug=true"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "asserts stay on" in done.stdout + done.stderr
