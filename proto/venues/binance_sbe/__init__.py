"""Binance spot's SBE streams: binary market data, for which the venue wants an API key.

In reading order: README.md (the facts and their sources), stream_1_0.xml (the schema, of which the
build makes schema.h), router.h (which instrument a message is of, the sync rules), decode.h and
decode.c (its parts and numbers), venue.c (the facts), messages.py (the same messages in Python),
settings.py (its keys in a configuration), transcript.py (recordings of others), venue.py (all that
as the engine sees it). Requests, answers, bases and the instrument list are those of ../binance.
"""
