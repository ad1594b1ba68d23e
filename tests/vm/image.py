"""The virtual machine's disk: made once from the host's own package mirror, kept between runs.

`borrow` hands out the disk of this recipe, making it first where the cache lacks it (two minutes).
No loop device and no mount: mmdebstrap fills a folder, mkfs.ext4 copies it, and the boot loader is
installed by the guest itself, on a first boot for which qemu loads the kernel. Needs root.

Called by: conftest (fixtures), `python -m tests.vm.image`. Calls: recipe, machine.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.vm import recipe
from tests.vm.machine import Machine
from tests.vm.phases import phase

if TYPE_CHECKING:
    from collections.abc import Iterator

CACHE_VARIABLE = "TICKPATH_VM_CACHE"
IN_USE = "in-use"  # locked by all who use a disk
INDEX_FORMAT = "$(REPO_URI) $(CODENAME) $(COMPONENT)"


@dataclass(frozen=True, slots=True)
class Image:
    """A finished disk and what was taken out of it; nothing in the folder is ever written again."""

    folder: Path

    @property
    def disk(self) -> Path:
        return self.folder / "disk.qcow2"

    @property
    def host_key(self) -> str:
        """The guest's public ssh key: "ssh-ed25519 AAAA…"."""
        return (self.folder / "host_key.pub").read_text().strip()

    def kernel(self, flavour: str) -> Path:
        """Return a kernel of the disk ("rt", "cloud"), for a boot without a disk."""
        return self.folder / f"vmlinuz-{flavour}"

    def initrd(self, flavour: str) -> Path:
        return self.folder / f"initrd-{flavour}"

    def config(self, flavour: str) -> str:
        """Return what that kernel was built with, as /boot/config-* has it."""
        return (self.folder / f"config-{flavour}").read_text()


def cache_folder() -> Path:
    """Return where disks are kept: TICKPATH_VM_CACHE, else tickpath/vm of the user's cache."""
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "tickpath" / "vm"


def cached() -> Image | None:
    """Return the disk of this recipe where the cache has it."""
    image = Image(cache_folder() / recipe.digest())
    return image if image.disk.exists() else None


@contextmanager
def borrow() -> Iterator[Image]:
    """Hand out the disk of this recipe; make it if need be, one maker at a time.

    While it is borrowed, no maker of another recipe removes it.
    """
    cache_folder().mkdir(parents=True, exist_ok=True)
    with ExitStack() as borrowed:
        with _locked(cache_folder() / "lock", fcntl.LOCK_EX):
            image = cached() or _make_and_keep(cache_folder() / recipe.digest())
            borrowed.enter_context(_locked(image.folder / IN_USE, fcntl.LOCK_SH))
        yield image


@contextmanager
def _locked(path: Path, kind: int) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, kind)
        yield


def _make_and_keep(final: Path) -> Image:
    with tempfile.TemporaryDirectory(dir=final.parent, prefix="making-") as made:
        _make(Path(made))
        Path(made, "keep").rename(final)
    _forget_others(final)
    return Image(final)


def _forget_others(final: Path) -> None:
    """Remove disks of other recipes that nobody uses, and what killed makers left."""
    for path in final.parent.iterdir():
        if path.is_dir() and path != final:
            with suppress(BlockingIOError), _locked(path / IN_USE, fcntl.LOCK_EX | fcntl.LOCK_NB):
                shutil.rmtree(path)


def _make(work: Path) -> None:
    root, keep = work / "root", work / "keep"
    keep.mkdir()
    with phase("image: packages"):
        _fill(root)
    with phase("image: disk"):
        _take_out(root, keep)
        _write_disk(root, work / "disk.raw", keep / "disk.qcow2")
        shutil.rmtree(root)
    with phase("image: first boot"):
        _first_boot(Image(keep))


def host_sources() -> str:
    """Return sources.list lines of the suite, read from the host's own apt configuration."""
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", INDEX_FORMAT, "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    wanted = {line for line in listed.splitlines() if line.split()[1].startswith(recipe.SUITE)}
    if not wanted:
        raise RuntimeError(
            f"the host's apt configuration has no {recipe.SUITE} index; expected a Debian 12 host: "
            "apt-get update"
        )
    return "".join(f"deb {line}\n" for line in sorted(wanted))


def _fill(root: Path) -> None:
    early = root.with_name("early")
    _write_files(early, recipe.EARLY_FILES)
    subprocess.run(
        [
            "mmdebstrap",
            "--quiet",
            "--mode=root",
            "--variant=minbase",
            f"--include={','.join(recipe.PACKAGES)}",
            *(f"--dpkgopt={option}" for option in recipe.DPKG_OPTIONS),
            '--aptopt=Acquire::Languages "none"',
            f'--setup-hook=cp -rT {early} "$1"',
            # The appliance's packages are then found without fetching the index again.
            "--skip=cleanup/apt/lists",
            recipe.SUITE,
            str(root),
            "-",
        ],
        input=host_sources(),
        text=True,
        check=True,
    )
    _write_files(root, recipe.LATE_FILES)
    # Apt's index of the lists: the guest would take a quarter of a minute to make it.
    _run(["chroot", str(root), "apt-cache", "gencaches"])
    for verb, units in (("mask", recipe.MASKED_UNITS), ("enable", recipe.ENABLED_UNITS)):
        subprocess.run(
            ["systemctl", f"--root={root}", "--quiet", verb, *units],
            check=True,
        )


def _write_files(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _take_out(root: Path, keep: Path) -> None:
    for flavour in ("rt", "cloud"):
        for kind in ("vmlinuz", "initrd", "config"):
            prefix = "initrd.img" if kind == "initrd" else kind
            (found,) = root.glob(f"boot/{prefix}-*-{flavour}-amd64")
            shutil.copyfile(found, keep / f"{kind}-{flavour}")
    shutil.copyfile(root / "etc/ssh/ssh_host_ed25519_key.pub", keep / "host_key.pub")


def _write_disk(root: Path, raw: Path, disk: Path) -> None:
    offset = recipe.PARTITION_OFFSET_MIB
    size = recipe.DISK_SIZE_MIB - offset
    with raw.open("wb") as file:
        file.truncate(recipe.DISK_SIZE_MIB << 20)
    layout = f"label: dos\nstart={offset}MiB, type=83, bootable\n"
    _run(["sfdisk", "--quiet", str(raw)], layout)
    options = ["-q", "-F", "-U", recipe.ROOT_UUID, "-E", f"offset={offset << 20}"]
    _run(["mkfs.ext4", *options, "-d", str(root), str(raw), f"{size}M"])
    _run(["qemu-img", "convert", "-O", "qcow2", str(raw), str(disk)])
    raw.unlink()


def _run(argv: list[str], text: str = "") -> None:
    environment = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    subprocess.run(argv, input=text, text=True, check=True, env=environment)


def _first_boot(image: Image) -> None:
    append = f"root=UUID={recipe.ROOT_UUID} console=ttyS0 mitigations=off"
    loaded = (
        *("-kernel", str(image.kernel("cloud"))),
        *("-initrd", str(image.initrd("cloud"))),
        *("-append", append),
    )
    with Machine.start(image.disk, image.host_key, base=True, options=loaded) as machine:
        machine.shell(recipe.FIRST_BOOT)
        machine.power_off()


if __name__ == "__main__":
    with borrow() as made_or_found:
        sys.stdout.write(f"{made_or_found.folder}\n")
