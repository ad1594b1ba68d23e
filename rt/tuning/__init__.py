"""rt.tuning: how a host is changed, and put back.

In reading order: plan_request (what is asked), plan_refusals, plan and its parts plan_files (what
keeps settings), plan_boot (the menu), plan_step (one write); apply (journal, write, read back),
journal, writing (the only module that changes a file of the host), grub; revert (backwards, only
what is still ours) and promote (keeps a trial that held). The subcommands: plan_command,
apply_command, revert_command, promote_command.
"""
