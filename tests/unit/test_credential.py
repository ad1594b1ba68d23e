"""Secrets are read from where a configuration says, and shown nowhere."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from tickpath.engine.config.credential import (
    FOLDER_VARIABLE,
    SIZE_MAX,
    header_lines,
    read_credential,
)
from tickpath.shm.errors import LocalError

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "0kEy" * 16


def kept(path: Path, data: bytes = SECRET.encode() + b"\n", mode: int = 0o600) -> str:
    path.write_bytes(data)
    path.chmod(mode)
    return f"file:{path}"


def refusal(place: str) -> str:
    with pytest.raises(LocalError) as raised:
        read_credential(place)
    assert SECRET not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_file_of_its_owner_alone_is_read_without_its_line_end(tmp_path: Path, mode: int) -> None:
    assert read_credential(kept(tmp_path / "key", mode=mode)) == SECRET
    assert read_credential(kept(tmp_path / "other", SECRET.encode() + b"\r\n")) == SECRET
    assert read_credential(kept(tmp_path / "third", SECRET.encode())) == SECRET


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
def test_file_that_others_may_touch_is_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    place = kept(tmp_path / "key", mode=mode)
    said = refusal(place)
    assert said.startswith(f"{place}: mode {mode:04o}, ")
    assert said.endswith(f"chmod 0600 {tmp_path / 'key'}")


@pytest.mark.needs("root")
def test_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    place = kept(tmp_path / "key")
    os.chown(tmp_path / "key", 4711, -1)
    assert "belongs to user 4711: expected root or ourselves" in refusal(place)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (SECRET.encode() + b"\r\nX-Other: 1\n", "expected one line"),
        (SECRET.encode() + b"\n\n", "expected one line"),
        (b"two words\n", "expected one line"),
        (b"\xff" * 8, "expected one line"),
        (b"x" * (SIZE_MAX + 1), "expected one line"),
    ],
)
def test_what_no_header_may_have_is_refused(tmp_path: Path, data: bytes, said: str) -> None:
    place = kept(tmp_path / "key", data)
    assert refusal(place).startswith(f"{place}: {said}")


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    (tmp_path / "folder").mkdir(mode=0o700)
    for name, said in (
        ("fifo", "expected a file"),
        ("folder", "expected a file"),
        ("x", "No such"),
    ):
        assert f": {said}" in refusal(f"file:{tmp_path / name}")


def test_place_that_is_none_is_refused_unseen() -> None:
    """Whoever wrote the key itself there must not read it in a log."""
    assert 'expected "file:/PATH"' in refusal(SECRET)


def test_variable_and_credential_of_the_service_manager(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TICKPATH_TEST_SECRET", SECRET)
    assert read_credential("env:TICKPATH_TEST_SECRET") == SECRET
    monkeypatch.delenv("TICKPATH_TEST_SECRET")
    assert "not set" in refusal("env:TICKPATH_TEST_SECRET")
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    assert "LoadCredential=binance:/PATH" in refusal("credential:binance")
    kept(tmp_path / "binance", mode=0o440)  # as systemd has them; its folder is the unit's alone
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    assert read_credential("credential:binance") == SECRET


def test_header_lines_are_those_of_both(tmp_path: Path) -> None:
    place = kept(tmp_path / "key")
    lines = header_lines((("X-One", "1"),), (("X-Key", place),))
    assert lines == f"X-One: 1\r\nX-Key: {SECRET}\r\n"
    assert header_lines((), ()) == ""
