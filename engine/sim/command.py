"""`tickpath sim VENUE...`: simulated exchanges as a process of their own.

Several venues have a port each, and quote around common prices (fair.py). Called by: cli.py. Calls:
exchange.py, venues/, certificates.py.
"""

from __future__ import annotations

import argparse
import asyncio
import ssl
import sys
import textwrap
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import uvloop
from tickpath.engine.sim.certificates import make_ca
from tickpath.engine.sim.exchange import Exchange, Options
from tickpath.engine.sim.faults import (
    HARMS_INSTRUMENT,
    NEEDS_ARGUMENT,
    TAKES_NOTHING,
    TAKES_NUMBER,
    Fault,
    Order,
    parse_scheduled_fault,
)
from tickpath.engine.sim.market import LEVELS_MAX, instrument_names
from tickpath.engine.sim.venues import dialect_names, load_dialect
from tickpath.engine.supervisor.end_signals import EndSignals
from tickpath.proto.instrument import Instrument, find_instrument
from tickpath.proto.venues import DEFAULT_NAME, name_symbol, pair_symbol, resolve_symbol
from tickpath.rt.standard_files import hold_standard_files
from tickpath.shm.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tickpath.proto.venue import Venue

INSTRUMENTS_MAX: Final = 5000
RATE_MAX: Final = 1_000_000.0
STATUS_INTERVAL_S: Final = 1.0
PORTS: Final = 65536
CERTIFICATES: Final = ("good", "expired", "wrong-name")


def _fault_form(fault: Fault) -> str:
    """Write a fault as it is asked for, with the argument that it takes."""
    if fault in TAKES_NOTHING:
        return fault.value
    numbers = {Fault.PING_FLOOD: "COUNT", Fault.CLOSE: "CODE"}
    argument = numbers.get(fault, "SECONDS") if fault in TAKES_NUMBER else "SYMBOL"
    return f"{fault.value}:{argument}" if fault in NEEDS_ARGUMENT else f"{fault.value}[:{argument}]"


