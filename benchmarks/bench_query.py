"""Query and retrieve out of an archive: a lock-step client over one open association, the same for every server.

C-FIND at study level by Patient ID (one match) at 5,000 instances; C-GET and C-MOVE of a study of 1,000 slices of 256 x
256. The servers are processes of their own, filled with the same files; what they answer is compared before anything is
timed.
"""

from __future__ import annotations

import os
import shutil
import struct
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.material import ROOT, ct, touch
from benchmarks.peers.archives import (
    EXPLICIT,
    IMPLICIT,
    STUDY_FIND,
    STUDY_GET,
    STUDY_MOVE,
    Archive,
    Client,
    DcmQRSCP,
    DicoreArchive,
    Orthanc,
    Sink,
    element,
)
from benchmarks.rows import Row, Section, main, paired

CT = "1.2.840.10008.5.1.4.1.1.2"
STUDIES, SLICES = 50, 100
FINDS = 200  # of a round


def synthetic() -> tuple[list[Path], list[str]]:
    """5,000 small instances of 50 patients: (files, Patient IDs)."""
    from dicore import read, synth

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


def study_of(uid: str) -> bytes:
    return element(0x0008, 0x0052, b"STUDY ") + element(0x0020, 0x000D, uid.encode())


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
    small, patients = synthetic()
    large = list(ct("lean", 256, 1000))
    study = large_study(large[0])
    peers: list[type[Archive]] = [DicoreArchive, DcmQRSCP, *([Orthanc] if Orthanc.installed() else [])]
    folder = Path(tempfile.mkdtemp(prefix="query-run-", dir=ROOT))
    os.environ["TCP_NODELAY"] = "1"
    try:
        if not only or "find" in only:
            yield _finds(rounds, folder, peers, small, patients)
        if not only or {"get", "move"} & set(only):
            yield from _retrieves(rounds, folder, peers, large, study, only)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def large_study(path: Path) -> str:
    from dicore import read

    return str(read(path).StudyInstanceUID)


def _finds(
    rounds: int, folder: Path, peers: Sequence[type[Archive]], files: Sequence[Path], patients: Sequence[str]
) -> Section:
    sink = Sink()
    servers = [peer(folder / f"find-{peer.__name__}", files, sink.port) for peer in peers]
    clients: list[Client] = []
    try:
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
        sink.close()
    rows = [Row("dicore serve", times[0])]
    for server, one in zip(servers[1:], times[1:], strict=True):
        must = 20 if server.name == "dcmqrscp" else None
        rows.append(Row(server.name, one, paired(one, times[0]), must=must))
    return Section(f"C-FIND of a study by Patient ID, {len(files):,} instances", "us per query", rows)


if __name__ == "__main__":
    raise SystemExit(main(sections, __doc__))
