"""C-STORE from a sender in one process to a receiver in another, over loopback, both as anyone would start them.

A cell is one sender, one receiver, so many instances. What the receiver kept is compared, by digest, with what was
sent, after every single run. Cells take turns in every round. `python -m benchmarks.bench_net` prints the table
(`--only both-8-relaxed`: that cell, and the bases); `pytest benchmarks/bench_net.py` runs one cell at a time.

Rounds in which the raw floor fell below 80 % of its median are left out: something else had the machine then. When that
is half of them or more the measurement is invalid.
"""

from __future__ import annotations

import itertools
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from benchmarks.material import ROOT, ct, digest, drop, sent, touch, warm
from benchmarks.peers import Sender, Server, dcmtk, dicore, floor, pynetdicom
from benchmarks.rows import Row, Section, main, paired

WANTED: dict[str, tuple[float, float | None]] = {  # cell: (must, reach), times the rate of its base
    "scp-relaxed": (1.2, None),
    "scp-durable": (0.7, None),
    "nagle-relaxed": (40, None),
    "nagle-durable": (40, None),
    "both-1-relaxed": (2.2, None),
    "both-8-relaxed": (4, None),
    "both-8-durable": (2.5, None),
}
SIDE = 256  # 131,072 bytes of pixels under 1 KB of header


@dataclass
class Cell:
    key: str
    group: str  # compared with the cell `base` of the same group
    sender: Sender
    receiver: type[Server]
    count: int  # instances sent in one run
    base: str = ""
    nagle: bool = False
    side: int = SIDE  # pixels
    rates: list[float] = field(default_factory=list)  # instances per second, a run each
    cpu: list[float] = field(default_factory=list)  # receiver's CPU seconds per instance
    peak: int = 0  # largest resident bytes of the receiver
    sender_peak: int = 0

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)


