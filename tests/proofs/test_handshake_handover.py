"""The hand-over of a TLS handshake: its logic by Spin, its memory by the sanitizers; and that each
of them sees a part taken away.

Orders on a weakly ordered machine: tests/unit/test_tls_handover_model.py.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.proofs.test_join_and_hand_over import check

ROOT = Path(__file__).parents[2]
MODEL = "handshake_handover.pml"
MUTANTS = (
    "NO_SECOND_WANT",
    "NOTE_BEFORE_WANT",
    "HOT_ALWAYS_FREES",
    "EATS_WHAT_FOLLOWS",
    "LETS_GO_LATE",
    "ABANDONED_IS_FORGOTTEN",
    "READS_WORD_LATE",
)
HANDSHAKES = 300
SOURCES = (
    "tests/stress/handshake_stress.c",
    "tests/c/tls/loopback.c",
    *(
        f"netstack/tls/{name}.c"
        for name in (
            *("tls", "handover", "handshake_worker", "handshake", "key_schedule"),
            *("record", "post_handshake", "aead", "aead_library"),
        )
    ),
)
# Each: a file, what is replaced in it, by what, the sanitizer, and what it says.
BREAKAGES = {
    "the state orders nothing": (
        "netstack/tls/handover.c",
        "memory_order_acq_rel, memory_order_acquire",
        "memory_order_relaxed, memory_order_relaxed",
        "thread",
        "data race",
    ),
    "bytes are published before they are written": (
        "netstack/tls/byte_pipe.h",
        "head + (uint32_t)size, memory_order_release",
        "head + (uint32_t)size, memory_order_relaxed",
        "thread",
        "data race",
    ),
    "the hot side frees what the worker has": (
        "netstack/tls/tls.c",
        "if (worker == NULL) {",
        "if (worker != NULL) {",
        "address",
        "heap-use-after-free",
    ),
    "the worker forgets what was abandoned": (
        "netstack/tls/handshake_worker.c",
        "tp_tls_handover_destroy(handover);",
        "(void)handover;",
        "address",
        "LeakSanitizer",
    ),
    "the hot side runs OpenSSL": (
        "netstack/tls/tls.c",
        "    tls->handover.worker = worker;\n",
        "",
        "address",
        "OpenSSL ran on the hot thread",
    ),
}


@pytest.mark.needs("spin")
def test_model_with_all_parts_has_no_error(tmp_path: Path) -> None:
    errors, states, words = check(MODEL, tmp_path)
    assert errors == 0, words
    assert states > 10_000  # it did explore


@pytest.mark.needs("spin")
@pytest.mark.parametrize("mutant", MUTANTS)
def test_model_without_one_of_its_parts_fails(mutant: str, tmp_path: Path) -> None:
    assert check(MODEL, tmp_path, mutant)[0] > 0


def run(folder: Path, sanitizer: str, replaced: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Build the stress test under a sanitizer, some files with other text, and run it."""
    for name, text in replaced.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    sources = [folder / name if name in replaced else ROOT / name for name in SOURCES]
    program = folder / "stress"
    words = ["clang-14", "-std=c11", "-D_GNU_SOURCE", "-O1", "-g", f"-fsanitize={sanitizer}"]
    words += [f"-I{folder}", f"-I{ROOT}", "-Wl,--wrap=SSL_do_handshake", "-o", str(program)]
    subprocess.run([*words, *sources, "-lssl", "-lcrypto", "-lpthread"], check=True)
    return subprocess.run(
        [program, str(HANDSHAKES)], capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.needs("clang")
@pytest.mark.parametrize("sanitizer", ["thread", "address,undefined"])
def test_handshakes_on_a_worker_connect_or_are_given_up_cleanly(
    sanitizer: str, tmp_path: Path
) -> None:
    done = run(tmp_path, sanitizer, {})
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{HANDSHAKES} handshakes" in done.stdout


@pytest.mark.needs("clang")
@pytest.mark.parametrize("breakage", BREAKAGES)
def test_sanitizers_see_a_planted_breakage(breakage: str, tmp_path: Path) -> None:
    name, part, instead, sanitizer, words = BREAKAGES[breakage]
    text = (ROOT / name).read_text()
    assert part in text
    done = run(tmp_path, sanitizer, {name: text.replace(part, instead)})
    assert done.returncode != 0
    assert words in done.stderr
