"""`dicore.scan`: every corpus file as `dicore.read` reads it, by both ways of reading, and what else it promises."""

from __future__ import annotations

import datetime
import importlib
import math
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

import dicore
from conftest import peer_module
from dicore._native import scan as native
from dicore.dataset import encode
from dicore.dataset.dictionary import keyword_to_tag, tag_vr
from dicore.errors import DicoreError, MissingElement
from dicore.scan import Scan, Table

TAGS = [
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyDate",
    "SeriesDate",
    "StudyTime",
    "ContentTime",
    "AccessionNumber",
    "Modality",
    "Manufacturer",
    "InstitutionName",
    "StudyDescription",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "PatientComments",
    "SliceThickness",
    "KVP",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "InstanceNumber",
    "ImageType",
    "ImagePositionPatient",
    "PixelSpacing",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsStored",
    "SmallestImagePixelValue",
    "WindowCenter",
    "WindowWidth",
    "RescaleSlope",
    "FrameIncrementPointer",
    "RequestingPhysician",
    "OtherPatientIDs",
    "SpecificCharacterSet",
    "TransferSyntaxUID",
    "MediaStorageSOPClassUID",
    "ImplementationVersionName",
    "ReferencedStudySequence[0].ReferencedSOPInstanceUID",
    "RequestAttributesSequence[0].ScheduledProcedureStepID",
    "SourceImageSequence[0].PurposeOfReferenceCodeSequence[0].CodeValue",
    "SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing",
    "PerFrameFunctionalGroupsSequence[1].FrameContentSequence[0].DimensionIndexValues",
]
URING = True
try:
    Scan([], io="uring")
except OSError:
    URING = False
IO = ["pread", pytest.param("uring", marks=pytest.mark.skipif(not URING, reason="no io_uring here"))]


def corpus_files(corpus: Path) -> list[str]:
    return sorted(str(p) for p in corpus.rglob("*") if p.is_file())


# ---- the same as read ------------------------------------------------------------------------------------------------


def element_of(ds: Any, name: str) -> Any:
    """The element at a path, None where there is none."""
    tag = keyword_to_tag(name.rpartition(".")[2])
    try:
        return ds.file_meta[name] if tag is not None and tag >> 16 == 2 else ds[name]
    except MissingElement:
        return None


def plain(value: Any, kind: str) -> Any:
    """A value of `read` as a column of type `kind` has it; AssertionError when it cannot be."""
    if kind == "utf8":
        assert isinstance(value, str) or type(value).__name__ == "PersonName", value
        text = str(value).rstrip("\0 ")
        return text or None
    if kind == "date32":
        digits = str(value).strip().replace(".", "") if isinstance(value, str) else ""
        assert len(digits) == 8, value
        assert digits.isdigit(), value
        return datetime.date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    if kind == "time64[us]":
        text = str(value).strip().replace(":", "")
        whole, _, fraction = text.partition(".")
        assert whole.isdigit(), value
        assert len(whole) in (2, 4, 6), value
        parts = [int(whole[i : i + 2]) for i in range(0, len(whole), 2)] + [0, 0]
        return datetime.time(parts[0], parts[1], min(parts[2], 59), int((fraction + "000000")[:6]))
    assert not isinstance(value, str | bytes), value
    if kind.startswith("float"):
        return float(value)
    assert value == int(value), value
    return int(value)


def expected(ds: Any, name: str, kind: str) -> Any:
    """What a column should have of a data set."""
    element = element_of(ds, name)
    value = None if element is None else element.value
    if value is None or (isinstance(value, str) and not value.strip(" \0")) or value == []:
        return None
    if kind.startswith("list<"):
        inner = kind[5:-1]
        items = [
            ("" if inner == "utf8" else None) if one is None or one == "" else plain(one, inner)
            for one in (value if isinstance(value, list) else [value])
        ]
        return [one or "" for one in items] if inner == "utf8" else items
    kind = kind.removeprefix("dictionary<").removesuffix(">")
    if isinstance(value, list):
        assert kind == "utf8", value
        assert all(isinstance(one, str) or type(one).__name__ == "PersonName" for one in value), value
        return "\\".join(map(str, value)).rstrip("\0 ") or None
    return plain(value, kind)


