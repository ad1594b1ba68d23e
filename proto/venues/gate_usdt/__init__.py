"""Gate v4, perpetual contracts in USDT: decoder, requests, settings are those of proto/venues/gate.

A venue of its own, because a venue and a symbol name one instrument and BTC_USDT is listed on both
markets. In reading order: README.md, venue.c, venue.py, transcript.py.
"""
