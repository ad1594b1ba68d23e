"""Bitget's contracts in USDT: the decoder, requests and settings are those of proto/venues/bitget.

A venue of its own, because a venue and a symbol name one instrument and BTCUSDT is listed on both
markets. In reading order: README.md, venue.c, transcript.py, venue.py.
"""
