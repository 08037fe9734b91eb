"""python -m benchmarks.report: measure everything and print one table.

Peers run on the same bytes in the same minutes; their answers are compared before or after every run. A ratio is the
median of the ratios of the rounds, each to the base of the same round: this kind of box changes its speed by a quarter
for minutes at a time, floor and peers alike. Rounds in which the raw floor fell below 80 % of its median are left out:
something else had the machine then. When that is half of them or more the measurement is invalid: it says so, is not
written down, and ends with status 4.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import bench_dataset, bench_net
from benchmarks.material import ROOT, ct, machine, versions

README = Path(__file__).with_name("README.md")
WANTED = {  # key: the least ratio that counts as held
    "pydicom": 60.0,
    "fastdicom": 6.0,
    "dicomsdl": 4.0,  # which stops behind the last of the tags here; reading all of its header it is 120 us
    "all-values": 15.0,
    "scp-relaxed": 1.2,
    "scp-durable": 0.7,
    "nagle-relaxed": 40.0,
    "nagle-durable": 40.0,
    "both-1-relaxed": 2.2,
    "both-8-relaxed": 4.0,
    "both-8-durable": 2.5,
}
Row = tuple[str, str, str, str, str, str, str]
HEAD: Row = ("", "median", "range", "ratio", "wanted", "receiver CPU", "receiver memory")


def verdict(key: str, ratio: float) -> tuple[str, str]:
    shown = f"{ratio:,.1f}x" if ratio >= 1.95 else f"{ratio:.2f}x"
    if key not in WANTED:
        return shown, ""
    return shown, f"{WANTED[key]:g}x {'held' if ratio >= WANTED[key] else 'MISSED'}"


def header_rows(rounds: int) -> tuple[list[Row], dict[str, float]]:
    result = bench_dataset.summary(rounds)
    ours = result["dicore"][0]
    best = min((name for name in result if name.startswith("pydicom ")), key=lambda name: result[name][0])
    size = bench_dataset.files()[0].stat().st_size
    rows: list[Row] = [
        (
            f"**Header read: 7 tags of a {size / 1000:.0f} KB CT, 258 elements**",
            "us per file",
            "",
            "dicore is",
            "",
            "",
            "",
        )
    ]
    ratios = {}
    for name, (middle, least, most) in result.items():
        key = "pydicom" if name == best else name
        ratio, wanted = ("", "") if name == "dicore" else verdict(key, middle / ours)
        if key in WANTED:
            ratios[key] = middle / ours
        rows.append((name, f"{middle:,.1f}", f"{least:,.1f}-{most:,.1f}", ratio, wanted, "", ""))
    whole = bench_dataset.summary_whole(rounds)
    ours = whole["dicore"][0]
    rows.append(("**Every value of every element of the same files**", "us per file", "", "dicore is", "", "", ""))
    for name, (middle, least, most) in whole.items():
        ratio, wanted = ("", "") if name == "dicore" else verdict("all-values", middle / ours)
        if name != "dicore":
            ratios["all-values"] = middle / ours
        rows.append((name, f"{middle:,.1f}", f"{least:,.1f}-{most:,.1f}", ratio, wanted, "", ""))
    return rows, ratios


def net_rows(count: int, rounds: int, only: Sequence[str]) -> tuple[list[Row], dict[str, float], str]:
    chosen = [c for c in bench_net.cells(count) if not only or c.key in only or c.key.startswith(("base", "floor-1"))]
    bench_net.measure(chosen, rounds, lambda text: print(text, file=sys.stderr, flush=True))
    cells = {c.key: c for c in chosen}
    judge = cells["floor-1"].rates
    sound = [i for i, rate in enumerate(judge) if rate >= 0.8 * statistics.median(judge)]
    for cell in chosen:
        cell.rates = [cell.rates[i] for i in sound]
        cell.cpu = [cell.cpu[i] for i in sound]
    note = f"{len(sound)} of {rounds} rounds count (floor at 80 % of its median or better)."
    if 2 * len(sound) <= rounds:
        note = f"INVALID: the machine was busy with something else, only {note}"
    rows: list[Row] = []
    ratios, group = {}, ""
    size = ct("lean", bench_net.SIDE, count)[0].stat().st_size
    for cell in sorted(
        chosen, key=lambda c: ["Nagle off", "Nagle on, the sender's default", "both ends", "floor"].index(c.group)
    ):
        if cell.group != group:
            group = cell.group
            title = {
                "Nagle off": f"C-STORE, {size / 1000:.0f} KB instances: receivers fed by `dcmsend`, Nagle off",
                "Nagle on, the sender's default": "the same, `dcmsend` as it comes (Nagle on)",
                "both ends": "both ends ours, against `dcmsend` to `storescp`",
                "floor": "floor: the same bytes, nothing done with them",
            }[group]
            rows.append((f"**{title}**", "instances/s", "", "to its base", "", "us each", "peak MiB"))
        ratio, wanted = "1", ""
        if cell.base:
            paired = statistics.median(a / b for a, b in zip(cell.rates, cells[cell.base].rates, strict=True))
            ratio, wanted = verdict(cell.key, paired)
            if cell.key in WANTED:
                ratios[cell.key] = paired
        rows.append(
            (
                f"{cell.sender.name} → {cell.receiver.name} ({cell.count:,})",
                f"{cell.rate:,.0f}",
                f"{min(cell.rates):,.0f}-{max(cell.rates):,.0f}",
                ratio,
                wanted,
                f"{statistics.median(cell.cpu) * 1e6:,.0f}",
                f"{cell.peak / (1 << 20):,.0f}",
            )
        )
    senders = sorted({f"{c.sender.name} {c.sender_peak / (1 << 20):,.0f} MiB" for c in chosen if c.sender_peak})
    return rows, ratios, note + (f" Peak memory of our senders: {', '.join(senders)}." if senders else "")


def table(rows: Sequence[Row]) -> str:
    lines = [HEAD, *rows]
    widths = [max(len(row[i]) for row in lines) for i in range(len(HEAD))]

    def line(row: Row) -> str:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        return "| " + " | ".join(cells) + " |"

    rule = "|" + "|".join("-" * (w + 2) if i == 0 else "-" * (w + 1) + ":" for i, w in enumerate(widths)) + "|"
    return "\n".join([line(HEAD), rule, *map(line, rows)])


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default 5)")
    parser.add_argument("--instances", type=int, default=2000, help="instances in one C-STORE run (default 2,000)")
    parser.add_argument("--only", choices=["dataset", "net"], help="one of the two halves")
    parser.add_argument("--cells", nargs="*", default=[], help="only these C-STORE cells, and the bases")
    parser.add_argument("--check", action="store_true", help="exit status 3 when a wanted ratio is missed")
    parser.add_argument("--no-write", action="store_true", help="do not put the table into benchmarks/README.md")
    a = parser.parse_args(argv)
    rows: list[Row] = []
    ratios: dict[str, float] = {}
    notes = []
    if a.only != "net":
        more, found = header_rows(max(a.rounds, 7))
        rows, ratios = rows + more, ratios | found
    if a.only != "dataset":
        more, found, note = net_rows(a.instances, a.rounds, a.cells)
        rows, ratios = rows + more, ratios | found
        notes.append(
            f"Medians of {a.rounds} interleaved rounds, loopback, what was kept compared by digest every time. {note}"
        )
    text = "\n".join(
        [
            table(rows),
            "",
            *notes,
            "",
            f"{machine()}. " + ", ".join(f"{name} {number}" for name, number in versions()) + ".",
        ]
    )
    print(text)
    ROOT.mkdir(parents=True, exist_ok=True)
    (ROOT / "report.json").write_text(json.dumps({"rows": rows, "ratios": ratios, "wanted": WANTED}, indent=1))
    invalid = any("INVALID" in note for note in notes)
    if not (invalid or a.no_write or a.only or a.cells):
        page = README.read_text()
        README.write_text(
            re.sub(r"(<!-- table -->\n).*(\n<!-- end -->)", lambda m: m[1] + text + m[2], page, flags=re.S)
        )
    missed = [key for key, ratio in ratios.items() if ratio < WANTED[key]]
    if invalid:
        return 4
    return 3 if a.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
