"""The kernel's command line: into words and back, as the kernel itself splits it.

Called by: rt.reading, rt.catalogue. Calls: rt.setting. Source: lib/cmdline.c (next_arg) and
kernel/params.c (parse_args, parameq): double quotes keep spaces together and are dropped, "-" and
"_" are the same in a name, and "--" ends what is the kernel's. Of a word that comes twice the last
counts, but for isolation (kernel/sched/isolation.c, housekeeping_setup), where the first does.
tests/vm/test_1_command_lines.py asks real kernels.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tickpath.rt.limits import parse_cpu_list
from tickpath.rt.setting import BootParameter

if TYPE_CHECKING:
    from collections.abc import Mapping

END = "--"
UNKNOWN = re.compile(r'Unknown kernel command line parameters "([^"\n]*(?:"[^"\n]*"[^"\n]*)*)", ')
SPACES = " \t\n\v\f\r"
# What isolcpus= may say before its list. Without any of them it means domain.
ISOLCPUS_FLAGS = frozenset({"domain", "managed_irq", "nohz"})
ISOLATION_WORDS = frozenset({"isolcpus", "nohz_full"})


def split_words(text: str) -> tuple[str, ...]:
    """Split at spaces outside double quotes; an unclosed quote reaches to the end."""
    words: list[str] = []
    word, quoted, started = "", False, False
    for one in text:
        if one == '"':
            quoted, started = not quoted, True
        if one in SPACES and not quoted:
            if started:
                words.append(word)
            word, started = "", False
        else:
            word, started = word + one, True
    return tuple([*words, word] if started else words)


def parse_word(word: str) -> BootParameter:
    """Split a word into name and value, quotes dropped as next_arg drops them."""
    whole = word.startswith('"')
    if whole:
        word = word[1:].removesuffix('"')
    name, equals, value = word.partition("=")
    if not equals:
        return BootParameter(name)
    if not whole and value.startswith('"'):
        value = value[1:].removesuffix('"')
    return BootParameter(name, value)


def parse_command_line(text: str) -> tuple[BootParameter, ...]:
    """Return the kernel's own parameters in their order; what follows "--" is init's."""
    parameters: list[BootParameter] = []
    for word in split_words(text):
        if word == END:
            break
        parameters.append(parse_word(word))
    return tuple(parameters)


def format_command_line(parameters: tuple[BootParameter, ...]) -> str:
    """Write parameters with the quotes they need: the inverse of parse_command_line.

    Raises ValueError for a quote inside, which the kernel cannot express.
    """
    words: list[str] = []
    for parameter in parameters:
        word = parameter.word
        if '"' in word:
            raise ValueError(f"boot parameter {word!r}: the kernel knows no quote inside a value")
        spaced = any(one in SPACES for one in word)
        if spaced and parameter.value is not None and not any(c in SPACES for c in parameter.name):
            word = f'{parameter.name}="{parameter.value}"'
        elif spaced:
            word = f'"{word}"'
        words.append(word)
    return " ".join(words)


def same_name(one: str, other: str) -> bool:
    """Compare names as parameq does."""
    return one.replace("-", "_") == other.replace("-", "_")


def values_of(name: str, parameters: tuple[BootParameter, ...]) -> tuple[str | None, ...]:
    """Return what a command line gives to a name, in order; None for a bare word."""
    return tuple(each.value for each in parameters if same_name(each.name, name))


def in_force(name: str, parameters: tuple[BootParameter, ...]) -> BootParameter | None:
    """Return the word that the kernel goes by; None where there is none.

    Of isolcpus= with one list and several sets of flags: one word with all of them.
    """
    if name in ISOLATION_WORDS:
        return isolation_in_force(name, parameters)
    values = values_of(name, parameters)
    return BootParameter(name, values[-1]) if values else None


def isolation_in_force(name: str, parameters: tuple[BootParameter, ...]) -> BootParameter | None:
    """Follow housekeeping_setup: a flag keeps the list that it was given first, and a word that
    gives another list to such a flag is dropped whole."""
    lists: dict[str, frozenset[int]] = {}
    of_name: dict[str, frozenset[int]] = {}
    shown: str | None = None
    for each in parameters:
        kind = each.name.replace("-", "_")
        if kind not in ISOLATION_WORDS or each.value is None:
            continue
        flags, text = split_isolation(kind, each.value)
        cpus = cpus_of(text)
        if not cpus or any(lists.get(flag, cpus) != cpus for flag in flags):
            continue
        lists.update(dict.fromkeys(flags, cpus))
        if kind == name:
            of_name.update(dict.fromkeys(flags, cpus))
            shown = text if shown is None else shown
    if shown is None:
        return None
    if name == "nohz_full":
        return BootParameter(name, shown)
    return BootParameter(name, describe_isolcpus(of_name, shown))


def describe_isolcpus(lists: Mapping[str, frozenset[int]], shown: str) -> str:
    """Write what is in force as one value of isolcpus=."""
    first = next(iter(lists.values()))
    flags = [flag for flag in ("nohz", "managed_irq", "domain") if lists.get(flag) == first]
    return shown if flags == ["domain"] else ",".join([*flags, shown])


def split_isolation(name: str, value: str) -> tuple[frozenset[str], str]:
    """Split a value into the flags that it sets and its list, as isolcpus_setup does."""
    if name == "nohz_full":
        return frozenset({"nohz"}), value
    pieces = value.split(",")
    count = next((at for at, piece in enumerate(pieces) if not piece[:1].isalpha()), len(pieces))
    flags = frozenset(pieces[:count]) & ISOLCPUS_FLAGS
    return flags or frozenset({"domain"}), ",".join(pieces[count:])


def cpus_of(text: str) -> frozenset[int]:
    """Read a list of CPUs; empty where it is none."""
    try:
        return frozenset(parse_cpu_list(text))
    except ValueError:
        return frozenset()


def parse_unknown(log: str) -> tuple[BootParameter, ...]:
    """Return the parameters that the kernel, by its log, did not know; () where it told none."""
    found = UNKNOWN.search(log)
    return parse_command_line(found[1]) if found else ()
