"""Make the command line and kernel that were booted once the lasting ones.

Called by: promote_command. Calls: grub, rt.command_line, plan_boot, rt.limits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tickpath.rt.command_line import parse_unknown, parse_word
from tickpath.rt.errors import RequestError
from tickpath.rt.limits import parse_cpu_list
from tickpath.rt.tuning import grub
from tickpath.rt.tuning.plan_boot import menu_steps

if TYPE_CHECKING:
    from tickpath.rt.item import Context
    from tickpath.rt.tuning.plan_step import Step

ISOLATED = "/sys/devices/system/cpu/isolated"


def promotion_steps(context: Context) -> list[Step]:
    """Plan the promotion; () where the lasting line runs already.

    Raises RequestError, with what is wrong, unless this very boot is the trial and holds.
    """
    lines = grub.parse_drop_in(context.host.read(grub.DROP_IN) or "")
    booted = grub.booted_entry(context.topology.command_line)
    if lines.trial is None:
        if lines.lasting is not None and booted == "lasting":
            return []
        if lines.lasting is not None:
            raise RequestError(
                "the tuned line was promoted, but this boot is by another entry: choose "
                f"{grub.LASTING_ENTRY!r} in GRUB's menu, or look for another GRUB_DEFAULT in "
                "/etc/default/grub.d"
            )
        raise RequestError("nothing is on trial: `tickpath rt apply`, reboot, then promote")
    if booted != "trial":
        raise RequestError(untried(context))
    failures = trial_failures(context, lines.trial)
    if failures:
        raise RequestError(
            f"the trial is not promoted: {'; '.join(failures)}. The next boot is by the old entry "
            "again; fix the profile and apply again"
        )
    return menu_steps(context, grub.Lines(None, lines.trial), "boot")


def untried(context: Context) -> str:
    """Say why this boot is no trial: not booted yet, or it fell back."""
    chosen = grub.next_entry(context.host.read_bytes(grub.ENVIRONMENT) or b"")
    if chosen == grub.TRIAL_ENTRY:
        return "the trial was not booted yet: reboot, then promote"
    return (
        "this is the old command line: the trial did not boot and the machine fell back by itself "
        "(or somebody booted another entry); `journalctl -b -1` may have its last words; "
        "`tickpath rt apply` tries it once more"
    )


def trial_failures(context: Context, line: grub.Line) -> list[str]:
    """Compare what runs with what was put on trial."""
    found: list[str] = []
    words = set(grub.split_words(context.topology.command_line))
    missing = [word for word in line.words if word not in words]
    if missing:
        found.append(f"/proc/cmdline lacks {' '.join(missing)}")
    if line.flavour == "rt" and not context.topology.is_rt:
        found.append(f"{context.topology.release} is no RT kernel")
    found += isolation_failures(context, line)
    unknown = {each.word for each in parse_unknown(context.host.run(("dmesg",)).stdout)}
    strange = [word for word in line.words if parse_word(word).word in unknown]
    if strange:
        found.append(f"this kernel does not know {' '.join(strange)}")
    return found


def isolation_failures(context: Context, line: grub.Line) -> list[str]:
    """Compare the CPUs that the kernel says it isolates with the list of isolcpus=."""
    for word in line.words:
        name, _, value = word.partition("=")
        if name != "isolcpus":
            continue
        listed = ",".join(one for one in value.split(",") if one[:1].isdigit())
        flags = [one for one in value.split(",") if not one[:1].isdigit()]
        now = context.host.read(ISOLATED) or ""
        if (not flags or "domain" in flags) and parse_cpu_list(now) != parse_cpu_list(listed):
            return [f"{ISOLATED} reads {now!r}, and {word} is asked for"]
    return []
