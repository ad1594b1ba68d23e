"""What an earlier build recorded replays to the same books and events, byte for byte.

of_209d4fa/ was written by the build of commit 209d4fa, whose shared memory had layout 1: 19 s of
`tickpath record` beside its own simulator (two books; a gap, a duplicate, a crossed book, a message
that cannot be decoded, a reset, silence with a reconnect), and what its own `replay --print` said.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard
from tickpath.engine.recording.left_out import LEFT_OUT

FOLDER = Path(__file__).with_name("of_209d4fa")
CHANNEL = "spot@public.aggre.depth.v3.api.pb@100ms@BTCUSDT"
TICKPATH = [sys.executable, "-P", "-m", "tickpath.engine.cli"]


def printed_then(what: str) -> str:
    packed = (FOLDER / f"{what}.ndjson.zst").read_bytes()
    text = zstandard.ZstdDecompressor().decompress(packed).decode()
    return text.replace('qty":', 'quantity":')  # a name that changed, and nothing else


def replay(path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*TICKPATH, "replay", str(path), *words], capture_output=True, text=True, check=False
    )
    assert done.returncode in {0, LEFT_OUT}, done.stderr
    return done


@pytest.mark.parametrize("what", ["books", "events"])
def test_recording_of_an_earlier_build_replays_to_the_same(what: str) -> None:
    expected = printed_then(what)
    assert {json.loads(line).get("state") for line in expected.splitlines()} >= {
        *("LIVE", "SYNCING", "STALE", "CROSSED")
    }
    assert replay(FOLDER, "--print", what).stdout == expected


def test_recording_of_an_earlier_build_is_entered_at_its_checkpoints() -> None:
    expected = printed_then("books").splitlines(keepends=True)
    stamps = [json.loads(line)["t_ns"] for line in expected]
    middle = stamps[len(stamps) // 2]
    told = replay(FOLDER, "--print", "books", "--from", str(middle)).stdout
    assert told == "".join(
        line for line, t_ns in zip(expected, stamps, strict=True) if t_ns >= middle
    )


def test_lines_of_a_base_alone_are_a_book_and_end_no_others_replay(tmp_path: Path) -> None:
    """The build of 209d4fa made a book of them; later ones refused the whole file."""
    base = {"lastUpdateId": 5, "bids": [["10.1", "1"]], "asks": [["10.2", "2"]]}
    row = {"t_ns": 1, "venue": "mexc", "conn": 0, "dir": "base", "symbol": "BTCUSDT"}
    path = tmp_path / "base.ndjson"
    path.write_text(json.dumps(row | {"text": json.dumps(base)}) + "\n")
    assert replay(path, "--ndjson", "--print", "books").stdout == (
        '{"t_ns":1,"venue":"mexc","symbol":"BTCUSDT","state":"LIVE","bid":"10.1","bid_quantity":"1",'
        '"ask":"10.2","ask_quantity":"2"}\n'
    )


def test_lines_that_call_a_base_by_its_old_name_are_replayed_with_a_warning(tmp_path: Path) -> None:
    asked = {"method": "SUBSCRIPTION", "params": [CHANNEL]}
    base = {"lastUpdateId": 5, "bids": [["10.1", "1"]], "asks": [["10.2", "2"]]}
    told = []
    for word in ("base", "snapshot"):
        path = tmp_path / f"{word}.ndjson"
        rows = [
            {"dir": "out", "text": json.dumps(asked)},
            {"dir": word, "symbol": "BTCUSDT", "text": json.dumps(base)},
        ]
        path.write_text(
            "".join(
                json.dumps({"t_ns": t_ns, "venue": "mexc", "conn": 0, **row}) + "\n"
                for t_ns, row in enumerate(rows, 1)
            )
        )
        told.append(replay(path, "--ndjson", "--print", "books"))
    now, then = told
    assert now.stdout == then.stdout
    assert '"bid":"10.1"' in now.stdout
    assert "old name" not in now.stderr
    assert '"dir":"snapshot" is now called "dir":"base" (1 lines): rename it' in then.stderr