def same(got: Any, want: Any, name: str) -> bool:
    if isinstance(got, list) and isinstance(want, list):
        return len(got) == len(want) and all(same(a, b, name) for a, b in zip(got, want, strict=True))
    if isinstance(got, float) and isinstance(want, float):
        return math.isclose(got, want, rel_tol=1e-6) or (math.isnan(got) and math.isnan(want))
    if isinstance(got, str) and isinstance(want, str) and "\\" in got:
        return [p.strip() for p in got.split("\\")] == [p.strip() for p in want.split("\\")]
    return bool(got == want)


@pytest.mark.parametrize("io", IO)
@pytest.mark.parametrize("part", ["dev", "malformed"])
def test_every_corpus_file_is_as_read_has_it(corpus: Path, part: str, io: str) -> None:
    files = corpus_files(corpus / part)
    table = dicore.scan(files, TAGS, io=io, archives=False)
    bad = {error.path for error in table.errors}
    invalid = {(error.path, error.column) for error in table.invalid}
    assert len(table) + len(bad) == len(files)
    rows = {row["path"]: row for row in table.rows()}
    kinds = {field.name: field.type for field in table.schema}
    compared = 0
    for path in files:
        try:
            ds = dicore.read(path)
        except (DicoreError, OSError):
            assert path in bad, f"{path}: read refuses it and scan does not"
            continue
        if path in bad:  # read finds out later, when it comes to the element
            with pytest.raises((DicoreError, OSError)):
                list(ds.walk())
            continue
        for name in TAGS:
            got = rows[path][name]
            try:
                want = expected(ds, name, kinds[name])
            except (AssertionError, ValueError, DicoreError):
                assert got is None, (path, name, got)
                assert (path, name) in invalid or element_of_fails(ds, name), (path, name)
                continue
            if got is None and want is not None and any(warning.code == "order" for warning in ds.warnings):
                continue  # behind a tag that is beyond all that are wanted: documented
            assert same(got, want, name), (path, name, got, want)
            assert ((path, name) in invalid) <= (got is None), (path, name)
            compared += got is not None
    assert compared > (2000 if part == "dev" else 50)


def element_of_fails(ds: Any, name: str) -> bool:
    try:
        element_of(ds, name)
    except DicoreError:
        return True
    return False


@pytest.mark.skipif(not URING, reason="no io_uring here")
def test_both_ways_of_reading_give_the_same(corpus: Path) -> None:
    files = corpus_files(corpus) * 3
    a, b = (dicore.scan(files, TAGS, io=io, archives=False) for io in ("pread", "uring"))
    assert list(map(repr, a.rows())) == list(map(repr, b.rows()))
    assert a.errors == b.errors
    assert a.invalid == b.invalid
    assert native.Worker(Scan([], io="uring")._request).uses_uring


def test_any_number_of_threads_gives_the_same_rows_in_the_same_order(corpus: Path) -> None:
    files = corpus_files(corpus) * 4
    tables = [dicore.scan(files, TAGS, threads=threads, archives=False) for threads in (1, 2, 5)]
    assert len(tables[0].batches) > 2
    for table in tables[1:]:
        assert list(map(repr, table.rows())) == list(map(repr, tables[0].rows()))
        assert table.errors == tables[0].errors


# ---- what is asked for -----------------------------------------------------------------------------------------------

Q = 0x00080060


def write(path: Path, elements: list[Any] | None = None, **text: Any) -> Path:
    """A small instance: the elements, or keywords with their values."""
    listed: dict[int, Any] = {0x00080016: ("UI", "1.2.840.10008.5.1.4.1.1.7"), 0x00080018: ("UI", "1.2.3")}
    for keyword, value in text.items():
        tag = keyword_to_tag(keyword)
        assert tag is not None
        listed[tag] = (tag_vr(tag), value)
    for tag, vr, value in elements or []:
        listed[tag] = (vr, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode.part10([(tag, vr, value) for tag, (vr, value) in listed.items()]))
    return path


