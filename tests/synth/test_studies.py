"""The synthesiser: same seed, same bytes; files that others read; geometry that stacks."""

from __future__ import annotations

import hashlib
import itertools

import numpy as np
import pytest

import dicore
from conftest import peer_module
from dicore import synth


def digest(instances):
    return [hashlib.sha256(i.data).hexdigest() for i in instances]


def test_the_same_seed_gives_the_same_bytes_and_another_does_not():
    options = {"modality": "mixed", "slices": 3, "size": 64, "series": 2}
    one = digest(synth.studies(5, 2, **options))
    assert one == digest(synth.studies(5, 2, **options))
    assert one[:6] == digest(synth.studies(5, 1, **options))  # a study does not depend on how many follow
    assert len(set(one)) == 12
    assert not set(one) & set(digest(synth.studies(6, 2, **options)))


def test_an_instance_of_256_by_256_has_131_kb():
    (instance,) = synth.studies(1, slices=1, size=256)
    assert 131_072 < len(instance.data) < 134_000


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_every_instance_reads_and_says_what_it_is(modality):
    for instance in synth.studies(3, 1, modality, slices=4, size=64, series=2):
        ds = dicore.read(instance.data, strict=True)
        assert not ds.warnings
        assert ds.SOPInstanceUID == instance.sop_instance_uid
        assert ds.SOPClassUID == instance.sop_class_uid
        assert ds.StudyInstanceUID == instance.study_uid
        assert ds.SeriesInstanceUID == instance.series_uid
        assert ds.PatientID == instance.patient_id
        assert ds.InstanceNumber == instance.number
        assert ds.SeriesNumber == instance.series
        assert ds.transfer_syntax == instance.transfer_syntax
        assert ds.Modality == modality
        assert ds.InstitutionName == "TEST"
        pixels = ds.pixels()
        assert pixels.shape == (64, 64)
        assert pixels.max() <= 4095
        assert ds.SmallestImagePixelValue == pixels.min()
        assert ds.LargestImagePixelValue == pixels.max()


def test_pydicom_reads_the_same_and_writes_it_back():
    pydicom = peer_module("pydicom")
    import io

    for instance in synth.studies(8, 8, slices=1, size=32):
        ds = pydicom.dcmread(io.BytesIO(instance.data))
        written = io.BytesIO()
        ds.save_as(written, enforce_file_format=True)
        again = pydicom.dcmread(io.BytesIO(written.getvalue()))
        assert again == ds
        assert "\ufffd" not in str(ds.PatientName)


def test_names_come_in_several_character_sets():
    seen = {}
    for instance in synth.studies(2, 8, slices=1, size=16):
        ds = dicore.read(instance.data)
        seen[ds.get("SpecificCharacterSet", "")] = str(ds.PatientName)
    assert {"ISO_IR 100", "ISO_IR 192", "ISO_IR 144"} <= set(seen)
    assert any(ord(c) > 127 for c in seen["ISO_IR 100"])


def test_uids_are_unique_valid_and_below_2_25():
    instances = list(synth.studies(1, 3, slices=3, size=16, series=2))
    uids = {i.sop_instance_uid for i in instances}
    assert len(uids) == 18
    for uid in uids | {i.study_uid for i in instances} | {i.series_uid for i in instances}:
        assert uid.startswith("2.25.")
        assert len(uid) <= 64
        assert int(uid[5:]) < 1 << 128
    assert len({i.study_uid for i in instances}) == 3
    assert len({i.series_uid for i in instances}) == 6


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_slices_stack_along_their_normal(modality):
    slices = [dicore.read(i.data) for i in synth.studies(4, 1, modality, slices=6, size=32)]
    row, column = np.array(slices[0].ImageOrientationPatient[:3]), np.array(slices[0].ImageOrientationPatient[3:])
    assert abs(row @ column) < 1e-6
    assert np.linalg.norm(row) == pytest.approx(1)
    assert np.linalg.norm(column) == pytest.approx(1)
    normal = np.cross(row, column)
    places = [np.array(ds.ImagePositionPatient) for ds in slices]
    for before, after in itertools.pairwise(places):
        step = after - before
        assert abs(step @ normal) == pytest.approx(slices[0].SpacingBetweenSlices, abs=1e-3)
        assert np.linalg.norm(step - (step @ normal) * normal) < 1e-3
    assert len({ds.FrameOfReferenceUID for ds in slices}) == 1


def test_a_ct_is_in_hounsfield_units():
    *_, middle, _, _ = (dicore.read(i.data) for i in synth.studies(1, 1, "CT", slices=24, size=128))
    hu = middle.pixels() * float(middle.RescaleSlope) + float(middle.RescaleIntercept)
    assert np.median(hu[:10]) == pytest.approx(-1000, abs=40)  # air
    inside = hu[40:90, 40:90]
    assert -150 < np.median(inside) < 200  # soft tissue
    assert hu.max() > 300  # bone


def test_neighbouring_slices_resemble_each_other_more_than_distant_ones():
    stack = [dicore.read(i.data).pixels().astype(float) for i in synth.studies(1, 1, "CT", slices=40, size=64)]
    near = np.mean([np.abs(a - b).mean() for a, b in itertools.pairwise(stack)])
    far = np.mean([np.abs(a - b).mean() for a, b in zip(stack, stack[20:], strict=False)])
    assert near < far / 2


def test_write_makes_a_tree_of_files(tmp_path):
    paths = synth.write(tmp_path / "new", 1, 2, modality="mixed", slices=2, size=16)
    assert [str(p.relative_to(tmp_path / "new")) for p in paths] == [
        "CT0001/1/00001.dcm",
        "CT0001/1/00002.dcm",
        "MR0002/1/00001.dcm",
        "MR0002/1/00002.dcm",
    ]
    assert [p.read_bytes() for p in paths] == [i.data for i in synth.studies(1, 2, "mixed", 2, 16)]


@pytest.mark.parametrize(
    "options", [{"size": 8}, {"size": 8192}, {"slices": 0}, {"series": 0}, {"modality": "XX"}], ids=str
)
def test_what_cannot_be_made_is_refused(options):
    with pytest.raises(ValueError, match=r"size|modality"):
        list(synth.studies(1, **options))
    assert list(synth.studies(1, 0)) == []


def test_previews_are_images_and_make_a_contact_sheet():
    images = synth.preview(1, "MR", slices=3, size=64) + synth.preview(1, "CT", slices=2, size=64)
    assert all(i.shape == (64, 64) and i.dtype == np.uint8 for i in images)
    assert all(i.std() > 20 for i in images)
    assert synth.contact_sheet(images)[:8] == b"\x89PNG\r\n\x1a\n"
