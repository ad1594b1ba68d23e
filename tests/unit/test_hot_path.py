"""What the cold thread says lives until the hot thread has sent it."""

from __future__ import annotations

from tickpath._core import ffi, lib
from tickpath.engine.feed_handler.hot_path import HotPath


def test_say_refused_texts_evict_none_that_was_accepted() -> None:
    """The hot thread has looked at no command yet: all accepted texts must live."""
    hot = HotPath(ffi.NULL, ffi.new("struct tp_segment *"))
    accepted = [hot.say(0, b"%d" % index) for index in range(10 * lib.TP_HANDOVER_COMMAND_COUNT)]
    count = sum(accepted)
    assert 0 < count < lib.TP_HANDOVER_COMMAND_COUNT
    kept = [bytes(ffi.buffer(memory)) for memory in hot._said]
    assert kept == [b"%d" % index for index in range(count)]
