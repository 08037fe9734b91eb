"""Waveforms, doses, SUV, real-world values, contours, segments and reports: real files, and files made for what the
corpus lacks, against pydicom, DCMTK and the standard's own formulas."""

from __future__ import annotations

import math
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.waveforms import multiplex_array

import dicore
from conftest import absent, peer_module
from dicore.content.contours import fill_polygon
from dicore.errors import DicomFormatError, MissingElement

EXPLICIT = "1.2.840.10008.1.2.1"


@pytest.fixture(scope="session")
def files(corpus: Path) -> Path:
    return corpus / "dev/pydicom/src/pydicom/data/test_files"


@pytest.fixture(scope="session")
def more(corpus: Path) -> Path:
    return corpus / "dev/pydicom-data/data_store/data"


# ---- waveforms
def test_ecg_is_what_pydicom_makes_of_it_with_units(files: Path) -> None:
    groups = dicore.read(files / "waveform_ecg.dcm").waveform()
    theirs = pydicom.dcmread(files / "waveform_ecg.dcm")
    assert [len(group) for group in groups] == [10000, 1200]
    for number, group in enumerate(groups):
        assert np.array_equal(group.samples, multiplex_array(theirs, number, as_raw=False))
        assert np.array_equal(group.stored, multiplex_array(theirs, number, as_raw=True))
    first = groups[0]
    assert (first.label, first.sampling_frequency, first.channels[1].name) == ("RHYTHM", 1000.0, "Lead II")
    assert {channel.units for channel in first.channels} == {"uV"}
    assert first.times[-1] == pytest.approx(9.999)


def wave(interpretation: str, bits: int, data: bytes, samples: int, **more: Any) -> dicore.Dataset:
    group = {
        "NumberOfWaveformChannels": 2, "NumberOfWaveformSamples": samples, "SamplingFrequency": 500.0,
        "WaveformBitsAllocated": bits, "WaveformSampleInterpretation": interpretation,
        "WaveformData": dicore.Typed("OB" if bits == 8 else "OW", data),
        "ChannelDefinitionSequence": [
            {"ChannelSensitivity": 2.0, "ChannelSensitivityCorrectionFactor": 0.5, "ChannelBaseline": 10.0}, {},
        ],
    } | more  # fmt: skip
    return dicore.new("1.2.840.10008.5.1.4.1.1.9.1.2", WaveformSequence=[group])


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("SB", "i1"), ("UB", "u1"), ("SS", "<i2"), ("US", "<u2"), ("SL", "<i4"), ("UL", "<u4"), ("SV", "<i8")],
)
def test_every_sample_width(name: str, dtype: str) -> None:
    stored = np.array([[1, 2], [100, 120], [7, -8 if dtype[-2] == "i" else 8]], dtype)
    ds = wave(name, stored.dtype.itemsize * 8, stored.tobytes(), 3)
    (group,) = ds.waveform()
    assert np.array_equal(group.stored, stored)
    assert np.array_equal(group.samples, stored * [1.0, 1.0] + [10.0, 0.0])
    if name in ("SS", "SB"):
        big = dicore.read(ds.to_bytes("1.2.840.10008.1.2.2"))
        assert np.array_equal(big.waveform()[0].stored, stored)


@pytest.mark.parametrize("law", ["MB", "AB"])
def test_companded_samples_are_those_of_g711(law: str) -> None:
    audioop = peer_module("audioop")
    expand = audioop.ulaw2lin if law == "MB" else audioop.alaw2lin
    every = bytes(range(256))
    (group,) = wave(law, 8, every, 128).waveform()
    assert np.array_equal(group.stored.ravel(), np.frombuffer(expand(every, 2), "<i2"))


def test_padding_is_nan() -> None:
    stored = np.array([[1, -32768], [3, 4]], "<i2")
    (group,) = wave("SS", 16, stored.tobytes(), 2, WaveformPaddingValue=dicore.Typed("OW", b"\0\x80")).waveform()
    assert math.isnan(group.samples[0, 1])
    assert np.isnan(group.samples).sum() == 1


