"""GRUB: a menu entry of our own for the tuned command line, chosen for one boot, then for good.

The distribution's entries and their command line stay as they are: they are what the machine falls
back to. Our drop-in keeps the words, our generator makes the entries (at the end of the menu, so
that no number of another's entry changes), GRUB's environment block chooses the trial for one boot.
Called by: plan, apply, promote. Calls: rt.host, plan_files (header). Source: the GRUB manual (info
grub), /etc/grub.d/00_header and /usr/sbin/grub-mkconfig of Debian 12; docs/adr/0008.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tickpath.rt.loader import read_loader
from tickpath.rt.tuning.plan_files import HEADER

if TYPE_CHECKING:
    from tickpath.rt.host import Host

DROP_IN = "/etc/default/grub.d/60-tickpath.cfg"
GENERATOR = "/etc/grub.d/60_tickpath"
GENERATOR_MODE = 0o755
CONFIG = "/boot/grub/grub.cfg"
ENVIRONMENT = "/boot/grub/grubenv"
TRIAL_ENTRY = "tickpath-trial"
LASTING_ENTRY = "tickpath"
MARKER = "tickpath.boot"  # with a dot the kernel takes it for a module's and stays silent
# GRUB reads these but cannot write to them, so that it could not forget a choice made for one boot
# (grub_fs of 00_header, GRUB manual "Environment block").
UNWRITABLE_FS = frozenset({"btrfs", "cpiofs", "newc", "odc", "romfs", "squash4", "tarfs", "zfs"})
ASSIGNED = re.compile(r"^(TICKPATH_[A-Z_]+)=(.*)$", re.MULTILINE)
RT_KERNELS = "/boot/vmlinuz-*-rt*"

Flavour = Literal["rt", "stock"]


@dataclass(frozen=True, slots=True)
class Line:
    """A command line of ours: the words added to the distribution's, and the kind of kernel."""

    words: tuple[str, ...]
    flavour: Flavour

    @property
    def is_plain(self) -> bool:
        """Tell whether the distribution's own entry does as well."""
        return not self.words and self.flavour == "stock"


@dataclass(frozen=True, slots=True)
class Lines:
    """What our drop-in says: the line on trial, and the one that is booted for good."""

    trial: Line | None = None
    lasting: Line | None = None

    @property
    def wanted(self) -> Line:
        """The line asked for last."""
        return self.trial or self.lasting or Line((), "stock")


def parse_drop_in(text: str) -> Lines:
    """Read our drop-in. A variable that is not as we write it counts as not there."""
    values: dict[str, str] = {}
    for name, quoted in ASSIGNED.findall(text):
        try:
            values[name] = "".join(shlex.split(quoted))
        except ValueError:
            continue
    return Lines(parse_line(values, "TRIAL"), parse_line(values, "LASTING"))


def parse_line(values: dict[str, str], which: str) -> Line | None:
    words = values.get(f"TICKPATH_{which}")
    if words is None:
        return None
    flavour = values.get(f"TICKPATH_{which}_KERNEL")
    return Line(split_words(words), "rt" if flavour == "rt" else "stock")


def split_words(text: str) -> tuple[str, ...]:
    """Split a command line at spaces outside double quotes, quotes kept."""
    return tuple(re.findall(r'(?:[^\s"]|"[^"]*"?)+', text))


def format_drop_in(lines: Lines, fallback: str) -> str:
    """Write our drop-in. fallback: the release of the kernel that is known to boot."""
    text = (
        f"{HEADER}"
        "# Read by grub-mkconfig and by /etc/grub.d/60_tickpath. The entries of the distribution\n"
        "# keep their command line.\n"
    )
    for which, line in (("TRIAL", lines.trial), ("LASTING", lines.lasting)):
        if line is not None:
            text += f"TICKPATH_{which}={quote(' '.join(line.words))}\n"
            text += f"TICKPATH_{which}_KERNEL={line.flavour}\n"
    if lines.lasting is not None:
        text += f"GRUB_DEFAULT={LASTING_ENTRY}\n"
    elif lines.trial is not None:
        text += f"TICKPATH_FALLBACK={quote(fallback)}\n"
    return text


