"""`dicore store correct|merge|move-study|worklist` on a store in a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import dicore
from conftest import dicore_cli, free_port
from dicore import synth


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    with dicore.Store(tmp_path / "s") as store:
        for one in synth.studies(3, 2, modality="CT", slices=2, size=16):
            data = memoryview(one.data)
            start = 144 + int.from_bytes(data[140:144], "little")
            store.append(one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax, [data[start:]])
    return tmp_path / "s"


def patients(archive: Path) -> dict[str, str]:
    with dicore.Store(archive) as store:
        return {row["PatientID"]: row["PatientName"] for row in store.find("PATIENT")}


def test_correct_says_what_it_would_do_and_does_it(archive: Path) -> None:
    first, _ = patients(archive)
    asked = ["store", "correct", archive, f"PatientID={first}", "--set", "PatientName=New^Name"]
    assert dicore_cli(*asked).stdout == "2 instances match; --yes changes them\n"
    assert "New^Name" not in patients(archive).values()
    assert dicore_cli(*asked, "--yes").stdout == "changed 2 instances; 0 were so already, 0 failed\n"
    assert patients(archive)[first] == "New^Name"
    assert json.loads(dicore_cli(*asked, "--yes", "--json").stdout) == {"changed": 0, "unchanged": 2, "failures": []}
    assert dicore_cli(*asked[:-1], "SOPInstanceUID=1", "--yes", check=False).returncode == 2
    assert dicore_cli(*asked[:-1], "SeriesNumber=many", "--yes", check=False).returncode == 1


def test_merge_and_move_study(archive: Path) -> None:
    before = patients(archive)
    first, second = before
    assert dicore_cli("store", "merge", archive, first, "NOBODY", "--yes", check=False).returncode == 2
    assert dicore_cli("store", "merge", archive, first, second).stdout.startswith("2 instances match")
    assert dicore_cli("store", "merge", archive, first, second, "--yes").stdout.startswith("changed 2 instances")
    assert patients(archive) == {second: before[second]}
    with dicore.Store(archive) as store:
        study = store.find()[0]["StudyInstanceUID"]
    moved = dicore_cli("store", "move-study", archive, study, "N1", "--set", "PatientName=Neu^Ilse", "--yes", "--json")
    assert json.loads(moved.stdout)["changed"] == 2
    assert patients(archive) == {second: before[second], "N1": "Neu^Ilse"}


def test_the_worklist_is_kept_in_the_store(archive: Path, tmp_path: Path) -> None:
    step = {"ScheduledStationAETitle": "CT1", "Modality": "CT", "ScheduledProcedureStepID": "S1"}
    item = dicore.new("CT Image Storage", PatientID="P1", PatientName="Doe^Jane", AccessionNumber="A1")
    (tmp_path / "1.json").write_text(item.edit(ScheduledProcedureStepSequence=[step]).to_json())
    assert dicore_cli("store", "worklist", archive, tmp_path / "1.json").stdout == "scheduled 1 steps\n"
    assert "Doe^Jane" in dicore_cli("store", "worklist", archive).stdout
    listed = dicore_cli("store", "worklist", archive, "--json").stdout.splitlines()
    assert [json.loads(line)["00100020"]["Value"] for line in listed] == [["P1"]]
    removed = dicore_cli("store", "worklist", archive, "--remove", "AccessionNumber=A*", "--json")
    assert json.loads(removed.stdout) == {"removed": 1}
    assert dicore_cli("serve", archive, "--worklist", tmp_path, "--worklist-store", check=False).returncode == 2


def test_get_and_move_fetch_only_what_is_missing(archive: Path, tmp_path: Path, serve: Any) -> None:
    sink = free_port()
    far = serve(archive, "--destination", f"SINK=127.0.0.1:{sink}")
    with dicore.Store(archive, read_only=True) as store:
        rows = store.find("IMAGE")
        study = rows[0]["StudyInstanceUID"]
        of_study = {row["SOPInstanceUID"] for row in rows if row["StudyInstanceUID"] == study}
        first, *_ = sorted(of_study)
        with dicore.Store(tmp_path / "near") as near:
            data = store.record(first)
            start = 144 + int.from_bytes(data[140:144], "little")
            near.append(store[first].SOPClassUID, first, store[first].transfer_syntax, [data[start:]])
    where = f"{far.ae_title}@127.0.0.1:{far.port}"
    asked = [where, "-k", f"StudyInstanceUID={study}"]
    said = dicore_cli("get", *asked, "-o", tmp_path / "near", "--reconcile")
    assert said.stderr.startswith("dicore: the peer has 2 instances, 1 are here, 1 are fetched")
    assert said.stdout.startswith("got 1 instances; 0 failed")
    with dicore.Store(tmp_path / "near", read_only=True) as near:
        assert set(near) == of_study
    for level, more in (("STUDY", []), ("SERIES", ["-k", f"SeriesInstanceUID={rows[0]['SeriesInstanceUID']}"])):
        again = dicore_cli("get", *asked, *more, "-l", level, "-o", tmp_path / "near", "--reconcile")
        assert again.stdout.startswith("got 0 instances; 0 failed")
    moved = dicore_cli("move", *asked, "-d", "SINK", "--reconcile", tmp_path / "near")
    assert moved.stdout.startswith("moved 0 instances; 0 failed")  # and nobody listens there
    files = dicore_cli("get", *asked, "-o", tmp_path / "files", "--reconcile")
    assert files.stdout.startswith("got 2 instances")
    (tmp_path / "files" / f"{first}.dcm").unlink()
    assert dicore_cli("get", *asked, "-o", tmp_path / "files", "--reconcile").stdout.startswith("got 1 instances")
