"""How an item is declared: by the settings that it wants, or by what is seen.

Called by: every module of rt.catalogue. Calls: rt.item, rt.host, rt.topology.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tickpath.rt.item import Finding, Item, Severity, State
from tickpath.rt.loader import read_loader
from tickpath.rt.setting import BootParameter, KernelFile, Sysctl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tickpath.rt.item import Context
    from tickpath.rt.setting import Setting

GRUB = "/etc/default/grub"


@dataclass(frozen=True, slots=True)
class Seen:
    """What an observation found; the rest of its Finding is in the item."""

    state: State
    desired: str
    live: str | None
    where: tuple[str, ...]
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Area:
    """One module of the catalogue: declares items of its area."""

    name: str

    def setting(
        self,
        name: str,
        severity: Severity,
        why: str,
        want: Callable[[Context], Iterable[Setting]],
        *lacks: Callable[[Context], str | None],
    ) -> Item:
        """Declare an item that is set. The first of `lacks` with a reason makes it unsupported."""

        def first_lack(context: Context) -> str | None:
            return first_reason(lacks, context)

        def settings(context: Context) -> tuple[Setting, ...]:
            return () if first_lack(context) else tuple(want(context))

        return Item(name, self.name, severity, why, settings=settings, lacks=first_lack)

    def seen(
        self,
        name: str,
        severity: Severity,
        why: str,
        observe: Callable[[Context], Seen],
        *lacks: Callable[[Context], str | None],
    ) -> Item:
        """Declare an item that is not set but seen: an effect, firmware, a conflict of rules. The
        first of `lacks` with a reason makes it unsupported."""

        def finding(context: Context) -> Finding:
            why_not = first_reason(lacks, context)
            unsupported = Seen(State.UNSUPPORTED, why_not or "", None, ())
            seen = unsupported if why_not else observe(context)
            return Finding(
                id=name,
                area=self.name,
                severity=severity,
                state=seen.state,
                desired=seen.desired,
                persisted=None,
                live=seen.live,
                where=seen.where,
                why=why,
                fix=seen.fix,
            )

        return Item(name, self.name, severity, why, observe=finding)


def first_reason(lacks: Iterable[Callable[[Context], str | None]], context: Context) -> str | None:
    return next((reason for lack in lacks if (reason := lack(context))), None)


def boot(name: str, value: str | None = None) -> Callable[[Context], tuple[Setting, ...]]:
    """Want a word on the kernel's command line."""
    return lambda _: (BootParameter(name, value),)


def sysctl(name: str, value: str) -> Callable[[Context], tuple[Setting, ...]]:
    """Want a sysctl, where the kernel has it."""
    setting = Sysctl(name, value)
    return lambda context: (setting,) if context.host.exists(setting.path) else ()


def sysctl_at_most(name: str, limit: int) -> Callable[[Context], tuple[Setting, ...]]:
    """Want a sysctl no greater than a limit; a smaller value that stands is kept."""
    return bounded(name, limit, lambda value: value <= limit)


def sysctl_at_least(name: str, limit: int) -> Callable[[Context], tuple[Setting, ...]]:
    """Want a sysctl no smaller than a limit; a greater value that stands is kept."""
    return bounded(name, limit, lambda value: value >= limit)


def bounded(
    name: str, limit: int, fits: Callable[[int], bool]
) -> Callable[[Context], tuple[Setting, ...]]:
    def want(context: Context) -> tuple[Setting, ...]:
        text = context.host.read(Sysctl(name, "").path)
        if text is None:
            return ()
        stands = text.isdigit() and fits(int(text))
        return (Sysctl(name, text if stands else str(limit)),)

    return want


def file(
    path: str, value: str, reads_as: str | None = None
) -> Callable[[Context], tuple[Setting, ...]]:
    """Want a kernel file, where the kernel has it."""
    setting = KernelFile(path, value, reads_as)
    return lambda context: (setting,) if context.host.exists(path) else ()


def files(pattern: str, value: str) -> Callable[[Context], tuple[Setting, ...]]:
    """Want all kernel files that match."""
    return lambda context: tuple(KernelFile(path, value) for path in context.host.glob(pattern))


def without_grub(context: Context) -> str | None:
    """Lack, where GRUB does not give this machine its command line, whatever files lie there."""
    loader = read_loader(context.host)
    if loader.kind not in {"grub", "unknown"}:
        return f"{loader.said} booted this machine ({loader.proof}): set it in {loader.place}"
    if context.host.exists(GRUB):
        return None
    return f"no {GRUB}: what boots this machine sets its command line from outside"


def nothing_isolated(context: Context) -> str | None:
    return None if context.profile.isolated else "no CPU is isolated in this profile"


def not_counted(context: Context) -> str | None:
    return None if context.deltas is not None else "no effects were counted (--window, --root)"


def without_nic(context: Context) -> str | None:
    if context.profile.nic is not None:
        return None
    return "no trading interface is chosen: the only ones carry ssh, or --nic none"


def under_hypervisor(context: Context) -> str | None:
    hypervisor = context.topology.hypervisor
    return None if hypervisor is None else f"the hypervisor decides it ({hypervisor})"


def missing_file(path: str, what: str) -> Callable[[Context], str | None]:
    """Lack, where a path of the kernel is not there."""
    return lambda context: None if context.host.exists(path) else f"{what}: no {path}"


def missing_sysctl(name: str) -> Callable[[Context], str | None]:
    path = Sysctl(name, "").path
    return missing_file(path, "not in this kernel")


def missing_files(pattern: str, what: str) -> Callable[[Context], str | None]:
    return lambda context: None if context.host.glob(pattern) else f"{what}: no {pattern}"


def missing_config(option: str) -> Callable[[Context], str | None]:
    """Lack, where the kernel that is to boot was built without an option."""

    def lack(context: Context) -> str | None:
        config = target_config(context)
        if not config or config.get(option) in {"y", "m"}:
            return None
        return f"the kernel was built without {option}"

    return lack


def target_config(context: Context) -> Mapping[str, str]:
    """Return the configuration of the kernel that the profile boots: the running one's, or that of
    an installed real-time kernel. Empty where it is not known yet."""
    if context.profile.wants_rt_kernel and not context.topology.is_rt:
        return context.topology.rt_kernel_config
    return context.topology.kernel_config
