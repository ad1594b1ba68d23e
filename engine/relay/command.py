"""`tickpath relay`: publish an instance to Redis, or fill a segment from there.

Called by: engine/cli.py. Calls: publisher, follower.
"""

from __future__ import annotations

import json
import os
import sys
import time
from argparse import RawDescriptionHelpFormatter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tickpath.engine.client.reader import open_reader
from tickpath.engine.relay.follower import STALE_AFTER_MS_DEFAULT, Follower, Target
from tickpath.engine.relay.nodes import RedisOptions, read_url
from tickpath.engine.relay.publisher import CAP_DEFAULT, Publisher, create_stats
from tickpath.engine.supervisor.end_signals import EndSignals
from tickpath.engine.supervisor.stop_flag import StopFlag
from tickpath.engine.supervisor.wall_time import wall_time
from tickpath.proto.venues import DEFAULT_NAME
from tickpath.shm.errors import LocalError, SystemSetupError
from tickpath.shm.segment import SegmentLockedError, check_name

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

URL_DEFAULT = "redis://127.0.0.1:6379/0"
PASSWORD_VARIABLE = "TICKPATH_REDIS_PASSWORD"  # noqa: S105 # a name, no password
PASSWORD_SIZE_MAX = 4096
REPORT_EVERY_S = 10.0
RING_MIN, RING_MAX = 1 << 10, 1 << 24


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the options of `tickpath relay`."""
    parser = subparsers.add_parser(
        "relay",
        description="Publish the books and events of an instance to Redis 7, or, with --from, fill "
        "a local segment\nfrom there, which strategies read as if the feed handler ran here. "
        "Until SIGTERM or Ctrl-C.",
        epilog=f"examples:\n  tickpath relay {DEFAULT_NAME} --to redis://10.0.0.5:6379/0\n"
        f"  tickpath relay {DEFAULT_NAME} --from rediss://bot@10.0.0.5:6380/0 --ca-file ca.pem\n"
        f"The password comes from --password-file or the environment ({PASSWORD_VARIABLE}). "
        "A cluster is\nrecognised. docs/relay.md has keys, encodings and guarantees.",
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("instance", help="the instance to publish, or that was published")
    side = parser.add_mutually_exclusive_group()
    side.add_argument("--to", metavar="URL", help=f"publish to this Redis (default: {URL_DEFAULT})")
    side.add_argument("--from", dest="source", metavar="URL", help="fill a segment from this Redis")
    parser.add_argument("--user", help="ACL user (default: the one in the URL, or 'default')")
    parser.add_argument("--password-file", type=Path, metavar="FILE", help="its first line")
    parser.add_argument("--ca-file", metavar="PEM", help="certificates to trust (rediss://)")
    parser.add_argument("--cert-file", metavar="PEM", help="our certificate, where one is asked")
    parser.add_argument("--key-file", metavar="PEM", help="its private key")
    parser.add_argument(
        "--cap",
        type=int,
        default=CAP_DEFAULT,
        metavar="N",
        help="keep about N entries of each stream (default: %(default)s)",
    )
    parser.add_argument("--as", dest="local", metavar="NAME", help="with --from: local instance")
    parser.add_argument(
        "--stale-after-ms",
        type=int,
        default=STALE_AFTER_MS_DEFAULT,
        metavar="MS",
        help="with --from: books are STALE when the relay was silent so long "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--ring",
        type=int,
        default=16384,
        metavar="N",
        help="with --from: slots of the local ring, a power of two (default: %(default)s)",
    )
    parser.add_argument(
        "--spin", action="store_true", help="never sleep: sooner, and a CPU is busy all the time"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line on stdout")


def run(args: argparse.Namespace) -> int:
    """Relay until a signal; 0 then."""
    _check(args)
    options = _options(args)
    stop = StopFlag()
    tell = _teller(as_json=args.json)
    work = _follow if args.source else _publish
    with EndSignals(stop.set, "Redis"):
        return work(args, options, stop, tell)


def _check(args: argparse.Namespace) -> None:
    if not 1 <= args.cap <= 1_000_000:
        raise LocalError(f"--cap {args.cap}: expected 1 to 1000000 entries")
    if not 200 <= args.stale_after_ms <= 3_600_000:
        raise LocalError(
            f"--stale-after-ms {args.stale_after_ms}: expected 200 (two heartbeats) to 3600000"
        )
    if not RING_MIN <= args.ring <= RING_MAX or args.ring & (args.ring - 1):
        raise LocalError(f"--ring {args.ring}: expected a power of two, {RING_MIN} to {RING_MAX}")
    if args.local and not args.source:
        raise LocalError("--as names the segment that --from fills: give --from URL too")
    check_name(args.local or args.instance)


def _options(args: argparse.Namespace) -> RedisOptions:
    """Join URL, options and environment; raises LocalError."""
    fields: dict[str, Any] = read_url(args.source or args.to or URL_DEFAULT)
    if args.user:
        fields["username"] = args.user
    fields["password"] = _password(args.password_file)
    fields |= {"ca_file": args.ca_file, "cert_file": args.cert_file, "key_file": args.key_file}
    if not fields["tls"] and (args.ca_file or args.cert_file or args.key_file):
        raise LocalError("certificates are for TLS: write rediss:// in the URL")
    _check_files(args)
    if fields["username"] and fields["password"] is None:
        raise LocalError(
            f"user {fields['username']!r} without a password: give --password-file, "
            f"or set {PASSWORD_VARIABLE}"
        )
    return RedisOptions(**fields)


def _check_files(args: argparse.Namespace) -> None:
    """Look at the files of certificates before anything is connected."""
    for option in ("ca_file", "cert_file", "key_file"):
        if path := getattr(args, option):
            try:
                Path(path).open("rb").close()
            except OSError as error:
                name = option.replace("_", "-")
                raise LocalError(f"--{name} {path}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _password(path: Path | None) -> str | None:
    if path is None:
        return os.environ.get(PASSWORD_VARIABLE)
    try:
        with path.open(encoding="utf-8") as file:
            line = file.readline(PASSWORD_SIZE_MAX).rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise LocalError(f"--password-file {path}: not UTF-8 text: give a text file") from error
    except OSError as error:
        raise LocalError(
            f"--password-file {path}: {error.strerror}: give a readable file"
        ) from error
    if not line:
        raise LocalError(f"--password-file {path}: its first line is empty")
    return line


def _teller(*, as_json: bool) -> Callable[..., None]:
    def tell(event: str, **values: object) -> None:
        if as_json:
            print(json.dumps({"t": time.time(), "event": event, **values}), flush=True)
        else:
            details = ", ".join(_detail(name, value) for name, value in values.items())
            text = f"{wall_time(time.time())} relay {event}" + (f": {details}" * bool(details))
            print(text, file=sys.stderr)

    return tell


def _detail(name: str, value: object) -> str:
    return str(value) if name == "why" else f"{name.replace('_', ' ')} {value}"


def _publish(
    args: argparse.Namespace, options: RedisOptions, stop: StopFlag, tell: Callable[..., None]
) -> int:
    with open_reader(args.instance, name="relay") as reader, create_stats(args.instance) as stats:
        publisher = Publisher(reader, options, tell, cap=args.cap, stats=stats)
        publisher.is_spinning = args.spin
        publisher.start()
        _turn(publisher.step, stop, lambda: tell("counted", **publisher.counters))
        publisher.close()
        tell("stopped", **publisher.counters)
    return 0


def _follow(
    args: argparse.Namespace, options: RedisOptions, stop: StopFlag, tell: Callable[..., None]
) -> int:
    target = Target(name=args.local, stale_after_ms=args.stale_after_ms, ring_capacity=args.ring)
    follower = Follower(args.instance, options, tell, target=target)

    def counted() -> dict[str, int]:
        return follower.segment.counters if follower.segment else {}

    try:
        follower.is_spinning = args.spin
        follower.start()
        _turn(follower.step, stop, lambda: tell("counted", **counted()))
        tell("stopped", **counted())
    except SegmentLockedError as error:
        raise SystemSetupError(
            f"{error}; --as NAME fills one of another name with {args.instance}"
        ) from error
    finally:
        follower.close()
    return 0


def _turn(step: Callable[[], None], stop: StopFlag, report: Callable[[], None]) -> None:
    due = time.monotonic() + REPORT_EVERY_S
    while not stop.is_set():
        step()
        if time.monotonic() >= due:
            due = time.monotonic() + REPORT_EVERY_S
            report()
