"""Raw files of Tardis: their lines, what is wrong with them, and the books that they give."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import tracemalloc
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from tickpath.engine.cli import main
from tickpath.engine.recording.foreign import DOWN, LineFault, Message
from tickpath.engine.recording.left_out import LEFT_OUT
from tickpath.engine.recording.tardis import TardisRecording, TardisSource
from tickpath.engine.sim.venues import dialect_names
from tickpath.proto.transcript import load_transcript
from tickpath.proto.venues.mexc.mexc_pb2 import PushDataV3ApiWrapper
from tickpath.shm.errors import LocalError

from tests.venues.sessions import START_NS, Row, Session, make_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

STAMP = "2026-11-18T11:06:40.0190000Z"


def stamp(t_ns: int) -> str:
    """Write a time as Tardis does, to 100 ns."""
    seconds, ns = divmod(t_ns - START_NS, 10**9)
    minutes, seconds = divmod(40 + seconds, 60)
    hours, minutes = divmod(11 * 60 + 6 + minutes, 60)
    return f"2026-11-18T{hours:02}:{minutes:02}:{seconds:02}.{ns // 100:07}Z"


def tardis_lines(session: Session) -> list[str]:
    """Return a session as Tardis writes one: what came, and answers of REST in their streams."""
    return [
        f"{stamp(row.t_ns)} {text}\n"
        for row in session.rows
        if row.direction != "out" and (text := tardis_text(session.venue, row))
    ]


def tardis_text(venue: str, row: Row) -> str:
    if row.direction == "base":
        return json.dumps(GENERATED[venue](row.symbol, json.loads(row.data)), separators=(",", ":"))
    if row.is_text:
        return row.data.decode()
    if venue != "mexc":
        return gzip.decompress(row.data).decode()
    from google.protobuf import json_format  # noqa: PLC0415 - only here

    return json_format.MessageToJson(PushDataV3ApiWrapper.FromString(row.data), indent=None)


def _binance(symbol: str, body: Any) -> dict[str, Any]:
    return {"stream": f"{symbol.lower()}@depthSnapshot", "generated": True, "data": body}


def _mexc(symbol: str, body: Any) -> dict[str, Any]:
    channel = f"spot@public.aggre.depth.snapshot.v3.api.pb@10ms@{symbol}"
    said = {"channel": channel, "symbol": symbol, "generated": True}
    return said | {"publicAggreDepthsSnapshot": body}


GENERATED: dict[str, Callable[[str, Any], dict[str, Any]]] = {
    **dict.fromkeys(("binance", "binance_usdm"), _binance),
    "mexc": _mexc,
}


class Done(NamedTuple):
    """What a command left."""

    returncode: int
    stdout: str
    stderr: str


def tickpath(*words: object) -> Done:
    """Run a command in this process: a new one takes half a second to import all."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main([str(word) for word in words])
    return Done(status, out.getvalue(), err.getvalue())


def replay(*words: object) -> tuple[list[dict[str, Any]], Done]:
    done = tickpath("replay", "--tardis", *words)
    return [json.loads(text) for text in done.stdout.splitlines()], done


def last_best(printed: Iterable[dict[str, Any]], symbol: str) -> tuple[Any, ...]:
    (*_, last) = (one for one in printed if one["symbol"] == symbol)
    return last["state"], *(
        Decimal(last[k]) for k in ("bid", "bid_quantity", "ask", "ask_quantity")
    )


def read(path: Path, venue: str = "okx") -> list[Message | LineFault]:
    return list(TardisSource([path], venue).messages())


# ---- lines ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "t_ns"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-11-18T11:06:40.0000000Z", START_NS),
        ("2026-11-18T11:06:40.0190001Z", START_NS + 19_000_100),
        ("2026-11-18T11:06:40.01900012Z", START_NS + 19_000_120),
        ("2026-11-18T11:06:40.019000123Z", START_NS + 19_000_123),
    ],
)
def test_line_has_its_time_to_the_digit_and_its_message(
    tmp_path: Path, text: str, t_ns: int
) -> None:
    path = tmp_path / "a.json"
    path.write_text(f'{text} {{"a": "b c"}}\n')
    (one,) = read(path)
    assert isinstance(one, Message)
    assert (one.t_ns, one.payload, one.direction) == (t_ns, b'{"a": "b c"}', "in")


