"""The power goes (T3): by replay of recorded block writes, and by shutting the file system down (T3b)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import disks
import pytest
from test_durable import SMALL, Senders, instances, kept, shares

from conftest import Serving
from faults import HERE, MODE, count, need, private, result

__all__ = ["private"]
RECORDING = ("qemu-storage-daemon", "mkfs.ext4", "unshare", "losetup")
CUTS = 0 if MODE == "torture" else count(4, 10, 10)  # 0: all of every flush
RECOVERIES = count(1, 1, 10)


def power_cuts(*options: str, env: dict[str, str] | None = None) -> dict[str, object]:
    command = ["unshare", "--mount", sys.executable, str(HERE / "powercut.py"), *options]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | (env or {}))
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(said, dict)
    return said


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("means", ["direct", "datasync"])
def test_t3_nothing_acknowledged_is_lost_by_a_power_cut(driver: str, means: str) -> None:
    """Column B: every flush, five cuts each. What was acknowledged before a cut is there after it, whole, twice in a
    row, and also when the power goes again while the store is opened."""
    need(*RECORDING)
    instances = 300 if MODE and (driver, means) == ("engine", "direct") else 100
    said = power_cuts(
        *("--driver", driver, "--instances", str(instances), "--cuts", str(CUTS), "--recovery", str(RECOVERIES)),
        *("--per-flush", str(count(1, 1, 5)), "--seed", str(3 if MODE == "torture" else 1)),
        env={"DICORE_COMMIT": "datasync"} if means == "datasync" else None,
    )
    assert said["acknowledged"] == instances
    assert said["wrong"] == []
    assert (said["lost"], said["recovery_lost"], said["cuts_with_damage"]) == (0, 0, 0)
    if means == "direct":  # one write for a group: no half of it stays in the middle of a segment
        assert said["cuts_with_torn"] == 0
    cuts = said["cuts"] + said["recovery_cuts"]  # type: ignore[operator]
    assert int(cuts) >= CUTS + RECOVERIES
    text = (
        f"{said['flushes']} flushes, {said['recovery_cuts']} of the cuts while recovering; {said['due']} due, 0 lost, "
    )
    text += f"bytes never acknowledged named by verify after {said['cuts_with_torn']}"
    result(f"T3 {driver} {means}", int(cuts), text)


@pytest.mark.timeout(600)
def test_t3_relaxed_may_lose_and_never_damages() -> None:
    """And so the harness finds what is lost."""
    need(*RECORDING)
    options = ("--durability", "relaxed", "--instances", "160", "--moments", str(count(4, 10, 100)), "--pace", "0.05")
    said = power_cuts(*options)
    assert said["cuts_with_damage"] == 0, said["wrong"]
    assert said["lost"] != 0
    result("T3 relaxed", int(said["cuts"]), f"{said['lost']} of {said['due']} lost, 0 damaged")  # type: ignore[call-overload]


@pytest.mark.timeout(3600)
@pytest.mark.skipif(MODE != "torture", reason="of peers, in `make torture` only")
@pytest.mark.parametrize("receiver", ["storescp", "dcmqrscp", "orthanc", "dicore"])
def test_t23_the_same_for_others(receiver: str) -> None:
    """One minute of eight associations that send now and then, 100 cuts at random moments."""
    need(*RECORDING, "storescp", "dcmqrscp", "Orthanc")
    instances = str(count(100, 100, 600))
    options = ("--receiver", receiver, "--instances", instances, "--pace", "0.8", "--moments", str(count(5, 5, 100)))
    said = power_cuts(*options)
    if receiver == "dicore":
        assert said["lost"] == said["cuts_with_damage"] == 0, said["wrong"]
    cuts, lost, damaged = said["cuts_with_loss"], said["lost"], said["cuts_with_damage"]
    text = f"{said['version']}: {lost} of {said['due']} lost, in {cuts} of the cuts; damaged files in {damaged}"
    result(f"T23 {receiver}", int(said["cuts"]), text)  # type: ignore[call-overload]


@pytest.mark.timeout(3600)
@pytest.mark.usefixtures("private")
@pytest.mark.parametrize("system", ["ext4", "xfs"])
def test_t3b_the_file_system_is_shut_down(serve: Serving, tmp_path: Path, system: str) -> None:
    """Everything behind the last flush is lost at a random moment, with or without the journal of that moment."""
    need("mkfs.ext4", "mkfs.xfs", "losetup")
    acknowledged = 0
    rounds = count(1, 3, 50)  # of each file system with each driver
    for turn in range(rounds):
        make = disks.ext4 if system == "ext4" else disks.xfs
        image, place, sent = make(tmp_path / "disk.img", 320 << 20), tmp_path / "m", instances(1000 * turn, 400)
        with disks.mounted(image, place):
            server = serve(place / "store", command=[*SMALL, "--segment-size", str(4 << 20)])
            senders = Senders(server.port, shares(sent))
            while len(senders.statuses) < 20 + turn * 37 % 300 and not senders.errors:
                pass
            disks.shut_down(place, 1 + turn % 2)
            senders.wait()
            assert set(senders.statuses.values()) <= {0, 0xA700}
            assert server.process.poll() is None, server.log.read_text()[-2000:]
            server.kill()
        with disks.mounted(image, place):
            held, again = kept(place / "store"), kept(place / "store")
        assert held == again
        lost = senders.acknowledged - held.keys()
        assert not lost, f"{len(lost)} acknowledged instances are lost"
        assert all(sent[name] == data for name, data in held.items())
        acknowledged += len(senders.acknowledged)
    result(f"T3b {system}", rounds, f"{acknowledged} acknowledged, 0 lost, 0 damaged")
