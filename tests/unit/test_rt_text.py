"""rt's parsers of foreign text: properties, planted cases, and anything at all."""

from __future__ import annotations

import contextlib
import json
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickpath.rt import counters, ethtool_answer, tasks
from tickpath.rt.command_line import (
    SPACES,
    format_command_line,
    in_force,
    parse_command_line,
    split_words,
    values_of,
)
from tickpath.rt.cpu_mask import format_cpu_mask, parse_cpu_mask
from tickpath.rt.errors import RequestError
from tickpath.rt.host import Host, Output, run_command
from tickpath.rt.limits import format_cpu_list, parse_cpu_list
from tickpath.rt.persisted import persisted_command_line, read_persisted
from tickpath.rt.profile import Request, request_from_json
from tickpath.rt.reading import same
from tickpath.rt.routes import read_carriers
from tickpath.rt.setting import BootParameter, Ethtool, KernelFile, Sysctl
from tickpath.rt.topology import interrupt_names, kernel_version

from tests.unit.rt_host import CHANNELS, COALESCING, FEATURES, RINGS, Tree

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CPUS = st.sets(st.integers(0, 8191), max_size=40)


@given(CPUS)
def test_cpu_list_written_and_parsed_is_the_same(cpus: set[int]) -> None:
    assert parse_cpu_list(format_cpu_list(cpus)) == tuple(sorted(cpus))


@given(CPUS)
def test_cpu_mask_written_and_parsed_is_the_same(cpus: set[int]) -> None:
    assert parse_cpu_mask(format_cpu_mask(cpus)) == tuple(sorted(cpus))


@pytest.mark.parametrize(
    ("cpus", "text"),
    [({0}, "1"), ({31}, "80000000"), ({32}, "1,00000000"), ({1, 64}, "1,00000000,00000002")],
)
def test_cpu_mask_is_written_in_words_of_eight_digits(cpus: set[int], text: str) -> None:
    """As the kernel prints it (lib/vsprintf.c, bitmap_string): all words but the first whole."""
    assert format_cpu_mask(cpus) == text


@given(CPUS, st.integers(0, 3))
def test_cpu_mask_padded_by_the_kernel_is_the_same(cpus: set[int], words: int) -> None:
    padded = "00000000," * words + format_cpu_mask(cpus).rjust(8, "0")
    if words + len(format_cpu_mask(cpus).split(",")) <= 256:
        assert parse_cpu_mask(padded) == tuple(sorted(cpus))


# /proc/irq/*/smp_affinity of machines with 8, 64 and 96 CPUs
@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("0f", "0-3"),
        ("ff", "0-7"),
        ("00000001,00000000", "32"),
        ("ffffffff,00000000,00000001", "0,64-95"),
        ("0", ""),
    ],
)
def test_cpu_mask_as_the_kernel_prints_it(text: str, cpus: str) -> None:
    assert parse_cpu_mask(text) == parse_cpu_list(cpus)


@pytest.mark.parametrize("text", ["", "0x0f", "g", "123456789", "1,,1", "1,", "-1", "1 1", "٣"])
def test_cpu_mask_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="CPU mask"):
        parse_cpu_mask(text)


@given(st.text())
def test_cpu_mask_of_anything_parses_or_says_why(text: str) -> None:
    with contextlib.suppress(ValueError):
        cpus = parse_cpu_mask(text)
        assert parse_cpu_mask(format_cpu_mask(cpus)) == cpus


NAMES = st.text(
    st.characters(codec="ascii", exclude_characters='"= -' + SPACES, exclude_categories=["Cc"]),
    min_size=1,
)
VALUES = st.one_of(
    st.none(),
    st.text(st.characters(codec="ascii", exclude_characters='"', exclude_categories=["Cc"])),
)


@given(st.lists(st.builds(BootParameter, NAMES, VALUES)))
def test_command_line_written_and_parsed_is_the_same(parameters: list[BootParameter]) -> None:
    assert parse_command_line(format_command_line(tuple(parameters))) == tuple(parameters)


@given(st.text())
def test_command_line_of_anything_is_split_without_loss(text: str) -> None:
    """Spaces outside quotes are all that is lost."""
    kept = "".join(split_words(text))
    assert kept == "".join(
        one for index, one in enumerate(text) if one not in SPACES or text[:index].count('"') % 2
    )
    parse_command_line(text)


