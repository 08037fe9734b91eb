"""`dicore transcode`, `make`, `codecs` as a user calls them."""

from __future__ import annotations

import json
import shutil
import subprocess

import numpy as np
import pytest

import conftest
import dicore
from test_transcode import instance, pictures

P = "1.2.840.10008.1.2.4."


def dicore_cli(*arguments):
    return conftest.dicore_cli(*arguments, check=False)


def test_a_file(tmp_path):
    want = pictures((3, 24, 30))
    instance(want, 12).write(tmp_path / "a.dcm")
    done = dicore_cli("transcode", tmp_path / "a.dcm", "--to", "JPEGLSLossless", "-o", tmp_path / "b.dcm", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["frames"] == 3
    made = dicore.read(tmp_path / "b.dcm")
    assert made.transfer_syntax == P + "80"
    np.testing.assert_array_equal(made.pixels(), want)


def test_a_folder_goes_on_where_it_stopped_and_past_bad_files(tmp_path):
    inside = tmp_path / "in" / "deep"
    inside.mkdir(parents=True)
    for n in range(4):
        instance(pictures((2, 16, 16), seed=n), 12).write(inside / f"{n}.dcm")
    (inside / "bad.dcm").write_bytes(b"no DICOM at all, but long enough to be looked at" * 9)
    dicore.new("Basic Text SR Storage", PatientID="1").write(inside / "text.dcm")
    out = tmp_path / "out"
    done = dicore_cli("transcode", tmp_path / "in", "-t", "RLELossless", "-o", out, "--json")
    assert done.returncode == 1
    assert "bad.dcm" in done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == 5
    assert sum(row["copied"] for row in rows) == 1
    assert {p.name for p in (out / "deep").iterdir()} == {"0.dcm", "1.dcm", "2.dcm", "3.dcm", "text.dcm"}
    (inside / "bad.dcm").unlink()
    (out / "deep" / "2.dcm").unlink()  # gone: again
    instance(pictures((2, 16, 16), seed=9), 12).write(inside / "3.dcm")  # changed: again
    with (out / ".dicore-transcode.journal").open("a") as journal:
        journal.write('["cut sho')
    done = dicore_cli("transcode", tmp_path / "in", "-t", "RLELossless", "-o", out, "--json")
    assert done.returncode == 0, done.stderr
    assert {json.loads(line)["file"].rpartition("/")[2] for line in done.stdout.splitlines()} == {"2.dcm", "3.dcm"}
    np.testing.assert_array_equal(dicore.read(out / "deep" / "3.dcm").pixels(), pictures((2, 16, 16), seed=9))
    done = dicore_cli("transcode", tmp_path / "in", "-t", "JPEGLSLossless", "-o", out)
    assert "5 files" in done.stdout  # another question: everything
    assert dicore.read(out / "deep" / "0.dcm").transfer_syntax == P + "80"


def test_usage_errors(tmp_path):
    instance(pictures((1, 8, 8)), 12).write(tmp_path / "a.dcm")
    assert dicore_cli("transcode", tmp_path / "a.dcm", "-t", "Betamax", "-o", tmp_path / "b.dcm").returncode == 2
    assert (
        dicore_cli("transcode", tmp_path, "-t", "RLELossless", "-o", tmp_path / "x", "--ratio", "0.5").returncode == 2
    )
    assert dicore_cli("transcode", tmp_path / "a.dcm", "-t", "RLELossless", "-o", tmp_path).returncode == 2


def test_codecs_says_who_encodes_and_what_could_be_installed():
    rows = {r["syntax"]: r for r in map(json.loads, dicore_cli("codecs", "--json").stdout.splitlines())}
    assert rows[P + "70"]["encode_by"] == rows[P + "70"]["decode_by"].split(", ")[0] == "dicore"
    assert rows[P + "201"]["encode_by"] == "imagecodecs"
    assert "PyAV" in rows[P + "102"]["decode_by"] + rows[P + "102"]["installable"]


@pytest.fixture
def pictures_on_disk(tmp_path):
    import imagecodecs as ic

    y, x = np.mgrid[:60, :80]
    grey = ((x * 3 + y * 2) % 256).astype("u1")
    rgb = np.stack([grey, 255 - grey, grey // 2], axis=-1)
    files = {
        "g.png": ic.png_encode(grey),
        "g16.png": ic.png_encode(grey.astype("u2") * 200),
        "rgb.png": ic.png_encode(rgb),
        "c.jpg": ic.jpeg8_encode(rgb, level=90),
        "g.jpg": ic.jpeg8_encode(grey, level=90),
        "d.pdf": b"%PDF-1.4\n1 0 obj<<>>endobj\ntrailer<<>>\n%%EOF",
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(bytes(data))
    arrays = {
        "bits.npy": np.stack([grey > 100, grey > 50]),
        "signed.npy": grey.astype("i2") - 100,
        "frames.npy": np.stack([grey.astype("i2") - 100] * 3),
        "bytes.npy": np.stack([grey] * 3),
        "colour.npy": np.stack([rgb] * 2),
    }
    for name, array in arrays.items():
        np.save(tmp_path / name, array)
    return {"g.png": grey, "g16.png": grey.astype("u2") * 200, "rgb.png": rgb, **arrays}


CLASSES = {
    "g.png": "7",
    "g16.png": "7",
    "rgb.png": "7",
    "c.jpg": "7",
    "g.jpg": "7",
    "d.pdf": "104.1",
    "bits.npy": "7.1",
    "signed.npy": "7",
    "frames.npy": "7.3",
    "bytes.npy": "7.2",
    "colour.npy": "7.4",
}


@pytest.mark.parametrize("name", CLASSES)
def test_make_gives_valid_instances(name, tmp_path, pictures_on_disk):
    to = tmp_path / "made.dcm"
    done = dicore_cli("make", tmp_path / name, "-o", to, "--patient-id", "4711", "--patient-name", "DOE^JANE", "--json")
    assert done.returncode == 0, done.stderr
    ds = dicore.read(to)
    assert ds.SOPClassUID == "1.2.840.10008.5.1.4.1.1." + CLASSES[name]
    assert (ds.PatientID, ds.PatientName) == ("4711", "DOE^JANE")
    if name in pictures_on_disk:
        want = pictures_on_disk[name]
        got = ds.pixels().astype(int) + int(float(ds.get("RescaleIntercept") or 0))
        np.testing.assert_array_equal(got, want.astype(int))
    elif name == "d.pdf":
        assert bytes(ds.EncapsulatedDocument)[: ds.EncapsulatedDocumentLength] == (tmp_path / name).read_bytes()
    else:  # the JPEG itself, not another one
        _, items = ds._frame_source()
        data = (tmp_path / name).read_bytes()
        assert bytes(items.frame(0))[: len(data)] == data
        assert ds.LossyImageCompression == "01"
    if (check := shutil.which("dciodvfy")) is not None:
        report = subprocess.run([check, to], capture_output=True, text=True)
        assert [line for line in (report.stdout + report.stderr).splitlines() if line.startswith("Error")] == []


def test_make_for_a_known_study_and_with_options(tmp_path, pictures_on_disk):
    known = instance(pictures((1, 8, 8)), 12, StudyInstanceUID="1.2.3", StudyDate="20260101", AccessionNumber="A1")
    known.write(tmp_path / "like.dcm")
    photo = ["make", tmp_path / "c.jpg", tmp_path / "rgb.png", "--class", "photo", "--like", tmp_path / "like.dcm"]
    done = dicore_cli(*photo, "-o", tmp_path / "photos", "-s", "SeriesDescription=Wounds")
    assert done.returncode == 0, done.stderr
    made = [dicore.read(tmp_path / "photos" / f"{name}.dcm") for name in ("c.jpg", "rgb.png")]
    for ds in made:
        assert ds.SOPClassUID == "1.2.840.10008.5.1.4.1.1.77.1.4"
        assert (ds.StudyInstanceUID, ds.AccessionNumber, ds.PatientName) == ("1.2.3", "A1", "DOE^JANE")
        assert (ds.Modality, ds.SeriesDescription) == ("XC", "Wounds")
    assert made[0].SeriesInstanceUID == made[1].SeriesInstanceUID
    done = dicore_cli(
        "make", tmp_path / "g.png", tmp_path / "g.png", "--frames", "-t", "RLELossless", "-o", tmp_path / "two.dcm"
    )
    two = dicore.read(tmp_path / "two.dcm")
    assert (two.NumberOfFrames, two.transfer_syntax) == (2, "1.2.840.10008.1.2.5")
    for wrong in ([tmp_path / "like.dcm"], [tmp_path / "g.png", tmp_path / "rgb.png", "--frames"]):
        assert dicore_cli("make", *wrong, "-o", tmp_path / "no.dcm").returncode == 1
