"""Kraken spot, WebSocket v2: JSON both ways, bases in-band, a checksum in each message of a book.

In reading order: README.md (the facts and their sources), decode.h and decode.c (items to fixed
point), router.c (which subscription an item belongs to), requests.py (what is asked and what is
answered), settings.py (its keys in a configuration), transcript.py (recordings of others), venue.c
and venue.py (all that as the engine sees it). Numbers, JSON and times: proto/encoding/.
"""
