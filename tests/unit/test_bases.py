"""Bases: who is fetched when, over which wire, and what becomes of bad answers."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tickpath.engine.config.schema import VenueConfig
from tickpath.engine.feed_handler import bases
from tickpath.engine.feed_handler.base_schedule import BaseSchedule, Budget
from tickpath.engine.feed_handler.bases import BaseWorker
from tickpath.engine.feed_handler.instrument_list import Chosen, choose_some, fetch_list
from tickpath.engine.feed_handler.rest_client import LateError, RateLimitError, RestClient
from tickpath.engine.sim.certificates import make_ca
from tickpath.proto.instrument import Instrument
from tickpath.proto.venue import HttpRequest, InstrumentList, RestRefusal
from tickpath.proto.venues import load_venue
from tickpath.proto.venues.mexc import requests
from tickpath.proto.venues.mexc.settings import MexcSettings
from tickpath.proto.venues.mexc.venue import Mexc
from tickpath.shm.clock import Clock
from tickpath.shm.errors import LocalError, RemoteError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tickpath.proto.venue import Base


# ---- the schedule --------------------------------------------------------------------------------


def schedule(jitter: float = 0.0, **budget: float) -> BaseSchedule:
    return BaseSchedule(Budget(**budget), lambda: jitter)  # type: ignore[arg-type] # burst is an int


def test_schedule_nobody_waits_takes_nothing() -> None:
    one = schedule()
    assert one.take(0.0) is None
    assert one.wait_s(0.0) == float("inf")


def test_schedule_longest_waiting_goes_first() -> None:
    one = schedule()
    for now, instrument in enumerate((7, 3, 5)):
        one.want(instrument, float(now))
    one.want(7, 9.0)
    assert [one.take(10.0) for _ in range(4)] == [7, 3, 5, None]


def test_schedule_keeps_the_rate_after_its_burst() -> None:
    one = schedule(per_second=10.0, burst=3)
    for instrument in range(50):
        one.want(instrument, 0.0)
    taken = [tick / 1000 for tick in range(2001) if one.take(tick / 1000) is not None]
    assert taken[:3] == [0.0, 0.0, 0.0] or taken[:3] == [0.0, 0.001, 0.002]
    assert len(taken) in (22, 23)
    assert all(later - earlier > 0.0985 for earlier, later in pairwise(taken[3:]))


@settings(max_examples=50, deadline=None)
@given(
    jitter=st.floats(0, 0.999),
    wants=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 3000)), max_size=300),
)
def test_schedule_never_exceeds_the_venues_window(
    jitter: float, wants: list[tuple[int, int]]
) -> None:
    one = schedule(jitter)
    arrivals = sorted((ms / 100, instrument) for instrument, ms in wants)
    taken: list[float] = []
    for tick in range(3100):
        now = tick / 100
        while arrivals and arrivals[0][0] <= now:
            one.want(arrivals.pop(0)[1], now)
        if one.take(now) is not None:
            taken.append(now)
    window = requests.BASE_REQUESTS_WINDOW_S
    for start in taken:
        inside = sum(start <= at < start + window for at in taken)
        assert inside <= requests.BASE_REQUESTS_MAX / 4


def test_schedule_soon_wanted_again_backs_off_and_doubles() -> None:
    one = schedule(jitter=0.999999, retry_first_s=1.0, retry_max_s=4.0)
    now, waits = 0.0, []
    for _ in range(5):
        one.want(1, now)
        wait = one.wait_s(now)
        waits.append(round(wait, 3))
        now += wait
        assert one.take(now) == 1
    assert waits == [0.0, 1.0, 2.0, 4.0, 4.0]


def test_schedule_jitter_halves_the_backoff_at_most() -> None:
    one = schedule(jitter=0.0, retry_first_s=1.0)
    one.want(1, 0.0)
    one.take(0.0)
    one.want(1, 0.0)
    assert one.wait_s(0.0) == 0.5


def test_schedule_content_instrument_starts_anew() -> None:
    one = schedule(settled_after_s=30.0)
    one.want(1, 0.0)
    one.take(0.0)
    one.want(1, 30.1)
    assert one.wait_s(30.1) == 0.0


def test_schedule_backoff_of_one_does_not_hold_up_others() -> None:
    one = schedule(retry_first_s=5.0)
    one.want(1, 0.0)
    one.take(0.0)
    one.want(1, 0.1)
    one.want(2, 0.2)
    assert one.take(0.2) == 2


@pytest.mark.parametrize(
    ("status", "retry_after", "pause"), [(429, 7.0, 7.0), (429, None, 10.0), (418, None, 120.0)]
)
def test_schedule_limit_stops_everyone(
    status: int, retry_after: float | None, pause: float
) -> None:
    one = schedule()
    one.want(1, 0.0)
    limited = RateLimitError(RestRefusal("status", status == 418, retry_after))
    assert one.limited(limited, 0.0) == pause
    assert one.take(pause - 0.01) is None
    assert one.wait_s(0.0) == pause
    assert one.take(pause) == 1


def test_schedule_limits_in_a_row_double_until_an_answer() -> None:
    one = schedule()
    limited = RateLimitError(RestRefusal("status 429", False))
    assert [one.limited(limited, 0.0) for _ in range(3)] == [10.0, 20.0, 40.0]
    one.succeeded()
    assert one.limited(limited, 0.0) == 10.0


def test_schedule_absurd_retry_after_is_bounded() -> None:
    assert (
        schedule().limited(RateLimitError(RestRefusal("status 429", False, 1e9)), 0.0)
        == 3 * 24 * 3600
    )


# ---- the wire ------------------------------------------------------------------------------------

Answer = tuple[int, dict[str, str], bytes]


class Server(ThreadingHTTPServer):
    """A venue's REST service on loopback; `answers` maps a target to what it says."""

    daemon_threads = True

    def __init__(self, answers: Callable[[str], Answer]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = answers
        self.targets: list[str] = []
        self.bodies: list[bytes] = []
        self.fields: list[dict[str, str]] = []
        self.connections = 0
        self.close_after_answer = False


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def do_GET(self) -> None:
        self.server.targets.append(self.path)
        self.server.fields.append({name.lower(): value for name, value in self.headers.items()})
        status, headers, body = self.server.answers(self.path)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        # Without a word in the header: as an idle connection that the venue closes.
        self.close_connection = self.server.close_after_answer

    def do_POST(self) -> None:
        assert self.headers["Content-Type"] == "application/json"
        self.server.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's name
        pass


@contextmanager
def serving(answers: Callable[[str], Answer]) -> Iterator[tuple[Server, VenueConfig]]:
    server = Server(answers)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    port = server.server_address[1]
    venue = VenueConfig(
        symbols=("BTCUSDT",),
        host="venue.test",
        port=port,
        tls=False,
        resolve={f"venue.test:{port}": "127.0.0.1"},
    )
    try:
        yield server, venue
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_rest_client_keeps_its_connection_and_names_the_host() -> None:
    with serving(lambda _: (200, {}, b"hello")) as (server, venue):
        client = RestClient(venue)
        assert [client.get(f"/{i}", size_max=5) for i in range(3)] == [b"hello"] * 3
        assert client.ask(HttpRequest("/3", headers=(("X-Own", "1"),)), size_max=5) == b"hello"
        client.close()
    assert server.targets == ["/0", "/1", "/2", "/3"]
    assert [one["host"] for one in server.fields] == [f"venue.test:{venue.port}"] * 4
    assert [one.get("x-own") for one in server.fields] == [None, None, None, "1"]
    assert {one["accept"] for one in server.fields} == {"application/json"}
    assert server.connections == 1


def test_rest_client_connection_closed_while_idle_is_opened_again() -> None:
    with serving(lambda _: (200, {}, b"x")) as (server, venue):
        server.close_after_answer = True
        client = RestClient(venue)
        for _ in range(3):
            assert client.get("/", size_max=1) == b"x"
            time.sleep(0.01)
        client.close()
    assert server.connections == 3


def test_rest_client_answer_that_closes_is_followed_by_a_new_connection() -> None:
    with serving(lambda _: (200, {"Connection": "close"}, b"x")) as (server, venue):
        client = RestClient(venue)
        assert [client.get("/", size_max=1) for _ in range(3)] == [b"x"] * 3
        client.close()
    assert server.connections == 3


@pytest.mark.parametrize("status", [400, 403, 404, 500, 503])
def test_rest_client_other_status_is_the_remotes_fault(status: int) -> None:
    with (
        serving(lambda _: (status, {}, b"why")) as (_, venue),
        pytest.raises(RemoteError, match=f'status {status}, expected 200: "why"'),
    ):
        RestClient(venue).get("/", size_max=10)


@pytest.mark.parametrize(("status", "after"), [(429, "3"), (418, "Wed, 21 Oct 2015 07:28:00 GMT")])
def test_rest_client_limit_says_how_long(status: int, after: str) -> None:
    with (
        serving(lambda _: (status, {"Retry-After": after}, b"")) as (_, venue),
        pytest.raises(RateLimitError) as caught,
    ):
        RestClient(venue).get("/", size_max=10)
    seconds = {"3": 3.0}.get(after, 0.0)
    assert caught.value.refusal == RestRefusal(f"status {status}", status == 418, seconds)


@pytest.mark.parametrize("status", [403, 418, 429, 503])
def test_rest_client_heeds_retry_after_whatever_the_status(status: int) -> None:
    with serving(lambda _: (status, {"Retry-After": "30"}, b"")) as (server, venue):
        with pytest.raises(RateLimitError, match=f"status {status}, for 30 s"):
            RestClient(venue).get("/", size_max=10)
        for client in (RestClient(venue), RestClient(venue)):  # the next start, another process
            with pytest.raises(RateLimitError, match=r"not long ago, for (30|29) s"):
                client.get("/", size_max=10)
    assert len(server.targets) == 1


def test_rest_client_that_is_connected_heeds_what_another_was_told() -> None:
    answers = [(200, {}, b"x"), (429, {"Retry-After": "30"}, b"")]
    with serving(lambda _: answers.pop(0)) as (server, venue):
        first, second = RestClient(venue), RestClient(venue)
        assert first.get("/", size_max=1) == b"x"
        for client in (second, first):
            with pytest.raises(RateLimitError):
                client.get("/", size_max=1)
        first.close()
    assert len(server.targets) == 2


def test_rest_client_limited_without_a_time_waits_as_the_venues_folder_says() -> None:
    with serving(lambda _: (429, {}, b"")) as (_, venue):
        with pytest.raises(RateLimitError):
            RestClient(venue).get("/", size_max=1)
        with pytest.raises(RateLimitError) as caught:
            RestClient(venue).get("/", size_max=1)
    assert caught.value.refusal.retry_after_s == pytest.approx(10.0, abs=1.0)


def test_rest_client_asks_again_when_the_pause_is_over() -> None:
    answers = [(429, {"Retry-After": "1"}, b""), (200, {}, b"x")]
    with serving(lambda _: answers.pop(0)) as (_, venue):
        with pytest.raises(RateLimitError):
            RestClient(venue).get("/", size_max=1)
        time.sleep(1.05)
        client = RestClient(venue)
        assert client.get("/", size_max=1) == b"x"
        client.close()


def test_rest_client_too_long_body_is_refused() -> None:
    with (
        serving(lambda _: (200, {}, b"12345")) as (_, venue),
        pytest.raises(RemoteError, match="more than 4 bytes"),
    ):
        RestClient(venue).get("/", size_max=4)


@pytest.mark.parametrize("sent", [b"", b"1234567"])
def test_rest_client_body_cut_short_is_the_remotes_fault(sent: bytes) -> None:
    """Half a book that happens to parse would be believed."""

    def cut(listener: socket.socket) -> None:
        peer, _ = listener.accept()
        with peer:
            peer.recv(4096)
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + sent)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=cut, args=(listener,), daemon=True)
        thread.start()
        venue = VenueConfig(
            symbols=("A",), host="127.0.0.1", port=listener.getsockname()[1], tls=False
        )
        missing = 100 - len(sent)
        with pytest.raises(RemoteError, match=f"ended {missing} bytes before the end of its body"):
            RestClient(venue).get("/", size_max=1000)
        thread.join()


