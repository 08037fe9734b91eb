"""SIGKILL at a random moment (T1), and at each of the points where it could matter most (T2)."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from busy_store import content

from dicore.store import Store
from faults import HERE, count, result

sys.path.insert(0, str(HERE.parent / "store"))
from instances import body

ROUNDS = count(4, 40, 500)
TIMES = count(1, 1, 20)
POINTS = {
    "before-write": 40, "after-write": 40, "before-sync": 40, "after-sync": 40, "segment-made": 3, "index-commit": 3,
    "delete-half": 20, "compact-copied": 1, "compact-synced": 1, "compact-named": 1, "compact-moved": 1,
    "compact-unlinked": 2, "lane-written": 4, "lane-named": 4, "seal-begun": 3, "seal-named": 3, "mark-removing": 1,
    "close-marking": 1, "repaired": 1,
}  # fmt: skip  # how often it is passed before long: the process dies at one of these


class Log:
    """What busy stores have said so far."""

    def __init__(self) -> None:
        self.appended: set[str] = set()
        self.doomed: set[str] = set()
        self.deleted: set[str] = set()

    def take(self, output: bytes) -> None:
        for line in output.split(b"\n")[:-1]:
            what, _, uid = line.decode().partition(" ")
            {"A": self.appended, "d": self.doomed, "D": self.deleted}[what].add(uid)

    def check(self, path: Path) -> int:
        """All that was acknowledged is there, what was deleted is not, nothing is half there; twice."""
        held: list[dict[str, bytes]] = []
        for turn in range(2):
            with Store(path, segment_size=1 << 20) as store:
                if turn:
                    assert store.recovered == []
                report = store.verify()
                assert report.ok, report.problems
                held.append({uid: body(file) for uid, file in store.scan_source()})
                assert {row["SOPInstanceUID"] for row in store.find("IMAGE")} == held[-1].keys()
        assert held[0] == held[1]
        lost = self.appended - self.doomed - held[0].keys()
        assert not lost, f"{len(lost)} acknowledged instances are lost"
        assert not self.deleted & held[0].keys(), "deleted instances are there again"
        assert all(content(uid) == data for uid, data in held[0].items()), "damaged or foreign"
        return len(held[0])


def busy(path: Path, seed: int, *operations: str, **env: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(HERE / "busy_store.py"), str(path), str(seed), *operations]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | env)


@pytest.mark.timeout(3600)
def test_t1_killed_at_a_random_moment(tmp_path: Path) -> None:
    chance, log = random.Random(1), Log()
    acknowledged = 0
    for turn in range(ROUNDS):
        process = busy(tmp_path / "s", turn)
        assert process.stdout
        wanted, output = chance.randrange(1, 300), b""
        while output.count(b"\n") < wanted and (more := os.read(process.stdout.fileno(), 1 << 16)):
            output += more
        threading.Event().wait(chance.uniform(0, 0.02))
        process.send_signal(signal.SIGKILL)
        output += process.stdout.read()
        assert process.wait() == -signal.SIGKILL, process.stderr and process.stderr.read().decode()[-2000:]
        process.stdout.close()
        process.stderr and process.stderr.close()
        log.take(output)
        if turn % 4 == 3 or turn == ROUNDS - 1:
            log.check(tmp_path / "s")
        if turn % 40 == 39:
            acknowledged += len(log.appended)
            shutil.rmtree(tmp_path / "s")
            log = Log()
    acknowledged += len(log.appended)
    result("T1", ROUNDS, f"{acknowledged} acknowledged, 0 lost, 0 damaged")


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("point", POINTS)
def test_t2_killed_at_each_point(tmp_path: Path, point: str) -> None:
    """It dies at the n-th passing, n at random; and is opened again while the same point is armed once more."""
    chance, deaths, acknowledged = random.Random(point), 0, 0
    for turn in range(TIMES + 4):  # how often a point is passed is chance: a few more where it was not
        if turn >= TIMES and deaths > TIMES // 2:
            break
        log = Log()
        first = busy(tmp_path / "s", 2 * turn, "400") if point == "repaired" else None
        if first is not None:  # something to repair: killed while it writes
            assert first.stdout
            output = os.read(first.stdout.fileno(), 1 << 16)
            first.kill()
            log.take(output + first.communicate()[0])
            tear(tmp_path / "s")
        process = busy(
            tmp_path / "s", 2 * turn + 1, "1200", DICORE_FAILPOINT=f"{point}:{chance.randrange(1, POINTS[point] + 1)}"
        )
        output, said = process.communicate(timeout=300)
        assert process.returncode in (0, -signal.SIGKILL), said.decode()[-2000:]
        deaths += process.returncode != 0
        log.take(output)
        if (tmp_path / "s/segments").exists():
            log.check(tmp_path / "s")
            shutil.rmtree(tmp_path / "s")
        acknowledged += len(log.appended)
    assert deaths > TIMES // 2, "the point is not passed"
    result(f"T2 {point}", TIMES, f"{deaths} deaths, {acknowledged} acknowledged, 0 lost, 0 damaged")


def tear(path: Path) -> None:
    """Half of a record behind the last one, as a write that was cut short leaves it."""
    with Store(path, read_only=True) as store:
        ends = {n: end for n, end in store._readable().items() if not (path / f"segments/{n:010d}.idx").exists()}
    for number, end in ends.items():
        with open(path / f"segments/{number:010d}.seg", "r+b") as file:
            file.seek(end)
            file.write(b"DCIR\1\0\0\0" + bytes(100) + b"torn")
            (path / f"segments/{number:010d}.mark").unlink(missing_ok=True)
