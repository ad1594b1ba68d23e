"""The command-line tool: what it lists, how it tells errors, and that it imports on use."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib import metadata
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
import tickpath
from tickpath.engine import cli
from tickpath.shm.errors import LocalError, RemoteError, SystemSetupError

if TYPE_CHECKING:
    import argparse

ROOT = Path(__file__).resolve().parents[2]


def plant_command(
    monkeypatch: pytest.MonkeyPatch, outcome: BaseException | int, name: str = "planted"
) -> None:
    """Register a subcommand whose run() raises or returns `outcome`."""

    def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
        subparsers.add_parser(name, help="planted").add_argument("--json", action="store_true")

    def run(args: argparse.Namespace) -> int:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome if args.json else outcome + 1

    module = ModuleType(f"{__name__}_{name}")
    module.__dict__.update(add_parser=add_parser, run=run)
    module.__spec__ = ModuleSpec(module.__name__, None)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(cli, "COMMANDS", {name: (module.__name__, "a planted command")})


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (LocalError("the key 'cpu' is 99; expected 0 to 1"), 2),
        (SystemSetupError("no AF_XDP here"), 3),
        (RemoteError("the certificate is for\nanother name"), 1),
    ],
)
def test_cli_error_is_one_line_and_its_own_status(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    status: int,
) -> None:
    plant_command(monkeypatch, error)
    assert cli.main(["planted"]) == status
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"tickpath: {' '.join(str(error).split())}\n"


def test_cli_interrupt_is_status_130(monkeypatch: pytest.MonkeyPatch) -> None:
    plant_command(monkeypatch, KeyboardInterrupt())
    assert cli.main(["planted"]) == 130


def test_cli_other_exception_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (ZeroDivisionError(), UnicodeEncodeError("ascii", "\u00b5", 0, 1, "ours")):
        plant_command(monkeypatch, error)
        with pytest.raises(type(error)):
            cli.main(["planted"])


def test_cli_argument_that_is_no_utf8_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`tickpath subscribe live mexc:…` with a byte of Latin-1 ended by a traceback, and as 1."""
    plant_command(monkeypatch, UnicodeEncodeError("utf-8", "mexc:\udce9", 5, 6, "surrogates"))
    assert cli.main(["planted"]) == 2
    assert capsys.readouterr().err == (
        "tickpath: 'mexc:\\udce9' is no UTF-8: give a name that is\n"
    )


def test_cli_status_and_options_pass_through(monkeypatch: pytest.MonkeyPatch) -> None:
    plant_command(monkeypatch, 6)
    assert cli.main(["planted"]) == 7
    assert cli.main(["planted", "--json"]) == 6


def test_cli_help_lists_only_commands_that_exist(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plant_command(monkeypatch, 0)
    monkeypatch.setitem(cli.COMMANDS, "absent", ("tickpath.engine.no_such.module", "not there"))
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    said = capsys.readouterr().out
    assert ended.value.code == 0
    assert "planted" in said
    assert "absent" not in said


def test_cli_unknown_command_names_the_known(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plant_command(monkeypatch, 0)
    assert cli.main(["plant"]) == 2
    assert capsys.readouterr().err == ("tickpath: 'plant' is no command; did you mean planted?\n")
    assert cli.main(["x"]) == 2
    assert capsys.readouterr().err == "tickpath: 'x' is no command; expected one of planted\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["planted", "--no\nsuch"],
            "unrecognized arguments: --no such; see tickpath planted --help",
        ),
        (["planted", "--json=5"], "ignored explicit argument '5'; see tickpath planted --help"),
        (["--nope"], "unrecognized arguments: --nope; see tickpath --help"),
    ],
)
def test_cli_wrong_usage_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    plant_command(monkeypatch, 0)
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("tickpath: ")
    assert error.endswith(f"{said}\n")
    assert error.count("\n") == 1


def test_cli_control_characters_of_a_server_are_escaped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plant_command(monkeypatch, RemoteError("status 500 \x1b[2J\x9b€"))
    assert cli.main(["planted"]) == 1
    assert capsys.readouterr().err == "tickpath: status 500 \\x1b[2J\\x9b€\n"


def test_cli_missing_package_breaks_only_its_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plant_command(monkeypatch, 0)

    def no_picows(module: str) -> ModuleType:
        raise ModuleNotFoundError("No module named 'picows'", name="picows")

    monkeypatch.setattr(cli, "import_module", no_picows)
    assert cli.main(["planted"]) == 3
    said = capsys.readouterr().err
    assert "needs the Python package picows" in said
    assert said.endswith("pip install 'tickpath[bench]'\n")


def test_cli_extra_that_is_missing_while_it_runs_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = ModuleNotFoundError("No module named 'pyarrow.csv'", name="pyarrow.csv")
    plant_command(monkeypatch, missing)
    assert cli.main(["planted"]) == 3
    assert capsys.readouterr().err == (
        "tickpath: `tickpath planted` needs the Python package pyarrow, which is not installed: "
        "pip install 'tickpath[export]'\n"
    )


def test_cli_bench_whose_contender_is_missing_starts_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Contenders are processes of their own: the lack would be a traceback of theirs."""
    monkeypatch.setitem(sys.modules, "picows", None)
    assert cli.main(["bench", "echo"]) == 3
    assert capsys.readouterr().err.endswith("pip install 'tickpath[bench]'\n")


def test_cli_extras_are_those_of_the_project() -> None:
    """Each optional package of pyproject.toml, by the name that is imported."""
    imported_as = {"order-book": "order_book", "pyzmq": "zmq"}
    with (ROOT / "pyproject.toml").open("rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"]
    wanted = {
        imported_as.get(name, name): extra
        for extra in ("bench", "export")
        for name in (one.partition(">")[0] for one in extras[extra])
    }
    assert wanted == cli.EXTRA_OF


def test_cli_version_is_the_wheels() -> None:
    done = subprocess.run(["tickpath", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"tickpath {metadata.version('tickpath')}\n"
    assert tickpath.__version__ == metadata.version("tickpath")


def test_cli_runs_as_a_module_too() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tickpath", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"tickpath {tickpath.__version__}\n"


def test_cli_help_imports_no_command() -> None:
    program = (
        "import sys\nfrom tickpath.engine import cli\n"
        "try:\n    cli.main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print([n for n, (m, _) in cli.COMMANDS.items() if m in sys.modules], file=sys.stderr)\n"
        "print('numpy' in sys.modules or 'rich' in sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stderr == "[]\nFalse\n"
