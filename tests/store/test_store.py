"""Appending, looking up, duplicates, lanes, export: what a caller of `dicore.Store` sees."""

from __future__ import annotations

import gc
import io
import os
import threading
from pathlib import Path

import instances
import numpy as np
import pydicom
import pytest
from instances import CT, EXPLICIT, body, data_set, store_one, uid

from dicore import DuplicateInstance, StoreCorrupt, StoreError
from dicore.store import Store
from dicore.store.files import segment_name

MODES = ["durable", "relaxed"]


@pytest.fixture(params=MODES)
def store(request, tmp_path):
    with Store(tmp_path / "store", durability=request.param, segment_size=1 << 20) as opened:
        yield opened


def test_an_instance_comes_back_as_a_part_10_file_around_the_same_bytes(store):
    name, data = store_one(store)
    assert body(store.record(name)) == data
    assert pydicom.dcmread(io.BytesIO(store.record(name))).PatientName == "Doe^John"
    assert name in store
    assert len(store) == 1
    assert list(store) == [name]
    ds = store[name]
    assert ds.PatientName == "Doe^John"
    assert ds.file_meta.MediaStorageSOPInstanceUID == name
    assert ds.file_meta.SourceApplicationEntityTitle == "TEST"
    assert ds.transfer_syntax == EXPLICIT


def test_what_was_never_stored_is_a_key_error(store):
    for missing in ("1.2.3", "", "x" * 100):
        assert missing not in store
        with pytest.raises(KeyError):
            store[missing]


def test_padding_of_a_uid_does_not_matter_for_looking_up(store):
    name, _ = store_one(store)
    assert name + "\0" in store
    assert store[name + " "].SOPInstanceUID == name


def test_pixels_are_a_view_whose_base_is_the_map(store):
    name, _ = store_one(store, side=64, seed=5)
    array = store[name].pixels()
    np.testing.assert_array_equal(array, instances.pixels(64, 5))
    assert not array.flags.writeable
    base = array
    while isinstance(base, np.ndarray | memoryview):
        base = base.base if isinstance(base, np.ndarray) else base.obj
    assert type(base).__name__ == "mmap"


def test_views_outlive_the_store(tmp_path):
    store = Store(tmp_path / "store")
    name, _ = store_one(store, side=64, seed=5)
    array = store[name].pixels()
    store.close()
    del store
    gc.collect()
    np.testing.assert_array_equal(array, instances.pixels(64, 5))


def test_everything_is_there_after_reopening(tmp_path):
    stored = {}
    for durability in ("durable", "relaxed", "durable"):
        with Store(tmp_path / "store", durability=durability, segment_size=1 << 20) as store:
            assert store.recovered == []
            for i in range(12):
                name, data = store_one(store, side=256, seed=i)
                stored[name] = data
    for read_only in (False, True):
        with Store(tmp_path / "store", read_only=read_only) as store:
            assert store.recovered == []
            assert sorted(store) == sorted(stored)
            assert all(body(store.record(name)) == data for name, data in stored.items())
            assert store.verify().ok
            assert store.stats()["instances"] == 36
            assert store.stats()["segments"] >= 4


def test_done_is_called_once_per_group_with_every_token(tmp_path):
    groups, finished = [], threading.Semaphore(0)

    def done(results):
        groups.append(results)
        finished.release(len(results))

    with Store(tmp_path / "store") as store:
        names = [uid() for _ in range(200)]
        for i, name in enumerate(names):
            assert store.append(CT, name, EXPLICIT, [data_set(name)], done=done, token=i) is False
        for _ in names:
            assert finished.acquire(timeout=30)
        assert [token for group in groups for token, _ in group] == list(range(200))
        assert all(error is None for group in groups for _, error in group)
        assert len(groups) == store.stats()["commits"]
        assert len(groups) < 200
        assert store.append(CT, names[0], EXPLICIT, [data_set(names[0])], done=done) is True  # durable already


def test_many_threads_store_each_instance_once(store):
    names = [uid() for _ in range(40)]

    def work():
        for i, name in enumerate(names):
            store_one(store, sop_instance=name, seed=i)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(store) == sorted(names)
    assert store.stats()["duplicates"] == 120
    assert store.verify().instances == 40


