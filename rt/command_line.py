"""The kernel's command line: into words and back, as the kernel itself splits it.

Called by: rt.reading, rt.catalogue. Calls: rt.setting. Source: lib/cmdline.c (next_arg) and
kernel/params.c (parse_args, parameq): double quotes keep spaces together and are dropped, "-" and
"_" are the same in a name, and "--" ends what is the kernel's.
"""

from __future__ import annotations

import re

from tickpath.rt.setting import BootParameter

END = "--"
UNKNOWN = re.compile(r'Unknown kernel command line parameters "([^"\n]*(?:"[^"\n]*"[^"\n]*)*)", ')
SPACES = " \t\n\v\f\r"


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


def parse_unknown(log: str) -> tuple[BootParameter, ...]:
    """Return the parameters that the kernel, by its log, did not know; () where it told none."""
    found = UNKNOWN.search(log)
    return parse_command_line(found[1]) if found else ()
