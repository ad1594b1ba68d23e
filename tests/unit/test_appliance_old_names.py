"""A host of the version before, whose unit and user are called tickpath-reader, gets new names.

usermod, groupmod and userdel are the real ones, on files of the test's; systemctl is the test's.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "ansible/roles/appliance/files/old_names.sh"
UID = 987_654_321  # nobody on this machine runs as that
UNITS = "etc/systemd/system"
ACCOUNTS = {
    "passwd": f"root:x:0:0::/root:/bin/sh\ntickpath-reader:x:{UID}:{UID}:feed:/:/bin/false\n",
    "shadow": "root:*:1::::::\ntickpath-reader:!*:1::::::\n",
    "group": f"tickpath-feed:x:700:tickpath-reader\ntickpath-reader:x:{UID}:\n"
    "ssl-cert:x:701:tickpath-reader,other\n",
    "gshadow": "tickpath-feed:!*::tickpath-reader\ntickpath-reader:!*::\n"
    "ssl-cert:!*::tickpath-reader,other\n",
    "login.defs": "",
}
# It remembers which units run, and what was asked of it.
SYSTEMCTL = """\
#!/bin/sh
echo "$*" >>{folder}/asked
case "$*" in
list-units*) sed 's/$/ loaded active running x/' {folder}/running ;;
stop*) : >{folder}/running ;;
start*) echo "$2" >>{folder}/running ;;
esac
"""

needs_accounts = pytest.mark.needs("root")  # usermod wants to be root for files of anybody's


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A host that the role before this one provisioned, with one feed handler that runs."""
    files = {f"etc/{name}": text for name, text in ACCOUNTS.items()}
    files |= {
        f"{UNITS}/tickpath-feed-handler@.service": "new",
        f"{UNITS}/tickpath-reader@.service": "old",
        f"{UNITS}/tickpath-reader@mexc.service.d/60-host.conf": "",
        "bin/running": "tickpath-reader@mexc.service\n",
        "bin/asked": "",
        "bin/systemctl": SYSTEMCTL.format(folder=tmp_path / "bin"),
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "bin/systemctl").chmod(0o755)
    return tmp_path


def call(host: Path, *words: str) -> subprocess.CompletedProcess[str]:
    path = f"{host / 'bin'}:{os.environ['PATH']}:/usr/sbin:/sbin"
    return subprocess.run(
        ["/bin/sh", str(SCRIPT), *words],
        env={**os.environ, "PATH": path, "TICKPATH_ROOT": str(host)},
        capture_output=True,
        text=True,
        check=False,
    )


def look(host: Path) -> list[str]:
    done = call(host)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def rename(host: Path) -> None:
    done = call(host, "rename")
    assert done.returncode == 0, done.stderr


def lines(host: Path, name: str) -> list[str]:
    return (host / name).read_text().splitlines()


def rows(accounts: list[str]) -> list[tuple[list[str], set[str]]]:
    """Return the rows of an account file in one order, with the last field, members, as a set."""
    split = sorted(line.split(":") for line in accounts)
    return [(fields[:-1], set(fields[-1].split(","))) for fields in split]


def asked(host: Path) -> list[str]:
    """Return what was asked of systemctl, but for questions."""
    return [line for line in lines(host, "bin/asked") if not line.startswith("list-units")]


def test_look_at_a_host_of_the_version_before_names_what_is_to_do_and_changes_nothing(
    host: Path,
) -> None:
    before = {path: path.read_bytes() for path in host.glob("etc/**/*") if path.is_file()}
    assert look(host) == [
        "to do: stop tickpath-reader@mexc.service, start it as tickpath-feed-handler@mexc.service",
        "to do: rename the unit tickpath-reader@.service to tickpath-feed-handler@.service, "
        "the old name as an alias",
        "to do: rename the user tickpath-reader to tickpath-feed-handler",
        f"to do: move /{UNITS}/tickpath-reader@mexc.service.d/60-host.conf to the unit's new name",
    ]
    assert before == {path: path.read_bytes() for path in host.glob("etc/**/*") if path.is_file()}
    assert asked(host) == []


