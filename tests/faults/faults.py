"""How often each fault is injected, and what came of it.

DICORE_FAULTS=all takes the counts of `make test-faults`, DICORE_FAULTS=torture those of `make torture`, without it
`make test` does a part. DICORE_TORTURE (0.5 in the Makefile) multiplies the counts of the last (0.1: a tenth). Results
go to the file DICORE_FAULTS_REPORT, a line of JSON each.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
MODE = os.environ.get("DICORE_FAULTS", "")
SCALE = float(os.environ.get("DICORE_TORTURE", "1"))


def count(part: int, every: int, torture: int) -> int:
    """Of the three the one that is wanted here."""
    return {"": part, "all": every}.get(MODE, max(every, round(torture * SCALE)))


def result(test: str, many: int, text: str) -> None:
    print(f"\n{test}: {many}: {text}")
    if report := os.environ.get("DICORE_FAULTS_REPORT"):
        with open(report, "a") as file:
            file.write(json.dumps({"test": test, "count": many, "mode": MODE or "part", "result": text}) + "\n")


def need(*programs: str) -> None:
    """What the disks need; without it the test is absent."""
    import disks

    from conftest import absent

    if lacking := disks.missing(*programs):
        absent(f"needs {', '.join(lacking)}")
    probe = subprocess.run(["unshare", "--mount", "true"], capture_output=True, text=True)
    if probe.returncode:
        absent(f"no mount namespace can be made here: {probe.stderr.strip()}")


@pytest.fixture(scope="module")
def private() -> None:
    """Mounts that nobody else sees."""
    import disks

    disks.private_mounts()


KINDS = ("read", "write", "datasync", "sync", "folder_sync", "truncate", "rename", "allocate", "sendfile", "map",
         "short", "interrupt", "full", "seed", "failed")  # fmt: skip


class Shim:
    """The library of shim.c, built in `folder`, for processes that get `env`. shim.set(write=-3): its third write from
    now fails."""

    def __init__(self, folder: Path, under: Path) -> None:
        from conftest import absent

        compiler = shutil.which("gcc") or shutil.which("cc")
        if compiler is None:
            absent("no C compiler")
        self.library, self.control = folder / "shim.so", folder / "shim.control"
        self.control.write_bytes(bytes(4 * len(KINDS)))
        built = [str(compiler), "-O1", "-shared", "-fPIC", "-w", str(HERE / "shim.c"), "-o", str(self.library), "-ldl"]
        subprocess.run(built, check=True)
        self.env = {"LD_PRELOAD": str(self.library), "SHIM_CONTROL": str(self.control), "SHIM_UNDER": str(under)}

    def set(self, **kinds: int) -> None:
        with open(self.control, "r+b", buffering=0) as file:
            for kind, value in kinds.items():
                file.seek(4 * KINDS.index(kind))
                file.write(struct.pack("<i", value))

    def get(self, kind: str) -> int:
        with open(self.control, "rb") as file:
            file.seek(4 * KINDS.index(kind))
            return int(struct.unpack("<i", file.read(4))[0])


@pytest.fixture
def shim(tmp_path: Path) -> Shim:
    (tmp_path / "under").mkdir()
    return Shim(tmp_path, tmp_path / "under")


if __name__ == "__main__":  # the results as a table
    for line in sorted(Path(sys.argv[1]).read_text().splitlines()):
        found = json.loads(line)
        print(f"| {found['test']} | {found['count']} | {found['result']} |")
