"""MEXC spot v3: protobuf push messages, JSON requests, bases over REST.

In reading order: README.md (the facts and their sources), mexc.proto (the schema), decode.h and
decode.c (push messages to fixed point), levels.c (the usual layout, sixteen characters at a time),
deals.c (trades),
router.c (which subscription a message belongs to), requests.py (what is asked and what is
answered), settings.py (its keys in a configuration), transcript.py (recordings of others), venue.c
and venue.py (all that as the engine sees it), orders.c (requests of orders, signed). Numbers and
wire format: proto/encoding/.
"""
