"""The files that keep settings over a reboot: there and back, and as their readers want them."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickpath.rt.host import Host
from tickpath.rt.setting import Ethtool, KernelFile, Sysctl
from tickpath.rt.tuning import plan_files

if TYPE_CHECKING:
    from pathlib import Path

NAMES = st.from_regex(r"[a-z][a-z0-9_.]{0,12}[a-z0-9]", fullmatch=True)
PATHS = NAMES.map(lambda name: f"/sys/kernel/mm/{name}")
VALUES = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12)
GROUPS = st.sampled_from(plan_files.GROUPS)
BOOT_SETTINGS = st.lists(
    st.one_of(
        st.builds(Ethtool, NAMES, GROUPS, NAMES, VALUES),
        st.builds(KernelFile, PATHS, VALUES, st.none() | VALUES),
    )
)


@given(st.dictionaries(NAMES, VALUES))
def test_sysctl_file_read_back_is_the_same(values: dict[str, str]) -> None:
    assert plan_files.parse_sysctl(plan_files.format_sysctl(values)) == values


@given(st.dictionaries(PATHS, VALUES))
def test_tmpfiles_file_read_back_is_the_same(values: dict[str, str]) -> None:
    assert plan_files.parse_tmpfiles(plan_files.format_tmpfiles(values)) == values


@given(BOOT_SETTINGS)
def test_boot_list_read_back_is_the_same(settings: list[plan_files.BootSetting]) -> None:
    host = Host()
    text = plan_files.format_boot_list(host, settings)
    assert plan_files.parse_boot_list(host, text) == (tuple(settings), ())


@given(st.text())
def test_parsers_any_text_is_borne(text: str) -> None:
    plan_files.parse_sysctl(text)
    plan_files.parse_tmpfiles(text)
    with pytest.raises(ValueError, match="is not what apply wrote"):
        plan_files.parse_boot_list(Host(), text + "[")


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["settings", "kind", "path", "value", "group", "interface", "action"]
                ),
                inner | st.sampled_from(["Ethtool", "KernelFile", "C"]),
            )
        ),
    )
)
def test_boot_list_any_json_is_borne(value: object) -> None:
    with contextlib.suppress(ValueError):
        plan_files.parse_boot_list(Host(), json.dumps({"settings": value}))


@pytest.mark.parametrize(
    ("setting", "place"),
    [
        (Sysctl("vm.swappiness", "1"), plan_files.SYSCTL_FILE),
        (KernelFile("/sys/kernel/mm/ksm/run", "0"), plan_files.TMPFILES_FILE),
        (KernelFile("/sys/class/net/eth0/threaded", "1"), plan_files.BOOT_LIST),
        (KernelFile("/proc/irq/24/smp_affinity", "1"), plan_files.BOOT_LIST),
        (KernelFile("/sys/kernel/debug/sched/fair_server/cpu1/runtime", "0"), plan_files.BOOT_LIST),
        (Ethtool("eth0", "G", "rx", "512"), plan_files.BOOT_LIST),
    ],
)
def test_persisted_in_by_who_can_apply_it_at_boot(
    setting: Sysctl | KernelFile | Ethtool, place: str
) -> None:
    assert plan_files.persisted_in(setting) == place


def test_boot_list_interrupt_that_is_gone_or_twice_is_told(tmp_path: Path) -> None:
    for number, name in ((1, "nic-0"), (2, "other")):
        path = tmp_path / f"sys/kernel/irq/{number}/actions"
        path.parent.mkdir(parents=True)
        path.write_text(name + "\n")
    host = Host(tmp_path)
    text = plan_files.format_boot_list(host, [KernelFile("/proc/irq/1/smp_affinity_list", "0")])
    (tmp_path / "sys/kernel/irq/1/actions").write_text("other\n")
    assert plan_files.parse_boot_list(host, text) == (
        (),
        ("/proc/irq/1/smp_affinity_list: no interrupt is named 'nic-0' in this boot",),
    )
    for number in (1, 2):
        (tmp_path / f"sys/kernel/irq/{number}/actions").write_text("nic-0\n")
    assert plan_files.parse_boot_list(host, text)[0] == (
        KernelFile("/proc/irq/1/smp_affinity_list", "0"),
    )


@pytest.mark.parametrize(
    ("name", "escaped"),  # as systemd-escape of systemd 252 prints them
    [
        ("eth0", "eth0"),
        ("eth0.100", "eth0.100"),
        ("br-lan", r"br\x2dlan"),
        (".a", r"\x2ea"),
        ("x:1", "x:1"),
        ("ü", r"\xc3\xbc"),
    ],
)
def test_escape_unit_is_as_systemd_escape_has_it(name: str, escaped: str) -> None:
    assert plan_files.escape_unit(name) == escaped


RESTART = ("systemctl", "restart", "x")


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ((), ()),
        ((plan_files.DAEMON_RELOAD, plan_files.DAEMON_RELOAD), (plan_files.DAEMON_RELOAD,)),
        (
            (plan_files.DAEMON_REEXEC, plan_files.DAEMON_RELOAD, RESTART),
            (RESTART, plan_files.DAEMON_REEXEC),
        ),
    ],
)
def test_reload_commands_begin_systemd_anew_instead_of_a_reload(
    asked: tuple[tuple[str, ...], ...], expected: tuple[tuple[str, ...], ...]
) -> None:
    assert plan_files.reload_commands(asked) == expected


def test_service_waits_for_its_interfaces() -> None:
    text = plan_files.format_service(("/usr/bin/python3", "/opt/x.pyz"), ["eth1", "eth0", "eth1"])
    devices = "sys-subsystem-net-devices-eth0.device sys-subsystem-net-devices-eth1.device"
    assert f"Wants={devices}\nAfter={devices}\n" in text
    assert "ExecStart=/usr/bin/python3 /opt/x.pyz apply --boot\n" in text


def test_service_of_a_path_with_spaces_and_signs_starts_that_path() -> None:
    """By systemd.service(5), "Command lines": quotes, "%%" and "$$"."""
    text = plan_files.format_service(("/srv/my $tools/100%/tickpath", "rt"), ())
    assert 'ExecStart="/srv/my $$tools/100%%/tickpath" rt apply --boot\n' in text
