"""Binance: JSON over combined WebSocket streams, bases and the instrument list over REST.

In reading order: README.md (the facts and their sources), venue.c (what a message means, the sync
rule), router.h (which subscription it belongs to), decode.c (its numbers), versions.c (of one that
is refused), requests.py (what is asked and what is answered), settings.py (its keys in a
configuration), transcript.py (recordings of others), market.py and venue.py (all that as the engine
sees it), orders.c (requests of orders). This folder is spot; binance_usdm has contracts. JSON and
numbers: proto/encoding/.
"""
