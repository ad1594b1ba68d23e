"""HTTP/1.1 client messages: request.c, response.c, body.c; http1.py is their Python face."""
