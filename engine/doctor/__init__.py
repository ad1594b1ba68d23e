"""doctor: what this host can do for tickpath, and what to do about each lack. Read, never changed.

In reading order: finding (what a check says), kernel, privileges (with xdp_probe, in a throw-away
namespace), interface, software, command (the subcommand: table and JSON).
"""
