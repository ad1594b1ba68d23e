"""The process that reads the wire and writes shared memory.

Read in this order: hot_path.h and hot_path.c (what the loop returns > feed > tap > note),
hot_path.py (its Python side: what a connection says by itself, the notes), plan.py (which channel
goes over which connection where), subscriptions.py (what the venue said to that).
"""
