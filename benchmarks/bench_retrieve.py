"""C-GET and C-MOVE of a study of 1,000 CT slices of 256 x 256, out of `dicore serve`, dcmqrscp and Orthanc.

The three are processes of their own, filled with the same files. Who asks is `csrc/tests/retrieve_client.c`, lock-step
over one association, and what a C-MOVE goes to is our engine over no store: the same for all, and faster than any of
them. `getscu` and `movescu` with `storescp`, which write files, are measured beside. What arrives is compared with what
was sent, by the length and CRC-32C of each data set, before anything is timed, and counted in every round.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.material import ROOT, c_client, ct, data_set, touch, warm
from benchmarks.peers import Server, free_port
from benchmarks.peers.archives import Archive, DcmQRSCP, DicoreArchive, Orthanc
from benchmarks.rows import Row, Section, main, paired

SIDE, SLICES = 256, 1000
PDU = 262_144  # that the receiver announces
SINK, CHECK = "SINK", "CHECK"  # C-MOVE destinations: the one measured with, the one that keeps


def ask(what: str, port: int, study: str, *more: str) -> tuple[float, int, list[str]]:
    """(seconds, instances, lines about each) of a retrieval that must succeed."""
    command = [str(c_client("retrieve_client")), what, str(port), Server.ae_title, study, str(PDU), *more]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{what}: {done.stderr}")
    *lines, last = done.stdout.splitlines()
    seconds, status, count, _ = last.split()
    if status != "0000":
        raise RuntimeError(f"{what} ended with {status}")
    return float(seconds), int(count), lines


def getscu(port: int, study: str, folder: Path) -> float:
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}"]
    return _command(["getscu", "-S", "-aec", Server.ae_title, "+B", "-od", str(folder), *keys, "127.0.0.1", str(port)])


def movescu(port: int, study: str, destination: str) -> float:
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}"]
    return _command(["movescu", "-S", "-aec", Server.ae_title, "-aem", destination, *keys, "127.0.0.1", str(port)])


def _command(command: Sequence[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "TCP_NODELAY": "1"})
    return time.perf_counter() - start


@contextlib.contextmanager
def sink() -> Iterator[int]:
    """A process that takes all and keeps nothing; its port."""
    port = free_port()
    with subprocess.Popen([sys.executable, "-m", "benchmarks.peers.discard", str(port)]) as process:
        try:
            _listening(port)
            yield port
        finally:
            process.terminate()


@contextlib.contextmanager
def storescp(folder: Path) -> Iterator[int]:
    folder.mkdir()
    port = free_port()
    with subprocess.Popen(["storescp", "+B", "-od", str(folder), str(port)]) as process:
        try:
            _listening(port)
            yield port
        finally:
            process.kill()


def _listening(port: int) -> None:
    for _ in range(400):
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.025)
    raise RuntimeError("it does not listen")


def kept(folder: Path) -> set[tuple[int, int]]:
    """(bytes, CRC-32C) of the data sets of the files of a folder."""
    from dicore._native.store import crc32c

    bodies = (data_set(one.read_bytes()) for one in folder.iterdir())
    return {(len(body), crc32c(body)) for body in bodies}


def sections(rounds: int, only: Sequence[str] = ()) -> Iterator[Section]:
    from dicore import read

    ROOT.mkdir(parents=True, exist_ok=True)
    files = list(ct("lean", SIDE, SLICES))
    warm(files)
    study = str(read(files[0]).StudyInstanceUID)
    expected = kept(files[0].parent)
    peers: list[type[Archive]] = [DicoreArchive, DcmQRSCP, *([Orthanc] if Orthanc.installed() else [])]
    folder = Path(tempfile.mkdtemp(prefix="retrieve-", dir=ROOT))
    os.environ["TCP_NODELAY"] = "1"
    servers: list[Archive] = []
    try:
        with sink() as port, storescp(folder / "kept") as keeper:
            servers += [peer(folder / peer.__name__, files, {SINK: port, CHECK: keeper}) for peer in peers]
            for server in servers:
                _compare(server, study, expected, folder / "kept")
            jobs: dict[str, tuple[str, Callable[[Archive], float], bool]] = {
                "get": ("C-GET", lambda one: _counted("get", one.port, study), True),
                "move": ("C-MOVE", lambda one: _counted("move", one.port, study, SINK), True),
                "getscu": ("C-GET by `getscu`, which writes files", lambda one: _getscu(one, study, folder), False),
                "movescu": (
                    "C-MOVE by `movescu` to `storescp`, which writes files",
                    lambda one: movescu(one.port, study, CHECK),
                    False,
                ),
            }
            for name, (title, job, judged) in jobs.items():
                if not only or name in only:
                    times: list[list[float]] = [[] for _ in servers]
                    for number in range(rounds):
                        for which in [(number + i) % len(servers) for i in range(len(servers))]:
                            touch(1.0)
                            times[which].append(job(servers[which]) / SLICES * 1e6)
                    rows = [Row("dicore serve", times[0])]
                    for server, one in zip(servers[1:], times[1:], strict=True):
                        rows.append(Row(server.name, one, paired(one, times[0]), must=3 if judged else None))
                    yield Section(f"{title}, a study of {SLICES:,} slices", "us per instance", rows)
    finally:
        for server in servers:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _counted(what: str, port: int, study: str, *more: str) -> float:
    seconds, count, _ = ask(what, port, study, *more)
    if count != SLICES:
        raise AssertionError(f"{what}: {count} of {SLICES} instances")
    return seconds


def _getscu(server: Archive, study: str, folder: Path) -> float:
    return getscu(
        server.port, study, Path(tempfile.mkdtemp(dir=folder))
    )  # it stays: deleting slows who makes files next


def _compare(server: Archive, study: str, expected: set[tuple[int, int]], folder: Path) -> None:
    """What comes is what was sent; afterwards it is in the page cache."""
    _, count, lines = ask("get", server.port, study, "check")
    got = {(int(size), int(crc, 16)) for _, size, crc in map(str.split, lines)}
    if count != SLICES or got != expected:
        raise AssertionError(f"{server.name}, C-GET: {count} instances, {len(got & expected)} as sent")
    ask("move", server.port, study, CHECK)
    got = kept(folder)
    if got != expected:
        raise AssertionError(f"{server.name}, C-MOVE: {len(got & expected)} of {SLICES} as sent")
    for one in folder.iterdir():
        one.unlink()


if __name__ == "__main__":
    raise SystemExit(main(sections, __doc__))
