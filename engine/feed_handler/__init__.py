"""The process that reads the wire and writes shared memory.

Read in this order: hot_path.h and hot_path.c (what the loop returns > feed > strategies > tap >
note), rehearsal.h and rehearsal.py (what it does while nothing comes), inline.py (the strategies),
inflate.c and inflate.py (messages that are gzip members), hot_path.py (its Python side: what a
connection says when it opens, the notes), speaker.py (what is said on open ones), plan.py (which
channel goes over which connection where), subscriptions.py (what the venue said to that),
notices.py (what else it says), bases.py (whole books), rest_client.py (by HTTP), answerers.py (its
threads), base_schedule.py (when they are asked for), feed_books.py (whom they are for),
verification.py (which of them are only to be compared), aside.py and rest_check.py (where they come
in-band), instrument_list.py (the configured symbols in the venue's list), scales.py and
rescaling.py (how many digits their numbers have, when that changes), race_score.py (which
connection of a race was first), memory.py (message memory, and what all of it comes to),
consumers.py (who reads, who sleeps), state_log.py (lines about books), feed_notes.py (lines about
what a feed counts), successions.py (a connection's successor has its books before it ends),
replan.py (symbols that come and go), changes.py (by commands), canary.py and
message_shape.py (whether a venue's messages are what they were), list_reader.py (the instrument
list, read again), trading.py (what it says of trading: the books end of what is not traded),
venue_feed.py (what one venue needs of all these), faults.py (an error there that nobody foresaw
ends no other venue), process.py (all venues in one process).
"""
