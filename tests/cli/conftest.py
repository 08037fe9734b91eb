"""Running the command as its users do: as a process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Dicore = Callable[..., "subprocess.CompletedProcess[str]"]
Command = Callable[..., "list[str]"]


@pytest.fixture
def command() -> Command:
    """`command(*args)`: the command line that runs `dicore` with the package under test."""
    return lambda *args: [sys.executable, "-m", "dicore", *map(str, args)]


@pytest.fixture
def dicore(tmp_path: Path, command: Command) -> Dicore:
    """`dicore(*args, input=None)`: run the command in an empty folder and wait for it."""
    folder = tmp_path / "cwd"
    folder.mkdir()

    def run(*args: object, **options: Any) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
        return subprocess.run(
            command(*args), capture_output=True, text=True, cwd=folder, env=environment, timeout=60, check=False, **options
        )

    return run
