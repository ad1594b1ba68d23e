"""`tickpath top`: a live terminal view of everything that tickpath does on this machine.

Reading order. samples: what is looked at; view: what is shown, and what a key does to it; screens:
how it looks; keys: bytes of a terminal to names of keys; command: the loop.
"""
