"""The store under faults: a full disk, flipped bits, cut and foreign files, two owners (T5, T8, T9, T20).

How often: faults.py.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dicore.errors import StoreCorrupt, StoreError, StoreFull
from dicore.store import Store
from faults import count, result

sys.path.insert(0, str(Path(__file__).parent.parent / "store"))
from instances import body, store_one


@pytest.fixture
def small_disk(tmp_path):
    """A tmpfs of 64 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", place], capture_output=True)
    if done.returncode:
        pytest.skip("no tmpfs can be mounted here")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.timeout(3600)
def test_t5_fill_delete_compact_fill(small_disk):
    with Store(small_disk / "s", segment_size=16 << 20) as store:
        for cycle in range(count(2, 3, 50)):
            stored: dict[str, bytes] = {}
            with pytest.raises(StoreFull):  # noqa: PT012
                for n in range(1000):
                    name, data = store_one(store, side=512, seed=n, StudyInstanceUID=f"1.2.{cycle}.{n // 20}")
                    stored[name] = data
            assert len(stored) > 40
            for name, data in stored.items():  # reads go on
                assert body(store.record(name)) == data
            rows = [("1.2.840.10008.5.1.4.1.1.2", name) for name in stored]
            assert store.delete_instances(rows) == len(stored)
            assert len(store) == 0
            assert store.compact().removed >= 2
        name, data = store_one(store)  # goes on by itself
        assert body(store.record(name)) == data
        assert store.verify().ok
    with Store(small_disk / "s") as store:
        assert list(store) == [name]
    result("T5", cycle + 1, "filled, deleted, compacted: StoreFull, all reads served, it goes on by itself")


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    """A closed store of one sealed segment; what is in it."""
    path = tmp_path_factory.mktemp("sealed") / "s"
    with Store(path, segment_size=1 << 20) as store:
        sent = dict(store_one(store, side=32, seed=n) for n in range(60))
        store.roll()
    return path, sent


@pytest.mark.timeout(3600)
def test_t8_every_flipped_bit_is_found_and_named(tmp_path, sealed):
    path, sent = sealed
    order = random.Random(8)
    copy = tmp_path / "s"
    shutil.copytree(path, copy)
    with Store(copy, read_only=True) as store:
        (number,) = {segment for segment, _ in store._native.places()}
        places = {offset: size for (_, offset), size in zip(store._native.places(), [0] * 60, strict=True)}
        for name in store:
            ((_, offset),) = store._native.find(name)
            places[offset] = 64 + len(store.record(name)) + 4
        names = {store._native.find(name)[0][1]: name for name in store}
    file = copy / f"segments/{number:010d}.seg"
    with Store(copy, read_only=True) as store:
        for turn in range(count(60, 1000, 20_000)):  # noqa: B007 said at the end
            offset = order.choice(list(places))
            at, bit = offset + order.randrange(places[offset]), 1 << order.randrange(8)
            with open(file, "r+b") as stream:
                stream.seek(at)
                (byte,) = stream.read(1)
                stream.seek(at)
                stream.write(bytes([byte ^ bit]))
            report = store.verify()
            assert not report.ok
            problem = report.problems[0]
            assert problem.offset <= at < problem.offset + problem.size
            if at >= offset + 64 + 300:  # header and file meta can be read
                assert problem.uid == names[offset]
                with pytest.raises(StoreCorrupt):
                    store.record(names[offset])
            other = order.choice([name for o, name in names.items() if o != offset])
            assert body(store.record(other)) == sent[other]
            with open(file, "r+b") as stream:
                stream.seek(at)
                stream.write(bytes([byte]))
        assert store.verify().ok
    result("T8", turn + 1, "flipped bits, each found and named, its neighbours read")


@pytest.mark.timeout(3600)
def test_t9_a_segment_cut_at_any_length(tmp_path, sealed):
    path, sent = sealed
    order = random.Random(9)
    size = next(path.glob("segments/*.seg")).stat().st_size
    with Store(path, read_only=True) as store:
        used = max(store._readable().values())
    for n in range(count(25, 500, 5000)):
        copy = tmp_path / "s"
        shutil.copytree(path, copy)
        length = order.randrange(used) if n % 5 else order.randrange(used, size)
        os.truncate(next(copy.glob("segments/*.seg")), length)
        if n % 2:
            next(copy.glob("segments/*.idx")).unlink()
        with Store(copy) as store:
            found = {name: body(file) for name, file in store.scan_source()}
            assert found.items() <= sent.items()
            report = store.verify()
            if length < used and not n % 2:
                assert not report.ok, length  # never silent
            elif length >= used:
                assert found == sent
        shutil.rmtree(copy)
    result("T9", n + 1, "lengths: what is there is right, what is gone is said")


