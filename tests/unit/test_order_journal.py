"""The journal of orders: whole or not there at every store, one file or the other at every call."""

from __future__ import annotations

import errno
import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest
from tickpath._core import ffi, lib
from tickpath.engine.gateway import journal as module
from tickpath.engine.gateway.journal import HEADER_SIZE, RECORD_SIZE, Journal, open_journal
from tickpath.engine.gateway.order_states import Happening, Place
from tickpath.shm.errors import LocalError

ACCOUNT = "main"
CAPACITY = 64


def opened(folder: Path, capacity: int = CAPACITY) -> tuple[Journal, module.Found]:
    return open_journal(folder, ACCOUNT, capacity)


def new_order(number: int = 7, quantity: int = 10) -> Any:
    fields = {"order": number, "price": 100 + number, "quantity": quantity, "instrument": 3}
    return ffi.new("struct tp_order *", fields)


def place(journal: Journal, number: int = 7) -> Any:
    order = new_order(number)
    assert lib.tp_journal_place(journal.pointer, order, 5)
    return order


def hear(journal: Journal, order: Any, on: Happening, filled: int = -1) -> None:
    report = ffi.new("struct tp_order_report *", {"on": int(on), "filled": filled})
    lib.tp_order_apply(order, report)
    assert lib.tp_journal_append(journal.pointer, order)


def bytes_of(order: Any) -> bytes:
    return bytes(ffi.buffer(order))


def file_of(folder: Path) -> Path:
    (path,) = folder.glob("main.journal.0*")
    return path


def test_journal_gives_back_the_last_of_each_order_that_had_not_ended(tmp_path: Path) -> None:
    journal, found = opened(tmp_path)
    assert (found.orders, found.epoch) == ([], 0)
    first, second, third = (place(journal, n) for n in (1, 2, 3))
    for order in (first, second, third):
        hear(journal, order, Happening.SENT)
    hear(journal, second, Happening.FILL, 4)
    hear(journal, first, Happening.CANCELLED)
    journal.close()
    _, found = opened(tmp_path)
    assert [bytes_of(one) for one in found.orders] == [bytes_of(second), bytes_of(third)]
    assert (found.epoch, found.broken, found.torn) == (1, 0, 0)


def test_journal_never_gives_an_id_twice(tmp_path: Path) -> None:
    seen: set[int] = set()
    tags = set()
    for _ in range(5):
        journal, _ = opened(tmp_path)
        ids = [int(place(journal).id) for _ in range(3)]
        assert not seen & set(ids)
        seen |= set(ids)
        journal.rotate([])
        ids = [int(place(journal).id) for _ in range(3)]
        assert not seen & set(ids)
        seen |= set(ids)
        tags.add(journal.tag)
        journal.close()
    assert len(seen) == 30
    assert len(tags) == 1


def test_journal_that_was_deleted_repeats_no_id(tmp_path: Path) -> None:
    journal, _ = opened(tmp_path)
    first = journal.id_text(int(place(journal).id))
    journal.close()
    file_of(tmp_path).unlink()
    journal, _ = opened(tmp_path)
    assert journal.id_text(int(place(journal).id)) != first
    journal.close()


def test_journal_id_on_the_wire_is_read_back(tmp_path: Path) -> None:
    journal, _ = opened(tmp_path)
    id_ = int(place(journal).id)
    text = journal.id_text(id_)
    assert text == f"tp{journal.tag:08x}{1:08x}{1:08x}"
    tag, out = ffi.new("uint32_t *"), ffi.new("uint64_t *")
    assert lib.tp_order_id_read(text.encode(), len(text), tag, out)
    assert (tag[0], out[0]) == (journal.tag, id_)
    for other in (text[:-1], text + "0", text.upper(), "xx" + text[2:], text[:18] + "0" * 8):
        assert not lib.tp_order_id_read(other.encode(), len(other), tag, out), other
    journal.close()


