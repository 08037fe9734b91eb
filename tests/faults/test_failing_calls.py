"""System calls that fail one time in a hundred (T6): reads, writes, syncs, truncations, renames, allocations, maps;
short
transfers; EINTR."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from faults import HERE, Shim, count, result, shim

__all__ = ["shim"]
SEEDS = count(2, 10, 200)


@pytest.mark.timeout(3600)
def test_t6_every_call_that_fails_ends_in_an_error_of_ours_and_loses_nothing(shim: Shim, tmp_path):
    failed = operations = 0
    for seed in range(SEEDS):
        shim.set(seed=seed * 1_000_003, failed=0)
        store = tmp_path / "under" / str(seed)
        command = [sys.executable, str(HERE / "failing_calls.py"), str(store), str(seed), "1000", str(shim.control)]
        done = subprocess.run(command, env=os.environ | shim.env, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"seed {seed}: {done.stdout[-500:]}{done.stderr[-3000:]}"
        said = json.loads(done.stdout)
        operations += sum(said["done"].values())
        failed += shim.get("failed")
        assert sum(said["failed"].values()) < 1000
        subprocess.run(["rm", "-r", store], check=True)
    assert failed > 10 * SEEDS
    result(
        "T6", SEEDS, f"{operations} operations, {failed} failed calls, each an error of ours; nothing lost or damaged"
    )
