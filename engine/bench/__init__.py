"""Benchmarks: one file a question, each of which it asks in its first line.

Read command.py (`tickpath bench NAME`), measure.py (rows, ratios) and peers.py (who runs where)
first. Then the questions, each with its C and its far end.

Wire: echo.py (echo.c, peer.c, peer_stream.c, echo_contender.py), wire.py and sparse.py
(peer_exchange.c), decode.py (decode.c; checked.py goes on to books), record.py (record.c,
tls_server.py), burst.py (messages.py, burst.c, burst_exchange.py, burst_feed_handler.py,
replay_link.c; burst_veth.py and peer_burst.c over a veth pair), handshake.py (turns.c), memory.py,
gap.py, garbage.py.
Shared memory: ring.py (lanes.py, lanes.c), ring_python.py (ring_contender.py), snapshot.py,
book.py, join.py, race.py (race.c). Behind it: replay.py, relay.py. Beside it: strategy.py,
sign.py (venues/sign.py, venues/sign.c).
venues/ has what is asked of a venue here.
"""
