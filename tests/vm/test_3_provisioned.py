"""A provisioned server: tuned, promoted, and running the appliance as its systemd units run it."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

import pytest
from tickpath.engine.supervisor.sandbox import INTERFACE

from tests.vm import lab
from tests.vm.conftest import ZIPAPP
from tests.vm.phases import phase
from tests.vm.playbook import CARRIED_WHOLE, run_playbook

if TYPE_CHECKING:
    from pathlib import Path

    from tests.vm.conftest import Fresh, Item, Provisioned
    from tests.vm.machine import Machine

pytestmark = [pytest.mark.vm, pytest.mark.needs("qemu", "root")]

LIVE_TIMEOUT_S = 300
STOP_TIMEOUT_S = 180
TICKPATH = "/opt/tickpath/current/bin/tickpath"
FEED_HANDLER_UNIT = f"tickpath-feed-handler@{lab.INSTANCE}.service"
# Check mode cannot foretell what only follows from a step that it did not take.
NOT_FORETOLD = re.compile(
    r"RUNNING|Reload systemd|Run what is configured|Run the exporter|Keep the kernel and"
)


def status_of(machine: Machine) -> dict[str, dict[str, Any]]:
    """Return what `tickpath stat` says of the feed handler and its strategies, by name."""
    said = machine.shell(f"{TICKPATH} stat {lab.INSTANCE} --interval 0 --json")
    return {one["instance"]: one for one in map(json.loads, said.splitlines())}


def wait_for_books(machine: Machine) -> dict[str, dict[str, Any]]:
    """Wait until the exchange's books are LIVE; raises with the journal where they are not."""
    with phase("books LIVE"):
        end = time.monotonic() + LIVE_TIMEOUT_S
        while time.monotonic() < end:
            states = (
                status_of(machine)
                if machine.shell(f"systemctl is-active {FEED_HANDLER_UNIT}", check=False).strip()
                == "active"
                else {}
            )
            books = states.get(lab.INSTANCE, {}).get("books", [])
            if len(books) == lab.INSTRUMENTS and all(b["state"] == "LIVE" for b in books):
                return states
            time.sleep(1)
    log = machine.shell("journalctl --no-pager -n 60 -u 'tickpath-*' -u lab-exchange")
    raise machine.trouble(f"books are not LIVE after {LIVE_TIMEOUT_S} s:\n{log}")


def test_site_check_mode_foretells_the_first_run(provisioned: Provisioned) -> None:
    foretold = {name for name in provisioned.foretold.changed if not NOT_FORETOLD.search(name)}
    done = {name for name in provisioned.done.changed if not NOT_FORETOLD.search(name)}
    assert foretold == done


def test_kernel_is_real_time_and_isolates(machine: Machine, provisioned: Provisioned) -> None:
    assert "PREEMPT_RT" in machine.shell("uname -v")
    cpu = "/sys/devices/system/cpu"
    said = machine.shell(f"cat /sys/kernel/realtime {cpu}/isolated {cpu}/nohz_full")
    assert said.split() == ["1", "1", "1"]
    assert machine.shell("grep Cpus_allowed_list /proc/1/status").split()[1] == "0"


def test_command_line_has_no_word_the_kernel_does_not_know(
    machine: Machine, provisioned: Provisioned
) -> None:
    unknown = machine.shell("dmesg | grep 'Unknown kernel command line' || true")
    words = re.findall(r'parameters "([^"]*)"', unknown)
    assert [word for text in words for word in text.split() if "BOOT_IMAGE" not in word] == []


def test_promoted_entry_is_booted_from_now_on(machine: Machine, provisioned: Provisioned) -> None:
    drop_in = machine.shell("cat /etc/default/grub.d/60-tickpath.cfg")
    assert "GRUB_DEFAULT=tickpath\n" in drop_in
    assert "TICKPATH_TRIAL=" not in drop_in
    assert "next_entry=tickpath-trial" not in machine.shell("grub-editenv list")


def test_score_rises_by_provisioning(fresh: Fresh, provisioned: Provisioned) -> None:
    print(f"score: {fresh.check['score']} before, {provisioned.check['score']} after")
    assert provisioned.check["score"] > fresh.check["score"] + 10
    left = [
        f"{i['state']}: {i['id']}: {i['live']} of {i['desired']}: {i['fix']}"
        for i in provisioned.check["items"]
        if i["state"] in ("drift", "pending reboot")
    ]
    print("\n".join(left))  # an emulated machine has clocks and interrupts that no tuning mends
    assert [one for one in left if ": tickpath rt apply" in one or one.startswith("pending")] == []


