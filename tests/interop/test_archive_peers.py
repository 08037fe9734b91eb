"""Others query and retrieve from `dicore serve`: DCMTK's tools and pynetdicom; 200 generated queries are answered as
dcmqrscp answers them, or a clause of the standard says why not (docs/reference/queries.md)."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest

import dicore
from conftest import absent, free_port, run_on
from dicore import synth
from dicore.errors import DimseError

FIND = "1.2.840.10008.5.1.4.1.2.2.1"
GET = "1.2.840.10008.5.1.4.1.2.2.3"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("files")
    paths = []
    for number, one in enumerate(synth.studies(5, 12, modality="mixed", slices=4, size=32)):
        path = folder / f"{number:04d}.dcm"
        path.write_bytes(one.data)
        paths.append(path)
    return paths


@pytest.fixture(scope="module")
def tools() -> None:
    missing = [tool for tool in ("findscu", "getscu", "movescu", "storescu", "dcmqrscp") if not shutil.which(tool)]
    if missing:
        absent(f"DCMTK is not installed ({', '.join(missing)}): apt-get install dcmtk")


@pytest.fixture
def archive(serve: Any, tmp_path: Path, files: list[Path], tools: None) -> Any:
    """`dicore serve` with a C-MOVE destination, filled by storescu: the story of the README."""
    sink = free_port()
    served = serve(tmp_path / "archive", "--destination", f"SINK=127.0.0.1:{sink}")
    served.sink = sink
    subprocess.run(
        ["storescu", "-aec", served.ae_title, "127.0.0.1", str(served.port), *map(str, files)],
        check=True,
        capture_output=True,
    )
    return served


def where(archive: Any) -> list[str]:
    return ["-aec", archive.ae_title, "127.0.0.1", str(archive.port)]


def study_of(path: Path) -> str:
    return str(pydicom.dcmread(path, stop_before_pixels=True).StudyInstanceUID)


def pixels(paths: list[Path]) -> dict[str, bytes]:
    return {str(ds.SOPInstanceUID): bytes(ds.PixelData) for ds in map(pydicom.dcmread, paths)}


def of_study(files: list[Path]) -> tuple[str, list[Path]]:
    study = study_of(files[0])
    return study, [path for path in files if study_of(path) == study]


def test_findscu_finds_studies(archive: Any, files: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "found"
    out.mkdir()
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID", "-k", "PatientName", "-k", "ModalitiesInStudy"]
    subprocess.run(["findscu", "-S", "-X", "-od", str(out), *keys, *where(archive)], check=True, capture_output=True)
    found = {str(pydicom.dcmread(path, force=True).StudyInstanceUID) for path in out.iterdir()}
    assert found == {study_of(path) for path in files}


def test_getscu_gets_a_study(archive: Any, files: list[Path], tmp_path: Path) -> None:
    study, wanted = of_study(files)
    out = tmp_path / "got"
    out.mkdir()
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}"]
    subprocess.run(["getscu", "-S", "-od", str(out), *keys, *where(archive)], check=True, capture_output=True)
    assert pixels(list(out.iterdir())) == pixels(wanted)


def test_movescu_moves_a_study_to_storescp(archive: Any, files: list[Path], tmp_path: Path) -> None:
    study, wanted = of_study(files)
    out = tmp_path / "moved"
    out.mkdir()
    process = subprocess.Popen(["storescp", "-od", str(out), str(archive.sink)])
    try:
        listening(archive.sink)
        keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}"]
        subprocess.run(
            ["movescu", "-S", "-aem", "SINK", *keys, *where(archive)], check=True, capture_output=True, timeout=60
        )
    finally:
        process.terminate()
        process.wait(30)
    assert pixels(list(out.iterdir())) == pixels(wanted)


def test_pynetdicom_queries_and_gets(archive: Any, files: list[Path]) -> None:
    from pydicom.dataset import Dataset
    from pynetdicom import AE, build_role, evt

    study, wanted = of_study(files)
    sop_classes = {str(pydicom.dcmread(path, stop_before_pixels=True).SOPClassUID) for path in wanted}
    got: dict[str, bytes] = {}

    def store(event: Any) -> int:
        got[str(event.dataset.SOPInstanceUID)] = bytes(event.dataset.PixelData)
        return 0

    entity = AE(ae_title="PYNET")
    for one in (FIND, GET, *sop_classes):
        entity.add_requested_context(one)
    roles = [build_role(one, scp_role=True) for one in sop_classes]
    assoc = entity.associate(
        "127.0.0.1",
        archive.port,
        ae_title=archive.ae_title,
        ext_neg=roles,
        evt_handlers=[(evt.EVT_C_STORE, store)],
    )
    assert assoc.is_established
    query = Dataset()
    query.QueryRetrieveLevel, query.StudyInstanceUID, query.PatientID = "STUDY", study, ""
    answers = list(assoc.send_c_find(query, FIND))
    assert [status.Status for status, _ in answers] == [0xFF00, 0]
    assert str(answers[0][1].StudyInstanceUID) == study
    query = Dataset()
    query.QueryRetrieveLevel, query.StudyInstanceUID = "STUDY", study
    final = list(assoc.send_c_get(query, GET))[-1][0]
    assert (final.Status, final.NumberOfCompletedSuboperations) == (0, len(wanted))
    assoc.release()
    assert got == pixels(wanted)


# ---- 200 queries


def listening(port: int) -> None:
    import socket

    for _ in range(1000):
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise AssertionError("nobody listens")


@contextlib.contextmanager
def dcmqrscp(folder: Path, files: list[Path]) -> Iterator[int]:
    area, port = folder / "area", free_port()
    area.mkdir(parents=True)
    config = folder / "dcmqrscp.cfg"
    config.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\nHostTable BEGIN\nHostTable END\n"
        f"VendorTable BEGIN\nVendorTable END\nAETable BEGIN\nQR {area} RW (500, 1024mb) ANY\nAETable END\n"
    )
    process = subprocess.Popen(["dcmqrscp", "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        listening(port)
        subprocess.run(
            ["storescu", "-aec", "QR", "127.0.0.1", str(port), *map(str, files)], check=True, capture_output=True
        )
        yield port
    finally:
        process.terminate()
        process.wait(30)


SEED = int(os.environ.get("DICORE_QUERY_SEED", "20260105"))
_OF_STUDY = [
    "PatientID",
    "PatientName",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "StudyID",
    "ReferringPhysicianName",
]


def queries(files: list[Path], count: int) -> list[dict[str, str]]:
    """Hierarchical queries of both roots and every level, every kind of matching, by values that are there and values
    that are not. The same for the same seed."""
    chance = random.Random(SEED)
    heads = [pydicom.dcmread(path, stop_before_pixels=True) for path in files]
    made: list[dict[str, str]] = []

    def cut(text: str) -> str:
        at = chance.randrange(len(text) + 1)
        middle = chance.randrange(at, len(text) + 1)
        forms = [
            text,
            text[:at] + "*",
            "*" + text[at:],
            text[:at] + "?" + text[at + 1 :],
            text[:at] + "*" + text[middle:],
            "*" + text[at:middle] + "*",
            text.swapcase(),
            "*",
            text + "x",
        ]
        return chance.choice(forms)

    def moment(key: str, value: str, lowest: str, highest: str) -> str:
        whole = value.partition(".")[0]
        if not whole:
            return f"{lowest}-{highest}"
        return chance.choice(
            [
                value,
                f"{value}-",
                f"-{value}",
                f"{lowest}-{highest}",
                f"{whole}-{whole}",
                f"{lowest}-{whole}",
                "",
                highest,
            ]
        )

    def value_of(key: str, ds: pydicom.Dataset) -> str:
        value = str(ds.get(key, "") or "")
        if key == "StudyDate":
            return moment(key, value, "19000101", "20991231")
        if key == "StudyTime":
            return moment(key, value, "000000", "235959")
        return cut(value) if value and value.isascii() else ""

    def special(ds: pydicom.Dataset) -> dict[str, str]:
        """What implementations differ in."""
        other = chance.choice(heads)
        date, time = str(ds.StudyDate), str(ds.StudyTime)
        return chance.choice(
            [
                {"ReferringPhysicianName": f"{ds.ReferringPhysicianName}^^"},
                {"AccessionNumber": f"{ds.AccessionNumber}\\{other.AccessionNumber}"},
                {"StudyID": '""'},
                {"StudyDate": '""'},
                {"StudyDate": f"{date[:4]}.{date[4:6]}.{date[6:]}"},
                {"StudyTime": time[:4]},
                {"StudyTime": f"{time[:2]}-{time[:2]}"},
                {"StudyDate": "20240231-20241399"},
                {"StudyDate": f"{date}-", "StudyTime": f"-{time}"},
                {"ModalitiesInStudy": str(ds.Modality)},
                {"ModalitiesInStudy": f"{ds.Modality}\\XA"},
                {"SeriesNumber": "1"},
                {"StudyDescription": str(ds.StudyDescription)[:3] + "*"},
                {"PatientBirthDate": str(ds.PatientBirthDate)},
                {"PatientSex": str(ds.PatientSex)},
                {"StudyDate": "2024*"},
                {"StudyTime": "1?"},
                {"AccessionNumber": " " + str(ds.AccessionNumber) + " "},
                {"ReferringPhysicianName": str(ds.ReferringPhysicianName).split("^")[0] + "*=*"},
                {"AccessionNumber": f"[{ds.AccessionNumber}]"},
            ]
        )

    while len(made) < count:
        ds = chance.choice(heads)
        model = chance.choice(["study", "study", "patient"])
        level = chance.choice(
            ["STUDY", "STUDY", "STUDY", "SERIES", "IMAGE", *(["PATIENT"] * 2 if model == "patient" else [])]
        )
        query = {"model": model, "QueryRetrieveLevel": level}
        if model == "patient" and level != "PATIENT":
            query["PatientID"] = str(ds.PatientID)
        if level == "PATIENT":
            for key in ("PatientID", "PatientName"):
                query[key] = value_of(key, ds)
        elif level == "STUDY":
            query["StudyInstanceUID"] = ""
            own = [key for key in _OF_STUDY if model == "study" or not key.startswith("Patient")]
            for key in chance.sample(own, chance.randrange(1, 4)):
                query[key] = value_of(key, ds)
            if chance.random() < 0.25:
                query.update(special(ds))
            if chance.random() < 0.2:
                query["StudyInstanceUID"] = "\\".join(
                    str(chance.choice(heads).StudyInstanceUID) for _ in range(chance.randrange(1, 4))
                )
        else:
            query["StudyInstanceUID"] = str(ds.StudyInstanceUID)
            query["SeriesInstanceUID"] = str(ds.SeriesInstanceUID) if level == "IMAGE" else ""
            if level == "SERIES":
                query["Modality"] = chance.choice(["", str(ds.Modality), "C?", "*", "XA", str(ds.Modality).lower()])
                query["SeriesNumber"] = chance.choice(["", str(ds.SeriesNumber), "9999"])
                if chance.random() < 0.3:
                    siblings = [str(one.SeriesInstanceUID) for one in heads[:40:7]]
                    query["SeriesInstanceUID"] = "\\".join([str(ds.SeriesInstanceUID), *siblings])
            else:
                query["SOPInstanceUID"] = chance.choice(["", str(ds.SOPInstanceUID)])
                query["InstanceNumber"] = chance.choice(["", str(ds.InstanceNumber), "9999"])
        made.append(query)
    return made


_NAMES = ("PatientName", "ReferringPhysicianName")


def _has(query: dict[str, str], keys: tuple[str, ...], pattern: str) -> bool:
    return any(re.search(pattern, query.get(key, "")) for key in keys)


# what differs and the clause that decides it (docs/reference/queries.md): of which queries, and how our answer differs
CLAUSES: dict[str, tuple[Callable[[dict[str, str]], bool], str]] = {
    "PS3.5 6.2.1.1: trailing ^ of a name mean nothing": (lambda q: _has(q, _NAMES, r"\^$|\^[*?]"), "more"),
    "C.2.2.2.4: a key of several component groups, each matched": (lambda q: _has(q, _NAMES, "="), "more"),
    "C.2.2.2.1: names may match whatever their case": (lambda q: _has(q, _NAMES, "[a-zA-Z]"), "more"),
    "PS3.5 6.2: 31 February is no date; compared as text": (lambda q: _has(q, ("StudyDate",), "0231|1399"), "more"),
    "C.2.2.2.8: several values, any of them": (
        lambda q: _has(q, ("AccessionNumber", "PatientID", "StudyID"), r"\\"),
        "more",
    ),
    "C.2.2.2.7: two quotation marks match an empty value": (lambda q: '""' in q.values(), "other"),
    "PS3.5 6.2: a time without seconds is all of its minute": (
        lambda q: _has(q, ("StudyTime",), r"^-?(\d\d|\d{4})(-|$)|-(\d\d|\d{4})$"),
        "more",
    ),
    "C.2.2.2.4: no wildcards in dates and times, A900": (
        lambda q: _has(q, ("StudyDate", "StudyTime"), "[*?]"),
        "refused",
    ),
    "C.6.2.1.2: Modalities in Study is a key": (lambda q: bool(q.get("ModalitiesInStudy")), "fewer"),
}


def clause(query: dict[str, str], ours: Any, theirs: Any) -> str:
    """The clause that decides a difference, "" when none does."""
    if isinstance(ours, str) or isinstance(theirs, str):
        how = "refused" if isinstance(ours, str) else "answered"
    else:
        how = "more" if ours > theirs else "fewer" if ours < theirs else "other"
    return next((name for name, (of, way) in CLAUSES.items() if way in (how, "other") and of(query)), "")


def test_200_queries_are_answered_as_dcmqrscp_answers_them(archive: Any, files: list[Path], tmp_path: Path) -> None:
    asked = queries(files, 200)
    assert queries(files, 200) == asked

    async def answers(port: int, title: str) -> list[Any]:
        found: list[Any] = []
        contexts = ["1.2.840.10008.5.1.4.1.2.1.1", FIND]
        async with dicore.connect(f"{title}@127.0.0.1:{port}", contexts=contexts) as assoc:
            for query in asked:
                keys = {name: value for name, value in query.items() if name != "model"}
                names = (
                    ("PatientID",)
                    if query["QueryRetrieveLevel"] == "PATIENT"
                    else ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
                )
                try:
                    rows = {
                        tuple(str(one.get(name) or "") for name in names)
                        async for one in assoc.c_find(keys, model=query["model"])
                    }
                except DimseError as error:
                    found.append(f"{error.status:04X}")
                else:
                    found.append(rows)
        return found

    with dcmqrscp(tmp_path / "qr", files) as port:
        theirs = run_on("asyncio", answers(port, "QR"))
    ours = run_on("asyncio", answers(archive.port, archive.ae_title))
    differ: dict[str, list[Any]] = {}
    for query, one, other in zip(asked, ours, theirs, strict=True):
        if one != other:
            differ.setdefault(clause(query, one, other), []).append((query, one, other))
    for why, cases in differ.items():
        print(f"{len(cases):4} of {len(asked)}  {why or 'NOT DECIDED'}: {cases[0]}")
    assert sum(map(bool, ours)) > 100  # most of them ask for something that is there
    assert sum(map(len, differ.values())) < 50  # and most are answered alike
    assert differ.get("", []) == []
