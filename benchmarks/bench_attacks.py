"""The attack table (tests/faults/attacks.py) against dicore's two drivers and against other servers, side by side.

    python -m benchmarks.bench_attacks [--rows PATTERN] [--servers NAME ...] [--write docs/reference/attacks.md]

A fresh server for each row, on the loopback; each attack ends after PATIENCE seconds. Where a server has timers
they are set to 2 s. Beside every attack a good peer associates, echoes and releases over and over: when that
fails or takes more than 2 s, it was starved. Memory is that of the server's processes together, the highest
seen less the one before."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.material import machine, versions
from benchmarks.peers import free_port, pydcm
from benchmarks.rows import Row, Section
from benchmarks.rows import main as table_of_rows

TESTS = Path(__file__).resolve().parent.parent / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "faults")]

import attacks  # noqa: E402

import wire  # noqa: E402

MIB = 1 << 20
PATIENCE = 8.0
TIMER = 2
ENDLESS = 256 * MIB
LIMIT = 128 * MIB  # of a data set, where a server has one
MUCH = 64  # MiB


class Target:
    """A server in a process group of its own."""

    name = "?"

    def command(self, port: int, folder: Path) -> Sequence[str]:
        raise AssertionError("each says how it is started")

    def missing(self) -> str:
        """Why it is not to be had, or ''."""
        return ""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def start(self, folder: Path) -> None:
        self.port = free_port()
        log = open(folder / "log", "wb")  # noqa: SIM115 the process's
        self.process = subprocess.Popen(
            self.command(self.port, folder / "store"),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        log.close()
        for _ in range(800):
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", self.port)) == 0:
                    break
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} did not start: {(folder / 'log').read_text()[-500:]}")
            time.sleep(0.025)
        with wire.associate(self.port, timeout=20) as connection:  # it has done everything once
            wire.echo(connection)
            wire.store(connection, wire.instance_uid(0), wire.ct_data_set(wire.instance_uid(0)))
            wire.release(connection)

    def stop(self) -> None:
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def pids(self) -> list[int]:
        assert self.process is not None
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _session(pid) == self.process.pid]

    def memory(self) -> int:
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError, StopIteration):
                lines = Path(f"/proc/{pid}/status").read_text().splitlines()
                total += next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) * 1024
        return total


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return -1


class Dicore(Target):
    def __init__(self, driver: str) -> None:
        super().__init__()
        self.name = f"dicore, {driver}"
        self._driver = driver

    def command(self, port: int, folder: Path) -> Sequence[str]:
        timers = [word for name in ("artim", "network", "dimse") for word in ("--timeout", f"{name}={TIMER}")]
        limits = ["--limit", f"dataset={LIMIT}", "--durability", "relaxed"]
        program = [sys.executable, "-m", "dicore", "serve", str(folder)]
        return [*program, "--port", str(port), "--driver", self._driver, *timers, *limits]


class StoreSCP(Target):
    def __init__(self, *, fork: bool) -> None:
        super().__init__()
        self.name = "storescp --fork" if fork else "storescp"
        self._fork = fork

    def missing(self) -> str:
        return "" if shutil.which("storescp") else "DCMTK is not installed"

    def command(self, port: int, folder: Path) -> Sequence[str]:
        folder.mkdir()
        timers = ["--acse-timeout", str(TIMER), "--dimse-timeout", str(TIMER)]
        fork = ["--fork"] if self._fork else []
        return ["storescp", "-aet", "DICORE", "--bit-preserving", *timers, *fork, "-od", str(folder), str(port)]


class Pynetdicom(Target):
    name = "pynetdicom"

    def command(self, port: int, folder: Path) -> Sequence[str]:
        folder.mkdir()
        script = (
            "import sys; from pathlib import Path\n"
            "from pynetdicom import AE, evt, AllStoragePresentationContexts as A\n"
            "f = Path(sys.argv[2])\n"
            "def store(e):\n"
            "    (f / 'one').write_bytes(e.encoded_dataset()); return 0\n"
            "ae = AE('DICORE'); ae.add_supported_context('1.2.840.10008.1.1')\n"
            "for c in A: ae.add_supported_context(c.abstract_syntax, '1.2.840.10008.1.2.1')\n"
            f"ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = {TIMER}; ae.maximum_associations = 1000\n"
            "ae.start_server(('127.0.0.1', int(sys.argv[1])), evt_handlers=[(evt.EVT_C_STORE, store)])\n"
        )
        return [sys.executable, "-c", script, str(port), str(folder)]


class Pydcm(Target):
    name = "pydcm store_dir"

    def missing(self) -> str:
        return "" if pydcm.interpreter() else "no Python 3.12 or newer, or it could not be installed"

    def command(self, port: int, folder: Path) -> Sequence[str]:
        folder.mkdir()
        return [str(pydcm.interpreter()), "-P", pydcm.__file__, str(port), str(folder), "DICORE"]


def servers() -> list[Target]:
    return [Dicore("engine"), Dicore("asyncio"), StoreSCP(fork=False), StoreSCP(fork=True), Pynetdicom(), Pydcm()]


@dataclass
class Result:
    outcome: str  # "right", or what went wrong
    answer: str
    grown: int  # bytes
    seconds: float

    @property
    def right(self) -> bool:
        return self.outcome == "right"

    def __str__(self) -> str:
        mib = self.grown / MIB
        memory = f", +{mib:.0f} MiB" if mib >= 1 else ""
        outcome = self.outcome if self.right else f"**{self.outcome}**"
        return f"{outcome}: {self.answer}, {self.seconds:.1f} s{memory}"


class Watch:
    """Beside an attack: the memory of the server, and whether a good peer is served."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._stop = threading.Event()
        self.before = self.highest = target.memory()
        self.starved = ""
        self._threads = [threading.Thread(target=one, daemon=True) for one in (self._measure, self._greet)]

    def __enter__(self) -> Watch:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *what: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(10)

    def _measure(self) -> None:
        while not self._stop.wait(0.02):
            self.highest = max(self.highest, self._target.memory())

    def _greet(self) -> None:
        while not self._stop.wait(0.05):
            try:
                with wire.associate(self._target.port, timeout=2) as connection:
                    if wire.echo(connection) != 0:
                        raise AssertionError("C-ECHO failed")
                    wire.release(connection)
            except (AssertionError, OSError) as error:
                if not self._stop.is_set():
                    self.starved = self.starved or str(error) or type(error).__name__


