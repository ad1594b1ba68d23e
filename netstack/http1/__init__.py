"""HTTP/1.1 client messages.

Reading order: http1.h, characters.h (what may stand in a field line), request.c, response.c,
body.c; http1.py is their Python face.
"""
