"""`tickpath top` in a real pseudo-terminal: keys are pressed, the screen is read (by pyte)."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from typing import TYPE_CHECKING, Any

import pyte
import pytest
from tickpath.engine.cli import main
from tickpath.engine.client.reader import BookState, SyncReason, open_reader
from tickpath.engine.strategy.rehearsal import RehearsalFeed
from tickpath.engine.strategy.stats import create_stats
from tickpath.engine.supervisor.child_process import spawn, stop
from tickpath.engine.top.keys import read_keys
from tickpath.engine.top.screens import bar
from tickpath.proto.instrument import Instrument, pack_row

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

# Of one width, whatever the process id: at 80 columns a name of more than 14 letters is shortened.
INSTANCE = f"top-{os.getpid():07d}"
INSTRUMENTS = [
    Instrument(i, "mexc", name, -2, -3)
    for i, name in enumerate(["BTCUSDT", "ETHUSDT", "SOLUSDT", "ADAUSDT"])
]
WAIT_S = 20.0
UP, DOWN, ENTER, ESC, TAB = "\x1b[A", "\x1b[B", "\r", "\x1b", "\t"


class Terminal:
    """A terminal of 80 x 24 with tickpath top in it."""

    def __init__(self, *words: str, columns: int = 80, lines: int = 24) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.mode = termios.tcgetattr(slave)
        self.slave = slave
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        command = [sys.executable, "-P", "-m", "tickpath.engine.cli", "top", *words]
        environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": ""}
        environment.pop("COLUMNS", None)
        environment.pop("LINES", None)
        self.child: subprocess.Popen[str] = spawn(
            command, stdin=slave, stdout=slave, stderr=slave, env=environment
        )
        self.raw = b""

    def press(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def read(self) -> None:
        while select.select([self.master], [], [], 0.02)[0]:
            data = os.read(self.master, 65536)
            self.raw += data
            self._stream.feed(data)

    @property
    def text(self) -> str:
        return "\n".join(self.screen.display)

    def line(self, word: str) -> str:
        return next((line for line in self.screen.display if word in line), "")

    def colour(self, word: str) -> str:
        """Return the foreground colour of a word on the screen."""
        for number, line in enumerate(self.screen.display):
            if (column := line.find(word)) >= 0:
                return str(self.screen.buffer[number][column].fg)
        return ""

    def selected(self) -> str:
        """Return the row in reverse video below the head."""
        for number, line in enumerate(self.screen.display[2:], 2):
            if self.screen.buffer[number][1].reverse:
                return line
        return ""

    def wait(self, ready: Callable[[], Any], feed: RehearsalFeed) -> None:
        end = time.monotonic() + WAIT_S
        while not ready():
            late = time.monotonic() > end or self.child.poll() is not None
            assert not late, f"the screen shows:\n{self.text}"
            feed.heartbeat()
            self.read()

    def wait_for_end(self, feed: RehearsalFeed) -> None:
        end = time.monotonic() + WAIT_S
        while self.child.poll() is None:
            assert time.monotonic() < end, f"the screen shows:\n{self.text}"
            feed.heartbeat()
            self.read()
        self.read()

    def close(self) -> None:
        stop(self.child)
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def feed() -> Iterator[RehearsalFeed]:
    with RehearsalFeed(INSTANCE, INSTRUMENTS) as made:
        made.publish_book([(10000, 4000), (9990, 1000)], [(10010, 2000)], 0)
        made.publish_book([(500, 10)], [(510, 10)], 1)
        made.publish_state(BookState.STALE, SyncReason.SILENT, 2)
        made.heartbeat()
        yield made


@pytest.fixture
def open_top() -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def make(*words: str, **size: int) -> Terminal:
        opened.append(Terminal(*words, **size))
        return opened[-1]

    yield make
    for terminal in opened:
        terminal.close()


def test_top_lists_instances_with_kind_and_state(
    feed: RehearsalFeed, open_top: Callable[..., Terminal]
) -> None:
    top = open_top()
    with create_stats(INSTANCE, "mine") as stats:
        stats.heartbeat()
        top.press("/" + INSTANCE + "\r")
        top.wait(lambda: "strategy" in top.text and "2/4" in top.text, feed)
        row = top.line(f"{INSTANCE} ")
    assert re.search(rf"{INSTANCE} +feed +(running|silent) +{os.getpid()} ", row)
    assert f"filter {INSTANCE}" in top.screen.display[-1]


def test_top_goes_into_an_instance_and_a_book_and_back_and_quits(
    feed: RehearsalFeed, open_top: Callable[..., Terminal]
) -> None:
    top = open_top()
    top.press("/" + INSTANCE + "\r")
    top.wait(lambda: INSTANCE in top.selected(), feed)
    top.press(ENTER)
    top.wait(lambda: "BTCUSDT" in top.text and "100.00" in top.line("BTCUSDT"), feed)
    assert "ADAUSDT" in top.selected()  # by name
    top.press(DOWN)
    top.wait(lambda: "BTCUSDT" in top.selected(), feed)
    top.press(ENTER)
    top.wait(lambda: "99.90" in top.text, feed)
    assert "mexc BTCUSDT" in top.text
    levels = [line for line in top.screen.display if "100.00" in line or "99.90" in line]
    assert "4.000" in levels[0]
    assert "2.000" in levels[0]
    # The deepest level has the longest bar, one of a quarter of it a quarter of the cells.
    assert levels[0].split("4.000")[0].count("█") == 4 * levels[1].split("1.000")[0].count("█") or (
        levels[0].split("4.000")[0].count("█") >= 4
    )
    top.press(ESC)
    top.wait(lambda: "ETHUSDT" in top.text, feed)
    top.press(ESC)
    top.wait(lambda: "instance " in top.text, feed)
    top.press("q")
    top.wait_for_end(feed)
    assert top.child.returncode == 0


def test_top_states_have_colours(feed: RehearsalFeed, open_top: Callable[..., Terminal]) -> None:
    top = open_top(INSTANCE)

    def coloured() -> bool:
        return top.colour("SYNCING") == "brown" and top.colour("STALE") == "red"

    top.wait(coloured, feed)  # ANSI 33, which pyte calls brown, is rich's yellow
    top.wait(lambda: top.colour("LIVE") == "green", feed)


def test_top_sorts_reverses_and_filters_books(
    feed: RehearsalFeed, open_top: Callable[..., Terminal]
) -> None:
    top = open_top(INSTANCE)

    def order() -> list[str]:
        return re.findall(r"^ ?([A-Z]{3}USDT)", top.text, re.MULTILINE)

    top.wait(lambda: order() == ["ADAUSDT", "BTCUSDT", "ETHUSDT", "SOLUSDT"], feed)
    top.press("r")
    top.wait(lambda: order() == ["SOLUSDT", "ETHUSDT", "BTCUSDT", "ADAUSDT"], feed)
    top.press("rs")
    top.wait(lambda: "sort state" in top.text and order()[0] == "SOLUSDT", feed)
    top.press("/eth\r")
    top.wait(lambda: order() == ["ETHUSDT"], feed)
    top.press(ESC)
    top.wait(lambda: len(order()) == 4, feed)


def test_top_panes_turn_with_tab(feed: RehearsalFeed, open_top: Callable[..., Terminal]) -> None:
    top = open_top(INSTANCE)
    top.wait(lambda: "BTCUSDT" in top.text, feed)
    for column in ("seen ms", "p99.9", "a second", "own address", "instrument"):
        top.press(TAB)
        top.wait(lambda column=column: column in top.text, feed)  # type: ignore[misc] # a loop's value


def test_top_readers_pane_shows_who_lags(
    feed: RehearsalFeed, open_top: Callable[..., Terminal]
) -> None:
    with open_reader(INSTANCE, name="slow") as slow:
        for number in range(700):
            feed.publish_top((100, number + 1), (101, 1), 0)
        slow.shm.check()
        top = open_top(INSTANCE)
        top.wait(lambda: "BTCUSDT" in top.text, feed)
        top.press(TAB)
        top.wait(lambda: "slow" in top.text, feed)
        assert re.search(rf"slow +{os.getpid()} +\d+ +0 +0 ", top.line("slow"))
        assert int(top.line("slow").split()[2]) >= 600


def test_top_help_fits_and_any_key_leaves_it(
    feed: RehearsalFeed, open_top: Callable[..., Terminal]
) -> None:
    top = open_top(INSTANCE)
    top.press("?")
    top.wait(lambda: "the other way round" in top.text, feed)
    assert "must not be" in top.text
    top.press("x")
    top.wait(lambda: "BTCUSDT" in top.text, feed)


def test_top_many_books_scroll_with_the_selection(open_top: Callable[..., Terminal]) -> None:
    many = [Instrument(i, "mexc", f"S{i:03}USDT", -2, -3) for i in range(100)]
    with RehearsalFeed(INSTANCE, many) as feed:
        top = open_top(INSTANCE)
        top.wait(lambda: "S000USDT" in top.selected(), feed)
        assert "S050USDT" not in top.text
        top.press("\x1b[F")
        top.wait(lambda: "S099USDT" in top.selected(), feed)
        top.press("\x1b[5~" + UP)
        top.wait(lambda: "S088USDT" in top.selected(), feed)
        assert "quit" in top.screen.display[-1]


@pytest.mark.slow
def test_top_writer_that_dies_is_told_and_another_size_is_drawn(
    feed: RehearsalFeed, open_top: Callable[..., Terminal]
) -> None:
    top = open_top(INSTANCE)
    top.wait(lambda: "BTCUSDT" in top.text, feed)
    size = struct.pack("HHHH", 30, 120, 0, 0)
    fcntl.ioctl(top.slave, termios.TIOCSWINSZ, size)
    top.screen.resize(30, 120)
    top.wait(lambda: "quit" in top.screen.display[-1], feed)
    feed.close()
    end = time.monotonic() + WAIT_S
    while "is gone" not in top.text and time.monotonic() < end:
        top.read()
    assert f"{INSTANCE} is gone" in top.text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_top_gives_the_terminal_back_on_a_signal(
    feed: RehearsalFeed, open_top: Callable[..., Terminal], number: signal.Signals
) -> None:
    top = open_top(INSTANCE)
    top.wait(lambda: "BTCUSDT" in top.text, feed)
    assert termios.tcgetattr(top.slave) != top.mode
    top.child.send_signal(number)
    top.wait_for_end(feed)
    top.read()
    assert top.child.returncode == 0
    assert termios.tcgetattr(top.slave) == top.mode
    assert top.raw.rindex(b"\x1b[?1049l") > top.raw.rindex(b"\x1b[?1049h")  # the main screen
    assert top.raw.rindex(b"\x1b[?25h") > top.raw.rindex(b"\x1b[?25l")  # the cursor


def test_top_names_of_others_cannot_drive_the_terminal(
    open_top: Callable[..., Terminal],
) -> None:
    sound = [Instrument(0, "mexc", "BTCUSDT", -2, -3), Instrument(1, "mexc", "[bold]", -2, -3)]
    with RehearsalFeed(INSTANCE, sound) as feed:
        name = pack_row(sound[0]).replace(b"BTCUSDT", b"\x1b[2J\x1b]0;x\x07"[:7])
        feed.segment.write_row(0, name)
        top = open_top(INSTANCE)
        top.wait(lambda: "?0" in top.text and "[bold]" in top.text, feed)
    assert b"\x1b[2J\x1b]" not in top.raw


def test_top_without_a_terminal_says_what_scripts_use(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["top"]) == 2
    assert "tickpath stat --json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        ("q", ["q"]),
        ("\x1b[A\x1b[Bj", ["up", "down", "j"]),
        ("\x1b", ["escape"]),
        ("\x1bOA\x1b[5~", ["up", "page up"]),
        ("\x1b[1;5A\x1b[200~x", ["x"]),  # ctrl-up, bracketed paste: no names
        ("\r\t\x7f", ["enter", "tab", "backspace"]),
        ("\x01é", ["é"]),
        ("\x1b[", []),
    ],
)
def test_top_keys_have_names(data: str, keys: list[str]) -> None:
    assert read_keys(data) == keys


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(8, 8, "████"), (4, 8, "██"), (0, 8, ""), (1, 32, "▏"), (9, 8, "████"), (1, 0, "")],
)
def test_top_bar_is_proportional_in_eighths(part: int, whole: int, text: str) -> None:
    assert bar(part, whole, 4) == text