def parse_fallback(text: str) -> str | None:
    """Read from our drop-in the release of the kernel to fall back to."""
    for name, quoted in ASSIGNED.findall(text):
        if name == "TICKPATH_FALLBACK":
            return quoted.strip("'") or None
    return None


def quote(text: str) -> str:
    """Quote for the shell. A single quote is not expected in a command line, and is refused."""
    if "'" in text or not text.isprintable():
        raise ValueError(f"{text!r}: a quote or an unprintable character in a command line")
    return f"'{text}'"


GENERATOR_TEXT = f"""\
#!/bin/sh
{HEADER}\
# Makes menu entries out of those of the distribution's own 10_linux, which is run with a word of
# ours in the command line; here that word becomes the words of each entry. Called by grub-mkconfig.
set -e
drop_in=${{TICKPATH_DROP_IN:-{DROP_IN}}}
ten_linux=${{TICKPATH_TEN_LINUX:-/etc/grub.d/10_linux}}
[ -r "$drop_in" ] && [ -x "$ten_linux" ] || exit 0
grub_default=$GRUB_DEFAULT
. "$drop_in"
[ -n "${{TICKPATH_TRIAL+set}}${{TICKPATH_LASTING+set}}" ] || exit 0

entries=$(GRUB_DISABLE_SUBMENU=true GRUB_DISABLE_RECOVERY=true \\
    GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT @tickpath@" "$ten_linux" 2>/dev/null)

# Prints the newest kernel's entry with the id, title and words given; kernel: rt, stock, or one
# release. Class and options of the entry stay, so that a password guards it as it does the others.
entry() {{
    printf '%s\\n' "$entries" | TICKPATH_WORDS=$4 awk -v id="$1" -v title="$2" -v kernel="$3" '
        !done && !taking && /^menuentry / && match($0, /gnulinux-[^\\047 ]*-advanced-/) {{
            release = substr($0, RSTART + 9, RLENGTH - 19)
            is_rt = release ~ /-rt([-0-9.]|$)/
            if (kernel == "rt" ? !is_rt : kernel == "stock" ? is_rt : release != kernel) next
            taking = 1
            sub(/^menuentry \\047[^\\047]*/, "menuentry \\047" title ", Linux " release)
            sub(/\\047gnulinux-[^\\047]*\\047/, "\\047" id "\\047")
        }}
        taking {{
            at = index($0, " @tickpath@")
            words = ENVIRON["TICKPATH_WORDS"]
            if (at) $0 = substr($0, 1, at - 1) (words == "" ? "" : " " words) substr($0, at + 11)
            print
            if ($0 == "}}") {{ taking = 0; done = 1 }}
        }}'
}}

if [ -n "${{TICKPATH_LASTING+set}}" ]; then
    entry {LASTING_ENTRY} 'tickpath' "$TICKPATH_LASTING_KERNEL" \\
        "${{TICKPATH_LASTING:+$TICKPATH_LASTING }}{MARKER}=lasting"
fi
if [ -n "${{TICKPATH_TRIAL+set}}" ]; then
    # panic=: a kernel that cannot go on, or an initramfs that finds no root, starts the machine
    # anew, which then boots what it always did.
    entry {TRIAL_ENTRY} 'tickpath on trial' "$TICKPATH_TRIAL_KERNEL" \\
        "${{TICKPATH_TRIAL:+$TICKPATH_TRIAL }}{MARKER}=trial panic=10"
fi
# A newly installed RT kernel may have become the first entry, which is what GRUB boots by default:
# until it has proved itself, the default is the kernel that is known to boot.
first=$(printf '%s\\n' "$entries" |
    sed -n "s/^menuentry .*'gnulinux-\\(.*\\)-advanced-.*/\\1/p" | head -n 1)
case $first in *-rt | *-rt[-0-9.]*) first_is_rt=yes ;; *) first_is_rt=no ;; esac
case $TICKPATH_FALLBACK in '' | *-rt | *-rt[-0-9.]*) first_is_rt=no ;; esac
if [ $first_is_rt = yes ] && [ -z "${{TICKPATH_LASTING+set}}" ] &&
    [ "${{grub_default:-0}}" = 0 ]; then
    fallback=$(entry tickpath-fallback 'tickpath: as before' "$TICKPATH_FALLBACK" '')
    if [ -n "$fallback" ]; then
        printf '%s\\n' "$fallback"
        printf '%s\\n' 'if [ "${{boot_once}}" != true ]; then' \\
            '    set default=tickpath-fallback' 'fi'
    fi
fi
"""


