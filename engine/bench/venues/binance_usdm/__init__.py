"""Binance's USD-M contracts in the benchmarks: bench.py (messages, and msgspec as a contender)."""
