"""The command line as a whole: help, exit status, errors in one line."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from conftest import dicore_cli, dicore_command
from dicore.cli import app

STORE_VERBS = ["ls", "export", "verify", "rebuild", "stats"]
COMMANDS = [[verb] for verb in app.VERBS] + [["store", verb] for verb in STORE_VERBS]


def dicore(*args: str) -> subprocess.CompletedProcess[str]:
    return dicore_cli(*args, check=False, env={"COLUMNS": "100", "NO_COLOR": "1"})


@pytest.mark.parametrize("verb", COMMANDS, ids=" ".join)
def test_help_of_every_verb_has_an_example_that_begins_with_the_verb(verb: list[str]) -> None:
    result = dicore(*verb, "--help")
    assert result.returncode == 0
    assert "Example" in result.stdout
    assert f"dicore {' '.join(verb)} " in result.stdout.replace("\n", " ") + " "
    assert dicore(*verb, "-h").stdout == result.stdout


def test_root_help_lists_every_verb_with_the_first_line_of_its_own_help() -> None:
    result = dicore("--help")
    assert result.returncode == 0
    for verb, summary in app.VERBS.items():
        assert summary in result.stdout
        target = getattr(importlib.import_module(f"dicore.cli.{verb}"), verb)
        text = target.info.help if isinstance(target, typer.Typer) else inspect.getdoc(target)
        assert (text or "").splitlines()[0] == summary


def test_root_help_imports_nothing_of_the_engine() -> None:
    probe = (
        "import sys; from dicore.cli.app import run; status = run(['--help']);"
        "heavy = {'asyncio', 'numpy', 'pydicom', 'imagecodecs', 'uvloop', 'sqlite3'} & set(sys.modules);"
        "engine = [name for name in sys.modules if name.startswith('dicore.') and not name.startswith('dicore.cli')];"
        "sys.exit(str((status, heavy, engine)) if status or heavy or engine != ['dicore.errors'] else 0)"
    )
    result = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_verbs_import_the_engine_only_when_they_run() -> None:
    """At module level a verb imports the standard library, Typer, its siblings and what costs nothing."""
    cheap = {"dicore.errors", "dicore.net.address"}
    for file in Path(app.__file__).parent.glob("*.py"):
        for node in ast.parse(file.read_text()).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                root = name.partition(".")[0]
                assert root not in {"numpy", "asyncio", "pydicom", "rich", "uvloop"}, f"{file.name} imports {name}"
                assert root != "dicore" or name.startswith("dicore.cli") or name in cheap, f"{file.name} imports {name}"


@pytest.mark.parametrize(
    "args",
    [
        ["nonsense"],
        ["dump"],
        ["dump", "--nonsense"],
        ["echo", "no-port@"],
        ["echo", "http://host:80"],
        ["echo", "host", "70000"],
        ["echo", "A@host:104", "-aec", "B"],
        ["echo", "-aet", "A TITLE THAT IS TOO LONG", "host", "104"],
        ["send", "does-not-exist", "--to", "A@host:104"],
        ["send", ".", "--to", "A@:104"],
        ["serve"],
        ["serve", "x", "--port", "70000"],
        ["serve", "x", "--durability", "perhaps"],
        ["serve", "x", "--allow-net", "10.0.0.0/33"],
        ["store", "verify", "does-not-exist"],
        ["store", "ls", ".", "PatientName"],
        ["synth", "x", "--modality", "XX"],
    ],
    ids=" ".join,
)
def test_what_the_command_line_gets_wrong_is_status_2_and_told_on_stderr(args: list[str]) -> None:
    result = dicore(*args)
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert result.stderr.strip()


def test_version() -> None:
    from dicore import __version__

    assert dicore("--version").stdout == f"dicore {__version__}\n"


def test_a_failure_is_one_line_and_debug_gives_the_traceback() -> None:
    result = dicore("serve", "store", "--host", "0.0.0.0", "--port", "0")
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("dicore: ")
    assert all(way in result.stderr for way in ("--allow-ae", "--allow-net", "--insecure"))
    for args in (
        ["--debug", "serve", "store", "--host", "0.0.0.0"],
        ["serve", "store", "--host", "0.0.0.0", "--debug"],
    ):
        result = dicore(*args)
        assert result.returncode == 1
        assert "Traceback" in result.stderr


def test_a_reader_that_has_enough_is_no_error() -> None:
    """stdout is a pipe nobody reads: no traceback, no complaint."""
    process = subprocess.Popen(
        [*dicore_command(), "codecs", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(30) in (0, 1)
    process.stderr.close()
