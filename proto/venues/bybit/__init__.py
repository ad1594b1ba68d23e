"""Bybit v5: public JSON both ways, bases in-band, one more a message.

In reading order: README.md (the facts and their sources), decode.h and decode.c (messages to fixed
point), router.h and router.c (which instrument a topic is of), requests.py (what is asked and what
is answered), settings.py (its keys in a configuration), transcript.py (recordings of others),
venue.c, market.py and venue.py (all that as the engine sees it). Numbers and JSON:
proto/encoding/. Linear contracts: ../bybit_linear/.
"""