def test_books_of_the_appliance_are_live_over_af_xdp(
    machine: Machine, provisioned: Provisioned
) -> None:
    states = wait_for_books(machine)
    feed_handler = states[lab.INSTANCE]
    assert "AF_XDP" in feed_handler["path"]
    names = {f"{lab.INSTANCE}.strategy.{name}" for name in lab.STRATEGIES}
    assert names <= set(states)
    time.sleep(2)
    later = status_of(machine)
    assert later[lab.INSTANCE]["events"] > feed_handler["events"]
    for name in names:
        assert later[name]["counters"]["events"] > states[name]["counters"]["events"]


def test_hot_thread_of_the_feed_handler_is_fifo_on_the_isolated_cpu(
    machine: Machine, provisioned: Provisioned
) -> None:
    wait_for_books(machine)
    group = machine.shell(f"systemctl show -P ControlGroup {FEED_HANDLER_UNIT}").strip()
    threads = machine.shell(
        f"for pid in $(cat /sys/fs/cgroup{group}/cgroup.procs); do\n"
        "  ps -L -p $pid -o cls=,rtprio=,psr=,user=\ndone"
    )
    rows = [line.split() for line in threads.splitlines()]
    assert ["FF", "30", "1"] in [row[:3] for row in rows]
    assert {row[3] for row in rows} <= {"tickpath-feed-handler", "tickpat+"}
    # Nothing else of it is on that CPU.
    assert sum(row[2] == "1" for row in rows) == 1


def test_strategy_may_read_the_books_and_not_write_them(
    machine: Machine, provisioned: Provisioned
) -> None:
    wait_for_books(machine)
    said = machine.shell(
        f"f=$(ls /dev/shm/tickpath.{lab.INSTANCE} || ls /dev/shm/*{lab.INSTANCE} | head -n 1)\n"
        'as() { setpriv --reuid="$1" --regid=tickpath-strategy --init-groups "${@:2}"; }\n'
        "as tickpath-strategy test -r $f && echo readable\n"
        "as tickpath-strategy test -w $f || echo not writable\n"
        "as tickpath-strategy ls /etc/tickpath/credentials 2>/dev/null || echo no credentials\n"
    )
    assert said.splitlines() == ["readable", "not writable", "no credentials"]


# What the role of the version before left: its unit, its user, drop-ins by their names. A person
# added a group, a file of that user's, and a drop-in (lab.py's).
MADE_OLD = """\
cd /etc/systemd/system
systemctl stop tickpath-feed-handler@{instance}.service
usermod --login tickpath-reader tickpath-feed-handler
groupmod --new-name tickpath-reader tickpath-feed-handler
usermod --append --groups audio tickpath-reader
install -o tickpath-reader /dev/null /var/lib/lab/recorded
mv tickpath-feed-handler@.service tickpath-reader@.service
for folder in tickpath-feed-handler@*.service.d; do
  mv $folder tickpath-reader@${{folder#*@}}
done
sed -i s/tickpath-feed-handler/tickpath-reader/g tickpath-reader@.service tickpath.target.d/* \\
  tickpath-strategy@*.service.d/* /etc/sysusers.d/tickpath-users.conf
systemctl daemon-reload
systemctl start tickpath.target tickpath-reader@{instance}.service
ps -o user:32= -p $(systemctl show -P MainPID tickpath-reader@{instance}.service)
id -u tickpath-reader
"""


def test_host_of_the_version_before_is_upgraded_to_the_names_of_now(
    machine: Machine, provisioned: Provisioned
) -> None:
    """Where unit and user were called tickpath-reader, and a feed handler runs as that."""
    with phase("the names of the version before"):
        user, number = machine.shell(MADE_OLD.format(instance=lab.INSTANCE)).split()
    assert user == "tickpath-reader"
    play = run_playbook(machine, "upgrade", variables=lab.VARIABLES).require()
    assert "tickpath.host.appliance : Rename the unit and the user" in play.changed
    told = " ".join(play.output.split())  # it wraps its lines
    assert "is now called tickpath-feed-handler@NAME and its user tickpath-feed-handler" in told
    assert "still under its old name: /etc/systemd/system/tickpath-reader@.service.d/" in told
    wait_for_books(machine)
    said = machine.shell(
        f"ps -o user:32= -p $(systemctl show -P MainPID {FEED_HANDLER_UNIT})\n"
        "id -u tickpath-feed-handler\n"
        "stat -c '%U %G' /var/lib/lab/recorded /run/tickpath /dev/shm/tickpath.lab\n"
        "id -nG tickpath-feed-handler\n"
        # The drop-in that is still where it was, and the old name at a shell.
        f"systemctl show -P TimeoutStopUSec {FEED_HANDLER_UNIT}\n"
        f"systemctl show -P Id tickpath-reader@{lab.INSTANCE}.service\n"
        "systemctl is-enabled tickpath-reader@.service || true\n"
        "systemctl list-units --all --plain --no-legend 'tickpath-reader@*'\n"
        "getent passwd tickpath-reader || getent group tickpath-reader || echo gone"
    )
    assert said.splitlines() == [
        "tickpath-feed-handler",
        number,
        "tickpath-feed-handler root",
        "tickpath-feed-handler tickpath-feed",
        "tickpath-feed-handler tickpath-feed",
        "tickpath-feed-handler audio tickpath-feed",
        "2min",
        FEED_HANDLER_UNIT,
        "alias",
        "gone",
    ]


