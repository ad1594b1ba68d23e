"""`tickpath rt`: find the subcommand's module, tell its errors. The standard library only.

Each subcommand is a module with `add_parser(subparsers)` and `run(args) -> int`, imported only when
it is the one asked for; one that is not installed is not listed. Called by: engine.cli (`tickpath
rt`), rt.__main__ (`python3 -P -m tickpath.rt` and the zipapp). Calls: the modules of COMMANDS.
"""

from __future__ import annotations

import argparse
import difflib
import importlib.util
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn, Protocol, cast

from tickpath.rt.errors import HostError, RequestError
from tickpath.rt.standard_files import hold_standard_files

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# name: (module, one line of help), in the order in which they are used.
COMMANDS: Mapping[str, tuple[str, str]] = {
    "check": ("tickpath.rt.check_command", "judge this host and score it; nothing is changed"),
    "plan": ("tickpath.rt.tuning.plan_command", "print each write that apply would do"),
    "apply": ("tickpath.rt.tuning.apply_command", "write the plan, each previous value journaled"),
    "revert": ("tickpath.rt.tuning.revert_command", "put back what apply changed, byte for byte"),
    "promote": (
        "tickpath.rt.tuning.promote_command",
        "keep the kernel and command line booted once",
    ),
    "measure": ("tickpath.rt.measure.command", "measure the host's noise, and what causes it"),
    "report": ("tickpath.rt.report.command", "write one HTML page: score, items, histograms"),
}
EXIT_REQUEST = 2  # argparse's own status for a usage error
EXIT_HOST = 3
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells report it
EXIT_PIPE_CLOSED = 141  # 128 + SIGPIPE


class Command(Protocol):
    """What a subcommand's module provides."""

    def add_parser(self, subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
        """Add the subcommand's own parser, under its name in COMMANDS, with an example."""

    def run(self, args: argparse.Namespace) -> int:
        """Do it; return the exit status, or raise one of the two errors of rt.errors."""


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line; subcommands get the same class."""

    def error(self, message: str) -> NoReturn:
        """Tell what is wrong and where the help is; ends the program with status 2."""
        said = printable(" ".join(message.split()))
        self.exit(EXIT_REQUEST, f"tickpath: {said}; see {self.prog} --help\n")


def printable(text: str) -> str:
    """Escape control characters: what a host's file says must not drive the terminal."""
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )


def exists(module: str) -> bool:
    """Tell whether a module is installed, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # its parent package is missing
        return False


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `rt` to the command line of `tickpath`."""
    complete(subparsers.add_parser("rt", formatter_class=argparse.RawDescriptionHelpFormatter))


def complete(parser: argparse.ArgumentParser) -> None:
    """Add what stands before the subcommand."""
    parser.description = "Check, tune and measure this host for real-time work; undo it again."
    parser.epilog = (
        "commands:\n"
        + "\n".join(
            f"  {name:<10}{text}" for name, (module, text) in COMMANDS.items() if exists(module)
        )
        + "\n\nexample: tickpath rt check\n"
        "`tickpath rt COMMAND --help` has the options and statuses of one. Exit status: 0 OK,\n"
        "2 wrong usage or a request that cannot be, 3 this machine lacks something."
    )
    parser.add_argument("rt_command", nargs="?", metavar="COMMAND", help="one of those below")
    parser.add_argument("rt_arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """Run one subcommand; tell an error in one line, and its kind by the exit status."""
    try:
        status = dispatch(args.rt_command, args.rt_arguments)
        sys.stdout.flush()  # a reader that is gone is told here, not at the interpreter's end
        return status
    except RequestError as error:
        status, message = EXIT_REQUEST, str(error)
    except HostError as error:
        status, message = EXIT_HOST, str(error)
    print(f"tickpath: {printable(' '.join(message.split()))}", file=sys.stderr)
    return status


def dispatch(name: str | None, arguments: Sequence[str]) -> int:
    """Parse and run one subcommand; raises what it raises."""
    known = [each for each, (module, _) in COMMANDS.items() if exists(module)]
    if name is None:
        raise RequestError(f"no command given: expected one of {', '.join(known)}")
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(known)}"
        raise RequestError(f"{name!r} is no command of rt; {hint}")
    command = cast("Command", import_module(COMMANDS[name][0]))
    whole: argparse.ArgumentParser = Parser(prog="tickpath rt")
    command.add_parser(whole.add_subparsers(dest="command", required=True))
    return command.run(whole.parse_args([name, *arguments]))


def main(argv: Sequence[str] | None = None) -> int:
    """Run `tickpath rt` without the rest of tickpath."""
    hold_standard_files()
    parser = Parser(prog="tickpath rt", formatter_class=argparse.RawDescriptionHelpFormatter)
    complete(parser)
    try:
        return run(parser.parse_args(argv))
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # `… | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE_CLOSED
