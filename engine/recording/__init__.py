"""Recording what the feed handler saw, and replaying it through the same C code.

Read in this order: tap.h (what the hot thread hands out), tap.py (the segment it goes to),
format.py (files), recorder.py and record.py (`tickpath record`), replayer.h and replayer.py (the
feed in virtual time), ndjson.py (the text form), replay.py (`tickpath replay`), export.py
(`tickpath export`). docs/recording.md specifies the files.
"""
