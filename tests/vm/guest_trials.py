"""Try rules of the catalogue: spoil a thing, see what the kernel makes of it and what check says,
mend it, see both again.

Run in the guest by its own python3 with the zipapp on its path, a list of trials on stdin; prints
one JSON object. Sent there by: test_1_trials.
"""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
import time
from typing import TypedDict

from tickpath.rt.command import main

SCRIPT_TIMEOUT_S = 300


class Trial(TypedDict):
    """A trial as the host sends it: scripts of bash, and words of `tickpath rt check`.

    mend: "" is what `tickpath rt apply --only ITEM` does.
    """

    item: str
    spoil: str
    mend: str
    effect: str
    words: list[str]
    mended_words: list[str]
    window_s: int


def run(script: str) -> str:
    """Run a script; return what it printed, its complaints included."""
    try:
        done = subprocess.run(
            ["bash", "-c", script],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SCRIPT_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no end within {SCRIPT_TIMEOUT_S} s"
    return done.stdout.strip()


def tickpath_rt(*words: str) -> tuple[str, str]:
    """Run a subcommand of this process's own; return what it printed on both."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(list(words))
        except SystemExit as end:
            err.write(f"status {end.code}")
    return out.getvalue(), err.getvalue()


def look(trial: Trial, words: list[str], said: str) -> dict[str, str]:
    """Return what check and the kernel say now."""
    only = ("--only", trial["item"], "--json", "--window", str(trial["window_s"]))
    out, err = tickpath_rt("check", *only, *words)
    try:
        (row,) = json.loads(out)["items"]
    except ValueError:
        row = {"state": "no answer", "live": f"{out}{err}"}
    effect = run(trial["effect"]) if trial["effect"] else ""
    return {"state": row["state"], "live": row["live"] or "", "effect": effect, "said": said}


def try_one(trial: Trial) -> dict[str, object]:
    started = time.monotonic()
    spoiled = look(trial, trial["words"], run(trial["spoil"]) if trial["spoil"] else "")
    words = trial["mended_words"]
    if trial["mend"]:
        said = run(trial["mend"])
    else:
        said = "".join(tickpath_rt("apply", "--only", trial["item"], *words))
    mended = look(trial, words, said)
    return {"spoiled": spoiled, "mended": mended, "seconds": round(time.monotonic() - started, 1)}


if __name__ == "__main__":
    trials: list[Trial] = json.load(sys.stdin)
    results: dict[str, object] = {}
    for one in trials:
        results[one["item"]] = try_one(one)
        print(one["item"], file=sys.stderr, flush=True)
    json.dump(results, sys.stdout)
