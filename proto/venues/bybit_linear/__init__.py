"""Bybit v5, linear contracts: the decoder, requests and settings are those of proto/venues/bybit.

A venue of its own, because a venue and a symbol name one instrument and BTCUSDT is listed on both
markets. In reading order: README.md, venue.c, venue.py, transcript.py.
"""
