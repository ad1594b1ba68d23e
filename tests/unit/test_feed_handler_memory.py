"""What the feed handler's process keeps in memory: no library that it does without, small stacks.

Each look in a child: pytest itself has everything loaded.
"""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import pytest
from tickpath.engine.config.check import parse_config
from tickpath.engine.config.schema import VenueConfig
from tickpath.engine.feed_handler import memory
from tickpath.engine.feed_handler.plan import CONNECTIONS_MAX, Plan, make_plan
from tickpath.proto.venues import DEFAULT_NAME, load_venue

EXAMPLE = load_venue(DEFAULT_NAME).example_symbol
HEAVY = ("numpy", "pyroute2", "asyncio", "sqlite3", "multiprocessing", "unittest", "rich")


def in_child(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_feed_handler_loads_no_library_that_kernel_sockets_and_bases_do_without() -> None:
    said = in_child(
        "import sys\n"
        "from tickpath._core import ffi, lib\n"
        "from tickpath.engine.feed_handler import process as feed_handler_process\n"
        "from tickpath.netstack.transport import open_transport\n"
        "from tickpath.proto.instrument import Instrument\n"
        "from tickpath.proto.venues import DEFAULT_NAME, load_venue\n"
        "open_transport('127.0.0.1', 'kernel').close()\n"
        "venue = load_venue(DEFAULT_NAME)\n"
        'body = b\'{"lastUpdateId": 7, "bids": [["1.5", "2"]], "asks": []}\'\n'
        "base = venue.parse_base(body, Instrument(0, venue.name, 'BTCUSDT', -2, -2))\n"
        "row = ffi.new('struct tp_feed_base *')\n"
        "row.bids, row.bid_count = base.bids, len(base.bids)\n"
        "assert (row.bids[0].price, row.bids[0].quantity, len(base.asks)) == (150, 200, 0)\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    assert said == "[]"


def test_threads_of_a_small_process_have_small_stacks_and_one_heap() -> None:
    said = in_child(
        "import ctypes, threading\n"
        "from tickpath.rt import process\n"
        "process.keep_small()\n"
        "libc = ctypes.CDLL(None)\n"
        "libc.malloc.restype = ctypes.c_void_p\n"
        "stays, begun = threading.Event(), threading.Barrier(5)\n"
        "def allocate():\n"
        "    libc.malloc(ctypes.c_size_t(1000))\n"
        "    begun.wait()\n"
        "    stays.wait()\n"
        "threads = [threading.Thread(target=allocate) for _ in range(4)]\n"
        "[one.start() for one in threads]\n"
        "begun.wait()\n"
        "sizes = []\n"
        "for line in open('/proc/self/maps'):\n"
        "    low, _, high = line.split()[0].partition('-')\n"
        "    sizes.append((int(high, 16) - int(low, 16), line.split()[1]))\n"
        "stays.set()\n"
        # An arena of a thread's own reserves 64 MiB; a stack is a mapping behind its guard page.
        "print(sum(size > 32 << 20 and kind == '---p' for size, kind in sizes),\n"
        "      sum(size == 512 << 10 and kind == 'rw-p' for size, kind in sizes),\n"
        "      sum(size == 8 << 20 and kind == 'rw-p' for size, kind in sizes))"
    )
    assert said == "0 4 0"


@pytest.mark.needs("root")
def test_code_that_is_locked_as_used_comes_back_page_by_page() -> None:
    said = in_child(
        "import mmap, re\n"
        "from pathlib import Path\n"
        "from tickpath._core import ffi, lib\n"
        "from tickpath.rt import process\n"
        "def resident():\n"
        "    text = Path('/proc/self/smaps').read_text()\n"
        "    found = re.findall(r'r-xp.*/_core\\..*\\n(?:[A-Z].*\\n)*?Rss: +(\\d+)', text)\n"
        "    return int(found[0])\n"
        "process.lock_memory()\n"
        "whole = resident()\n"
        "size = process.lock_as_used('_core.')\n"
        "left = resident()\n"
        "lib.tp_ws_close_code_valid(1000)\n"
        "used = resident()\n"
        "print(whole * 1024 == size, left < whole // 2, left <= used < whole,\n"
        "      process.lock_as_used('no such library'))"
    )
    assert said == "True True True 0"


def test_needs_of_a_feed_handler_grow_by_its_connections_and_its_books() -> None:
    config = parse_config(f'[network]\nbackend = "kernel"\n[[venue]]\nsymbols = ["{EXAMPLE}"]\n')
    one, three = (sum(need.size for need in memory.needs(config, 30 * n, n)) for n in (1, 3))
    assert one < 64_000_000
    assert 0 < (three - one) // 2 < 10_000_000
    said = memory.describe(memory.needs(config, 30, 1))
    assert said.startswith("memory: ")
    assert "30 books" in said


def test_shortage_of_shared_memory_is_said_with_both_sizes_and_the_remedy() -> None:
    config = parse_config(f'[record]\ntap = true\n[[venue]]\nsymbols = ["{EXAMPLE}"]\n')
    found = memory.shared_needs(config, 30)
    assert [need.name for need in found] == ["segment", "raw messages"]
    assert memory.shared_shortage(config, found) == ""
    said = memory.shared_shortage(config, [memory.Need("segment", 1 << 50)])
    assert "MiB free, expected 1073741824: remove" in said


def test_connections_of_several_venues_have_room_for_those_to_come_as_far_as_they_go() -> None:
    capacity = make_plan(VenueConfig(symbols=(EXAMPLE,)), [EXAMPLE]).capacity

    def plan(connections: int) -> Plan:
        names = [f"COIN{number}USDT" for number in range(connections * capacity)]
        return make_plan(VenueConfig(symbols=tuple(names)), names)

    assert memory.connections_of([plan(1), plan(2)], 0) == [1, 2]
    assert memory.connections_of([plan(1), plan(2)], capacity + 1) == [3, 4]
    most = CONNECTIONS_MAX
    full = [plan(2), plan(most - 5), plan(1)]
    assert memory.connections_of(full, capacity) == [3, most - 4, 1]
    assert sum(memory.connections_of(full, 100 * capacity)) == most


def test_further_connection_with_its_books_takes_less_than_10_mb_up_to_256() -> None:
    """What must be there from the start, by name; `tickpath bench memory` measures it."""
    config = parse_config(f'[[venue]]\nsymbols = ["{EXAMPLE}"]\n')
    counts = (1, 16, 64, 65, 128, 129, 200, CONNECTIONS_MAX)
    sizes = [sum(one.size for one in memory.needs(config, 16 * count, count)) for count in counts]
    for (few, less), (many, more) in pairwise(zip(counts, sizes, strict=True)):
        assert (more - less) / (many - few) < 10e6, (few, many)
    assert memory.SessionMemory(config, CONNECTIONS_MAX).counters()["in_use"] == 0


@pytest.mark.parametrize(
    ("source", "placement", "more"),
    [
        ("a.py:a", "inline-native", 140),
        ("a.so:a", "inline-native", 0),
        ("a.py:a", "split", 0),
    ],
)
def test_memory_counts_the_compiler_of_an_inline_function(
    source: str, placement: str, more: int
) -> None:
    text = f'[[venue]]\nsymbols = ["{EXAMPLE}"]\n'
    strategy = f'[[strategy]]\nname = "a"\nsource = "{source}"\nplacement = "{placement}"\n'
    configs = (parse_config(text), parse_config(text + strategy + "trust_strategy = true\n"))
    without, having = (sum(need.size for need in memory.needs(one, 30, 1)) for one in configs)
    assert having - without == more << 20