def test_rest_client_nobody_listens_is_the_remotes_fault() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    venue = VenueConfig(symbols=("A",), host="127.0.0.1", port=port, tls=False)
    with pytest.raises(RemoteError, match=rf"GET / from 127\.0\.0\.1:{port}: .*refused"):
        RestClient(venue).get("/", size_max=4)


def test_rest_client_dripping_answer_ends_at_the_deadline() -> None:
    stop = threading.Event()

    def drip(listener: socket.socket) -> None:
        peer, _ = listener.accept()
        with peer:
            peer.recv(4096)
            for byte in b"HTTP/1.1 200 OK\r\nX: " + b"y" * 10_000:
                if stop.wait(0.02):
                    return
                try:
                    peer.send(bytes([byte]))
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=(listener,), daemon=True)
        thread.start()
        venue = VenueConfig(
            symbols=("A",), host="127.0.0.1", port=listener.getsockname()[1], tls=False
        )
        with pytest.raises(RemoteError):
            RestClient(venue).get("/", size_max=4, timeout_s=0.2)
        stop.set()
        thread.join()


INSTRUMENTS = json.dumps(
    {
        "symbols": [
            {
                "symbol": symbol,
                "baseAsset": symbol[:3],
                "quoteAsset": "USDT",
                "baseAssetPrecision": 6,
                "quotePrecision": digits,
                "baseSizePrecision": "0.000001",
                "status": "1",
            }
            for symbol, digits in (("BTCUSDT", 2), ("ETHUSDT", 3), ("XRPUSDT", 5))
        ]
    }
).encode()


