"""The one command-line tool, `tickpath`: parse, find the subcommand's module, tell its errors.

Each subcommand is a module with `add_parser(subparsers)` and `run(args) -> int`, imported only when
it is the one asked for: `tickpath --help` stays fast, and a missing optional package breaks only
the command that needs it. Called by: the `tickpath` script. Calls: the modules of COMMANDS.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn, Protocol, cast

from tickpath import __version__
from tickpath.engine.supervisor.end_signals import EndedBySignal
from tickpath.rt.host import absolute_path
from tickpath.rt.standard_files import hold_standard_files
from tickpath.shm.errors import LocalError, RemoteError, SystemSetupError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# name: (module, one line of help), in the order in which a newcomer needs them.
COMMANDS: Mapping[str, tuple[str, str]] = {
    "demo": ("tickpath.engine.commands.demo", "run the whole path against a simulated exchange"),
    "doctor": (
        "tickpath.engine.doctor.command",
        "say what this host can do, and what to do about a lack",
    ),
    "rt": ("tickpath.rt.command", "check, tune and measure this host for real-time work"),
    "run": (
        "tickpath.engine.supervisor.command",
        "read market data into shared memory, as a config file says",
    ),
    "subscribe": ("tickpath.engine.commands.subscribe", "add symbols to a running instance"),
    "unsubscribe": (
        "tickpath.engine.commands.unsubscribe",
        "remove symbols from a running instance",
    ),
    "venues": ("tickpath.engine.commands.venues", "say what is known of each venue"),
    "instruments": ("tickpath.engine.commands.instruments", "list what a venue trades now"),
    "book": ("tickpath.engine.commands.book", "show one book live, with or without an instance"),
    "strategy": ("tickpath.engine.strategy.command", "run a strategy class in a pinned process"),
    "stat": ("tickpath.engine.commands.stat", "show the counters of a running feed handler"),
    "top": ("tickpath.engine.top.command", "watch everything live in a terminal"),
    "tail": ("tickpath.engine.commands.tail", "follow the events of an instance"),
    "dump": ("tickpath.engine.commands.dump", "show all that one segment holds"),
    "clean": ("tickpath.engine.commands.clean", "remove what dead writers left in shared memory"),
    "record": (
        "tickpath.engine.recording.record",
        "record an instance's raw messages and events",
    ),
    "replay": ("tickpath.engine.recording.replay", "replay a recording through the feed's code"),
    "export": (
        "tickpath.engine.recording.export_command",
        "write a recording as parquet, csv or for hftbacktest",
    ),
    "certificate": ("tickpath.engine.recording.certificate", "say how complete a recording is"),
    "relay": ("tickpath.engine.relay.command", "books and events on other hosts, through Redis"),
    "get": ("tickpath.engine.commands.get", "fetch a URL over the user-space stack"),
    "ws": ("tickpath.engine.commands.ws", "talk to a WebSocket over the user-space stack"),
    "sim": ("tickpath.engine.sim.command", "simulate an exchange"),
    "bench": ("tickpath.engine.bench.command", "measure one thing against its contenders"),
}
EPILOG = (
    "example: tickpath doctor --interface eth0\n"
    "`tickpath COMMAND --help` has the options of one. Exit status: 0 OK, 1 the remote end "
    "failed,\n2 wrong usage or configuration, 3 this machine lacks something."
)
# Optional package, by the name that is imported: the extra of pyproject.toml that brings it.
EXTRA_OF: Mapping[str, str] = {
    "iceoryx2": "bench",
    "order_book": "bench",
    "picows": "bench",
    "pyarrow": "export",
    "sortedcontainers": "bench",
    "zmq": "bench",
}
EXIT_REMOTE = 1
EXIT_LOCAL = 2  # argparse's own status for a usage error
EXIT_SYSTEM = 3
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells report it
EXIT_PIPE_CLOSED = 141  # 128 + SIGPIPE


class Command(Protocol):
    """What a subcommand's module provides."""

    def add_parser(self, subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
        """Add the subcommand's own parser, under its name in COMMANDS, with an example."""

    def run(self, args: argparse.Namespace) -> int:
        """Do it; return the exit status, or raise one of the three errors of shm.errors."""


def exists(module: str) -> bool:
    """Tell whether a module is installed, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # its parent package is missing
        return False


def installed() -> list[str]:
    """Return the commands whose modules are there."""
    return [name for name, (module, _) in COMMANDS.items() if exists(module)]


def load(name: str) -> Command:
    """Import a subcommand's module; raises SystemSetupError where a package it needs is missing."""
    module = COMMANDS[name][0]
    try:
        return cast("Command", import_module(module))
    except ModuleNotFoundError as error:
        raise missing_package(name, error) from error


def missing_package(command: str, error: ModuleNotFoundError) -> SystemSetupError:
    """Say which package a command lacks, and the one line that brings it."""
    package = (error.name or "").partition(".")[0]
    extra = EXTRA_OF.get(package)
    what = f"pip install 'tickpath[{extra}]'" if extra else "pip install --force-reinstall tickpath"
    return SystemSetupError(
        f"`tickpath {command}` needs the Python package {package}, which is not installed: {what}"
    )


def unknown_command(name: str) -> LocalError:
    """Say that there is no such command, and which was likely meant."""
    import difflib  # noqa: PLC0415 # only where something was mistyped

    known = installed()
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(known)}"
    return LocalError(f"{name!r} is no command; {hint}")


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line, as all errors are; subcommands get the same class."""

    def error(self, message: str) -> NoReturn:
        """Tell what is wrong and where the help is; ends the program with status 2."""
        said = printable(" ".join(message.split()))
        self.exit(EXIT_LOCAL, f"tickpath: {said}; see {self.prog} --help\n")


class TopParser(Parser):
    """The parser of what stands before the subcommand; looks for the commands when asked."""

    def format_help(self) -> str:
        """Return the help, with the commands that are installed."""
        commands = "\n".join(f"  {name:<12}{COMMANDS[name][1]}" for name in installed())
        self.epilog = f"commands:\n{commands}\n\n{EPILOG}"
        return super().format_help()


def printable(text: str) -> str:
    """Escape control characters: what a server said must not drive the terminal."""
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )


def make_parser() -> argparse.ArgumentParser:
    """Build the parser of what stands before the subcommand."""
    parser = TopParser(
        prog="tickpath",
        description="Market data from the wire to a pinned strategy, past the kernel's stack.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    parser.add_argument("command", nargs="?", metavar="COMMAND", help="one of those below")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def dispatch(argv: Sequence[str] | None) -> int:
    """Parse and run one subcommand; raises what it raises."""
    parser = make_parser()
    first = parser.parse_args(argv)
    if first.version:
        print(f"tickpath {__version__}")
        return 0
    if first.command is None:
        parser.print_help(sys.stderr)
        return EXIT_LOCAL
    if first.command not in COMMANDS or not exists(COMMANDS[first.command][0]):
        raise unknown_command(first.command)
    command = load(first.command)
    whole: argparse.ArgumentParser = Parser(prog="tickpath")
    command.add_parser(whole.add_subparsers(dest="command", required=True))
    whole.prog = f"tickpath {first.command}"  # it complains of what no subparser knows
    args = whole.parse_args([first.command, *first.arguments])
    try:
        return command.run(args)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in EXTRA_OF:
            raise
        raise missing_package(first.command, error) from error


def _dispatch_and_flush(argv: Sequence[str] | None) -> int:
    """Write out what stdout holds: a full disk is told here, not at Python's end."""
    try:
        return dispatch(argv)
    finally:
        if sys.stdout is not None:
            sys.stdout.flush()


