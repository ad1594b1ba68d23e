"""Judge a host: a state for each item, a score, and how far the score can be trusted.

Called by: rt.check_command, rt.report, the Ansible module. Calls: rt.catalogue (through its items),
rt.reading, rt.persisted. Nothing is written.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tickpath.rt.item import Finding, Severity, State
from tickpath.rt.persisted import needs_file
from tickpath.rt.reading import read_setting, where_live
from tickpath.rt.setting import BootParameter, DropIn, Ethtool, KernelFile, Sysctl, UnitState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tickpath.rt.item import Context, Item
    from tickpath.rt.reading import Reading
    from tickpath.rt.setting import Setting

SHOWN_MAX = 3
NOT_WELL = frozenset({State.DRIFT, State.PENDING_REBOOT, State.CONFLICT})
# The first of these that any setting of an item has is the item's.
WORST_FIRST = (
    State.CONFLICT,
    State.DRIFT,
    State.PENDING_REBOOT,
    State.UNKNOWN,
    State.OK,
    State.UNSUPPORTED,
)


@dataclass(frozen=True, slots=True)
class Confidence:
    """How far the findings tell what the hardware will do: high, medium or low, and why."""

    level: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """All findings, weighted by severity into 0 to 100; None where nothing could be weighed."""

    score: int | None
    areas: Mapping[str, int | None]
    confidence: Confidence
    findings: tuple[Finding, ...]

    @property
    def worst(self) -> Severity | None:
        """Return the greatest severity of what is not well."""
        return max(
            (each.severity for each in self.findings if each.state in NOT_WELL), default=None
        )


def check_host(
    context: Context,
    items: Sequence[Item],
    is_root: Callable[[], bool] = lambda: os.geteuid() == 0,
) -> Report:
    """Judge each item in turn."""
    findings = tuple(judge_item(item, context) for item in items)
    areas = tuple(dict.fromkeys(each.area for each in findings))
    return Report(
        score=score_of(findings),
        areas={area: score_of([each for each in findings if each.area == area]) for area in areas},
        confidence=judge_confidence(context, findings, is_root()),
        findings=findings,
    )


def score_of(findings: Sequence[Finding]) -> int | None:
    """Weigh what is well against all that could be judged: neither unsupported nor unknown."""
    judged = [each for each in findings if each.state is State.OK or each.state in NOT_WELL]
    whole = sum(each.severity for each in judged)
    well = sum(each.severity for each in judged if each.state is State.OK)
    # Rounded down: 100 means that nothing is left.
    return 100 * well // whole if whole else None


def judge_item(item: Item, context: Context) -> Finding:
    """Judge one item: by its own observation, else by its settings."""
    if item.observe is not None:
        return item.observe(context)
    settings = item.settings(context) if item.settings is not None else ()
    if not settings:
        return judge_absent(item, context)
    readings = [(setting, read_setting(context.host, setting)) for setting in settings]
    states = [state_of(setting, reading) for setting, reading in readings]
    worst = next(state for state in WORST_FIRST if state in states)
    if worst is State.OK and item.is_pending is not None and item.is_pending(context):
        worst = State.PENDING_REBOOT
    # What is wrong is shown first, since only the first few are.
    shown = sorted(zip(readings, states, strict=True), key=lambda one: WORST_FIRST.index(one[1]))
    ordered = [reading for reading, _ in shown]
    return Finding(
        id=item.id,
        area=item.area,
        severity=item.severity,
        state=worst,
        desired=joined([describe_setting(setting) for setting, _ in ordered]),
        persisted=joined([tell(setting, each.persisted) for setting, each in ordered]),
        live=joined([tell(setting, each.live) for setting, each in ordered]),
        where=tuple(dict.fromkeys(place for _, each in ordered for place in each.where)),
        why=item.why,
        fix=fix_of(item, worst, settings),
    )


def judge_absent(item: Item, context: Context) -> Finding:
    reason = item.lacks(context) if item.lacks is not None else None
    return Finding(
        id=item.id,
        area=item.area,
        severity=item.severity,
        state=State.UNSUPPORTED,
        desired=reason or "nothing to set on this host",
        persisted=None,
        live=None,
        where=(),
        why=item.why,
        fix="",
    )


def state_of(setting: Setting, reading: Reading) -> State:
    """Compare desired, persisted and live."""
    may_be_absent = isinstance(setting, BootParameter | DropIn)
    if not reading.readable:
        return State.UNKNOWN
    if reading.live is None and not may_be_absent:
        return State.UNSUPPORTED
    if reading.is_live:
        return State.OK if reading.is_persisted or not needs_file(setting) else State.DRIFT
    if isinstance(setting, BootParameter) and reading.is_persisted:
        return State.PENDING_REBOOT
    return State.DRIFT


def fix_of(item: Item, state: State, settings: Sequence[Setting]) -> str:
    if state is State.PENDING_REBOOT:
        return "reboot"
    if state not in NOT_WELL:
        return ""
    boots = any(isinstance(setting, BootParameter) for setting in settings)
    return f"tickpath rt apply --only {item.id}{', then reboot' if boots else ''}"


def joined(pieces: Sequence[str]) -> str:
    unique = list(dict.fromkeys(pieces))
    more = f"; and {len(unique) - SHOWN_MAX} more" if len(unique) > SHOWN_MAX else ""
    return "; ".join(unique[:SHOWN_MAX]) + more


def describe_setting(setting: Setting) -> str:
    """Say in a few words what is wanted."""
    match setting:
        case BootParameter():
            return setting.word
        case Sysctl() | KernelFile():
            return setting.value
        case Ethtool():
            return f"{setting.name} {setting.value}"
        case UnitState():
            return f"{setting.unit} {setting.state}"
        case DropIn():
            return f"{setting.path} as tickpath writes it"


def tell(setting: Setting, text: str | None) -> str:
    """Say what was read, short enough for a row."""
    match setting:
        case Ethtool():
            return f"{setting.name} {text or '-'}"
        case UnitState():
            return f"{setting.unit} {text or '-'}"
        case DropIn():
            same = text == setting.text
            return "not there" if text is None else "the same" if same else "another text"
        case _:
            return "-" if text is None else " ".join(text.split())


def write_command(setting: Setting) -> str:
    """Return the shell line that sets it until the next boot."""
    match setting:
        case BootParameter():
            return f"(kernel command line) {setting.word}"
        case Sysctl():
            return f"sysctl -w {setting.name}={setting.value!r}"
        case KernelFile():
            return f"echo {setting.value} > {setting.path}"
        case Ethtool():
            return f"ethtool -{setting.group} {setting.interface} {setting.name} {setting.value}"
        case UnitState():
            verb = "mask" if setting.state == "masked" else "enable"
            return f"systemctl {verb} --now {setting.unit}"
        case DropIn():
            return f"(file) {where_live(setting)}"


def judge_confidence(context: Context, findings: Sequence[Finding], is_root: bool) -> Confidence:
    """Say what stands between the findings and the hardware."""
    grave: list[str] = []
    light: list[str] = []
    if context.topology.hypervisor is not None:
        light.append(f"under {context.topology.hypervisor}: it decides when these CPUs run")
    if context.host.exists("/sys/module/kvm_pvm") or "nested_pvm" in context.topology.command_line:
        grave.append("nested in another virtual machine, whose delays are not even reported")
    if not is_root:
        grave.append("not root: debugfs, other users' processes and device registers are hidden")
    if context.deltas is None:
        grave.append("no effects were measured, values only")
    elif not context.deltas.smi:
        light.append("system management interrupts are not counted (root, Intel, modprobe msr)")
    if not context.topology.kernel_config:
        light.append("the kernel's configuration is not readable (/proc/config.gz, /boot/config-*)")
    unknown = [each.id for each in findings if each.state is State.UNKNOWN]
    if unknown:
        light.append(f"{len(unknown)} items unknown: {', '.join(unknown)}")
    level = "low" if grave else "medium" if light else "high"
    return Confidence(level, (*grave, *light))
