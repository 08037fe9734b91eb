"""The throughput table of issue 6: C-STORE between dicore, DCMTK, pynetdicom, pydcm and the raw loopback.

    python -m benchmarks.bench_throughput [--only ROW ...] [--rounds 5] [--quick] [--list]

A row is a ratio of two cells, a cell a sender and a receiver, each a process of its own. The cells of all rows wanted take
turns in every round, and with them the raw floor of the same pattern. After every run the receiver's data sets are
compared, by digest, with those sent. Ratios are medians over the rounds of ratios within a round; a round in which a row's
floor was below 80 % of its best is void for that row (something else had the machine), and a row that has lost more than
half of its rounds has no figure. `--quick`: three rounds, which with one or two rows take half a minute.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks import rows
from benchmarks.bench_net import Cell, measure
from benchmarks.material import machine, versions
from benchmarks.peers import dcmtk, dicore, floor, pydcm, pynetdicom
from benchmarks.rows import Row, Section, paired

SIDES = {131: 256, 525: 512}
COUNTS = {131: 2000, 525: 600}
VOID = 0.8  # of the best that a floor did


@dataclass(frozen=True)
class Wanted:
    """A line of the table: cell `above` does so many times what cell `below` does."""

    what: str
    above: str
    below: str
    floor: str
    must: float | None = None
    reach: float | None = None


TABLE = {  # name of the row: what it is
    "8": Wanted("send → serve, 8 associations, to dcmsend → storescp", "relaxed-8", "base", "floor-8", 6, 9),
    "window": Wanted("send → serve, 1 association, window 4, to same", "window", "base", "floor-window", 5, 7),
    "1": Wanted("send → serve, 1 association, window 1, to same", "relaxed-1", "base", "floor-1"),
    "threads": Wanted("send → serve, 8, two engine threads, to same", "threads", "base", "floor-8", None, 12),
    "8-525": Wanted("525 KB: send → serve, 8, to dcmsend → storescp", "relaxed-8@525", "base@525", "floor-8@525", 3.5, 8),
    "window-525": Wanted("525 KB: 1 association, window 4, to same", "window@525", "base@525", "floor-window@525", 3.5, 5),
    "threads-525": Wanted("525 KB: 8, two engine threads, to same", "threads@525", "base@525", "floor-8@525"),
    "pynetdicom": Wanted("send → serve, 8, to pynetdicom → pynetdicom, 8", "relaxed-8", "pynetdicom", "floor-8", 60, 150),
    "fork": Wanted("same sender, 8: serve to storescp --fork", "relaxed-8", "fork-8", "floor-8", 2, 3),
    "pydcm": Wanted("same sender, 8: serve to pydcm store_dir", "relaxed-8", "pydcm-8", "floor-8", 2, 3),
    "fork-525": Wanted("525 KB: serve to storescp --fork", "relaxed-8@525", "fork-8@525", "floor-8@525", 1.3, 2),
    "pydcm-525": Wanted("525 KB: serve to pydcm store_dir", "relaxed-8@525", "pydcm-8@525", "floor-8@525", 1.3, 2),
    "discard": Wanted("same sender, 8: discarding engine to raw sink", "discard-8", "scripted-8", "floor-8", 0.7, 0.95),
    "discard-window": Wanted("same, 1 association, window 4", "discard-window", "scripted-window", "floor-window"),
    "discard-525": Wanted("525 KB: same, 8", "discard-8@525", "scripted-8@525", "floor-8@525", 0.7, 0.95),
    "discard-raw": Wanted("same to raw sender (from memory) → raw sink", "discard-8", "floor-8", "floor-8"),
    "store-raw": Wanted("send → serve, 8, to the same sender → raw sink", "relaxed-8", "scripted-8", "floor-8"),
    "durable": Wanted("durable to relaxed, 8", "durable-8", "relaxed-8", "floor-8", 0.7, 0.9),
    "durable-64": Wanted("durable to relaxed, 64", "durable-64", "relaxed-64", "floor-64", 0.85, 0.95),
    "busy": Wanted("with a busy Python thread, to without, 8", "busy-8", "relaxed-8", "floor-8", 0.8, 1),
    "busy-1": Wanted("same, 1 association: a core is left for the thread", "busy-1", "relaxed-1", "floor-1"),
    "busy-other": Wanted("the thread in another process, to without, 8", "other-8", "relaxed-8", "floor-8"),
    "busy-gil": Wanted("the thread in this process, to in another one, 8", "busy-8", "other-8", "floor-8"),
    "driver": Wanted("engine to event loop, 8", "relaxed-8", "asyncio-8", "floor-8"),
}


def cell(name: str) -> Cell:
    key, _, size = name.partition("@")
    kilobytes = int(size or 131)
    send = dicore.DicoreSend
    pairs = {
        "base": (dcmtk.DcmSend(), dcmtk.StoreSCP),
        "relaxed-8": (send(8), dicore.DicoreServeRelaxed),
        "relaxed-1": (send(1), dicore.DicoreServeRelaxed),
        "relaxed-64": (send(64), dicore.DicoreServeRelaxed),
        "window": (send(1, 4), dicore.DicoreServeRelaxed),
        "threads": (send(8), dicore.DicoreServeTwoThreads),
        "durable-8": (send(8), dicore.DicoreServeDurable),
        "durable-64": (send(64), dicore.DicoreServeDurable),
        "busy-8": (send(8), dicore.DicoreServeBusy),
        "busy-1": (send(1), dicore.DicoreServeBusy),
        "other-8": (send(8), dicore.DicoreServeBesideBusy),
        "asyncio-8": (send(8), dicore.DicoreServeAsyncio),
        "fork-8": (send(8), dcmtk.StoreSCPFork),
        "pydcm-8": (send(8, echo=False), pydcm.PydcmSCP),
        "pynetdicom": (pynetdicom.PynetdicomSend(8), pynetdicom.PynetdicomSCP),
        "discard-8": (send(8), dicore.DicoreDiscard),
        "discard-window": (send(1, 4), dicore.DicoreDiscard),
        "scripted-8": (send(8, echo=False), floor.ScriptedSink),
        "scripted-window": (send(1, 4, echo=False), floor.ScriptedSinkWindow4),
        "floor-1": (floor.RawSend(1), floor.Sink),
        "floor-8": (floor.RawSend(8), floor.Sink),
        "floor-64": (floor.RawSend(64), floor.Sink),
        "floor-window": (floor.RawSend(1, 4), floor.Sink),
    }
    sender, receiver = pairs[key]
    count = COUNTS[kilobytes] // 10 if key == "pynetdicom" else COUNTS[kilobytes]
    return Cell(name, str(kilobytes), sender, receiver, count, side=SIDES[kilobytes])


def described(one: Cell, sound: Sequence[int]) -> str:
    rate = statistics.median(one.rates[i] for i in sound)
    return f"{rate:,.0f}/s, {statistics.median(one.cpu[i] for i in sound) * 1e6:,.0f} us CPU each"


def sections(rounds: int, only: Sequence[str] = ()) -> Iterator[Section]:
    names = list(only) or list(TABLE)
    if unknown := [name for name in names if name not in TABLE]:
        raise SystemExit(f"no such row: {', '.join(unknown)}; they are {', '.join(TABLE)}")
    if any(name.startswith("pydcm") for name in names) and pydcm.interpreter() is None:
        print("no Python >= 3.12 for pydcm: its rows are left out", file=sys.stderr)
        names = [name for name in names if not name.startswith("pydcm")]
    wanted = [TABLE[name] for name in names]
    keys = dict.fromkeys(key for one in wanted for key in (one.above, one.below, one.floor))
    by_key = {key: cell(key) for key in keys}
    measure(list(by_key.values()), rounds, lambda text: print(text, file=sys.stderr, flush=True))
    found, lost = [], 0
    for one in wanted:
        above, below, judge = by_key[one.above], by_key[one.below], by_key[one.floor]
        sound = [i for i, rate in enumerate(judge.rates) if rate >= VOID * max(judge.rates)]
        values = [above.rates[i] for i in sound]
        void = 2 * len(sound) <= rounds and rounds > 1
        lost += void
        ratio = None if void else paired(values, [below.rates[i] for i in sound])
        note = f"{described(above, sound)} : {described(below, sound)}; floor {described(judge, sound)}"
        if len(sound) < rounds:
            note += f"; {rounds - len(sound)} of {rounds} rounds VOID"
        found.append(Row(one.what, values, ratio, one.must, one.reach, peak=above.peak, note=note))
    note = "Stored data sets equal those sent, by digest. Rates are the first cell's; beside them both cells and the floor. "
    note += ", ".join(f"{name} {version}" for name, version in versions())
    yield Section("C-STORE, 131 KB unless said", "instances/s", found, "ratio", note, valid=not lost)


def main() -> int:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--list", action="store_true")
    mine, rest = parser.parse_known_args()
    if mine.list:
        for name, one in TABLE.items():
            limits = f"must {one.must:g}, reach {one.reach}" if one.must else ""
            print(f"{name:<16} {one.what:<56} {limits}")
        return 0
    return rows.main(sections, __doc__, 3 if mine.quick else 5, rest)


if __name__ == "__main__":
    print(machine(), file=sys.stderr)
    raise SystemExit(main())
