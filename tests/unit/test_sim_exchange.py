"""The simulated MEXC as an independent client sees it: `websockets`, protobuf, the ssl module."""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
import subprocess
import sys
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.message import DecodeError
from tickpath.engine import cli
from tickpath.engine.sim.certificates import make_ca
from tickpath.engine.sim.dialect import HttpRequest, HttpResponse
from tickpath.engine.sim.exchange import Exchange, Options
from tickpath.engine.sim.faults import parse_fault, parse_scheduled_fault
from tickpath.engine.sim.venues import load_dialect
from tickpath.proto.venue import Meaning, Note
from tickpath.proto.venues.mexc import requests
from tickpath.proto.venues.mexc.mexc_pb2 import PushDataV3ApiWrapper
from tickpath.shm.clock import Clock
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, ConnectionClosedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path

    from tickpath.engine.sim.certificates import Certificates

SYMBOLS = ("BTCUSDT", "ETHUSDT")
CHANNEL = requests.depth_channel("BTCUSDT")
TIMEOUT_S = 10.0


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a test's coroutine; a hang becomes a failure."""
    asyncio.run(asyncio.wait_for(main(), 6 * TIMEOUT_S))


@asynccontextmanager
async def simulator(tls: ssl.SSLContext | None = None, **fields: Any) -> AsyncIterator[Any]:
    """Serve on a free port of the loopback."""
    options: dict[str, Any] = {"instruments": SYMBOLS, "rate": 500.0, "depth": 50} | fields
    sim = Exchange(load_dialect("mexc"), Options(**options))
    await sim.serve("127.0.0.1", 0, tls)
    try:
        yield sim
    finally:
        await sim.close()