def test_a_waveform_that_lacks_something_says_what() -> None:
    with pytest.raises(DicomFormatError, match="has 4 bytes; expected 12"):
        wave("SS", 16, bytes(4), 3).waveform()
    with pytest.raises(DicomFormatError, match="WaveformBitsAllocated is 8; expected 16"):
        wave("SS", 8, bytes(12), 3).waveform()
    with pytest.raises(MissingElement, match=r"SamplingFrequency \(003A,001A\) is empty"):
        wave("SS", 16, bytes(12), 3, SamplingFrequency=None).waveform()
    with pytest.raises(MissingElement, match="WaveformSequence"):
        dicore.new("CT Image Storage").waveform()


# ---- doses
def test_dose_grid_is_stored_values_times_scaling(files: Path) -> None:
    path = files / "rtdose.dcm"
    theirs = pydicom.dcmread(path)
    dose = dicore.read(path).dose()
    assert np.array_equal(dose.values, theirs.pixel_array * float(theirs.DoseGridScaling))
    assert (dose.units, dose.type, dose.summation) == ("RELATIVE", "PHYSICAL", "BEAM")
    assert np.allclose(dose.distances, theirs.GridFrameOffsetVector)
    corner = dose.affine @ [2, 3, 4, 1]
    x, y, z = theirs.ImagePositionPatient
    across, down = theirs.ImageOrientationPatient[:3], theirs.ImageOrientationPatient[3:]
    between_rows, between_columns = theirs.PixelSpacing
    by_hand = np.array([x, y, z]) + 4 * between_columns * np.array(across) + 3 * between_rows * np.array(down)
    assert np.allclose(corner[:3], by_hand + np.cross(across, down) * theirs.GridFrameOffsetVector[2])


def grid(offsets: list[float], orientation: tuple[float, ...] = (1, 0, 0, 0, 1, 0), **more: Any) -> dicore.Dataset:
    values = np.arange(len(offsets) * 4, dtype="<u2")
    return dicore.new(
        "RT Dose Storage", {
            "Rows": 2, "Columns": 2, "BitsAllocated": 16, "BitsStored": 16, "HighBit": 15, "PixelRepresentation": 0,
            "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2", "NumberOfFrames": len(offsets),
            "PixelData": values.tobytes(), "DoseUnits": "GY", "DoseGridScaling": "0.01",
            "GridFrameOffsetVector": offsets, "ImagePositionPatient": [10, 20, -30], "PixelSpacing": [2, 3],
            "ImageOrientationPatient": list(orientation),
        } | more,
    )  # fmt: skip


def test_grid_offsets_are_relative_or_absolute() -> None:
    relative = grid([0, 2, 5]).dose()
    absolute = grid([-30, -28, -25]).dose()
    assert np.array_equal(relative.positions, absolute.positions)
    assert relative.positions[:, 2].tolist() == [-30, -28, -25]
    assert relative.values[2, 1, 1] == pytest.approx(0.11)
    with pytest.raises(ValueError, match="not equidistant"):
        _ = relative.affine
    with pytest.raises(DicomFormatError, match="begins with 0"):
        grid([-29, -28, -25]).dose()
    with pytest.raises(DicomFormatError, match="begins with 0"):  # absolute z of a grid that is not axial
        grid([-30, -28, -25], (1, 0, 0, 0, 0, -1)).dose()


def test_a_dose_without_scaling_is_no_dose() -> None:
    with pytest.raises(MissingElement, match=r"DoseGridScaling \(3004,000E\) is missing"):
        grid([0, 2], DoseGridScaling=dicore.DELETE).dose()


# ---- SUV
def pet(drug: dict[str, Any] | None = None, **more: Any) -> dicore.Dataset:
    drug = {
        "RadiopharmaceuticalStartTime": "100000", "RadionuclideTotalDose": "370000000", "RadionuclideHalfLife": "6586.2"
    } | (drug or {})  # fmt: skip
    return dicore.new(
        "Positron Emission Tomography Image Storage", {
            "Rows": 1, "Columns": 2, "BitsAllocated": 16, "BitsStored": 16, "HighBit": 15, "PixelRepresentation": 1,
            "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2", "RescaleSlope": "2.5",
            "RescaleIntercept": "0", "PixelData": np.array([1000, 4000], "<i2").tobytes(), "Units": "BQML",
            "DecayCorrection": "START", "CorrectedImage": ["ATTN", "DECY"], "SeriesDate": "20240305",
            "SeriesTime": "110000", "AcquisitionDate": "20240305", "AcquisitionTime": "110500", "PatientWeight": "80",
            "PatientSize": "1.8", "PatientSex": "M", "FrameReferenceTime": "300000", "ActualFrameDuration": "120000",
            "RadiopharmaceuticalInformationSequence": [drug],
        } | more,
    )  # fmt: skip


