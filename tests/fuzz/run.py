"""Build and run every fuzzer of this folder, two at a time, and fail loudly.

A fuzzer is `fuzz_NAME.c`; its first line names what it is linked with:
`/* sources: netstack/ws/frame.c shm/crc.c ; libs: -lcrypto */`. Its seeds lie in `corpus/NAME/` and
are only read: what libFuzzer finds goes to a temporary folder, an input that breaks the code to
`build/fuzz/`.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
WORKSHOP = ROOT / "build" / "fuzz"
COMPILER = "clang-14"
FLAGS = [
    "-std=c11",
    "-D_GNU_SOURCE",
    "-O1",
    "-g",
    "-I.",
    "-fno-omit-frame-pointer",
    "-fsanitize=fuzzer,address,undefined",
    "-fno-sanitize-recover=all",
]
LIMITS = ("-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1", "-verbosity=1")
PARALLEL = 2
FIRST_LINE = re.compile(r"^/\* sources:(?P<sources>[^;]*)(?:; *libs:(?P<libs>.*))?\*/$")


@dataclass(frozen=True, slots=True)
class Fuzzer:
    """One fuzz_NAME.c and what its first line says it is linked with."""

    path: Path
    sources: tuple[str, ...]
    libs: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.path.stem.removeprefix("fuzz_")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one fuzzer ended: a line to print, and whether it passed."""

    passed: bool
    text: str


def read_fuzzer(path: Path) -> Fuzzer:
    """Read the first line of a fuzzer; raises ValueError where it is not of the agreed form."""
    first = path.read_text().partition("\n")[0].strip()
    match = FIRST_LINE.match(first)
    if match is None:
        raise ValueError(
            f"{path}: the first line is {first!r}; "
            "expected /* sources: a.c b.c ; libs: -lx */ so that it can be built"
        )
    return Fuzzer(path, tuple(match["sources"].split()), tuple((match["libs"] or "").split()))


def make_headers(workshop: Path) -> None:
    """Make what the build makes of venues' schemas, where fuzzers that are built there find it."""
    for schema in sorted((ROOT / "proto" / "venues").glob("*/*.xml")):
        header = workshop / schema.relative_to(ROOT).with_name("schema.h")
        maker = [sys.executable, str(ROOT / "sbe_build.py"), str(schema), schema.parent.name]
        subprocess.run([*maker, str(header)], check=True)


def build(fuzzer: Fuzzer, output: Path) -> str | None:
    """Compile a fuzzer to `output`; return the compiler's complaint, or None."""
    names = [str(fuzzer.path), *fuzzer.sources, "-o", str(output), *fuzzer.libs]
    command = [COMPILER, *FLAGS, f"-I{output.parent}", *names]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else f"{' '.join(command)}\n{done.stderr}"


def run(fuzzer: Fuzzer, seconds: int | None, corpus: Path, workshop: Path) -> Outcome:
    """Build one fuzzer in `workshop` and run it on the seeds below `corpus` for `seconds`.

    None: on these alone, each once.
    """
    program = workshop / fuzzer.path.stem
    complaint = build(fuzzer, program)
    if complaint is not None:
        return Outcome(False, f"{fuzzer.name}: does not build\n{complaint}")
    seeds = corpus / fuzzer.name
    with tempfile.TemporaryDirectory(prefix=f"tickpath-fuzz-{fuzzer.name}-") as found:
        command = [
            str(program),
            "-runs=0" if seconds is None else f"-max_total_time={seconds}",
            f"-artifact_prefix={workshop / fuzzer.path.stem}-",
            *LIMITS,
            found,
            *([str(seeds)] if seeds.is_dir() else []),
        ]
        try:
            done = subprocess.run(
                command, cwd=ROOT, capture_output=True, timeout=(seconds or 0) + 60, check=False
            )
        except subprocess.TimeoutExpired:
            return Outcome(False, f"{fuzzer.name}: still running a minute after its time was up")
    return judge(fuzzer, program, done.returncode, done.stderr.decode(errors="replace"))


def judge(fuzzer: Fuzzer, program: Path, status: int, report: str) -> Outcome:
    """Turn libFuzzer's report into one line, or into the report and how to reproduce it."""
    executions = re.search(r"stat::number_of_executed_units: *(\d+)", report)
    if status == 0 and executions is not None and int(executions[1]) > 1:
        coverage = re.findall(r"\bcov: (\d+) ft: (\d+)", report)
        edges, features = coverage[-1] if coverage else ("?", "?")
        return Outcome(
            True,
            f"{fuzzer.name}: {int(executions[1]):,} executions, {edges} edges, {features} features",
        )
    artefact = re.search(r"Test unit written to (\S+)", report)
    reproduce = (
        f"reproduce: {program} {artefact[1]}"
        if artefact
        else "no input was written: it ended by itself"
    )
    tail = "\n".join(report.splitlines()[-60:])
    return Outcome(False, f"{fuzzer.name}: FAILED with status {status}\n{tail}\n{reproduce}")


def main() -> int:
    """Run all fuzzers, or those named; return 1 if any failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    duration = parser.add_mutually_exclusive_group()
    duration.add_argument("--seconds", type=int, default=10, help="for each fuzzer (default 10)")
    duration.add_argument("--shared", type=int, help="seconds that all of them share out evenly")
    duration.add_argument("--seeds", action="store_true", help="play the seeds alone, each once")
    parser.add_argument("--folder", type=Path, default=HERE, help="of fuzzers and their corpus/")
    parser.add_argument("--workshop", type=Path, default=WORKSHOP, help="gets programs and crashes")
    parser.add_argument("names", nargs="*", help="only these, as in fuzz_NAME.c")
    options = parser.parse_args()
    fuzzers = [read_fuzzer(path) for path in sorted(options.folder.glob("fuzz_*.c"))]
    unknown = set(options.names) - {fuzzer.name for fuzzer in fuzzers}
    if unknown:
        parser.error(f"no such fuzzer: {', '.join(sorted(unknown))}")
    chosen = [fuzzer for fuzzer in fuzzers if not options.names or fuzzer.name in options.names]
    seconds: int | None = None if options.seeds else options.seconds
    if options.shared is not None:
        seconds = max(1, options.shared // len(chosen))
    workshop: Path = options.workshop
    workshop.mkdir(parents=True, exist_ok=True)
    make_headers(workshop)
    corpus = options.folder / "corpus"
    one = partial(run, seconds=seconds, corpus=corpus, workshop=workshop)
    failed = 0
    how = "seeds alone" if seconds is None else f"{seconds} s each"
    with ThreadPoolExecutor(PARALLEL) as pool:
        for outcome in pool.map(one, chosen):
            failed += not outcome.passed
            print(f"fuzz {outcome.text}", flush=True)
    print(f"fuzz: {len(chosen) - failed} of {len(chosen)} passed, {how}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