_SEVERAL = " ".join(dialect_names())
_LAST = dialect_names()[-1]
_EXAMPLE = f"""\
examples:
  tickpath sim {DEFAULT_NAME} --listen 127.0.0.1:8443 --make-ca /tmp/ca --instruments 3 --rate 1000
  tickpath sim {DEFAULT_NAME} --make-ca /tmp/ca --instruments BTCUSDT,ETHUSDT --fault gap@5s \\
      --fault refuse:ETHUSDT@0s --json
  tickpath sim {_SEVERAL} --make-ca /tmp/ca --instruments BTC/USDT,ETH/USDT \\
      --fault {_LAST}:disconnect@5s
several venues listen on ports one after the other, in that order, and quote the same instruments
around common prices: now and then one's best bid is above another's best ask.
while it runs:
  curl --cacert /tmp/ca/ca.pem -X POST 'https://127.0.0.1:8443/fault?kind=disconnect'
  curl --cacert /tmp/ca/ca.pem 'https://127.0.0.1:8443/truth?symbol=BTCUSDT'
faults, [in brackets] what may be left out:
  """ + "\n  ".join(textwrap.wrap(", ".join(_fault_form(fault) for fault in Fault), 90))


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `sim`."""
    parser = subparsers.add_parser(
        "sim",
        help="simulate an exchange",
        description="Simulate one or several exchanges on the kernel's sockets: WebSocket, REST, "
        "faults.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "venue",
        nargs="+",
        choices=dialect_names(),
        metavar="VENUE",
        help=f"whose protocol it speaks, one or several of {', '.join(dialect_names())}",
    )
    parser.add_argument(
        "--listen",
        default="127.0.0.1:8443",
        metavar="ADDR:PORT",
        help="default %(default)s; port 0: a free one, which the first line names; several venues: "
        "the first one's",
    )
    parser.add_argument("--cert", type=Path, metavar="PEM", help="the server's certificate chain")
    parser.add_argument("--key", type=Path, metavar="PEM", help="its private key")
    parser.add_argument("--make-ca", type=Path, metavar="DIR", help="write a CA and use it")
    parser.add_argument(
        "--certificate",
        choices=CERTIFICATES,
        default="good",
        help="what --make-ca makes (default %(default)s)",
    )
    parser.add_argument("--name", action="append", default=[], help="one more name in that")
    parser.add_argument("--plain", action="store_true", help="ws:// and http://, without TLS")
    parser.add_argument("--tls12", action="store_true", help="TLS 1.2 only")
    _add_market(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def _add_market(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--instruments",
        default="1",
        metavar="N|NAMES",
        help=f"how many, 1 to {INSTRUMENTS_MAX}, or which, as in BTCUSDT,ETH/USDT "
        "(default %(default)s)",
    )
    parser.add_argument(
        "--rate",
        type=float,
        default=100.0,
        help=f"messages a second, in all: 0 to {RATE_MAX:.0f} (default %(default)s)",
    )
    parser.add_argument(
        "--levels",
        metavar="N|LOW-HIGH",
        help=f"changed levels a message, within 1 to {LEVELS_MAX} (default mostly 2)",
    )
    parser.add_argument(
        "--depth",
        type=int,
        default=200,
        help=f"levels a side, from {2 * LEVELS_MAX} to what the venue gives (default %(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, default=1, help="the same seed, the same walk (default %(default)s)"
    )
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="[VENUE:]KIND[:ARG]@SECONDS",
        help="let it happen so long after the start, as in gap:BTCUSDT@5s; may be repeated; of "
        "several venues, say at which. The kinds, and what ARG is, stand below",
    )
    parser.add_argument(
        "--idle",
        type=float,
        metavar="S",
        help="close a connection without subscription after so long (default: as the venue does)",
    )


def parse_address(text: str) -> tuple[str, int]:
    """Split ADDR:PORT; raises LocalError."""
    address, _, port = text.rpartition(":")
    if not address or not port.isdigit() or int(port) >= PORTS:
        raise LocalError(f"--listen {text!r}: expected ADDR:PORT, for instance 127.0.0.1:8443")
    return address.strip("[]"), int(port)


def parse_instruments(venue: Venue, text: str) -> list[str]:
    """Read a count or a list of names to the venue's own names; raises LocalError."""
    if text.isdigit():
        if not 1 <= int(text) <= INSTRUMENTS_MAX:
            raise LocalError(f"--instruments {text}: expected 1 to {INSTRUMENTS_MAX}, or names")
        names = [pair_symbol(venue, name) for name in instrument_names(int(text))]
    else:
        names = text.split(",")
    try:
        names = [resolve_symbol(venue, one) for one in names]
        for name in names:
            name_symbol(venue, name)
    except ValueError as error:
        raise LocalError(f"--instruments {text!r}: {error}") from error
    if len(set(names)) != len(names):
        raise LocalError(
            f"--instruments {text!r}: expected a number, or different names such as "
            f"{venue.example_symbol}"
        )
    return names


def parse_levels(text: str | None) -> tuple[int, int] | None:
    """Read N or LOW-HIGH; raises LocalError."""
    if text is None:
        return None
    low, _, high = text.partition("-")
    if (
        low.isdigit()
        and (high or low).isdigit()
        and 1 <= int(low) <= int(high or low) <= LEVELS_MAX
    ):
        return int(low), int(high or low)
    raise LocalError(f"--levels {text!r}: expected N or LOW-HIGH within 1 to {LEVELS_MAX}")


def check_market(args: argparse.Namespace) -> None:
    """Refuse what is wrong whatever the venue; raises LocalError."""
    if args.idle is not None and not args.idle > 0:
        raise LocalError(f"--idle {args.idle:g}: expected more than 0 seconds")
    if not 0 <= args.rate <= RATE_MAX:
        raise LocalError(f"--rate {args.rate:g}: expected 0 to {RATE_MAX:,.0f} messages a second")
    twice = [name for name in args.venue if args.venue.count(name) > 1]
    if twice:
        raise LocalError(f"venue {twice[0]!r} is listed twice: expected each venue once")