async def rest(sim: Exchange, target: str, method: str = "GET") -> Any:
    """Ask by plain HTTP, one request a connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", sim.port)
    writer.write(f"{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    head, _, body = (await asyncio.wait_for(reader.read(), TIMEOUT_S)).partition(b"\r\n\r\n")
    writer.close()
    assert head.startswith((b"HTTP/1.1 200 OK", b"HTTP/1.1 4"))
    return json.loads(body)


def open_websocket(sim: Exchange) -> Any:
    """Connect as any client does."""
    return connect(f"ws://127.0.0.1:{sim.port}/ws", compression=None, proxy=None, max_queue=None)


async def ask(client: ClientConnection, message: bytes) -> Note:
    """Send a request and return its reply, passing over pushes."""
    await client.send(message.decode())
    while True:
        answer = await asyncio.wait_for(client.recv(), TIMEOUT_S)
        if isinstance(answer, str):
            return requests.parse_notes(answer.encode())[0]


async def push(client: ClientConnection) -> PushDataV3ApiWrapper:
    """Return the next push."""
    while True:
        message = await asyncio.wait_for(client.recv(), TIMEOUT_S)
        if isinstance(message, bytes):
            return PushDataV3ApiWrapper.FromString(message)


async def drain(client: ClientConnection, timeout_s: float) -> None:
    """Read until nothing comes for so long (TimeoutError) or the connection ends."""
    while True:
        await asyncio.wait_for(client.recv(), timeout_s)


def versions(wrapper: PushDataV3ApiWrapper) -> tuple[int, int]:
    """Return fromVersion and toVersion."""
    depths = wrapper.publicAggreDepths
    return int(depths.fromVersion), int(depths.toVersion)


def apply(book: dict[str, dict[str, str]], wrapper: PushDataV3ApiWrapper) -> None:
    """Change a book of texts by one push."""
    depths = wrapper.publicAggreDepths
    for side, items in (("bids", depths.bids), ("asks", depths.asks)):
        for item in items:
            if float(item.quantity) == 0:
                book[side].pop(item.price, None)
            else:
                book[side][item.price] = item.quantity


def test_subscription_is_acknowledged_and_versions_are_contiguous() -> None:
    async def main() -> None:
        async with simulator() as sim, open_websocket(sim) as client:
            reply = await ask(client, requests.subscribe_request([CHANNEL]))
            assert reply == Note(meaning=Meaning.ACKNOWLEDGEMENT, channels=(CHANNEL,))
            last = None
            for _ in range(100):
                wrapper = await push(client)
                assert (wrapper.channel, wrapper.symbol) == (CHANNEL, "BTCUSDT")
                assert wrapper.sendTime > 1_700_000_000_000
                first, behind = versions(wrapper)
                assert last is None or first == last + 1
                last = behind

    run(main)


def test_push_fields_stand_in_the_order_of_the_venue() -> None:
    async def main() -> None:
        async with simulator() as sim, open_websocket(sim) as client:
            await ask(client, requests.subscribe_request([CHANNEL]))
            while isinstance(message := await client.recv(), str):
                pass
            head = b"\x0a" + bytes([len(CHANNEL)]) + CHANNEL.encode() + b"\x1a\x07BTCUSDT\x30"
            assert message.startswith(head)
            wrapper = PushDataV3ApiWrapper.FromString(message)
            assert message == wrapper.SerializeToString()

    run(main)


def test_book_from_snapshot_and_pushes_equals_the_truth() -> None:
    async def main() -> None:
        async with simulator() as sim, open_websocket(sim) as client:
            await ask(client, requests.subscribe_request([CHANNEL]))
            pushes = [await push(client) for _ in range(20)]
            snapshot = await rest(sim, requests.base_path("BTCUSDT", 5000))
            version = snapshot["lastUpdateId"]
            book = {side: dict(snapshot[side]) for side in ("bids", "asks")}
            pushes += [await push(client) for _ in range(200)]
            await rest(sim, "/fault?kind=pause", "POST")
            truth = await rest(sim, "/truth?symbol=BTCUSDT")
            while versions(pushes[-1])[1] < truth["version"]:
                pushes.append(await push(client))
            for wrapper in pushes:
                first, last = versions(wrapper)
                if last > version:
                    assert first <= version + 1
                    apply(book, wrapper)
                    version = last
            assert version == truth["version"]
            assert book == {side: dict(truth[side]) for side in ("bids", "asks")}
            prices = [[float(price) for price, _ in truth[side]] for side in ("bids", "asks")]
            assert prices[0] == sorted(prices[0], reverse=True)
            assert prices[1] == sorted(prices[1])
            assert prices[0][0] < prices[1][0]

    run(main)


def test_rest_answers_as_the_venue_does() -> None:
    async def main() -> None:
        async with simulator() as sim:
            assert await rest(sim, "/api/v3/ping") == {}
            assert (await rest(sim, "/api/v3/time"))["serverTime"] > 1_700_000_000_000
            info = json.dumps(await rest(sim, "/api/v3/exchangeInfo")).encode()
            instruments = requests.parse_instruments(info).instruments
            instrument = instruments["BTCUSDT"]
            assert (instrument.price_exponent, instrument.quantity_exponent) == (-2, -6)
            depth = json.dumps(await rest(sim, "/api/v3/depth?symbol=BTCUSDT&limit=5")).encode()
            snapshot = requests.parse_base(depth, -2, -6)
            assert (len(snapshot.bids), len(snapshot.asks)) == (5, 5)
            assert (await rest(sim, "/api/v3/depth?symbol=NOPE"))["code"] == -1121
            assert (await rest(sim, "/api/v3/depth?symbol=BTCUSDT&limit=5001"))["code"] == 700
            assert (await rest(sim, "/nope"))["code"] == 404
            assert (await rest(sim, "/fault?kind=nope", "POST"))["code"] == 400

    run(main)


def test_rest_requests_share_a_connection() -> None:
    async def main() -> None:
        async with simulator() as sim:
            reader, writer = await asyncio.open_connection("127.0.0.1", sim.port)
            request = b"GET /api/v3/ping HTTP/1.1\r\nHost: x\r\n\r\n"
            writer.write(request + request[:10])
            await reader.readuntil(b"{}")
            writer.write(request[10:])
            await asyncio.wait_for(reader.readuntil(b"{}"), TIMEOUT_S)
            writer.close()

    run(main)


def test_replies_use_the_words_of_the_venue() -> None:
    async def main() -> None:
        names = [f"S{i}USDT" for i in range(31)]
        async with simulator(instruments=names) as sim, open_websocket(sim) as client:
            assert (await ask(client, requests.ping_request())).meaning is Meaning.HEARTBEAT
            channels = [requests.depth_channel(f"S{i}USDT", "10ms") for i in range(31)]
            reply = await ask(client, requests.subscribe_request(channels[:30]))
            assert reply.channels == tuple(channels[:30])
            refused = await ask(client, requests.subscribe_request(channels[30:]))
            assert refused.meaning is Meaning.REFUSAL
            assert "limit" in refused.reason
            gone = await ask(client, requests.unsubscribe_request(channels[:1]))
            assert gone == Note(meaning=Meaning.ACKNOWLEDGEMENT, channels=(channels[0],))
            taken = await ask(client, requests.subscribe_request(channels[30:]))
            assert taken.meaning is Meaning.ACKNOWLEDGEMENT
            for wrong in ("spot@nonsense", requests.depth_channel("NOPEUSDT")):
                reply = await ask(client, requests.unsubscribe_request([wrong]))
                assert reply.meaning is Meaning.REFUSAL
            assert (await ask(client, b"not json")).meaning is Meaning.NOTICE

    run(main)


def test_connection_without_subscription_is_closed() -> None:
    async def main() -> None:
        async with simulator(idle_s=0.05) as sim, open_websocket(sim) as client:
            with pytest.raises(ConnectionClosed):
                await asyncio.wait_for(client.recv(), TIMEOUT_S)

    run(main)


@asynccontextmanager
async def subscribed() -> AsyncIterator[tuple[Exchange, ClientConnection]]:
    """Give a simulator and a client that gets pushes of two instruments."""
    async with simulator() as sim, open_websocket(sim) as client:
        channels = [requests.depth_channel(symbol) for symbol in SYMBOLS]
        await ask(client, requests.subscribe_request(channels))
        await push(client)
        yield sim, client


def test_fault_gap_skips_versions_of_that_instrument_only() -> None:
    async def main() -> None:
        async with subscribed() as (sim, client):
            last: dict[str, int] = {}
            gaps = dict.fromkeys(SYMBOLS, 0)
            for count in range(80):
                if count == 20:
                    sim.do(parse_fault("gap:BTCUSDT"))
                wrapper = await push(client)
                first, behind = versions(wrapper)
                gaps[wrapper.symbol] += first != last.get(wrapper.symbol, first - 1) + 1
                last[wrapper.symbol] = behind
            assert gaps == {"BTCUSDT": 1, "ETHUSDT": 0}

    run(main)


def test_fault_duplicate_repeats_a_message() -> None:
    async def main() -> None:
        async with subscribed() as (sim, client):
            seen = [await push(client) for _ in range(4)]
            sim.do(parse_fault("duplicate:ETHUSDT"))
            sim.do(parse_fault("duplicate:ETHUSDT"))
            seen += [await push(client) for _ in range(60)]
            same = [wrapper for wrapper in seen if wrapper.symbol == "ETHUSDT"]
            assert sum(a == b for a, b in pairwise(same)) == 2

    run(main)


def test_fault_crossed_crosses_until_the_next_message() -> None:
    async def main() -> None:
        async with subscribed() as (sim, client):
            sim.do(parse_fault("pause"))
            await asyncio.sleep(0.05)
            sim.do(parse_fault("crossed:BTCUSDT"))
            truth = await rest(sim, "/truth?symbol=BTCUSDT")
            assert float(truth["bids"][0][0]) >= float(truth["asks"][0][0])
            sim.do(parse_fault("resume"))
            wrapper = await push(client)
            while (wrapper.symbol, versions(wrapper)[1]) != ("BTCUSDT", truth["version"]):
                wrapper = await push(client)
            assert wrapper.publicAggreDepths.bids[0].price == truth["bids"][0][0]
            await push(client)
            await push(client)
            truth = await rest(sim, "/truth?symbol=BTCUSDT")
            assert float(truth["bids"][0][0]) < float(truth["asks"][0][0])

    run(main)


def test_fault_garbage_is_no_protobuf_but_names_its_channel() -> None:
    async def main() -> None:
        async with subscribed() as (sim, client):
            sim.do(parse_fault("garbage:BTCUSDT"))
            for _ in range(60):
                message = await client.recv()
                assert isinstance(message, bytes)
                try:
                    PushDataV3ApiWrapper.FromString(message)
                except DecodeError:
                    assert message[2 : 2 + len(CHANNEL)] == CHANNEL.encode()
                    return
            pytest.fail("every message was sound")

    run(main)


def test_fault_refuse_says_no_with_code_zero_until_accept() -> None:
    async def main() -> None:
        async with simulator() as sim, open_websocket(sim) as client:
            await rest(sim, "/fault?kind=refuse:BTCUSDT", "POST")
            reply = await ask(client, requests.subscribe_request([CHANNEL]))
            assert reply == Note(meaning=Meaning.REFUSAL, channels=(CHANNEL,), reason="Blocked!")
            sim.do(parse_fault("accept:BTCUSDT"))
            reply = await ask(client, requests.subscribe_request([CHANNEL]))
            assert reply.meaning is Meaning.ACKNOWLEDGEMENT

    run(main)


def test_fault_disconnect_resets_and_close_says_its_code() -> None:
    async def main() -> None:
        async with subscribed() as (sim, client):
            sim.do(parse_fault("disconnect"))
            with pytest.raises(ConnectionClosedError) as caught:
                await drain(client, TIMEOUT_S)
            assert caught.value.rcvd is None
        async with subscribed() as (sim, client):
            sim.do(parse_fault("close:1012"))
            with pytest.raises(ConnectionClosed) as closed:
                await drain(client, TIMEOUT_S)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012

    run(main)


def test_fault_half_frame_then_silence() -> None:
    async def main() -> None:
        async with subscribed() as (sim, client):
            sim.do(parse_fault("half-frame"))
            with pytest.raises(TimeoutError):
                await drain(client, 0.3)
            pong = await client.ping()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(pong, 0.2)
            client.transport.abort()

    run(main)


@pytest.mark.slow
def test_fault_drip_slows_and_loses_nothing() -> None:
    async def main() -> None:
        async with subscribed() as (sim, client):
            sim.do(parse_fault("drip:1"))
            last: dict[str, int] = {}
            for _ in range(400):
                wrapper = await push(client)
                first, behind = versions(wrapper)
                assert first == last.get(wrapper.symbol, first - 1) + 1
                last[wrapper.symbol] = behind

    run(main)


def test_fault_ping_flood_is_answered() -> None:
    async def main() -> None:
        async with subscribed() as (sim, client):
            sim.do(parse_fault("ping-flood:500"))
            for _ in range(50):
                await push(client)
            assert sim.counters.connections == 1

    run(main)


@pytest.mark.slow
def test_schedule_faults_happen_by_themselves() -> None:
    async def main() -> None:
        faults = [parse_scheduled_fault("refuse:BTCUSDT@0s"), parse_scheduled_fault("close@1s")]
        async with simulator(faults=faults) as sim, open_websocket(sim) as client:
            await asyncio.sleep(0.01)
            reply = await ask(client, requests.subscribe_request([CHANNEL]))
            assert reply.meaning is Meaning.REFUSAL
            with pytest.raises(ConnectionClosed):
                await asyncio.wait_for(client.recv(), TIMEOUT_S)

    run(main)


def _server_context(made: Certificates) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.certificate, made.key)
    return context


@pytest.mark.parametrize(
    ("fields", "error"),
    [({}, None), ({"expired": True}, "expired"), ({"wrong_name": True}, "mismatch|not valid for")],
)
def test_certificates_are_what_was_asked(
    tmp_path: Path, fields: dict[str, bool], error: str | None
) -> None:
    async def main() -> None:
        made = make_ca(tmp_path, ["localhost", "exchange.test"], ["127.0.0.1"], **fields)
        client_context = ssl.create_default_context(cafile=made.ca)
        async with simulator(_server_context(made)) as sim:
            url = f"wss://127.0.0.1:{sim.port}/ws"
            opening = connect(url, ssl=client_context, server_hostname="exchange.test", proxy=None)
            if error is None:
                async with opening as client:
                    reply = await ask(client, requests.subscribe_request([CHANNEL]))
                    assert reply.meaning is Meaning.ACKNOWLEDGEMENT
            else:
                with pytest.raises(ssl.SSLCertVerificationError, match=error):
                    await opening

    run(main)


@pytest.mark.slow
def test_command_serves_says_so_and_stops_on_sigterm(tmp_path: Path) -> None:
    words = ["--listen", "127.0.0.1:0", "--make-ca", str(tmp_path), "--json", "--rate", "1000"]
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "tickpath.engine.cli", "sim", "mexc", *words],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        assert ready["event"] == "listening"
        assert ready["url"].startswith("wss://127.0.0.1:")
        assert ready["ca"] == str(tmp_path / "ca.pem")
        assert json.loads(process.stdout.readline())["event"] == "status"
        process.send_signal(signal.SIGTERM)
        rest_of_output = process.stdout.read()
        assert process.wait(TIMEOUT_S) == 0
        assert json.loads(rest_of_output.splitlines()[-1])["event"] == "end"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--listen", "nowhere"], "expected ADDR:PORT"),
        (["--plain", "--instruments", "btc"], "expected up to 31 upper-case"),
        (["--plain", "--instruments", "BTCUSDT,BTC/USDT"], "different names such as BTCUSDT"),
        (["--plain", "--instruments", "NOQUOTE"], "'NOQUOTE': expected one quoted in USDT"),
        (["--plain", "--levels", "0"], "within 1 to 20"),
        (["--plain", "--fault", "gap"], "gap@5s"),
        ([], "a certificate is missing"),
        (["--make-ca", "/proc/x"], "--make-ca /proc/x: "),
        (["--plain", "--make-ca", "/x"], "--make-ca with --plain"),
        (["--plain", "--tls12"], "--tls12 with --plain"),
        (["--plain", "--certificate", "expired"], "--certificate with --plain"),
        (["--certificate", "expired"], "--certificate without --make-ca"),
        (["--make-ca", "/x", "--cert", "/y"], "--cert with --make-ca"),
        (["--plain", "--idle", "0"], "--idle 0"),
    ],
)
def test_command_wrong_options_are_refused_in_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["sim", "mexc", *words]) == cli.EXIT_LOCAL
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


# ---- what REST does wrong ------------------------------------------------------------------------


class Timeless:
    """An exchange without sockets: requests go in, answers come out, time is the test's."""

    def __init__(self) -> None:
        self.now_ns = 0
        clock = Clock(lambda: self.now_ns, lambda: self.now_ns)
        self.exchange = Exchange(load_dialect("mexc"), Options(instruments=SYMBOLS), clock)

    def fault(self, text: str) -> None:
        assert self.exchange.do(parse_fault(text)) == 1

    def base(self) -> HttpResponse:
        target = f"{requests.DEPTH_PATH}?symbol=BTCUSDT&limit=10"
        return self.exchange.http(HttpRequest("GET", target, {}))

    def version(self) -> int:
        return int(json.loads(self.base().body)["lastUpdateId"])


