"""The hand-over of a TLS handshake: its logic by Spin, its memory by the sanitizers; and that each
of them sees a part taken away.

Orders on a weakly ordered machine: tests/unit/test_tls_handover_model.py.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
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
        "address,undefined",
        "heap-use-after-free",
    ),
    "the worker forgets what was abandoned": (
        "netstack/tls/handshake_worker.c",
        "tp_tls_handover_destroy(handover);",
        "(void)handover;",
        "address,undefined",
        "LeakSanitizer",
    ),
    "the hot side runs OpenSSL": (
        "netstack/tls/tls.c",
        "    tls->handover.worker = worker;\n",
        "",
        "address,undefined",
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


Build = Callable[[Path, str, dict[str, str]], Path]


def compiler(sanitizer: str, *folders: Path) -> list[str]:
    words = ["clang-14", "-std=c11", "-D_GNU_SOURCE", "-O1", "-g", f"-fsanitize={sanitizer}"]
    return [*words, *(f"-I{folder}" for folder in (*folders, ROOT))]


def compile_each(words: Sequence[str], sources: Sequence[Path], folder: Path) -> dict[str, Path]:
    """Compile sources into a folder, as many at a time as there are CPUs; return the objects."""
    objects = {one.stem: folder / f"{one.stem}.o" for one in sources}
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for done in pool.map(
            lambda one: subprocess.run([*words, "-c", one, "-o", objects[one.stem]], check=False),
            sources,
        ):
            done.check_returncode()
    return objects


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Return what builds the stress test with some files changed, the others compiled once."""
    whole: dict[str, dict[str, Path]] = {}

    def built(folder: Path, sanitizer: str, replaced: dict[str, str]) -> Path:
        if sanitizer not in whole:
            kept = tmp_path_factory.mktemp("objects")
            sources = [ROOT / name for name in SOURCES]
            whole[sanitizer] = compile_each(compiler(sanitizer), sources, kept)
        for name, text in replaced.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        # Of a header that is changed, whichever file may include it.
        names = SOURCES if any(one.endswith(".h") for one in replaced) else tuple(replaced)
        changed = [folder / one if one in replaced else ROOT / one for one in names]
        objects = whole[sanitizer] | compile_each(compiler(sanitizer, folder), changed, folder)
        program = folder / "stress"
        words = [*compiler(sanitizer), "-Wl,--wrap=SSL_do_handshake", "-o", str(program)]
        words += [*map(str, objects.values()), "-lssl", "-lcrypto", "-lpthread"]
        subprocess.run(words, check=True)
        return program

    return built


def run(program: Path) -> subprocess.CompletedProcess[str]:
    """Run it; the first race or leak that is found is reported, and ends it."""
    options = {"TSAN_OPTIONS": "halt_on_error=1", "LSAN_OPTIONS": "max_leaks=1"}
    return subprocess.run(
        [program, str(HANDSHAKES)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=os.environ | options,
    )


@pytest.mark.needs("clang")
@pytest.mark.parametrize("sanitizer", ["thread", "address,undefined"])
def test_handshakes_on_a_worker_connect_or_are_given_up_cleanly(
    build: Build, sanitizer: str, tmp_path: Path
) -> None:
    done = run(build(tmp_path, sanitizer, {}))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{HANDSHAKES} handshakes" in done.stdout


@pytest.mark.needs("clang")
@pytest.mark.parametrize("breakage", BREAKAGES)
def test_sanitizers_see_a_planted_breakage(build: Build, breakage: str, tmp_path: Path) -> None:
    name, part, instead, sanitizer, words = BREAKAGES[breakage]
    text = (ROOT / name).read_text()
    assert part in text
    done = run(build(tmp_path, sanitizer, {name: text.replace(part, instead)}))
    assert done.returncode != 0
    assert words in done.stderr
