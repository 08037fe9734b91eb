"""`dicore deidentify` as a process."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from conftest import dicore_cli, dicore_command
from dicore import synth

KEY = "00112233445566778899aabbccddeeff"


def run(*args: str | Path) -> subprocess.CompletedProcess[str]:
    return dicore_cli("deidentify", *args, check=False, env={"COLUMNS": "100", "NO_COLOR": "1"})


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    (folder / "deep").mkdir(parents=True)
    for number, instance in enumerate(synth.studies(3, 2, modality="CT", slices=3, size=64)):
        (folder / ("deep" if number % 2 else "") / f"{number}.dcm").write_bytes(instance.data)
    (folder / "readme.txt").write_text("no DICOM")
    return folder


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_folder_becomes_a_folder(scans: Path, tmp_path: Path) -> None:
    import dicore

    out, report = tmp_path / "out", tmp_path / "report.json"
    result = run(scans, "-o", out, "--key", KEY, "--report", report, "--json")
    assert result.returncode == 0, result.stderr
    said = json.loads(result.stdout)
    assert (said["done"], said["skipped"], said["failures"]) == (6, 1, [])
    assert {key: said[key] for key in said if key != "seconds"} == json.loads(report.read_text())
    originals = [dicore.read(path) for path in scans.rglob("*.dcm")]
    for path in out.iterdir():
        new = dicore.read(path, strict=True)
        assert path.name == f"{new.SOPInstanceUID}.dcm"
        assert new.PatientIdentityRemoved == "YES"
        for old in originals:
            for value in (old.PatientID, str(old.PatientName), old.StudyInstanceUID):
                assert value.encode() not in path.read_bytes()
                assert value not in report.read_text() + result.stderr + result.stdout
    again = run(scans, "-o", out, "--key", KEY, "-n", "1", "--json")
    assert again.returncode == 0
    assert (json.loads(again.stdout)["done"], json.loads(again.stdout)["present"]) == (0, 6)
    assert len(names(out)) == 6  # nothing half done is left behind


def test_keys(scans: Path, tmp_path: Path) -> None:
    kept = tmp_path / "project.key"
    first = run(scans, "-o", tmp_path / "a", "--save-key", kept)
    assert first.returncode == 0, first.stderr
    assert str(kept) in first.stderr
    assert kept.read_text().strip() not in first.stderr + first.stdout
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert run(scans, "-o", tmp_path / "b", "--key-file", kept).returncode == 0
    assert names(tmp_path / "a") == names(tmp_path / "b")
    assert run(scans, "-o", tmp_path / "c").returncode == 0  # a random one
    assert names(tmp_path / "a").isdisjoint(names(tmp_path / "c"))
    assert run(scans, "-o", tmp_path / "a", "--save-key", kept).returncode == 2
    assert run(scans, "-o", tmp_path / "a", "--key", "zz").returncode == 2
    assert run(scans, "-o", tmp_path / "a", "--key", "0011").returncode == 2
    assert run(scans, "-o", tmp_path / "a", "--key", KEY, "--key-file", kept).returncode == 2


def test_options_and_mapping(scans: Path, tmp_path: Path) -> None:
    import dicore

    patients = sorted({str(dicore.read(path).PatientID) for path in scans.rglob("*.dcm")})
    table = tmp_path / "patients.csv"
    table.write_text("".join(f"{old},SUBJECT-{n},Subject^{n}\n" for n, old in enumerate(patients)))
    out = tmp_path / "out"
    result = run(scans, "-o", out, "--key", KEY, "-O", "retain_uids,retain_modified_dates", "--mapping", table)
    assert result.returncode == 0, result.stderr
    new = [dicore.read(path) for path in out.iterdir()]
    assert {ds.PatientID for ds in new} == {f"SUBJECT-{n}" for n in range(len(patients))}
    assert {ds.SOPInstanceUID for ds in new} == {dicore.read(path).SOPInstanceUID for path in scans.rglob("*.dcm")}
    table.write_text("nobody,X\n")
    missing = run(scans, "-o", tmp_path / "other", "--key", KEY, "--mapping", table)
    assert missing.returncode == 1
    assert "mapping has no entry" in missing.stderr
    assert not any(patient in missing.stderr for patient in patients)
    assert run(scans, "-o", out, "--key", KEY, "-O", "retain_everything").returncode == 2


def test_a_bad_file_is_named_and_the_others_are_done(scans: Path, tmp_path: Path) -> None:
    good = next(iter(scans.glob("*.dcm"))).read_bytes()
    (scans / "changed.dcm").write_bytes(good[:-2] + b"\x12\x34")  # the same UID, other pixels
    named = tmp_path / "not.dcm"
    named.write_bytes(b"no DICOM at all, but asked for by name")
    out = tmp_path / "out"
    result = run(scans, named, "-o", out, "--key", KEY, "-n", "1", "--json")
    assert result.returncode == 1
    said = json.loads(result.stdout)
    assert said["done"] == 6
    assert len(said["failures"]) == 2
    assert "not.dcm" in result.stderr
    assert "same SOP Instance UID" in result.stderr
    assert len(names(out)) == 6


def test_the_output_folder_may_be_inside(scans: Path) -> None:
    for _ in range(2):
        result = run(scans, "-o", scans / "safe", "--key", KEY, "--json")
        assert result.returncode == 0, result.stderr
        assert json.loads(result.stdout)["done"] + json.loads(result.stdout)["present"] == 6


def test_interrupted_it_goes_on(scans: Path, tmp_path: Path) -> None:
    """Killed with nothing, something or everything done: what is there is whole, and a second run completes it."""
    out = tmp_path / "out"
    command = [*dicore_command(), "deidentify", str(scans), "-o", str(out), "--key", KEY, "-n", "1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not (out.is_dir() and any(path.suffix == ".dcm" for path in out.iterdir())):
        os.sched_yield()
    process.send_signal(signal.SIGKILL)
    process.wait()
    import dicore

    for path in out.glob("*.dcm"):
        dicore.read(path, strict=True)
    assert run(scans, "-o", out, "--key", KEY).returncode == 0
    assert len(list(out.glob("*.dcm"))) == 6