BW = 2500 * 80_000 / (370e6 * 2 ** (-3600 / 6586.2))  # of the first pixel, an hour after injection


def test_suv_by_body_weight_is_the_formula() -> None:
    found = pet().suv()
    assert found.dtype == np.float32
    assert found[0].tolist() == pytest.approx([BW, 4 * BW])


def test_suv_by_lean_mass_and_surface() -> None:
    def ratio(kind: str, **more: Any) -> float:
        return float(pet(**more).suv(kind)[0, 0]) / BW * 80

    assert ratio("lbm") == pytest.approx(1.10 * 80 - 120 * (80 / 180) ** 2)
    assert ratio("lbmjames128") == pytest.approx(1.10 * 80 - 128 * (80 / 180) ** 2)
    assert ratio("lbm", PatientSex="F") == pytest.approx(1.07 * 80 - 148 * (80 / 180) ** 2)
    assert ratio("lbmjanma") == pytest.approx(9270 * 80 / (6680 + 216 * 80 / 1.8**2))
    assert ratio("bsa") == pytest.approx(0.007184 * 80**0.425 * 180**0.725 * 10)


def test_an_injection_before_midnight() -> None:
    after = pet({"RadiopharmaceuticalStartTime": "233000"}, SeriesTime="003000", AcquisitionTime="003500")
    assert after.suv()[0, 0] == pytest.approx(BW)
    told = pet({"RadiopharmaceuticalStartDateTime": "20240305100000.00+0100"})
    assert told.suv()[0, 0] == pytest.approx(BW)


def test_decay_correction_to_administration_or_none() -> None:
    assert pet(DecayCorrection="ADMIN").suv()[0, 0] == pytest.approx(2500 * 80_000 / 370e6)
    constant = math.log(2) / 6586.2  # the activity has its mean at about half of the frame
    mean = math.log(constant * 120 / (1 - math.exp(-constant * 120))) / constant
    expected = 2500 * 80_000 / (370e6 * 2 ** (-(3900 + mean) / 6586.2))
    assert pet(DecayCorrection="NONE").suv()[0, 0] == pytest.approx(expected)


def test_a_derived_series_is_timed_by_its_frames() -> None:
    constant = math.log(2) / 6586.2
    mean = math.log(constant * 120 / (1 - math.exp(-constant * 120))) / constant
    expected = 2500 * 80_000 / (370e6 * 2 ** (-(3900 + mean - 300) / 6586.2))
    assert pet(SeriesTime="180000").suv()[0, 0] == pytest.approx(expected)
    with pytest.raises(DicomFormatError, match="FrameReferenceTime"):
        pet(SeriesTime="180000", FrameReferenceTime=dicore.DELETE).suv()


def test_units_that_are_suv_and_counts_of_philips() -> None:
    assert pet(Units="GML").suv()[0].tolist() == [2500, 10000]
    assert pet(Units="GML", SUVType="LBM").suv("lbm")[0, 0] == 2500
    counts = pet(Units="CNTS")
    with pytest.raises(MissingElement, match="CNTS"):
        counts.suv()
    counts[0x7053, 0x0010] = dicore.Typed("LO", "Philips PET Private Group")
    counts[0x7053, 0x1009] = dicore.Typed("DS", "2.0")
    assert counts.suv()[0, 0] == pytest.approx(2 * BW)
    counts[0x7053, 0x1000] = dicore.Typed("DS", "0.001")
    assert counts.suv()[0, 0] == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("keyword", "of_drug"),
    [("PatientWeight", False), ("DecayCorrection", False), ("Units", False), ("RadionuclideTotalDose", True),
     ("RadionuclideHalfLife", True), ("RadiopharmaceuticalStartTime", True)],
)  # fmt: skip
def test_suv_names_what_is_missing(keyword: str, of_drug: bool) -> None:
    ds = pet({keyword: None}) if of_drug else pet(**{keyword: None})
    with pytest.raises(MissingElement, match=keyword):
        ds.suv()


