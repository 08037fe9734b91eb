"""python -m benchmarks.report: run every bench module and print one table.

A bench module is `benchmarks/bench_NAME.py` with one function, which measures and yields what it found:

    def sections(rounds: int, only: Sequence[str] = ()) -> Iterator[Section]:
        # compare the answers first; then `rounds` rounds, ours and the peers in turns within each
        yield Section("Scan: 20 tags of 5,000 files", "us per file", [
            Row("dicore", ours),                                          # ours: a value for each round
            Row("fastdicom", theirs, paired(theirs, ours), must=20, reach=30),
            Row("floor", floor, paired(ours, floor), must=1.3, reach=1.0, most=True)])   # at most 1.3 times the floor

    if __name__ == "__main__":
        raise SystemExit(main(sections, __doc__))       # the table of this module alone; --rounds --only --check

`Row`, `Section`, `paired`, `peak` and `main` are in benchmarks/rows.py. `must` and `reach` stand beside the code that
measures; `only` names parts of a module and may be ignored. Nothing has to be registered: the file's name is enough.
Each module runs in a process of its own, so that one's heap is not another's, and may take about two minutes; all of
them together less than 25.

A ratio is the median of the ratios of the rounds, each to the base of the same round: this kind of box changes its
speed by a quarter for minutes at a time. A module that saw that something else had the machine says `valid=False`;
then the table is not written down and the status is 4. With --check the status is 3 when a `must` is missed.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.material import ROOT, machine, versions
from benchmarks.rows import Section, dump, load, missed, table

README = Path(__file__).with_name("README.md")
ORDER = ("dataset", "scan", "edit", "deidentify", "pixel", "net")  # these first, any other behind them


def modules() -> list[str]:
    """The names of all bench modules that follow the protocol."""
    files = {path.stem.removeprefix("bench_"): path for path in Path(__file__).parent.glob("bench_*.py")}
    follow = [name for name, path in files.items() if "\ndef sections(" in path.read_text()]
    return sorted(follow, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))


def run(name: str, rounds: int, pick: Sequence[str]) -> list[Section]:
    """One module, in its own process. Raises CalledProcessError when it failed."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "sections.json"
        command = [sys.executable, "-m", f"benchmarks.bench_{name}", "--rounds", str(rounds), "--json", str(out)]
        done = subprocess.run([*command, *(["--only", *pick] if pick else [])], check=False)
        if done.returncode not in (0, 4):
            raise subprocess.CalledProcessError(done.returncode, command)
        return load(json.loads(out.read_text()))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default 5)")
    parser.add_argument("--only", nargs="+", choices=modules(), default=[], help="these modules")
    parser.add_argument("--pick", nargs="*", default=[], help="these parts of a module: cells of net, codecs of pixel")
    parser.add_argument("--check", action="store_true", help="exit status 3 when a wanted ratio is missed")
    parser.add_argument("--no-write", action="store_true", help="do not put the table into benchmarks/README.md")
    a = parser.parse_args(argv)
    sections: list[Section] = []
    failed = []
    for name in a.only or modules():
        start = time.monotonic()
        try:
            sections += run(name, a.rounds, a.pick)
        except subprocess.CalledProcessError as error:
            failed.append(f"{name} (status {error.returncode})")
        print(f"{name}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    about = f"{machine()}. " + ", ".join(f"{name} {number}" for name, number in versions()) + "."
    text = "\n".join([table(sections), "", f"Medians of {a.rounds} interleaved rounds.", "", about])
    print(text)
    ROOT.mkdir(parents=True, exist_ok=True)
    (ROOT / "report.json").write_text(json.dumps(dump(sections), indent=1))
    for line in missed(sections):
        print(f"MISSED: {line}")
    for line in failed:
        print(f"FAILED: {line}")
    if not all(section.valid for section in sections):
        return 4
    if failed:
        return 1
    if not (a.no_write or a.only or a.pick):
        page = README.read_text()
        written = re.sub(r"(<!-- table -->\n).*(\n<!-- end -->)", lambda m: m[1] + text + m[2], page, flags=re.S)
        README.write_text(written)
    return 3 if a.check and missed(sections) else 0


if __name__ == "__main__":
    sys.exit(main())
