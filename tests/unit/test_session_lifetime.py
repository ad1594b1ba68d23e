"""Sessions and TLS connections that are ended while another thread is in them."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
from tickpath.netstack.session import ConnectOptions, Session
from tickpath.netstack.tls.tls import TlsClient

if TYPE_CHECKING:
    from collections.abc import Iterator

WAIT_S = 30.0


@pytest.fixture
def silent_server() -> Iterator[str]:
    """Accept connections and never say a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"ws://127.0.0.1:{server.getsockname()[1]}/"


def test_session_that_is_finished_lets_its_waiter_go(silent_server: str) -> None:
    options = ConnectOptions(backend="kernel", timeout_s=WAIT_S)
    for _ in range(5):
        session = Session(silent_server, options, websocket=True)
        told: list[str] = []

        def wait(session: Session = session, told: list[str] = told) -> None:
            try:
                session.wait(WAIT_S)
                session.wait(WAIT_S)
                session.wait(WAIT_S)
            except ValueError as error:
                told.append(str(error))

        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.1)
        start = time.monotonic()
        session.finish(0.1)
        thread.join(5)
        assert not thread.is_alive()
        assert time.monotonic() - start < WAIT_S / 5
        where = silent_server.removeprefix("ws://").rstrip("/")
        assert told == [f"session with {where} is finished: open a new one"]
        with pytest.raises(ValueError, match="is finished"):
            _ = session.phase
        session.finish()


def test_tls_connection_that_is_freed_refuses_calls() -> None:
    code = (
        "from tickpath.netstack.tls.tls import TlsClient\n"
        "client = TlsClient('exchange.test', insecure=True)\n"
        "client.output(); client.free(); client.free()\n"
        "for call in (client.output, client.close, lambda: client.input(b'x'),\n"
        "             lambda: client.connected, lambda: client.seal(b'x')):\n"
        "    try:\n"
        "        call()\n"
        "    except ValueError as error:\n"
        "        assert str(error) == 'TLS connection is freed: make a new one'\n"
        "    else:\n"
        "        raise AssertionError(call)\n"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], check=False, timeout=60)
    assert done.returncode == 0


def test_tls_connection_freed_under_another_threads_call_stays_until_its_end() -> None:
    for _ in range(100):
        client = TlsClient("exchange.test", insecure=True)
        troubles: list[BaseException] = []

        def use(client: TlsClient = client, troubles: list[BaseException] = troubles) -> None:
            try:
                while True:
                    client.output()
            except ValueError:
                pass
            except BaseException as error:  # whatever else it is, it is reported
                troubles.append(error)

        thread = threading.Thread(target=use)
        thread.start()
        client.free()
        thread.join(5)
        assert not thread.is_alive()
        assert not troubles
