"""Every modality is what it says: a validator, two other readers, and its own pixels agree."""

from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest

import dicore
from dicore import synth

OTHERS = [one for one in synth.MODALITIES if one not in ("CT", "MR")]
WITHOUT_PIXELS = ("SR", "ECG", "DOC")


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
        if modality not in WITHOUT_PIXELS:
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


def test_a_modality_that_does_not_exist_is_named() -> None:
    with pytest.raises(ValueError, match="modality 'XX'"):
        next(iter(synth.studies(modality="XX")))  # type: ignore[arg-type]
