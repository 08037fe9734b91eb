"""C-STORE into an archive, index and all: `dicore serve` (relaxed, durable), dcmqrscp and Orthanc with its SQLite.

The same sender for all, `dicore.send` in a warm process, over one and over eight associations; cells take turns in
every round, each with a server of its own that is empty. What was acknowledged must be found afterwards: the study is
retrieved by C-GET, counted, and compared by the length and CRC-32C of each data set. The raw floor stands beside.
"""

from __future__ import annotations

import itertools
import os
import shutil
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.bench_retrieve import ask, kept
from benchmarks.material import ROOT, ct, drop, touch, warm
from benchmarks.peers import Server, dicore, floor
from benchmarks.peers.archives import DcmQRSCP, Orthanc
from benchmarks.rows import Row, Section, main, paired
from dicore import read

SIDE, COUNT = 256, 1000
WANTED = {(8, False): 8.0, (8, True): 5.0, (1, False): 7.0, (1, True): 3.5}  # (associations, durable): times the peer


def sections(rounds: int, only: Sequence[str] = ()) -> Iterator[Section]:
    ROOT.mkdir(parents=True, exist_ok=True)
    os.environ["TCP_NODELAY"] = "1"
    files = list(ct("lean", SIDE, COUNT))
    warm(files)
    study, expected = str(read(files[0]).StudyInstanceUID), kept(files[0].parent)
    kinds: list[type[Server]] = [dicore.DicoreServeRelaxed, dicore.DicoreServeDurable, DcmQRSCP]
    kinds += [Orthanc] if Orthanc.installed() else []
    folder = Path(tempfile.mkdtemp(prefix="archive-", dir=ROOT))
    number = itertools.count()
    missing: list[int] = []

    def run(kind: type[Server], associations: int) -> float:
        server = kind(folder / f"{kind.__name__}-{next(number)}")
        try:
            touch(1.5)
            sender = dicore.DicoreSend(associations)
            sender.whole = kind is not DcmQRSCP  # over eight it refuses a few with C000
            sent = sender(files, server.port)
            _, count, lines = ask("get", server.port, study, "check")
            got = {(int(size), int(crc, 16)) for _, size, crc in map(str.split, lines)}
            lost = sent.count - len(got & expected)
            if kind is DcmQRSCP:
                missing.append(lost)  # seen once, over eight: acknowledged and not found as sent; why is not known
            elif lost or count != sent.count:
                raise AssertionError(f"{server.name}: {count} of {sent.count} found, {len(got & expected)} as sent")
        finally:
            server.stop()
        drop(server.folder)
        return sent.count / sent.seconds

    def bare(associations: int) -> float:
        sink = floor.Sink(folder / f"floor-{next(number)}", side=SIDE)
        try:
            return COUNT / floor.RawSend(associations)(files, sink.port).seconds
        finally:
            sink.stop()

    try:
        for associations in (1, 8):
            if only and str(associations) not in only:
                continue
            rates: list[list[float]] = [[] for _ in kinds]
            raw: list[float] = []
            missing.clear()
            for turn in range(rounds):
                for which in [(turn + i) % len(kinds) for i in range(len(kinds))]:
                    rates[which].append(run(kinds[which], associations))
                raw.append(bare(associations))
            rows = [Row(kinds[0].name, rates[0]), Row(kinds[1].name, rates[1])]
            for kind, one in zip(kinds[2:], rates[2:], strict=True):
                for ours, durable in ((rates[0], False), (rates[1], True)):
                    name = f"{kind.name}, against {'durable' if durable else 'relaxed'}"
                    note = f"acknowledged and not there as sent: {sum(missing)}" if kind is DcmQRSCP else ""
                    rows.append(Row(name, one, paired(ours, one), WANTED[associations, durable], note=note))
            rows.append(Row("raw floor", raw, paired(rates[0], raw)))
            sound = min(raw) >= 0.7 * statistics.median(raw)
            title = f"C-STORE with the index on, associations: {associations}, instances: {COUNT:,}"
            yield Section(title, "instances/s", rows, valid=sound)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    raise SystemExit(main(sections, __doc__))