def judge(attack: attacks.Attack, target: Target, said: attacks.Said | None, why: str, watch: Watch) -> Result:
    assert target.process is not None
    grown = max(0, watch.highest - watch.before)
    wrong = []
    if target.process.poll() is not None:
        wrong.append("crashed")
    if said is None:
        return Result("; ".join([*wrong, "no association"]), why or "-", grown, 0.0)
    last = said.end if attack.timer == "artim" and attack.right[0] == "closed" else said.answer
    if not wrong and (said.end == "open" and (attack.timer or not said.pdus)):
        wrong.append("hung")
    elif not last.startswith(attack.right):
        wrong.append("wrong answer")
    if grown > MUCH * MIB:
        wrong.append(f"memory grew by {grown / MIB:.0f} MiB")
    if watch.starved:
        wrong.append("a good peer was starved")
    return Result(
        "; ".join(wrong) or "right", f"{said.answer}{f' ({said.note})' if said.note else ''}", grown, said.seconds
    )


def run(attack: attacks.Attack, target: Target, patience: float = PATIENCE) -> Result:
    folder = Path(tempfile.mkdtemp(prefix="dicore-attack-"))
    try:
        target.start(folder)
        said, why = None, ""
        with Watch(target) as watch:
            try:
                said = attack.run(target.port, patience)
            except (AssertionError, OSError) as error:
                why = str(error)[:60] or type(error).__name__
            time.sleep(0.2)
        return judge(attack, target, said, why, watch)
    finally:
        if target.process is not None:
            target.stop()
        shutil.rmtree(folder, ignore_errors=True)


def all_rows(only: str, timers: bool = True) -> list[attacks.Attack]:
    table = attacks.table(endless_bytes=ENDLESS, silent_peers=100)
    return [one for one in table if re.search(only, one.name) and (timers or not one.timer)]


def sections(rounds: int, only: Sequence[str] = ()) -> Iterator[Section]:
    """What `make bench` shows: how many rows without a timer each server answers rightly. `rounds` is not used."""
    rows = all_rows("|".join(only), timers=False)
    found = []
    for target in servers():
        if why := target.missing():
            found.append(Row(target.name, [0], note=f"not to be had: {why}"))
            continue
        results = [(one.name, run(one, target, 3.0)) for one in rows]
        wrong = [f"{name} ({result.outcome})" for name, result in results if not result.right]
        must = len(rows) if target.name.startswith("dicore") else None
        right = len(rows) - len(wrong)
        found.append(Row(target.name, [right], ratio=right if must else None, must=must, note="; ".join(wrong)))
    yield Section(
        f"Attacks: {len(rows)} of tests/faults/attacks.py",
        "answered rightly",
        found,
        ratio="answered",
        note="docs/reference/attacks.md",
    )


