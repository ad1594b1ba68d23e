"""Binance's SBE streams in the benchmarks: bench.py (messages, and struct as a contender)."""
