"""The n-th allocation fails, in every C test that has any, under ASan, UBSan and LSan (T7): no crash, no leak."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from conftest import ROOT, absent
from faults import MODE, count, result

BUILD = ROOT / "build/asan"
MOST = count(4, 40, 200)  # of each program, evenly over all its allocations
SANITIZERS = {
    "ASAN_OPTIONS": "detect_leaks=1:exitcode=99:allocator_may_return_null=1",
    "UBSAN_OPTIONS": "halt_on_error=1:exitcode=99",
    "LSAN_OPTIONS": "exitcode=99",
}
SLOW = {"test_recover", "test_segment", "test_engine", "test_part10"}  # seconds each


def programs() -> list[str]:
    return sorted(path.stem for path in (ROOT / "csrc/tests").glob("test_*.c"))


def refuse(program: Path, nth: int) -> subprocess.CompletedProcess[str]:
    env = os.environ | SANITIZERS | {"DICORE_REFUSE": str(nth)}
    return subprocess.run([str(program)], env=env, capture_output=True, text=True, timeout=300, cwd=ROOT)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", programs())
def test_t7_an_allocation_that_is_refused(name: str) -> None:
    program = BUILD / name
    if not program.exists():
        absent(f"{program} is not built: make test-c")
    sound = refuse(program, 0)
    assert sound.returncode == 0, sound.stderr[-2000:]
    total = int(sound.stdout.rsplit("\n", 2)[-2].split()[0])
    most = MOST if name not in SLOW else max(1, MOST // 8)
    chosen = sorted({1 + n * total // most for n in range(most)} if total > most else range(1, total + 1))
    for nth in chosen:
        done = refuse(program, nth)
        assert done.returncode in (0, 1), f"allocation {nth} of {total}: {done.returncode}: {done.stderr[-3000:]}"
    if total and MODE:
        result(f"T7 {name}", len(chosen), f"of {total} allocations: no crash, no leak")
