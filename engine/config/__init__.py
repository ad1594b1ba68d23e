"""The configuration of `tickpath run CONFIG.toml`.

schema.py: its sections and defaults; check.py: reading the file, and all that can be wrong in it;
host.py: what it names on this machine; credential.py: the secrets whose places it names; lists.py:
what the venues list of it. All but the last raise LocalError naming the key, what it was, what was
expected and the remedy, before anything is touched. The examples/*.toml explain every key.
"""