def test_columns_are_named_and_typed_by_the_dictionary_alone() -> None:
    tags = [
        "PatientID",
        0x00280010,
        (0x0028, 0x0030),
        "0008,0020",
        "00080031",
        "0019,1001:FD",
        "SmallestImagePixelValue",
        "ReferencedStudySequence[0].ReferencedSOPInstanceUID",
        "PixelData",
        "SOPInstanceUID",
        "SelectorATValue",
    ]
    table = dicore.scan([], tags)
    assert [tuple(field) for field in table.schema] == [
        ("path", "utf8"),
        ("PatientID", "dictionary<utf8>"),
        ("Rows", "uint16"),
        ("PixelSpacing", "list<float64>"),
        ("0008,0020", "date32"),
        ("00080031", "time64[us]"),
        ("0019,1001", "float64"),
        ("SmallestImagePixelValue", "int32"),
        ("ReferencedStudySequence[0].ReferencedSOPInstanceUID", "dictionary<utf8>"),
        ("PixelData", "binary"),
        ("SOPInstanceUID", "utf8"),
        ("SelectorATValue", "list<uint32>"),
    ]
    assert table.columns == tuple(field.name for field in table.schema)
    assert dicore.scan([], ["PatientID"], dictionary=False).schema[1].type == "utf8"
    assert dicore.scan([], "PatientID, Rows").columns == ("path", "PatientID", "Rows")
    assert "StudyInstanceUID" in dicore.scan([]).columns


