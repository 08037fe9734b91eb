"""Every modality is what it says: a validator, two other readers, and its own pixels agree."""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

import dicore
from dicore import synth
from dicore.synth import sheet

OTHERS = [one for one in synth.MODALITIES if one not in ("CT", "MR")]


@pytest.mark.parametrize("modality", synth.MODALITIES)
def test_no_validator_finds_an_error(modality: str, tmp_path: Path) -> None:
    if shutil.which("dciodvfy") is None or shutil.which("dcmdump") is None:
        pytest.skip("dicom3tools and dcmtk are needed")
    for number, one in enumerate(synth.studies(5, 2, modality, slices=6, size=96)):
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(one.data)
        said = subprocess.run(["dciodvfy", path], capture_output=True, text=True, errors="replace").stderr
        assert [line for line in said.splitlines() if line.startswith("Error")] == []
        assert subprocess.run(["dcmdump", "-q", path], capture_output=True).returncode == 0


@pytest.mark.parametrize("modality", OTHERS)
def test_pydicom_and_dicore_see_the_same_pixels_and_the_same_patient(modality: str) -> None:
    for one in synth.studies(7, 1, modality, slices=6, size=64):
        theirs, ours = pydicom.dcmread(io.BytesIO(one.data)), dicore.Dataset.from_bytes(one.data)
        assert theirs.SOPInstanceUID == one.sop_instance_uid == ours.SOPInstanceUID
        assert theirs.SOPClassUID == one.sop_class_uid
        assert theirs.InstitutionName == "TEST"
        assert theirs.PatientName == str(ours.PatientName)
        assert ("PixelData" in theirs) == (one.modality not in ("SR", "ECG", "DOC", "RTSTRUCT", "RTPLAN"))
        if "PixelData" in theirs:
            assert np.array_equal(theirs.pixel_array, np.squeeze(ours.pixels(raw=True)))
            assert theirs.pixel_array.std() > 1


@pytest.mark.parametrize("modality", OTHERS)
def test_the_same_arguments_give_the_same_bytes_and_other_seeds_other_ones(modality: str) -> None:
    def made(seed: int) -> list[bytes]:
        return [one.data for one in synth.studies(seed, 1, modality, slices=2, size=64)]

    assert made(1) == made(1)
    assert made(1) != made(2)


def test_an_ultrasound_series_has_a_loop_that_moves() -> None:
    *stills, loop = synth.studies(1, 1, "US", slices=6, size=64)
    frames = pydicom.dcmread(io.BytesIO(loop.data)).pixel_array
    assert frames.shape == (20, 48, 64)
    assert not np.array_equal(frames[0], frames[5])
    assert all(pydicom.dcmread(io.BytesIO(one.data)).pixel_array.shape == (48, 64, 3) for one in stills)


def test_the_slices_of_a_positron_tomogram_stack() -> None:
    positions = [
        pydicom.dcmread(io.BytesIO(one.data)).ImagePositionPatient[2]
        for one in synth.studies(1, 1, "PT", slices=5, size=32)
    ]
    assert np.allclose(np.diff(np.array(positions, float)), -3.27)


def test_the_contrast_of_an_angiography_comes_and_goes() -> None:
    (run,) = synth.studies(3, 1, "XA", slices=1, size=128)
    dark = (pydicom.dcmread(io.BytesIO(run.data)).pixel_array < 90).sum(axis=(1, 2))
    assert dark.max() > 2 * dark[0] + 10


def treatment() -> tuple[list[dicore.Dataset], dict[str, dicore.Dataset]]:
    read = [dicore.Dataset.from_bytes(one.data) for one in synth.studies(4, 1, "RT", slices=24, size=128)]
    return [ds for ds in read if ds.Modality == "CT"], {ds.Modality: ds for ds in read if ds.Modality != "CT"}


def test_structures_are_drawn_on_the_slices_that_they_name() -> None:
    images, others = treatment()
    planes = {str(ds.SOPInstanceUID): float(ds.ImagePositionPatient[2]) for ds in images}
    rois = {roi.name: roi for roi in others["RTSTRUCT"].contours()}
    assert {"BODY", "Lung_R", "Lung_L", "SpinalCord", "GTV", "PTV"} == set(rois)
    for roi in rois.values():
        assert roi.frame_of_reference == images[0].FrameOfReferenceUID
        assert roi.contours
        for contour in roi.contours:
            assert set(contour.points[:, 2].round(2)) == {round(planes[contour.images[0]], 2)}
    reach = {name: np.concatenate([c.points for c in roi.contours]) for name, roi in rois.items()}
    for name, points in reach.items():
        assert (points[:, :2].min(axis=0) >= reach["BODY"][:, :2].min(axis=0) - 0.1).all(), name
        assert (points[:, :2].max(axis=0) <= reach["BODY"][:, :2].max(axis=0) + 0.1).all(), name
    assert reach["Lung_R"][:, 0].mean() < reach["Lung_L"][:, 0].mean()  # the patient's right is at lower x


