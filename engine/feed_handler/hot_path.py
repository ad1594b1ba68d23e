"""The Python side of hot_path.c: what it borrows, what its connections say, its cold thread's talk.

Called by: engine/feed_handler/process.py and engine/bench (the cold thread). Calls: hot_path.c,
the loop and its handover.
"""

from __future__ import annotations

import os
import struct
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tickpath._core import ffi, lib
from tickpath.engine.feed_handler.inflate import new_inflate
from tickpath.shm.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tickpath.proto.instrument import Instrument

NS_PER_S = 1_000_000_000
CONNECTIONS_USUAL: Final = 64
"""Up to so many a loop takes the least memory."""
LISTING: Final = struct.Struct("=IIQ")  # struct tp_feed_listing


@dataclass(frozen=True, slots=True)
class Note:
    """What the hot thread has to say: kind is one of TP_NOTE_…; size: of the whole text."""

    kind: int
    connection: int
    text: bytes
    size: int = field(default=0, compare=False)


class HotPath:
    """One feed handler's hot thread and its loop; all that it is given must outlive it."""

    def __init__(self, feed: Any, segment: Any, connections: int = CONNECTIONS_USUAL) -> None:
        """Borrow a feed and the segment whose clock and heartbeat it uses.

        connections: how many there can be.
        """
        self.loop = ffi.gc(lib.tp_loop_new(connections), lib.tp_loop_free)
        self.handle = ffi.gc(lib.tp_hot_path_new(), lib.tp_hot_path_free)
        self.loop.clock = ffi.addressof(segment.header, "clock")
        self.handle.loop, self.handle.feed, self.handle.segment = self.loop, feed, segment
        self._handover = ffi.addressof(self.loop, "handover")
        self._kept: dict[int, list[Any]] = {}
        self._inflate: Any = None
        self._text_size_max = 0
        # A text dies when this many were accepted after it: by then its command was handled, since
        # none is looked at before the one in front of it was.
        self._said: deque[Any] = deque(maxlen=2 * lib.TP_HANDOVER_COMMAND_COUNT)

    def speak(
        self, number: int, open_messages: Sequence[bytes], ping: bytes, ping_interval_s: float
    ) -> None:
        """Set what a connection says once it is open, and then now and then.

        Only while the hot thread has no session of it: the command that connects hands it over.
        """
        connection = self.handle.connection[number]
        count, limit = len(open_messages), lib.TP_HOT_PATH_OPEN_MESSAGE_MAX
        if count > limit:
            raise LocalError(f"{count} messages on connecting: expected at most {limit}")
        memory = [ffi.new("uint8_t[]", message) for message in (*open_messages, ping)]
        spans = [*connection.open_message[0:count], connection.ping_message]
        for span, bytes_of_it, message in zip(spans, memory, (*open_messages, ping), strict=True):
            span.data, span.size = bytes_of_it, len(message)
        if not ping:
            connection.ping_message.data = ffi.NULL
        connection.open_message_count = count
        self._kept[number] = memory
        connection.ping_interval_ns = int(ping_interval_s * NS_PER_S)

    def unpack(self, numbers: Iterable[int], size_max: int) -> None:
        """Take these connections' messages as gzip members of texts of at most so many bytes.

        Before `run`; once a venue: the largest of all counts.
        """
        if size_max > self._text_size_max:
            self._text_size_max, self._inflate = size_max, new_inflate(size_max)
            self.handle.inflate = self._inflate
        for number in numbers:
            self.handle.connection[number].is_packed = True

    def open_message_count(self, number: int) -> int:
        """Count what a connection says as soon as it is open."""
        return int(self.handle.connection[number].open_message_count)

    def sample(self, every_s: float) -> None:
        """Be shown an accepted message so often, from the first on; before `run`."""
        self.handle.sample_every_ns = int(every_s * NS_PER_S)
        self.handle.next_look_ns = self.handle.next_sample_ns = 0

    def run(self) -> int:
        """Run the loop in this thread until it is stopped: 0, or a link's negative errno."""
        return int(lib.tp_hot_path_run(self.handle))

    def stop(self) -> None:
        """Let `run` end in order; the cold thread."""
        lib.tp_loop_stop(self.loop)

    def watch(self, descriptor: int) -> None:
        """Let `await_note` end as well when this file can be read."""
        self._handover.watched_fd = descriptor

    def await_note(self, max_s: float) -> None:
        """Sleep until there is a note, the loop ended, the time is over, or a signal came."""
        lib.tp_handover_await(self._handover, int(max_s * NS_PER_S))

    def call(self) -> None:
        """End an `await_note` that runs, or the next one; any thread."""
        os.eventfd_write(self._handover.wake_fd, 1)

    def take_note(self) -> Note | None:
        """Return the oldest note and free its place; None: there is none."""
        note = lib.tp_handover_note(self._handover)
        if note == ffi.NULL:
            return None
        size = min(note.size, lib.TP_HANDOVER_TEXT_MAX)
        text = bytes(ffi.buffer(note.text, size))
        taken = Note(note.kind, note.connection, text, note.size)
        lib.tp_handover_note_release(self._handover)
        return taken

    def refuse(self, instrument: int, *, connection: int = 0) -> bool:
        """Say that the venue refused an instrument. False: the queue is full, try again."""
        return self._answer(lib.TP_HOT_PATH_REFUSED, instrument, connection)

    def confirm(self, instrument: int, *, connection: int = 0) -> bool:
        """Say that the venue acknowledged it. False: the queue is full, try again."""
        return self._answer(lib.TP_HOT_PATH_CONFIRMED, instrument, connection)

    def overdue(self, instrument: int, *, connection: int = 0) -> bool:
        """Say that no acknowledgement came in time. False: the queue is full, try again."""
        return self._answer(lib.TP_HOT_PATH_OVERDUE, instrument, connection)

    def let_go(self, connection: int) -> bool:
        """Have a connection ended if none of its books leaves LIVE by that. False: try again."""
        return self._answer(lib.TP_HOT_PATH_LET_GO, 0, connection)

    def list_status(self, instrument: int, status: int, generation: int) -> bool:
        """Say what the venue's list has; generation: of its row. False: the queue is full."""
        text = LISTING.pack(instrument, status, generation)
        return self._text(self._command(lib.TP_HOT_PATH_LISTED), text)

    def _answer(self, verb: int, instrument: int, connection: int) -> bool:
        command = self._command(verb)
        command.argument, command.connection = instrument, connection
        return bool(lib.tp_handover_command(self._handover, command))

    def take_row(self, row: Any) -> bool:
        """Hand over a `struct tp_feed_row`, which stands in the table already. False: try again."""
        command = self._command(lib.TP_HOT_PATH_ROW)
        command.connection = row.connection
        command.text.data = ffi.cast("uint8_t *", row)
        command.text.size = ffi.sizeof("struct tp_feed_row")
        if not lib.tp_handover_command(self._handover, command):
            return False
        self._said.append(row)
        return True

    def rescale(self, row: Instrument, generation: int) -> bool:
        """Move an instrument's scale, once its row was written. False: the queue is full."""
        scale = ffi.new("struct tp_record_scale *")
        scale.instrument, scale.generation = row.index, generation
        scale.price_exponent, scale.quantity_exponent = row.price_exponent, row.quantity_exponent
        scale.tick_size = row.tick_size
        return self._give(lib.TP_HOT_PATH_RESCALE, 0, bytes(ffi.buffer(scale)))

    def say(self, connection: int, text: bytes) -> bool:
        """Send a text on a connection, if that is open. False: the queue is full, try again."""
        return self._give(lib.TP_HOT_PATH_SAY, connection, text)

    def _give(self, verb: int, connection: int, text: bytes) -> bool:
        command = self._command(verb)
        command.connection = connection
        return self._text(command, text)

    def _text(self, command: Any, text: bytes) -> bool:
        memory = ffi.from_buffer("uint8_t[]", text)
        command.text.data, command.text.size = memory, len(text)
        if not lib.tp_handover_command(self._handover, command):
            return False
        self._said.append(memory)  # only what was accepted: a refused one evicts none that waits
        return True

    def _command(self, verb: int) -> Any:
        kind = {"kind": lib.TP_COMMAND_CALLER, "verb": verb}
        return ffi.new("struct tp_command *", kind)
