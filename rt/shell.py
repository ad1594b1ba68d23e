"""What the variables of a shell file are, by letting a shell read it.

Quotes over two lines, ${NAME:+…}, `. file` and tests are the shell's own to understand. The shell
is bash, restricted, with nothing on its PATH and with the builtins taken away that reach beyond
itself: it runs no program, writes no file and signals nobody, so that also a tree of files that is
only looked at is safe. Called by: rt.persisted, tuning.plan_boot. Calls: bash(1), else a reading of
plain assignments. Source: bash(1), "RESTRICTED SHELL" and "enable".
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

TIMEOUT_S = 5
# What is left: assignments, tests, eval, printf, echo, export, local, set, shift, unset, :, loops.
TAKEN_AWAY = (
    "alias bg bind builtin caller cd command compgen complete compopt coproc declare dirs disown "
    "exec fc fg hash help history jobs kill logout mapfile popd pushd read readarray readonly "
    "source suspend times trap type typeset ulimit umask unalias wait"
)
SCRIPT = f"""\
set +o history
tickpath_names=$1; shift
for tickpath_word in {TAKEN_AWAY}; do enable -n "$tickpath_word"; done
enable -n enable
for tickpath_text; do eval "$tickpath_text"; done
for tickpath_word in $tickpath_names; do
    printf '%s=%s\\0' "$tickpath_word" "${{!tickpath_word}}"
done
"""
ASSIGNMENT = re.compile(r"\s*(?:export\s+)?([A-Z_]+)(\+?)=(.*)")
EXPANSION = re.compile(r"\$(?:\{([A-Z_]+)\}|([A-Z_]+))")


@lru_cache(maxsize=16)
def shell_variables(texts: tuple[str, ...], names: tuple[str, ...]) -> dict[str, str]:
    """Return the named variables after the texts were read in their order; "" where unset.

    Without bash, or where a text does not let it come to its end (exit, an endless loop), plain
    assignments are followed line by line. Do not change the result: it is kept.
    """
    said = ask_bash(texts, names)
    if said is not None:
        return said
    variables: dict[str, str] = {}
    for text in texts:
        assign(variables, text)
    return {name: variables.get(name, "") for name in names}


def ask_bash(texts: Sequence[str], names: Sequence[str]) -> dict[str, str] | None:
    """Let bash read the texts; None where it cannot tell."""
    bash = shutil.which("bash", path="/bin:/usr/bin")
    if bash is None or any("\0" in text for text in texts):
        return None
    argv = [bash, "--restricted", "--noprofile", "--norc", "-c", SCRIPT, "bash", " ".join(names)]
    try:
        done = subprocess.run(
            [*argv, *texts],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
            cwd="/",
            env={"PATH": "/nonexistent", "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    said = done.stdout.decode(errors="replace").split("\0")[:-1][-len(names) :]
    pairs = dict(one.split("=", 1) for one in said if "=" in one)
    first = names[0]
    # What the texts themselves printed stands before the first of ours.
    found = {name.rpartition("\n")[2]: value for name, value in pairs.items()}
    return found if set(names) <= found.keys() and first in found else None


def assign(variables: dict[str, str], text: str) -> None:
    """Follow the plain assignments of a shell file: quotes and $NAME; commands are not run."""
    for line in text.splitlines():
        match = ASSIGNMENT.match(line)
        if not match:
            continue
        name, plus, right = match.groups()
        expanded = right
        if not right.lstrip().startswith("'"):
            expanded = EXPANSION.sub(lambda one: variables.get(one[1] or one[2], ""), right)
        try:
            words = shlex.split(expanded, comments=True)
        except ValueError:
            continue
        value = words[0] if words else ""
        variables[name] = variables.get(name, "") + value if plus else value
