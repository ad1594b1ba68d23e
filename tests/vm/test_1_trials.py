"""Rules of the catalogue tried in a guest: what is spoiled has its effect, is seen, and is mended.

The table is in trials.py; the guest runs it (guest_trials.py), twice booted. Here each item's
results are judged, one test an item.
"""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, TypedDict

import pytest

from tests.vm import recipe, trials
from tests.vm.conftest import ZIPAPP
from tests.vm.machine import Machine
from tests.vm.phases import phase
from tests.vm.playbook import ROOT
from tests.vm.trials import BOOTED, ON_STOCK, ON_TUNED, STOCK, TUNED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.vm.image import Image

pytestmark = [pytest.mark.vm, pytest.mark.needs("qemu", "root")]

SCRIPT = ROOT / "tests/vm/guest_trials.py"
# Given again, so that these count: qemu takes the last -cpu, and merges what -smp says.
SHAPE = (
    *("-smp", "4,sockets=2,cores=1,threads=2"),
    # A real machine's flags: without a hypervisor's, and with the topology leaves of Intel.
    *("-cpu", "max,la57=off,vendor=GenuineIntel,family=6,model=94,-hypervisor"),
    *("-object", "memory-backend-ram,size=1G,id=near", "-numa", "node,cpus=0-1,memdev=near"),
    *("-object", "memory-backend-ram,size=1G,id=far", "-numa", "node,cpus=2-3,memdev=far"),
    *("-netdev", "user,id=rings,restrict=on", "-device", "vmxnet3,netdev=rings,romfile="),
    *("-device", "pxb,id=bridge0,bus=pci.0,bus_nr=64,numa_node=0"),
    *("-netdev", "user,id=nic0,restrict=on"),
    *("-device", "virtio-net-pci,bus=bridge0,addr=1,netdev=nic0,romfile="),
    *("-device", "pxb,id=bridge1,bus=pci.0,bus_nr=128,numa_node=1"),
    *("-netdev", "user,id=nic1,restrict=on"),
    *("-device", "virtio-net-pci,bus=bridge1,addr=1,netdev=nic1,romfile="),
)


class Seen(TypedDict):
    """What check and the kernel said at one moment."""

    state: str
    live: str
    effect: str
    said: str  # by what spoiled or mended it


Results = dict[str, dict[str, Seen]]


def try_all(disk: Image, flavour: str) -> Results:
    """Boot a kernel of the disk and run its trials there."""
    line = f"root=UUID={recipe.ROOT_UUID} {trials.BASE_LINE} {trials.LINES[flavour]}"
    loaded = ("-kernel", str(disk.kernel(flavour)), "-initrd", str(disk.initrd(flavour)))
    sent = [as_sent(one) for one in BOOTED]
    sent += [dataclasses.asdict(one) for one in (ON_TUNED if flavour == TUNED else ON_STOCK)]
    for one in sent:
        one["mended_words"] = one["mended_words"] or one["words"]
    with Machine.start(
        disk.disk, disk.host_key, options=(*SHAPE, *loaded, "-append", line)
    ) as guest:
        guest.put((ROOT / "build" / "tickpath-rt.pyz").read_bytes(), ZIPAPP)
        guest.shell(f"mkdir -p {trials.LAB_FOLDER}")
        for path, text in trials.HELPERS.items():
            guest.put(text.encode(), path)
        guest.put(json.dumps(sent).encode(), trials.SENT)
        guest.put(SCRIPT.read_bytes(), trials.SCRIPT)
        with phase(f"trials, {flavour}"):
            said = guest.shell(
                f"cd /; export ZIPAPP={ZIPAPP} PATH=$PATH:/usr/sbin:/sbin; {trials.SET_UP}"
                f"PYTHONPATH={ZIPAPP} python3 {trials.SCRIPT} <{trials.SENT}",
                timeout_s=1800,
            )
    results: Results = json.loads(said)
    return results


def as_sent(one: trials.Booted) -> dict[str, object]:
    """A rule about what was booted: nothing is mended, it is looked at once."""
    return {**dataclasses.asdict(one), "mend": ":", "mended_words": ()}


@pytest.fixture(scope="module")
def results(disk: Image) -> dict[str, Results]:
    make = [sys.executable, "-P", "-m", "tickpath.rt.bundle", "build/tickpath-rt.pyz"]
    subprocess.run(make, cwd=ROOT, check=True)
    return {flavour: try_all(disk, flavour) for flavour in (STOCK, TUNED)}


def check(seen: Sequence[Seen], states: tuple[str, str], effects: tuple[str, str]) -> None:
    for one, state, effect in zip(seen, states, effects, strict=True):
        assert one["state"] == state, one
        assert re.search(effect, one["effect"], re.MULTILINE), one


@pytest.mark.parametrize("trial", [*ON_STOCK, *ON_TUNED], ids=lambda one: str(one.item))
def test_rule_is_seen_broken_and_mended(results: dict[str, Results], trial: trials.Trial) -> None:
    seen = results[STOCK if trial in ON_STOCK else TUNED][trial.item]
    check([seen["spoiled"], seen["mended"]], trial.states, trial.effects)


@pytest.mark.parametrize("rule", BOOTED, ids=lambda one: str(one.item))
def test_what_was_booted_is_seen(results: dict[str, Results], rule: trials.Booted) -> None:
    seen = [results[flavour][rule.item]["spoiled"] for flavour in (STOCK, TUNED)]
    check(seen, rule.states, rule.effects)
