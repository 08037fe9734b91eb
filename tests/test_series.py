"""`read_series`: slices in the order in which they lie, whatever the files are called."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dicore
from dicore.content.contours import Contour
from dicore.errors import DicomFormatError

AXIAL = (1, 0, 0, 0, 1, 0)
OBLIQUE = (0.8, 0.6, 0.0, 0.0, 0.0, -1.0)


def image(position: Any, value: int, number: int = 1, orientation: Any = AXIAL, **more: Any) -> dicore.Dataset:
    pixels = np.full((3, 4), value, "<i2") + np.arange(4, dtype="<i2")
    return dicore.new(
        "CT Image Storage", {
            "Modality": "CT", "SeriesInstanceUID": "1.2.3", "FrameOfReferenceUID": "1.2.4", "InstanceNumber": number,
            "ImagePositionPatient": [float(v) for v in position], "ImageOrientationPatient": list(orientation),
            "PixelSpacing": [2.0, 0.5], "Rows": 3, "Columns": 4, "BitsAllocated": 16, "BitsStored": 16, "HighBit": 15,
            "PixelRepresentation": 1, "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2",
            "RescaleSlope": "2", "RescaleIntercept": "-1000", "PixelData": pixels.tobytes(),
        } | more,
    )  # fmt: skip


def stack(places: Any = range(0, 15, 3), **more: Any) -> list[dicore.Dataset]:
    found = [image((10, 20, z), 100 * n, 99 - n, **more) for n, z in enumerate(places)]
    random.Random(1).shuffle(found)
    return found


def test_slices_are_sorted_by_position_and_rescaled(tmp_path: Path) -> None:
    for n, ds in enumerate(stack()):
        ds.write(tmp_path / f"{n}.dcm")
    (tmp_path / "notes.txt").write_text("not DICOM")
    series = dicore.read_series(tmp_path, threads=2)
    assert series.volume.dtype == np.float32
    assert series.volume.shape == series.shape == (5, 3, 4)
    assert series.volume[:, 0, 0].tolist() == [-1000, -800, -600, -400, -200]
    assert series.read(stored=True)[:, 0, 1].tolist() == [1, 101, 201, 301, 401]
    assert series.spacing == (3.0, 2.0, 0.5)
    assert (series.affine @ [2, 1, 3, 1]).tolist() == [11.5, 22, 6, 1]
    assert (series.affine_ras @ [2, 1, 3, 1]).tolist() == [-11.5, -22, 6, 1]
    assert np.allclose(series.to_index(series.to_mm([[1, 2, 3]])), [[1, 2, 3]])
    assert (series.gaps, series.duplicates, series.warnings, series.uniform) == ((), (), [], True)
    assert [Path(e.source).name for e in series.excluded] == ["notes.txt"]
    assert [ds.InstanceNumber for ds in series.datasets] == [99, 98, 97, 96, 95]


def test_oblique_slices_and_an_out_array() -> None:
    normal = np.cross(OBLIQUE[:3], OBLIQUE[3:])
    series = dicore.read_series([image(n * 4 * normal, n, orientation=OBLIQUE) for n in (2, 0, 1)])
    out = np.empty(series.shape, np.float64)
    assert series.read(out=out) is out
    assert out[:, 0, 0].tolist() == [-1000, -998, -996]
    assert series.spacing[0] == pytest.approx(4)
    assert np.allclose((series.affine @ [2, 0, 0, 1])[:3], 8 * normal)
    with pytest.raises(ValueError, match="out is"):
        series.read(out=np.empty((3, 3, 3), np.float32))


def test_gaps_are_reported() -> None:
    series = dicore.read_series(stack((0, 3, 6, 15, 18)))
    assert series.gaps == ((2, 9.0, 2),)
    assert series.spacing[0] == 3
    assert "2 slices are missing" in series.warnings[0]
    with pytest.raises(DicomFormatError, match="missing behind slice 2"):
        dicore.read_series(stack((0, 3, 6, 15, 18)), strict=True)
    uneven = dicore.read_series(stack((0, 3, 6.5, 9, 12)))
    assert not uneven.uniform
    assert "apart" in uneven.warnings[0]


def test_a_tilted_gantry_stays_in_the_affine() -> None:
    series = dicore.read_series([image((0, n * 1.0, n * 4.0), n) for n in range(4)])
    assert series.uniform
    assert series.tilt == pytest.approx(np.degrees(np.arctan(1 / 4)))
    assert series.spacing[0] == pytest.approx(4)
    assert np.allclose((series.affine @ [3, 0, 0, 1])[:3], [0, 3, 12])


def test_duplicates_are_left_out_and_told() -> None:
    images = stack()
    again = dicore.read_series([*images, images[0]])
    assert len(again) == 5
    assert again.duplicates[0].identical
    other = dicore.read_series([*images, image((10, 20, 6), 7, 200)])
    assert (len(other), other.duplicates[0].identical) == (5, False)
    assert other.volume[2, 0, 0] == -600


def test_echoes_at_the_same_places_are_a_fourth_dimension() -> None:
    both = [*stack(EchoTime=20.0, RescaleIntercept="0"), *stack(EchoTime=5.0)]
    series = dicore.read_series(both)
    assert (series.dimension, series.dimension_values, series.shape) == ("EchoTime", (5.0, 20.0), (2, 5, 3, 4))
    assert series.volume[:, 1, 0, 0].tolist() == [-800, 200]
    assert dicore.read_series(both, select={"EchoTime": 20}).volume[1, 0, 0] == 200


def test_mixed_images_are_refused_by_name_and_can_be_split() -> None:
    mixed = [*stack(), *(image((0, n, 0), n, orientation=(1, 0, 0, 0, 0, -1)) for n in range(3))]
    with pytest.raises(DicomFormatError, match=r"2 volumes.*5 frames 3 x 4 axial.*3 frames 3 x 4 coronal"):
        dicore.read_series(mixed)
    assert [len(s) for s in dicore.split_series(mixed)] == [5, 3]
    two = [*stack(), *stack(SeriesInstanceUID="1.2.9")]
    assert dicore.read_series(two, series_uid="1.2.9").uid == "1.2.9"
    with pytest.raises(DicomFormatError, match=r"no image of series 9; expected one of 1\.2\.3"):
        dicore.read_series(stack(), series_uid="9")


def test_localizers_and_images_without_a_place_are_excluded_with_the_reason() -> None:
    scout = image((0, 0, 0), 1, orientation=(1, 0, 0, 0, 0, -1), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    lost = image((0, 0, 0), 1, ImagePositionPatient=dicore.DELETE)
    series = dicore.read_series([scout, lost, *stack()])
    assert sorted(e.reason for e in series.excluded) == [
        "a localizer (Image Type)", "no position or orientation in the patient",
    ]  # fmt: skip
    assert len(dicore.read_series([scout])) == 1
    with pytest.raises(DicomFormatError, match="no position"):
        dicore.read_series([lost])
    with pytest.raises(FileNotFoundError):
        dicore.read_series("/nowhere/at/all")


def enhanced(times: int) -> dicore.Dataset:
    frames = [(t, z) for z in (6, 0, 3) for t in range(times)]
    pixels = np.array([np.full((3, 4), 10 * t + z) for t, z in frames], "<i2")
    per_frame = [
        {
            "FrameContentSequence": [{"StackID": "1", "TemporalPositionIndex": t + 1}],
            "PlanePositionSequence": [{"ImagePositionPatient": [0, 0, z]}],
            "PixelValueTransformationSequence": [{"RescaleSlope": str(t + 1), "RescaleIntercept": "0"}],
        }
        for t, z in frames
    ]
    shared = {
        "PlaneOrientationSequence": [{"ImageOrientationPatient": list(AXIAL)}],
        "PixelMeasuresSequence": [{"PixelSpacing": [2.0, 0.5], "SliceThickness": 3.0}],
    }
    gone = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept")
    return image(
        (0, 0, 0), 0, NumberOfFrames=len(frames), PixelData=pixels.tobytes(),
        SharedFunctionalGroupsSequence=[shared], PerFrameFunctionalGroupsSequence=per_frame,
        **dict.fromkeys(gone, dicore.DELETE),
    )  # fmt: skip


def test_an_enhanced_multi_frame_image_is_a_volume() -> None:
    series = dicore.read_series(enhanced(1))
    assert series.volume[:, 0, 0].tolist() == [0, 3, 6]
    assert series.spacing == (3.0, 2.0, 0.5)
    moving = dicore.read_series(enhanced(2))
    assert (moving.dimension, moving.shape) == ("TemporalPositionIndex", (2, 3, 3, 4))
    assert moving.volume[:, :, 0, 0].tolist() == [[0, 3, 6], [20, 26, 32]]  # the slope is the frame's own


def test_contours_become_a_mask_and_the_inner_one_a_hole() -> None:
    ds = [image((0, 0, z), 0, PixelSpacing=[1.0, 1.0], Rows=20, Columns=20, PixelData=bytes(800)) for z in (0, 2, 4)]
    series = dicore.read_series(ds)

    def square(low: float, high: float, z: float) -> Contour:
        points = np.array([(low, low, z), (high, low, z), (high, high, z), (low, high, z)], float)
        return Contour(points, "CLOSED_PLANAR", (), None)

    mask = series.mask([square(1.5, 11.5, 2), square(4.5, 8.5, 2.1)])
    assert mask.sum(axis=(1, 2)).tolist() == [0, 100 - 16, 0]
    assert mask[1, 2, 2]
    assert not mask[1, 6, 6]
    with pytest.raises(ValueError, match="where there is no slice"):
        series.mask([square(1, 5, 9)])
    assert not series.mask([square(1, 5, 9)], outside="ignore").any()


def test_a_series_of_a_store(tmp_path: Path) -> None:
    with dicore.Store(tmp_path / "store", segment_size=1 << 20) as store:
        paths = [tmp_path / f"{n}.dcm" for n in range(5)]
        for path, ds in zip(paths, stack(StudyInstanceUID="1.2.5"), strict=True):
            ds.write(path)
        store.add(paths)
        series = dicore.read_series(store, series_uid="1.2.3")
        assert series.volume[:, 0, 0].tolist() == [-1000, -800, -600, -400, -200]
        with pytest.raises(ValueError, match="series_uid"):
            dicore.read_series(store)
        del series


def test_colour_stays_as_stored_and_compressed_slices_are_decoded(corpus: Path) -> None:
    folder = corpus / "dev/pydicom/src/pydicom/data/test_files"
    plain = dicore.read_series(folder / "MR_small.dcm")
    packed = dicore.read_series(folder / "MR_small_RLE.dcm")
    assert np.array_equal(plain.volume, packed.volume)
    dose = dicore.read_series(folder / "rtdose.dcm")
    assert dose.shape == (15, 10, 10)
    assert dose.spacing == (5.0, 10.0, 10.0)