# lib/cmdline.c, next_arg: quotes around a value or the whole word are dropped, "--" ends.
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=1  b", [("a", "1"), ("b", None)]),
        ('dyndbg="file a +p" x', [("dyndbg", "file a +p"), ("x", None)]),
        ('"dyndbg=file a +p" x', [("dyndbg", "file a +p"), ("x", None)]),
        ("quiet -- --init-option x=1", [("quiet", None)]),
        ("a= b", [("a", ""), ("b", None)]),
        ('a="never closed b', [("a", "never closed b")]),
        ("root=UUID=1-2", [("root", "UUID=1-2")]),
    ],
)
def test_command_line_is_split_as_the_kernel_does(
    text: str, expected: list[tuple[str, str | None]]
) -> None:
    assert [(each.name, each.value) for each in parse_command_line(text)] == expected


def test_command_line_names_with_dash_and_underscore_are_one() -> None:
    parameters = parse_command_line("rcu-nocbs=1 rcu_nocbs=2")
    assert values_of("rcu_nocbs", parameters) == ("1", "2")


@pytest.mark.parametrize(
    ("wanted", "booted", "expected"),
    [
        ("isolcpus=managed_irq,domain,2-3", "isolcpus=domain,managed_irq,2,3", True),
        ("isolcpus=managed_irq,domain,2-3", "isolcpus=2-3", False),
        ("isolcpus=domain,2-3", "isolcpus=2-3", True),
        ("isolcpus=domain,2-3", "isolcpus=domain,2-4", False),
        ("isolcpus=domain,2-3", "isolcpus=domain,N", False),
        ("nohz_full=2,3", "nohz_full=2-3", True),
        ("irqaffinity=0-1", "irqaffinity=0", False),
        ("mce=ignore_ce", "mce=off", False),
        ("nosoftlockup", "nosoftlockup", True),
    ],
)
def test_parameter_is_compared_by_meaning(wanted: str, booted: str, expected: bool) -> None:
    (parameter,) = parse_command_line(wanted)
    assert same(parameter, booted) is expected


@pytest.mark.parametrize(
    ("path", "wanted", "live", "expected"),
    [
        ("/proc/irq/5/smp_affinity", "f", "00000000,0000000f", True),
        ("/proc/irq/5/smp_affinity", "f", "1f", False),
        ("/proc/irq/5/smp_affinity_list", "0-1", "0,1", True),
        ("/sys/kernel/mm/transparent_hugepage/enabled", "never", "always madvise [never]", True),
        ("/sys/kernel/mm/transparent_hugepage/enabled", "never", "always [madvise] never", False),
        ("/sys/module/x/parameters/y", "1", "Y", True),
        ("/sys/module/x/parameters/y", "1", "N", False),
        ("/sys/kernel/mm/ksm/run", "0", "0", True),
    ],
)
def test_kernel_file_is_compared_by_meaning(
    path: str, wanted: str, live: str, expected: bool
) -> None:
    assert same(KernelFile(path, wanted), live) is expected


@pytest.mark.parametrize(
    ("release", "banner", "signature", "expected"),
    [
        ("6.1.0-50-rt-amd64", "#1 SMP PREEMPT_RT Debian 6.1.176-1 (2026)", "", (6, 1, 176)),
        ("6.12.90+deb13-amd64", "#1 SMP Debian 6.12.90-1", "", (6, 12, 90)),
        ("6.8.0-31-generic", "#31-Ubuntu SMP", "Ubuntu 6.8.0-31.31-generic 6.8.1", (6, 8, 1)),
        ("6.18.44-fc-v657", "#1 SMP PREEMPT_DYNAMIC @0", "", (6, 18, 44)),
        ("7.0-rc1", "#1", "", (7, 0, 0)),
        ("strange", "#1", "", (0, 0, 0)),
    ],
)
def test_kernel_version_is_that_of_the_source(
    release: str, banner: str, signature: str, expected: tuple[int, int, int]
) -> None:
    assert kernel_version(release, banner, signature) == expected


def answering(*outputs: Output) -> Host:
    left = list(outputs)

    def run(argv: Sequence[str]) -> Output:
        return left.pop(0)

    return Host(run=run)