def test_journal_that_is_nearly_full_takes_changes_and_no_new_orders(tmp_path: Path) -> None:
    journal, _ = opened(tmp_path)
    kept = CAPACITY // module.KEPT_SHARE
    orders = [place(journal, n) for n in range(CAPACITY - kept)]
    order = new_order()
    assert not lib.tp_journal_place(journal.pointer, order, 5)
    assert order.id == 0
    for one in orders[:kept]:
        hear(journal, one, Happening.SENT)
    assert not lib.tp_journal_append(journal.pointer, orders[-1])
    journal.rotate(orders[:20])
    assert int(place(journal).id) & 0xFFFFFFFF == len(orders) + 1
    journal.close()
    _, found = opened(tmp_path)
    assert len(found.orders) == 21


@pytest.mark.parametrize(("owner", "call"), [(Path, "rename"), (os, "fsync"), (Path, "unlink")])
def test_journal_whose_rotation_fails_goes_on_where_the_next_start_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, call: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(5, "Input/output error")

    journal, _ = opened(tmp_path)
    orders = [place(journal, 1)]
    with monkeypatch.context() as patch:
        patch.setattr(owner, call, fail)
        with pytest.raises(OSError, match="Input/output"):
            journal.rotate(orders)
    orders.append(place(journal, 2))
    assert orders[0].id + 1 == orders[1].id
    journal.close()
    _, found = opened(tmp_path)
    assert [bytes_of(one) for one in found.orders] == [bytes_of(one) for one in orders]


def test_journal_belongs_to_one_gateway(tmp_path: Path) -> None:
    journal, _ = opened(tmp_path)
    with pytest.raises(LocalError, match="one gateway an account"):
        opened(tmp_path)
    journal.close()
    opened(tmp_path)[0].close()


def test_journal_in_a_forked_child_appends_nothing_and_keeps_no_lock(tmp_path: Path) -> None:
    journal, _ = opened(tmp_path)
    order = place(journal)
    end_read, end_write = os.pipe()
    child = os.fork()
    if child == 0:
        appended = lib.tp_journal_append(journal.pointer, order)
        os.write(end_write, b"yes" if appended else b"no")
        signal.pause()  # until it is killed
        os._exit(0)
    try:
        assert os.read(end_read, 3) == b"no"
        journal.close()
        again, found = opened(tmp_path)
        assert [bytes_of(one) for one in found.orders] == [bytes_of(order)]
        again.close()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(end_read)
        os.close(end_write)


def words_of(folder: Path, position: int) -> tuple[bytes, int]:
    return file_of(folder).read_bytes(), HEADER_SIZE + position * RECORD_SIZE


def test_journal_cut_after_any_store_of_a_record_has_all_before_it(tmp_path: Path) -> None:
    """Each set of stores that can have been done, in any order: the check word comes last."""
    journal, _ = opened(tmp_path)
    before = place(journal, 1)
    order = place(journal, 2)
    journal.close()
    data, at = words_of(tmp_path, 1)
    draw = random.Random(1)
    cuts = [set(range(1, n)) for n in range(1, 17)]
    cuts += [set(draw.sample(range(1, 16), draw.randint(0, 15))) for _ in range(500)]
    for done in cuts:
        cut = bytearray(data)
        for word in set(range(16)) - done:
            cut[at + 8 * word : at + 8 * word + 8] = bytes(8)
        _, found = module.read_file(bytes(cut), tmp_path)
        assert [bytes_of(one) for one in found.orders] == [bytes_of(before)]
        assert found.broken == 0
        assert found.torn == (1 if any(cut[at : at + RECORD_SIZE]) else 0)
    _, found = module.read_file(data, tmp_path)
    assert [bytes_of(one) for one in found.orders] == [bytes_of(before), bytes_of(order)]


def test_journal_word_that_the_disk_lost_is_seen_and_the_rest_is_read(tmp_path: Path) -> None:
    journal, _ = opened(tmp_path)
    orders = [place(journal, n) for n in range(3)]
    journal.close()
    data, at = words_of(tmp_path, 1)
    for word in range(16):
        cut = bytearray(data)
        cut[at + 8 * word] ^= 1
        _, found = module.read_file(bytes(cut), tmp_path)
        assert [bytes_of(one) for one in found.orders] == [bytes_of(orders[0]), bytes_of(orders[2])]
        assert (found.broken, found.torn) == (1, 0)


