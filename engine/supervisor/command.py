"""`tickpath run CONFIG.toml`: check the configuration, start the feed handler, keep it running.

The supervisor is never on the path: it starts the feed handler as a process of its own, watches its
heartbeat in shared memory, and starts it again when it dies or hangs. Strategies go on through it.
It also keeps the feed handler's hot thread from starving others (rt/guard), and tells the service
manager what it sees (rt/notify): ready when the segment is up, alive only while the loop beats.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tickpath.engine.config.check import EXAMPLE, load_config
from tickpath.engine.config.credential import complaints
from tickpath.engine.config.host import check_host
from tickpath.engine.config.lists import look_at_lists
from tickpath.engine.feed_handler import changes, memory
from tickpath.engine.feed_handler.inline import check_inline, inline_names, placements
from tickpath.engine.feed_handler.instrument_list import own_names
from tickpath.engine.feed_handler.plan import make_plan
from tickpath.engine.strategy.stats import called_when_died, stats_name
from tickpath.engine.supervisor.child_process import spawn, stop
from tickpath.engine.supervisor.end_signals import EndedBySignal, EndSignals
from tickpath.engine.supervisor.feed_handler_watch import HANG_AFTER_S, FeedHandlerWatch
from tickpath.engine.supervisor.hangup import Hangup
from tickpath.engine.supervisor.stop_flag import StopFlag
from tickpath.engine.supervisor.wall_time import wall_time
from tickpath.rt import guard, process
from tickpath.rt.notify import Notifier, Watchdog, watchdog_s
from tickpath.shm.clock import NS_PER_S, SYSTEM, Clock
from tickpath.shm.errors import LocalError, SystemSetupError
from tickpath.shm.segment import Segment, SegmentError, remove_dead

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from types import FrameType

    from tickpath.engine.config.lists import ListCheck
    from tickpath.engine.config.schema import Config

END_SIGNALS = (signal.SIGINT, signal.SIGTERM)  # and SIGHUP of a terminal that went away
EXIT_REMOTE, EXIT_LOCAL = 1, 2
GUARD_PRIORITY = 1  # of SCHED_FIFO: ahead of all that is ordinary, behind all that is not
STABLE_AFTER_S = 10.0
STOP_TIMEOUT_S = 8.0  # a base under way may take 5
RESTART_FIRST_S, RESTART_MAX_S = 0.2, 5.0
STARTUP_TRIES_STATUSES = (2, 3)  # a wrong configuration or host stays wrong: no use in trying again


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `tickpath run`."""
    parser = subparsers.add_parser(
        "run",
        description="Read market data into shared memory as a configuration file says, "
        "until SIGTERM or Ctrl-C.",
        epilog=f"example: tickpath run {EXAMPLE}",
    )
    parser.add_argument("config", type=Path, metavar="CONFIG.toml")
    parser.add_argument("--check", action="store_true", help="only check the file and this host")
    parser.add_argument(
        "--lists",
        action="store_true",
        help="with --check: ask each venue for its list as well, and name the symbols that would "
        "be left out (status 2), or that it could not be asked (status 1)",
    )
    parser.add_argument(
        "--json", action="store_true", help="one JSON object a line of what happens"
    )


def run(args: argparse.Namespace) -> int:
    """Check everything before anything is touched, then supervise."""
    try:
        config = _checked(args.config)
    except LocalError as error:
        if args.check and args.json:
            told = {"config": str(args.config), "ok": False, "well": False, "error": str(error)}
            print(json.dumps(told))
        raise
    if args.lists and not args.check:
        raise LocalError("--lists without --check: it says what is checked: add --check")
    if args.check:
        check_inline(config, args.config)
        lists = look_at_lists(config) if args.lists else []
        _report_check(config, args.config, lists, as_json=args.json)
        return status_of(lists)
    refuse_second(config.instance, args.config)
    return Supervisor(config, args.config, as_json=args.json).run()


def refuse_second(instance: str, path: Path) -> None:
    """Raise SystemSetupError, which names the holder, where an instance of this name runs."""
    try:
        with Segment(instance) as segment:
            if not segment.writer_lives():
                return
            pid = int(segment.header.writer_pid)
            is_here = segment.writer_is_in_sight()
    except SegmentError:
        return  # none, or one that cannot be read: its writer's lock decides
    holder = f"process {pid}" if is_here else f"process {pid} of another PID namespace"
    words = process.command_line(pid) if is_here else ""
    raise SystemSetupError(
        f"{path}: instance {instance!r} runs already, {holder}{f' ({words})' * bool(words)} writes "
        "it: stop that one, or give this one another `instance`"
    )


