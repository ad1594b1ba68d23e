"""The simulated exchange: a process of its own, on the kernel's sockets.

In reading order: market.py (books that walk at random), faults.py (what may go wrong on demand),
certificates.py (a CA and server certificates, good and bad), connection.py (HTTP and WebSocket on
one port), exchange.py (MEXC's answers and pushes), command.py (`tickpath sim mexc`).
"""