@pytest.mark.parametrize(
    "bad",
    [
        "{}", "2026-11-18 12:26:40Z {}", "2026-11-18T11:06:40.0190000 {}",
        "2026-13-18T12:26:40.0190000Z {}", "2026-11-18T25:26:40Z {}",
        "2026-11-18T11:06:40.0190000123Z {}", "1795000000000000000 {}", "\xff\xfe {}", "x",
    ],
)  # fmt: skip
def test_line_without_a_time_is_named_and_takes_itself_out(tmp_path: Path, bad: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(f"{STAMP} {{}}\n{bad}\n{STAMP} []\n", encoding="latin-1")
    first, fault, last = read(path)
    assert isinstance(first, Message)
    assert isinstance(last, Message)
    assert isinstance(fault, LineFault)
    assert str(fault).startswith('line 2: begins with "')
    assert "expected a time such as 2026-11-18T12:26:40.0190000Z" in str(fault)


@pytest.mark.parametrize("text", ["\n", f"{STAMP}\n", f"{STAMP} \n", "\n\n", f"\n{STAMP}\n"])
def test_empty_line_or_a_time_alone_is_one_disconnect(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(f"{STAMP} {{}}\n{text}{STAMP} {{}}\n")
    _, down, _ = read(path)
    assert isinstance(down, Message)
    assert (down.direction, down.t_ns) == (DOWN, START_NS + 19_000_000)


@pytest.mark.parametrize("text", ["\n", "\n\n", "what is no time\n\n"])
def test_disconnect_before_the_first_time_is_none(tmp_path: Path, text: str) -> None:
    """It has no time: at 0, a replay at any speed would wait from 1970 on."""
    path = tmp_path / "a.json"
    path.write_text(f"{text}{STAMP} {{}}\n\n")
    first, down = (one for one in read(path) if isinstance(one, Message))
    assert (first.direction, down.direction) == ("in", DOWN)
    assert {first.t_ns, down.t_ns} == {START_NS + 19_000_000}


def pack_zstd(data: bytes) -> bytes:
    half = len(data) // 2
    return b"".join(
        zstandard.ZstdCompressor(write_checksum=True).compress(one)
        for one in (data[:half], data[half:])
    )


def pack_gzip(data: bytes) -> bytes:
    half = len(data) // 2
    return gzip.compress(data[:half]) + gzip.compress(data[half:])


PACKINGS = {"gz": pack_gzip, "zst": pack_zstd}


@pytest.mark.parametrize("packing", PACKINGS)
def test_packed_file_reads_as_a_plain_one(tmp_path: Path, packing: str) -> None:
    text = "".join(f'{STAMP} {{"n":{i}}}\n' for i in range(5000)).encode()
    plain, packed = tmp_path / "a.json", tmp_path / f"a.json.{packing}"
    plain.write_bytes(text)
    packed.write_bytes(PACKINGS[packing](text))
    assert read(packed) == read(plain)
    assert len(read(plain)) == 5000


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("kind", ["cut", "flipped"])
def test_packed_file_that_is_cut_or_damaged_is_read_up_to_there_and_said(
    tmp_path: Path, packing: str, kind: str
) -> None:
    text = "".join(f'{STAMP} {{"n":{i * 7919 % 104729}}}\n' for i in range(40000)).encode()
    data = bytearray(PACKINGS[packing](text))
    if kind == "cut":
        del data[len(data) * 3 // 4 :]
    else:
        data[len(data) * 3 // 4] ^= 0x55
    path = tmp_path / "a.gz"
    path.write_bytes(data)
    *lines, last = read(path)
    assert isinstance(last, LineFault)
    assert "the file is cut or damaged here" in str(last)
    assert len([one for one in lines if isinstance(one, Message)]) > 10_000


def test_line_that_is_too_long_is_named_and_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tickpath.engine.recording.tardis.LINE_SIZE_MAX", 100)
    path = tmp_path / "a.json.zst"
    text = f"{STAMP} {{}}\n{STAMP} {'x' * 1000}\n{STAMP} []\n{STAMP} {'y' * 70}"
    path.write_bytes(zstandard.ZstdCompressor().compress(text.encode()))
    one, fault, other, end = read(path)
    assert str(fault) == "line 2: longer than 100 bytes"
    assert [x.payload for x in (one, other, end) if isinstance(x, Message)] == [
        b"{}", b"[]", b"y" * 70,
    ]  # fmt: skip


def test_places_of_several_files_name_the_file(tmp_path: Path) -> None:
    for name in ("00.json", "01.json"):
        (tmp_path / name).write_text(f"{STAMP} {{}}\nbad\n")
    faults = [
        one for one in TardisSource([tmp_path], "okx").messages() if isinstance(one, LineFault)
    ]
    assert [str(one).partition(":")[0] for one in faults] == [
        f"line 2 of {tmp_path / '00.json'}",
        f"line 2 of {tmp_path / '01.json'}",
    ]


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=300), head=st.sampled_from([b"", b"\x1f\x8b", b"\x28\xb5\x2f\xfd"]))
def test_any_bytes_are_lines_or_faults(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, head: bytes
) -> None:
    path = tmp_path_factory.mktemp("any") / "a"
    path.write_bytes(head + data)
    read(path)
    with pytest.raises(LocalError):
        TardisRecording([path], "okx")


# ---- books ---------------------------------------------------------------------------------------


def write_files(folder: Path, lines: list[str], *, packing: str = "gz") -> Path:
    """Write minutes of lines as Tardis caches them."""
    folder.mkdir()
    size = len(lines) // 3 + 1
    for minute in range(3):
        text = "".join(lines[minute * size : (minute + 1) * size]).encode()
        path = folder / f"{minute:02}.json.{packing}"
        path.write_bytes(PACKINGS[packing](text))
    return folder


@pytest.mark.parametrize("name", dialect_names())
def test_session_as_tardis_writes_it_gives_the_books_that_were(name: str, tmp_path: Path) -> None:
    session = make_session(name)
    if any(row.direction == "base" for row in session.rows) and name not in GENERATED:
        return  # Tardis has no answers of REST of it
    folder = write_files(tmp_path / "minutes", tardis_lines(session))
    printed, done = replay(folder, "--venue", name, "--print", "books")
    assert done.returncode == 0, done.stderr
    for symbol in session.symbols:
        assert last_best(printed, symbol) == ("LIVE", *session.last(symbol))
        live = [one for one in printed if one["symbol"] == symbol and one["state"] == "LIVE"]
        assert len(live) >= 10
        for one in live:
            then = session.truth.get((symbol, one["t_ns"]))
            best = tuple(Decimal(one[k]) for k in ("bid", "bid_quantity", "ask", "ask_quantity"))
            assert then in (None, best)


def test_disconnect_ends_the_books_until_their_next_bases(tmp_path: Path) -> None:
    lines = tardis_lines(make_session("okx", with_market=False))
    path = tmp_path / "a.json"
    path.write_text("".join([*lines[:20], "\n", *lines[20:]]))
    printed, done = replay(path, "--venue", "okx", "--print", "books")
    assert done.returncode == 0, done.stderr
    assert [one["state"] for one in printed[-2:]] == ["STALE", "STALE"] or [
        one["state"] for one in printed[-2:]
    ] == ["SYNCING", "SYNCING"]


@pytest.mark.parametrize(
    ("name", "found"),
    [("binance", "binance"), ("binance_usdm", "binance_usdm"), ("bitget", "bitget"),
     ("bitget_usdt", "bitget_usdt"), ("okx", "okx"), ("kraken", "kraken"),
     ("hyperliquid", "hyperliquid"), ("mexc", "mexc"), ("gate", "gate"), ("gate_usdt", "gate_usdt"),
     ("htx", "htx"), ("bybit", "")],
)  # fmt: skip
def test_venue_is_found_by_what_the_messages_say(tmp_path: Path, name: str, found: str) -> None:
    path = tmp_path / "a.json"
    path.write_text("".join(tardis_lines(make_session(name))))
    if found:
        assert {row.venue for row in TardisRecording([path]).meta.instruments} == {found}
        return
    with pytest.raises(LocalError, match="read as bybit or bybit_linear: say whose they are"):
        TardisRecording([path])
    assert TardisRecording([path], name).meta.instruments[0].venue == name


def test_bad_lines_and_cut_files_are_counted_and_end_with_a_status(tmp_path: Path) -> None:
    session = make_session("binance")
    lines = tardis_lines(session)
    back = lines[-1].replace(lines[-1][:28], stamp(START_NS), 1)
    text = "".join([*lines, "nonsense\n", f"{STAMP} nonsense\n", back])
    path = tmp_path / "a.json.gz"
    path.write_bytes(gzip.compress(text.encode())[:-9])
    (told,), done = replay(path, "--json")
    assert done.returncode == LEFT_OUT
    assert "2 times that go back" in told["left_out"]
    assert "1 message that is none of the venue's" in told["left_out"]
    (said,) = [one for one in told["left_out"] if one.startswith("2 lines")]
    assert f'(line {len(lines) + 1}: begins with "nonsense": expected a time' in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--venue", "nope"), "--venue: venue 'nope': expected one of"),
        (("--ndjson",), "--ndjson and --tardis: two forms"),
        ((), "of no venue that is known here"),
    ],
)
def test_usage_faults_name_the_remedy(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(f"{STAMP} {{}}\n")
    _, done = replay(path, *words)
    assert done.returncode == 2
    assert said in done.stderr


def test_venue_without_tardis_and_a_folder_without_a_file_are_refused(tmp_path: Path) -> None:
    done = tickpath("replay", tmp_path, "--venue", "okx")
    assert (done.returncode, "expected --tardis beside it" in done.stderr) == (2, True)
    _, done = replay(tmp_path)
    assert (done.returncode, "no file of Tardis in it" in done.stderr) == (2, True)
    _, done = replay(tmp_path / "none.gz", "--venue", "okx")
    assert (done.returncode, "give files of Tardis" in done.stderr) == (2, True)


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    lines = tardis_lines(make_session("okx", steps=20, with_market=False))
    peaks = []
    for times in (50, 200):
        path = tmp_path / f"{times}.json.gz"
        path.write_bytes(gzip.compress("".join(lines * times).encode()))
        tracemalloc.start()
        recording = TardisRecording([path], "okx")
        for _ in recording.batches():
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0], peaks