def test_ethtool_json_of_features_is_read_by_their_short_names() -> None:
    """As ethtool 6.1 prints it."""
    text = (
        '[ {"ifname": "eth0", "large-receive-offload": {"active": true, "fixed": false, '
        '"requested": true}, "ntuple-filters": {"active": false, "fixed": true, "requested": false}'
        "} ]"
    )
    host = answering(Output(0, text, ""))
    assert ethtool_answer.read_ethtool(host, Ethtool("eth0", "K", "lro", "off")) == "on"


def test_ethtool_json_of_coalescing_is_read() -> None:
    text = '[{"ifname": "eth0", "adaptive-rx": false, "rx-usecs": 3, "rx-frames": "n/a"}]'
    told = ethtool_answer.parse_json(text, "C")
    assert told == {"adaptive-rx": "off", "rx-usecs": "3"}


def test_ethtool_without_json_is_read_from_its_table() -> None:
    refusal = Output(1, "", "ethtool: bad command line argument(s)")
    host = answering(refusal, Output(0, RINGS.format(nic="eth0", size=2048), ""))
    assert ethtool_answer.read_answer(host, "eth0", "G") == {"rx": "2048", "tx": "2048"}
    host = answering(Output(0, RINGS.format(nic="eth0", size=2048), ""))
    assert ethtool_answer.read_maximum(host, "eth0", "G") == {"rx": "8160", "tx": "8160"}
    host = answering(refusal, Output(0, COALESCING.format(nic="x", adaptive="on", usecs=9), ""))
    coalescing = {"adaptive-rx": "on", "adaptive-tx": "on", "rx-usecs": "9", "tx-usecs": "9"}
    assert ethtool_answer.read_answer(host, "x", "C") == coalescing
    host = answering(refusal, Output(0, CHANNELS.format(nic="x", count=4), ""))
    assert ethtool_answer.read_answer(host, "x", "L")["combined"] == "4"
    host = answering(Output(0, FEATURES.format(nic="x", joined="on", ntuple="off"), ""))
    assert ethtool_answer.fixed_features(host, "x") == {"lro"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(st.one_of(st.text(), JSON.map(json.dumps)), st.sampled_from("GCKLA"))
def test_ethtool_answer_of_anything_is_borne(text: str, group: str) -> None:
    for told in (ethtool_answer.parse_json(text, group), ethtool_answer.parse_table(text, group)):
        assert all(isinstance(name, str) and isinstance(told[name], str) for name in told)


@given(st.text())
def test_tables_of_the_kernel_of_anything_are_borne(text: str) -> None:
    counters.parse_table(text)
    counters.parse_steal(text)
    counters.parse_context_switches(text)
    interrupt_names(text)
    tasks.parse_stat(text, 1)


@given(st.one_of(st.text(), JSON.map(json.dumps)))
def test_kept_profile_of_anything_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(RequestError):
        assert isinstance(request_from_json(text), Request)


def test_interrupt_table_is_read_with_rows_of_one_number() -> None:
    text = "     CPU0  CPU2\n 38:  5  7  PCI-MSIX-0000:00:03.0 1-edge virtio2-input.0\nERR:  3\n"
    counts, texts = counters.parse_table(text)
    assert counts == {"38": {0: 5, 2: 7}}
    assert texts["38"].endswith("virtio2-input.0")


def test_samples_difference_leaves_out_what_came_between() -> None:
    before = counters.Sample(0, {"38": {0: 5}}, {}, {}, {}, {0: 1}, 10, {})
    after = counters.Sample(
        2_000_000_000, {"38": {0: 9, 1: 3}, "40": {0: 1}}, {}, {}, {}, {0: 3}, 30, {}
    )
    deltas = counters.difference(before, after)
    assert deltas.interrupts == {"38": {0: 4}, "40": {}}
    assert deltas.per_second(deltas.interrupts, "38", 0) == 2.0
    assert deltas.context_switches == 20
    assert deltas.steal_share == 0.01  # 2 ticks of 10 ms in 2 s


def test_stat_of_a_thread_with_a_hostile_name_is_read() -> None:
    fields = ["R", *["0"] * 5, "2097152", *["0"] * 29, "3", "50", "1"]
    task = tasks.parse_stat(f"77 (a) R 1 (b) {' '.join(fields)}", 77)
    assert task == tasks.Task(77, 77, "a) R 1 (b", "R", True, 3, 1, 50)


def test_grub_variables_are_followed(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.write(
        "/etc/default/grub",
        'GRUB_CMDLINE_LINUX="console=ttyS0"  # serial\n#GRUB_CMDLINE_LINUX="x"\n'
        "GRUB_CMDLINE_LINUX_DEFAULT='quiet $HOME'\n",
    )
    tree.write("/etc/default/grub.d/10-a.cfg", 'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX b=1"\n')
    tree.write("/etc/default/grub.d/20-b.cfg", 'GRUB_CMDLINE_LINUX+=" c=2"\nBROKEN="\n')
    assert persisted_command_line(tree.host) == "console=ttyS0 b=1 c=2 quiet $HOME"


@given(st.lists(st.sampled_from(["a", "b=1", "$X", "${X}", "c='d'", "e"]), max_size=6))
def test_grub_variables_are_as_a_shell_has_them(
    tmp_path_factory: pytest.TempPathFactory, words: list[str]
) -> None:
    tree = Tree(tmp_path_factory.mktemp("grub"))
    text = f'X="x y"\nGRUB_CMDLINE_LINUX="{" ".join(words)}"\n'
    tree.write("/etc/default/grub", text)
    said = subprocess.run(
        ["sh", "-c", f'{text}printf %s "$GRUB_CMDLINE_LINUX"'],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert persisted_command_line(tree.host) == said.strip()


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_configuration_of_anything_is_borne(text: str) -> None:
    class Planted(Host):
        """A host all of whose files have this text."""

        def read(self, name: str) -> str | None:
            return text

        def glob(self, pattern: str) -> tuple[str, ...]:
            return (pattern.replace("*", "a"),)

    host = Planted()
    for setting in (
        BootParameter("isolcpus", "1"),
        Sysctl("vm.swappiness", "1"),
        KernelFile("/sys/a", "1"),
        Ethtool("eth0", "C", "rx-usecs", "0"),
    ):
        read_persisted(host, setting)
    read_carriers(host)


def test_grub_word_that_update_grub_has_not_seen_is_not_persisted(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    wanted = BootParameter("nohz_full", "1")
    tree.write("/etc/default/grub", 'GRUB_CMDLINE_LINUX="nohz_full=1"\n')
    assert read_persisted(tree.host, wanted) == "nohz_full=1"
    tree.write("/boot/grub/grub.cfg", "\tlinux\t/boot/vmlinuz-6.1.0 root=UUID=1 ro quiet\n")
    assert read_persisted(tree.host, wanted) is None
    tree.write("/boot/grub/grub.cfg", "  linux /boot/vmlinuz-6.1.0 root=UUID=1 ro nohz_full=1\n")
    assert read_persisted(tree.host, wanted) == "nohz_full=1"


def test_tmpfiles_line_keeps_a_kernel_file(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.write("/etc/tmpfiles.d/a.conf", "w /sys/kernel/mm/ksm/* - - - - 0\nd /run/x 0755 - - -\n")
    assert read_persisted(tree.host, KernelFile("/sys/kernel/mm/ksm/run", "0")) == "0"
    assert read_persisted(tree.host, KernelFile("/sys/kernel/mm/other", "0")) is None


def test_command_that_is_not_there_is_told_and_not_raised() -> None:
    done = run_command(["no-such-program-of-tickpath"])
    assert done.status == 127
    assert "not installed" in done.stderr


@pytest.mark.parametrize(
    ("words", "isolated", "nohz_full"),
    [  # as Linux 6.1 has them: tests/vm/test_1_command_lines.py asks it
        (
            "isolcpus=managed_irq,domain,1 isolcpus=managed_irq,domain,2",
            "managed_irq,domain,1",
            None,
        ),
        ("nohz_full=1 nohz_full=2-3", None, "1"),
        ("nohz_full=2 isolcpus=nohz,domain,1", None, "2"),
        ("isolcpus=1 nohz_full=2 nohz_full=2 isolcpus=3", "1", "2"),
    ],
)
def test_isolation_list_behind_another_is_not_in_force(
    words: str, isolated: str | None, nohz_full: str | None
) -> None:
    parameters = parse_command_line(words)
    found = {name: in_force(name, parameters) for name in ("isolcpus", "nohz_full")}
    assert {name: one and one.value for name, one in found.items()} == {
        "isolcpus": isolated,
        "nohz_full": nohz_full,
    }