def test_suv_refuses_what_cannot_be() -> None:
    with pytest.raises(DicomFormatError, match=r"PatientSize is 180\.0; expected metres"):
        pet(PatientSize="180").suv("lbm")
    with pytest.raises(DicomFormatError, match="before the administration"):
        pet({"RadiopharmaceuticalStartDateTime": "20240306100000"}).suv()
    with pytest.raises(ValueError, match="no kind of SUV"):
        pet().suv("kg")


# ---- real-world values
def test_parametric_map(more: Path) -> None:
    path = more / "parametric_map_float.dcm"
    (found,) = dicore.read(path).real_world_values()
    stored = pydicom.dcmread(path).pixel_array
    inside = (stored >= 0) & (stored <= 1)
    assert found.units == ("1", "UCUM", "no units")
    assert np.array_equal(found.values()[0][inside], stored[inside].astype(float))
    assert np.isnan(found.values()[0][~inside]).all()


def test_real_world_table_and_line() -> None:
    unit = [{"CodeValue": "mm2/s", "CodingSchemeDesignator": "UCUM", "CodeMeaning": "mm2/s"}]
    table = {"RealWorldValueFirstValueMapped": dicore.Typed("US", 999), "RealWorldValueLastValueMapped":
             dicore.Typed("US", 1001), "RealWorldValueLUTData": [1.5, 2.5, 3.5]}  # fmt: skip
    line = {"RealWorldValueFirstValueMapped": dicore.Typed("US", 0), "RealWorldValueLastValueMapped":
            dicore.Typed("US", 4000), "RealWorldValueSlope": 0.5, "RealWorldValueIntercept": 1.0,
            "MeasurementUnitsCodeSequence": unit}  # fmt: skip
    first, second = pet(RealWorldValueMappingSequence=[table, line]).real_world_values()
    assert first.values()[0, 0].tolist()[0] == 2.5
    assert math.isnan(first.values()[0, 0, 1])
    assert second.values().tolist() == [[[501.0, 2001.0]]]
    assert second.units is not None
    assert second.units.value == "mm2/s"
    with pytest.raises(MissingElement, match="RealWorldValueMappingSequence"):
        pet().real_world_values()


# ---- contours
def test_contours_of_a_structure_set(files: Path) -> None:
    rois = dicore.read(files / "rtstruct.dcm").contours()
    theirs = pydicom.dcmread(files / "rtstruct.dcm", force=True)
    assert [roi.name for roi in rois] == [item.ROIName for item in theirs.StructureSetROISequence]
    for roi, item in zip(rois, theirs.ROIContourSequence, strict=True):
        assert roi.colour == tuple(item.ROIDisplayColor)
        stored = [np.array(c.ContourData, float).reshape(-1, 3) for c in item.get("ContourSequence", [])]
        assert len(stored) == len(roi)
        assert all(np.array_equal(a.points, b) for a, b in zip(roi.contours, stored, strict=True))
    assert rois[0].interpreted_type == "EXTERNAL"


def test_contour_data_that_is_no_points(files: Path) -> None:
    ds = dicore.read(files / "rtstruct.dcm").edit({"ROIContourSequence[0].ContourSequence[0].ContourData": [1.0, 2.0]})
    with pytest.raises(DicomFormatError, match="2 numbers"):
        ds.contours()


def crossings(polygon: np.ndarray[Any, Any], row: int, column: int) -> bool:
    """The textbook's test of a point, one at a time."""
    inside = False
    for (r1, c1), (r2, c2) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if (r1 <= row < r2 or r2 <= row < r1) and c1 + (row - r1) * (c2 - c1) / (r2 - r1) <= column:
            inside = not inside
    return inside


def test_polygons_are_filled_even_odd_and_share_no_pixel() -> None:
    rng = np.random.default_rng(7)
    for _ in range(30):
        polygon = rng.uniform(-5, 25, (int(rng.integers(3, 12)), 2))
        mask = np.zeros((20, 18), bool)
        fill_polygon(mask, polygon)
        assert mask.tolist() == [[crossings(polygon, r, c) for c in range(18)] for r in range(20)]
    mask = np.zeros((6, 6), bool)
    fill_polygon(mask, np.array([[1, 1], [1, 4], [4, 4], [4, 1]], float))
    assert (int(mask.sum()), mask[1, 1], mask[4, 4]) == (9, True, False)