def test_verify_playbook_passes_and_writes_the_page(
    machine: Machine, provisioned: Provisioned
) -> None:
    play = run_playbook(machine, "verify", plain=True).require()
    assert play.recap_changed == 0


def test_site_second_run_changes_nothing(machine: Machine, provisioned: Provisioned) -> None:
    variables = lab.VARIABLES | CARRIED_WHOLE | {"tickpath_reboot_ok": False}
    play = run_playbook(machine, "site", "--diff", variables=variables).require()
    assert (play.recap_changed, play.changed) == (0, ()), play.output
    assert "reboot it and run this again" not in play.output


def test_stopping_the_target_ends_all_and_leaves_nothing(
    machine: Machine, provisioned: Provisioned
) -> None:
    """As docs/operations.md takes a host out of service; what follows needs no appliance."""
    with phase("out of service"):
        # systemctl waits for the target alone; what is part of it ends meanwhile.
        # A manager that is busy answers later than systemctl waits: asked again it goes on.
        machine.shell(
            "systemctl disable --now tickpath.target 2>&1 || systemctl stop tickpath.target"
        )
        names = "'tickpath-feed-handler@*' 'tickpath-strategy@*'"
        listed = f"systemctl list-units --plain --no-legend {names}"
        end = time.monotonic() + STOP_TIMEOUT_S
        while machine.shell(listed) and time.monotonic() < end:
            time.sleep(1)
    left = machine.shell(
        f"{listed}\n"
        "ls /dev/shm\n"
        f"ip -details link show {INTERFACE} | grep -o xdp || true\n"
        "pgrep -u tickpath-feed-handler,tickpath-strategy || true"
    )
    assert left == "", machine.shell("journalctl --no-pager -n 40 -u 'tickpath-*'")


def test_measure_playbook_fetches_the_figures_and_writes_the_page(
    machine: Machine, provisioned: Provisioned, tmp_path: Path
) -> None:
    """With nothing on the isolated CPU, as its own comment asks."""
    variables = {"tickpath_measure_seconds": 3, "tickpath_reports": str(tmp_path)}
    play = run_playbook(machine, "measure", variables=variables, plain=True).require()
    assert play.recap_changed == 0
    measured = json.loads((tmp_path / "lab-measure.json").read_text())
    assert {run["tool"] for run in measured["runs"]} == {"cyclictest", "oslat"}
    assert all(run["cpus"] == [1] and run["histogram"] for run in measured["runs"])
    assert "<svg" in (tmp_path / "lab-measure.html").read_text()


def state_of(machine: Machine, item: str) -> str:
    """Return what `tickpath rt check` says of one item."""
    command = f"python3 {ZIPAPP} check --only {item} --json --window 0"
    rows: list[Item] = json.loads(machine.shell(command, check=False))["items"]
    return rows[0]["state"]


def test_command_line_that_does_not_boot_falls_back_by_itself(
    machine: Machine, provisioned: Provisioned
) -> None:
    """A person breaks the line that is booted once: no initramfs, no root file system, no boot."""
    boots = machine.boots
    assert state_of(machine, "boot.promoted") == "ok"
    files = "/etc/default/grub.d/60-tickpath.cfg /boot/grub/grub.cfg"
    machine.shell(
        f"tar -Pcf /var/lib/lab/grub.tar {files}\n"
        "sed -i 's/^TICKPATH_LASTING=\\(.*\\).$/&\\nTICKPATH_TRIAL=\\1 root=\\/dev\\/vdz "
        "rdinit=\\/none'\"'\"'\\nTICKPATH_TRIAL_KERNEL=rt/' /etc/default/grub.d/60-tickpath.cfg\n"
        "grub-mkconfig -o /boot/grub/grub.cfg 2>/dev/null && grub-reboot tickpath-trial\n"
        "grep -q root=/dev/vdz /boot/grub/grub.cfg"
    )
    with phase("unbootable line, fallback to ssh"):
        machine.shell("systemctl reboot", check=False)
        machine.wait_for_boot(boots + 2)
    assert state_of(machine, "boot.promoted") == "conflict"
    # That person's edit is not ours: what is to be undone must find the file as it was.
    machine.shell("tar -Pxf /var/lib/lab/grub.tar && rm /var/lib/lab/grub.tar")
    command_line = machine.shell("cat /proc/cmdline")
    assert "root=/dev/vdz" not in command_line
    assert "tickpath.boot=lasting" in command_line