def test_the_plan_aims_at_what_is_drawn_and_the_dose_is_there() -> None:
    images, others = treatment()
    structures, plan, dose = (others[name] for name in ("RTSTRUCT", "RTPLAN", "RTDOSE"))
    for ds, keyword, target in (
        (plan, "ReferencedStructureSetSequence", structures),
        (dose, "ReferencedRTPlanSequence", plan),
        (dose, "ReferencedStructureSetSequence", structures),
    ):
        assert ds[f"{keyword}[0].ReferencedSOPInstanceUID"].value == target.SOPInstanceUID
        assert ds[f"{keyword}[0].ReferencedSOPClassUID"].value == target.SOPClassUID
    isocentre = np.array(plan["BeamSequence[0].ControlPointSequence[0].IsocenterPosition"].value, float)
    target = next(roi for roi in structures.contours() if roi.name == "PTV")
    middle = np.concatenate([contour.points for contour in target.contours]).mean(axis=0)
    assert np.allclose(middle, isocentre, atol=0.5)
    grid = dose.dose()
    assert grid.units == "GY"
    assert sorted(round(float(ds.ImagePositionPatient[2]), 1) for ds in images) == [
        round(z, 1) for z in grid.positions[:, 2]
    ]
    at = np.linalg.inv(grid.affine) @ [*isocentre, 1.0]
    here = grid.values[tuple(np.rint(at[:3]).astype(int))]
    assert 55 < here < 65
    assert here > 0.9 * grid.values.max()
    assert grid.values[:, 0, 0].max() == 0  # in the air
    histogram = dose["DVHSequence[0].DVHData"].value[1::2]
    assert len(histogram) == dose["DVHSequence[0].DVHNumberOfBins"].value
    assert all(before >= after for before, after in itertools.pairwise(histogram))


def test_the_levels_of_a_slide_are_one_tissue_in_tiles() -> None:
    levels = [dicore.Dataset.from_bytes(one.data) for one in synth.studies(2, 1, "SM", slices=5, size=64)]
    sizes = [(ds.TotalPixelMatrixColumns, ds.TotalPixelMatrixRows) for ds in levels]
    assert sizes == [(256, 192), (128, 96), (64, 48), (32, 24), (256, 192)]
    assert [ds.NumberOfFrames for ds in levels[:4]] == [48, 12, 4, 1]
    whole = [sheet.picture(one).astype(float) for one in synth.studies(2, 1, "SM", slices=5, size=64)]
    small = whole[0].reshape(96, 2, 128, 2, 3).mean(axis=(1, 3))
    assert np.abs(small - whole[1]).mean() < 12 < np.abs(whole[0] - whole[4]).mean()
    spacing = [
        ds["SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing"].value[0] for ds in levels[:4]
    ]
    assert np.allclose(np.array(spacing) / spacing[0], [1, 2, 4, 8])


def test_a_stream_is_the_studies() -> None:
    async def made() -> list[bytes]:
        return [one.data async for one in synth.stream(3, 1, modality="CR", slices=2, size=64)]

    assert asyncio.run(made()) == [one.data for one in synth.studies(3, 1, "CR", slices=2, size=64)]


def test_every_kind_has_its_row_on_the_contact_sheet() -> None:
    data = synth.all_modalities(1, 64, tile=48)
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    for kind in synth.MODALITIES:
        pictures = [sheet.picture(one) for one in synth.studies(1, 1, kind, slices=2, size=64)]
        assert all(one.dtype == np.uint8 and one.std() > 3 for one in pictures)


@pytest.mark.slow
def test_orthanc_takes_every_kind_and_shows_what_has_pixels(tmp_path: Path) -> None:
    if shutil.which("Orthanc", path="/usr/sbin:/usr/bin") is None:
        pytest.skip("orthanc is needed")
    made = [
        one for kind in synth.MODALITIES for one in synth.studies(6, 1, kind, slices=2 if kind != "RT" else 4, size=64)
    ]
    files = []
    for number, one in enumerate(made):
        files.append(tmp_path / f"{number}.dcm")
        files[-1].write_bytes(one.data)
    with orthanc(tmp_path) as (port, http):
        report = dicore.blocking.send(files, to=f"ORTHANC@127.0.0.1:{port}")
        assert (report.sent, report.failed) == (len(made), 0), report.failures
        assert len(get(http, "/instances")) == len(made)
        for one in get(http, "/instances?expand"):
            if one["MainDicomTags"].get("NumberOfFrames") or "PixelData" in pydicom.dcmread(
                io.BytesIO(get(http, f"/instances/{one['ID']}/file", raw=True)), stop_before_pixels=False
            ):
                assert get(http, f"/instances/{one['ID']}/preview", raw=True)[:4] == b"\x89PNG"


@contextlib.contextmanager
def orthanc(folder: Path) -> Iterator[tuple[int, int]]:
    """(DICOM port, HTTP port) of a running Orthanc over an empty folder."""
    port, http = (free_port() for _ in range(2))
    conf = folder / "orthanc.json"
    conf.write_text(
        json.dumps(
            {
                "StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db"), "DicomPort": port,
                "HttpPort": http, "DicomAlwaysAllowStore": True, "RemoteAccessAllowed": False, "Plugins": [],
                "AuthenticationEnabled": False,
            }
        )
    )  # fmt: skip
    process = subprocess.Popen(["/usr/sbin/Orthanc", conf], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            with contextlib.suppress(OSError):
                get(http, "/system")
                break
            assert process.poll() is None
            time.sleep(0.1)
        yield port, http
    finally:
        process.terminate()
        process.wait(20)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def get(http: int, path: str, raw: bool = False) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{http}{path}", timeout=30) as answer:
        data = answer.read()
    return data if raw else json.loads(data)


def test_a_modality_that_does_not_exist_is_named() -> None:
    with pytest.raises(ValueError, match="modality 'XX'"):
        next(iter(synth.studies(modality="XX")))  # type: ignore[arg-type]
