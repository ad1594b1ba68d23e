"""How `tickpath top` looks: tables and depth bars for any size from 80 x 24 up.

Called by: engine/top/command.py. Calls: rich; shares colours, hop names and tables with the demo's
live view.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.layout import Layout
from rich.text import Text
from tickpath.engine.cli import printable
from tickpath.engine.client.reader import BookState
from tickpath.engine.commands.live_view import HOP_NAMES, STATE_COLOURS, microseconds, plain_table
from tickpath.engine.top.samples import BookRow, BudgetRow, kind_of, readers_of
from tickpath.engine.top.view import BOOK, INSTANCE, INSTANCES, PANES, View

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import RenderableType
    from rich.table import Table
    from tickpath.engine.commands.stat import SegmentStatus

NOTHING = "-"
HEAD_LINES, FOOT_LINES, TABLE_HEAD_LINES = 2, 1, 1
BAR = "█"
BAR_STEPS = " ▏▎▍▌▋▊▉█"
BAR_WIDTH_MIN, BAR_WIDTH_MAX = 5, 30
SELECTED = "reverse"
SEGMENT_COLOURS = {"running": "green", "silent": "yellow", "dead": "red"}
NAME_WIDTH, NAME_WIDTH_MIN = 24, 12
OTHERS_WIDTH = 66  # of the columns beside the instance's name
HELP = """\
 up down j k     select a row            page up, page down, home, end
 Enter           into the instance, into the book
 Esc             leave the filter, then back
 Tab left right  books, readers, hops, counters, budgets of the instance
 s               another order           r   the other way round
 /               filter by name: type, then Enter
 q               quit

 Prices are exact. A bar is a level's quantity against the largest shown.
 States: LIVE may be traded on; SYNCING, STALE, CROSSED must not be.
 Readers are those that registered; others may read unseen.
