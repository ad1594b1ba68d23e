"""Processes: who starts them, watches them, and how each of them ends.

Reading order: command.py (`tickpath run`: starts the feed handler, watches its heartbeat, restarts
it), feed_handler_watch.py (what it watches), child_process.py (children that die with their
parent), janitor.py (removes what they leave), sandbox.py (network namespaces), stop_flag.py and
end_signals.py (how a command is asked to end), hangup.py (SIGHUP of `tickpath run`), wall_time.py
(the time in front of a line). Calls: rt, shm, config. Called by: every command that starts or
ends a process.
"""
