"""Corrections, merged patients and moved studies: new records with what was before, kill-safe, replayable."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from instances import CT, EXPLICIT, body, data_set, store_one, uid

from dicore.errors import StoreFull
from dicore.store import Store


def fill(store: Store, patients: int = 2, studies: int = 2, images: int = 3) -> list[str]:
    return [
        store_one(
            store, PatientID=f"P{patient}", PatientName=f"Doe{patient}^John", StudyInstanceUID=f"1.{patient}.{study}",
            SeriesInstanceUID=f"1.{patient}.{study}.1", AccessionNumber=f"A{patient}{study}",
        )[0]
        for patient in range(patients) for study in range(studies) for _ in range(images)
    ]  # fmt: skip


def tree(store: Store) -> dict[tuple[str, str], list[str]]:
    """Patients with their studies, as the index has them."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in store.find("STUDY"):
        found.setdefault((row["PatientID"], row["PatientName"]), []).append(row["StudyInstanceUID"])
    assert {(row["PatientID"], row["PatientName"]) for row in store.find("PATIENT")} == found.keys()
    return {patient: sorted(studies) for patient, studies in found.items()}


def test_a_correction_keeps_the_uid_the_pixels_and_what_was_before(tmp_path):
    with Store(tmp_path / "s") as store:
        names = fill(store)
        before = {name: store[name].pixels().tobytes() for name in names}
        report = store.correct({"PatientName": "Doe^Jane", "StudyDescription": "THORAX"}, PatientID="P1", system="TEST")
        assert (report.changed, report.unchanged, report.failures) == (6, 0, [])
        assert len(store) == len(names) == 12
        assert {name: store[name].pixels().tobytes() for name in names} == before
        for name in names[6:]:
            one = store[name]
            assert (str(one.PatientName), one.StudyDescription) == ("Doe^Jane", "THORAX")
            (item,) = one.OriginalAttributesSequence
            assert (item.ModifyingSystem, item.ReasonForTheAttributeModification) == ("TEST", "CORRECT")
            assert str(item.ModifiedAttributesSequence[0].PatientName) == "Doe1^John"
            assert item.ModifiedAttributesSequence[0].StudyDescription == "HEAD"
        assert "OriginalAttributesSequence" not in store[names[0]]
        wanted = {("P0", "Doe0^John"): ["1.0.0", "1.0.1"], ("P1", "Doe^Jane"): ["1.1.0", "1.1.1"]}
        assert tree(store) == wanted
        assert store.find(PatientName="Doe1*") == []
        assert store.correct({"PatientName": "Doe^Jane"}, PatientID="P1").unchanged == 6  # it is so already
        assert store.correct({"StudyDescription": "NECK"}, PatientID="P1").changed == 6
        assert len(store[names[-1]].OriginalAttributesSequence) == 2
        store.compact()
        assert store.verify().dead == 0
        assert store.rebuild() == 12
        assert tree(store) == wanted
        # who sends the old one again has success, and changes nothing
        store.append(CT, names[-1], EXPLICIT, [data_set(names[-1], PatientID="P1", PatientName="Doe1^John")])
        assert store[names[-1]].StudyDescription == "NECK"


@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("made", ["followed", "rebuilt", "reopened"])
def test_patients_merge_and_studies_move(tmp_path, images, made):
    with Store(tmp_path / "s") as store:
        fill(store, 3, 2, images)
        assert store.merge_patients("P1", "P0").changed == 2 * images
        assert store.move_study("1.0.1", "P2").changed == images
        assert store.move_study("1.2.0", "NEW", PatientName="Neu^Ilse", PatientSex="F").changed == images
        assert store.correct({"PatientName": "Doe2^Jack"}, PatientID="P2").changed == 2 * images
        if made == "rebuilt":
            store.rebuild()
        wanted = {
            ("P0", "Doe0^John"): ["1.0.0", "1.1.0", "1.1.1"], ("P2", "Doe2^Jack"): ["1.0.1", "1.2.1"],
            ("NEW", "Neu^Ilse"): ["1.2.0"],
        }  # fmt: skip
        if made != "reopened":
            assert tree(store) == wanted
    with Store(tmp_path / "s") as store:
        assert tree(store) == wanted
        assert store.find("PATIENT", PatientID="NEW")[0]["PatientSex"] == "F"


def test_what_cannot_be_corrected_is_refused_before_anything_changes(tmp_path):
    with Store(tmp_path / "s") as store:
        fill(store, 1, 1, 1)
        for changes, keys, reason in (
            ({"SOPInstanceUID": "1.2"}, {"PatientID": "P0"}, "is not changed"),
            ({"Rows": 3}, {"PatientID": "P0"}, "is not changed"),
            ({"Shoe": "1"}, {"PatientID": "P0"}, "not a keyword"),
            ({}, {"PatientID": "P0"}, "something to change"),
            ({"PatientName": "A"}, {}, "which instances"),
            ({"PatientName": "A"}, {"PatientID": "*"}, "which instances"),
            ({"PatientName": b"A"}, {"PatientID": "P0"}, "no text or number"),
        ):  # fmt: skip
            with pytest.raises(ValueError, match=reason):
                store.correct(changes, **keys)
        for source, into in (("P0", "NOBODY"), ("NOBODY", "P0")):
            with pytest.raises(ValueError, match="there is no patient 'NOBODY'"):
                store.merge_patients(source, into)
        with pytest.raises(ValueError, match="no study"):
            store.move_study("9.9", "P0")
        report = store.correct({"SeriesNumber": "many"}, PatientID="P0")
        assert report.changed == 0
        assert len(report.failures) == 1
        assert store.find("SERIES")[0]["SeriesNumber"] == "3"


