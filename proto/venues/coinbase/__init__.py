"""Coinbase Advanced Trade: JSON both ways, bases in-band, all messages of a connection numbered.

In reading order: README.md (the facts and their sources), sides.h and sides.c (the best levels of
snapshots that have more than fit), decode.h and decode.c (events to fixed point), router.h and
router.c (which subscription an event belongs to, and each message's number), requests.py (what is
asked and what is answered), settings.py (its keys in a configuration), transcript.py (recordings
of others), venue.c and venue.py (all that as the engine sees it). Numbers and JSON:
proto/encoding/.
"""
