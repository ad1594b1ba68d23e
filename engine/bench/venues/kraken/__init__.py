"""Kraken in the benchmarks: bench.py (messages with checksums, and msgspec with zlib)."""
