"""What ethtool says about a NIC: its JSON where this version has it, else its table for people.

ethtool 6.1 (Debian 12) has JSON for features only; rings, coalescing and channels came later.
Called by: rt.reading, rt.catalogue. Calls: rt.host, rt.setting. Source: ethtool(8); the names of
both forms as ethtool 6.1 and 6.14 print them. The text comes from a driver: any form is borne.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tickpath.rt.host import Host
    from tickpath.rt.setting import Ethtool

# What -K takes in short, and how -k names it.
FEATURES: Mapping[str, str] = {
    "rx": "rx-checksumming",
    "tx": "tx-checksumming",
    "sg": "scatter-gather",
    "tso": "tcp-segmentation-offload",
    "gso": "generic-segmentation-offload",
    "gro": "generic-receive-offload",
    "lro": "large-receive-offload",
    "ntuple": "ntuple-filters",
    "rxvlan": "rx-vlan-offload",
    "txvlan": "tx-vlan-offload",
    "rxhash": "receive-hashing",
}
ROW = re.compile(r"^\s*([A-Za-z][\w -]*?)\s*:\s+(\S.*?)\s*$")
ADAPTIVE = re.compile(r"^Adaptive RX:\s+(\S+)\s+TX:\s+(\S+)\s*$")
ABSENT = frozenset({"n/a", "None"})
CURRENT = "Current hardware settings:"
MAXIMUM = "Pre-set maximums:"


def read_ethtool(host: Host, setting: Ethtool) -> str | None:
    """Return a setting's value now, as -G, -C, -K, -L or -A would take it; None: not told."""
    return read_answer(host, setting.interface, setting.group).get(setting.name)


def read_answer(host: Host, interface: str, group: str) -> Mapping[str, str]:
    """Ask ethtool for a whole group, the names as its settings have them."""
    letter = group.lower()
    done = host.run(("ethtool", "--json", f"-{letter}", interface))
    told = parse_json(done.stdout, group) if done.status == 0 else {}
    if told:
        return told
    done = host.run(("ethtool", f"-{letter}", interface))
    return parse_table(done.stdout, group) if done.status == 0 else {}


def read_maximum(host: Host, interface: str, group: str) -> Mapping[str, str]:
    """Ask ethtool what the hardware can at most: rings and channels."""
    done = host.run(("ethtool", f"-{group.lower()}", interface))
    if done.status != 0 or MAXIMUM not in done.stdout:
        return {}
    part = done.stdout.partition(MAXIMUM)[2].partition(CURRENT)[0]
    return parse_table(part, group)


def fixed_features(host: Host, interface: str) -> frozenset[str]:
    """Name the features that this driver does not let anyone change, by their short names."""
    done = host.run(("ethtool", "-k", interface))
    rows = (line.strip() for line in done.stdout.splitlines() if line.rstrip().endswith("[fixed]"))
    long_names = {row.partition(":")[0] for row in rows}
    return frozenset(short for short, long_name in FEATURES.items() if long_name in long_names)


def parse_json(text: str, group: str) -> Mapping[str, str]:
    """Parse "[{...}]"; empty where it is something else."""
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(answer, list) or not answer or not isinstance(answer[0], dict):
        return {}
    found: dict[str, str] = {}
    for name, value in answer[0].items():
        if isinstance(value, dict):  # a feature: {"active": true, "fixed": false, …}
            value = value.get("active")  # noqa: PLW2901 - the value of the feature is inside
        if isinstance(value, bool):
            found[name] = "on" if value else "off"
        elif isinstance(value, int | str) and str(value) not in ABSENT:
            found[name] = str(value)
    found.pop("ifname", None)
    return with_short_names(found, group)


def parse_table(text: str, group: str) -> Mapping[str, str]:
    """Parse the table for people, of "Current hardware settings" where there are two parts."""
    part = text.partition(CURRENT)[2] if CURRENT in text else text
    found: dict[str, str] = {}
    for line in part.splitlines():
        adaptive = ADAPTIVE.match(line)
        if adaptive:
            pairs = (("adaptive-rx", adaptive[1]), ("adaptive-tx", adaptive[2]))
            found.update({name: value for name, value in pairs if value not in ABSENT})
            continue
        row = ROW.match(line)
        if row and row[2].split()[0] not in ABSENT:
            name = row[1] if group in "CK" else row[1].lower().replace(" ", "-")
            found.setdefault(name, row[2].split()[0])
    return with_short_names(found, group)


def with_short_names(found: dict[str, str], group: str) -> Mapping[str, str]:
    if group == "K":
        shorts = {short: found[long] for short, long in FEATURES.items() if long in found}
        return found | shorts
    return found
