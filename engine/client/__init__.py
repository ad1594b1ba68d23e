"""What strategies and programs read a feed with: events, books, several feeds at once.

Reading order: feed_segment.py (what stands in an instance's segment), views.py (Event and Book),
reader.py (`open_reader`: events and books of one instance), feeds.py (several instances as one),
event_loop.py (`async for`).
Calls: shm, proto. Called by: strategy, commands, top, recording, relay, users.
"""
