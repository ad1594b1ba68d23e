"""What a stage of the path may call: read from the relocations of its compiled functions.

Each stage is compiled without inlining, one section a function, so that the object says which
function reaches for which symbol. What is neither ours nor plain arithmetic on memory must be in
CALLS, with when it runs; who reads a clock must be in the list of docs/architecture.md.
"""

from __future__ import annotations

import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.fuzz.run import make_headers

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "architecture.md"
STAGES = (
    *("proto/encoding/*.c", "proto/venues/*/*.c"),
    *("netstack/netif.c", "netstack/session*.c", "netstack/tcp/*.c", "netstack/ws/*.c"),
    *("netstack/wire/*.c", "netstack/stream/*.c", "netstack/link/af_xdp.c"),
    "netstack/understudy.c",
    *("netstack/tls/record.c", "netstack/tls/aead.c", "netstack/tls/handover.c"),
    *("engine/feed/*.c", "engine/book/*.c", "engine/loop/*.c", "engine/feed_handler/*.c"),
    *("engine/strategy/native.c", "engine/recording/tap.c", "engine/gateway/*.c"),
    *("proto/signing/hmac_sha256.c", "proto/signing/order_text.c"),
    *("shm/snapshot_table.c", "shm/message_ring.c", "shm/ring_gate.c"),
)
NOT_STAGES = frozenset({"netstack/session_wait.c"})  # a test's and a command's own loop
COMPILE = ["gcc", "-std=c11", "-D_GNU_SOURCE", "-O0", "-ffunction-sections"]
# Arithmetic on memory that the caller holds, what the compiler itself calls, and our assertions.
PLAIN = re.compile(
    r"mem(cpy|move|set|cmp|chr)|str(len|chr|nlen|cmp|ncmp|ncasecmp|str|cspn)|__\w+|_GLOBAL_OFFSET_TABLE_"
)
CLOCKS = frozenset({"tp_clock_now_ns", "clock_gettime"})
SLEEPS = frozenset({"tp_clock_sleep"})  # ours, and block
# Who may reach for more, by when it runs. By function: a new use in another one is found.
CALLS: dict[str, dict[str, str]] = {
    "before the first packet, or after the last: the cold thread": {
        "engine/feed/understudy.c:lines_of": "aligned_alloc",
        "engine/feed/understudy.c:tp_feed_understudy_free": "free",
        "engine/feed_handler/rehearsal.c:tp_rehearsal_new": "calloc snprintf",
        "engine/feed_handler/rehearsal.c:tp_rehearsal_free": "free",
        "netstack/understudy.c:agree": "RAND_bytes",
        "netstack/understudy.c:open_one": "snprintf",
        "netstack/understudy.c:open_tcp": "aligned_alloc",
        "netstack/understudy.c:tp_understudy_new": "aligned_alloc snprintf",
        "netstack/understudy.c:tp_understudy_free": "free",
        "engine/feed_handler/hot_path.c:tp_hot_path_new": "calloc",
        "engine/feed_handler/hot_path.c:tp_hot_path_free": "free",
        "engine/feed_handler/inflate.c:tp_inflate_new": (
            "free libdeflate_alloc_decompressor malloc"
        ),
        "engine/feed_handler/inflate.c:tp_inflate_free": "free libdeflate_free_decompressor",
        "engine/strategy/native.c:tp_native_new": "calloc",
        "engine/strategy/native.c:tp_native_free": "free",
        "engine/loop/connection_loop.c:tp_loop_new": "aligned_alloc free",
        "engine/loop/connection_loop.c:tp_loop_free": "free",
        "engine/loop/handover.c:tp_handover_init": "calloc eventfd free",
        "engine/loop/handover.c:tp_handover_deinit": "close free",
        "netstack/session.c:take_buffer": "malloc",
        "netstack/session.c:give_buffers": "free",
        "netstack/session.c:tp_session_new": "calloc free snprintf",
        "netstack/session.c:tp_session_free": "free",
        "netstack/session_ws.c:websocket_init": "EVP_EncodeBlock RAND_bytes snprintf",
        "netstack/stream/socket.c:socket_deinit": "close free",
        "netstack/stream/socket.c:tp_stream_init_socket": "malloc setsockopt",
        "netstack/tcp/isn.c:tp_tcp_isn_init": "EVP_sha256 HMAC",
        "proto/signing/hmac_sha256.c:absorb": "SHA256_Update",
        "proto/signing/hmac_sha256.c:begin": "OPENSSL_cleanse SHA256_Init SHA256_Update",
        "proto/signing/hmac_sha256.c:tp_hmac_key_init": "OPENSSL_cleanse SHA256",
        "proto/signing/hmac_sha256.c:tp_hmac_key_wipe": "OPENSSL_cleanse",
    },
    "the cold thread, while the hot one runs": {
        "engine/loop/handover.c:tp_handover_await": "ppoll read",
        "netstack/link/af_xdp.c:tp_af_xdp_statistics": "getsockopt",
        "netstack/session.c:tp_session_error_text": "snprintf",
    },
    "a connection opens or ends": {
        "netstack/session.c:tp_session_tick": "snprintf",
        "netstack/session_ws.c:websocket_upgrade": "snprintf",
        "netstack/session_ws.c:keep_refusal": "snprintf",
        "netstack/session_ws.c:refuse": "snprintf",
        "netstack/session_ws.c:is_whole": "snprintf",
        "netstack/session_ws.c:fail_without_memory": "snprintf",
        "netstack/stream/socket.c:socket_connected": "getpeername getsockopt",
        "netstack/stream/socket.c:socket_abort": "setsockopt",
        "netstack/stream/socket.c:socket_failure": "strerrordesc_np",
        "netstack/tls/aead.c:evp_init": (
            "EVP_CIPHER_CTX_ctrl EVP_CIPHER_CTX_new "
            "EVP_CIPHER_fetch EVP_CIPHER_free EVP_CipherInit_ex2"
        ),
        "netstack/tls/aead.c:tp_aead_deinit": "EVP_CIPHER_CTX_free OPENSSL_cleanse",
        "netstack/tls/aead.c:tp_aead_rekey": "EVP_CipherInit_ex2",
        "netstack/tls/handover.c:fail": "snprintf",
        "netstack/tls/handover.c:make_record": "OPENSSL_cleanse",
        "netstack/tls/handover.c:say_refusal": "OPENSSL_cleanse",
        "netstack/tls/record.c:tp_tls_record_init": "OPENSSL_cleanse",
        "netstack/tls/record.c:tp_tls_record_deinit": "OPENSSL_cleanse",
        "netstack/tls/record.c:tp_tls_record_update_keys": "OPENSSL_cleanse",
        "netstack/tls/record.c:bad_tag": "OPENSSL_cleanse",
        "netstack/tls/record.c:tp_tls_record_end_of_input": "snprintf",
        "netstack/tls/record.c:tp_tls_record_fail": "vsnprintf",
        "netstack/ws/opening_handshake.c:accept_value": "EVP_Digest EVP_EncodeBlock EVP_sha1",
    },
    "where nothing came": {
        "engine/loop/connection_loop.c:rest": "tp_clock_sleep",
    },
    "the path: the kick, kernel sockets, masks of what is sent, the cipher without libipsec-mb, "
    "messages that are gzip members, signatures, the disk where the journal is to wait for it": {
        "engine/feed_handler/inflate.c:tp_inflate_message": "libdeflate_gzip_decompress_ex",
        "engine/loop/handover.c:tp_handover_leave": "write",
        "netstack/link/af_xdp.c:rx_wake": "recvfrom",
        "netstack/link/af_xdp.c:tx_flush": "sendto",
        "netstack/stream/socket.c:socket_receive": "recv",
        "netstack/stream/socket.c:socket_output": "send shutdown",
        "netstack/session_ws.c:next_mask": "RAND_bytes",
        "engine/gateway/journal.c:tp_journal_sync": "msync",
        "proto/signing/hmac_sha256.c:tp_hmac_sign": "SHA256_Final SHA256_Update",
        "netstack/tls/aead.c:evp_begin": "EVP_CipherInit_ex2 EVP_CipherUpdate",
        "netstack/tls/aead.c:evp_update": "EVP_CipherUpdate",
        "netstack/tls/aead.c:evp_open_finish": "EVP_CIPHER_CTX_ctrl EVP_CipherFinal_ex",
        "netstack/tls/aead.c:evp_seal_finish": "EVP_CIPHER_CTX_ctrl EVP_CipherFinal_ex",
    },
}


