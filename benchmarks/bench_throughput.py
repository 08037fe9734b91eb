"""The throughput table of issue 6: C-STORE between dicore, DCMTK, pynetdicom and the raw loopback.

    python -m benchmarks.bench_throughput [--rounds 5] [--count 2000] [--only 131|525] [--quick]

What each receiver kept is compared, by digest, with what was sent, after every run. Ratios are medians of the ratios
within a round; the wanted ones stand beside. The receiver's CPU time per instance is steadier than rates are here.
"""

from __future__ import annotations

import argparse
import statistics
import sys

from benchmarks.bench_net import Cell, measure
from benchmarks.peers import dcmtk, dicore, floor, pynetdicom

SIDES = {131: 256, 525: 512}


def cells(kilobytes: int, count: int) -> list[Cell]:
    side, send = SIDES[kilobytes], dicore.DicoreSend
    relaxed, durable = dicore.DicoreServeRelaxed, dicore.DicoreServeDurable

    def cell(key: str, sender: object, receiver: type, number: int = count) -> Cell:
        return Cell(f"{key}-{kilobytes}", str(kilobytes), sender, receiver, number, side=side)  # type: ignore[arg-type]

    found = [
        cell("base", dcmtk.DcmSend(), dcmtk.StoreSCP),
        cell("relaxed-8", send(8), relaxed),
        cell("relaxed-1", send(1), relaxed),
        cell("relaxed-1-window", send(1, 4), relaxed),
        cell("relaxed-8-threads", send(8), dicore.DicoreServeTwoThreads),
        cell("fork-8", send(8), dcmtk.StoreSCPFork),
        cell("floor-1", floor.RawSend(1), floor.Sink),
        cell("floor-8", floor.RawSend(8), floor.Sink),
        cell("discard-8", send(8), dicore.DicoreDiscard),
    ]
    if kilobytes == 131:
        found += [
            cell("pynetdicom", dcmtk.DcmSend(), pynetdicom.PynetdicomSCP, max(20, count // 20)),
            cell("durable-8", send(8), durable),
            cell("durable-64", send(64), durable),
            cell("relaxed-64", send(64), relaxed),
            cell("busy-8", send(8), dicore.DicoreServeBusy),
            cell("asyncio-8", send(8), dicore.DicoreServeAsyncio),
        ]
    return found


RATIOS = {  # (what, above, below, wanted)
    131: [
        ("send -> serve, 8 associations / dcmsend -> storescp", "relaxed-8", "base", "must 6x, reach 9x"),
        ("send -> serve, 1 association, window 4 / same", "relaxed-1-window", "base", "must 5x, reach 7x"),
        ("send -> serve, 1 association / same", "relaxed-1", "base", ""),
        ("send -> serve, 8 associations, 2 engine threads / same", "relaxed-8-threads", "base", "reach 12x"),
        ("send -> serve, 8 / dcmsend -> pynetdicom", "relaxed-8", "pynetdicom", "must 60x (pynetdicom both ends)"),
        ("same sender, 8: serve / storescp --fork", "relaxed-8", "fork-8", "must 2x, reach 3x"),
        ("discarding / raw floor, 8", "discard-8", "floor-8", "must 0.7, reach 0.95"),
        ("durable / relaxed, 8", "durable-8", "relaxed-8", "must 0.7, reach 0.9"),
        ("durable / relaxed, 64", "durable-64", "relaxed-64", "must 0.85, reach 0.95"),
        ("a busy Python thread / none, 8", "busy-8", "relaxed-8", "must 0.8, reach 1"),
        ("engine / event loop, 8", "relaxed-8", "asyncio-8", ""),
    ],
    525: [
        ("send -> serve, 8 associations / dcmsend -> storescp", "relaxed-8", "base", "must 3.5x, reach 8x"),
        ("send -> serve, 1 association, window 4 / same", "relaxed-1-window", "base", "must 3.5x, reach 5x"),
        ("send -> serve, 8 associations, 2 engine threads / same", "relaxed-8-threads", "base", ""),
        ("same sender, 8: serve / storescp --fork", "relaxed-8", "fork-8", "must 1.3x, reach 2x"),
        ("discarding / raw floor, 8", "discard-8", "floor-8", "must 0.7, reach 0.95"),
    ],
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--only", type=int, choices=sorted(SIDES))
    parser.add_argument("--cells", nargs="*", help="only these and what they are compared with")
    parser.add_argument("--quick", action="store_true")
    a = parser.parse_args()
    rounds, count = (1, 400) if a.quick else (a.rounds, a.count)
    for kilobytes in [a.only] if a.only else sorted(SIDES):
        chosen = cells(kilobytes, count if kilobytes == 131 else max(60, count * 3 // 10))
        if a.cells:
            chosen = [one for one in chosen if one.key.rpartition("-")[0] in a.cells]
        measure(chosen, rounds, lambda text: print(text, file=sys.stderr, flush=True))
        by_key = {one.key.rpartition("-")[0]: one for one in chosen}
        print(f"\n{kilobytes} KB: {'':<68} {'inst/s':>8} {'CPU us':>8}")
        for one in chosen:
            micros = statistics.median(one.cpu) * 1e6
            print(f"  {one.sender.name + ' -> ' + one.receiver.name:<74} {one.rate:>8,.0f} {micros:>8.0f}")
        for what, above, below, wanted in RATIOS[kilobytes]:
            if above in by_key and below in by_key:
                pairs = zip(by_key[above].rates, by_key[below].rates, strict=True)
                print(f"  {what:<62} {statistics.median(x / y for x, y in pairs):>8.2f}x   {wanted}", flush=True)


if __name__ == "__main__":
    main()
