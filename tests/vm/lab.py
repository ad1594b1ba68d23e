"""The guest as a small trading server: an exchange beside it, and what the appliance is told.

The exchange is our simulator in a network namespace at the far end of a veth pair, started by the
guest's systemd as soon as the appliance is installed; its files are put there before anything is
compared. Called by: conftest. Calls: machine, engine.sim.certificates, engine.sandbox (addresses).
"""

from __future__ import annotations

import io
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tickpath.engine.sim.certificates import make_ca
from tickpath.engine.supervisor.sandbox import EXCHANGE_ADDRESS, FEED_HANDLER_ADDRESS, INTERFACE

if TYPE_CHECKING:
    from tests.vm.machine import Machine

HERE = Path(__file__).resolve().parent
INSTANCE = "lab"
STRATEGIES = ("spread", "imbalance")
KEYS = "/var/lib/lab"
INSTRUMENTS = 4
RATE = 5  # messages a second: all but the feed handler shares one emulated CPU
SERVER_NAME = "exchange.test"
PORT = 8443

# Two CPUs: one for what must be quiet, one for all else. ens3 is the trading interface.
VARIABLES: dict[str, object] = {
    "tickpath_isolated": "1",
    "tickpath_nic": "ens3",
    "monitoring_interval": "1h",  # a check takes a minute there, at the lowest priority
    "appliance_feed_handlers": [{"config": str(HERE / f"{INSTANCE}.toml"), "priority": 30}],
    "appliance_strategies": [
        {
            "name": name,
            "strategy": f"tickpath.engine.strategy.spread:{name.capitalize()}",
            "instance": INSTANCE,
        }
        for name in STRATEGIES
    ],
}

VETH_UNIT = f"""\
[Unit]
Description=A veth pair to the simulated exchange
Before=network-online.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=ip netns add exchange
ExecStart=ip link add {INTERFACE} type veth peer name {INTERFACE} netns exchange
ExecStart=ip address add {FEED_HANDLER_ADDRESS}/30 dev {INTERFACE}
ExecStart=ip link set {INTERFACE} up
ExecStart=ip -n exchange address add {EXCHANGE_ADDRESS}/30 dev {INTERFACE}
ExecStart=ip -n exchange link set {INTERFACE} up
ExecStart=ip -n exchange link set lo up

[Install]
WantedBy=multi-user.target
"""

EXCHANGE_UNIT = f"""\
[Unit]
Description=Simulated exchange
Requires=lab-veth.service
After=lab-veth.service
StartLimitIntervalSec=0

[Service]
NetworkNamespacePath=/run/netns/exchange
ExecStart=/opt/tickpath/current/bin/tickpath sim mexc --listen {EXCHANGE_ADDRESS}:{PORT} \\
  --cert {KEYS}/server.pem --key {KEYS}/server.key --instruments {INSTRUMENTS} --rate {RATE} --json
Restart=always
RestartSec=2
"""

# Limits of seconds are of real machines: an emulated one may be thirty times as slow, or sixty.
SLOW = """\
[Service]
TimeoutStartSec=300
TimeoutStopSec=120
WatchdogSec=120
"""

# As on a hardened server: what root's sessions write is nobody else's unless it is said.
HARDENED = """\
[Service]
UMask=0077
"""

# The appliance comes later than this unit.
EXCHANGE_PATH_UNIT = """\
[Path]
PathExists=/opt/tickpath/current/bin/tickpath
Unit=lab-exchange.service

[Install]
WantedBy=multi-user.target
"""


def prepare(machine: Machine) -> None:
    """Put the exchange's units and keys into the guest and start what can start."""
    files = {
        "etc/systemd/system/lab-veth.service": VETH_UNIT.encode(),
        "etc/systemd/system/lab-exchange.service": EXCHANGE_UNIT.encode(),
        "etc/systemd/system/lab-exchange.path": EXCHANGE_PATH_UNIT.encode(),
        "etc/systemd/system/ssh.service.d/lab.conf": HARDENED.encode(),
        "etc/systemd/system/tickpath-feed-handler@.service.d/lab.conf": SLOW.encode(),
        "etc/systemd/system/tickpath-strategy@.service.d/lab.conf": SLOW.encode(),
    }
    with tempfile.TemporaryDirectory() as made:
        make_ca(Path(made), [SERVER_NAME], [EXCHANGE_ADDRESS])
        for path in (Path(made) / name for name in ("ca.pem", "server.pem", "server.key")):
            files[f"{KEYS[1:]}/{path.name}"] = path.read_bytes()
    machine.put(pack(files), "/tmp/lab.tar")  # noqa: S108  # in the guest, where nobody else is
    machine.shell(
        # The disk is kept for days; its package lists are taken for today's.
        "tar -xf /tmp/lab.tar -C / && rm /tmp/lab.tar && touch /var/lib/apt/lists && "
        "systemctl daemon-reload && systemctl restart ssh && "
        "systemctl enable --now lab-veth.service lab-exchange.path"
    )
    machine.disconnect()
    machine.shell('[ "$(umask)" = 0077 ]')


def pack(files: dict[str, bytes]) -> bytes:
    """Return a tar archive, owned by root, readable by all."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o644
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()
