"""The index of a store at 10 thousand, 100 thousand and a million instances: filling it, asking it, opening it again.

The instances are synthetic data set heads of some 600 bytes (no pixels: what is measured is the index), 50 in a series,
4 series in a study, 2 studies of a patient. They go in by `Store.append`, the index follows them as in a server,
queries are those of `Store.find` and `Store.query`. Answers are compared with what was put in before anything is timed.
`--rows N` for another number than a million.
"""

from __future__ import annotations

import os
import random
import shutil
import statistics
import struct
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.material import ROOT
from benchmarks.rows import Row, Section, main

CT, EXPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"
PREFIX = "1.2.826.0.1.3680043.10.1338.9."
IMAGES, SERIES, STUDIES = 50, 4, 2  # of a series, a study, a patient
FAMILIES = ["Doe", "Smith", "Muster", "Garcia", "Yamada", "Kowalski", "Nguyen", "Rossi", "Okafor", "Lindqvist"]
SAMPLE = 2000  # queries of a kind
POINTS = (10_000, 100_000, 1_000_000)


def _element(tag: int, vr: str, value: str | bytes) -> bytes:
    data = value.encode("latin-1") if isinstance(value, str) else value
    if len(data) % 2:
        data += b"\0" if vr == "UI" else b" "
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), len(data)) + data


def of(study: int) -> dict[str, str]:
    """What the study of this number has."""
    patient = study // STUDIES
    scrambled = patient * 7919 % 1_000_003
    return {
        "StudyInstanceUID": f"{PREFIX}{study}",
        "StudyDate": f"{2012 + study % 14}{1 + study // 14 % 12:02d}{1 + study // 168 % 28:02d}",
        "StudyTime": f"{study % 24:02d}{study % 60:02d}00",
        "AccessionNumber": f"A{study:08d}",
        "PatientName": f"{FAMILIES[patient % 10]}{scrambled:06d}^Ann",
        "PatientID": f"P{scrambled:07d}",
    }


def heads(count: int) -> Iterator[tuple[str, bytes]]:
    """(SOP Instance UID, data set) of so many instances."""
    of_study: dict[str, str] = {}
    for number in range(count):
        study, series, image = number // (IMAGES * SERIES), number // IMAGES % SERIES, number % IMAGES
        if number % (IMAGES * SERIES) == 0:
            of_study = of(study)
        if number % IMAGES == 0:
            one = of_study
            begin = _element(0x00080016, "UI", CT)
            middle = b"".join((
                _element(0x00080020, "DA", one["StudyDate"]), _element(0x00080030, "TM", one["StudyTime"]),
                _element(0x00080050, "SH", one["AccessionNumber"]), _element(0x00080060, "CS", "CT"),
                _element(0x00080090, "PN", "House^Gregory"), _element(0x00081030, "LO", "CT Thorax"),
                _element(0x0008103E, "LO", "axial 1.0"), _element(0x00100010, "PN", one["PatientName"]),
                _element(0x00100020, "LO", one["PatientID"]), _element(0x00100030, "DA", "19700101"),
                _element(0x00100040, "CS", "O"), _element(0x0020000D, "UI", one["StudyInstanceUID"]),
                _element(0x0020000E, "UI", f"{one['StudyInstanceUID']}.{series}"), _element(0x00200010, "SH", "1"),
                _element(0x00200011, "IS", str(series)),
            ))  # fmt: skip
            end = _element(0x00280010, "US", struct.pack("<H", 512)) + _element(
                0x00280011, "US", struct.pack("<H", 512)
            )
        uid = f"{PREFIX}{study}.{series}.{image}"
        yield uid, begin + _element(0x00080018, "UI", uid) + middle + _element(0x00200013, "IS", str(image)) + end


def _timed(queries: Sequence[Callable[[], Any]]) -> list[float]:
    """Milliseconds of each."""
    times = []
    for query in queries:
        start = time.perf_counter_ns()
        query()
        times.append((time.perf_counter_ns() - start) / 1e6)
    return times


def _p99(times: Sequence[float]) -> float:
    return sorted(times)[int(len(times) * 0.99)]


def _at_most(name: str, values: Sequence[float], limit: float, note: str = "", value: float | None = None) -> Row:
    value = statistics.median(values) if value is None else value
    return Row(name, values, value, must=limit, most=True, note=note)


