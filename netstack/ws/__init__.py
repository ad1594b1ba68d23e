"""WebSocket client.

Reading order: ws.h, opening_handshake.c, frame.c, message.c, utf8.c; ws.py is their Python face.
"""
