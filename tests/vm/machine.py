"""A virtual machine under plain emulation, reached over ssh; it and its processes die with us.

qemu runs without KVM (hosts like the project's have one that does not boot stock kernels) and with
-no-reboot: a warm reboot inside one qemu takes minutes, since its translated code is stale, so that
a thread starts a fresh qemu whenever the guest asked for a reset. A key made for this run reaches
the guest as a systemd credential in the firmware's tables: the disk holds no key of anyone.

Called by: image, conftest, the tests. Calls: phases.
Source: qemu's QMP reference (SHUTDOWN event), systemd.system-credentials(7).
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.vm.phases import phase

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NAME = "lab"
PREFIX = "tickpath-vm-"
CPUS = 2
MEMORY_MIB = 2048
BOOT_TIMEOUT_S = 600.0  # half a minute here; emulation may be slower elsewhere
SHELL_TIMEOUT_S = 600.0
# hpet and five-level page tables cost an emulated RT kernel a minute of its boot.
MACHINE_OPTIONS = (
    *("-accel", "tcg,thread=multi,tb-size=1024"),
    *("-machine", "pc,hpet=off", "-cpu", "max,la57=off"),
    *("-display", "none", "-nodefaults", "-no-user-config", "-no-reboot"),
)
TRADE = "netdev=trade,romfile=,mac=52:54:00:74:70:01"
# Linux's own signal to a child whose parent is gone (prctl(2)), killed parents included.
DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL")


class GuestError(Exception):
    """The guest did not do what it was told; the text has its words and the end of its console."""


@dataclass(slots=True)
class Machine:
    """A running guest. Make one by `start`; it is off when the `with` block ends."""

    disk: Path
    folder: Path  # ours, removed at the end: key, ssh configuration
    console: Path  # kept: what the guest wrote to its serial line, all boots
    port: int
    options: tuple[str, ...]
    boots: int = 0
    _stopping: bool = False
    _qemu: subprocess.Popen[str] | None = None
    _keeper: threading.Thread | None = None
    _gone: threading.Event = field(default_factory=threading.Event)

    @classmethod
    @contextmanager
    def start(
        cls,
        disk: Path,
        host_key: str,
        *,
        base: bool = False,
        options: Sequence[str] = (),
    ) -> Iterator[Machine]:
        """Boot a disk and wait for its ssh. base: write to the disk itself, not to an overlay."""
        sweep()
        with tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-") as made:
            folder = Path(made)
            machine = cls(
                disk if base else _overlay(disk, folder),
                folder,
                console_log(),
                _free_port(),
                tuple(options),
            )
            machine._write_ssh_files(host_key)
            try:
                with phase("boot to ssh"):
                    machine._run()
                    machine.wait_for_ssh()
                yield machine
            finally:
                machine.stop()

    @property
    def ssh_config(self) -> Path:
        """For `ssh -F` and for Ansible: the host is called lab."""
        return self.folder / "ssh_config"

    @property
    def running(self) -> bool:
        return not self._gone.is_set()

    def shell(self, script: str, *, timeout_s: float = SHELL_TIMEOUT_S, check: bool = True) -> str:
        """Run a bash script as root in the guest and return what it wrote to stdout.

        Raises GuestError where it fails (unless check is off) or takes too long.
        """
        argv = [*DIES_WITH_US, "ssh", "-F", str(self.ssh_config), NAME, "bash", "-s"]
        try:
            done = subprocess.run(
                argv, input=script, capture_output=True, text=True, timeout=timeout_s, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise self.trouble(f"no answer within {timeout_s:.0f} s to: {script}") from error
        if check and done.returncode != 0:
            said = f"{done.stdout[-2000:]}{done.stderr[-2000:]}"
            raise self.trouble(f"status {done.returncode} of: {script}\n{said}")
        return done.stdout

    def put(self, data: bytes, path: str) -> None:
        """Write a file of the guest."""
        argv = [*DIES_WITH_US, "ssh", "-F", str(self.ssh_config), NAME, f"cat >{path}"]
        subprocess.run(argv, input=data, check=True, timeout=SHELL_TIMEOUT_S)

    def disconnect(self) -> None:
        """End the connection that sessions share: the next one meets sshd as it is by then."""
        argv = ["ssh", "-F", str(self.ssh_config), "-O", "exit", NAME]
        subprocess.run(argv, check=True, capture_output=True, timeout=60)

    def reboot(self) -> None:
        """Reboot as an administrator does, and wait for ssh of the next boot."""
        with phase("reboot to ssh"):
            boots = self.boots
            self.shell("systemctl reboot", check=False)
            self.wait_for_boot(boots + 1)

    def wait_for_boot(self, count: int) -> None:
        """Wait until the guest was started `count` times and its ssh answers."""
        deadline = time.monotonic() + BOOT_TIMEOUT_S
        while self.boots < count:
            if time.monotonic() > deadline:
                raise self.trouble(f"no reboot within {BOOT_TIMEOUT_S:.0f} s")
            time.sleep(0.1)
        self.wait_for_ssh()

    def wait_for_ssh(self) -> None:
        """Wait until sshd greets and lets us in; boots in between are waited through."""
        deadline = time.monotonic() + BOOT_TIMEOUT_S
        while not (self._greets() and self._lets_in()):
            if not self.running:
                raise self.trouble("it went off while booting")
            if time.monotonic() > deadline:
                raise self.trouble(f"no ssh within {BOOT_TIMEOUT_S:.0f} s")
            time.sleep(0.2)

    def power_off(self) -> None:
        """Shut down in order and wait until qemu is gone."""
        self.shell("systemctl poweroff", check=False)
        if not self._gone.wait(BOOT_TIMEOUT_S):
            raise self.trouble(f"still on {BOOT_TIMEOUT_S:.0f} s after systemctl poweroff")

    def stop(self) -> None:
        """End it at once, as if the plug were pulled. May be called again."""
        self._stopping = True
        if self._qemu is not None:
            self._qemu.kill()
        if self._keeper is not None:
            self._keeper.join()

    def trouble(self, what: str) -> GuestError:
        """Return an error that shows the end of the console."""
        lines = self.console.read_text(errors="replace").splitlines()[-40:]
        return GuestError("\n".join([what, f"the console's end ({self.console}):", *lines]))

    def _greets(self) -> bool:
        """slirp takes the connection whether or not the guest does: only a banner counts."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=3) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def _lets_in(self) -> bool:
        argv = [*DIES_WITH_US, "ssh", "-F", str(self.ssh_config), NAME, "true"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        if "denied" in done.stderr:
            raise self.trouble(f"sshd refuses this run's key: {done.stderr.strip()}")
        return done.returncode == 0

    def _write_ssh_files(self, host_key: str) -> None:
        key = self.folder / "key"
        make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "tests/vm", "-f", str(key)]
        subprocess.run(make, check=True)
        known_hosts = self.folder / "known_hosts"
        known_hosts.write_text(f"[127.0.0.1]:{self.port} {' '.join(host_key.split()[:2])}\n")
        self.ssh_config.write_text(
            f"Host {NAME}\n  HostName 127.0.0.1\n  Port {self.port}\n  User root\n"
            f"  IdentityFile {key}\n  IdentitiesOnly yes\n  StrictHostKeyChecking yes\n"
            f"  UserKnownHostsFile {known_hosts}\n  HostKeyAlgorithms ssh-ed25519\n"
            f"  ControlMaster auto\n  ControlPath {self.folder}/control-%n\n  ControlPersist 300\n"
            "  ServerAliveInterval 5\n  ServerAliveCountMax 12\n  ConnectTimeout 20\n"
            "  LogLevel ERROR\n"
        )

    def _argv(self) -> list[str]:
        key = base64.b64encode((self.folder / "key.pub").read_bytes()).decode()
        credential = f"io.systemd.credential.binary:ssh.authorized_keys.root={key}"
        forward = f"hostfwd=tcp:127.0.0.1:{self.port}-:22"
        return [
            *DIES_WITH_US,
            "qemu-system-x86_64",
            *MACHINE_OPTIONS,
            *("-smp", str(CPUS), "-m", str(MEMORY_MIB)),
            *("-chardev", "stdio,id=qmp", "-mon", "chardev=qmp,mode=control"),
            *("-chardev", f"file,id=console,path={self.console},append=on"),
            *("-serial", "chardev:console"),
            *("-drive", f"file={self.disk},format=qcow2,if=none,id=disk,cache=unsafe"),
            *("-netdev", f"user,id=ssh,{forward}", "-device", "virtio-net-pci,netdev=ssh,romfile="),
            # The trading interface: a wire that nothing comes in by.
            *("-netdev", "user,id=trade,restrict=on", "-device", f"virtio-net-pci,{TRADE}"),
            *("-device", "virtio-rng-pci"),
            # Named: on its own it would look for a bus among those of the options.
            *("-device", "virtio-blk-pci,drive=disk,bus=pci.0"),
            *("-smbios", f"type=11,value={credential}"),
            *self.options,
        ]

    def _run(self) -> None:
        self._keeper = threading.Thread(target=self._keep_running, name="qemu", daemon=True)
        self._keeper.start()

    def _keep_running(self) -> None:
        """Run qemu, again after each reset: the thread outlives every qemu that it started."""
        while not self._stopping and self._run_once() == "guest-reset":
            pass
        self._gone.set()

    def _run_once(self) -> str:
        """Run one qemu to its end and return why it ended, in QMP's words."""
        self.boots += 1
        reason = "host-error"
        with subprocess.Popen(
            self._argv(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as qemu:
            self._qemu = qemu
            assert qemu.stdin is not None
            assert qemu.stdout is not None
            if self._stopping:
                qemu.kill()
            qemu.stdin.write('{"execute": "qmp_capabilities"}\n')
            qemu.stdin.flush()
            for line in qemu.stdout:
                message = json.loads(line)
                if message.get("event") == "SHUTDOWN":
                    reason = message["data"]["reason"]
        return reason


def console_log() -> Path:
    """Return where the guest's console is kept: emptied for each machine, never removed."""
    path = Path(__file__).resolve().parents[2] / "build" / "vm" / "console.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


def sweep() -> None:
    """Remove the folders that killed runs left; a folder's name has the process that made it."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        owner = path.name.removeprefix(PREFIX).partition("-")[0]
        if owner.isdigit() and not Path("/proc", owner).exists():
            shutil.rmtree(path, ignore_errors=True)


def _overlay(disk: Path, folder: Path) -> Path:
    """Make a disk that holds what differs from another, which stays as it is."""
    overlay = folder / "disk.qcow2"
    make = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(disk), str(overlay)]
    subprocess.run(make, check=True)
    return overlay


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
