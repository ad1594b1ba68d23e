"""A server whose tuning was undone: as it was before, but for the appliance, which stays."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.vm import snapshot

if TYPE_CHECKING:
    from tests.vm.conftest import Fresh, PutBack

pytestmark = [pytest.mark.vm, pytest.mark.needs("qemu", "root")]

# What site.yml installs besides the tuning, and revert.yml leaves: monitoring, and the appliance,
# which reserves its ports while it runs and lets the lab's exchange start.
STAYS = re.compile(
    r"^/opt/tickpath|^/etc/tickpath|(?:unit file |unit |/etc/systemd/system/.*)tickpath"
    r"|/etc/(?:sysusers|tmpfiles|systemd/journald\.conf)\.d"
    r"|^/etc/(?:passwd|group|shadow|gshadow|subuid|subgid)-?$"
    r"|prometheus-node-exporter|/etc/default/prometheus|/var/lib/tickpath$"
    r"|^unit lab-exchange\.service$|/net/ipv4/ip_local_reserved_ports$"
)


def test_revert_leaves_nothing_of_the_tuning(fresh: Fresh, put_back: PutBack) -> None:
    left = snapshot.differences(fresh.state, put_back.state)
    assert {name: both for name, both in left.items() if not STAYS.search(name)} == {}
    assert not [name for name in left if "60-tickpath" in name and "journald" not in name]


def test_revert_boots_the_kernel_of_before(fresh: Fresh, put_back: PutBack) -> None:
    assert put_back.state["kernel"] == fresh.state["kernel"]
    assert put_back.state["command line"] == fresh.state["command line"]