"""


def bar(part: float, whole: float, width: int) -> str:
    """Return a bar of up to `width` cells, in eighths of one."""
    eighths = round(8 * width * part / whole) if whole > 0 else 0
    full, rest = divmod(max(0, min(eighths, 8 * width)), 8)
    return BAR * full + (BAR_STEPS[rest] if rest else "")


def render(view: View, width: int, height: int, when: str) -> RenderableType:
    """Return one whole screen."""
    rows = max(1, height - HEAD_LINES - FOOT_LINES - TABLE_HEAD_LINES)
    if view.shows_help:
        body: RenderableType = Text(HELP)
    elif view.screen == BOOK:
        book = view.book()
        gone = Text(f"{printable(str(view.symbol))} is gone", style="red")
        body = gone if book is None else book_body(book, width, rows)
    else:
        body = _table_body(view, width, rows)
    layout = Layout()
    layout.split_column(
        Layout(Group(*_head(view, width, when)), size=HEAD_LINES),
        Layout(body),
        Layout(_foot(view, width), size=FOOT_LINES),
    )
    return layout


def _line(text: Text | str, width: int) -> Text:
    line = Text(text) if isinstance(text, str) else text
    line.no_wrap, line.overflow = True, "ellipsis"
    line.truncate(width, overflow="ellipsis")
    return line


def _head(view: View, width: int, when: str) -> list[Text]:
    segments = view.sample.segments
    running = sum(one.state == "running" for one in segments)
    first = Text(f"tickpath top  {when}  {len(segments)} segments, {running} running")
    second = Text()
    if view.screen == INSTANCES:
        if not segments:
            second.append("nothing runs here: tickpath run CONFIG.toml", style="yellow")
        return [_line(first, width), _line(second, width)]
    status = view.status()
    if status is None:
        second.append(f"{view.instance} is gone", style="red")
    else:
        second.append_text(_status_line(status))
    if view.screen == INSTANCE:
        second.append(" ")
        for pane in PANES:
            second.append(" ")
            second.append(pane, style="bold reverse" if pane == view.pane else "dim")
    return [_line(first, width), _line(second, width)]


def _status_line(status: SegmentStatus) -> Text:
    line = Text(printable(status.instance), style="bold")
    line.append(f" {status.state}", style=SEGMENT_COLOURS.get(status.state, "red"))
    line.append(f" pid {status.writer_pid}, {status.event_rate:,.0f} events/s")
    if status.path:
        line.append(f", {printable(status.path)}")
    return line


def _foot(view: View, width: int) -> Text:
    if view.is_typing:
        return _line(f"filter: {view.filter}_", width)
    words = f"sort {view.sort}{' reversed' if view.is_reversed else ''}"
    words += f"  filter {view.filter or NOTHING}"
    return _line(Text(f"{words}   Enter into  Esc back  s sort  / filter  ? help  q quit"), width)


# ---- tables --------------------------------------------------------------------------------------


def _window(view: View, rows: Sequence[Any], count: int) -> tuple[int, Sequence[Any]]:
    """Return the rows that fit, such that the selected one is among them."""
    start = max(0, min(view.selected - count // 2, len(rows) - count))
    return start, rows[start : start + count]


def _table_body(view: View, width: int, count: int) -> RenderableType:
    rows = view.rows()
    start, shown = _window(view, rows, count)
    bar_width = max(BAR_WIDTH_MIN, min(BAR_WIDTH_MAX, (width - 68) // 2))
    tables: dict[str, Callable[[Sequence[Any]], Table]] = {
        "instances": lambda part: _instances_table(part, max(NAME_WIDTH_MIN, width - OTHERS_WIDTH)),
        "books": lambda part: _books_table(part, bar_width),
        "readers": _readers_table,
        "hops": _hops_table,
        "counters": _counters_table,
        "budgets": _budgets_table,
    }
    table = tables[view.table](shown)
    table.padding = (0, 1, 0, 0)  # every column counts at 80
    if 0 <= view.selected - start < len(table.rows):
        table.rows[view.selected - start].style = SELECTED
    if rows:
        return table
    why = "none matches the filter" if view.filter else "none"
    return Group(table, Text(f"{why}", style="dim"))


def _instances_table(rows: Sequence[SegmentStatus], name_width: int) -> Table:
    names = ("instance", "kind", "state", "pid", "beat ms", "events/s", "LIVE", "rdrs", "lag")
    table = plain_table(names, left=3)
    for one in rows:
        readers = readers_of(one)
        live = sum(book.state == BookState.LIVE.name for book in one.books)
        style = "green" if live == len(one.books) else "yellow"
        table.add_row(
            Text(_short(one.instance, name_width)),
            kind_of(one),
            Text(one.state, style=SEGMENT_COLOURS.get(one.state, "red")),
            str(one.writer_pid or NOTHING),
            f"{one.heartbeat_age_ms:,.0f}" if one.size_bytes else NOTHING,
            f"{one.event_rate:,.0f}",
            Text(f"{live}/{len(one.books)}", style=style) if one.books else NOTHING,
            str(len(readers)) if readers else NOTHING,
            f"{max(row.lag for row in readers):,}" if readers else NOTHING,
        )
    return table


def _books_table(rows: Sequence[BookRow], bar_width: int) -> Table:
    names = ("instrument", "state", "depth", "bid", "ask", "depth", "msg/s", "age ms")
    table = plain_table(names, left=2)
    table.columns[5].justify = "left"
    for one in rows:
        sides = [sum(level[2] for level in side) for side in (one.bids, one.asks)]
        bars = [bar(side, max(sides), bar_width) for side in sides]
        table.add_row(
            Text(_short(one.symbol, 14)),  # not a str: that would be read as markup
            Text(one.state.name, style=STATE_COLOURS[one.state]),
            Text(bars[0].rjust(bar_width), style="green"),
            one.bids[0][0] if one.bids else NOTHING,
            one.asks[0][0] if one.asks else NOTHING,
            Text(bars[1].ljust(bar_width), style="red"),
            f"{one.rate:,.0f}",
            f"{one.age_ms:,.0f}",
        )
    return table


def _readers_table(rows: Sequence[Any]) -> Table:
    table = plain_table(("reader", "pid", "lag", "laps", "lost", "seen ms", "notes"), left=1)
    for one in rows:
        figures = (f"{one.lag:,}", f"{one.laps:,}", f"{one.lost:,}", f"{one.seen_ms:,.0f}")
        lag = Text(figures[0], style="green" if not one.laps else "yellow")
        table.add_row(Text(_short(one.name)), str(one.pid), lag, *figures[1:], one.notes)
    return table


def _hops_table(rows: Sequence[Any]) -> Table:
    table = plain_table(("hop, µs", "where", "n", "p50", "p99", "p99.9", "max"), left=2)
    for one in rows:
        figures = (one.p50, one.p99, one.p999, float(one.maximum))
        table.add_row(
            HOP_NAMES[one.name][0] if one.name in HOP_NAMES else Text(_short(one.name)),
            Text(_short(one.where, 14)),
            f"{one.count:,}",
            *(microseconds(value) for value in figures),
        )
    return table


def _counters_table(rows: Sequence[tuple[str, int, float]]) -> Table:
    table = plain_table(("counter", "value", "a second"), left=1)
    for name, value, rate in rows:
        table.add_row(Text(_short(name, 40)), f"{value:,}", f"{rate:,.0f}" if rate else NOTHING)
    return table


def _budgets_table(rows: Sequence[BudgetRow]) -> Table:
    names = ("venue", "host", "own address", "what", "used", "limit", "of s", "wait s")
    table = plain_table(names, left=4)
    for one in rows:
        style = "red" if one.paused_s else "green" if one.used * 2 <= one.limit else "yellow"
        table.add_row(
            *(Text(_short(text)) for text in (one.venue, one.host, one.address, one.kind)),
            Text(f"{one.used:,}", style=style),
            f"{one.limit:,}" if one.limit else NOTHING,
            f"{one.window_s:g}" if one.limit else NOTHING,
            f"{one.paused_s:,.0f}" if one.paused_s else NOTHING,
        )
    return table


def _short(text: str, width: int = NAME_WIDTH) -> str:
    """Cut a name that came from elsewhere; what it says must not drive the terminal."""
    clean = printable(text)
    return clean if len(clean) <= width else f"{clean[: width - 1]}…"


# ---- one book ------------------------------------------------------------------------------------


def book_body(book: BookRow, width: int, count: int) -> RenderableType:
    """Return title and ladder of one book, of `count` lines at most; for `tickpath book` too."""
    title = Text(f"{_short(book.venue)} {_short(book.symbol)} ", style="bold")
    title.append(book.title(), style=STATE_COLOURS[book.state])
    title.append(f"  {book.rate:,.0f} msg/s")
    levels = [*book.bids, *book.asks]
    largest = max((quantity for *_, quantity in levels), default=0)
    texts = [len(text) for price, size, _ in levels for text in (price, size)]
    figures = max(texts, default=1)
    bar_width = max(BAR_WIDTH_MIN, min(BAR_WIDTH_MAX, (width - 4 * figures - 12) // 2))
    table = plain_table(("", "bid qty", "bid", "ask", "ask qty", ""), left=0)
    table.columns[5].justify = table.columns[3].justify = "left"
    depth = max(len(book.bids), len(book.asks))
    for place in range(min(depth, count - 1)):
        table.add_row(*_level_cells(book, place, largest, bar_width))
    return Group(_line(title, width), table)


def _level_cells(book: BookRow, place: int, largest: int, width: int) -> list[Text | str]:
    cells: list[Text | str] = ["", "", "", "", "", ""]
    if place < len(book.bids):
        price, size, quantity = book.bids[place]
        filled = bar(quantity, largest, width).rjust(width)
        cells[:3] = [Text(filled, style="green"), size, price]
    if place < len(book.asks):
        price, size, quantity = book.asks[place]
        filled = bar(quantity, largest, width).ljust(width)
        cells[3:] = [price, size, Text(filled, style="red")]
    return cells
