"""C-FIND at study level by Patient ID (one match): a lock-step client over one open association, the same for all.

At 5,000 instances against dcmqrscp and Orthanc; at 100,000 against Orthanc, when `--only large` has filled both archives
once: their folder (build/bench, or where DICORE_BENCH_LARGE says) is kept. The servers are processes of their own with
the same instances in them; what they answer is compared before anything is timed.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import struct
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.material import ROOT
from benchmarks.peers.archives import IMPLICIT, STUDY_FIND, Archive, Client, DcmQRSCP, DicoreArchive, Orthanc, element
from benchmarks.rows import Row, Section, main, paired
from dicore import read

STUDIES, SLICES = 50, 100
LARGE_STUDIES = 1000
LARGE = Path(os.environ.get("DICORE_BENCH_LARGE", ROOT / "query-large"))
FINDS = 200  # of a round


def synthetic() -> tuple[list[Path], list[str]]:
    """5,000 small instances of 50 patients: (files, Patient IDs)."""
    from dicore import synth

    folder = ROOT / f"query-{STUDIES}-{SLICES}"
    if not folder.exists():
        half = Path(tempfile.mkdtemp(prefix="query-", dir=ROOT))
        for number, one in enumerate(synth.studies(21, STUDIES, modality="CT", slices=SLICES, size=16)):
            (half / f"{number:05d}.dcm").write_bytes(one.data)
        half.rename(folder)
    files = sorted(folder.iterdir())
    return files, sorted({str(read(one).PatientID) for one in files[:: SLICES // 2]})


def find_by(patient: str) -> bytes:
    study = [0x00080020, 0x00080030, 0x00080050, 0x00080061, 0x00100010, 0x00100020, 0x0020000D, 0x00200010, 0x00201208]
    elements = [element(0x0008, 0x0052, b"STUDY ")]
    for tag in study:
        value = patient.encode() + b" " * (len(patient) % 2) if tag == 0x00100020 else b""
        elements.append(element(tag >> 16, tag & 0xFFFF, value))
    return b"".join(sorted(elements, key=lambda one: struct.unpack_from("<HH", one)))


def value(data: bytes, tag: int) -> str:
    at = 0
    while at < len(data):
        group, number, size = struct.unpack_from("<HHI", data, at)
        if group << 16 | number == tag:
            return data[at + 8 : at + 8 + size].decode().strip("\0 ")
        at += 8 + size
    return ""


def sections(rounds: int, only: Sequence[str] = ()) -> Iterator[Section]:
    ROOT.mkdir(parents=True, exist_ok=True)
    os.environ["TCP_NODELAY"] = "1"
    if not only or "find" in only:
        small, patients = synthetic()
        peers: list[type[Archive]] = [DicoreArchive, DcmQRSCP, *([Orthanc] if Orthanc.installed() else [])]
        folder = Path(tempfile.mkdtemp(prefix="query-run-", dir=ROOT))
        try:
            yield _finds(
                rounds, len(small), patients, [lambda one=one: one(folder / one.__name__, small) for one in peers]
            )
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    if Orthanc.installed() and (LARGE.exists() if not only else "large" in only):
        patients = large()
        both: list[type[Archive]] = [DicoreArchive, Orthanc]
        made = [lambda one=one: one(LARGE / one.__name__, again=True) for one in both]
        yield _finds(rounds, LARGE_STUDIES * SLICES, patients, made, {"Orthanc": (3, 5)})


def large() -> list[str]:
    """Fill both archives with 100,000 small instances, if that was not done before; Patient IDs of some."""
    from dicore import send, synth

    done = LARGE / "patients.json"
    if done.exists():
        return list(json.loads(done.read_text()))
    shutil.rmtree(LARGE, ignore_errors=True)
    files = LARGE / "files"
    files.mkdir(parents=True)
    patients: list[str] = []
    for number, one in enumerate(synth.studies(23, LARGE_STUDIES, modality="CT", slices=SLICES, size=16)):
        (files / f"{number:06d}.dcm").write_bytes(one.data)
        if number % (SLICES * 20) == 0:
            patients.append(str(read(one.data).PatientID))
    for kind in (DicoreArchive, Orthanc):
        server = kind(LARGE / kind.__name__)
        try:
            report = asyncio.run(
                send(files, to=f"{server.ae_title}@127.0.0.1:{server.port}", associations=4, retries=5)
            )
            if report.sent != LARGE_STUDIES * SLICES:
                raise AssertionError(f"{server.name} took {report.sent} instances: {report.failures[:3]}")
        finally:
            server.stop()
    shutil.rmtree(files)
    done.write_text(json.dumps(patients))
    return patients


def _finds(
    rounds: int,
    instances: int,
    patients: Sequence[str],
    peers: Sequence[Callable[[], Archive]],
    wanted: Mapping[str, tuple[float, float | None]] = {"dcmqrscp": (20, None)},
) -> Section:
    servers: list[Archive] = []
    clients: list[Client] = []
    try:
        for peer in peers:
            servers.append(peer())
        clients += [Client(server.port, [(STUDY_FIND, [IMPLICIT])]) for server in servers]
        answers = []
        for client in clients:
            found = [client.find(find_by(patient)) for patient in patients]
            if any(len(one) != 1 for one in found):
                raise AssertionError("a query has not exactly one answer")
            answers.append([value(one[0], 0x0020000D) for one in found])
        if any(one != answers[0] for one in answers):
            raise AssertionError("the archives answer differently")
        times: list[list[float]] = [[] for _ in servers]
        for number in range(rounds):
            for which in [(number + i) % len(servers) for i in range(len(servers))]:
                queries = [find_by(patients[i % len(patients)]) for i in range(FINDS)]
                client = clients[which]
                start = time.perf_counter()
                for query in queries:
                    client.find(query)
                times[which].append((time.perf_counter() - start) / FINDS * 1e6)
    finally:
        for client in clients:
            client.close()
        for server in servers:
            server.stop()
    rows = [Row("dicore serve", times[0])]
    for server, one in zip(servers[1:], times[1:], strict=True):
        must, reach = wanted.get(server.name, (None, None))
        rows.append(Row(server.name, one, paired(one, times[0]), must, reach))
    return Section(f"C-FIND of a study by Patient ID, {instances:,} instances", "us per query", rows)


if __name__ == "__main__":
    raise SystemExit(main(sections, __doc__))
