"""`tickpath strategy`: run a user's class in this process, pinned and scheduled as asked for."""

from __future__ import annotations

import argparse
import difflib
import importlib
import math
import os
import re
import sys
import traceback
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from tickpath.engine.client.reader import open_reader
from tickpath.engine.config.check import check_name
from tickpath.engine.strategy import Strategy
from tickpath.engine.strategy.compiled import NativeFunction
from tickpath.engine.strategy.from_file import import_file, keep_children_safe
from tickpath.engine.strategy.guarded import guarded
from tickpath.engine.strategy.library import check_writers
from tickpath.engine.strategy.native import compiled, load_native, parse_parameters
from tickpath.engine.strategy.native_runtime import (
    NativeRuntime,
    NativeStoppedError,
    NativeStrategy,
    native_class,
)
from tickpath.engine.strategy.runtime import (
    EXIT_STRATEGY_FAILED,
    Placement,
    Runtime,
    prepared,
    warn_to_stderr,
)
from tickpath.engine.strategy.stats import (
    StrategyStats,
    check_own,
    create_stats,
    own_counters,
    summarise,
)
from tickpath.engine.supervisor.end_signals import EndedBySignal, EndSignals
from tickpath.rt.standard_files import stdout_has_no_reader
from tickpath.shm.errors import LocalError, SystemSetupError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType, ModuleType, TracebackType

    from tickpath.engine.client.reader import FeedReader

WAIT_S_DEFAULT = 10.0
RUNTIME_FILE = Runtime.run.__code__.co_filename
PACKAGE = Path(__file__).resolve().parents[2]
_UNFIT_FOR_A_NAME = re.compile(r"[^A-Za-z0-9._-]")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the options of `tickpath strategy`."""
    parser = subparsers.add_parser(
        "strategy",
        help="run a strategy class in a pinned process",
        description="Run a strategy class on the books of a running feed handler.",
        epilog="example: tickpath strategy examples/top_of_book.py:TopOfBook --instance demo "
        "--cpu 1 --priority 40\n"
        "exit status, beside those of every command: 4 where the strategy's own code raised; "
        "where it\nraises SystemExit with a number, that",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "strategy",
        metavar="MODULE:CLASS",
        help="a module (dotted, from the current directory or installed) or a .py file, which may "
        "import what lies beside it, and a class in it that derives from "
        "tickpath.engine.strategy.Strategy; or FILE.py:FUNCTION under @tickpath.native, or "
        "LIBRARY.so:SYMBOL (docs/strategies.md)",
    )
    parser.add_argument(
        "--parameter",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="what a native strategy's state begins with; once for each",
    )
    parser.add_argument("--instance", required=True, help="the feed handler's instance name")
    parser.add_argument("--name", help="of this strategy in statistics (default: the class)")
    parser.add_argument("--cpu", type=int, help="run on this CPU only")
    parser.add_argument("--priority", type=int, help="SCHED_FIFO priority, 1 to 40")
    parser.add_argument(
        "--block",
        action="store_true",
        help="sleep until the feed's waker wakes it, instead of spinning: some 50 us later, "
        "next to no CPU",
    )
    parser.add_argument(
        "--yield-ms",
        type=float,
        metavar="MS",
        help="after each MS of running sleep just long enough that the kernel's limit for "
        "real-time tasks is never reached",
    )
    parser.add_argument("--seconds", type=float, help="end after so long (default: a signal)")
    parser.add_argument(
        "--wait",
        type=float,
        default=WAIT_S_DEFAULT,
        metavar="S",
        help="wait so long for the feed handler to come up (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")


class StrategyFailedError(Exception):
    """Say that the user's own code raised; its cause is what it raised."""


def load_strategy(text: str, parameters: Mapping[str, int | float] | None = None) -> type[Strategy]:
    """Import MODULE:CLASS; raises LocalError saying which part of it is wrong.

    FILE.py:FUNCTION under @tickpath.native and LIBRARY.so:SYMBOL become a class, too, which begins
    with `parameters`.

    Raises StrategyFailedError where the module's own code raises.
    """
    module_name, colon, class_name = text.rpartition(":")
    if not colon or not module_name or not class_name:
        raise LocalError(
            f"strategy {text!r}: expected MODULE:CLASS, such as my_strategy:MyStrategy"
        )
    if module_name.endswith(".so"):
        return native_class(load_native(text), parameters or {})
    try:
        module = _import_module(module_name)
    except LocalError:
        raise
    except SyntaxError as error:
        raise LocalError(
            f"strategy {text!r}: {error.filename} line {error.lineno}: {error.msg}: "
            "expected a module that Python can read"
        ) from error
    except ModuleNotFoundError as error:
        raise LocalError(
            f"strategy {text!r}: it imports {error.name}, which is not there: install it for "
            f"{sys.executable}, or put it into {_folder(module_name)}"
        ) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # also what is no Exception, such as SystemExit
        raise StrategyFailedError(text) from error
    found = getattr(module, class_name, None)
    if isinstance(found, NativeFunction):
        return native_class(compiled(text, found), parameters or {})
    if parameters:
        raise LocalError(
            f"strategy {text!r}: --parameter is for native strategies, this is a class"
        )
    if not isinstance(found, type) or not issubclass(found, Strategy):
        what = "not there" if found is None else "no class derived from Strategy"
        place = module.__file__ or f"the folder {next(iter(module.__path__), '')}"
        raise LocalError(
            f"strategy {text!r}: {class_name} is {what} in {place}; derive it from "
            "tickpath.engine.strategy.Strategy"
        )
    return found


