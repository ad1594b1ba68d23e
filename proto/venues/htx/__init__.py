"""HTX spot (formerly Huobi): JSON in gzip members, changes that name the number before them.

In reading order: README.md (the facts and their sources), decode.h and decode.c (messages to fixed
point), versions.c (the numbers of one that was refused), router.h and router.c (which subscription
a message belongs to), requests.py (what is asked and what is answered), settings.py (its keys in a
configuration), venue.c and venue.py (all that as the engine sees it), transcript.py (messages that
others recorded). Numbers and JSON: proto/encoding/; members: engine/feed_handler/inflate.c.
"""
