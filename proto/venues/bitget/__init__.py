"""Bitget, public JSON: bases in-band, each message names the number before it.

In reading order: README.md (the facts and their sources), decode.h and decode.c (messages to fixed
point), router.h, router.c and other.c (which subscription a message belongs to, what answers
mean), requests.py (what is asked and what is answered), listing.py (the instrument lists),
settings.py (its keys in a configuration), transcript.py (recordings of others), venue.h, market.py
and venue.py (all that as the engine sees it). bitget_usdt is the same on another market.
"""
