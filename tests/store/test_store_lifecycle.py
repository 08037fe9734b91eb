"""Delete, compact, retain: what is gone stays gone, what is there stays there, whoever dies when."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from instances import CT, EXPLICIT, body, data_set, store_one, uid

from dicore.errors import DuplicateInstance, StoreError
from dicore.store import Store

HERE = Path(__file__).parent


def used_and_live(store: Store) -> tuple[int, int]:
    from dicore.store.compaction import census

    counted = census(store)
    return sum(c.used for c in counted), sum(c.live for c in counted)


@pytest.fixture(params=["durable", "relaxed"])
def durability(request):
    return request.param


def test_what_is_deleted_is_gone_and_stays_gone(tmp_path, durability):
    with Store(tmp_path / "s", durability=durability) as store:
        kept, _ = store_one(store, StudyInstanceUID="1.2.1")
        gone, data = store_one(store, StudyInstanceUID="1.2.2", PatientID="P2")
        view = store.record(gone)
        assert store.delete(StudyInstanceUID="1.2.2") == 1
        assert store.delete(StudyInstanceUID="1.2.2") == 0
        assert gone not in store
        assert list(store) == [kept]
        assert len(store) == 1
        assert [row["PatientID"] for row in store.find("PATIENT")] == ["P1"]
        assert body(view) == data  # a view that was handed out stays
        with pytest.raises(ValueError, match="everything=True"):
            store.delete(PatientID="*")
    for _ in range(2):
        with Store(tmp_path / "s", durability=durability) as store:
            assert list(store) == [kept]
            assert store.verify().ok
    (tmp_path / "s/index.sqlite").unlink()
    with Store(tmp_path / "s") as store:
        assert [row["SOPInstanceUID"] for row in store.find("IMAGE")] == [kept]
        store.append(CT, gone, EXPLICIT, [data])  # sent again: stored again
        assert body(store.record(gone)) == data
    with Store(tmp_path / "s") as store:
        assert body(store.record(gone)) == data
        assert len(store.find("IMAGE")) == 2


@pytest.mark.parametrize("policy", ["keep-first", "replace", "keep-both", "reject"])
def test_delete_and_compact_under_every_policy(tmp_path, policy):
    name = uid()
    with Store(tmp_path / "s", duplicates=policy, segment_size=1 << 20) as store:
        first = data_set(name, seed=1)
        second = data_set(name, seed=2)
        store.append(CT, name, EXPLICIT, [first])
        try:
            store.append(CT, name, EXPLICIT, [second])
        except DuplicateInstance:
            assert policy == "reject"
        wanted = {"keep-first": [first], "replace": [second], "keep-both": [first, second], "reject": [first]}[policy]
        for _ in range(2):
            assert [body(file) for _, file in store.scan_source()] == wanted
            store.compact()
    with Store(tmp_path / "s", duplicates=policy) as store:
        assert [body(file) for _, file in store.scan_source()] == wanted
        assert store.delete(SOPInstanceUID=name) == len(wanted) or policy == "keep-both"
        assert list(store) == []
        store.compact()
        store.compact()
        assert used_and_live(store) == (0, 0)
    with Store(tmp_path / "s") as store:
        assert list(store) == []
        assert store.find("IMAGE") == []


def test_at_least_98_percent_live_after_compaction(tmp_path):
    with Store(tmp_path / "s", segment_size=1 << 20) as store:
        names = [store_one(store, side=64, seed=n, StudyInstanceUID=f"1.2.{n % 10}") for n in range(300)]
        for n in range(0, 10, 2):
            store.delete(StudyInstanceUID=f"1.2.{n}")
        before = sum(os.stat(p).st_size for p in (tmp_path / "s/segments").glob("*.seg"))
        report = store.compact()
        assert report.kept == []
        assert report.made >= 1
        used, live = used_and_live(store)
        assert live >= 0.98 * used
        assert sum(os.stat(p).st_size for p in (tmp_path / "s/segments").glob("*.seg")) < before
        kept = {name: data for n, (name, data) in enumerate(names) if n % 2}
        assert {name: body(store.record(name)) for name in store} == kept
        assert {row["SOPInstanceUID"] for row in store.find("IMAGE")} == set(kept)
        assert store.compact().made == 0  # nothing left to do
        assert store.verify().ok
        per_instance = (used - sum(len(store.record(name)) for name in kept)) / len(kept)
        assert per_instance <= 256
    with Store(tmp_path / "s") as store:
        assert {name: body(store.record(name)) for name in store} == kept
        assert store.verify().instances == len(kept)


def test_writers_and_readers_go_on_while_a_store_is_compacted(tmp_path):
    with Store(tmp_path / "s", segment_size=1 << 20) as store:
        old = dict(store_one(store, side=64, seed=n, StudyInstanceUID=f"1.2.{n % 4}") for n in range(200))
        doomed = [row["SOPInstanceUID"] for row in store.find("IMAGE", StudyInstanceUID=["1.2.0", "1.2.1"])]
        kept = {name: data for name, data in old.items() if name not in doomed}
        store.delete(StudyInstanceUID=["1.2.0", "1.2.1"])
        new: dict[str, bytes] = {}
        wrong: list[object] = []
        stop = threading.Event()

        def read() -> None:
            order = random.Random(1)
            names = list(kept)
            while not stop.is_set():
                name = order.choice(names)
                if body(store.record(name)) != kept[name]:
                    wrong.append(name)

        def write() -> None:
            n = 0
            while not stop.is_set() and n < 200:
                name, data = store_one(store, side=64, seed=n, StudyInstanceUID="1.2.9")
                new[name] = data
                n += 1

        threads = [threading.Thread(target=run) for run in (read, read, write)]
        for thread in threads:
            thread.start()
        store.compact()
        store.compact()
        stop.set()
        for thread in threads:
            thread.join()
        assert not wrong
        assert {name: body(store.record(name)) for name in store} == {**kept, **new}


CRASH = """
import sys
sys.path.insert(0, {here!r})
from instances import store_one
from dicore.store import Store
store = Store({path!r}, segment_size=1 << 20)
if "delete" in {what!r}:
    store.delete(StudyInstanceUID=["1.2.0", "1.2.1"])