def test_look_at_a_host_without_old_names_is_silent(host: Path) -> None:
    (host / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    (host / f"{UNITS}/tickpath-reader@.service").unlink()
    (host / f"{UNITS}/tickpath-reader@mexc.service.d/60-host.conf").unlink()
    assert look(host) == []


@needs_accounts
def test_rename_keeps_number_groups_and_passwords_of_the_user(host: Path) -> None:
    rename(host)
    for name, text in ACCOUNTS.items():
        expected = text.replace("tickpath-reader", "tickpath-feed-handler").splitlines()
        assert rows(lines(host, f"etc/{name}")) == rows(expected)


@needs_accounts
def test_rename_stops_the_old_unit_first_and_starts_the_new_one_last(host: Path) -> None:
    rename(host)
    assert asked(host) == [
        "stop tickpath-reader@mexc.service",
        "daemon-reload",
        "start tickpath-feed-handler@mexc.service",
    ]
    assert not (host / f"{UNITS}/tickpath-reader@mexc.service.d").exists()
    assert str((host / f"{UNITS}/tickpath-reader@.service").readlink()) == (
        "tickpath-feed-handler@.service"
    )


@needs_accounts
def test_rename_twice_finds_nothing_to_do(host: Path) -> None:
    rename(host)
    (host / "bin/running").write_text("")  # systemd lists a unit by its name, not by an alias
    assert look(host) == []
    (host / "bin/asked").write_text("")
    rename(host)
    assert asked(host) == ["daemon-reload"]


@needs_accounts
def test_rename_moves_what_is_enabled_by_hand(host: Path) -> None:
    wants = host / f"{UNITS}/multi-user.target.wants"
    wants.mkdir()
    (wants / "tickpath-reader@own.service").symlink_to(f"/{UNITS}/tickpath-reader@.service")
    rename(host)
    (link,) = wants.iterdir()
    assert link.name == "tickpath-feed-handler@own.service"
    assert link.readlink().name == "tickpath-feed-handler@.service"


@needs_accounts
def test_rename_leaves_a_persons_files_and_names_them_each_time(host: Path) -> None:
    own = host / f"{UNITS}/tickpath-reader@mexc.service.d/own.conf"
    own.write_text("[Service]\n")
    sudoers = host / "etc/sudoers.d/desk"
    sudoers.parent.mkdir()
    sudoers.write_text("desk ALL=(tickpath-reader) ALL\n")
    rename(host)
    (host / "bin/running").write_text("")
    assert own.read_text() == "[Service]\n"
    assert look(host) == [
        f"still under its old name: /{UNITS}/tickpath-reader@mexc.service.d/own.conf",
        "still says tickpath-reader: /etc/sudoers.d/desk",
    ]


@needs_accounts
def test_rename_removes_the_new_user_that_systemd_made_meanwhile(host: Path) -> None:
    for name, text in (("passwd", ":x:500:500::/:/bin/sh"), ("shadow", ":!:1::::::")):
        with (host / "etc" / name).open("a") as file:
            file.write(f"tickpath-feed-handler{text}\n")
    rename(host)
    (row,) = [line for line in lines(host, "etc/passwd") if "tickpath" in line]
    assert row.startswith(f"tickpath-feed-handler:x:{UID}:")


def test_rename_that_fails_starts_the_old_unit_again(host: Path) -> None:
    """As where a recorder of a person's runs as that user: usermod refuses."""
    usermod = host / "bin/usermod"
    usermod.write_text(
        "#!/bin/sh\necho 'user tickpath-reader is in use by process 7' >&2; exit 8\n"
    )
    usermod.chmod(0o755)
    done = call(host, "rename")
    assert done.returncode == 8
    assert "process 7" in done.stderr
    assert asked(host)[-1] == "start tickpath-reader@mexc.service"
    assert (host / f"{UNITS}/tickpath-reader@.service").read_text() == "old"