def test_names_beyond_the_character_set_turn_it_to_utf8(tmp_path):
    with Store(tmp_path / "s") as store:
        name, _ = store_one(store)
        assert store.correct({"PatientName": "山田^太郎"}, PatientID="P1").changed == 1
        assert str(store[name].PatientName) == "山田^太郎"
        assert store[name].SpecificCharacterSet == "ISO_IR 192"
        assert [row["PatientID"] for row in store.find(PatientName="山田*")] == ["P1"]


CHILD = """
import os, sys
from dicore.store import Store
with Store(sys.argv[1]) as store:
    store.correct({"PatientID": "RIGHT", "PatientName": "Right^One"}, PatientID="P1")
"""


@pytest.mark.parametrize("after", [1, 3, 6])
def test_a_correction_that_was_killed_is_finished_at_the_next_opening(tmp_path, after):
    with Store(tmp_path / "s") as store:
        names = fill(store)
        bodies = {name: body(store.record(name)) for name in names}
        store.backup(tmp_path / "copy")
    environment = {**os.environ, "DICORE_FAILPOINT": f"correct-half:{after}"}
    run = subprocess.run([sys.executable, "-c", CHILD, tmp_path / "s"], env=environment, check=False)
    assert run.returncode == -signal.SIGKILL
    log = tmp_path / "s" / "corrections.jsonl"
    with open(log, "ab") as file:
        file.write(b'{"id": "torn')
    for _ in range(2):
        with Store(tmp_path / "s") as store:
            assert sorted(name for name in names if store[name].PatientID == "RIGHT") == sorted(names[6:])
            assert [len(store[name].OriginalAttributesSequence) for name in names[6:]] == [1] * 6
            assert [body(store.record(name)) for name in names[:6]] == [bodies[name] for name in names[:6]]
            assert tree(store)[("RIGHT", "Right^One")] == ["1.1.0", "1.1.1"]
            assert len(tree(store)) == 2
            assert store.verify().ok
    with Store(tmp_path / "copy") as copy:  # as it was before; the log makes it the same
        assert copy.replay_corrections(log).changed == 6
        assert copy.replay_corrections(log).unchanged == 6
        with Store(tmp_path / "s") as store:
            assert [body(copy.record(name)) for name in names] == [body(store.record(name)) for name in names]


def test_a_full_disk_leaves_the_rest_for_later(tmp_path, monkeypatch):
    with Store(tmp_path / "s") as store:
        names = fill(store, 1, 1, 4)
        real, left = store._replace, [2]

        def full(*args, **options):
            left[0] -= 1
            if left[0] < 0:
                raise StoreFull("no space")
            return real(*args, **options)

        monkeypatch.setattr(store, "_replace", full)
        with pytest.raises(StoreFull):
            store.correct({"PatientName": "New^One"}, PatientID="P0")
        assert sum(str(store[name].PatientName) == "New^One" for name in names) == 2
    with Store(tmp_path / "s") as store:
        assert all(str(store[name].PatientName) == "New^One" for name in names)
    lines = [json.loads(line) for line in (tmp_path / "s" / "corrections.jsonl").read_text().splitlines()]
    assert [line.get("done") for line in lines] == [None, 2]


def test_a_deflated_instance_is_corrected(tmp_path):
    import zlib

    name = uid()
    packer = zlib.compressobj(wbits=-15)
    packed = packer.compress(data_set(name, PatientID="SQUEEZED")) + packer.flush()
    with Store(tmp_path / "s") as store:
        store.append(CT, name, "1.2.840.10008.1.2.1.99", [packed])
        assert store.correct({"PatientID": "WIDE"}, PatientID="SQUEEZED").changed == 1
        assert (store[name].PatientID, store[name].transfer_syntax) == ("WIDE", "1.2.840.10008.1.2.1.99")
        assert [row["PatientID"] for row in store.find("PATIENT")] == ["WIDE"]


def test_an_instance_longer_than_a_segment_is_corrected(tmp_path):
    with Store(tmp_path / "s", segment_size=1 << 20) as store:
        name, data = store_one(store, side=1200)
        assert len(data) > 1 << 21
        assert store.correct({"PatientID": "LONG"}, PatientID="P1").changed == 1
        assert (store[name].PatientID, len(store)) == ("LONG", 1)
        assert store[name].pixels().shape == (1200, 1200)
        store.compact()
    with Store(tmp_path / "s") as store:
        assert store[name].PatientID == "LONG"
        assert store.verify().dead == 0
