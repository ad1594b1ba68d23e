"""The C reader as its users build it: the example compiled, run against a feed, and its end."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tickpath.engine.client.feed_segment import SCHEMA
from tickpath.engine.strategy.c_reader import compiler_arguments
from tickpath.engine.strategy.rehearsal import RehearsalFeed
from tickpath.proto.instrument import Instrument
from tickpath.shm.segment import SegmentLayout, SegmentWriter, schema_hash

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
EVENTS = 20
INSTRUMENTS = (
    Instrument(0, "mexc", "BTCUSDT", -2, -6, 1),
    Instrument(1, "mexc", "ETHUSDT", -2, -5, 1),
)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("missing capability: a C compiler (cc)")
    path = tmp_path_factory.mktemp("c") / "top_of_book"
    source = ROOT / "examples" / "top_of_book.c"
    warnings = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(
        [compiler, *warnings, str(source), *compiler_arguments(), "-o", str(path)], check=True
    )
    return path


@pytest.fixture
def feed(tmp_path: Path) -> Iterator[RehearsalFeed]:
    with RehearsalFeed("unit", INSTRUMENTS, directory=tmp_path) as feed:
        yield feed


def run(
    program: Path, directory: Path, events: int, *words: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(program), "unit", str(events), *words],
        env={**os.environ, "TICKPATH_SEGMENTS": str(directory)},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


@contextlib.contextmanager
def publishing(feed: RehearsalFeed) -> Iterator[None]:
    """Publish a book and a heartbeat every few milliseconds; its change to LIVE comes before."""
    feed.publish_top((200, 1), (201, 1))
    done = threading.Event()

    def publish() -> None:
        while not done.wait(0.005):
            feed.publish_top((200, 1), (201, 1))
            feed.heartbeat()

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def check_lines(lines: list[str]) -> None:
    """Nothing but the book, and most of the times that it changed.

    On a busy host this process may not beat for 100 ms: the book is not LIVE then, and not printed.
    """
    assert set(lines) == {"mexc:BTCUSDT 200 201"}
    assert len(lines) >= EVENTS // 2


@pytest.mark.parametrize("words", [(), ("block",)])
def test_c_example_prints_books_at_start_and_as_they_change(
    program: Path, feed: RehearsalFeed, tmp_path: Path, words: tuple[str, ...]
) -> None:
    feed.publish_top((100, 1), (101, 1), instrument=1)
    with publishing(feed):
        told = run(program, tmp_path, EVENTS, *words)
    assert told.returncode == 0
    assert told.stderr == ""  # it registered
    assert (feed.consumers.counters()["wakes"] > 0) == bool(words)
    lines = told.stdout.splitlines()
    assert "mexc:ETHUSDT 100 101" in lines[:2]
    check_lines(lines[2:])


def test_c_example_refuses_another_schema_and_an_absent_feed(program: Path, tmp_path: Path) -> None:
    told = run(program, tmp_path, 1)
    assert (told.returncode, told.stderr) == (1, "instance unit: absent (file)\n")
    layout = SegmentLayout(schema=SCHEMA + "event extra 0 u8\n")
    with SegmentWriter("unit", layout, directory=tmp_path) as other:
        other.ready()
        told = run(program, tmp_path, 1)
    assert (told.returncode, told.stderr) == (1, "instance unit: wrong schema (schema hash)\n")


def test_c_header_carries_the_hash_of_the_schema() -> None:
    text = (ROOT / "engine" / "strategy" / "tickpath-reader.h").read_text()
    assert f"UINT64_C(0x{schema_hash(SCHEMA):X})" in text


def test_c_reader_module_prints_the_compiler_arguments() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tickpath.engine.strategy.c_reader"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == compiler_arguments()
    assert Path(compiler_arguments()[-1]).is_file()


CPLUSPLUS = """
#include "tickpath-reader.h"
#include <atomic>
std::atomic<int> one{1};  // the names of C's atomics are not left behind as macros
int reader_main(int argc, char **argv);
int main(int argc, char **argv)
{
    return one.load(std::memory_order_relaxed) == 1 ? reader_main(argc, argv) : 2;
}
#define main reader_main
#include "top_of_book.c"
"""


def test_header_serves_cplusplus_too(feed: RehearsalFeed, tmp_path: Path) -> None:
    compiler = shutil.which("g++") or shutil.which("clang++-14") or shutil.which("c++")
    if compiler is None:
        pytest.skip("missing capability: a C++ compiler")
    source, program = tmp_path / "strategy.cc", tmp_path / "strategy"
    source.write_text(CPLUSPLUS)
    options = ["-std=c++17", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
    words = [compiler, *options, f"-I{ROOT / 'examples'}", str(source)]
    subprocess.run([*words, *compiler_arguments(), "-o", str(program)], check=True)
    with publishing(feed):
        told = run(program, tmp_path, EVENTS)
    assert (told.returncode, told.stderr) == (0, "")
    check_lines(told.stdout.splitlines())


@pytest.mark.parametrize("standard", ["c11", "c17", "gnu11", "c++17", "gnu++17", "c++20"])
def test_header_is_clean_where_it_is_no_system_header(tmp_path: Path, standard: str) -> None:
    """-isystem silences what users see whose build system says -I."""
    compilers = ("g++", "clang++-14") if "++" in standard else ("gcc", "clang-14")
    found = [one for one in compilers if shutil.which(one)]
    if not found:
        pytest.skip(f"missing capability: one of the compilers {', '.join(compilers)}")
    source = tmp_path / ("one.cc" if "++" in standard else "one.c")
    source.write_text('#include "tickpath-reader.h"\nint main(void) { return 0; }\n')
    includes = [one.replace("-isystem", "-I") for one in compiler_arguments()[:-1]]
    warnings = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror"]
    for compiler in found:
        words = [compiler, f"-std={standard}", *warnings, *includes, "-fsyntax-only", str(source)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{compiler}: {done.stderr[:2000]}"


def test_publish_compiles_to_plain_stores(tmp_path: Path) -> None:
    """On x86-64 a store is a release already: a fence or a lock prefix would cost 20 cycles."""
    compiler = shutil.which("cc")
    if compiler is None or os.uname().machine != "x86_64":
        pytest.skip("missing capability: a C compiler for x86-64")
    source = tmp_path / "publish.c"
    source.write_text(
        '#include "shm/broadcast_ring.h"\n'
        "uint64_t publish(struct tp_ring_writer *ring, const uint64_t *event);\n"
        "uint64_t publish(struct tp_ring_writer *ring, const uint64_t *event)\n"
        "{ return tp_ring_publish(ring, event); }\n"
        "enum tp_ring_result take(struct tp_ring_reader *ring, uint64_t *event);\n"
        "enum tp_ring_result take(struct tp_ring_reader *ring, uint64_t *event)\n"
        "{ return tp_ring_read(ring, event); }\n"
    )
    includes = [argument for argument in compiler_arguments() if argument.startswith("-isystem")]
    for optimisation in ("-O2", "-O3"):
        assembly = subprocess.run(
            [compiler, "-std=c11", optimisation, *includes, "-S", "-o", "-", str(source)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        words = assembly.split()
        assert "publish:" in words
        assert not {"lock", "mfence", "sfence", "lfence", "xchgq", "call"} & set(words)
