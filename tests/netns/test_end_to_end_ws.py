"""`tickpath ws` over AF_XDP against the `websockets` package on the kernel's sockets."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from tickpath.engine.sim.certificates import make_ca
from tickpath.engine.supervisor.sandbox import EXCHANGE_ADDRESS

from tests.netns.rig import PATIENCE_S, PORT, SERVER_NAME, TICKPATH, Program, VethPair, start

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.needs("root", "netns", "af_xdp")

PLAIN_PORT = PORT + 1
MIB = 1 << 20
SIZES = (0, 1, 125, 126, 127, 65535, 65536, MIB, 16 * MIB)
REMOTE, LOCAL = 1, 2

# What each path does to a client; the verdict of /echo goes to stdout, one JSON object a line.
SERVER = """
import asyncio, json, random, ssl, sys
from urllib.parse import parse_qsl, urlsplit
from websockets.asyncio.server import serve

ADDRESS, PORT, PLAIN_PORT, CHAIN, KEY = sys.argv[1:]

async def echo(connection, query):
    made = random.Random(3)
    pongs, going = 0, True
    async def ping():
        nonlocal pongs
        while going:
            await asyncio.wait_for(await connection.ping(), 20)
            pongs += 1
    for text in (False, True):
        for size in map(int, query["sizes"].split("-")):
            data = made.randbytes(size)
            message = data.hex()[:size] if text else data
            # Before the transfer is over, and in the middle of it.
            pings = asyncio.create_task(ping())
            await connection.send(message)
            back = await connection.recv()
            going = False
            await pings
            going = True
            assert back == message, (size, text)
    print(json.dumps({"pongs": pongs}), flush=True)
    await connection.close(int(query.get("code", 1000)), "done")

async def fragments(connection, query):
    await connection.send(piece for piece in ("one ", "two ", "three"))
    async def pieces():
        for piece in (b"a", b"b" * 70000, b""):
            yield piece
            await asyncio.sleep(0.01)
    await connection.send(pieces())

async def handle(connection):
    parts = urlsplit(connection.request.path)
    query = dict(parse_qsl(parts.query))
    if parts.path == "/echo":
        await echo(connection, query)
    elif parts.path == "/lines":
        async for message in connection:
            await connection.send("you said: " + message)
    elif parts.path == "/fragments":
        await fragments(connection, query)
    elif parts.path == "/close":
        await connection.close(int(query["code"]), query.get("reason", ""))
    elif parts.path == "/abort":
        connection.transport.abort()
    elif parts.path == "/raw":
        connection.transport.write(bytes.fromhex(query["bytes"]))
        await connection.wait_closed()
    elif parts.path == "/big":
        await connection.send(bytes(int(query["size"])))
        await connection.wait_closed()

def refuse(connection, request):
    return connection.respond(403, "no") if request.path == "/refused" else None

async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CHAIN, KEY)
    options = {"process_request": refuse, "max_size": 64 << 20, "ping_interval": None}
    async with serve(handle, ADDRESS, int(PORT), ssl=context, compression=None, **options), \\
            serve(handle, ADDRESS, int(PLAIN_PORT), compression=None, **options):
        print("listening", flush=True)
        await asyncio.get_running_loop().create_future()