@pytest.mark.parametrize(
    ("tag", "why"),
    [
        ("NoSuchThing", "no keyword"),
        ("ReferencedStudySequence", "is a sequence"),
        ("ReferencedStudySequence[0]", "an item"),
        ("ReferencedStudySequence.CodeValue", "number of an item"),
        ("x y", "no keyword, tag or path"),
        (1 << 32, "no tag"),
        ("PatientID:XYZ", "no VR"),
        (".".join(["ContentSequence[0]"] * 40 + ["CodeValue"]), "steps"),
    ],
)
def test_what_cannot_be_a_column_is_said(tag: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        dicore.scan([], [tag])


def test_the_same_column_twice_and_other_sources_are_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        dicore.scan([], ["PatientID", 0x00100020])
    with pytest.raises(TypeError, match="store"):
        dicore.scan(b"bytes", ["PatientID"])
    with pytest.raises(TypeError):
        dicore.scan(7, ["PatientID"])
    with pytest.raises(ValueError, match="threads"):
        dicore.scan([], ["PatientID"], threads=0)
    with pytest.raises(ValueError, match="io"):
        dicore.scan([], ["PatientID"], io="dma")


def test_values_become_their_types_and_bad_ones_null(tmp_path: Path) -> None:
    good = write(
        tmp_path / "1",
        StudyDate="20240229",
        StudyTime="235960.25",
        PixelSpacing=["0.5", "0.25"],
        InstanceNumber="7",
        ImageType=["ORIGINAL", "PRIMARY"],
        Rows=512,
        PatientName="DOE^JANE",
        SelectorATValue=[0x00100010],
    )
    bad = write(
        tmp_path / "2",
        StudyDate="20230229",
        StudyTime="2560",
        PixelSpacing=b"0.5\\wide",
        InstanceNumber="1\\2",
        PatientName="",
    )
    odd = write(
        tmp_path / "3",
        [(0x00080020, "DT", "20200131120000.5+0100"), (0x00280010, "IS", "70000")],
        InstanceNumber=b"12.0",
        StudyTime="12:34",
        PixelSpacing=["", "2"],
    )
    tags = [
        "StudyDate",
        "StudyTime",
        "PixelSpacing",
        "InstanceNumber",
        "ImageType",
        "Rows",
        "PatientName",
        "SelectorATValue",
    ]
    table = dicore.scan([good, bad, odd], tags)
    assert [list(row.values())[1:] for row in table.rows()] == [
        [
            datetime.date(2024, 2, 29),
            datetime.time(23, 59, 59, 250000),
            [0.5, 0.25],
            7,
            ["ORIGINAL", "PRIMARY"],
            512,
            "DOE^JANE",
            [0x00100010],
        ],
        [None, None, None, None, None, None, None, None],
        [datetime.date(2020, 1, 31), datetime.time(12, 34), [None, 2.0], 12, None, None, None, None],
    ]
    found = [(Path(e.path).name, e.column, e.status) for e in table.invalid]
    assert found == [
        ("2", "StudyDate", "bad-value"),
        ("2", "StudyTime", "bad-value"),
        ("2", "PixelSpacing", "bad-value"),
        ("2", "InstanceNumber", "bad-length"),
        ("3", "Rows", "limit"),
    ]
    assert table.invalid_count == 5
    assert not table.errors


@pytest.mark.parametrize(
    ("charset", "raw", "text"),
    [
        ("", b"M\xfcller", "Müller"),
        ("ISO_IR 100", b"M\xfcller", "Müller"),
        ("ISO_IR 192", "Мир 山".encode(), "Мир 山"),
        ("ISO_IR 192", b"M\xfcl", "M\ufffdl"),
        ("ISO_IR 144", "Мир".encode("iso8859_5"), "Мир"),
        ("GB18030", "王^小东".encode("gb18030"), "王^小东"),
        ("\\ISO 2022 IR 87", b"Yamada=\x1b$B;3ED\x1b(B", "Yamada=山田"),
        ("ISO_IR 13", b"\xd4\xcf\xc0\xde", "ﾔﾏﾀﾞ"),
    ],
)
def test_text_in_every_character_set(tmp_path: Path, charset: str, raw: bytes, text: str) -> None:
    path = write(tmp_path / "a", [(0x00080005, "CS", charset), (0x00100010, "PN", raw), (0x00101000, "LO", raw)])
    row = next(dicore.scan(path, ["PatientName", "OtherPatientIDs"]).rows())
    assert row["PatientName"] == text == str(dicore.read(path).PatientName)
    assert row["OtherPatientIDs"] == [text]


def test_the_character_set_of_an_item_goes_before_that_around(tmp_path: Path) -> None:
    item = [(0x00080005, "CS", "ISO_IR 144"), (0x00081155, "UI", "1.2"), (0x00100010, "PN", "Мир".encode("iso8859_5"))]
    inherits = [(0x00100010, "PN", b"M\xfcl")]
    path = write(tmp_path / "a", [(0x00080005, "CS", "ISO_IR 100"), (0x00081110, "SQ", [item, inherits])])
    tags = [f"ReferencedStudySequence[{n}].PatientName" for n in range(3)]
    assert list(next(dicore.scan(path, tags).rows()).values())[1:] == ["Мир", "Mül", None]


def test_files_that_are_alike_and_not_quite_are_read_as_each_alone(tmp_path: Path) -> None:
    """What a scan expects after the file before changes nothing: values that repeat, vanish, come again, or are bad."""
    choices: list[tuple[int, bytes, list[bytes]]] = [
        (0x00080005, b"CS", [b"ISO_IR 100", b"ISO_IR 192", b""]),
        (0x00080020, b"DA", [b"20240101", b"20240102", b"", b"2024", b"        "]),
        (0x00080030, b"TM", [b"120000", b"120000.5", b"7"]),
        (0x00080050, b"SH", [b"A1", b"A1  ", b"  ", b"\xc3\xa9"]),
        (0x00080060, b"CS", [b"CT", b"MR", b"C ", b""]),
        (0x00080070, b"LO", [b"GE", b"GE\\X", b"=", b"\xc4\xd6"]),
        (0x00100010, b"PN", [b"DOE^J", b"DOE^J ", b"=", b"==", b"\xc3\xa9^A"]),
        (0x00080054, b"AE", [b"  A ", b"A", b"   "]),
        (0x00180050, b"DS", [b"1.5", b"1.50", b"x", b"1\\2", b""]),
        (0x00200013, b"IS", [b"1", b"2 ", b"99999999999999999999", b"1.0"]),
        (0x00280010, b"US", [b"\1\0", b"\2\0", b"\1\0\2\0", b"\1"]),
        (0x00280030, b"DS", [b"1\\2", b"1\\", b"1"]),
    ]
    tags = [f"{tag:08X}"[:4] + "," + f"{tag:08X}"[4:] for tag, _, _ in choices]
    random = Random(4)
    paths = []
    for number in range(300):
        body = b""
        for tag, vr, values in choices:
            value = values[0] if random.random() < 0.7 else random.choice(values)
            if random.random() < 0.1:
                continue
            if random.random() < 0.05:
                vr = random.choice([b"UN", b"LO", b"OB", b"SS"])
            size = len(value).to_bytes(2, "little") if vr not in (b"UN", b"OB") else len(value).to_bytes(6, "little")
            body += (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little") + vr + size + value
        path = tmp_path / f"{number:03}.dcm"
        path.write_bytes(encode.file_meta("1.2", "1.3") + body)
        paths.append(path)
    together = dicore.scan(paths, tags, threads=1)
    assert len(together) > 200
    rows, invalid = [], []
    for path in paths:
        alone = dicore.scan([path], tags, threads=1)
        rows += alone.rows()
        invalid += alone.invalid
    assert list(together.rows()) == rows
    assert together.invalid == invalid
    assert invalid


def test_a_value_that_needs_a_long_read_is_reached(tmp_path: Path) -> None:
    for size in (3000, 5000, 20_000, 300_000):
        write(
            tmp_path / f"{size}",
            [(0x00091001, "OB", bytes(size)), (0x00081110, "SQ", [[(0x00081155, "UI", "9.9")]] * 99)],
            PatientID=f"P{size}",
        )
    tags = ["PatientID", "ReferencedStudySequence[98].ReferencedSOPInstanceUID"]
    for io in ("auto", "pread"):
        table = dicore.scan(tmp_path, tags, io=io)
        assert table["PatientID"] == ["P20000", "P3000", "P300000", "P5000"]
        assert table[tags[1]] == ["9.9"] * 4
        short = dicore.scan(tmp_path, tags, io=io, limit=100_000)
        assert [(Path(e.path).name, e.status) for e in short.errors] == [("300000", "limit")]


# ---- files that are none ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("io", IO)
def test_bad_files_are_entries_of_errors(tmp_path: Path, io: str) -> None:
    good = write(tmp_path / "good.dcm", PatientID="A")
    (tmp_path / "text.txt").write_text("nothing to see here, and certainly not DICOM; " * 200)
    (tmp_path / "empty.dcm").touch()
    (tmp_path / "secret.dcm").write_bytes(good.read_bytes())
    os.mkfifo(tmp_path / "pipe.dcm")
    listed = [tmp_path / n for n in ("good.dcm", "text.txt", "empty.dcm", "missing.dcm", "pipe.dcm", "good.dcm")]
    table = dicore.scan(listed, ["PatientID"], io=io)
    assert table["PatientID"] == ["A", "A"]
    assert [(Path(e.path).name, e.status) for e in table.errors] == [
        ("text.txt", "not-dicom"),
        ("empty.dcm", "not-dicom"),
        ("missing.dcm", "io"),
        ("pipe.dcm", "not-dicom"),
    ]
    assert table.errors[2].message == os.strerror(2)


def test_names_of_any_bytes(tmp_path: Path) -> None:
    data = write(tmp_path / "plain", PatientID="A").read_bytes()
    for name in ("säge 山.dcm".encode(), b"\xff\xfe.dcm"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(data)
    table = dicore.scan(tmp_path, ["PatientID"])
    assert [os.path.basename(p) for p in table["path"]] == ["plain", "säge 山.dcm", "ÿþ.dcm"]
    with pytest.raises(ValueError, match="null byte"):
        dicore.scan(["a\0b.dcm"], ["PatientID"])


def test_a_file_cut_anywhere_is_a_row_or_an_error_and_never_more(tmp_path: Path) -> None:
    data = write(tmp_path / "whole", PatientID="A", Rows=3, ImageType=["A", "B"]).read_bytes()
    paths = []
    for end in range(len(data)):
        path = tmp_path / f"{end:05}.dcm"
        path.write_bytes(data[:end])
        paths.append(path)
    table = dicore.scan(paths, ["PatientID", "Rows", "ImageType"])
    assert len(table) + len(table.errors) == len(paths)
    assert set(table["PatientID"]) <= {None, "A"}


# ---- folders, archives, stores ---------------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b/2.dcm", "b/1.dcm", "a/x/3.dcm", "0.dcm", "c.dcm/4.dcm"):
        write(tmp_path / "tree" / name, PatientID=name)
    (tmp_path / "tree" / "loop").symlink_to(tmp_path / "tree")
    (tmp_path / "tree" / "link.dcm").symlink_to(tmp_path / "tree" / "0.dcm")
    return tmp_path / "tree"


def test_folders_are_gone_through_in_order_and_without_loops(tree: Path) -> None:
    table = dicore.scan(tree, ["PatientID"])
    assert table["PatientID"] == ["0.dcm", "0.dcm", "a/x/3.dcm", "b/1.dcm", "b/2.dcm", "c.dcm/4.dcm"]
    assert dicore.scan(tree, ["PatientID"], recursive=False)["PatientID"] == ["0.dcm", "0.dcm"]
    assert dicore.scan([tree / "b", tree / "0.dcm"], ["PatientID"])["PatientID"] == ["b/1.dcm", "b/2.dcm", "0.dcm"]
    late = dicore.scan([str(tree / "c.dcm"), str(tree / "0.dcm")], ["PatientID"])
    assert late["PatientID"] == ["0.dcm", "c.dcm/4.dcm"]  # a folder that is named like a file comes last
    assert not late.errors


def test_a_folder_that_cannot_be_listed_is_an_error(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.scandir

    def scandir(path: str) -> Any:
        if path.endswith("/a"):
            raise PermissionError(13, "no", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    table = dicore.scan(tree, ["PatientID"])
    assert len(table) == 5
    assert [(os.path.basename(e.path), e.status) for e in table.errors] == [("a", "io")]


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tgz", "tar.xz", "zip"])
def test_members_of_archives(tree: Path, tmp_path: Path, kind: str) -> None:
    large = write(tmp_path / "large", [(0x00091001, "OB", os.urandom(200_000))], PatientID="L")
    archive = tmp_path / f"all.{kind}"
    names = ["0.dcm", "b/1.dcm"]
    if kind == "zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as made:
            for name in names:
                made.write(tree / name, name)
            made.write(large, "large")
            made.writestr("note.txt", "no DICOM " * 50)
    else:
        with tarfile.open(archive, f"w:{'' if kind == 'tar' else kind[-2:]}") as tar:
            for name in names:
                tar.add(tree / name, name)
            tar.add(large, "large")
            tar.add(tree / "b", "b")
    table = dicore.scan([archive, tree / "0.dcm"], ["PatientID"])
    assert table["PatientID"][:3] == ["0.dcm", "b/1.dcm", "L"]
    assert table["path"][:2] == [f"{archive}/0.dcm", f"{archive}/b/1.dcm"]
    assert table["path"][-1] == str(tree / "0.dcm")
    assert [e.status for e in table.errors] == (["not-dicom"] if kind == "zip" else [])
    assert [e.status for e in dicore.scan(archive, ["PatientID"], archives=False).errors] in (["not-dicom"], [])


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip"])
def test_a_damaged_archive_is_an_error(tmp_path: Path, kind: str) -> None:
    archive = tmp_path / f"bad.{kind}"
    archive.write_bytes(b"not an archive at all" * 100)
    table = dicore.scan([archive], ["PatientID"])
    assert len(table) == 0
    assert [e.status for e in table.errors] == ["archive"]


def test_a_store_is_scanned_without_a_copy_of_its_files(tree: Path, tmp_path: Path) -> None:
    with dicore.Store(tmp_path / "store") as store:
        for number, path in enumerate(sorted(tree.rglob("*.dcm"))):
            if path.is_file() and not path.is_symlink():
                data = write(tmp_path / "one", [(0x00080018, "UI", f"1.2.{number}")], PatientID=path.name).read_bytes()
                (tmp_path / "one").write_bytes(data)
                store.add(tmp_path / "one")
        table = dicore.scan(store, ["PatientID", "SOPInstanceUID"])
        assert sorted(table["PatientID"]) == ["0.dcm", "1.dcm", "2.dcm", "3.dcm", "4.dcm"]
        assert table["path"] == table["SOPInstanceUID"] == list(store)


def test_whatever_has_scan_source_is_scanned(tmp_path: Path) -> None:
    data = write(tmp_path / "a", PatientID="A").read_bytes()

    class Mine:
        def scan_source(self) -> Iterator[tuple[str, bytes]]:
            yield "one", data
            yield "two", b"rubbish, and long enough to be seen as such"

    table = dicore.scan([Mine(), tmp_path / "a"], ["PatientID"])
    assert list(table.rows()) == [{"path": "one", "PatientID": "A"}, {"path": str(tmp_path / "a"), "PatientID": "A"}]
    assert [e.path for e in table.errors] == ["two"]


# ---- while it goes on ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2])
def test_batches_come_while_the_scan_goes_on_and_it_can_be_stopped(tmp_path: Path, threads: int) -> None:
    path = str(write(tmp_path / "a.dcm", PatientID="A"))
    seen: list[tuple[int, int]] = []
    job = Scan([path] * 3000, ["PatientID"], threads=threads, progress=lambda done, total: seen.append((done, total)))
    batches = list(job)
    assert len(batches) >= 6
    assert sum(map(len, batches)) == 3000
    assert seen[-1] == (3000, 3000)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert {total for _, total in seen} == {3000}
    stopped = job.batches()
    assert len(next(stopped)) > 0
    stopped.close()
    assert sum(len(b) for b in dicore.scan_batches([path] * 700, ["PatientID"], threads=threads)) == 700


def test_progress_of_a_folder_knows_the_total_once_it_was_gone_through(tree: Path) -> None:
    seen: list[tuple[int, int]] = []
    dicore.scan(tree, ["PatientID"], progress=lambda done, total: seen.append((done, total)), threads=2)
    assert seen[-1][0] == 6
    assert {total for _, total in seen} <= {0, 6}


def test_an_error_in_progress_ends_the_scan(tmp_path: Path) -> None:
    path = str(write(tmp_path / "a.dcm", PatientID="A"))

    def fail(done: int, total: int) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        dicore.scan([path] * 2000, ["PatientID"], threads=2, progress=fail)


def test_memory_stays_in_bounds() -> None:
    """100,000 rows: beyond the columns, the process grows by less than 64 MiB."""
    code = """
import dicore, gc, os, sys, tempfile
from dicore.dataset import encode
def rss():
    with open("/proc/self/statm") as f: return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
with tempfile.TemporaryDirectory() as folder:
    paths = []
    for i in range(50):
        paths.append(f"{folder}/{i}.dcm")
        with open(paths[-1], "wb") as f:
            f.write(encode.part10([(0x00080016, "UI", "1.2"), (0x00080018, "UI", f"1.2.3.{i}"), (0x00100020, "LO", "P"),
                                   (0x00091001, "OB", bytes(9000)), (0x00280010, "US", 5)]))
    dicore.scan(paths, ["SOPInstanceUID", "PatientID", "Rows"], threads=2)
    paths *= 2000
    gc.collect()
    before = rss()
    table = dicore.scan(paths, ["SOPInstanceUID", "PatientID", "Rows"], threads=2)
    assert len(table) == 100_000 and not table.errors
    print(rss() - before - table.nbytes)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 64 << 20


# ---- out of it -------------------------------------------------------------------------------------------------------


@pytest.fixture
def table(tmp_path: Path) -> Table:
    files = [
        write(
            tmp_path / "1",
            PatientID="=1+1",
            StudyDate="20240131",
            PixelSpacing=["-0.5", "2"],
            PatientName="Mul^A",
            Rows=9,
        ),
        write(tmp_path / "2", PatientID="P2", StudyTime="120000", ImageType=["A", "B", "C"]),
        write(tmp_path / "3", PatientID="P2"),
    ]
    tags = ["PatientID", "StudyDate", "StudyTime", "PixelSpacing", "PatientName", "Rows", "ImageType"]
    return Table(*(lambda job: (job._request, job._columns, job))(Scan([str(f) for f in files], tags)))


def test_rows_and_columns_as_python_has_them(table: Table) -> None:
    assert len(table) == 3
    assert [row["PatientID"] for row in table] == table["PatientID"] == ["=1+1", "P2", "P2"]
    assert table["PixelSpacing"] == [[-0.5, 2.0], None, None]
    with pytest.raises(KeyError, match="no column 'Nothing'; there are path"):
        table["Nothing"]
    assert repr(table) == "<Table: 3 rows, 8 columns, 0 errors>"
    assert table.nbytes > 100


def arrow() -> Any:
    return peer_module("pyarrow")


def test_it_leaves_as_arrow_without_a_copy_and_outlives_us(table: Table) -> None:
    pyarrow = arrow()
    rows = list(table.rows())
    first, second = table.to_arrow(), pyarrow.table(table)
    first.validate(full=True)
    assert first.equals(second)
    assert (
        first.column("PixelSpacing").chunk(0).values.buffers()[1].address
        == second.column("PixelSpacing").chunk(0).values.buffers()[1].address
    )
    batch = pyarrow.record_batch(table.batches[0])
    schema = pyarrow.schema(table)
    assert schema == first.schema == batch.schema
    assert not schema.field("path").nullable
    del table
    assert first.to_pylist() == batch.to_pylist() == rows


def test_arrow_of_the_whole_corpus_is_valid(corpus: Path) -> None:
    pyarrow = arrow()
    table = dicore.scan(corpus, TAGS, threads=2)
    whole = pyarrow.table(table)
    whole.validate(full=True)
    assert whole.num_rows == len(table)
    assert whole.column("PatientName").to_pylist() == table["PatientName"]
    assert whole.column("ImageType").to_pylist() == table["ImageType"]
    assert pyarrow.table(dicore.scan([], TAGS)).num_rows == 0


def test_nanoarrow_reads_it(table: Table) -> None:
    nanoarrow = peer_module("nanoarrow")
    stream = nanoarrow.ArrayStream(table)
    assert [row["PatientID"] for row in stream.read_all().to_pylist()] == table["PatientID"]


def test_pandas_and_polars(table: Table) -> None:
    arrow()
    peer_module("pandas")
    frame = table.to_pandas()
    assert list(frame["PatientID"]) == table["PatientID"]
    polars = peer_module("polars")
    assert (
        table.to_polars()["StudyDate"].to_list() == polars.DataFrame(table)["StudyDate"].to_list() == table["StudyDate"]
    )


@pytest.mark.parametrize(
    ("method", "package"), [("to_arrow", r"dicore\[parquet\]"), ("to_pandas", "pandas"), ("to_polars", "polars")]
)
def test_what_is_not_installed_is_said(
    table: Table, method: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.import_module

    def without(name: str) -> Any:
        if name in ("pyarrow", "pandas", "polars"):
            raise ImportError(name)
        return real(name)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(ImportError, match=f"pip install {package}"):
        getattr(table, method)()


def test_files_are_written(table: Table, tmp_path: Path) -> None:
    table.write(tmp_path / "a.csv")
    lines = (tmp_path / "a.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "path,PatientID,StudyDate,StudyTime,PixelSpacing,PatientName,Rows,ImageType"
    assert lines[1].endswith(",'=1+1,2024-01-31,,-0.5\\2.0,Mul^A,9,")  # a formula is quoted, numbers are not
    assert lines[2].endswith(",P2,,12:00:00,,,,A\\B\\C")
    table.write(tmp_path / "a.jsonl")
    assert '"PixelSpacing": [-0.5, 2.0]' in (tmp_path / "a.jsonl").read_text().splitlines()[0]
    with pytest.raises(ValueError, match="suffix"):
        table.write(tmp_path / "a.xlsx")
    assert not list(tmp_path.glob("*.part"))


def test_parquet_and_arrow_files(corpus: Path, tmp_path: Path) -> None:
    pyarrow = arrow()
    parquet = importlib.import_module("pyarrow.parquet")

    table = dicore.scan([str(p) for p in corpus.rglob("*") if p.is_file()] * 3, TAGS)
    assert len(table.batches) > 1
    table.write(tmp_path / "a.parquet")
    table.write(tmp_path / "a.arrow")
    read = parquet.read_table(tmp_path / "a.parquet")
    assert read.column("PatientName").to_pylist() == table["PatientName"]
    assert read.column("Modality").to_pylist() == table["Modality"]
    with pyarrow.ipc.open_file(tmp_path / "a.arrow") as opened:
        assert opened.read_all().equals(read.cast(opened.schema))


def test_the_name_is_a_function_however_it_is_imported() -> None:
    code = """
import sys
import dicore
assert "asyncio" not in sys.modules and "numpy" not in sys.modules
import dicore.scan
assert len(dicore.scan([], ["PatientID"])) == 0 and "numpy" not in sys.modules
from dicore.scan import scan
from dicore import scan as again, scan_batches
assert len(scan([])) == len(again([])) == len(list(scan_batches([]))) == 0
"""
    subprocess.run([sys.executable, "-c", code], check=True)
