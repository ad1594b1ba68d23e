"""One file a subcommand that is no room of its own; engine/cli.py lists them all.

stat.py, tail.py, dump.py and clean.py look at shared memory; get.py and ws.py use one session of
the user-space stack (connect_arguments.py has their common options); demo.py runs the whole path
(demo_placement.py: on which CPUs), live_view.py shows it, and host_load.py says what else the host
did; subscribe.py and unsubscribe.py change what an instance reads; venues.py (with --table:
venues_table.py) says what is known of venues, instruments.py asks one for its list
(venue_arguments.py: where it is), book.py shows one book, by a feed handler of its own
(private_feed.py) where no instance has it. text_table.py aligns what they print.
"""
