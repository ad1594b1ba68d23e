"""Certificates: what they count of a recording, and that the same files give the same bytes."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from tickpath.engine.recording.format import RAW, RECORD, FileWriter, Meta, pack_record
from tickpath.engine.recording.left_out import LEFT_OUT
from tickpath.engine.recording.ndjson import NdjsonRecording
from tickpath.engine.sim.venues import dialect_names

from tests.venues.sessions import START_NS, STEP_NS, make_reconnected, make_session, written
from tests.venues.test_tardis import Done, tardis_lines, tickpath

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def certified(*words: object) -> tuple[dict[str, Any], Done]:
    done = tickpath("certificate", "--json", *words)
    return json.loads(done.stdout), done


def lines_file(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text(written(lines))
    return path


def of(told: dict[str, Any], symbol: str) -> dict[str, Any]:
    (part,) = [one for one in told["instruments"] if one["symbol"] == symbol]
    found: dict[str, Any] = part
    return found


@pytest.mark.parametrize("name", dialect_names())
def test_whole_session_of_any_venue_is_certified_complete(name: str, tmp_path: Path) -> None:
    session = make_session(name)
    path = lines_file(tmp_path / "a.ndjson", session.lines())
    told, done = certified("--ndjson", path)
    assert done.returncode == 0, done.stderr
    assert told["is_complete"], told
    assert [one["symbol"] for one in told["instruments"]] == sorted(session.symbols)
    assert told["last_ns"] - told["first_ns"] == 40 * STEP_NS
    for symbol in session.symbols:
        part = of(told, symbol)
        assert (part["state"], part["gaps"], part["resyncs"], part["refused"]) == ("LIVE", 0, 0, 0)
        assert part["messages"] >= 18
        assert 0.85 < part["live_share"] <= 1
        assert part["age_max_ns"] == 2 * STEP_NS  # the two take turns
        assert part["last_ns"] in (told["last_ns"], told["last_ns"] - STEP_NS)


def test_numbers_are_those_of_the_messages(tmp_path: Path) -> None:
    session = make_session("binance")
    told, _ = certified("--ndjson", lines_file(tmp_path / "a.ndjson", session.lines()))
    changes = [
        json.loads(row.data)["data"]
        for row in session.rows
        if row.direction == "in" and b"@depth" in row.data
    ]
    for symbol in session.symbols:
        own = [one for one in changes if one["s"] == symbol]
        assert of(told, symbol)["last_number"] == own[-1]["u"]
        assert of(told, symbol)["first_number"] <= own[2]["u"]


def test_lost_message_is_a_gap_and_the_next_base_a_resync(tmp_path: Path) -> None:
    session = make_session("binance", with_market=False)
    lines = session.lines()
    bases = [i for i, one in enumerate(lines) if one["dir"] == "base"]
    symbol = lines[bases[0]]["symbol"]
    own = [i for i, one in enumerate(lines) if f"{symbol.lower()}@depth" in one.get("text", "")]
    gone = own[8]
    whole, _ = certified("--ndjson", lines_file(tmp_path / "whole.ndjson", lines))
    told, done = certified(
        "--ndjson", lines_file(tmp_path / "a.ndjson", lines[:gone] + lines[gone + 1 :])
    )
    part = of(told, symbol)
    assert done.returncode == LEFT_OUT
    assert (part["gaps"], part["resyncs"], part["state"]) == (1, 0, "SYNCING")
    assert part["left_live"] == {"GAP": 1}
    assert f"{symbol} not LIVE at the end (gap, and no base after it)" in told["left_out"]
    assert not told["is_complete"]
    lost_ns = lines[own[9]]["t_ns"]
    assert part["live_ns"] == of(whole, symbol)["live_ns"] - (whole["last_ns"] - lost_ns)
    other = next(one for one in session.symbols if one != symbol)
    assert of(told, other) == of(whole, other)


def test_disconnect_of_tardis_is_one_for_each_book(tmp_path: Path) -> None:
    session, begin = make_reconnected("okx")
    said = sum(row.direction == "in" for row in session.rows[:begin])
    lines = tardis_lines(session)
    path = tmp_path / "a.json.gz"
    path.write_bytes(gzip.compress("".join([*lines[:said], "\n", *lines[said:]]).encode()))
    told, done = certified("--tardis", path, "--venue", "okx")
    assert done.returncode == 0, done.stderr
    for symbol in session.symbols:
        part = of(told, symbol)
        assert (part["disconnects"], part["resyncs"], part["state"]) == (1, 1, "LIVE")
        assert part["left_live"] == {"DISCONNECTED": 1}
    assert (told["left_out"], told["is_complete"]) == ([], False)


def test_recording_of_ours_is_certified_as_its_lines_are(tmp_path: Path) -> None:
    path = lines_file(tmp_path / "a.ndjson", make_session("kraken").lines())
    lines = NdjsonRecording(path)
    folder = tmp_path / "ours"
    folder.mkdir()
    meta = Meta(instruments=lines.meta.instruments, instance_id="one", begin_ns=START_NS)
    writer = FileWriter(folder / "a.tpr", meta)
    for batch in lines.batches():
        writer.append(RAW, batch, 1, (START_NS, START_NS))
    writer.close()
    ours, done = certified(folder)
    theirs, _ = certified("--ndjson", path)
    assert done.returncode == 0, done.stderr
    assert ours["instruments"] == theirs["instruments"]
    data = (folder / "a.tpr").read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    assert ours["files"] == [{"name": "a.tpr", "size": len(data), "sha256": digest}]


def test_hole_and_two_runs_are_counted(tmp_path: Path) -> None:
    path = lines_file(tmp_path / "a.ndjson", make_session("okx", with_market=False).lines())
    lines = NdjsonRecording(path)
    hole = pack_record(10, 0, 0, START_NS + 39 * STEP_NS, bytes(16))
    for number in range(2):
        meta = Meta(instruments=lines.meta.instruments, instance_id=f"run {number}")
        writer = FileWriter(tmp_path / f"{number}.tpr", meta)
        for batch in lines.batches():
            writer.append(RAW, batch, 1, (1, 1))
        writer.append(RAW, hole, 1, (1, 1)) if number else None
        writer.close()
    told, done = certified(tmp_path)
    assert done.returncode == LEFT_OUT
    assert (told["runs"], told["holes"]) == (2, 1)
    assert {one["disconnects"] for one in told["instruments"]} == {2}  # the first run's end
    assert told["span_ns"] == 2 * 40 * STEP_NS  # of one time, and yet two runs
    for one in told["instruments"]:
        assert 0.85 < one["live_share"] <= 1
        assert one["age_max_ns"] == 2 * STEP_NS


def shifted(path: Path, batches: Iterable[bytes], meta: Meta, by_ns: int) -> None:
    """Write a run of these records by a clock that was set to 0 later, or not as late."""
    writer = FileWriter(path, meta)
    for batch in batches:
        data, offset = bytearray(batch), 0
        while offset < len(data):
            size, kind, opcode, conn, t_ns = RECORD.unpack_from(data, offset)
            RECORD.pack_into(data, offset, size, kind, opcode, conn, t_ns + by_ns)
            offset += RECORD.size + (size + 7) // 8 * 8
        writer.append(RAW, bytes(data), 1, (1, 1))
    writer.close()


@pytest.mark.parametrize("by_ns", [-START_NS + 50 * STEP_NS, 10**15])
def test_runs_of_different_boots_are_never_subtracted(tmp_path: Path, by_ns: int) -> None:
    path = lines_file(tmp_path / "a.ndjson", make_session("okx", with_market=False).lines())
    lines = NdjsonRecording(path)
    alone, _ = certified("--ndjson", path)
    folder = tmp_path / "runs"
    folder.mkdir()
    for number, moved_ns in enumerate((0, by_ns)):
        meta = Meta(instruments=lines.meta.instruments, instance_id=f"run {number}")
        shifted(folder / f"{number}.tpr", lines.batches(), meta, moved_ns)
    told, _ = certified(folder)
    assert (told["runs"], told["span_ns"]) == (2, 2 * alone["span_ns"])
    assert told["first_ns"] == alone["first_ns"]
    assert told["last_ns"] == alone["last_ns"] + by_ns
    for one in alone["instruments"]:
        part = of(told, one["symbol"])
        assert (part["live_ns"], part["live_share"]) == (2 * one["live_ns"], one["live_share"])
        assert part["age_max_ns"] == one["age_max_ns"]
        assert (part["first_ns"], part["last_ns"]) == (one["first_ns"], one["last_ns"] + by_ns)
    last = tickpath("certificate", folder).stdout.splitlines()[-1]
    assert f"in {2 * alone['span_ns'] / 1e9:.3f} s of 2 runs, each LIVE for " in last


def test_instrument_of_one_run_has_that_runs_share(tmp_path: Path) -> None:
    for name in ("okx", "kraken"):
        path = lines_file(tmp_path / f"{name}.ndjson", make_session(name).lines())
        lines = NdjsonRecording(path)
        (tmp_path / "ours").mkdir(exist_ok=True)
        shifted(tmp_path / "ours" / f"{name}.tpr", lines.batches(), lines.meta, 0)
    told, _ = certified(tmp_path / "ours")
    assert {one["venue"] for one in told["instruments"]} == {"okx", "kraken"}
    for one in told["instruments"]:
        assert 0.85 < one["live_share"] <= 1


def test_disconnect_before_the_first_time_takes_nothing_from_the_span(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("".join(["\n", *tardis_lines(make_session("okx"))]))
    told, done = certified("--tardis", path, "--venue", "okx")
    assert (done.returncode, told["is_complete"]) == (0, True), done.stderr
    assert told["first_ns"] == START_NS
    assert min(one["live_share"] for one in told["instruments"]) > 0.85


def test_same_files_give_the_same_bytes_wherever_they_are(tmp_path: Path) -> None:
    lines = [*make_session("bybit").lines(), {"bad": 1}]
    path = lines_file(tmp_path / "a.ndjson", lines)
    other = tmp_path / "elsewhere"
    other.mkdir()
    shutil.copy(path, other)
    first, second = (
        tickpath("certificate", "--json", "--ndjson", one).stdout
        for one in (path, other / "a.ndjson")
    )
    assert first
    assert first == second
    assert tickpath("certificate", "--ndjson", path).stdout == (
        tickpath("certificate", "--ndjson", other / "a.ndjson").stdout
    )


def test_several_files_are_named_without_their_folders(tmp_path: Path) -> None:
    lines = tardis_lines(make_session("okx"))
    folder = tmp_path / "here"
    for number, name in enumerate(("a/00.json", "a/01.json", "b/00.json")):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(lines[number::3]) if number else "".join(lines))
    with (folder / "b/00.json").open("a") as file:
        file.write("no time\n")
    shutil.copytree(folder, tmp_path / "elsewhere" / "deep")
    said = []
    for one in (folder, tmp_path / "elsewhere" / "deep"):
        words = ("--tardis", one, "--venue", "okx")
        said += [tickpath("certificate", *more, *words).stdout for more in ((), ("--json",))]
    assert said[:2] == said[2:]
    assert " of 00.json (file 3): begins with" in said[0]
    assert str(tmp_path) not in "".join(said)


def test_damaged_file_in_another_folder_is_named_without_it(tmp_path: Path) -> None:
    path = lines_file(tmp_path / "a.ndjson", make_session("okx").lines())
    lines = NdjsonRecording(path)
    files = [tmp_path / "one" / "a.tpr", tmp_path / "two" / "b.tpr"]
    for one in files:
        one.parent.mkdir()
        shifted(one, lines.batches(), lines.meta, 0)
    files[1].write_bytes(files[1].read_bytes()[:-3])
    told, done = certified(*files)
    assert "recording b.tpr: byte" in told["fault"]
    assert str(tmp_path) not in done.stdout


def test_damaged_file_is_certified_up_to_there_and_said(tmp_path: Path) -> None:
    path = lines_file(tmp_path / "a.ndjson", make_session("okx").lines())
    lines = NdjsonRecording(path)
    writer = FileWriter(tmp_path / "a.tpr", lines.meta)
    for batch in lines.batches():
        writer.append(RAW, batch, 1, (1, 1))
    writer.close()
    (tmp_path / "a.tpr").write_bytes((tmp_path / "a.tpr").read_bytes()[:-3])
    told, done = certified(tmp_path / "a.tpr")
    assert done.returncode == 2
    assert told["records"] > 100
    assert not told["is_complete"]
    assert "recording a.tpr: byte" in told["fault"]
    assert str(tmp_path) not in done.stdout


def test_lines_for_people_end_with_the_one_that_says_it_all(tmp_path: Path) -> None:
    session = make_session("okx")
    done = tickpath("certificate", "--ndjson", lines_file(tmp_path / "a.ndjson", session.lines()))
    *rows, last = done.stdout.splitlines()
    assert [row.partition(" ")[0] for row in rows] == [f"okx:{one}" for one in session.symbols]
    assert all(" LIVE at the end, LIVE " in row for row in rows)
    assert last.startswith("complete: 2 instruments in 40.000 s, each LIVE for ")


def test_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tpr").write_text("nonsense")
    for words, said in (
        ((tmp_path / "a.tpr",), "not a recording"),
        ((tmp_path / "none",), "No such file"),
        ((tmp_path / "a.tpr", "--ndjson"), "line 1"),
    ):
        done = tickpath("certificate", *words)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr


def test_trades_alone_lack_no_book(tmp_path: Path) -> None:
    lines = [
        one
        for one in make_session("okx").lines()
        if one["dir"] == "in" and '"channel":"trades"' in one["text"]
    ]
    told, done = certified("--ndjson", lines_file(tmp_path / "a.ndjson", lines))
    assert (done.returncode, told["left_out"], told["is_complete"]) == (0, [], True)
    assert [one["has_book"] for one in told["instruments"]] == [False, False]
    assert all(one["trades"] > 5 for one in told["instruments"])
    done = tickpath("certificate", "--ndjson", tmp_path / "a.ndjson")
    assert "no book was recorded; " in done.stdout