@pytest.mark.parametrize("what", ["zero", "foreign", "swapped", "newer"])
def test_t9_a_segment_that_is_not_its_own_is_refused_with_the_reason(tmp_path, sealed, what):
    path, _ = sealed
    copy = tmp_path / "s"
    shutil.copytree(path, copy)
    (file,) = copy.glob("segments/*.seg")
    if what == "zero":
        file.write_bytes(bytes(file.stat().st_size))
    elif what == "foreign":
        file.write_bytes(b"not a segment at all" * 1000)
    elif what == "swapped":
        file.rename(file.with_name("0000000077.seg"))
    else:
        data = bytearray(file.read_bytes())
        data[8] = 2
        file.write_bytes(data)
    if what == "newer":
        with pytest.raises(StoreError, match="another version"):
            Store(copy)
        return
    with Store(copy) as store:
        assert len(store) == 0
        assert any("not a readable segment" in problem.message for problem in store.recovered)
        assert not store.verify().ok
        name, data = store_one(store)
        assert body(store.record(name)) == data


@pytest.mark.parametrize("what", ["deleted", "truncated", "foreign", "older"])
def test_t9_an_index_that_does_not_fit_is_made_anew(tmp_path, sealed, what):
    path, sent = sealed
    copy = tmp_path / "s"
    shutil.copytree(path, copy)
    index = copy / "index.sqlite"
    if what == "deleted":
        index.unlink()
    elif what == "truncated":
        os.truncate(index, index.stat().st_size // 2)
    elif what == "foreign":
        with Store(tmp_path / "other") as other:
            store_one(other, PatientID="NOBODY")
            other.sync_index()
        shutil.copy(tmp_path / "other/index.sqlite", index)
    else:
        import sqlite3

        with sqlite3.connect(index) as database:
            database.execute("UPDATE layout SET text = 'an older one'")
        database.close()
    with Store(copy) as store:
        assert {row["SOPInstanceUID"] for row in store.find("IMAGE")} == sent.keys()
        assert not store.find("IMAGE", PatientID="NOBODY")


def test_t20_two_processes_take_two_segments_and_a_dead_one_holds_none(tmp_path):
    for turn in range(count(2, 3, 50)):
        path = tmp_path / f"s{turn}"
        code = (
            f"import sys; sys.path.insert(0, {str(Path(__file__).parent.parent / 'store')!r})\n"
            "from instances import store_one; from dicore.store import Store\n"
            f"store = Store({str(path)!r}, segment_size=1 << 20)\n"
            "for n in range(5): print(store_one(store, seed=n)[0], flush=True)\n"
            "print('ready', flush=True)\nsys.stdin.read()\n"
        )
        first = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert first.stdout
        theirs = [line.strip() for line in iter(first.stdout.readline, "ready\n")]
        with Store(path, segment_size=1 << 20) as second:
            mine = [store_one(second, seed=n)[0] for n in range(5)]
            assert second._native.find(mine[0])[0][0] != second._native.find(theirs[0])[0][0]
            first.kill()
            first.wait()
        with Store(path, segment_size=1 << 20) as third:
            assert {*theirs, *mine} <= set(third)
            assert third.verify().ok
    result("T20", turn + 1, "two owners, two segments; a dead one holds none")


def test_a_segment_that_its_writer_sealed_since_we_looked_is_no_damage(tmp_path):
    with Store(tmp_path / "s", segment_size=1 << 24) as store:
        for n in range(3):
            store_one(store, side=64, seed=n)
        with Store(tmp_path / "s", read_only=True) as other:
            for n in range(3, 6):
                store_one(store, side=64, seed=n)
            store.roll()
            report = other.verify()
            assert report.problems == []
            assert report.instances == 3
            assert store.verify().instances == 6


def test_a_store_is_verified_from_outside_while_it_is_written(tmp_path):
    """What is on its way is not damage: the reader in another process meets half of a write, and looks again."""
    with Store(tmp_path / "s", segment_size=1 << 24) as store:
        stop = threading.Event()

        def write() -> None:
            n = 0
            while not stop.is_set() and n < 3000:
                store_one(store, side=64, seed=n)
                n += 1

        threads = [threading.Thread(target=write) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(count(15, 100, 100)):
                with Store(tmp_path / "s", read_only=bool(_ % 2), segment_size=1 << 20) as other:
                    assert other.recovered == []
                    assert other.verify().problems == []
        finally:
            stop.set()
            for thread in threads:
                thread.join()
