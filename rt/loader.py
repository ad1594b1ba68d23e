"""Which boot loader started this kernel, and where that one takes the command line from.

Files of GRUB lie on many machines that something else boots: a unified kernel image or systemd-boot
beside an old /etc/default/grub. Called by: rt.catalogue.declare, tuning.grub. Calls: rt.host.
Source: systemd-boot(7) and systemd-stub(7), "EFI variables"; GRUB's manual ("linux": it puts
BOOT_IMAGE= on the line); Documentation/admin-guide/efi-stub.rst (initrd=\\path).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tickpath.rt.host import Host

EFI_VARIABLES = "/sys/firmware/efi/efivars"
LOADER_GUID = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
ATTRIBUTES_SIZE = 4
IMAGE_SUFFIX = re.compile(r"\.efi$", re.IGNORECASE)

Kind = Literal["grub", "systemd-boot", "unified kernel image", "EFI stub", "unknown"]


@dataclass(frozen=True, slots=True)
class Loader:
    """What booted. said: its own name and version where it left one. proof: what shows it."""

    kind: Kind
    said: str
    proof: str

    @property
    def place(self) -> str:
        """Name where a word of the command line is kept for this loader."""
        match self.kind:
            case "systemd-boot":
                return "the options line of its entry (/etc/kernel/cmdline, then kernel-install)"
            case "unified kernel image":
                return "the image itself (/etc/kernel/cmdline, then build and sign it again)"
            case "EFI stub":
                return "the firmware's boot entry (efibootmgr --unicode)"
            case _:
                return "/etc/default/grub"


def read_loader(host: Host) -> Loader:
    """Report what started the running kernel; kind "unknown" where nothing shows it."""
    words = (host.read("/proc/cmdline") or "").split()
    loader, stub = read_variable(host, "LoaderInfo"), read_variable(host, "StubInfo")
    where = f"{EFI_VARIABLES}/LoaderInfo"
    if stub is not None and not has_grub_word(words):
        return Loader("unified kernel image", stub, f"{EFI_VARIABLES}/StubInfo")
    if loader is not None and loader.startswith("systemd-boot"):
        return Loader("systemd-boot", loader, where)
    if has_grub_word(words):
        said = loader if loader is not None and loader.startswith("GRUB") else "GRUB"
        return Loader("grub", said, "BOOT_IMAGE= on /proc/cmdline")
    if any(word.startswith("initrd=") and "\\" in word for word in words):
        return Loader("EFI stub", loader or "EFI stub", "initrd=\\… on /proc/cmdline")
    return Loader("unknown", loader or "", "/proc/cmdline")


def has_grub_word(words: list[str]) -> bool:
    """Report whether GRUB wrote the line: it names the kernel's file, not an .efi image."""
    images = [word for word in words if word.startswith("BOOT_IMAGE=")]
    return any(not IMAGE_SUFFIX.search(word) for word in images)


def read_variable(host: Host, name: str) -> str | None:
    """Read an EFI variable of the boot loader interface: attributes, then UTF-16."""
    data = host.read_bytes(f"{EFI_VARIABLES}/{name}-{LOADER_GUID}")
    if data is None or len(data) <= ATTRIBUTES_SIZE:
        return None
    return data[ATTRIBUTES_SIZE:].decode("utf-16-le", errors="replace").rstrip("\0") or None
