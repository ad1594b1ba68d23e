"""Coinbase Advanced Trade in the benchmarks: bench.py (messages, and msgspec as a contender)."""
