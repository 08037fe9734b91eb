"""Each named deviation (DESIGN 3): read and warned of leniently, refused with its place strictly."""

from __future__ import annotations

import pytest

import dicore
from dicore._native.dataset import deviation_names
from vectors.deviations import CLEAN, VECTORS, Vector


def test_every_deviation_has_a_vector() -> None:
    assert set(VECTORS) == set(deviation_names())


def test_clean_file_has_no_warning_and_reads_strictly() -> None:
    ds = dicore.read(CLEAN, strict=True)
    assert ds.warnings == []
    assert ds.PatientID == "4711"


@pytest.mark.parametrize(("name", "vector"), VECTORS.items(), ids=VECTORS)
def test_lenient_reading_warns_and_goes_on(name: str, vector: Vector) -> None:
    ds = dicore.read(vector.data)
    assert ds.get(vector.keyword) == vector.value
    warnings = ds.warnings
    assert {warning.code for warning in warnings} == {name}
    assert [warning.tag_path for warning in warnings] == [vector.tag_path]
    assert 0 <= warnings[0].offset <= len(vector.data)


@pytest.mark.parametrize(("name", "vector"), VECTORS.items(), ids=VECTORS)
def test_strict_reading_refuses_and_says_where(name: str, vector: Vector, tmp_path) -> None:
    path = tmp_path / "file.dcm"
    path.write_bytes(vector.data)
    with pytest.raises(dicore.DicomFormatError) as caught:
        dicore.read(path, strict=True)
    error = caught.value
    assert f"[{name}]" in str(error)
    assert error.path == path
    assert str(path) in str(error)
    assert error.tag_path == vector.tag_path
    assert error.offset == dicore.read(vector.data).warnings[0].offset


@pytest.mark.parametrize("name", [*VECTORS, "clean"])
@pytest.mark.parametrize("strict", [False, True])
def test_no_truncation_does_anything_but_read_or_raise(name: str, strict: bool) -> None:
    data = CLEAN if name == "clean" else VECTORS[name].data
    outcomes = set()
    for end in range(len(data)):
        try:
            ds = dicore.read(data[:end], strict=strict)
            for _, element in ds.walk():
                _ = element.value
            assert isinstance(ds.warnings, list)
            outcomes.add("read")
        except dicore.DicoreError:
            outcomes.add("refused")
    assert "refused" in outcomes
    assert "read" in outcomes or strict