def status_of(lists: Sequence[ListCheck]) -> int:
    """Return 2 where a symbol would be left out, 1 where a venue could not be asked, else 0."""
    if any(one.left_out for one in lists):
        return EXIT_LOCAL
    return EXIT_REMOTE if any(one.error for one in lists) else 0


def _report_check(config: Config, path: Path, lists: Sequence[ListCheck], *, as_json: bool) -> None:
    spare = config.shm.instrument_spare
    books = sum(len(venue.symbols) for venue in config.venues) + spare
    plans = [make_plan(venue, own_names(venue)) for venue in config.venues]
    connections = sum(memory.connections_of(plans, spare))
    found = memory.needs(config, books, connections)
    room = memory.shared_needs(config, books)
    shortage = memory.shared_shortage(config, room)
    for index, venue in enumerate(config.venues):
        for line in complaints(venue):
            print(f"warning: venue[{index}] ({venue.name}): {line}", file=sys.stderr)
    if as_json:
        sizes = {one.name: one.size for one in (*found, *room)}
        ok = status_of(lists) == 0
        # "well" is the name of "ok" in 0.1; it goes with the next version.
        told = {"config": str(path), "ok": ok, "well": ok, "memory": sizes}
        told |= {"lists": [one.facts() for one in lists]} if lists else {}
        if config.strategies:
            told["strategies"] = [
                {"name": one.name, "placement": one.placement, "source": one.source}
                for one in config.strategies
            ]
        print(json.dumps(told))
    else:
        lines = [memory.describe(found), memory.describe(room, "shared memory")]
        lines += placements(config)
        lines += [line for one in lists for line in one.lines()]
        verdicts = ("OK", "a venue could not be asked", "symbols would be left out")
        print("\n".join([*lines, f"{path}: {verdicts[status_of(lists)]}"]), file=sys.stderr)
    if shortage:
        print(f"warning: {shortage}", file=sys.stderr)


def _checked(path: Path) -> Config:
    """Read the file and check it and this host; raises LocalError naming the file."""
    config = load_config(path, lambda line: print(f"tickpath: {line}", file=sys.stderr))
    try:
        check_host(config)
    except LocalError as error:
        raise LocalError(f"{path}: {error}") from error
    return config


