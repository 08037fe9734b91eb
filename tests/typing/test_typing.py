"""The public names have the types that expected_types.py states, by mypy in strict mode."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def test_mypy_agrees(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), "--no-error-summary",
               "--cache-dir", os.environ.get("MYPY_CACHE_DIR", str(tmp_path)), "--warn-unused-ignores"]  # fmt: skip
    done = subprocess.run([*command, str(HERE / "expected_types.py")], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