def fetch_instruments(venue: VenueConfig, log: Callable[[str], None] = lambda _: None) -> Chosen:
    client = RestClient(venue)
    try:
        return choose_some(venue, fetch_list(venue, client), "venue[0]", log)
    finally:
        client.close()


def test_fetch_instruments_keeps_the_configured_order() -> None:
    with serving(lambda _: (200, {}, INSTRUMENTS)) as (server, venue):
        rows = fetch_instruments(_with_symbols(venue, ("XRPUSDT", "BTCUSDT"))).rows
    assert server.targets == ["/api/v3/exchangeInfo"]
    assert [(row.symbol, row.price_exponent, row.quantity_exponent) for row in rows] == [
        ("XRPUSDT", -5, -6),
        ("BTCUSDT", -2, -6),
    ]


def _with_symbols(venue: VenueConfig, symbols: tuple[str, ...]) -> VenueConfig:
    return VenueConfig(
        symbols=symbols, host=venue.host, port=venue.port, tls=False, resolve=venue.resolve
    )


def test_fetch_instruments_no_symbol_listed_is_our_fault() -> None:
    with (
        serving(lambda _: (200, {}, INSTRUMENTS)) as (_, venue),
        pytest.raises(
            LocalError,
            match=r"venue\[0\]\.symbols\[0\]: symbol 'BCTUSDT': did you mean BTCUSDT\?; .* 3 "
            r"instruments; nor can any of the other 1 be read",
        ),
    ):
        fetch_instruments(_with_symbols(venue, ("BCTUSDT", "NOSUCHUSDT")))