def cells(count: int = 2000) -> list[Cell]:
    """Every cell of the table, bases first."""
    few, slow = max(count // 10, 20), max(count // 20, 20)
    send, relaxed, durable = dcmtk.DcmSend(), dicore.DicoreServeRelaxed, dicore.DicoreServeDurable
    one, eight = dicore.DicoreSend(1), dicore.DicoreSend(8)
    return [
        Cell("base", "Nagle off", send, dcmtk.StoreSCP, count),
        Cell("base-nagle", "Nagle on, the sender's default", send, dcmtk.StoreSCP, slow, nagle=True),
        Cell("scp-pynetdicom", "Nagle off", send, pynetdicom.PynetdicomSCP, few, "base"),
        Cell("scp-relaxed", "Nagle off", send, relaxed, count, "base"),
        Cell("scp-durable", "Nagle off", send, durable, count, "base"),
        Cell("nagle-relaxed", "Nagle on, the sender's default", send, relaxed, count, "base-nagle", nagle=True),
        Cell("nagle-durable", "Nagle on, the sender's default", send, durable, count, "base-nagle", nagle=True),
        Cell("both-1-relaxed", "both ends", one, relaxed, count, "base"),
        Cell("both-1-durable", "both ends", one, durable, count, "base"),
        Cell("both-8-relaxed", "both ends", eight, relaxed, count, "base"),
        Cell("both-8-durable", "both ends", eight, durable, count, "base"),
        Cell("command-8-durable", "both ends", dicore.DicoreSendCommand(8), durable, count, "base"),
        Cell("floor-1", "floor", floor.RawSend(1), floor.Sink, count, "base"),
        Cell("floor-8", "floor", floor.RawSend(8), floor.Sink, count, "base"),
    ]


class Bench:
    """Runs cells. Folders of file-per-instance peers are kept until close(): deleting them slows the next such run."""

    def __init__(self, memory: float = 2.5) -> None:
        ROOT.mkdir(parents=True, exist_ok=True)
        self.folder = Path(tempfile.mkdtemp(prefix="net-", dir=ROOT))
        self.memory = memory
        self._number = itertools.count()

    def run(self, cell: Cell) -> float:
        """One run of a cell: instances per second. Raises unless everything sent was kept, bit for bit."""
        files = tuple(ct("lean", cell.side, cell.count))
        expected = sent(files)
        folder = self.folder / f"{cell.key}-{next(self._number)}"
        raw = issubclass(cell.receiver, floor.Sink)
        options: dict[str, Any] = {"side": cell.side} if raw else {}
        server = cell.receiver(folder, nagle=cell.nagle, **options)
        try:
            warm(files)
            touch(self.memory)
            result = cell.sender(files, server.port, nagle=cell.nagle)
            cpu, peak = server.usage()
        finally:
            server.stop()
        if cell.receiver.keeps:
            kept = [digest(data) for data in server.received()]
            if len(kept) != len(expected) or set(kept) != expected:
                raise AssertionError(
                    f"{cell.key}: {len(set(kept) & expected)} of {len(expected)} kept as sent, {len(kept)} in all"
                )
        drop(folder)
        if sum(1 for _ in folder.rglob("*")) < 100:  # a few large files: nothing that makes the next run slow
            shutil.rmtree(folder)
        cell.rates.append(cell.count / result.seconds)
        cell.cpu.append(cpu / cell.count)
        cell.peak, cell.sender_peak = max(cell.peak, peak), max(cell.sender_peak, result.peak)
        return cell.rates[-1]

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def measure(chosen: Sequence[Cell], rounds: int, tell: Callable[[str], None] = lambda text: None) -> None:
    """Fill in the rates of `chosen`, a run of each per round, in an order that turns from round to round."""
    bench = Bench()
    try:
        for number in range(rounds):
            turn = number % len(chosen)
            for cell in [*chosen[turn:], *chosen[:turn]]:
                rate = bench.run(cell)
                tell(f"round {number + 1}: {cell.sender.name} -> {cell.receiver.name}: {rate:,.0f}/s")
    finally:
        bench.close()


def sections(rounds: int, only: Sequence[str] = ()) -> Iterator[Section]:
    every = cells()
    chosen = [c for c in every if not only or c.key in only or c.key.startswith(("base", "floor-1"))]
    measure(chosen, rounds, lambda text: print(text, file=sys.stderr, flush=True))
    by_key = {c.key: c for c in chosen}
    judge = by_key["floor-1"].rates
    sound = [i for i, rate in enumerate(judge) if rate >= 0.8 * statistics.median(judge)]
    valid = 2 * len(sound) > rounds
    for cell in chosen:
        cell.rates = [cell.rates[i] for i in sound]
    size = ct("lean", SIDE, chosen[0].count)[0].stat().st_size
    titles = {
        "Nagle off": f"C-STORE, {size / 1000:.0f} KB instances: receivers fed by `dcmsend`, Nagle off",
        "Nagle on, the sender's default": "the same, `dcmsend` as it comes (Nagle on)",
        "both ends": "both ends ours, against `dcmsend` to `storescp`",
        "floor": "floor: the same bytes, nothing done with them",
    }
    notes = f"{len(sound)} of {rounds} rounds count (raw floor at 80 % of its median or better); compared by digest."
    for group, title in titles.items():
        rows = []
        for cell in (c for c in chosen if c.group == group):
            ratio = paired(cell.rates, by_key[cell.base].rates) if cell.base else None
            must, reach = WANTED.get(cell.key, (None, None))
            cpu = statistics.median(cell.cpu[i] for i in sound) * 1e6
            sender = f", sender {cell.sender_peak / (1 << 20):,.0f} MiB" if cell.sender_peak else ""
            name = f"{cell.sender.name} → {cell.receiver.name} ({cell.count:,})"
            rows.append(
                Row(name, cell.rates, ratio, must, reach, peak=cell.peak, note=f"receiver {cpu:,.0f} us each{sender}")
            )
        if rows:
            yield Section(title, "instances/s", rows, "to its base", notes, valid)
            notes = ""


@pytest.mark.parametrize("cell", cells(), ids=lambda cell: cell.key)
def test_c_store(benchmark: Any, cell: Cell) -> None:
    bench = Bench()
    try:
        benchmark.pedantic(bench.run, (cell,), rounds=3)
        benchmark.extra_info["instances per second"] = round(cell.rate)
    finally:
        bench.close()


if __name__ == "__main__":
    raise SystemExit(main(sections, __doc__))