def make_options(args: argparse.Namespace, venue: str) -> Options:
    """Check what a venue is asked for; raises LocalError. The rate is shared evenly."""
    dialect = load_dialect(venue)
    if not 2 * LEVELS_MAX <= args.depth <= dialect.levels_max:
        raise LocalError(
            f"--depth {args.depth}: expected {2 * LEVELS_MAX} to {dialect.levels_max} levels"
            + (f" at {venue}" if len(args.venue) > 1 else "")
        )
    instruments = parse_instruments(dialect.venue, args.instruments)
    faults = [parse_scheduled_fault(text) for text in faults_of(args, venue)]
    for order in faults:
        if order.argument and order.fault in HARMS_INSTRUMENT | NEEDS_ARGUMENT:
            _check_instrument(dialect.venue, instruments, order)
    return Options(
        instruments=instruments,
        rate=args.rate / len(args.venue),
        levels=parse_levels(args.levels),
        depth=args.depth,
        seed=args.seed,
        faults=faults,
        idle_s=args.idle,
        is_fair=len(args.venue) > 1,
    )


def faults_of(args: argparse.Namespace, venue: str) -> list[str]:
    """Return a venue's faults without its name; raises LocalError for one of no venue."""
    found = []
    for text in args.fault:
        name, _, rest = text.partition(":")
        if name in args.venue:
            found += [rest] if name == venue else []
        elif len(args.venue) > 1:
            raise LocalError(
                f"--fault {text!r}: expected VENUE:KIND[:ARG]@SECONDS, for instance "
                f"{venue}:{text}, where there are several venues"
            )
        else:
            found.append(text)
    return found


def _check_instrument(venue: Venue, instruments: list[str], order: Order) -> None:
    """Check that a fault's instrument, by either name, is simulated; raises LocalError."""
    rows = [Instrument(0, "", one, 0, 0, name=name_symbol(venue, one)) for one in instruments]
    try:
        find_instrument(rows, order.argument)
    except ValueError as error:
        raise LocalError(
            f"--fault {order.fault.value}:{order.argument}: {error} (--instruments)"
        ) from error


def check_certificates(args: argparse.Namespace) -> None:
    """Refuse options that contradict each other, or would be ignored; raises LocalError."""
    made = {
        "--make-ca": args.make_ca is not None,
        "--certificate": args.certificate != "good",
        "--name": bool(args.name),
    }
    given = {"--cert": args.cert is not None, "--key": args.key is not None}
    for option in (
        name for name, is_set in (made | given | {"--tls12": args.tls12}).items() if is_set
    ):
        if args.plain:
            raise LocalError(f"{option} with --plain: without TLS it means nothing: leave one out")
        if option in made and args.make_ca is None:
            raise LocalError(f"{option} without --make-ca: it says what that makes: add it")
        if option in given and args.make_ca is not None:
            raise LocalError(f"{option} with --make-ca: expected only one of them: leave one out")


def make_tls(args: argparse.Namespace, address: str) -> ssl.SSLContext | None:
    """Load or make the certificate; raises LocalError where that cannot be, None for --plain."""
    if args.plain:
        return None
    certificate, key = args.cert, args.key
    if args.make_ca is not None:
        hosts = [host for venue in args.venue for host in venue_hosts(venue)]
        names = ["localhost", *hosts, *args.name]
        try:
            made = make_ca(
                args.make_ca,
                names,
                sorted({address, "127.0.0.1"}),
                expired=args.certificate == "expired",
                wrong_name=args.certificate == "wrong-name",
            )
        except OSError as error:
            raise LocalError(
                f"--make-ca {args.make_ca}: {error.strerror}: expected a folder to write into"
            ) from error
        certificate, key = made.certificate, made.key
    if certificate is None or key is None:
        raise LocalError("a certificate is missing: give --cert and --key, --make-ca, or --plain")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if args.tls12:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise LocalError(
            f"--cert {certificate}, --key {key}: {error.strerror or error}: expected a PEM chain "
            "and its key"
        ) from error
    return context