def test_fetch_instruments_unlisted_symbol_is_named_once_and_spoils_no_other() -> None:
    lines: list[str] = []
    with serving(lambda _: (200, {}, INSTRUMENTS)) as (_, venue):
        one = _with_symbols(venue, ("XRPUSDT", "BCTUSDT", "BTC/USDT"))
        chosen = fetch_instruments(one, log=lines.append)
    assert [(row.index, row.symbol) for row in chosen.rows] == [(0, "XRPUSDT"), (1, "BTCUSDT")]
    assert list(chosen.left_out) == ["BCTUSDT"]
    assert lines == [
        "instrument list: venue[0].symbols[1]: symbol 'BCTUSDT': did you mean BTCUSDT?; the venue "
        "lists 3 instruments: left out, the other 2 run: correct it or remove it"
    ]


def test_fetch_instruments_many_unlisted_symbols_have_a_line_for_the_rest() -> None:
    lines: list[str] = []
    names = tuple(f"NONE{number}USDT" for number in range(11))
    with serving(lambda _: (200, {}, INSTRUMENTS)) as (_, venue):
        fetch_instruments(_with_symbols(venue, ("XRPUSDT", *names)), log=lines.append)
    assert len(lines) == 9
    assert "3 more symbols left out, the other one runs: correct" in lines[-1]
    assert lines[-1].endswith("NONE8USDT, NONE9USDT, NONE10USDT")