def test_journal_record_of_another_place_or_file_is_none(tmp_path: Path) -> None:
    journal, _ = opened(tmp_path)
    place(journal, 1)
    journal.close()
    data, at = words_of(tmp_path, 0)
    cut = bytearray(data)
    cut[at + RECORD_SIZE : at + 2 * RECORD_SIZE] = data[at : at + RECORD_SIZE]
    assert module.read_file(bytes(cut), tmp_path)[1].torn == 1
    opened(tmp_path)[0].close()
    other, _ = words_of(tmp_path, 0)
    cut = bytearray(other)
    cut[at : at + RECORD_SIZE] = data[at : at + RECORD_SIZE]
    assert module.read_file(bytes(cut), tmp_path)[1].orders == []


@pytest.mark.parametrize(
    ("at", "value", "said"),
    [(0, b"X", "no journal"), (16, b"\x09", "another version"), (24, b"\x00", "damaged")],
)
def test_journal_that_is_unreadable_is_refused_and_kept(
    tmp_path: Path, at: int, value: bytes, said: str
) -> None:
    journal, _ = opened(tmp_path)
    place(journal)
    journal.close()
    path = file_of(tmp_path)
    data = bytearray(path.read_bytes())
    data[at : at + 1] = value if data[at : at + 1] != value else b"\x01"
    path.write_bytes(data)
    with pytest.raises(LocalError, match=said):
        opened(tmp_path)
    assert path.read_bytes() == data


class KilledError(BaseException):
    """The process ends here."""


def test_journal_begun_anew_and_killed_at_any_call_loses_nothing(tmp_path: Path) -> None:
    """As the kernel sees it: at each call that changes what a folder has, before and after."""
    journal, _ = opened(tmp_path)
    open_ones = [place(journal, n) for n in range(4)]
    journal.close()
    wanted = [bytes_of(one) for one in open_ones]
    epochs = []
    for calls in range(1, 100):
        with pytest.MonkeyPatch.context() as patch:
            left = [calls]

            def counted(real: Any, left: list[int] = left) -> Any:
                def call(*args: Any, **kwargs: Any) -> Any:
                    left[0] -= 1
                    if left[0] == 0:
                        raise KilledError
                    result = real(*args, **kwargs)
                    left[0] -= 1
                    if left[0] == 0:
                        raise KilledError
                    return result

                return call

            patch.setattr(os, "posix_fallocate", counted(os.posix_fallocate))
            patch.setattr(os, "fsync", counted(os.fsync))
            patch.setattr(Path, "rename", counted(Path.rename))
            patch.setattr(Path, "unlink", counted(Path.unlink))
            try:
                opened(tmp_path)[0].close()
                done = True
            except KilledError:
                done = False
        journal, found = opened(tmp_path)
        assert [bytes_of(one) for one in found.orders] == wanted
        epochs.append(found.epoch)
        assert len(list(tmp_path.glob("main.journal.0*"))) == 1
        journal.close()
        if done:
            break
    assert calls > 8
    assert epochs == sorted(set(epochs))


def test_journal_waits_for_the_disk_where_it_is_asked_to(tmp_path: Path) -> None:
    journal, _ = opened(tmp_path, 1 << 10)
    for number in range(200):
        place(journal, number)
    assert lib.tp_journal_sync(journal.pointer, 0) == 0
    assert lib.tp_journal_sync(journal.pointer, 150) == 0
    assert Place(new_order().place) is Place.NEW
    journal.close()


def test_journal_that_the_disk_refuses_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(LocalError, match=r"journal of account a .*No space left.*no order is sent"):
        open_journal(tmp_path, "a")
    monkeypatch.undo()
    open_journal(tmp_path, "a")[0].close()  # the lock was let go