def test_fault_rest_error_and_malformed_spoil_one_answer_each() -> None:
    sim = Timeless()
    whole = sim.base()
    sim.fault("rest-error")
    sim.fault("rest-malformed")
    assert sim.base().status == 503
    with pytest.raises(json.JSONDecodeError):
        sim.version()
    assert sim.base() == whole


def test_fault_rest_late_holds_one_answer_back() -> None:
    sim = Timeless()
    sim.fault("rest-late:7")
    assert [sim.base().delay_s, sim.base().delay_s] == [7.0, 0.0]


def test_fault_rest_limit_says_how_long_it_lasts() -> None:
    sim = Timeless()
    sim.fault("rest-limit:5")
    sim.now_ns = 1_500_000_000
    limited = sim.base()
    assert (limited.status, limited.headers) == (429, {"Retry-After": "4"})
    sim.now_ns = 5_000_000_000
    assert sim.base().status == 200


def test_fault_rest_old_gives_the_first_base_again() -> None:
    sim = Timeless()
    first = sim.version()
    sim.exchange._floor.listings["BTCUSDT"].book.step(3)
    second = sim.version()
    assert second > first
    sim.fault("rest-old")
    assert [sim.version(), sim.version()] == [first, second]


@pytest.mark.parametrize("fault", ["gap:NOPE@1s", "refuse:NOPE@0s"])
def test_command_fault_of_no_instrument_is_refused_before_it_listens(fault: str) -> None:
    done = subprocess.run(
        ["tickpath", "sim", "mexc", "--plain", "--listen", "127.0.0.1:0", "--fault", fault],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stdout == ""
    assert "NOPE: symbol 'NOPE': expected one of BTCUSDT, BTC/USDT (--instruments)" in done.stderr
    assert done.stderr.count("\n") == 1
