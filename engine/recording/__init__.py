"""Recording what the feed handler saw, and replaying it through the same C code.

Read in this order: tap.h (what the hot thread hands out), tap_reader.c (what a recorder reads it
with), tap.py (the segment it goes to), format.py (files), recorder.py and record.py (`tickpath
record`), recorded.py (files of ours in order), survey.py and foreign.py (what others recorded,
whatever its form), ndjson.py and tardis.py (two forms), inputs.py (what a command is given),
replayer.h and replayer.py (the feed in virtual time), lines.py (the text form out), pacing.py and
replay.py (`tickpath replay`), old_events.py (events of version 1), export_command.py, export.py
and hftbacktest.py (`tickpath export`), certificate.py (`tickpath certificate`). docs/recording.md
specifies the files. left_out.py says what had to be left out.
"""