class Supervisor:
    """One feed handler and its restarts."""

    def __init__(self, config: Config, path: Path, *, as_json: bool, clock: Clock = SYSTEM) -> None:
        self._config, self._path, self._as_json = config, path, as_json
        self._clock = clock
        self._stop = StopFlag()
        self._hangup = Hangup(self._stop.set)
        self._reload_due = False
        self._feed_handler: subprocess.Popen[str] | None = None
        self._failures = 0
        self._killed_because = ""  # set while a feed handler that we killed ends
        self._died_in = ""  # the inline strategy that was called when one ended
        self._is_ready = False
        self._notifier = Notifier.from_environment()
        self._watchdog = Watchdog(self._notifier, watchdog_s())

    def run(self) -> int:
        """Return the exit status: 0 after a signal, else why the feed handler could not start."""
        self._leave_hot_cpu()
        changes.forget(self._config.instance)  # a start begins with the configuration alone
        try:
            ends = EndSignals(self._stop.set, self._what_it_waits_for, END_SIGNALS)
            with ends, self._hangup:
                return self._keep_running()
        finally:
            self._notifier.close()
            # A feed handler that was killed left its segment, and maybe none came to replace it.
            with contextlib.suppress(SegmentError, OSError):
                remove_dead(self._config.instance)
            for name in inline_names(self._config):
                with contextlib.suppress(SegmentError, OSError):
                    remove_dead(stats_name(self._config.instance, name))

    def _keep_running(self) -> int:
        while not self._stop.is_set():
            started = self._clock.now_s()
            self._feed_handler = feed_handler = self._start()
            try:
                self._watch(feed_handler)
                if self._stop.is_set():
                    self._notifier.stopping()
                    status = stop(feed_handler, STOP_TIMEOUT_S)
                    self._tell("stopped", status=status)
                    return 0
            except EndedBySignal:
                feed_handler.kill()  # what it leaves is removed as after any death
                feed_handler.wait()
                raise
            status = feed_handler.wait()
            lived = self._clock.now_s() - started
            self._died_in = called_when_died(self._config.instance, feed_handler.pid) or ""
            if status in STARTUP_TRIES_STATUSES and self._failures == 0 and lived < STABLE_AFTER_S:
                return status
            self._restart(status, lived)
        return 0

    def _what_it_waits_for(self, _frame: FrameType | None) -> str:
        return (
            f"the feed handler, at most {STOP_TIMEOUT_S:g} s"
            if self._feed_handler
            else "its own end"
        )

    def _tell(self, event: str, words: str = "", **values: object) -> None:
        """Say what happened: in these words or, without any, by the names of the values."""
        unix_s = self._clock.unix_ns() / NS_PER_S
        if self._as_json:
            print(json.dumps({"t": unix_s, "event": event, **values}), flush=True)
        else:
            pairs = (f"{name.replace('_', ' ')} {value}" for name, value in values.items())
            line = words or f"{event}: {', '.join(pairs)}"
            print(f"{wall_time(unix_s)} feed handler {line}", file=sys.stderr)

    def _start(self) -> subprocess.Popen[str]:
        command = [
            sys.executable,
            "-P",
            "-m",
            "tickpath.engine.feed_handler.process",
            str(self._path),
        ]
        command += ["--json"] if self._as_json else []
        feed_handler = spawn(command, stdin=subprocess.DEVNULL)
        self._tell("started", pid=feed_handler.pid, instance=self._config.instance)
        return feed_handler

    def _leave_hot_cpu(self) -> None:
        """Look on from another CPU than the hot thread's; its process's cold threads follow us."""
        feed_handler = self._config.feed_handler
        if (
            feed_handler.cpu is not None
            and not guard.leave_cpus({feed_handler.cpu})
            and feed_handler.priority > 0
        ):
            self._tell(
                "unguarded", cpu=feed_handler.cpu, why="there is no other CPU to watch it from"
            )

    def _watch(self, feed_handler: subprocess.Popen[str]) -> None:
        """Return when the feed handler ended, hung (and was killed), or a signal came."""
        watch = FeedHandlerWatch(
            self._config.instance,
            feed_handler.pid,
            has_priority=self._config.feed_handler.priority > 0,
            tell=lambda text: self._tell("guard", says=text),
        )
        next_age = self._clock.now_s() + HANG_AFTER_S
        try:
            while not self._stop.wait(guard.POLL_S) and feed_handler.poll() is None:
                now = self._clock.now_s()
                watch.look()
                self._pass_reload(watch, feed_handler)
                self._notify(watch, feed_handler.pid, now)
                if now < next_age:
                    continue
                next_age = now + 1.0
                age_s = watch.hangs_since_s()
                if age_s is not None:
                    self._tell("hangs", pid=feed_handler.pid, heartbeat_age_s=round(age_s, 1))
                    self._killed_because = f"its heartbeat stopped {age_s:.1f} s ago"
                    feed_handler.kill()
        finally:
            watch.close()

    def _pass_reload(self, watch: FeedHandlerWatch, feed_handler: subprocess.Popen[str]) -> None:
        """Have the feed handler read its configuration anew, once it is one that can."""
        self._reload_due |= self._hangup.take()
        if not self._reload_due or not watch.is_up:
            return  # one that starts reads it anyway, and is asked when it is up
        self._reload_due = False
        feed_handler.send_signal(signal.SIGHUP)
        self._tell("reload", "reads its configuration anew", pid=feed_handler.pid)

    def _notify(self, watch: FeedHandlerWatch, pid: int, now_s: float) -> None:
        if not watch.is_beating:
            return
        state = "runs without its priority: it hung" if watch.is_demoted else "runs"
        status = f"{self._config.instance}: feed handler {pid} {state}"
        if not self._is_ready:
            self._is_ready = True
            self._take_priority()
            self._notifier.ready(status)
        self._notifier.status(status)
        self._watchdog.feed(now_s)

    def _take_priority(self) -> None:
        """Guard ahead of ordinary processes, once there is a real-time thread to guard.

        Not from the start: imports at SCHED_FIFO starve a host's one housekeeping CPU for seconds.
        """
        if self._config.feed_handler.priority > 0:
            with contextlib.suppress(
                PermissionError
            ):  # the feed handler told how to have it permitted
                process.set_fifo(GUARD_PRIORITY)

    def _restart(self, status: int, lived_s: float) -> None:
        self._failures = 1 if lived_s > STABLE_AFTER_S else self._failures + 1
        doubled = RESTART_FIRST_S * 2.0 ** min(self._failures - 2, 16)
        delay = 0.0 if self._failures == 1 else min(RESTART_MAX_S, doubled)
        how = f"signal {-status}" if status < 0 else f"status {status}"
        if self._killed_because:
            how += f" from this supervisor, since {self._killed_because}"
            self._killed_because = ""
        if self._died_in:
            how += f" in strategy {self._died_in}"
        ended = f"killed by {how}" if status < 0 else f"ended with {how}"
        self._tell("ended", f"{ended}; restarting in {delay:.1f} s", by=how, restart_in_s=delay)
        self._notifier.status(f"{self._config.instance}: feed handler {ended}, starting another")
        self._stop.wait(delay)
