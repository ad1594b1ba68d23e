# The package's own folder, of which meson makes __init__.py (engine/package).
from tickpath.engine.client.reader import Book as Book
from tickpath.engine.client.reader import BookState as BookState
from tickpath.engine.client.reader import Event as Event
from tickpath.engine.client.reader import EventType as EventType
from tickpath.engine.client.reader import open_reader as open_reader
from tickpath.engine.strategy import Strategy as Strategy

__version__: str
__all__ = ["Book", "BookState", "Event", "EventType", "Strategy", "__version__", "open_reader"]
