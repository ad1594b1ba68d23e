"""Binance's USD-M contracts: messages are decoded by proto/venues/binance, as spot's.

A venue of its own, because a venue and a symbol name one instrument and BTCUSDT is listed on both
markets. In reading order: README.md (what differs from spot), venue.c, requests.py (bases and the
instrument list), settings.py, transcript.py, venue.py.
"""
