"""TLS client: OpenSSL does the handshake, our own record layer opens and seals.

Reading order: tls.h, whose tls.c composes the rest; handshake.c (OpenSSL over memory), handover.c
(between the hot thread and the one that runs it; byte_pipe.h), handshake_worker.c (many of them on
one cold thread), key_schedule.c (secrets to keys), record.c (open and seal), aead.c and
aead_library.c (who does the ciphers), post_handshake.c (alerts, tickets, KeyUpdate); tls.py is the
Python face.
"""
