"""Services: daemons that tune against us, jobs that come in bursts, where all the others run.

Source: systemd-system.conf(5); the units are those of Debian 12 and Ubuntu 24.04.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tickpath.rt.catalogue.declare import Area, Seen, nothing_isolated
from tickpath.rt.item import Severity, State
from tickpath.rt.limits import format_cpu_list, parse_cpu_list
from tickpath.rt.reading import unit_exists
from tickpath.rt.setting import DropIn, UnitState
from tickpath.rt.tuning.plan_files import DAEMON_REEXEC

if TYPE_CHECKING:
    from collections.abc import Callable

    from tickpath.rt.item import Context, Item
    from tickpath.rt.setting import Setting

AREA = Area("services")
AFFINITY_PATH = "/etc/systemd/system.conf.d/60-tickpath.conf"
FIRST = "/proc/1/status"
TUNERS = ("tuned.service", "rtkit-daemon.service", "numad.service", "ksmtuned.service")
# id, units, severity, why
QUIET: tuple[tuple[str, tuple[str, ...], Severity, str], ...] = (
    (
        "svc.irqbalance",
        ("irqbalance.service",),
        Severity.HIGH,
        "it moves interrupts back every ten seconds",
    ),
    (
        "svc.apt_daily",
        ("apt-daily.timer", "apt-daily-upgrade.timer"),
        Severity.MEDIUM,
        "packages are fetched and installed when you say so, not at a random minute",
    ),
    (
        "svc.unattended_upgrades",
        ("unattended-upgrades.service",),
        Severity.MEDIUM,
        "no library is exchanged under a running process",
    ),
    (
        "svc.fstrim",
        ("fstrim.timer",),
        Severity.LOW,
        "no weekly burst of discards on the disk",
    ),
    (
        "svc.e2scrub",
        ("e2scrub_all.timer", "e2scrub_reap.service"),
        Severity.LOW,
        "no weekly scrub of file systems",
    ),
    (
        "svc.man_db",
        ("man-db.timer",),
        Severity.LOW,
        "no daily index of manual pages",
    ),
    (
        "svc.dpkg_backup",
        ("dpkg-db-backup.timer",),
        Severity.LOW,
        "no daily copy of the package database",
    ),
    (
        "svc.thermald",
        ("thermald.service",),
        Severity.MEDIUM,
        "it lowers the clock before the hardware itself would",
    ),
    (
        "svc.power_profiles",
        ("power-profiles-daemon.service", "ondemand.service"),
        Severity.MEDIUM,
        "they set the governor after us",
    ),
    (
        "svc.update_notices",
        ("motd-news.timer", "update-notifier-download.timer", "fwupd-refresh.timer"),
        Severity.LOW,
        "no fetching of news in the background",
    ),
)


def present(context: Context, units: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(unit for unit in units if unit_exists(context.host, unit))


def masked(units: tuple[str, ...]) -> Callable[[Context], tuple[Setting, ...]]:
    return lambda context: tuple(UnitState(unit, "masked") for unit in present(context, units))


def not_installed(units: tuple[str, ...]) -> Callable[[Context], str | None]:
    return lambda context: None if present(context, units) else f"not installed: {', '.join(units)}"


def without_systemd(context: Context) -> str | None:
    is_there = context.host.exists("/run/systemd/system")
    return None if is_there else "systemd does not run here"


def quiet_items() -> tuple[Item, ...]:
    return tuple(
        AREA.setting(name, severity, why, masked(units), not_installed(units), without_systemd)
        for name, units, severity, why in QUIET
    )


def daemon_affinity(context: Context) -> tuple[Setting, ...]:
    cpus = format_cpu_list(context.profile.housekeeping)
    text = (
        "# Written by tickpath rt: services run on the housekeeping CPUs, unless their unit says\n"
        f"# otherwise.\n[Manager]\nCPUAffinity={cpus}\n"
    )
    return (DropIn(AFFINITY_PATH, text, DAEMON_REEXEC),)


def cpus_of_first(context: Context) -> str | None:
    for line in (context.host.read(FIRST) or "").splitlines():
        if line.startswith("Cpus_allowed_list:"):
            return line.partition(":")[2].strip()
    return None


def is_kept_out(context: Context, live: str) -> bool:
    """Raises ValueError for what is no list of CPUs."""
    return not set(parse_cpu_list(live)) & set(context.profile.isolated)


def affinity_is_pending(context: Context) -> bool:
    """Tell whether systemd runs on as it was started: reading its file anew does not move it."""
    live = cpus_of_first(context)
    try:
        return live is not None and not is_kept_out(context, live)
    except ValueError:
        return False


def first_process(context: Context) -> Seen:
    where = (FIRST,)
    wanted = format_cpu_list(context.profile.housekeeping)
    if not context.profile.isolated:
        return Seen(State.UNSUPPORTED, wanted, None, where)
    live = cpus_of_first(context)
    if live is None:
        return Seen(State.UNKNOWN, wanted, None, where)
    try:
        within = is_kept_out(context, live)
    except ValueError:
        return Seen(State.UNKNOWN, wanted, live, where)
    if within:
        return Seen(State.OK, wanted, live, where)
    fix = "tickpath rt apply --only svc.affinity,cmd.isolcpus, then reboot"
    return Seen(State.DRIFT, wanted, live, where, fix)


def other_tuner(context: Context) -> Seen:
    where = ("/proc/*/comm",)
    names = {context.host.read(path) for path in context.host.glob("/proc/[0-9]*/comm")}
    # The kernel keeps 15 letters of a name.
    running = [unit for unit in TUNERS if unit.removesuffix(".service")[:15] in names]
    if not running:
        return Seen(State.OK, "one tuner", "no other", where)
    fix = f"systemctl disable --now {' '.join(running)}"
    return Seen(State.CONFLICT, "one tuner", ", ".join(running), where, fix)


ITEMS = (
    AREA.seen(
        "svc.tuners",
        Severity.HIGH,
        "a second tuner writes the same files, and the last one wins",
        other_tuner,
    ),
    *quiet_items(),
    replace(
        AREA.setting(
            "svc.affinity",
            Severity.HIGH,
            "what systemd starts runs on housekeeping CPUs",
            daemon_affinity,
            nothing_isolated,
            without_systemd,
        ),
        is_pending=affinity_is_pending,
    ),
    AREA.seen(
        "svc.pid1",
        Severity.MEDIUM,
        "the effect: where the first process, and what it starts, may run",
        first_process,
        nothing_isolated,
    ),
)
