"""What a crash, a full disk, a failing sync and rotten bytes leave, and what becomes of it."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from instances import CT, EXPLICIT, body, data_set, store_one, uid

from dicore import StoreCorrupt, StoreError, StoreFull
from dicore.store import Store
from dicore.store.files import read_mark, read_sidecar, segment_name

HERE = Path(__file__).parent

WRITER = """
    import os, sys, threading
    sys.path.insert(0, {here!r})
    from instances import CT, EXPLICIT, data_set, uid
    from dicore.store import Store
    store = Store(sys.argv[1], durability=sys.argv[2], segment_size=1 << 20)
    out = threading.Lock()
    def done(results):
        with out:
            os.write(1, "".join(f"{{token}}\\n" for token, error in results if error is None).encode())
    room = threading.Semaphore(16)
    def acked(results):
        done(results)
        room.release(len(results))
    for i in range(int(sys.argv[3])):
        name, side = uid(), 60 + i % 100
        token = f"{{name}} {{side}} {{i}}"
        room.acquire()
        if store.append(CT, name, EXPLICIT, [data_set(name, side=side, seed=i)], done=acked, token=token):
            acked([(token, None)])
    store.sync_index()
    store.close()
"""


def writer(path: Path, durability: str, count: int, **env: str) -> subprocess.Popen[bytes]:
    code = textwrap.dedent(WRITER.format(here=str(HERE)))
    return subprocess.Popen(
        [sys.executable, "-c", code, str(path), durability, str(count)],
        stdout=subprocess.PIPE,
        env={**os.environ, **env},
    )


def check_acknowledged(path: Path, lines: list[bytes]) -> int:
    """Everything acknowledged is there, bit by bit, and nothing is damaged. Returns how many instances there are."""
    with Store(path) as store:
        for line in lines:
            name, side, seed = line.decode().split()
            assert body(store.record(name)) == data_set(name, side=int(side), seed=int(seed))
        report = store.verify()
        assert report.ok, report.problems
        assert report.instances == len(store)
        names = sorted(store)
        assert sorted(row["SOPInstanceUID"] for row in store.find("IMAGE")) == names
    with Store(path) as store:  # what was repaired is found whole
        assert store.recovered == []
        assert sorted(store) == names
    return len(names)


@pytest.mark.parametrize("durability", ["durable", "relaxed"])
def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path, durability):
    rng = random.Random(durability)
    acknowledged: list[bytes] = []
    for _ in range(5):
        with writer(tmp_path / "store", durability, 100_000) as process:
            assert process.stdout
            wanted = rng.randrange(1, 400)
            lines = [process.stdout.readline() for _ in range(wanted)]
            process.send_signal(signal.SIGKILL)
            lines += [line for line in process.stdout.read().splitlines(keepends=True) if line.endswith(b"\n")]
            assert process.wait() == -signal.SIGKILL
            acknowledged += lines
    assert check_acknowledged(tmp_path / "store", acknowledged) >= len(acknowledged)


POINTS = ["before-write", "after-write", "before-sync", "after-sync", "segment-made", "index-commit"]


@pytest.mark.parametrize("durability", ["durable", "relaxed"])
@pytest.mark.parametrize("point", POINTS)
def test_death_at_each_point(tmp_path, point, durability):
    acknowledged: list[bytes] = []
    for nth in (1, 3) if point in ("segment-made", "index-commit") else (1, 7):
        with writer(tmp_path / "store", durability, 600, DICORE_FAILPOINT=f"{point}:{nth}") as process:
            output, _ = process.communicate(timeout=60)
            if process.returncode:
                assert process.returncode == -signal.SIGKILL
            acknowledged += output.splitlines()
    check_acknowledged(tmp_path / "store", acknowledged)


def one_segment(path: Path, count: int = 6) -> tuple[Path, list[tuple[str, int, int, bytes]]]:
    """A closed store of one segment: its file, and (uid, offset, size of the record, data set) of each record."""
    with Store(path) as store:
        made = [store_one(store, side=20 + i, seed=i) for i in range(count)]
        store.sync_index()
        rows = []
        for name, data in made:
            ((_, offset),) = store._places(name)
            rows.append((name, offset, len(store.record(name)), data))
    return path / "segments" / segment_name(1), rows


def flip(file: Path, offset: int, bit: int = 0) -> None:
    with open(file, "r+b") as stream:
        stream.seek(offset)
        byte = stream.read(1)[0]
        stream.seek(offset)
        stream.write(bytes([byte ^ (1 << bit)]))


def forget_mark(path: Path) -> None:
    for mark in (path / "segments").glob("*.mark"):
        mark.unlink()


@pytest.mark.parametrize("marked", [True, False])
def test_a_flipped_bit_is_named_and_its_neighbours_are_read(tmp_path, marked):
    segment, rows = one_segment(tmp_path / "store")
    rng = random.Random(8)
    if not marked:
        forget_mark(tmp_path / "store")
    for _ in range(60):
        name, offset, size, _ = rng.choice(rows[:-2])
        place, bit = offset + rng.randrange(64 + size + 4), rng.randrange(8)
        flip(segment, place, bit)
        with Store(tmp_path / "store", read_only=True) as store:
            report = store.verify()
            assert not report.ok
            assert len(report.problems) == 1
            problem = report.problems[0]
            assert problem.segment == segment.name
            assert offset <= place < problem.offset + problem.size
            if place >= offset + 64:
                assert problem.offset == offset
                assert problem.uid == name or problem.uid.startswith("UID hash")
            with pytest.raises((StoreCorrupt, KeyError)):
                store[name]
            for other, _, _, data in rows:
                if other != name:
                    assert body(store.record(other)) == data
        flip(segment, place, bit)
    with Store(tmp_path / "store") as store:
        assert store.verify().ok


def test_opening_names_damage_and_leaves_it_alone(tmp_path):
    segment, rows = one_segment(tmp_path / "store")
    flip(segment, rows[1][1] + 200)
    forget_mark(tmp_path / "store")
    with Store(tmp_path / "store") as store:
        assert [(p.offset, p.uid) for p in store.recovered] == [(rows[1][1], rows[1][0])]
        assert len(store) == 5
        assert rows[1][0] not in store
        store_one(store, side=21, seed=1, sop_instance=rows[1][0])  # sent again, it is whole again
        assert body(store.record(rows[1][0])) == data_set(rows[1][0], side=21, seed=1)
        assert not store.verify().ok  # the damage is still there to be seen


def test_a_cut_file_is_reported_and_not_written_again(tmp_path):
    segment, rows = one_segment(tmp_path / "store")
    os.truncate(segment, rows[3][1] + 500)
    for _ in range(2):
        with Store(tmp_path / "store") as store:
            assert store.recovered
            assert not store.verify().ok
            for name, _, _, data in rows[:3]:
                assert body(store.record(name)) == data
            assert len(store) == 3 + store._places(rows[0][0])[0][0] - 1
            assert sorted(row["SOPInstanceUID"] for row in store.find("IMAGE")) == sorted(store)
    with Store(tmp_path / "store") as store:
        name, _ = store_one(store)
        assert store._places(name)[0][0] == 2


@pytest.mark.parametrize("what", ["zeros", "noise", "version"])
def test_a_segment_that_cannot_be_read_does_not_hide_the_others(tmp_path, what):
    segment, _ = one_segment(tmp_path / "store")
    with Store(tmp_path / "store") as store, Store(tmp_path / "store") as second:
        name, data = store_one(second)
        assert store
    if what == "version":
        flip(segment, 8, 1)
    else:
        with open(segment, "r+b") as stream:
            stream.write(bytes(4096) if what == "zeros" else os.urandom(4096))
    if what == "version":  # refused with the reason: it may be newer than us
        with pytest.raises(StoreError, match="another version"):
            Store(tmp_path / "store")
        return
    with Store(tmp_path / "store") as store:
        assert any("not a readable segment" in p.message for p in store.recovered)
        assert not store.verify().ok
        assert list(store) == [name]
        assert body(store.record(name)) == data
        assert segment.exists()


def test_a_torn_tail_is_repaired_and_the_segment_continued(tmp_path):
    segment, rows = one_segment(tmp_path / "store")
    forget_mark(tmp_path / "store")
    name, offset, size, _ = rows[-1]
    with open(segment, "r+b") as stream:  # as if only the first half of the last record had reached the disk
        stream.seek(offset + size // 2)
        stream.write(bytes(size))
    with Store(tmp_path / "store") as store:
        assert [p.uid for p in store.recovered] == [name]
        assert "cut its write short" in store.recovered[0].message
        assert name not in store
        assert len(store) == 5
        again, _ = store_one(store)
        assert store._places(again)[0][0] == 1
        assert store.verify().ok


def test_sidecars_are_made_anew_and_never_trusted_blindly(tmp_path):
    with Store(tmp_path / "store", segment_size=1 << 20) as store:
        stored = dict(store_one(store, side=300, seed=i) for i in range(12))
    folder = os.open(tmp_path / "store" / "segments", os.O_RDONLY)
    try:
        sidecar = read_sidecar(folder, 1)
        assert sidecar is not None
        for file in sorted((tmp_path / "store" / "segments").glob("*.idx")):
            raw = file.read_bytes()
            for damage in (b"", raw[:50], raw[:-1], raw[:70] + bytes([raw[70] ^ 1]) + raw[71:], b"x" * 500):
                file.write_bytes(damage)
                assert read_sidecar(folder, int(file.stem)) is None
                with Store(tmp_path / "store") as store:
                    assert sorted(store) == sorted(stored)
                    assert store.verify().ok
        with Store(tmp_path / "store") as store:
            assert store.rebuild() == 12
        assert read_sidecar(folder, 1) == sidecar
    finally:
        os.close(folder)


def test_a_mark_of_a_clean_end_is_not_believed_once_the_segment_goes_on(tmp_path):
    one_segment(tmp_path / "store")
    folder = os.open(tmp_path / "store" / "segments", os.O_RDONLY)
    try:
        mark = read_mark(folder, 1)
        assert mark
        assert mark.clean
        with Store(tmp_path / "store"):
            assert read_mark(folder, 1) is None
    finally:
        os.close(folder)


@pytest.mark.parametrize("commit", ["direct", "datasync"])
def test_a_failed_sync_acknowledges_nothing_and_seals_the_segment(tmp_path, monkeypatch, commit):
    monkeypatch.setenv("DICORE_FAILPOINT", "sync-error:3")
    monkeypatch.setenv("DICORE_COMMIT", commit)
    with Store(tmp_path / "store") as store:
        kept = dict(store_one(store, seed=i) for i in range(2))
        lost = uid()
        with pytest.raises(StoreError, match="sync failed"):
            store_one(store, sop_instance=lost)
        assert lost not in store
        assert all(body(store.record(name)) == data for name, data in kept.items())  # reading goes on
        _, data = store_one(store, sop_instance=lost)
        kept[lost] = data
        assert store._places(lost)[0][0] == 2
        assert store.stats()["failed_syncs"] == 1
    monkeypatch.delenv("DICORE_FAILPOINT")
    with Store(tmp_path / "store") as store:
        assert sorted(store) == sorted(kept)
        assert store.verify().instances == 3
        assert store.recovered == []


def test_relaxed_storing_stops_when_a_sync_has_failed(tmp_path, monkeypatch):
    monkeypatch.setenv("DICORE_FAILPOINT", "sync-error:1")
    with Store(tmp_path / "store", durability="relaxed") as store:
        name, data = store_one(store)
        for _ in range(200):
            if store.stats()["failed_syncs"]:
                break
            threading.Event().wait(0.05)
        with pytest.raises(StoreError, match="reopen"):
            store_one(store)
        assert body(store.record(name)) == data


def test_a_full_disk_is_said_once_and_storing_goes_on_when_there_is_room(tmp_path):
    mount = tmp_path / "small"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=24M", "dicore-test", str(mount)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs root and mount(8) for a small tmpfs")
    try:
        with Store(mount / "store", segment_size=8 << 20) as store:
            stored = {}
            ballast = mount / "ballast"
            ballast.write_bytes(bytes(6 << 20))
            refused = 0
            for i in range(200):
                try:
                    name, data = store_one(store, side=300, seed=i)
                    stored[name] = data
                except StoreFull:
                    refused += 1
            assert len(stored) > 20
            assert refused > 20
            for name, data in stored.items():
                assert body(store.record(name)) == data
            with pytest.raises(StoreFull):
                store_one(store, side=300)
            ballast.unlink()
            name, data = store_one(store, side=300)
            stored[name] = data
            assert sorted(store) == sorted(stored)
            assert store.verify().ok
        with Store(mount / "store", segment_size=8 << 20) as store:
            assert sorted(store) == sorted(stored)
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=False)


def test_a_write_that_fails_is_said_and_the_next_goes_elsewhere(tmp_path, monkeypatch):
    for name, error in (("write-full", StoreFull), ("write-error", StoreError)):
        monkeypatch.setenv("DICORE_FAILPOINT", f"{name}:2")
        with Store(tmp_path / name) as store:
            store_one(store)
            with pytest.raises(error):
                store_one(store)
            store_one(store)
            assert len(store) == 2
            assert store.verify().ok


def test_leftovers_of_dead_writers_are_removed_and_those_of_living_ones_are_not(tmp_path):
    with Store(tmp_path / "store") as store:
        segments = tmp_path / "store" / "segments"
        (segments / ".0123456789abcdef.lane").write_bytes(b"half an instance")
        lane = store.lane(CT, uid(), EXPLICIT)
        lane.write([b"data"])
        with Store(tmp_path / "store"):
            left = [name for name in os.listdir(segments) if name.startswith(".")]
            assert len(left) == 1
            assert left != [".0123456789abcdef.lane"]
        lane.abort()


def test_reads_survive_a_segment_that_is_cut_under_them(tmp_path):
    """The map may die in the hands of whoever holds it; `verify` reads by pread and must not."""
    segment, _ = one_segment(tmp_path / "store")
    code = f"""
import os, json
from dicore.store import Store
store = Store({str(tmp_path / "store")!r})
os.truncate({str(segment)!r}, 5000)
print(json.dumps([str(p) for p in store.verify().problems]))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(result.stdout)


def test_stop_and_start_many_times_is_quick_and_keeps_all(tmp_path):
    names = []
    for i in range(15):
        with Store(tmp_path / "store") as store:
            names.append(store_one(store, seed=i)[0])
    with Store(tmp_path / "store") as store:
        assert sorted(store) == sorted(names)
        assert len(list((tmp_path / "store" / "segments").glob("*.seg"))) <= 2
    with contextlib.suppress(FileNotFoundError):
        (tmp_path / "store" / "nothing").unlink()