@pytest.mark.parametrize("digits", [13, 16])
def test_binance_times_in_microseconds_are_taken_as_what_they_are(
    tmp_path: Path, digits: int
) -> None:
    """Tardis asks for timeUnit=microsecond since it can be had."""
    time = str(START_NS)[:digits]
    trade = (
        f'{{"stream":"btcusdt@trade","data":{{"e":"trade","E":{time},"s":"BTCUSDT","t":1,'
        f'"p":"1.5","q":"2","T":{time},"m":true,"M":true}}}}'
    )
    path = tmp_path / "a.json"
    path.write_text(f"{STAMP} {trade}\n")
    done = tickpath("export", "--tardis", path, "--format", "csv", "--out", tmp_path)
    header, *rows = (tmp_path / "a.events.csv").read_text().splitlines()
    place = header.replace('"', "").split(",").index("exchange_ns")
    times = [row.split(",")[place] for row in rows if '"TRADE"' in row]
    assert times == [str(START_NS)], done.stderr


def test_transcripts_restore_what_tardis_rewrote() -> None:
    fast = b'{"channel":"fastBook","data":{"coin":"BTC","fast":true,"levels":[[],[]]}}'
    restored = load_transcript("hyperliquid").restored(fast)
    assert restored is not None
    assert load_transcript("hyperliquid").channels_of(restored.payload) == ("l2Book-fast:BTC",)
    base = (
        b'{"channel":"spot.order_book_update","event":"snapshot","generated":true,'
        b'"symbol":"GT_USDT","result":{"id":5,"bids":[],"asks":[]}}'
    )
    restored = load_transcript("gate").restored(base)
    assert restored is not None
    assert (restored.symbol, restored.payload) == ("GT_USDT", b'{"id":5,"bids":[],"asks":[]}')