def sections(rounds: int, only: Sequence[str] = (), rows: int = 1_000_000) -> Iterator[Section]:
    ROOT.mkdir(parents=True, exist_ok=True)
    path = ROOT / "index"
    shutil.rmtree(path, ignore_errors=True)
    try:
        yield from _filled(path, rows, rounds)
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _filled(path: Path, rows: int, rounds: int) -> Iterator[Section]:
    from dicore.store import Store

    with Store(path, durability="relaxed") as store:
        points, since, before = sorted({one for one in POINTS if one < rows} | {rows}), time.perf_counter(), 0
        growth, part10 = [], 0
        for number, (uid, data) in enumerate(heads(rows), 1):
            store.append(CT, uid, EXPLICIT, [data])
            if number in points:
                store.sync_index()
                rate = (number - before) / (time.perf_counter() - since)
                if number == points[0]:
                    part10 = sum(len(file) for _, file in store.scan_source()) // number
                size = (path / "index.sqlite").stat().st_size / number
                growth.append(Row(f"up to {number:,}", [rate], note=f"index {size:,.0f} bytes an instance"))
                since, before = time.perf_counter(), number
        yield Section("Stored and indexed, Store.append relaxed and the index behind it", "instances/s", growth)
        yield _answers(store, rows)
        yield _random_instances(store, rows, rounds)
    yield from _again(path, min(rows, 100_000), part10)


def _answers(store: Any, rows: int) -> Section:
    chance = random.Random(7)
    studies = rows // (IMAGES * SERIES)
    some = [of(chance.randrange(studies)) for _ in range(SAMPLE)]
    for one in some[:50]:
        for key in ("PatientID", "AccessionNumber", "StudyInstanceUID", "PatientName"):
            found = store.find("STUDY", **{key: one[key]})
            assert one["StudyInstanceUID"] in {row["StudyInstanceUID"] for row in found}, (key, one)
            assert all(row[key] == one[key] for row in found)
        found = store.find("STUDY", PatientName=one["PatientName"][:-4].upper() + "*")
        assert {row["PatientID"] for row in found} == {one["PatientID"]}
    wanted = {"StudyInstanceUID": "", "PatientName": "", "StudyDate": "", "ModalitiesInStudy": ""}
    image = [f"{one['StudyInstanceUID']}.{chance.randrange(SERIES)}.{chance.randrange(IMAGES)}" for one in some]

    def ask(level: str, keys: dict[str, str], **options: Any) -> Callable[[], Any]:
        return lambda: list(store.query(level, {**(wanted if level == "STUDY" else {}), **keys}, **options))

    exact = {
        "Patient ID": [ask("STUDY", {"PatientID": one["PatientID"]}) for one in some],
        "Accession Number": [ask("STUDY", {"AccessionNumber": one["AccessionNumber"]}) for one in some],
        "Study Instance UID": [ask("STUDY", {"StudyInstanceUID": one["StudyInstanceUID"]}) for one in some],
        "SOP Instance UID, IMAGE level": [ask("IMAGE", {"SOPInstanceUID": uid}) for uid in image],
    }
    ranges = {
        "Patient's Name, exact": [ask("STUDY", {"PatientName": one["PatientName"]}) for one in some],
        "Patient's Name, ABC123*": [ask("STUDY", {"PatientName": one["PatientName"][:-5] + "*"}) for one in some],
        "Patient's Name, ?BC123*, first 10": [
            ask("STUDY", {"PatientName": "D?e" + one["PatientName"][-9:-6] + "*"}, limit=10) for one in some[:100]
        ],
        "Accession Number, A00123*": [
            ask("STUDY", {"AccessionNumber": one["AccessionNumber"][:-1] + "*"}) for one in some
        ],
        "Study Date, a day": [ask("STUDY", {"StudyDate": one["StudyDate"]}) for one in some],
        "Study Date, a day and later, first 10": [
            ask("STUDY", {"StudyDate": one["StudyDate"] + "-"}, limit=10) for one in some
        ],
        "Study Date, a day, and Modalities in Study": [
            ask("STUDY", {"StudyDate": one["StudyDate"], "ModalitiesInStudy": "CT"}) for one in some
        ],
        "Study Date and Time, a range of moments": [
            ask("STUDY", {"StudyDate": one["StudyDate"], "StudyTime": "0800-1200"}, combined=True) for one in some
        ],
        "all keys of a study's images, IMAGE level, SERIES key": [
            ask("IMAGE", {"SeriesInstanceUID": one["StudyInstanceUID"] + ".1", "InstanceNumber": ""}) for one in some
        ],
    }
    found_rows = []
    for limit, kinds in ((0.2, exact), (5.0, ranges)):
        for name, queries in kinds.items():
            _timed(queries[:200])  # the page cache and the statement
            times = _timed(queries)
            note = f"p50 {statistics.median(times):.3f} p99 {_p99(times):.3f} ms, {len(queries[0]())} matches"
            found_rows.append(_at_most(name, times, limit, note, _p99(times)))
    return Section(
        f"Queries over {rows:,} instances", "ms", found_rows, ratio="p99, ms",
        note=f"the ratio column is the 99th percentile in ms over {SAMPLE:,} different queries, each "
        "asked once; must is what it may be at most",
    )  # fmt: skip


