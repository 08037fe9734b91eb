"""What a bench module gives to the table: sections of rows. The protocol is told at the top of report.py."""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import statistics
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from benchmarks.material import machine


@dataclass(frozen=True)
class Row:
    """One way to do the job of its section."""

    name: str
    values: Sequence[float]  # one per round, in the unit of the section
    ratio: float | None = None  # paired(...): the figure that is judged; what it means is `Section.ratio`
    must: float | None = None  # the ratio that has to be held; None: it is only shown
    reach: float | None = None  # the one that is aimed at
    most: bool = False  # the ratio must be at most `must`, not at least
    peak: int | None = None  # bytes of memory, see peak()
    note: str = ""

    @property
    def held(self) -> bool | None:
        if self.must is None or self.ratio is None:
            return None
        return self.ratio <= self.must if self.most else self.ratio >= self.must


@dataclass(frozen=True)
class Section:
    """One job, done by several in turns."""

    title: str
    unit: str
    rows: Sequence[Row]
    ratio: str = "dicore is"  # heading of the ratios
    note: str = ""  # a sentence below the table
    valid: bool = True  # False: something else had the machine, the figures are not to be used


class Sections(Protocol):
    def __call__(self, rounds: int, only: Sequence[str] = ()) -> Iterator[Section]: ...


def paired(a: Sequence[float], b: Sequence[float]) -> float:
    """The median over the rounds of a / b, each of the same round: the box changes its speed from minute to minute."""
    return statistics.median(x / y for x, y in zip(a, b, strict=True))


def peak(run: Callable[[], Any]) -> int:
    """Bytes by which the resident memory of a child process grows at most while it does `run`."""
    here, there = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            ctypes.CDLL(None).malloc_trim(0)
            Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
            before = _resident("VmRSS")
            run()
            os.write(there, struct.pack("q", max(_resident("VmHWM") - before, 0)))
        finally:
            os._exit(0)
    os.close(there)
    told = os.read(here, 8)
    os.close(here)
    os.waitpid(child, 0)
    if len(told) != 8:
        raise RuntimeError("the run whose memory was to be measured failed")
    return int(struct.unpack("q", told)[0])


def _resident(field_name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field_name + ":"))


# ---- the table -------------------------------------------------------------------------------------------------------
HEAD = ("", "median", "range", "ratio", "must", "reach", "peak MiB", "note")


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _wanted(row: Row) -> str:
    if row.must is None or row.ratio is None:
        return ""
    return f"{'<= ' if row.most else ''}{row.must:g}x {'held' if row.held else 'MISSED'}"


def cells(row: Row) -> tuple[str, ...]:
    ratio = "" if row.ratio is None else f"{row.ratio:,.1f}x" if row.ratio >= 9.95 else f"{row.ratio:.2f}x"
    spread = f"{_number(min(row.values))}-{_number(max(row.values))}" if len(row.values) > 1 else ""
    reach = "" if row.reach is None else f"{row.reach:g}x"
    memory = "" if row.peak is None else f"{row.peak / (1 << 20):,.1f}"
    middle = _number(statistics.median(row.values)) if row.values else ""
    return row.name, middle, spread, ratio, _wanted(row), reach, memory, row.note


def table(sections: Sequence[Section]) -> str:
    """All of them as one table in Markdown, and their notes."""
    lines: list[tuple[str, ...]] = [HEAD]
    for s in sections:
        lines.append((f"**{s.title}**", s.unit, "", s.ratio, "", "", "", "" if s.valid else "INVALID"))
        lines += [cells(row) for row in s.rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEAD))]
    out = []
    for line in lines:
        middle = [text.rjust(width) for text, width in zip(line[1:-1], widths[1:-1], strict=True)]
        out.append("| " + " | ".join([line[0].ljust(widths[0]), *middle, line[-1].ljust(widths[-1])]) + " |")
    rules = ["-" * (width + 1) + ":" for width in widths]
    rules[0], rules[-1] = "-" * (widths[0] + 2), "-" * (widths[-1] + 2)
    out.insert(1, "|" + "|".join(rules) + "|")
    notes = [f"{s.title}: {s.note}" for s in sections if s.note]
    return "\n".join([*out, *(["", *notes] if notes else [])])


def missed(sections: Sequence[Section]) -> list[str]:
    return [f"{s.title}: {row.name}" for s in sections for row in s.rows if row.held is False]


def dump(sections: Sequence[Section]) -> list[dict[str, Any]]:
    return [asdict(s) for s in sections]


def load(data: Sequence[dict[str, Any]]) -> list[Section]:
    return [Section(**{**one, "rows": [Row(**row) for row in one["rows"]]}) for one in data]


def main(sections: Sections, title: str | None = None, rounds: int = 5, argv: Sequence[str] | None = None) -> int:
    """What `python -m benchmarks.bench_x` does. Status 3 with --check: a ratio is missed; 4: the machine was busy."""
    parser = argparse.ArgumentParser(description=(title or "").strip().partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=rounds, help=f"interleaved rounds (default {rounds})")
    parser.add_argument("--only", nargs="*", default=[], help="parts of it, where it has parts")
    parser.add_argument("--check", action="store_true", help="exit status 3 when a wanted ratio is missed")
    parser.add_argument("--json", type=Path, help="write the sections to this file too")
    a = parser.parse_args(argv)
    found = list(sections(a.rounds, a.only))
    print(table(found) + f"\n\n{machine()}", file=sys.stderr if a.json else sys.stdout, flush=True)
    if a.json:
        a.json.write_text(json.dumps(dump(found)))
    if not all(s.valid for s in found):
        return 4
    return 3 if a.check and missed(found) else 0
