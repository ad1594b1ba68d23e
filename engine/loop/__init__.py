"""Connections and nothing of what is said over them: no feed, no book, no order.

Read in this order: connection_loop.h (the hot thread's turn, as events), handover.h (commands and
notes between it and the cold thread), connections.py (the cold thread: sessions, retries),
resolver.py (addresses, without waiting), addresses.py (the nearest, where connections race),
pauses.py (what venues asked us to wait for), handshakes.py (the thread that runs OpenSSL),
hop_zero.h (when a frame reached the host).
"""
