"""The simulated exchange: a process of its own, on the kernel's sockets.

In reading order: market.py (books that walk at random), fair.py (those of several venues, around
one price), dialect.py (how a venue speaks, without sockets), venues/ (the dialects, a file each),
depth_view.py (what several of them show of a book), faults.py (what may go wrong on demand),
message_faults.py (with messages and answers) and rest_faults.py (over REST), certificates.py (a CA
and server certificates, good and bad), connection.py (HTTP and WebSocket on one port), exchange.py
(a dialect on sockets), command.py (`tickpath sim VENUE...`).
"""