Stages = dict[str, dict[str, set[str]]]


def relocations(path: Path, folder: Path) -> dict[str, set[str]]:
    """Return what each function of a source refers to beyond its file's own functions."""
    target = folder / ("_".join(path.parts[-3:]) + ".o")
    found_in = [f"-I{one}" for one in (ROOT, folder)]
    subprocess.run([*COMPILE, "-w", *found_in, "-c", path, "-o", target], check=True)
    dump = subprocess.run(["objdump", "-rt", target], capture_output=True, text=True, check=True)
    symbols, _, records = dump.stdout.partition("RELOCATION RECORDS")
    own = set(
        re.findall(r"^[0-9a-f]+ .{7} (?!\*UND\*)\S+\s+[0-9a-f]+ (?:\.\w+ )?(\S+)$", symbols, re.M)
    )
    found: dict[str, set[str]] = {}
    into: set[str] = set()
    for line in records.splitlines():
        if match := re.search(r"FOR \[(\S+)\]", line):
            name = match[1].removeprefix(".text.")
            into = set() if name == match[1] else found.setdefault(name, set())
        elif match := re.match(r"[0-9a-f]+ \S+\s+(\S+?)([+-]0x[0-9a-f]+)?$", line):
            into.add(match[1].removeprefix(".text."))
    clocks = found.keys() & CLOCKS
    return {
        name: {one for one in refers if one in clocks or (one not in own and one[0] != ".")}
        for name, refers in found.items()
    }


