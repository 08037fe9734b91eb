"""Every file of the corpus: no identity is left, nested and private ones included; the new file reads strictly where
the old one does; the pixels are the same bytes; pydicom reads it."""

from __future__ import annotations

from pathlib import Path

import pytest
from identities import KEY, identities, left

import dicore
from dicore.dataset.dictionary import tag_vr
from dicore.errors import DicomFormatError, DicoreError

PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def readable(folder: Path) -> list[tuple[Path, dicore.Dataset]]:
    found = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        try:
            ds = dicore.read(path)
            list(ds.walk())
        except (DicoreError, OSError):
            continue
        found.append((path, ds))
    return found


def test_no_identity_is_left(corpus: Path) -> None:
    searched = files = 0
    reasons: list[str] = []
    for path, old in readable(corpus / "dev"):
        try:
            new = dicore.deidentify(old, key=KEY)
        except DicomFormatError as error:
            reasons.append(str(error))
            continue
        files += 1
        searched += sum(1 for _ in identities(old))
        assert not left(old, new), path
        old_warnings, new_warnings = ({w.code for w in ds.warnings} for ds in (old, new))
        assert new_warnings <= old_warnings, path
        assert not [tag for _, e in new.walk() for tag in (e.tag,) if tag >> 16 & 1], path
        for keyword in PIXELS:
            if keyword in old:
                assert bytes(new[keyword].raw) == bytes(old[keyword].raw), path
        assert new.PatientIdentityRemoved == "YES"
        for _, element in new.walk():
            if element.vr == "UI" and str(element.value).startswith("2.25."):
                assert len(element.raw) <= 64
    assert files > 300
    assert searched > 5000
    assert len(reasons) < files / 10
    assert all("DICOMDIR" in reason or "SOP Class UID" in reason for reason in reasons)


def test_pydicom_reads_what_comes_out(corpus: Path) -> None:
    for path, old in readable(corpus / "dev" / "pydicom"):
        try:
            new = dicore.deidentify(old, key=KEY).to_pydicom()
        except DicomFormatError:
            continue
        assert new.PatientIdentityRemoved == "YES", path
        assert new.file_meta.MediaStorageSOPInstanceUID == new.get(
            "SOPInstanceUID", new.file_meta.MediaStorageSOPInstanceUID
        )


@pytest.mark.parametrize(
    "options",
    [
        ("retain_modified_dates", "clean_descriptors", "clean_structured_content"),
        ("retain_safe_private", "clean_graphics", "retain_device_identity"),
    ],
    ids="-".join,
)
def test_names_and_identifiers_are_gone_under_options(corpus: Path, options: tuple[str, ...]) -> None:
    for path, old in readable(corpus / "dev"):
        try:
            new = dicore.deidentify(old, key=KEY, options=options)
        except DicomFormatError:
            continue
        data = bytes(new.part10_bytes())
        for _, element in old.walk():
            if (
                element.vr == "PN"
                or element.tag in (0x00100020, 0x00101000, 0x00080050)
                or (
                    element.vr == "UI"
                    and tag_vr(element.tag) == "UI"
                    and element.tag in (0x00080018, 0x0020000D, 0x0020000E)
                )
            ):
                value = bytes(element.raw).strip(b" \0")
                if len(value) > 7 and not value.startswith(b"1.2.840.10008."):
                    assert value not in data, (path, element.keyword)


def test_malformed_files_raise_ours_or_come_out_whole(corpus: Path) -> None:
    done = 0
    for path in sorted(p for p in (corpus / "malformed").rglob("*") if p.is_file()):
        try:
            new = dicore.deidentify(dicore.read(path), key=KEY)
        except DicoreError:
            continue
        done += 1
        list(new.walk())
        assert new.PatientIdentityRemoved == "YES"
    assert done