ABOUT = """# Attacks, side by side

What hostile peers do to a storage SCP, and what PS3.8 wants it to answer. The same bytes went to every server: made
by `tests/faults/attacks.py`, which dicore's tests demand of both drivers in every CI run
(`tests/faults/test_attack_table.py`); this table is of one run of

    python -m benchmarks.bench_attacks --write docs/reference/attacks.md

A fresh server for each row, on the loopback, {patience:g} s of patience. Where a server has timers they were set to
{timer} s (`dicore serve --timeout`, `storescp --acse-timeout --dimse-timeout`, pynetdicom's three); pydcm 0.5.0 has
none that its Python API sets, so its rows with a timer are its defaults, and "hung" there means: not freed within
{patience:g} s. dicore's limit of a data set was {limit} MiB, the endless one ended after {endless} MiB by itself. A
good peer associated, echoed and released all the while; "starved" means that one of its rounds failed or took more
than 2 s. A cell has the outcome, the last word of the server, the time from the last byte of the attack to the end,
and how much its anonymous memory grew where that was a MiB or more.

"Right" is what the standard's table 9-10 has, or the timer. A wrong answer is not always a weakness: a server that
closes without an A-ABORT, or stores what it should not, has served nobody ill. Servers of one association at a time
(`storescp` without `--fork`) starve others by design as long as an attacker is connected. What this cannot show:
weaknesses of parsers (that is the fuzzers' work), of TLS, of other services.

Read with care, also where it speaks for dicore. dicore's default of 64 KiB for a negotiation refuses the one of 138
KiB, which all others accept (`--limit negotiation=256KiB` does too); its slow-loris rows end some two seconds later
than the shortest here, as its timer looks once a fraction of its time. `storescp` and `storescp --fork` take an
endless data set as long as it comes and write it to the disk: "hung" means that they then wait for the rest. The
memory of `storescp --fork` is that of all its processes, pages they share counted in each. storescp, pynetdicom
serve no C-FIND here: what they abort is a message on a context they did not accept.
"""


def write(
    path: Path, rows: Sequence[attacks.Attack], found: dict[str, dict[str, Result]], missing: dict[str, str]
) -> None:
    names = list(found)
    text = ABOUT.format(patience=PATIENCE, timer=TIMER, limit=LIMIT // MIB, endless=ENDLESS // MIB)
    text += f"\n{datetime.date.today()}, {machine()}; "
    text += ", ".join(f"{name} {version}" for name, version in versions() if name in ("dicore", "pynetdicom", "DCMTK"))
    text += f", pydcm {pydcm.VERSION}.\n\n"
    text += "| | " + " | ".join(names) + " |\n|---|" + "---|" * len(names) + "\n"
    for row in rows:
        text += f"| {row.name} | " + " | ".join(str(found[name][row.name]) for name in names) + " |\n"
    rights = [f"{sum(result.right for result in found[name].values())} of {len(rows)}" for name in names]
    text += "| answered rightly | " + " | ".join(rights) + " |\n"
    for name, why in missing.items():
        text += f"\n{name} was not to be had: {why}.\n"
    path.write_text(text)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", default="", help="only rows whose name matches")
    parser.add_argument("--servers", nargs="*", default=[], help="only servers whose name has one of these words")
    parser.add_argument("--write", type=Path, help="the table as a page")
    a = parser.parse_args()
    rows = all_rows(a.rows)
    found: dict[str, dict[str, Result]] = {}
    missing = {}
    for target in servers():
        if a.servers and not any(word in target.name for word in a.servers):
            continue
        if why := target.missing():
            missing[target.name] = why
            print(f"{target.name}: not to be had: {why}", flush=True)
            continue
        found[target.name] = {}
        for row in rows:
            result = found[target.name][row.name] = run(row, target)
            print(f"{target.name:18} {row.name:45} {result}", flush=True)
    if a.write:
        write(a.write, rows, found, missing)
    wrong = [
        f"{name}: {row}" for name in found if name.startswith("dicore") for row, r in found[name].items() if not r.right
    ]
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(table_of_rows(sections, __doc__) if "--rounds" in sys.argv else main())