def sources(globs: Iterable[str] = STAGES) -> list[Path]:
    """Return the files of the stages."""
    found = {path for one in globs for path in ROOT.glob(one)}
    return sorted(path for path in found if str(path.relative_to(ROOT)) not in NOT_STAGES)


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Stages:
    folder, files = tmp_path_factory.mktemp("stages"), sources()
    make_headers(folder)
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(lambda path: relocations(path, folder), files)
        return {str(path.relative_to(ROOT)): one for path, one in zip(files, found, strict=True)}


def foreign(refers: set[str]) -> set[str]:
    """Return what is not plain: libc's, OpenSSL's, the kernel's. Ours begin with tp_ or feed_."""
    return {
        name
        for name in refers - CLOCKS
        if name in SLEEPS or not (name.startswith(("tp_", "feed_")) or PLAIN.fullmatch(name))
    }


def test_stages_allocate_log_and_block_nowhere(stages: Stages) -> None:
    found = {
        f"{file}:{name}": " ".join(sorted(foreign(refers)))
        for file, functions in stages.items()
        for name, refers in functions.items()
        if foreign(refers)
    }
    written = {place: names for calls in CALLS.values() for place, names in calls.items()}
    assert found == written


def test_stages_read_a_clock_only_where_the_page_says(stages: Stages) -> None:
    """Which files do is read from their objects, how often from their text."""
    text = PAGE.read_text().partition("## Who reads a clock")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([^`]+)` \| (\d+) \|", text, re.M)
    found = {
        file: (ROOT / file).read_text().count("tp_clock_now_ns(")
        for file, functions in stages.items()
        if any(refers & CLOCKS for name, refers in functions.items() if name not in CLOCKS)
    }
    assert found == {file: int(count) for file, count in rows}


@pytest.mark.parametrize("name", ["malloc", "printf", "clock_gettime", "usleep"])
def test_stages_planted_call_is_found(tmp_path: Path, name: str) -> None:
    source = tmp_path / "stage.c"
    source.write_text(f"int {name}(int); void stage(void); void stage(void) {{ {name}(0); }}\n")
    (function,) = relocations(source, tmp_path).values()
    assert foreign(function) | function & CLOCKS == {name}