def misspelt(strategy_class: type[Strategy]) -> list[str]:
    """Say of each on_... that nobody calls which method was likely meant."""
    called = [name for name in vars(Strategy) if name.startswith("on_")]
    own = [name for name in dir(strategy_class) if name.startswith("on_") and name not in called]
    lines = []
    for name in own:
        close = difflib.get_close_matches(name, called, n=1)
        hint = f"did you mean {close[0]}?" if close else f"those that are: {', '.join(called)}"
        lines.append(f"{strategy_class.__name__}.{name} is never called: {hint}")
    return lines


def _folder(module_name: str) -> Path:
    """Return where a module of the user's own is looked for, after all that is installed."""
    here = Path.cwd()
    return (here / module_name).resolve().parent if module_name.endswith(".py") else here


def _import_module(name: str) -> ModuleType:
    if name.endswith(".py"):
        path = Path(name)
        if not path.is_file():
            raise LocalError(f"strategy file {name!r}: no such file in {Path.cwd()}")
        check_writers(path.resolve(), owner_is_believed=True)
        return import_file(path)
    here = os.fspath(Path.cwd())
    if here not in sys.path:
        beside = Path.cwd() / name.partition(".")[0]
        for code in (beside, beside.with_suffix(".py")):
            if code.exists():
                check_writers(code.resolve(), owner_is_believed=True)
        sys.path.append(here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not name.startswith(error.name):
            raise  # the strategy's own import failed
        raise LocalError(
            f"strategy module {name!r}: not found from {here} nor installed; give a dotted module "
            "or the path of a .py file"
        ) from error


def check(args: argparse.Namespace) -> Placement:
    """Refuse values that cannot be, before anything is touched."""
    for option in ("seconds", "yield_ms"):
        value = getattr(args, option)
        if value is not None and not 0 < value < math.inf:
            raise LocalError(f"--{option.replace('_', '-')} {value}: expected more than 0")
    if not 0 <= args.wait < math.inf:
        raise LocalError(f"--wait {args.wait}: expected 0 or more seconds")
    check_name("--instance", args.instance)
    if args.name is not None:
        check_name("--name", args.name)
    return Placement(cpu=args.cpu, priority=args.priority, block=args.block, yield_ms=args.yield_ms)


def run(args: argparse.Namespace) -> int:
    """Run the strategy; 0 after its time or a signal, 4 where its own code raised."""
    placement = check(args)
    keep_children_safe()
    try:
        strategy_class = load_strategy(args.strategy, parse_parameters(args.parameter))
    except StrategyFailedError as error:
        return _ended_by(args, error.__cause__)
    for line in misspelt(strategy_class):
        warn_to_stderr(line)
    name = args.name or _UNFIT_FOR_A_NAME.sub("_", strategy_class.__name__)
    with open_reader(args.instance, name=None, wait_s=args.wait) as reader, ExitStack() as stack:
        try:
            strategy = strategy_class()
            strategy.reader, strategy.instruments = reader, reader.instruments
            own = tuple(strategy.counter_names())
            check_own(own)
        except (LocalError, KeyboardInterrupt):  # of a native strategy's parameters; Ctrl-C
            raise
        except BaseException as error:  # whatever the user's code raises is told as its own
            return _ended_by(args, error)
        stats = stack.enter_context(create_stats(args.instance, name, own))
        kind = NativeRuntime if isinstance(strategy, NativeStrategy) else Runtime
        runtime = kind(strategy, reader, stats, placement)
        runtime.join = partial(register, reader, name)
        ended, status = None, 0
        try:
            with (
                EndSignals(runtime.stop, where_it_is) as signals,
                guarded(stats, name, placement) as guarding,
            ):
                runtime.look_after = guarding.look if guarding else None
                status = _run_prepared(runtime, placement, args, signals)
        except EndedBySignal as error:
            ended = error
        if runtime.is_forked:  # a child's: the figures are the parent's to print
            return status
        summary = summarise(stats)
    print(msgspec.json.encode(summary).decode() if args.json else format_summary(summary))
    if ended is not None:
        raise ended
    return status


def register(reader: FeedReader, name: str) -> None:
    """Stand at the head, as a consumer: from here on nothing is skipped.

    Not before the strategy has started: a replay waits for its consumers, and what it published
    meanwhile would be lost to one that moved to the head again. One that has registered by itself
    stays where it stands.
    """
    if reader.shm.is_registered or reader.register(name):
        return
    reader.shm.join()
    warn_to_stderr(f"not registered as a consumer: {reader.unregistered_because}")


def where_it_is(frame: FrameType | None) -> str:
    """Say which method of the strategy the loop waits for, and where in it that is."""
    own: list[FrameType] = []
    while frame is not None and frame.f_code.co_filename != RUNTIME_FILE:
        own.append(frame)
        frame = frame.f_back
    if frame is None or not own:
        return "its loop"
    innermost = own[0]
    place = f"{innermost.f_code.co_filename} line {innermost.f_lineno}"
    return f"{own[-1].f_code.co_qualname} ({place})"


def _run_prepared(
    runtime: Runtime, placement: Placement, args: argparse.Namespace, signals: EndSignals
) -> int:
    raised: BaseException | None = None
    try:
        with prepared(placement, warn_to_stderr):
            # The loop looks at the time when it is idle: a strategy that falls behind never is.
            signals.ask_after(args.seconds or 0.0)
            try:
                runtime.run(args.seconds)
            except KeyboardInterrupt:  # EndedBySignal is one
                raise
            except BaseException as error:  # also what is no Exception, such as CancelledError
                raised = error
    except ValueError as error:
        raise LocalError(str(error)) from error
    except PermissionError as error:
        raise SystemSetupError(str(error.strerror or error)) from error
    return 0 if raised is None else _ended_by(args, raised, is_forked=runtime.is_forked)


def _ended_by(
    args: argparse.Namespace, raised: BaseException | None, *, is_forked: bool = False
) -> int:
    """Say what the user's code raised, where that is not for us to know; return the status."""
    if isinstance(raised, SystemExit):
        if raised.code is None or isinstance(raised.code, int):
            return raised.code or 0
        print(f"tickpath: strategy {args.strategy} ended: {raised.code}", file=sys.stderr)
        return EXIT_STRATEGY_FAILED
    if isinstance(raised, NativeStoppedError):
        print(f"tickpath: strategy {args.strategy} is stopped: {raised}", file=sys.stderr)
        return EXIT_STRATEGY_FAILED
    if isinstance(raised, BrokenPipeError) and stdout_has_no_reader():
        raise raised  # it printed, and who read that has seen enough: no fault of its own
    return _tell_failure(args, raised, is_forked=is_forked)


def _own_frames(trace: TracebackType | None) -> TracebackType | None:
    """Leave out the frames before the user's code: ours and the import machinery's."""
    own = trace
    while own is not None:
        name = own.tb_frame.f_code.co_filename
        if not (
            name.startswith("<frozen")
            or name == importlib.__file__
            or name.startswith(f"{PACKAGE}/")
        ):
            return own
        own = own.tb_next
    return trace


def _tell_failure(
    args: argparse.Namespace, raised: BaseException | None, *, is_forked: bool = False
) -> int:
    """Print the traceback of the user's code, and below it a line of ours; return the status."""
    if raised is None:
        raise AssertionError("nothing was raised")
    traceback.print_exception(raised.with_traceback(_own_frames(raised.__traceback__)))
    said = f"strategy {args.strategy} raised; it has ended"
    if is_forked:
        said = f"process {os.getpid()}, forked by {args.strategy}, raised; the strategy goes on"
    print(f"tickpath: {said}", file=sys.stderr)
    return EXIT_STRATEGY_FAILED


def format_summary(summary: StrategyStats) -> str:
    """Write the figures as people read them: microseconds."""
    counts = summary.counters
    lines = [
        f"strategy {summary.strategy} on {summary.instance}: {counts['events']} events, "
        f"{counts['tops']} books, {counts['lost']} lost in {counts['laps']} laps, "
        f"{counts['restarts']} restarts",
        f"{'hop (microseconds)':<22}{'n':>12}"
        + "".join(f"{title:>11}" for title in ("min", "p50", "p99", "p99.9"))
        + f"{'max':>13}",
    ]
    for hop, p in summary.hops.items():
        figures = "".join(f"{ns / 1000:>11.2f}" for ns in (p.min, p.p50, p.p99, p.p999))
        title = hop.replace("_", " ")
        if p.n == 0:
            lines.append(f"{title:<22}{0:>12}  nothing to measure: no book, or a replay's")
            continue
        lines.append(f"{title:<22}{p.n:>12}{figures}{p.max / 1000:>13.2f}")
    lines += [f"{name:<34}{value:>12}" for name, value in own_counters(counts).items()]
    return "\n".join(lines)
