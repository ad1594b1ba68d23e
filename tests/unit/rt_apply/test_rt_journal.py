"""The journal's lines: there and back, and any bytes at all."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickpath.rt.host import Host
from tickpath.rt.tuning.journal import (
    JOURNAL,
    KINDS,
    Entry,
    compact,
    encode_entry,
    encode_line,
    parse_journal,
    read_journal,
)
from tickpath.rt.tuning.writing import Disk, FileState, System

if TYPE_CHECKING:
    from pathlib import Path

TEXT = st.text(max_size=20)
VALUES = st.one_of(
    st.none(),
    TEXT,
    st.builds(
        FileState,
        st.binary(max_size=40),
        st.integers(0, 0o7777),
        st.integers(0, 70_000),
        st.integers(0, 70_000),
        st.one_of(st.none(), st.integers(0, 2**62)),
    ),
)
ENTRIES = st.builds(
    Entry,
    st.integers(1, 1000),
    TEXT,
    TEXT,
    TEXT,
    st.sampled_from(KINDS),
    TEXT,
    VALUES,
    VALUES,
    st.lists(TEXT, max_size=3).map(tuple),
    st.one_of(st.none(), TEXT),
)
SAMPLE = Entry(1, "b", "t", "i", "kernel", "/proc/x", "60\n", "10")


@given(st.lists(ENTRIES, unique_by=lambda entry: entry.seq))
def test_parse_journal_of_what_was_encoded_is_the_same(entries: list[Entry]) -> None:
    log = parse_journal(b"".join(encode_entry(entry) for entry in entries))
    assert log.entries == tuple(sorted(entries, key=lambda entry: entry.seq))
    assert log.damaged == ()


@given(st.lists(ENTRIES, unique_by=lambda entry: entry.seq, min_size=1), st.data())
def test_parse_journal_torn_anywhere_keeps_the_whole_lines(
    entries: list[Entry], data: st.DataObject
) -> None:
    lines = [encode_entry(entry) for entry in entries]
    whole = b"".join(lines)
    cut = data.draw(st.integers(0, len(whole)))
    log = parse_journal(whole[:cut])
    assert log.damaged == ()
    assert log.size == sum(
        len(line) for index, line in enumerate(lines) if len(b"".join(lines[: index + 1])) <= cut
    )
    assert len(log.entries) == whole[:cut].count(b"\n")


@given(st.binary())
def test_parse_journal_any_bytes_are_borne(data: bytes) -> None:
    log = parse_journal(data)
    assert len(log.damaged) <= data.count(b"\n")
    assert log.size <= len(data)


@given(
    st.lists(
        st.one_of(
            st.recursive(
                st.none() | st.booleans() | st.integers() | TEXT,
                lambda inner: (
                    st.lists(inner, max_size=3)
                    | st.dictionaries(
                        st.sampled_from(
                            ["seq", "kind", "made", "reads", "undone", "previous", "wrote", "text"]
                        ),
                        inner,
                    )
                ),
            ).map(lambda value: encode_line({"seq": value} if value else {})),
            ENTRIES.map(encode_entry),
            st.integers(0, 9).map(lambda seq: encode_line({"seq": seq, "undone": True})),
        )
    )
)
def test_parse_journal_lines_in_any_order_are_borne(lines: list[bytes]) -> None:
    log = parse_journal(b"".join(lines))
    assert len(log.damaged) + len(log.entries) <= len(lines)


@pytest.mark.parametrize(
    ("line", "damaged"),
    [
        (b"[" * 100_000 + b"\n", (1,)),
        (b'{"seq": 1, "reads": "x"}\n', (1,)),
        (encode_entry(SAMPLE) * 2, (2,)),
        (encode_entry(SAMPLE).replace(b'"kernel"', b'"kernels"'), (1,)),
        (encode_entry(SAMPLE).replace(b'"seq": 1', b'"seq": true'), (1,)),
        (encode_entry(SAMPLE) + b'{"seq": 1, "undone": true}\n', ()),
    ],
)
def test_parse_journal_line_that_is_no_record_is_told(
    line: bytes, damaged: tuple[int, ...]
) -> None:
    assert parse_journal(line).damaged == damaged


def test_parse_journal_notes_complete_their_entry() -> None:
    data = encode_entry(SAMPLE) + encode_line({"seq": 1, "reads": "10"})
    (entry,) = parse_journal(data).open_entries
    assert entry.reads == "10"
    assert parse_journal(data + encode_line({"seq": 1, "undone": True})).open_entries == ()


def test_compaction_keeps_all_that_a_revert_can_use(tmp_path: Path) -> None:
    """A file of an earlier boot stays, with what was read of it; a live value of it goes."""
    file = replace(SAMPLE, seq=1, boot="old", kind="file", target="/etc/x", reload=("udevadm",))
    earlier = replace(SAMPLE, seq=2, boot="old", kind="kernel", target="/proc/sys/vm/swappiness")
    undone = replace(SAMPLE, seq=3, boot="new", kind="file", target="/etc/y")
    live = replace(SAMPLE, seq=4, boot="new", kind="kernel", target="/proc/sys/vm/dirty_ratio")
    lines = [encode_line({"made": ["/var/lib/tickpath"]})]
    lines += [encode_entry(one) for one in (file, earlier, undone, live)]
    lines += [encode_line({"seq": 1, "reads": "text"}), encode_line({"seq": 1, "reloaded": True})]
    lines += [encode_line({"seq": 3, "undone": True}), encode_line({"seq": 4, "reads": "10"})]
    host = Host(tmp_path)
    path = host.path(JOURNAL)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"".join(lines))
    compact(Disk(host, System()), "new")
    log = read_journal(host)
    assert log.made == ("/var/lib/tickpath",)
    assert log.entries == (
        replace(file, reads="text", reloaded=True),
        replace(live, reads="10"),
    )