asyncio.run(main())
"""


@dataclass(slots=True)
class Server:
    """The other end, and how to start a client."""

    pair: VethPair
    directory: Path
    program: Program

    def url(self, path: str, *, tls: bool = True) -> str:
        scheme, port = ("wss", PORT) if tls else ("ws", PLAIN_PORT)
        return f"{scheme}://{SERVER_NAME}:{port}{path}"

    def command(self, url: str, *words: str) -> list[str]:
        """Return a client's command line."""
        options = ["--cacert", str(self.directory / "ca.pem"), "--backend", "af_xdp"]
        for port in (PORT, PLAIN_PORT):
            options += ["--resolve", f"{SERVER_NAME}:{port}:{EXCHANGE_ADDRESS}"]
        return [*TICKPATH, "ws", *options, *words, url]

    def talk(self, url: str, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a client to its end."""
        command = self.command(url, *words)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        child = self.pair.spawn(self.pair.feed_handler, command, **pipes)
        out, err = child.communicate(stdin, timeout=2 * PATIENCE_S)
        return subprocess.CompletedProcess(command, child.returncode, out, err)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("ws")
    keys = make_ca(directory, [SERVER_NAME], [EXCHANGE_ADDRESS])
    with VethPair.open() as pair:
        arguments = [EXCHANGE_ADDRESS, str(PORT), str(PLAIN_PORT), keys.certificate, keys.key]
        command = [sys.executable, "-P", "-c", SERVER, *map(str, arguments)]
        program = start(pair, pair.exchange, directory / "server.log", command)
        program.wait_for("listening")
        yield Server(pair, directory, program)


@pytest.mark.parametrize("tls", [True, False])
def test_echo_of_messages_up_to_16_mib_with_pings_in_between_is_exact(
    server: Server, tls: bool
) -> None:
    said = len(server.program.text)
    sizes = "-".join(map(str, SIZES))
    started = time.monotonic()
    done = server.talk(server.url(f"/echo?sizes={sizes}", tls=tls), "--echo")
    assert done.returncode == 0, (done.stderr, server.program.text)
    assert done.stderr == "closed: 1000 done\n"
    verdict = json.loads(server.program.wait_for("pongs", said))
    assert verdict["pongs"] >= 2 * len(SIZES)
    print(f"{4 * sum(SIZES) / 1e6 / (time.monotonic() - started):.0f} MB/s, {verdict}")


def test_echo_through_loss_reordering_and_duplicates_is_exact(server: Server) -> None:
    faults = "loss=1%,reorder=1%,duplicate=1%,seed=11"
    done = server.talk(server.url(f"/echo?sizes=0-70000-{MIB}"), "--echo", "--faults", faults)
    assert (done.returncode, done.stderr) == (0, "closed: 1000 done\n"), server.program.text


def test_pings_are_answered_while_a_large_message_leaves(server: Server) -> None:
    """The way is slow, so that the echo of 8 MiB takes long; pings come in the middle of it."""
    said = len(server.program.text)
    url = server.url(f"/echo?sizes={8 * MIB}")
    done = server.talk(url, "--echo", "--faults", "delay_ms=10")
    assert (done.returncode, done.stderr) == (0, "closed: 1000 done\n"), server.program.text
    verdict = json.loads(server.program.wait_for("pongs", said))
    print(verdict)
    assert verdict["pongs"] > 10


def test_lines_are_sent_and_answers_printed(server: Server) -> None:
    done = server.talk(server.url("/lines"), stdin="first\nzweite: ü\nlast, unfinished")
    assert done.stdout == "you said: first\nyou said: zweite: ü\nyou said: last, unfinished\n"
    assert (done.returncode, done.stderr) == (0, "closed: 1000\n")


def test_fragments_are_put_together(server: Server) -> None:
    done = server.talk(server.url("/fragments"), "--keep-open", "--json")
    assert done.returncode == 0, done.stderr
    first, second, end = map(json.loads, done.stdout.splitlines())
    assert first == {"opcode": "text", "text": "one two three"}
    assert base64.b64decode(second["base64"]) == b"a" + b"b" * 70000
    assert end.pop("path").startswith("AF_XDP ")
    assert end == {"closed": 1000, "reason": ""}


@pytest.mark.parametrize(
    ("code", "status"), [(1000, 0), (1001, 0), (1002, 1), (1011, 1), (3000, 1), (4999, 1)]
)
def test_close_code_of_the_server_is_told_and_is_the_status(
    server: Server, code: int, status: int
) -> None:
    done = server.talk(server.url(f"/close?code={code}&reason=as+it+is"), "--keep-open")
    assert (done.returncode, done.stderr) == (status, f"closed: {code} as it is\n")


@pytest.mark.parametrize(
    ("path", "words", "said"),
    [
        ("/abort", (), "closed: 1006"),
        ("/refused", (), "the server answered 403"),
        ("/raw?bytes=8185000000000000000000", (), "masked"),
        ("/raw?bytes=830161", (), "opcode"),
        ("/raw?bytes=c10161", (), "RSV"),
        ("/raw?bytes=8102c328", (), "UTF-8"),
        ("/raw?bytes=88020000", (), "close"),
        ("/big?size=70000", ("--max-message", "65536"), "1009"),
    ],
)
def test_server_that_breaks_the_rules_is_told_in_one_line(
    server: Server, path: str, words: tuple[str, ...], said: str
) -> None:
    done = server.talk(server.url(path), "--keep-open", *words)
    assert done.returncode == REMOTE
    assert said in done.stderr, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


@pytest.mark.parametrize(
    ("url", "status", "said"),
    [
        (f"ws://{EXCHANGE_ADDRESS}:81/", REMOTE, "connection refused"),
        (f"wss://wrong.test:{PORT}/", REMOTE, "hostname mismatch"),
        (
            f"wss://{SERVER_NAME}:{PLAIN_PORT}/",
            REMOTE,
            "closed the connection during the handshake",
        ),
        (f"ws://{SERVER_NAME}:{PORT}/", REMOTE, ""),
        ("http://example.com/", LOCAL, "expected ws:// or wss://"),
    ],
)
def test_ws_of_something_wrong_says_one_line_and_whose_fault(
    server: Server, url: str, status: int, said: str
) -> None:
    names = ["--resolve", f"wrong.test:{PORT}:{EXCHANGE_ADDRESS}", "--timeout", "5"]
    done = server.talk(url, *names)
    assert done.returncode == status, done.stderr
    assert said in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT])
def test_interrupted_client_closes_politely(server: Server, number: signal.Signals) -> None:
    command = server.command(server.url("/lines"), "--keep-open")
    log = server.directory / "client.log"
    with log.open("w") as file:
        child = server.pair.spawn(
            server.pair.feed_handler, command, stdin=subprocess.PIPE, stdout=file, stderr=file
        )
    assert child.stdin is not None
    child.stdin.write("hello\n")
    child.stdin.flush()
    Program(child, log).wait_for("you said: hello")
    child.send_signal(number)
    assert child.wait(PATIENCE_S) == 130
    assert "closed: 1000" in log.read_text()
