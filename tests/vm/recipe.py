"""What is in the virtual machine's disk: Debian 12 as a small server, stock kernel and RT kernel.

Data only. The packages that provisioning asks for are there already, as on a host whose
administrator fetched them beforehand; under emulation dpkg would take three minutes of every run.
The RT kernel is not what boots: provisioning has to arrange that.
Called by: image. Calls: nothing.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

SUITE = "bookworm"
DISK_SIZE_MIB = 4096
PARTITION_OFFSET_MIB = 1
ROOT_UUID = "7c1d0f6e-5f0b-4c51-9d3a-2f6f0b9a1e12"  # any: known, so that the menu can name it

PACKAGES = (
    # A server that boots and is reached over ssh.
    "systemd",
    "systemd-sysv",
    "dbus",
    "udev",
    "kmod",
    "openssh-server",
    "grub-pc",
    "initramfs-tools",
    "zstd",
    "linux-image-cloud-amd64",
    "linux-image-rt-amd64",
    "ca-certificates",
    "logrotate",
    "procps",
    "iproute2",
    "ethtool",
    # What Ansible runs on.
    "python3",
    "python3-apt",
    # What tickpath runs on: libraries of the C core, its environment, its measurements.
    "python3-venv",
    "openssl",
    "libssl3",
    "libbpf1",
    "libdeflate0",
    "libipsec-mb1",
    "rt-tests",
    "prometheus-node-exporter",
)

# 4,000 modules that no virtual machine has hardware for, and pages nobody reads.
DPKG_OPTIONS = (
    "force-unsafe-io",
    *(
        f"path-exclude=/lib/modules/*/kernel/{folder}/*"
        for folder in (
            "drivers/ata",
            "drivers/gpu",
            "drivers/media",
            "drivers/infiniband",
            "drivers/iio",
            "drivers/staging",
            "drivers/usb",
            "drivers/net/wireless",
            "drivers/net/ethernet",
            "sound",
        )
    ),
    "path-exclude=/usr/share/doc/*",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/locale/*",
)

# Before the first package: an initramfs of "most" modules takes a quarter of an hour to make when
# provisioning makes it again under emulation.
EARLY_FILES = {
    "etc/initramfs-tools/conf.d/lab.conf": "MODULES=list\nCOMPRESS=zstd\n",
    "usr/share/initramfs-tools/modules.d/lab": "virtio_pci\nvirtio_blk\nvirtio_net\next4\n",
}

# After the last one. The name server is slirp's own.
LATE_FILES = {
    "etc/hostname": "lab\n",
    "etc/hosts": "127.0.0.1 localhost lab\n",
    "etc/resolv.conf": "nameserver 10.0.2.3\n",
    "etc/fstab": f"UUID={ROOT_UUID} / ext4 errors=remount-ro 0 1\n",
    "etc/systemd/network/lab.network": (
        # Not the trading interface, which is machine.TRADE.
        "[Match]\nMACAddress=52:54:00:12:34:56\n\n[Network]\nDHCP=ipv4\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n"
        "\n[Link]\nRequiredForOnline=no\n"
    ),
    "etc/ssh/sshd_config.d/lab.conf": "UseDNS no\nPermitRootLogin prohibit-password\n",
    "etc/default/grub.d/10-lab.cfg": (
        'GRUB_TIMEOUT=0\nGRUB_TERMINAL=serial\nGRUB_SERIAL_COMMAND="serial --speed=115200"\n'
        # norandmaps: a program that lies elsewhere at each start is translated anew each time; with
        # it sh starts in a quarter of the time, grub-mkconfig takes a third.
        'GRUB_CMDLINE_LINUX="console=ttyS0 mitigations=off norandmaps"\n'
        'GRUB_CMDLINE_LINUX_DEFAULT=""\n'
        "GRUB_DISABLE_OS_PROBER=true\nGRUB_DISABLE_RECOVERY=true\n"
        # The administrator's own choice, which tuning must come back to; FIRST_BOOT completes it.
        f'GRUB_DEFAULT="gnulinux-advanced-{ROOT_UUID}>gnulinux-@STOCK@-advanced-{ROOT_UUID}"\n'
    ),
}

# Units that do nothing here but take seconds of an emulated CPU.
MASKED_UNITS = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "e2scrub_reap.service",
    "networking.service",
    "systemd-networkd-wait-online.service",
)
ENABLED_UNITS = ("systemd-networkd.service", "ssh.service")

# In the guest, once, when the disk is made: the boot loader, and its menu as every later
# update-grub writes it, so that undoing a change can be compared byte for byte.
FIRST_BOOT = """
set -e
stock=$(cd /boot && echo vmlinuz-*-cloud-amd64 | sed s/vmlinuz-//)
sed -i "s/@STOCK@/$stock/" /etc/default/grub.d/10-lab.cfg
grub-install --target=i386-pc /dev/vda
update-grub
rm /root/.ssh/authorized_keys  # of the maker; that of each later run is only put where none is
sync
"""

SOURCES = ("recipe.py", "image.py")


def digest() -> str:
    """Return the name of this recipe's disk: of what is in it and of how it is made."""
    content = b"".join(Path(__file__).with_name(name).read_bytes() for name in SOURCES)
    return hashlib.sha256(content).hexdigest()[:16]
