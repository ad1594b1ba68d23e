"""MEXC in the benchmarks: bench.py (messages, and protobuf as a contender), wire_contender.py."""