def test_fetch_instruments_in_pages_by_post_is_one_list(monkeypatch: pytest.MonkeyPatch) -> None:
    real = load_venue("mexc").parse_instruments
    rows = json.loads(INSTRUMENTS)["symbols"]
    pages = [json.dumps({"symbols": [row]}).encode() for row in rows]
    left = list(pages)

    class Paged(type(load_venue("mexc"))):  # type: ignore[misc] # the class of an object
        def parse_instruments(self, data: bytes) -> InstrumentList:
            more = HttpRequest("/more", b'{"left":%d}' % len(left)) if left else None
            return msgspec.structs.replace(real(data), more=more)

    monkeypatch.setattr(VenueConfig, "venue", Paged())
    with serving(lambda _: (200, {}, left.pop(0))) as (server, venue):
        found = fetch_instruments(_with_symbols(venue, ("XRPUSDT", "BTCUSDT"))).rows
    assert [row.symbol for row in found] == ["XRPUSDT", "BTCUSDT"]
    assert server.targets == ["/api/v3/exchangeInfo", "/more", "/more"]
    assert server.bodies == [b'{"left":2}', b'{"left":1}']


def test_fetch_instruments_canonical_name_is_the_same_instrument() -> None:
    with serving(lambda _: (200, {}, INSTRUMENTS)) as (_, venue):
        rows = fetch_instruments(_with_symbols(venue, ("XRP/USDT", "BTCUSDT"))).rows
    assert [(row.index, row.symbol) for row in rows] == [(0, "XRPUSDT"), (1, "BTCUSDT")]


BAD_ROWS: dict[str, dict[str, object]] = {
    "a key is missing": {"baseAsset": None, "quotePrecision": ...},
    "null": {"quotePrecision": None},
    "a quoted number": {"quotePrecision": "5"},
    "a precision of 20": {"quotePrecision": 20},
    "no symbol": {"symbol": "btcusdt"},
    "an asset that no row holds": {"baseAsset": "A" * 40},
    "an asset that cannot be shown": {"baseAsset": "A\u200bB"},
}


@pytest.mark.parametrize("change", BAD_ROWS.values(), ids=BAD_ROWS.keys())
@pytest.mark.parametrize("name", ["ETHUSDT", "ETH/USDT"])
def test_fetch_instruments_bad_row_takes_itself_out_alone(
    change: dict[str, object], name: str
) -> None:
    rows = json.loads(INSTRUMENTS)["symbols"]
    rows[1] = {key: value for key, value in (rows[1] | change).items() if value is not ...}
    body = json.dumps({"symbols": rows}).encode()
    lines: list[str] = []
    with serving(lambda _: (200, {}, body)) as (_, venue):
        found = fetch_instruments(_with_symbols(venue, (name, "BTCUSDT")), log=lines.append)
        with pytest.raises(LocalError, match=r"venue\[0\]\.symbols\[0\]: symbol 'ETH"):
            fetch_instruments(_with_symbols(venue, (name,)))
    assert [(row.index, row.symbol) for row in found.rows] == [(0, "BTCUSDT")]
    assert list(found.left_out) == [name]
    assert sum("left out, the other one runs" in line for line in lines) == 1


def test_fetch_instruments_name_outside_of_ascii_is_one_like_others() -> None:
    rows = json.loads(INSTRUMENTS)["symbols"]
    rows[1] |= {"symbol": "币安人生USDT", "baseAsset": "币安人生"}
    body = json.dumps({"symbols": rows}).encode()
    with serving(lambda _: (200, {}, body)) as (_, venue):
        found = fetch_instruments(_with_symbols(venue, ("币安人生USDT", "BTCUSDT")))
    assert [row.symbol for row in found.rows] == ["币安人生USDT", "BTCUSDT"]


def test_fetch_instruments_bad_row_is_named_once() -> None:
    rows = json.loads(INSTRUMENTS)["symbols"]
    rows[1] |= {"quotePrecision": 19}
    rows.append({"symbol": 5})
    body = json.dumps({"symbols": rows}).encode()
    lines: list[str] = []
    with serving(lambda _: (200, {}, body)) as (_, venue):
        found = fetch_instruments(_with_symbols(venue, ("BTCUSDT",)), log=lines.append)
    assert [row.symbol for row in found.rows] == ["BTCUSDT"]
    (line,) = lines
    assert "2 rows left out (ETHUSDT, row 3); the first because: ETHUSDT: quotePreci" in line


