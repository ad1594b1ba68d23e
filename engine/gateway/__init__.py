"""Orders: from what a strategy asks for to the venue's word. No connection is made yet.

Reading order: proto/orders.h (the records), order_state.{h,c} (what becomes of an order, as a
table; order_states.py shows it), journal.{h,c} (what must not be forgotten; journal.py: its files),
risk.{h,c} (what an order must not do), throttle.{h,c} (how often). Requests as text, and their
signatures: proto/signing/ and orders.c of a venue's folder.
docs/trading.md is the page, docs/adr/0015-orders.md the reasons.
"""
