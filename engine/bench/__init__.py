"""Benchmarks: one file a question. Read measure.py, then echo.py, wire.py, decode.py, ..."""
