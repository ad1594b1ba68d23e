"""What runs by older files than those that are there, by the word of a systemd of the test's."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "ansible/roles/appliance/files/outdated.sh"
FEED_HANDLER, STRATEGY = "tickpath-feed-handler@mexc.service", "tickpath-strategy@spread.service"
# Each file, and who runs by it.
FILES = {
    "etc/tickpath/mexc.toml": [FEED_HANDLER],
    "etc/tickpath/other.toml": [],
    "etc/tickpath/rt-boot.json": [],
    "etc/tickpath/strategies/spread.py": [STRATEGY],
    f"etc/systemd/system/{FEED_HANDLER}.d/60-host.conf": [FEED_HANDLER],
    f"etc/systemd/system/{FEED_HANDLER}": [FEED_HANDLER],
    "etc/systemd/system/tickpath-feed-handler@.service": [FEED_HANDLER],
    "etc/systemd/system/tickpath-feed-handler@.service.d/override.conf": [FEED_HANDLER],
    # Drop-ins of a person's, made for the version before: the alias has systemd read them.
    "etc/systemd/system/tickpath-reader@.service.d/override.conf": [FEED_HANDLER],
    "etc/systemd/system/tickpath-reader@mexc.service.d/override.conf": [FEED_HANDLER],
    "etc/systemd/system/tickpath-strategy@.service": [STRATEGY],
    "etc/systemd/system/tickpath-metrics.timer": [],
    "etc/systemd/system/tickpath.target.d/60-host.conf": [],
}
SYSTEMCTL = """\
#!/bin/sh
case "$*" in
*NeedDaemonReload*) cat {folder}/reload ;;
*ActiveState*) for last; do :; done; cat "{folder}/$last" ;;
*InactiveExitTimestamp*) cat {folder}/since ;;
daemon-reload) echo no >{folder}/reload ;;
esac
"""


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A host whose units run by the files that are there, all of them an hour old."""
    old = time.time() - 3600
    for name in FILES:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    (tmp_path / "opt/tickpath/versions/one").mkdir(parents=True)
    (tmp_path / "opt/tickpath/current").symlink_to("versions/one")
    for path in sorted(tmp_path.rglob("*"), reverse=True):
        os.utime(path, (old, old), follow_symlinks=False)
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    (bin_folder / "systemctl").write_text(SYSTEMCTL.format(folder=bin_folder))
    (bin_folder / "systemctl").chmod(0o755)
    since = time.strftime("%a %Y-%m-%d %H:%M:%S.123456 UTC", time.gmtime(old + 1800))
    for name, text in (
        ("reload", "no"),
        ("since", since),
        (FEED_HANDLER, "active"),
        (STRATEGY, "active"),
    ):
        (bin_folder / name).write_text(text)
    return tmp_path


def outdated(host: Path) -> list[str]:
    path = f"{host / 'bin'}:{os.environ['PATH']}"
    done = subprocess.run(
        ["/bin/sh", str(SCRIPT), FEED_HANDLER, STRATEGY],
        env={**os.environ, "PATH": path, "TICKPATH_ROOT": str(host)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_outdated_nothing_newer_is_nothing(host: Path) -> None:
    assert outdated(host) == []


@pytest.mark.parametrize(("name", "units"), FILES.items())
def test_outdated_written_file_restarts_what_runs_by_it(
    host: Path, name: str, units: list[str]
) -> None:
    (host / name).write_text("other")
    assert outdated(host) == units


def test_outdated_other_version_restarts_what_runs(host: Path) -> None:
    (host / "opt/tickpath/current").unlink()
    (host / "opt/tickpath/current").symlink_to("versions/two")
    assert outdated(host) == [FEED_HANDLER, STRATEGY]


def test_outdated_what_does_not_run_is_not_restarted(host: Path) -> None:
    (host / "opt/tickpath/current").unlink()
    (host / "opt/tickpath/current").symlink_to("versions/two")
    (host / "bin" / STRATEGY).write_text("failed")
    assert outdated(host) == [FEED_HANDLER]


def test_outdated_time_that_cannot_be_read_is_told(host: Path) -> None:
    """To find nothing newer than that would be a restart that never comes."""
    (host / "bin/since").write_text("yesterweek")
    with pytest.raises(subprocess.CalledProcessError):
        outdated(host)


def test_outdated_unread_units_are_read(host: Path) -> None:
    (host / "bin/reload").write_text("yes")
    outdated(host)
    assert (host / "bin/reload").read_text() == "no\n"