def test_fetch_instruments_no_json_is_the_remotes_fault() -> None:
    with (
        serving(lambda _: (200, {}, b"<html>")) as (_, venue),
        pytest.raises(RemoteError, match="expected exchangeInfo JSON"),
    ):
        fetch_instruments(venue)


# ---- the worker ----------------------------------------------------------------------------------


class Books:
    """A feed's stand-in."""

    def __init__(self, *wanted: int) -> None:
        self.queue = list(wanted)
        self.offered: list[tuple[int, int, int, int]] = []
        self.failures: list[int] = []
        self.quieted: list[int] = []
        self.silent: list[int] = []
        self.compared: list[int] = []
        self.full = 0

    def wanted(self) -> Sequence[int]:
        out, self.queue = self.queue, []
        return out

    def quiet(self) -> Sequence[int]:
        out, self.quieted = self.quieted, []
        return out

    def unheard(self) -> Sequence[int]:
        out, self.silent = self.silent, []
        return out

    def compare(self, instrument: int, base: Base) -> bool:
        self.compared.append(instrument)
        return base.version > 0

    def offer(self, instrument: int, base: Base) -> bool:
        if self.full:
            self.full -= 1
            return False
        best = int(base.bids[0].price) if len(base.bids) else 0
        self.offered.append((instrument, base.version, best, len(base.asks)))
        return True

    def failed(self, instrument: int) -> None:
        self.failures.append(instrument)
        self.queue.append(instrument)


ROWS = [
    Instrument(index, "mexc", symbol, exponent, -3)
    for index, (symbol, exponent) in enumerate((("BTCUSDT", -2), ("ETHUSDT", -4)))
]
GOOD = b'{"lastUpdateId":77,"bids":[["1.50","2"],["1.4","1"]],"asks":[]}'


now_ns = [0]


def step(one: BaseWorker, now_s: float) -> None:
    now_ns[0] = int(now_s * 1e9)
    one.step()


def worker(
    books: Books, fetch: Callable[[HttpRequest], bytes], log: Callable[[str], None] = lambda _: None
) -> BaseWorker:
    venue = VenueConfig(symbols=("BTCUSDT", "ETHUSDT"), settings=MexcSettings(depth=50))
    one = BaseWorker(books, venue, ROWS, log, Clock(lambda: now_ns[0]))
    one.fetch, one.schedule = fetch, schedule(retry_first_s=1.0)
    return one


def test_worker_fetches_parses_and_offers() -> None:
    books, targets = Books(1, 0), []

    def fetch(request: HttpRequest) -> bytes:
        targets.append(request.target)
        return GOOD

    one = worker(books, fetch)
    for now in (0.0, 1.0, 2.0):
        step(one, now)
    assert targets == [
        "/api/v3/depth?symbol=BTCUSDT&limit=50",
        "/api/v3/depth?symbol=ETHUSDT&limit=50",
    ]
    assert books.offered == [(0, 77, 150, 0), (1, 77, 15000, 0)]


def test_worker_of_a_venue_without_rest_asks_on_the_socket_and_again_what_does_not_come() -> None:
    books = Books(1, 0)
    asked: list[int] = []
    one = worker(books, lambda _: pytest.fail("REST was asked"))
    one.is_in_band, one.ask_in_band = True, asked.append
    for now in (0.0, 1.0, 2.0):
        step(one, now)
    assert (asked, books.failures) == ([0, 1], [])
    step(one, 5.0)
    assert books.failures == [0]
    step(one, 6.0)
    assert (asked, books.failures) == ([0, 1], [0, 1])
    step(one, 9.0)
    assert asked == [0, 1, 0]


