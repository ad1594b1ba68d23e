"""The fuzz runner says what it ran, and fails loudly where something is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

RUNNER = Path(__file__).resolve().parents[1] / "fuzz" / "run.py"
pytestmark = [pytest.mark.needs("clang"), pytest.mark.slow]

ENTRY = """#include <stddef.h>
#include <stdint.h>
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
"""
SOUND = ENTRY + "{ return size > 2 && data[0] == data[1] ? 0 : 0; }\n"
CRASH = ENTRY + "{ if (size > 1 && data[0] == 'x') __builtin_trap(); return 0; }\n"


def run_fuzzer(
    folder: Path, text: str, seed: bytes | None = None, duration: str = "--seconds=1"
) -> tuple[int, str]:
    (folder / "fuzz_planted.c").write_text(text)
    if seed is not None:
        (folder / "corpus" / "planted").mkdir(parents=True)
        (folder / "corpus" / "planted" / "seed").write_bytes(seed)
    command = [sys.executable, str(RUNNER), duration, f"--folder={folder}"]
    done = subprocess.run(
        [*command, f"--workshop={folder / 'workshop'}"], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_fuzz_runner_sound_fuzzer_passes_and_leaves_the_corpus_alone(tmp_path: Path) -> None:
    status, said = run_fuzzer(tmp_path, "/* sources: ; libs: */\n" + SOUND, seed=b"seed")
    assert status == 0, said
    assert "executions" in said
    assert [path.name for path in (tmp_path / "corpus" / "planted").iterdir()] == ["seed"]


def test_fuzz_runner_crash_fails_and_says_how_to_reproduce(tmp_path: Path) -> None:
    status, said = run_fuzzer(tmp_path, "/* sources: */\n" + CRASH, seed=b"xx")
    assert status == 1
    program, artefact = said.partition("reproduce: ")[2].split()[:2]
    assert subprocess.run([program, artefact], capture_output=True, check=False).returncode != 0


def test_fuzz_runner_missing_first_line_fails(tmp_path: Path) -> None:
    status, said = run_fuzzer(tmp_path, SOUND)
    assert status != 0
    assert "expected /* sources:" in said


def test_fuzz_runner_source_that_does_not_build_fails(tmp_path: Path) -> None:
    status, said = run_fuzzer(tmp_path, "/* sources: absent.c */\n" + SOUND)
    assert status == 1
    assert "does not build" in said


def test_fuzz_runner_shares_the_seconds_out_among_the_fuzzers(tmp_path: Path) -> None:
    (tmp_path / "fuzz_other.c").write_text("/* sources: */\n" + SOUND)
    status, said = run_fuzzer(tmp_path, "/* sources: */\n" + SOUND, duration="--shared=3")
    assert status == 0, said
    assert "2 of 2 passed, 1 s each" in said