print("deleted", flush=True)
if "compact" in {what!r}:
    store.compact()
    store.compact()
store.close()
print("through", flush=True)
"""


POINTS = ["compact-copied", "compact-synced", "compact-named", "compact-moved", "compact-unlinked", "delete-half"]


@pytest.mark.parametrize("point", [*POINTS, "before-write", "after-write", "before-sync", "after-sync"])
@pytest.mark.parametrize("count", [1, 2])
def test_death_at_each_point_of_delete_and_compact(tmp_path, point, count):
    path = tmp_path / "s"
    with Store(path, segment_size=1 << 20) as store:
        old = dict(store_one(store, side=64, seed=n, StudyInstanceUID=f"1.2.{n % 4}") for n in range(160))
        doomed = {row["SOPInstanceUID"] for row in store.find("IMAGE", StudyInstanceUID=["1.2.0", "1.2.1"])}
    kept = {name: data for name, data in old.items() if name not in doomed}
    times = count if "compact" in point else count * 20 if point == "delete-half" else count
    code = CRASH.format(here=str(HERE), path=str(path), what="delete compact")
    died = subprocess.run([sys.executable, "-c", code], env={**os.environ, "DICORE_FAILPOINT": f"{point}:{times}"},
                          capture_output=True, text=True)  # fmt: skip
    assert died.returncode == -9 or "through" in died.stdout, died.stderr
    for _ in range(2):
        with Store(path, segment_size=1 << 20) as store:
            assert store.verify().ok
            found = {name: body(store.record(name)) for name in store}
            if "deleted" in died.stdout:
                assert found == kept
            else:  # cut short: some are gone, the others are whole
                assert kept.items() <= found.items() <= old.items()
            assert {row["SOPInstanceUID"] for row in store.find("IMAGE")} == set(found)
    with Store(path, segment_size=1 << 20) as store:
        store.delete(StudyInstanceUID=["1.2.0", "1.2.1"])
        store.compact()
        assert {name: body(store.record(name)) for name in store} == kept
        assert {row["SOPInstanceUID"] for row in store.find("IMAGE")} == set(kept)


def test_one_compaction_at_a_time(tmp_path):
    from dicore.store.compaction import alone

    with Store(tmp_path / "s") as store, alone(store), pytest.raises(StoreError, match="under way already"):
        store.compact()


def test_another_process_compacts(tmp_path):
    path = tmp_path / "s"
    with Store(path, segment_size=1 << 20) as store:
        old = dict(store_one(store, side=64, seed=n, StudyInstanceUID=f"1.2.{n % 4}") for n in range(120))
        doomed = {row["SOPInstanceUID"] for row in store.find("IMAGE", StudyInstanceUID=["1.2.0", "1.2.1"])}
        store.roll()
        code = CRASH.format(here=str(HERE), path=str(path), what="delete compact")
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
        for name in old.keys() - doomed:  # their segments are gone: looked up anew
            assert body(store.record(name)) == old[name]
        store.refresh()
        assert set(store) == old.keys() - doomed
        assert {row["SOPInstanceUID"] for row in store.find("IMAGE")} == old.keys() - doomed


def test_retention_by_size_and_age_takes_the_oldest_studies_whole(tmp_path):
    with Store(tmp_path / "s") as store:
        for study in range(4):
            for n in range(3):
                store_one(store, side=32, seed=n, StudyInstanceUID=f"1.2.{study}", SeriesInstanceUID=f"1.2.{study}.1")
        size = sum(size for _, _, size in store._index.ages()) if store.sync_index() is None else 0
        assert store.retain(max_bytes=size) == 0
        assert store.retain(max_bytes=size - 1) == 3
        assert [row["StudyInstanceUID"] for row in store.find()] == ["1.2.1", "1.2.2", "1.2.3"]
        assert store.retain(max_age=3600) == 0
        assert store.retain(max_age=-1) == 9
        assert len(store) == 0


@pytest.mark.parametrize("policy", ["keep-first", "replace", "keep-both", "reject"])
def test_64_threads_of_one_uid(tmp_path, policy):
    name = uid()
    sent = [data_set(name, side=8, seed=n % 8) for n in range(64)]
    outcomes: list[object] = [None] * 64
    gate = threading.Barrier(64)
    with Store(tmp_path / "s", duplicates=policy) as store:

        def send(n: int) -> None:
            gate.wait()
            try:
                outcomes[n] = store.append(CT, name, EXPLICIT, [sent[n]])
            except DuplicateInstance as error:
                outcomes[n] = error

        threads = [threading.Thread(target=send, args=(n,)) for n in range(64)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        there = [body(file) for _, file in store.scan_source()]
        assert set(there) <= set(sent)
        if policy == "keep-both":
            assert sorted(there) == sorted(set(sent))  # each once
        else:
            assert len(there) == 1
        refused = [n for n in range(64) if isinstance(outcomes[n], DuplicateInstance)]
        if policy == "reject":  # never an error to a sender of identical bytes
            assert {sent[n] for n in range(64) if n not in refused} == set(there)
        else:
            assert not refused
    with Store(tmp_path / "s") as store:
        assert sorted(body(file) for _, file in store.scan_source()) == sorted(there)


def test_delete_and_store_of_one_uid_at_once_agree_with_the_log(tmp_path):
    name = uid()
    with Store(tmp_path / "s", duplicates="replace") as store:
        gate = threading.Barrier(16)

        def work(n: int) -> None:
            gate.wait()
            for k in range(20):
                if (n + k) % 3:
                    store.append(CT, name, EXPLICIT, [data_set(name, side=8, seed=n)])
                else:
                    store.delete_instances([(CT, name)])

        threads = [threading.Thread(target=work, args=(n,)) for n in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        there = [body(file) for _, file in store.scan_source()]
        assert len(there) <= 1
        indexed = len(store.find("IMAGE"))
        assert indexed == len(there)
    with Store(tmp_path / "s") as store:
        assert [body(file) for _, file in store.scan_source()] == there


def test_64_writers_of_one_new_patient_make_one(tmp_path):
    with Store(tmp_path / "s") as store:
        gate = threading.Barrier(64)

        def work(n: int) -> None:
            gate.wait()
            store_one(store, side=4, seed=n, StudyInstanceUID=f"1.2.{n}", SeriesInstanceUID=f"1.2.{n}.1")
            store.sync_index()

        threads = [threading.Thread(target=work, args=(n,)) for n in range(64)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(store.find("PATIENT")) == 1
        assert store.find("PATIENT")[0]["NumberOfPatientRelatedInstances"] == "64"


def test_a_backup_is_a_store_and_grows_with_it(tmp_path):
    with Store(tmp_path / "s", segment_size=1 << 20) as store:
        sent = dict(store_one(store, side=64, seed=n) for n in range(150))
        store.backup(tmp_path / "b")
        with Store(tmp_path / "b", read_only=True) as copy:
            assert {name: body(file) for name, file in copy.scan_source()} == sent
        more = dict(store_one(store, side=64, seed=n) for n in range(10))
        copied = store.backup(tmp_path / "b")
        assert copied < 1 << 20
        with pytest.raises(StoreError, match="onto itself"):
            store.backup(tmp_path / "s")
        store.delete_instances([(CT, name) for name in list(sent)[:100]])
        store.compact()
        store.backup(tmp_path / "b")
    with Store(tmp_path / "b") as copy:
        assert set(copy) == {*list(sent)[100:], *more}
        assert copy.verify().ok
        assert {row["SOPInstanceUID"] for row in copy.find("IMAGE")} == set(copy)
