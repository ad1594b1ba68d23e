"""Every role says what it takes, in three places that agree, and refuses the rest at once."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from tickpath.rt.bundle import write_bundle

pytestmark = pytest.mark.slow

ANSIBLE = Path(__file__).resolve().parents[2] / "ansible"
BIN = Path(sys.executable).parent
ROLES = (
    "rt_kernel",
    "tuning",
    "boot_parameters",
    "cpu_isolation",
    "irq_affinity",
    "nic",
    "hugepages",
    "limits",
    "appliance",
    "monitoring",
)
PLAYBOOKS = ("site", "verify", "revert", "measure", "upgrade", "rollback")
REFUSED = "Validation of arguments failed"
# What each role is given, and the words with which it must be refused.
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "rt_kernel": ({"rt_kernel_lists_age": "soon"}, "rt_kernel_lists_age"),
    "tuning": ({"tuning_items": 5.5, "tuning_request": []}, "tuning_request"),
    "boot_parameters": ({"boot_parameters_request": "everything"}, "boot_parameters_request"),
    "cpu_isolation": ({"cpu_isolation_items": {"cpu": True}}, "cpu_isolation_items"),
    "irq_affinity": ({"irq_affinity_reboot_ok": "perhaps"}, "irq_affinity_reboot_ok"),
    "nic": ({"nic_request": 7}, "nic_request"),
    "hugepages": ({"hugepages_request": [64]}, "hugepages_request"),
    "limits": ({"limits_reboot_ok": "later"}, "limits_reboot_ok"),
    "appliance": (
        {"appliance_feed_handlers": [{"priority": 30}]},
        "missing required arguments: config",
    ),
    "monitoring": ({"monitoring_started": "often"}, "monitoring_started"),
}


def load(*parts: str) -> Any:
    return yaml.safe_load(ANSIBLE.joinpath(*parts).read_text())


def run(tool: str, *words: str, cwd: Path = ANSIBLE) -> subprocess.CompletedProcess[str]:
    """Run one of Ansible's programs as a person would, without colours."""
    environment = {
        **os.environ,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_LOCALHOST_WARNING": "False",
        "ANSIBLE_COLLECTIONS_PATH": str(ANSIBLE / "playbooks" / "collections"),
    }
    return subprocess.run(
        [str(BIN / tool), *words],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("role", ROLES)
def test_role_defaults_argument_specs_and_readme_name_the_same_variables(role: str) -> None:
    specs = load("roles", role, "meta", "argument_specs.yml")["argument_specs"]["main"]["options"]
    defaults = load("roles", role, "defaults", "main.yml")
    readme = (ANSIBLE / "roles" / role / "README.md").read_text()
    documented = set(re.findall(rf"^\| `({role}_\w+)`", readme, re.MULTILINE))
    assert set(defaults) == set(specs) == documented
    assert all(name.startswith(f"{role}_") for name in defaults)


@pytest.mark.parametrize("role", ROLES[:-2])
def test_role_that_needs_a_reboot_may_not_have_it_unasked(role: str) -> None:
    specs = load("roles", role, "meta", "argument_specs.yml")["argument_specs"]["main"]["options"]
    assert specs[f"{role}_reboot_ok"]["default"] is False
    assert load("roles", role, "defaults", "main.yml")[f"{role}_reboot_ok"] == (
        "{{ tickpath_reboot_ok | default(false) }}"
    )
    assert f"{role}_reboot_required" in (ANSIBLE / "roles" / role / "tasks/main.yml").read_text()


def test_playbooks_all_pass_the_syntax_check_from_any_folder(tmp_path: Path) -> None:
    """Without ansible.cfg: the collection is found beside the playbooks."""
    books = [str(ANSIBLE / "playbooks" / f"{name}.yml") for name in PLAYBOOKS]
    done = run("ansible-playbook", "-i", "localhost,", "--syntax-check", *books, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {f"{name}.yml" for name in PLAYBOOKS} == {
        path.name for path in (ANSIBLE / "playbooks").glob("*.yml")
    }


@pytest.mark.parametrize("inventory", ["lab-vm", "bare-metal", "cloud"])
def test_inventory_names_a_profile_that_the_module_knows(inventory: str) -> None:
    known = re.search(r"^PROFILES = (\[.*\])$", module_source(), re.MULTILINE)
    assert known is not None
    folder = ANSIBLE / "inventories" / inventory
    groups = yaml.safe_load((folder / "hosts.yml").read_text())
    for group in groups:
        chosen = yaml.safe_load((folder / "group_vars" / f"{group}.yml").read_text())
        assert chosen["tickpath_profile"] in yaml.safe_load(known[1])


@cache
def module_source() -> str:
    return (ANSIBLE / "plugins" / "modules" / "rt_host.py").read_text()


def test_module_documentation_is_rendered() -> None:
    done = run("ansible-doc", "-t", "module", "tickpath.host.rt_host")
    assert done.returncode == 0, done.stderr
    for word in ("minimum_score", "unthrottled_rt", "EXAMPLES", "RETURN VALUES"):
        assert word in done.stdout


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One run: each role on a host of its own, given what it must refuse. Check mode, on a
    connection to this machine: nothing may be changed, and nothing is even asked."""
    folder = tmp_path_factory.mktemp("refusals")
    hosts = {
        role: {"role": role, "ansible_connection": "local", **given}
        for role, (given, _) in WRONG.items()
    }
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
    play = {
        "name": "Give each role what it must refuse",
        "hosts": "all",
        "gather_facts": False,
        "tasks": [
            {"name": "Go", "ansible.builtin.include_role": {"name": "tickpath.host.{{ role }}"}}
        ],
    }
    (folder / "play.yml").write_text(yaml.safe_dump([play]))
    return run("ansible-playbook", "-i", "hosts.yml", "--check", "play.yml", cwd=folder).stdout


@pytest.mark.parametrize("role", ROLES)
def test_role_given_a_wrong_argument_is_refused_before_its_first_task(
    role: str, refusals: str
) -> None:
    failed = re.search(rf"^fatal: \[{role}\]: FAILED! => (.*)$", refusals, re.MULTILINE)
    assert failed, refusals
    assert REFUSED in failed[1]
    assert WRONG[role][1] in failed[1]
    recap = re.search(rf"^{role} +: +ok=(\d+) +changed=(\d+)", refusals, re.MULTILINE)
    assert recap is not None
    assert recap.groups() == ("1", "0")  # the include itself


def test_rt_kernel_that_the_archive_has_not_is_refused_before_anything_is_installed(
    tmp_path: Path,
) -> None:
    """Asked of this machine's own apt, in check mode; its lists count as fresh."""
    given = {
        "rt_kernel_package": "linux-image-rt-of-nowhere",
        "rt_kernel_lists_age": 10**9,
    }
    play = {
        "name": "Ask for a kernel that is not there",
        "hosts": "all",
        "gather_facts": False,
        "vars": {"ansible_python_interpreter": "/usr/bin/python3", **given},
        "roles": ["tickpath.host.rt_kernel"],
    }
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    words = ("-i", "it,", "-c", "local", "--check", str(tmp_path / "play.yml"))
    done = run("ansible-playbook", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert "no apt source of this host has linux-image-rt-of-nowhere" in done.stdout
    assert "changed=0" in done.stdout
    assert "Install the kernel" not in done.stdout


def test_site_without_any_choice_of_profile_refuses_cpu_0_in_words_of_rt(tmp_path: Path) -> None:
    """The whole way from -e to rt and back, on this machine, in check mode."""
    zipapp = ANSIBLE.parent / "build" / "tickpath-rt.pyz"
    zipapp.parent.mkdir(exist_ok=True)
    write_bundle(zipapp)  # where the collection looks for it; what `make zipapp` writes
    book = str(ANSIBLE / "playbooks" / "site.yml")
    words = ("-i", "it,", "-c", "local", "--check", "-e", "tickpath_isolated=0", book)
    done = run("ansible-playbook", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert "CPU 0 stays with the kernel" in done.stdout
    assert re.search(r"^it +: ok=0 +changed=0", done.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("required", "permitted", "told"),
    [
        ({}, {}, None),
        ({"tuning": True}, {}, "needs a reboot for tuning:"),
        ({"tuning": True, "rt_kernel": True}, {}, "needs a reboot for rt_kernel, tuning:"),
        ({"tuning": True}, {"rt_kernel": True}, "needs a reboot for tuning:"),
        # Ansible refuses to reboot the machine it runs on: so far it would have gone.
        ({"tuning": True}, {"tuning": True}, "would reboot the control node"),
        ({}, {"tuning": True}, None),
    ],
)
def test_reboot_is_decided_once_and_only_where_it_is_allowed(
    tmp_path: Path, required: dict[str, bool], permitted: dict[str, bool], told: str | None
) -> None:
    given = {f"{role}_reboot_required": value for role, value in required.items()}
    given |= {f"{role}_reboot_ok": value for role, value in permitted.items()}
    tasks = [{"ansible.builtin.include_tasks": str(ANSIBLE / "playbooks/tasks/reboot.yml")}]
    play = {
        "hosts": "all",
        "gather_facts": False,
        "vars": given,
        "tasks": tasks,
    }
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    words = ("-i", "it,", "-c", "local", "--check", "play.yml")
    output = run("ansible-playbook", *words, cwd=tmp_path).stdout
    said = re.search(r"needs a reboot for [^:]*:|would reboot the control node", output)
    assert (said and said[0]) == told, output


@pytest.mark.parametrize(
    "given",
    [
        {"name": "a b", "strategy": "x.py:X", "instance": "mexc"},
        {"name": "a", "strategy": "x.py:X --cpu 0", "instance": "mexc"},
        {"name": "a", "strategy": "x.py:X", "instance": "mexc\nUser=root"},
        {"name": "a%h", "strategy": "x.py:X", "instance": "mexc"},
        {"name": "../a", "strategy": "x.py:X", "instance": "mexc"},
    ],
)
def test_appliance_name_that_would_change_a_unit_is_refused(
    tmp_path: Path, given: dict[str, str]
) -> None:
    release = tmp_path / "tickpath-1.zip"
    release.touch()
    play = {
        "name": "Give a strategy what is no name",
        "hosts": "all",
        "gather_facts": False,
        "vars": {"appliance_release": str(release), "appliance_strategies": [given]},
        "roles": ["tickpath.host.appliance"],
    }
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    words = ("-i", "it,", "-c", "local", "--check", str(tmp_path / "play.yml"))
    done = run("ansible-playbook", *words, cwd=tmp_path)
    assert done.returncode == 2, done.stdout
    assert "each goes into a unit of systemd" in done.stdout
    assert "Install the system" not in done.stdout


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"appliance_readers": [{"config": "a b.toml"}]}, "DEPRECATED: appliance_readers is now"),
        ({"appliance_readers": [], "appliance_feed_handlers": [{"config": "a"}]}, "both are set"),
        ({"appliance_feed_handlers": [{"config": "a b.toml"}]}, None),
    ],
)
def test_appliance_feed_handlers_under_their_old_name_are_taken_with_a_warning(
    tmp_path: Path, given: dict[str, Any], told: str | None
) -> None:
    """A name that no unit can have ends the role early, and shows that the old variable counts."""
    release = tmp_path / "tickpath-1.zip"
    release.touch()
    play = {
        "name": "Give feed handlers",
        "hosts": "all",
        "gather_facts": False,
        "vars": {"appliance_release": str(release), **given},
        "roles": ["tickpath.host.appliance"],
    }
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    words = ("-i", "it,", "-c", "local", "--check", str(tmp_path / "play.yml"))
    done = run("ansible-playbook", *words, cwd=tmp_path)
    assert done.returncode == 2, done.stdout
    assert ("a b on" in done.stdout) == (told != "both are set"), done.stdout
    assert ("DEPRECATED" in done.stdout) == (told is not None and "DEPRECATED" in told), done.stdout
    assert told is None or told in done.stdout


