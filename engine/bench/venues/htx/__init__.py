"""HTX in the benchmarks: bench.py (messages, and zlib with msgspec as a contender)."""