def _random_instances(store: Any, rows: int, rounds: int) -> Section:
    chance = random.Random(9)
    studies = rows // (IMAGES * SERIES)

    def some() -> list[str]:
        return [
            f"{PREFIX}{chance.randrange(studies)}.{chance.randrange(SERIES)}.{chance.randrange(IMAGES)}"
            for _ in range(10_000)
        ]

    for uid in some()[:100]:
        assert store[uid].SOPInstanceUID == uid
    values = []
    for _ in range(rounds):
        uids = some()
        start = time.perf_counter()
        for uid in uids:
            store[uid]
        values.append((time.perf_counter() - start) / len(uids) * 1e6)
    return Section("A random instance from the map to a Dataset", "us", [_at_most("store[uid]", values, 20)],
                   ratio="median, us")  # fmt: skip


def _again(path: Path, rows: int, part10: int) -> Iterator[Section]:
    """Opening, rebuilding and the space of a store of 100,000."""
    from dicore.store import Store

    shutil.rmtree(path)
    count = 0
    with Store(path, segment_size=64 << 20, durability="relaxed") as store:
        for uid, data in heads(rows):
            store.append(CT, uid, EXPLICIT, [data])
            count += 1
        store.sync_index()
    opened, rebuilt = [], []
    for _ in range(3):
        start = time.perf_counter()
        with Store(path) as store:
            (one,) = store.find("STUDY", AccessionNumber="A00000001")
            opened.append(time.perf_counter() - start)
            assert (one["NumberOfStudyRelatedInstances"], len(store)) == (str(IMAGES * SERIES), rows)
            start = time.perf_counter()
            assert store.rebuild() == rows
            rebuilt.append(rows / (time.perf_counter() - start))
    yield Section(f"A store of {rows:,} instances", "", [
        _at_most("opened and asked", opened, 2.0, "seconds"),
        Row("rebuilt", rebuilt, statistics.median(rebuilt) / 20_000, must=1, note="instances/s; the ratio: to 20,000"),
    ], ratio="seconds; x 20,000/s")  # fmt: skip
    with Store(path) as store:
        files = sum(len(file) for _, file in store.scan_source())
        store.roll()
        beyond = (_used(path) - files) / rows
        doomed = [(CT, uid) for number, (uid, _) in enumerate(heads(rows)) if number % 3 == 0]
        store.delete_instances(doomed)
        store.compact()
        left = sum(len(file) for _, file in store.scan_source())
        live = _live(store)
        kept = len(store)
    assert kept == rows - len(doomed)
    yield Section("Space", "", [
        _at_most("bytes an instance beyond its Part 10 file", [beyond], 256,
                 f"Part 10 files of {part10} bytes; records, sidecars, marks; the index apart"),
        Row("live after deleting a third and compacting, %", [live * 100], live / 0.98, must=1,
            note=f"{left / kept:,.0f} bytes of Part 10 an instance"),
    ], ratio="bytes; x 98 %")  # fmt: skip


def _used(path: Path) -> int:
    """Bytes of disk of the segments and what stands beside them."""
    return sum(os.stat(one).st_blocks * 512 for one in (path / "segments").iterdir() if one.suffix != ".new") - sum(
        _unused(one) for one in (path / "segments").glob("*.seg") if not one.with_suffix(".idx").exists()
    )


def _unused(segment: Path) -> int:
    """Of a segment that is not sealed: what is reserved for what comes."""
    return os.stat(segment).st_blocks * 512


def _live(store: Any) -> float:
    """The part of the records' bytes that counts."""
    report = store.verify()
    assert report.ok
    return float(report.instances / (report.instances + report.dead))


if __name__ == "__main__":
    at = sys.argv.index("--rows") if "--rows" in sys.argv else 0
    number = int(sys.argv[at + 1]) if at else 1_000_000
    if at:
        del sys.argv[at : at + 2]
    raise SystemExit(main(lambda rounds, only=(): sections(rounds, only, number), __doc__))