@pytest.mark.parametrize(("word", "is_old"), [("reader_cpu", True), ("feed_handler_cpu", False)])
def test_appliance_template_of_the_version_before_is_taken_with_a_warning(
    tmp_path: Path, word: str, is_old: bool
) -> None:
    (tmp_path / "tickpath-1.zip").touch()
    (tmp_path / "a b.toml").write_text(
        f"cpu = {{{{ {word} }}}}\n"
    )  # a name that ends the role early
    play = {
        "name": "Give a template of one's own",
        "hosts": "all",
        "gather_facts": False,
        "vars": {
            "appliance_release": str(tmp_path / "tickpath-1.zip"),
            "appliance_feed_handlers": [{"config": str(tmp_path / "a b.toml")}],
        },
        "roles": ["tickpath.host.appliance"],
    }
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    words = ("-i", "it,", "-c", "local", "--check", str(tmp_path / "play.yml"))
    done = run("ansible-playbook", *words, cwd=tmp_path)
    assert "a b on" in done.stdout, done.stdout
    warned = f"uses {word}: write feed_handler_ instead of reader_"
    assert (warned in done.stdout) == is_old, done.stdout
    assert ("DEPRECATED" in done.stdout) == is_old, done.stdout


@pytest.mark.parametrize("book", ["upgrade", "rollback"])
def test_playbook_that_changes_the_version_knows_the_isolated_cpus(book: str) -> None:
    """A configuration is checked on all CPUs that it names: a shell on an isolating host has only
    the others, and the program refuses a CPU that it may not use."""
    (play,) = load("playbooks", f"{book}.yml")
    (ask,) = play["pre_tasks"]
    defaults = load("roles", "appliance", "defaults", "main.yml")
    assert f"{ask['register']}.answer.profile.isolated" in defaults["appliance_cpus"]
    assert ask["tickpath.host.rt_host"] == {"state": "checked"}  # which no request can refuse