def _drop_output() -> None:
    """Keep Python's end from trying once more what could not be written, and complaining."""
    try:
        sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; tell an error in one line, and its guilty party by the exit status."""
    hold_standard_files()
    os.environ["PATH"] = absolute_path(os.environ.get("PATH", os.defpath))
    try:
        return _dispatch_and_flush(argv)
    except LocalError as error:
        status, message = EXIT_LOCAL, str(error)
    except SystemSetupError as error:
        status, message = EXIT_SYSTEM, str(error)
    except RemoteError as error:
        status, message = EXIT_REMOTE, str(error)
    except EndedBySignal as ended:
        ended.die_of_it()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except UnicodeEncodeError as error:  # Python's way to keep bytes of an argument, in surrogates
        if not "\udc80" <= error.object[error.start] <= "\udcff":
            raise
        status, message = EXIT_LOCAL, f"{error.object!r} is no UTF-8: give a name that is"
    except BrokenPipeError:  # `tickpath … | head`: the reader has seen enough
        sys.stderr.close()
        return EXIT_PIPE_CLOSED
    except OSError as error:  # a full disk under `>`, most often
        _drop_output()
        what = f"{error.filename}: " if error.filename else "reading or writing failed: "
        status, message = EXIT_SYSTEM, f"{what}{error.strerror or error}"
    print(f"tickpath: {printable(' '.join(message.split()))}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
