"""`dicore scan` as a process."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from conftest import dicore_cli, dicore_command, peer_module
from dicore import Store, synth

TAGS = "PatientID,StudyDate,InstanceNumber,Rows"


def dicore(*args: str | Path) -> subprocess.CompletedProcess[str]:
    return dicore_cli(*args, check=False, env={"COLUMNS": "100", "NO_COLOR": "1"})


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two CT studies of three images, and a file that is none."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number, instance in enumerate(synth.studies(3, 2, modality="CT", slices=3, size=64)):
        (folder / f"{number}.dcm").write_bytes(instance.data)
    (folder / "note.txt").write_text("not an image, " * 20)
    return folder


def test_an_index_as_csv_names_what_could_not_be_read(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "index.csv"
    result = dicore("scan", images, "-t", TAGS, "-o", out)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"6 rows of 7 files in {out}; 1 could not be read")
    assert f"{images}/note.txt: not a DICOM file" in result.stderr
    rows = list(csv.DictReader(out.open()))
    assert [row["path"] for row in rows] == [f"{images}/{n}.dcm" for n in range(6)]
    assert {row["Rows"] for row in rows} == {"64"}
    assert dicore("scan", images, "-q", "-o", out).stderr == ""


def test_rows_go_to_stdout_without_a_file(images: Path) -> None:
    lines = dicore("scan", images, "-t", TAGS, "-q", "--json").stdout.splitlines()
    assert [json.loads(line)["Rows"] for line in lines] == [64] * 6
    table = dicore("scan", images, "-t", TAGS, "-q", "-w", "InstanceNumber == 1").stdout.splitlines()
    assert table[0].split("\t") == ["path", *TAGS.split(",")]
    assert len(table) == 3


def test_a_condition_and_a_report(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "index.jsonl"
    result = dicore("scan", images, "-t", TAGS, "-w", "InstanceNumber >= 2", "-o", out, "--json", "-q", "-j", "2")
    assert json.loads(result.stdout) == {
        "path": str(out), "rows": 4, "files": 7, "failed": 1, "invalid_values": 0, "complete": True,
    }  # fmt: skip
    assert len(out.read_text().splitlines()) == 4


@pytest.mark.parametrize(
    "args",
    [["-t", "NoSuchThing"], ["-w", "import os"], ["-w", "StudyDate > 5"], ["-o", "index.xlsx"]],
    ids=lambda args: " ".join(args),
)
def test_what_cannot_be_asked_for_is_a_usage_error(images: Path, args: list[str]) -> None:
    result = dicore("scan", images, *args)
    assert result.returncode == 2
    assert "Invalid value" in result.stderr
    assert not Path("index.xlsx").exists()


def test_parquet(images: Path, tmp_path: Path) -> None:
    peer_module("pyarrow")
    import pyarrow.parquet as parquet

    out = tmp_path / "index.parquet"
    assert dicore("scan", images, "-t", TAGS, "-q", "-o", out).returncode == 0
    assert parquet.read_table(out).column("Rows").to_pylist() == [64] * 6


def test_a_store_is_read_as_a_store(images: Path, tmp_path: Path) -> None:
    with Store(tmp_path / "store") as store:
        store.add(images)
        uids = list(store)
    lines = dicore("scan", tmp_path / "store", "-t", "SOPInstanceUID", "--json").stdout.splitlines()
    assert [json.loads(line)["path"] for line in lines] == uids


def test_ctrl_c_keeps_what_was_read(images: Path, tmp_path: Path) -> None:
    """The scan comes to an archive that is a pipe, and waits for what nobody writes."""
    pipe, out = tmp_path / "slow.tar.gz", tmp_path / "index.csv"
    os.mkfifo(pipe)
    command = [*dicore_command(), "scan", str(images), str(pipe), "-t", TAGS, "-q", "-o", str(out)]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process,
        open(pipe, "wb"),  # returns when the scan has opened it too, which is after the images
    ):
        process.send_signal(signal.SIGINT)
        _, talk = process.communicate(timeout=60)
    assert process.returncode == 130, talk
    assert "what was read is kept" in talk
    assert len(list(csv.DictReader(out.open()))) == 6
    assert not list(tmp_path.glob("*.part"))
