"""Books and events of an instance on other hosts, through Redis (docs/relay.md).

Reading order. entry.h: one entry, as bytes and as published; wire: keys and encodings, checked on
arrival; nodes: connections to a Redis or to the nodes of a cluster; publisher: from a segment to
Redis; local_segment and follower: from Redis to a segment; command: `tickpath relay`.
"""