# ---- segments
@pytest.mark.parametrize("name", ["liver.dcm", "liver_rle.dcm", "liver_nonbyte_aligned.dcm", "liver_expb.dcm"])
def test_binary_segments(more: Path, name: str) -> None:
    (segment,) = dicore.read(more / name).segments()
    # pydicom does not decode 1-bit RLE: the same frames, uncompressed
    theirs = pydicom.dcmread(more / name.replace("_rle", ""))
    assert (segment.number, segment.label, segment.kind) == (1, "Liver", "BINARY")
    assert segment.type == ("T-62000", "SRT", "Liver")
    assert segment.array.dtype == bool
    assert np.array_equal(segment.array, theirs.pixel_array == 1)
    places = [g.PlanePositionSequence[0].ImagePositionPatient for g in theirs.PerFrameFunctionalGroupsSequence]
    assert np.array_equal(segment.positions, np.array(places, float))
    assert segment.sources[0][0].sop_instance_uid.startswith("1.2.392.200103.20080913")


def segmentation(kind: str, of_frames: list[int], values: np.ndarray[Any, Any], **more: Any) -> dicore.Dataset:
    per_frame = [{"SegmentIdentificationSequence": [{"ReferencedSegmentNumber": n}]} for n in of_frames]
    return dicore.new(
        "Segmentation Storage", {
            "Rows": values.shape[1], "Columns": values.shape[2], "NumberOfFrames": len(values), "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7,
            "PixelRepresentation": 0, "PixelData": values.astype(np.uint8).tobytes(), "SegmentationType": kind,
            "SegmentSequence": [{"SegmentNumber": 2, "SegmentLabel": "two"}, {"SegmentNumber": 1}],
            "PerFrameFunctionalGroupsSequence": per_frame if of_frames else dicore.DELETE,
        } | more,
    )  # fmt: skip


def test_fractional_and_label_map_segments() -> None:
    values = np.array([[[0, 50], [100, 200]], [[0, 1], [2, 2]], [[200, 0], [0, 0]]])
    one, two = segmentation("FRACTIONAL", [2, 1, 2], values, MaximumFractionalValue=200).segments()
    assert (one.frames, two.frames, two.label) == ((1,), (0, 2), "two")
    assert two.array.dtype == np.float32
    assert two.array.tolist() == [[[0, 0.25], [0.5, 1]], [[1, 0], [0, 0]]]
    one, two = segmentation("LABELMAP", [], values).segments()
    assert np.array_equal(one.array, values == 1)
    assert np.array_equal(two.array, values == 2)
    with pytest.raises(DicomFormatError, match="shows segment 3"):
        segmentation("BINARY", [1, 3, 2], values).segments()
    with pytest.raises(MissingElement, match="SegmentIdentificationSequence"):
        segmentation("BINARY", [], values).segments()


# ---- reports
def test_report_has_the_items_that_dcmtk_prints(files: Path) -> None:
    import shutil

    if not shutil.which("dsrdump"):
        absent("dsrdump is not installed: apt-get install dcmtk")
    path = files / "reportsi.dcm"
    printed = subprocess.run(["dsrdump", "-Ei", "-Er", str(path)], capture_output=True, text=True).stdout
    kinds = [line for line in printed.splitlines() if line.lstrip().startswith("<")]
    tree = dicore.read(path).sr_tree()
    assert len([node for node in tree.walk() if node.value_type]) == len(kinds) > 5
    text = dicore.read(path).sr_text()
    assert text.splitlines()[0] == "[Document Title]"
    assert "    Report Text: Enter text" in text


def test_measurements_have_numbers_units_and_places(files: Path) -> None:
    ds = dicore.read(files / "test-SR.dcm")
    found = ds.measurements()
    said = [(str(m.name), m.value, m.units and m.units.value) for m in found]
    assert said == [("Diameter", 3.0, "cm")] * 2
    assert found[0].modifiers == (("Code", "Sample Code"),)
    assert [node.reference for node in ds.sr_tree().walk() if node.reference] == ["1.3.2", "1.2.2.1"]
    with pytest.raises(MissingElement, match="no structured report"):
        dicore.new("CT Image Storage").sr_tree()
