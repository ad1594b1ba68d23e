"""Kill the writer of the journal of orders at every store; journal_kill.c does the work.

Here it is compiled, run, and shown to see a broken protocol.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
GATEWAY = ROOT / "engine" / "gateway"
STORE = "    atomic_store_explicit(&to->check, check, memory_order_release);\n"
COPY = "    memcpy(words, order, sizeof words);\n"
EARLY = STORE.replace("check, memory", "record_check(journal->salt, journal->next, words), memory")
WEAK = (
    "return check_of(salt + position, words, WORDS - 1);",
    "return check_of(salt + position, words, 4);",
)
# The check alone, or its place alone, would do: a whole record's hash is right in any order.
BREAKAGES: dict[str, list[tuple[str, str]]] = {
    "the check first, of a few words": [(COPY, COPY + EARLY), WEAK],
    "a record over the one before": [(STORE, STORE + "    journal->next -= order->filled != 0;\n")],
}


def build(journal: Path, folder: Path) -> Path:
    program = folder / "journal_kill"
    files = [HERE / "journal_kill.c", journal, GATEWAY / "order_state.c"]
    words = ["gcc", "-std=c11", "-D_GNU_SOURCE", "-O2", f"-I{ROOT}", "-o", str(program)]
    subprocess.run([*words, *files], check=True)
    return program


def run(program: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    words = [program, folder / "journal"]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=100)


def test_journal_whose_writer_is_killed_at_any_store_has_whole_records(tmp_path: Path) -> None:
    done = run(build(GATEWAY / "journal.c", tmp_path), tmp_path)
    assert done.returncode == 0, done.stderr
    states = re.fullmatch(r"(\d+) states\n", done.stdout)
    assert states
    assert int(states[1]) > 20  # a record is 16 stores, less those of words that are 0


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_journal_kill_sees_a_broken_protocol(breakage: str, tmp_path: Path) -> None:
    text = (GATEWAY / "journal.c").read_text()
    for was, now in BREAKAGES[breakage]:
        assert text.count(was) == 1
        text = text.replace(was, now)
    broken = tmp_path / "journal.c"
    broken.write_text(text)
    assert run(build(broken, tmp_path), tmp_path).returncode == 1
