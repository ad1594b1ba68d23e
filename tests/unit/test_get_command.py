"""`tickpath get` against servers on loopback, over kernel sockets."""

from __future__ import annotations

import contextlib
import hashlib
import json
import signal
import socket
import ssl
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import pytest
from tickpath.engine import cli
from tickpath.netstack.transport import open_transport

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@contextlib.contextmanager
def server(
    answer: bytes, piece_size: int = 1 << 20, context: ssl.SSLContext | None = None
) -> Iterator[tuple[int, list[bytes]]]:
    """Answer one connection, then close; yields the port and what was asked."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer_on(connection: socket.socket) -> None:
            asked.append(connection.recv(65536))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for start in range(0, len(answer), piece_size):
                connection.sendall(answer[start : start + piece_size])

        def serve() -> None:
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                if context is None:
                    answer_on(connection)
                    connection.close()
                else:
                    wrapped = context.wrap_socket(connection, server_side=True)
                    answer_on(wrapped)
                    wrapped.unwrap().close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1], asked
        finally:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # it wakes who waits for a client
            thread.join(10)


def get(*arguments: str) -> int:
    """Run the command over kernel sockets."""
    return cli.main(["get", "--backend", "kernel", "--timeout", "5", *arguments])


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for localhost, and its key."""
    folder = tmp_path_factory.mktemp("get")
    command = [
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
        *("-nodes", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
        *("-days", "2", "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "cert.pem", folder / "key.pem"


def test_get_body_goes_to_stdout_alone(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    with server(OK + b"Content-Length: 5\r\n\r\nH\x00\xfflo") as (port, asked):
        assert get(f"http://127.0.0.1:{port}/a?b=c#d") == 0
    assert capfdbinary.readouterr() == (b"H\x00\xfflo", b"")
    lines = asked[0].split(b"\r\n")
    assert lines[:2] == [b"GET /a?b=c HTTP/1.1", f"Host: 127.0.0.1:{port}".encode()]
    assert b"Connection: close" in lines


def test_get_sends_headers_method_and_body(tmp_path: Path) -> None:
    (tmp_path / "more").write_text("Cookie: a=b\nOrigin: https://there.test\n")
    (tmp_path / "body").write_bytes(b'{"a": "\xff"}')
    words = ["-X", "PUT", "--data", f"@{tmp_path / 'body'}", "-H", f"@{tmp_path / 'more'}"]
    words += ["-H", "content-type: application/json", "-H", "User-Agent: mine/1"]
    with server(OK + b"Content-Length: 0\r\n\r\n") as (port, asked):
        assert get(*words, f"http://127.0.0.1:{port}/") == 0
    head, _, body = asked[0].partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"PUT / HTTP/1.1"
    assert set(lines[1:]) == {
        *(f"Host: 127.0.0.1:{port}".encode(), b"Accept: */*", b"Connection: close"),
        *(b"Cookie: a=b", b"Origin: https://there.test", b"User-Agent: mine/1"),
        *(b"content-type: application/json", b"Content-Length: 10"),
    }
    assert body == b'{"a": "\xff"}'


def test_get_data_is_a_post_of_a_form() -> None:
    with server(OK + b"Content-Length: 0\r\n\r\n") as (port, asked):
        assert get("--data", "a=1", f"http://127.0.0.1:{port}/") == 0
    head, _, body = asked[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST / HTTP/1.1\r\n")
    assert b"\r\nContent-Type: application/x-www-form-urlencoded" in head
    assert b"\r\nUser-Agent: tickpath/" in head
    assert body == b"a=1"


def test_get_head_waits_for_no_body() -> None:
    with server(OK + b"Content-Length: 5\r\n\r\n") as (port, _):
        assert get("-X", "HEAD", f"http://127.0.0.1:{port}/") == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-H", "Origin"], "expected Name: value"),
        (["-H", "Host: other"], "which are ours"),
        (["-H", "Content-Length: 5"], "which are ours"),
        (["-H", "A: b\r\nB: c"], "expected Name: value"),
        (["-H", "@/nowhere"], "No such file"),
        (["-X", "GET /"], "expected a method"),
        (["--data", "@/nowhere"], "No such file"),
    ],
)
def test_get_wrong_request_is_2_and_says_what_is_expected(
    words: list[str], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with contextlib.suppress(SystemExit):
        assert get(*words, "http://127.0.0.1:1/") == 2
    assert said in capfd.readouterr().err


@pytest.mark.parametrize(
    ("content", "words"),
    [("0kEy0kEy", []), ("X-Key : 0kEy0kEy", []), ("X-Key: 0kEy0kEy", ["-X", "GET /"])],
)
def test_get_wrong_request_shows_no_value_of_a_header(
    content: str, words: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "key").write_text(content)
    with contextlib.suppress(SystemExit):
        assert get("-H", f"@{tmp_path / 'key'}", *words, "http://127.0.0.1:1/") == 2
    said = capfd.readouterr()
    assert "expected" in said.err
    assert "0kEy" not in said.err + said.out


@pytest.mark.parametrize("piece_size", [1, 7, 1 << 20])
def test_get_chunked_body_is_decoded(
    capfdbinary: pytest.CaptureFixture[bytes], piece_size: int
) -> None:
    answer = (
        b"HTTP/1.1 100 Continue\r\n\r\n"
        + OK
        + b"Transfer-Encoding: chunked\r\n\r\n5;x=y\r\nHello\r\n7\r\n, world\r\n0\r\nT: v\r\n\r\n"
    )
    with server(answer, piece_size) as (port, _):
        assert get(f"http://127.0.0.1:{port}/") == 0
    assert capfdbinary.readouterr() == (b"Hello, world", b"")


def test_get_large_body_until_close_goes_to_the_file(tmp_path: Path) -> None:
    body = hashlib.shake_128(b"body").digest(8 << 20)
    with server(OK + b"\r\n" + body, 50_000) as (port, _):
        assert get("-o", str(tmp_path / "file"), f"http://127.0.0.1:{port}/") == 0
    assert (tmp_path / "file").read_bytes() == body


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nbody", "status 404 Not Found"),
        (b"HTTP/1.1 500\r\nContent-Length: 4\r\n\r\nbody", "status 500"),
        (
            b"HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 4\r\n\r\nbody",
            "status 302 Found: redirects are not followed; this one points to /there",
        ),
    ],
)
def test_get_other_status_writes_the_body_and_is_1(
    capfd: pytest.CaptureFixture[str], answer: bytes, why: str
) -> None:
    with server(answer) as (port, _):
        assert get(f"http://127.0.0.1:{port}/") == 1
    out, err = capfd.readouterr()
    assert out == "body"
    assert err == f"tickpath: http://127.0.0.1:{port}/: {why}\n"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "ended before the response's head"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "ended before the response's head"),
        (b"SSH-2.0-x\r\n", "does not start with HTTP/1."),
        (OK + b"Content-Length: 6\r\n\r\nHello", "ended inside the response's body"),
        (
            OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nHello\r\n",
            "ended inside the response's body",
        ),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", "hexadecimal"),
        (OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nHello", "disagree"),
        (OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", "both"),
    ],
)
def test_get_broken_answer_is_1_with_the_reason(
    capfd: pytest.CaptureFixture[str], answer: bytes, why: str
) -> None:
    with server(answer) as (port, _):
        assert get(f"http://127.0.0.1:{port}/") == 1
    err = capfd.readouterr().err
    assert why in err
    assert err.startswith("tickpath: 127.0.0.1")
    assert err.count("\n") == 1


def test_get_silent_server_is_1_after_the_timeout(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        assert cli.main(["get", "--backend", "kernel", "--timeout", "0.3", url]) == 1
    assert "silent for 0.3 s" in capfd.readouterr().err


def test_get_refused_connection_is_1(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert get(f"http://127.0.0.1:{port}/") == 1
    assert "refused" in capfd.readouterr().err


def test_get_json_with_a_file_is_one_object_on_stdout(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with server(OK + b"Content-Length: 5\r\n\r\nHello") as (port, _):
        assert get("--json", "-o", str(tmp_path / "f"), f"http://127.0.0.1:{port}/") == 0
    report = json.loads(capfd.readouterr().out)
    assert (report["status"], report["bytes"], report["tls_ms"]) == (200, 5, 0)
    assert report["path"] == "kernel sockets (asked for by backend kernel)"
    assert 0 < report["connect_ms"] <= report["first_byte_ms"] <= report["total_ms"]


def test_get_timing_names_each_step(capfd: pytest.CaptureFixture[str]) -> None:
    with server(OK + b"Content-Length: 5\r\n\r\nHello") as (port, _):
        assert get("--timing", f"http://127.0.0.1:{port}/") == 0
    out, err = capfd.readouterr()
    assert out == "Hello"
    assert [line.split("  ")[0] for line in err.splitlines()] == [
        *("path", "resolve", "link ready", "connect", "first byte", "total", "bytes")
    ]


def test_get_over_tls_verifies_the_name_that_resolve_leads_to(
    certificate: tuple[Path, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    answer = OK + b"Content-Length: 5\r\n\r\nHello"
    trust = ("--cacert", str(certificate[0]))
    for name, arguments, status in (
        ("localhost", trust, 0),
        ("other.example", trust, 1),
        ("localhost", (), 1),
        ("other.example", ("--insecure",), 0),
    ):
        with server(answer, context=context) as (port, _):
            resolve = ("--resolve", f"{name}:{port}:127.0.0.1")
            assert get(*arguments, *resolve, f"https://{name}:{port}/") == status
        out, err = capfd.readouterr()
        assert out == ("Hello" if status == 0 else "")
        assert ("certificate" in err) == (status == 1)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("ftp://127.0.0.1/",), "http:// or https://"),
        (("http://",), "http://"),
        (("http://127.0.0.1:99999/",), "99999"),
        (("http://127.0.0.1/a b",), "percent-encode"),
        (("http://127.0.0.1/\r\nX: y",), "percent-encode"),
        (("-o", "/nonexistent/x", "http://127.0.0.1/"), "/nonexistent/x"),
        (("-o", "/", "http://127.0.0.1/"), "--output /"),
        (("--cacert", "/nonexistent", "https://127.0.0.1/"), "/nonexistent"),
    ],
)
def test_get_wrong_argument_is_2_and_named(
    capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...], why: str
) -> None:
    assert get(*arguments) == 2
    assert why in capfd.readouterr().err


@pytest.mark.parametrize(
    "entry",
    ["localhost", "localhost:80", "a:0:1.2.3.4", ":80:1.2.3.4", "a:80:b", "a:x:1.2.3.4"],
)
def test_get_wrong_resolve_is_2_and_named(capfd: pytest.CaptureFixture[str], entry: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        get("--resolve", entry, "http://localhost/")
    assert "HOST:PORT:ADDR" in capfd.readouterr().err


SHORT = OK + b"Content-Length: 10\r\n\r\nhalf"


def test_get_truncated_body_leaves_the_former_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "file"
    output.write_bytes(b"former")
    with server(SHORT) as (port, _):
        assert get("-o", str(output), f"http://127.0.0.1:{port}/") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert output.read_bytes() == b"former"
    assert capfd.readouterr().err.count("\n") == 1


def test_get_file_behind_a_link_is_replaced_and_keeps_its_mode(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"former")
    target.chmod(0o640)
    link.symlink_to(target)
    with server(OK + b"Content-Length: 2\r\n\r\nok") as (port, _):
        assert get("-o", str(link), f"http://127.0.0.1:{port}/") == 0
    assert link.is_symlink()
    assert (target.read_bytes(), target.stat().st_mode & 0o777) == (b"ok", 0o640)


@pytest.mark.parametrize("where", ["-o /dev/full", "> /dev/full"])
def test_get_full_disk_is_one_line(where: str) -> None:
    with server(OK + b"Content-Length: 2\r\n\r\nok") as (port, _):
        command = f"tickpath get --backend kernel http://127.0.0.1:{port}/ {where}"
        done = subprocess.run(["/bin/sh", "-c", command], stderr=subprocess.PIPE, check=False)
    name = "/dev/full" if where.startswith("-o") else "stdout"
    assert done.returncode == 2
    assert done.stderr.decode() == f"tickpath: --output {name}: No space left on device\n"


def test_get_fallback_to_the_kernel_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    with server(OK + b"Content-Length: 2\r\n\r\nok") as (port, _):
        assert cli.main(["get", f"http://127.0.0.1:{port}/"]) == 0
    out, err = capfd.readouterr()
    assert out == "ok"
    assert err.startswith("path: kernel sockets (127.0.0.1 is this host itself")
    assert err.count("\n") == 1


@pytest.mark.parametrize("backend", ["auto", "af_xdp", "kernel"])
@pytest.mark.parametrize("command", ["get http", "ws ws"])
def test_get_and_ws_interface_that_is_not_there_is_refused(
    capfd: pytest.CaptureFixture[str], backend: str, command: str
) -> None:
    name, scheme = command.split()
    words = [name, "--backend", backend, "--interface", "nope", f"{scheme}://127.0.0.1:1/"]
    assert cli.main(words) == 2
    assert "interface 'nope' does not exist here, expected one of lo" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["http://[::1]/"], "IPv6 is not supported"),
        (["--resolve", "foo", "http://foo/"], "'foo': expected HOST:PORT:ADDR"),
        (["--resolve", "foo:1:::1", "http://foo/"], "expected HOST:PORT:ADDR"),
    ],
)
def test_get_wrong_address_says_what_is_expected(words: list[str], said: str) -> None:
    done = subprocess.run(["tickpath", "get", *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert said in done.stderr


def test_get_times_count_from_the_start_of_all(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def slow(*arguments: object) -> object:
        time.sleep(0.2)
        return open_transport(*arguments)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr("tickpath.netstack.session.open_transport", slow)
    with server(OK + b"Content-Length: 2\r\n\r\nok") as (port, _):
        assert get("--json", "-o", str(tmp_path / "o"), f"http://127.0.0.1:{port}/") == 0
    report = json.loads(capsys.readouterr().out)
    steps = [
        report[f"{name}_ms"] for name in ("resolve", "ready", "connect", "first_byte", "total")
    ]
    assert steps == sorted(steps)
    assert report["connect_ms"] >= report["ready_ms"] >= 200


def test_get_sigterm_ends_by_the_signal_and_leaves_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        command = ["tickpath", "get", "--backend", "kernel", "-o", str(tmp_path / "o"), url]
        with subprocess.Popen(command, stderr=subprocess.PIPE) as child:
            connection, _ = listener.accept()
            connection.recv(65536)
            connection.sendall(SHORT)
            child.send_signal(signal.SIGTERM)
            _, err = child.communicate(timeout=20)
            connection.close()
    assert child.returncode == -signal.SIGTERM
    assert err == b""
    assert list(tmp_path.iterdir()) == []