@pytest.mark.parametrize("durability", MODES)
@pytest.mark.parametrize("policy", ["keep-first", "replace", "keep-both", "reject"])
def test_other_bytes_under_a_stored_uid_follow_the_policy(tmp_path, policy, durability):
    with Store(tmp_path / "store", duplicates=policy, durability=durability) as store:
        name, first = store_one(store, seed=1, PatientID="FIRST")
        store_one(store, seed=1, sop_instance=name, PatientID="FIRST")  # the same bytes: success, no second copy
        assert len(store) == 1
        if policy == "reject":
            with pytest.raises(DuplicateInstance):
                store_one(store, seed=2, sop_instance=name, PatientID="SECOND")
        else:
            store.sync_index()
            _, second = store_one(store, seed=2, sop_instance=name, PatientID="SECOND")
    for _ in range(2):
        with Store(tmp_path / "store", duplicates=policy) as store:
            assert body(store.record(name)) == (second if policy == "replace" else first)
            assert len(store) == (2 if policy == "keep-both" else 1)
            # a study belongs to the patient it was first seen with
            assert [row["PatientID"] for row in store.find("PATIENT")] == ["SECOND" if policy == "replace" else "FIRST"]
            assert len(store.find("IMAGE")) == len(store)
            store.rebuild()
            assert len(store.find("IMAGE")) == len(store)


def test_damaged_bytes_do_not_stand_in_the_way_of_sound_ones(tmp_path):
    with Store(tmp_path / "store") as store:
        name, data = store_one(store, seed=1)
        ((segment, offset),) = store._places(name)
        with open(tmp_path / "store" / "segments" / segment_name(segment), "r+b") as file:
            file.seek(offset + 64 + 700)
            byte = file.read(1)[0]
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte ^ 1]))
        with pytest.raises(StoreCorrupt):
            store[name]
        store_one(store, seed=1, sop_instance=name)
        assert body(store.record(name)) == data


def test_a_lane_is_an_instance_like_any_other(store):
    name = uid()
    data = data_set(name, side=1500)  # longer than a segment
    lane = store.lane(CT, name, EXPLICIT, source_ae="LANE")
    for at in range(0, len(data), 1 << 18):
        lane.write([data[at : at + 1000], data[at + 1000 : at + (1 << 18)]])
    assert name not in store
    assert lane.commit() is True
    assert body(store.record(name)) == data
    assert store.find("IMAGE", SOPInstanceUID=name)[0]["Rows"] == "1500"
    with pytest.raises(StoreError):
        lane.write([b"more"])


def test_a_lane_can_be_committed_in_the_background_or_aborted(store):
    finished = threading.Event()
    results = []

    def done(group):
        results.extend(group)
        finished.set()

    name, gone = uid(), uid()
    lane = store.lane(CT, name, EXPLICIT)
    lane.write([data_set(name)])
    assert lane.commit(done, "token") is False
    assert finished.wait(30)
    assert results == [("token", None)]
    lane = store.lane(CT, gone, EXPLICIT)
    lane.write([data_set(gone)])
    lane.abort()
    lane.abort()
    assert list(store) == [name]
    assert not [file for file in os.listdir(store.path / "segments") if file.startswith(".")]


def test_an_instance_longer_than_a_segment_gets_one_of_its_own(store):
    name, data = store_one(store, side=1200)
    small, _ = store_one(store)
    assert body(store.record(name)) == data
    assert store._places(name)[0][0] != store._places(small)[0][0]
    assert store.verify().instances == 2
    store_one(store, side=1200, sop_instance=name)
    assert len(store) == 2


def test_a_data_set_in_a_thousand_pieces(store):
    name = uid()
    data = data_set(name, side=128)
    store.append(CT, name, EXPLICIT, [data[i : i + 30] for i in range(0, len(data), 30)])
    assert body(store.record(name)) == data


@pytest.mark.parametrize("bad", ["", "1" * 65])
def test_a_uid_that_file_meta_cannot_hold_is_refused(store, bad):
    with pytest.raises(StoreError):
        store.append(CT, bad, EXPLICIT, [b"1234"])
    assert len(store) == 0


def test_bytes_that_are_no_data_set_are_kept_all_the_same(store):
    for i, data in enumerate((b"", b"\xff" * 1001, b"GET / HTTP/1.1\r\n\r\n")):
        store.append(CT, f"1.2.{i}", EXPLICIT, [data])
        assert body(store.record(f"1.2.{i}")) == data
    assert store.stats()["instances"] == 3
    assert len(store.find("IMAGE")) == 3