def next_entry(data: bytes) -> str | None:
    """Return the entry that a block chooses for the next boot; "" once GRUB used it up."""
    for line in data.decode(errors="replace").split("\n"):
        if line.startswith("next_entry="):
            return line.partition("=")[2]
    return None


def booted_entry(command_line: str) -> Literal["trial", "lasting"] | None:
    """Tell which of our entries a command line is of; None: another's."""
    words = command_line.split()
    if f"{MARKER}=trial" in words:
        return "trial"
    return "lasting" if f"{MARKER}=lasting" in words else None


def entry_words(config: str, entry: str) -> tuple[str, ...] | None:
    """Return the words of the linux line of one menu entry; None where it is not in the menu."""
    inside = False
    for line in config.splitlines():
        if line.startswith("menuentry ") and f"'{entry}'" in line:
            inside = True
        elif inside and line.split(None, 1)[:1] == ["linux"]:
            return split_words(line.strip())
        elif line == "}":
            inside = False
    return None


def refusals(host: Host) -> list[str]:
    """Say why a command line cannot be put on trial on this host; none: it can."""
    loader = read_loader(host)
    if loader.kind not in {"grub", "unknown"}:
        return [
            f"{loader.said} booted this machine, not GRUB ({loader.proof}), so an entry in GRUB's "
            f"menu would never run: set the words in {loader.place}, and leave boot parameters "
            "out here with --only"
        ]
    if not host.path("/etc/grub.d/10_linux").is_file() or not host.path(CONFIG).is_file():
        return [
            f"boot parameters need GRUB as Debian sets it up, and {CONFIG} or /etc/grub.d/10_linux "
            "is not there (a container, or another boot loader): leave them out with --only, "
            "or set them there by hand"
        ]
    if host.run(("grub-mkconfig", "--version")).status == 127:
        return ["grub-mkconfig is not installed: apt-get install grub2-common"]
    found = host.run(("grub-probe", "--target=fs", "/boot/grub")).stdout.strip()
    layers = host.run(("grub-probe", "--target=abstraction", "/boot/grub")).stdout.split()
    if found in UNWRITABLE_FS or layers:
        what = found if found in UNWRITABLE_FS else " ".join(layers)
        return [
            f"/boot/grub lies on {what}, which GRUB cannot write to: it could not forget the "
            "choice of an entry for one boot, and a line that does not boot would stay; move /boot "
            "to a plain partition, or leave boot parameters out with --only"
        ]
    return []


def rt_kernel_refusal(host: Host) -> str | None:
    """Say why no real-time kernel can be booted; None: one is installed."""
    if host.glob(RT_KERNELS):
        return None
    architecture = host.run(("dpkg", "--print-architecture")).stdout.strip() or "amd64"
    package = f"linux-image-rt-{architecture}"
    answer = host.run(("apt-cache", "policy", package)).stdout
    candidate = re.search(r"Candidate: (\S+)", answer)
    if candidate is None or candidate[1] == "(none)":
        return (
            f"the profile wants an RT kernel, none is installed, and the archive has no {package}: "
            "apt-get update, or add the suite that has it; or choose a profile without (cloud, "
            "metal-busy-poll)"
        )
    return (
        f"the profile wants an RT kernel and none is installed: apt-get install {package} "
        f"(the archive has {candidate[1]}), then apply again"
    )