def venue_hosts(name: str) -> list[str]:
    """Return the hosts that a venue's clients go to."""
    venue = load_dialect(name).venue
    settings = venue.settings()
    channels = venue.channels(venue.example_symbol, settings)
    hosts = {venue.endpoint(channel, settings).host: None for channel in channels}
    return [*hosts, *({venue.rest_host} - hosts.keys())]


class Output:
    """Lines for people, or JSON objects, on stdout."""

    def __init__(self, json: bool) -> None:
        self._json = json

    def line(self, event: str, text: str, **fields: object) -> None:
        """Print one event."""
        if self._json:
            print(msgspec.json.encode({"event": event, **fields}).decode(), flush=True)
        else:
            print(text, flush=True)


async def listen(
    exchanges: Mapping[str, Exchange], args: argparse.Namespace, output: Output
) -> None:
    """Open every venue's port, and say so."""
    address, port = parse_address(args.listen)
    if port and port + len(exchanges) > PORTS:
        raise LocalError(
            f"--listen {args.listen}: expected a port up to {PORTS - len(exchanges)}, or 0: "
            f"{len(exchanges)} venues have one each, beginning there"
        )
    tls = make_tls(args, address)
    ca = str(args.make_ca.absolute() / "ca.pem") if args.make_ca else None
    host = f"[{address}]" if ":" in address else address
    scheme = "ws" if args.plain else "wss"
    names = args.instruments if args.instruments.isdigit() else len(args.instruments.split(","))
    for number, (venue, simulator) in enumerate(exchanges.items()):
        simulator.on_fault = partial(say_fault, output, venue if len(exchanges) > 1 else "")
        await simulator.serve(address, port + number if port else 0, tls)
        path = min(load_dialect(venue).websocket_paths)
        url = f"{scheme}://{host}:{simulator.port}{path}"
        rate = f"{args.rate / len(exchanges):g} messages/s"
        text = f"listening {url} ({venue}: {names} instruments, {rate}"
        text += f", CA {ca})" if ca else ")"
        output.line("listening", text, venue=venue, url=url, ca=ca)


def say_fault(output: Output, venue: str, order: Order) -> None:
    """Say what happens now."""
    name = order.fault.value + (f":{order.argument}" if order.argument else "")
    at = f" at {venue}" if venue else ""
    more = {"venue": venue} if venue else {}
    output.line(
        "fault", f"fault {name}{at}", fault=order.fault.value, argument=order.argument, **more
    )


async def serve(
    exchanges: Mapping[str, Exchange], args: argparse.Namespace, output: Output
) -> None:
    """Serve until SIGINT or SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def ask() -> None:  # a handler runs where the loop sleeps: it must be woken
        loop.call_soon_threadsafe(stop.set)

    def say_counters(event: str, text: str) -> None:
        for venue, simulator in exchanges.items():
            fields = msgspec.structs.asdict(simulator.counters)
            output.line(event, text, venue=venue, **fields)

    with EndSignals(ask, "its connections to close"):
        try:
            await listen(exchanges, args, output)
            while not stop.is_set():
                try:
                    await asyncio.wait_for(stop.wait(), STATUS_INTERVAL_S)
                except TimeoutError:
                    if args.json:
                        say_counters("status", "")
        finally:
            await asyncio.gather(*(simulator.close() for simulator in exchanges.values()))
    if args.json:
        say_counters("end", "")
    else:
        output.line("end", "stopped")


def run(args: argparse.Namespace) -> int:
    """Run the simulators until they are told to stop; return 0."""
    check_certificates(args)
    check_market(args)
    exchanges = {
        venue: Exchange(load_dialect(venue), make_options(args, venue)) for venue in args.venue
    }
    uvloop.run(serve(exchanges, args, Output(args.json)))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run it without the `tickpath` command, for tests."""
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers(required=True))
    return run(parser.parse_args(argv))


if __name__ == "__main__":
    hold_standard_files()
    sys.exit(main(["sim", *sys.argv[1:]]))