@pytest.mark.parametrize(
    "bad",
    [b"", b"[]", b'{"lastUpdateId":1}', b'{"lastUpdateId":1,"bids":[["1.505","1"]],"asks":[]}'],
)
def test_worker_bad_answer_fails_and_backs_off(bad: bytes) -> None:
    lines: list[str] = []
    books = Books(0)
    answers = [GOOD, bad]
    one = worker(books, lambda _: answers.pop(), lines.append)
    step(one, 0.0)
    assert books.failures == [0]
    assert lines[0].startswith("base of BTCUSDT: ")
    step(one, 0.0)
    assert books.offered == []
    step(one, 0.5)
    assert books.offered == [(0, 77, 150, 0)]


@pytest.mark.parametrize("error", [KeyError("bids"), OSError("no CA file"), TypeError("None")])
@pytest.mark.parametrize("where", ["base_request", "fetch", "parse_base"])
def test_worker_error_of_any_kind_is_said_and_that_base_is_wanted_anew(
    monkeypatch: pytest.MonkeyPatch, where: str, error: Exception
) -> None:
    """A venue's folder may raise what it likes: the other books still get their bases."""
    lines: list[str] = []
    books = Books(0)

    def broken(*_: object) -> bytes:
        raise error

    with monkeypatch.context() as patch:
        if where != "fetch":
            patch.setattr(Mexc, where, broken)
        step(worker(books, broken if where == "fetch" else lambda _: GOOD, lines.append), 0.0)
    assert books.failures == [0]
    assert lines == [f"base of BTCUSDT: {type(error).__name__}: {error}: trying again"]
    step(worker(books, lambda _: GOOD), 0.0)
    assert books.offered == [(0, 77, 150, 0)]


class Idle:
    """A connection for checks; nothing is asked over it here."""

    def request(self, row: Instrument) -> str:
        return row.symbol

    def ask(self, request: str) -> bytes:
        return request.encode()

    def read(self, request: str, data: bytes) -> Base:
        return load_venue("mexc").parse_base(GOOD, ROWS[0])

    def cut(self) -> None: ...
    def close(self) -> None: ...


@pytest.mark.parametrize("by", ["aside", "rest"])
def test_worker_rests_while_no_check_more_may_be_made(
    monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """It looked without a pause for as long as one was under way and another one due."""
    books, now_ns[0] = Books(), 0
    one = worker(books, lambda _: GOOD)
    if by == "aside":
        one.aside, one.is_in_band = Idle(), True
    else:
        monkeypatch.setattr(bases, "IN_FLIGHT_MAX", 2)
    books.quieted = [0, 1]
    question = one.ask()
    assert question is not None
    now_ns[0] = int(10e9)
    assert one.ask() is None, "one at a time"
    assert one._wait_s() > 1.0
    one._called.clear()
    one.settle(question, lambda: GOOD)
    assert one._called.is_set(), "it looks at once"
    assert one._wait_s() < 1.0
    now_ns[0] += int(1e9)
    assert one.ask() is not None


def test_worker_full_mailbox_is_tried_again() -> None:
    books = Books(0)
    books.full = 3
    step(worker(books, lambda _: GOOD), 0.0)
    assert books.offered == [(0, 77, 150, 0)]


def test_rest_client_that_timed_out_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        venue = VenueConfig(
            symbols=("A",), host="127.0.0.1", port=listener.getsockname()[1], tls=False
        )
        with pytest.raises(LateError, match=r"GET / from 127\.0\.0\.1:\d+: timed out"):
            RestClient(venue).get("/", size_max=4, timeout_s=0.1)


def test_worker_thread_ends_on_stop() -> None:
    books = Books(0)
    one = worker(books, lambda _: GOOD)
    one.start()
    for _ in range(1000):
        if books.offered:
            break
        time.sleep(0.005)
    one.stop()
    assert books.offered == [(0, 77, 150, 0)]


def test_client_of_a_private_authority_names_the_key_that_trusts_it(tmp_path: Path) -> None:
    made = make_ca(tmp_path, ["localhost"], ["127.0.0.1"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.certificate, made.key)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def shake() -> None:
            plain, _ = listener.accept()
            with suppress(OSError), context.wrap_socket(plain, server_side=True):
                pass

        threading.Thread(target=shake, daemon=True).start()
        port = listener.getsockname()[1]
        venue = VenueConfig(symbols=("BTCUSDT",), host="127.0.0.1", port=port)
        with pytest.raises(RemoteError, match=r"trust by ca_file of its \[\[venue\]\]"):
            RestClient(venue).get("/", size_max=100)
