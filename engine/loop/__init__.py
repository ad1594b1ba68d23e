"""Connections and nothing of what is said over them: no feed, no book, no order.

connections.py keeps them alive from the cold thread.
"""
