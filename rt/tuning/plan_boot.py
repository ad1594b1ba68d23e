"""The boot loader's part of a plan: a new command line or kernel, chosen for one boot.

Called by: plan. Calls: grub, rt.command_line, rt.persisted (the words of others).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from tickpath.rt.command_line import format_command_line, parse_word, same_name
from tickpath.rt.errors import RequestError
from tickpath.rt.persisted import GRUB_VARIABLES, grub_variables
from tickpath.rt.setting import BootParameter
from tickpath.rt.tuning import grub
from tickpath.rt.tuning.plan_step import Step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tickpath.rt.host import Host
    from tickpath.rt.item import Context
    from tickpath.rt.tuning.plan_step import Wanted

RT_KERNEL_ITEM = "kernel.rt"


def boot_steps(context: Context, wanted: Sequence[Wanted], partial: bool) -> list[Step]:
    """Plan a trial of the line that is wanted, unless it is the lasting one or on trial already."""
    host = context.host
    asked = [each for each in wanted if isinstance(each.setting, BootParameter)]
    text = host.read(grub.DROP_IN)
    if not asked and (partial or (text is None and not needs_rt_kernel(context))):
        return []
    now = grub.parse_drop_in(text or "")
    line = wanted_line(context, asked, now.wanted if partial else None)
    if now.lasting == line:
        lines = grub.Lines(None, line)
    elif line.is_plain:
        lines = grub.Lines()
    else:
        lines = grub.Lines(line, now.lasting)
    if lines == grub.Lines() and text is None:
        return []
    items = ",".join(dict.fromkeys(each.item for each in asked)) or RT_KERNEL_ITEM
    steps = menu_steps(context, lines, items)
    if lines.trial is not None and not on_trial(context, lines.trial):
        chosen = grub.next_entry(host.read_bytes(grub.ENVIRONMENT) or b"")
        if chosen != grub.TRIAL_ENTRY:
            steps.append(
                Step("grub-next", grub.ENVIRONMENT, chosen, grub.TRIAL_ENTRY, items, "reboot")
            )
    return steps


def needs_rt_kernel(context: Context) -> bool:
    """Tell whether another kernel is to be booted, on a machine whose loader is ours to set."""
    wanted = context.profile.wants_rt_kernel and not context.topology.is_rt
    return wanted and context.host.exists(grub.CONFIG)


def reboot_is_due(context: Context) -> bool:
    """Tell whether what an earlier apply or promote wrote waits for a reboot."""
    lines = grub.parse_drop_in(context.host.read(grub.DROP_IN) or "")
    booted = grub.booted_entry(context.topology.command_line)
    if lines.trial is not None:
        chosen = grub.next_entry(context.host.read_bytes(grub.ENVIRONMENT) or b"")
        return chosen == grub.TRIAL_ENTRY
    if lines.lasting is not None:
        return booted is None
    return booted is not None


def wanted_line(context: Context, asked: Sequence[Wanted], before: grub.Line | None) -> grub.Line:
    """Put the words together: those kept from before, then those asked for now.

    Words that the host's own GRUB settings give already are left to them.
    """
    others = words_of_others(context.host)
    new: list[str] = []
    for each in asked:
        if isinstance(each.setting, BootParameter):
            word = format_word(each.setting)
            if word not in others and word not in new:
                new.append(word)
    names = [parse_word(word).name for word in new]
    kept = [
        word
        for word in (before.words if before else ())
        if not any(same_name(parse_word(word).name, name) for name in names)
    ]
    return grub.Line((*kept, *new), "rt" if context.profile.wants_rt_kernel else "stock")


def format_word(parameter: BootParameter) -> str:
    """Write a word with the quotes it needs. Raises RequestError where none would do."""
    try:
        word = format_command_line((parameter,))
        grub.quote(word)
    except ValueError as error:
        raise RequestError(f"boot parameter {parameter.name}: {error}") from error
    return word


def words_of_others(host: Host) -> tuple[str, ...]:
    """Read the words that /etc/default/grub and the drop-ins of others give every entry, in the
    order of the finished line."""
    variables = grub_variables(host, leave_out=grub.DROP_IN)
    return tuple(word for name in GRUB_VARIABLES for word in grub.split_words(variables[name]))


def menu_steps(context: Context, lines: grub.Lines, items: str) -> list[Step]:
    """Plan drop-in, generator and menu, as far as they are not yet what they should be."""
    host = context.host
    there = host.read_bytes(grub.DROP_IN)
    known = grub.parse_fallback((there or b"").decode(errors="replace"))
    if known is None or not host.exists(f"/boot/vmlinuz-{known}"):
        known = context.topology.release
    steps: list[Step] = []
    for path, text, mode in (
        (grub.DROP_IN, grub.format_drop_in(lines, known), 0o644),
        (grub.GENERATOR, grub.GENERATOR_TEXT, grub.GENERATOR_MODE),
    ):
        data = host.read_bytes(path)
        if data != text.encode():
            before = None if data is None else data.decode(errors="replace")
            steps.append(Step("file", path, before, text, items, "reboot", path, mode=mode))
    if steps or not menu_has(host, lines):
        steps.append(
            Step("grub-config", grub.CONFIG, None, "", items, "reboot", persisted_in=grub.CONFIG)
        )
    return steps


def menu_has(host: Host, lines: grub.Lines) -> bool:
    """Tell whether the menu has just the entries that the drop-in asks for."""
    config = host.read(grub.CONFIG) or ""
    return all(
        (found is None) == (line is None) and (line is None or set(line.words) <= set(found or ()))
        for entry, line in ((grub.TRIAL_ENTRY, lines.trial), (grub.LASTING_ENTRY, lines.lasting))
        for found in (grub.entry_words(config, entry),)
    )


def trial_state(context: Context) -> Literal["none", "chosen", "running", "fell back"]:
    """Tell how the trial of a command line stands."""
    host = context.host
    if grub.parse_drop_in(host.read(grub.DROP_IN) or "").trial is None:
        return "none"
    if grub.booted_entry(context.topology.command_line) == "trial":
        return "running"
    chosen = grub.next_entry(host.read_bytes(grub.ENVIRONMENT) or b"")
    return "chosen" if chosen == grub.TRIAL_ENTRY else "fell back"


def on_trial(context: Context, line: grub.Line) -> bool:
    """Tell whether the machine runs by the trial's entry with these words."""
    command_line = context.topology.command_line
    words = set(grub.split_words(command_line))
    return grub.booted_entry(command_line) == "trial" and set(line.words) <= words
