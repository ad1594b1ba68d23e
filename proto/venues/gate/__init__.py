"""Gate v4: public JSON both ways, ranges of numbers; bases in-band or by REST.

In reading order: README.md (the facts and their sources), decode.h and decode.c (messages to fixed
point), router.h, router.c and other.c (which instrument a message is of, what answers mean),
requests.py (what is asked and what is answered), listing.py (instrument lists, bases of REST),
settings.py (its keys in a configuration), transcript.py (recordings of others), venue.c, market.py
and venue.py (all that as the engine sees it). Numbers and JSON: proto/encoding/. Contracts in
USDT: ../gate_usdt/.
"""
