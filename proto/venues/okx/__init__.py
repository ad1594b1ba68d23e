"""OKX, WebSocket v5: JSON both ways, bases in-band, each message names the number before it.

In reading order: README.md (the facts and their sources), decode.h and decode.c (messages to fixed
point), router.h and router.c (which subscription a message belongs to), requests.py (what is asked
and what is answered), settings.py (its keys in a configuration), transcript.py (recordings of
others), venue.c and venue.py (all that as the engine sees it). Numbers and JSON: proto/encoding/.
"""