def test_export_writes_the_files_and_uses_no_peer_string_as_a_path(tmp_path, store):
    safe = dict(store_one(store, seed=i) for i in range(3))
    evil = {}
    for name in ("../../evil", "a/b", "..", "1.2\0", "."):
        evil[name] = data_set(name)
        store.append(CT, name, EXPLICIT, [evil[name]])
    seen = []
    assert store.export(tmp_path / "out", progress=lambda done, total: seen.append((done, total))) == 8
    assert seen[-1] == (8, 8)
    names = sorted(os.listdir(tmp_path / "out"))
    assert len(names) == 8
    assert all(name.endswith(".dcm") and "/" not in name for name in names)
    for name, data in safe.items():
        assert body((tmp_path / "out" / f"{name}.dcm").read_bytes()) == data
    assert sum(name.startswith("uid-") for name in names) >= 4
    assert {body((tmp_path / "out" / name).read_bytes()) for name in names} == set(safe.values()) | set(evil.values())
    assert not (tmp_path / "evil").exists()
    assert pydicom.dcmread(tmp_path / "out" / f"{next(iter(safe))}.dcm").PatientID == "P1"
    assert store.export(tmp_path / "out") == 8  # again, over what is there
    assert sorted(os.listdir(tmp_path / "out")) == names


def test_add_stores_files_and_names_what_is_none(tmp_path, store):
    folder = tmp_path / "files"
    folder.mkdir()
    kept = {}
    for i in range(5):
        name = uid()
        ds = pydicom.dcmread(_file(folder, name, data_set(name, seed=i)))
        assert ds.SOPInstanceUID == name
        kept[name] = data_set(name, seed=i)
    _file(folder, name, kept[name], "again.dcm")
    (folder / "notes.txt").write_text("no DICOM")
    (folder / "empty").touch()
    seen = []
    report = store.add(folder, progress=lambda done, size: seen.append(done))
    assert (report.added, report.duplicates, len(report.failures)) == (5, 1, 2)
    assert {path.name for path, _ in report.failures} == {"notes.txt", "empty"}
    assert seen[-1] == 8
    assert {name: body(store.record(name)) for name in store} == kept
    again = store.add([folder / "again.dcm"])
    assert (again.added, again.duplicates) == (0, 1)


def _file(folder: Path, name: str, data: bytes, file_name: str | None = None) -> Path:
    meta = instances.element(0x00020001, "OB", b"\0\1")
    for tag, value in ((0x00020002, CT), (0x00020003, name), (0x00020010, EXPLICIT), (0x00020012, "1.2.3")):
        meta += instances.element(tag, "UI", value)
    path = folder / (file_name or f"{name}.dcm")
    path.write_bytes(bytes(128) + b"DICM" + b"\2\0\0\0UL\4\0" + len(meta).to_bytes(4, "little") + meta + data)
    return path


def test_a_closed_store_says_so(tmp_path):
    store = Store(tmp_path / "store")
    name, _ = store_one(store)
    store.close()
    store.close()
    for call in (lambda: store_one(store), lambda: store[name], store.stats, store.verify, lambda: len(store)):
        with pytest.raises(StoreError):
            call()


def test_read_only_stores_nothing_and_needs_a_store(tmp_path):
    with pytest.raises(StoreError):
        Store(tmp_path / "nothing", read_only=True)
    with Store(tmp_path / "store") as store:
        name, _ = store_one(store)
        with Store(tmp_path / "store", read_only=True) as reader:  # beside the writer
            assert reader.find("IMAGE")[0]["SOPInstanceUID"] == name
            with pytest.raises(StoreError):
                store_one(reader)
            with pytest.raises(StoreError):
                reader.rebuild()


def test_a_folder_with_other_things_in_it_is_not_taken_for_a_store(tmp_path):
    (tmp_path / "thesis.txt").write_text("dear to me")
    with pytest.raises(StoreError):
        Store(tmp_path)
    assert os.listdir(tmp_path) == ["thesis.txt"]


@pytest.mark.parametrize("wrong", [{"durability": "maybe"}, {"duplicates": "x"}, {"segment_size": 1000}])
def test_settings_are_checked(tmp_path, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Store(tmp_path / "store", **wrong)


def test_two_writers_take_two_segments(tmp_path):
    with Store(tmp_path / "store") as one, Store(tmp_path / "store") as two:
        a, _ = store_one(one)
        b, _ = store_one(two)
        assert one._places(a)[0][0] != two._places(b)[0][0]
    with Store(tmp_path / "store") as store:
        assert sorted(store) == sorted((a, b))
        assert len(store.find("IMAGE")) == 2
        assert store.recovered == []


def test_closing_while_others_append_loses_nothing_that_was_acknowledged(tmp_path):
    store = Store(tmp_path / "store")
    acknowledged, started = [], threading.Barrier(4)

    def work():
        started.wait()
        for _ in range(10_000):
            name = uid()
            try:
                store_one(store, sop_instance=name)
            except StoreError:
                return
            acknowledged.append(name)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    started.wait()
    while len(acknowledged) < 50:
        assert any(thread.is_alive() for thread in threads)
    store.close()
    for thread in threads:
        thread.join()
    with Store(tmp_path / "store") as again:
        assert set(acknowledged) <= set(again)
        assert again.recovered == []
        assert again.verify().ok
