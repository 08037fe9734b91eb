"""The load test against itself and against what people glue together.

`python -m benchmarks.bench_loadtest` prints, each beside the wanted figure: how well 5,000 C-ECHO a second are held,
how many instances of 131 KB a second of CPU sends beside `storescu`, 2,000 associations at once; with `--peers` the
breakpoint of storescp, dcmqrscp, pynetdicom and Orthanc, each with its report in `--reports DIR`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dicore
import dicore.loadtest as lt
from dicore.loadtest.run import run_loop

ECHO = """
name = "5,000 echoes a second"
duration = "10s"
warmup = "2s"
ledger = "off"
[[stream]]
name = "echo"
operation = "echo"
arrivals = {model = "constant", rate = 5000}
associations = 32
"""
STORE = """
name = "as many as go"
duration = "6s"
ledger = "off"
[[stream]]
name = "store"
operation = "store"
users = 4
material = {slices = 16, size = 256}
"""
MANY = """
name = "2,000 associations"
duration = "SECONDSs"
warmup = "10s"
ledger = "off"
[[stream]]
name = "echo"
operation = "echo"
users = 2000
think = "2s"
"""
PEER = """
name = "breakpoint"
duration = "5s"
warmup = "1s"
ledger = "off"
[objective]
p99 = "500ms"
errors = 0.001
rate = 0.97
[safety]
rate = 100000
[[stream]]
name = "store"
operation = "store"
arrivals = {rate = 20}
associations = 16
timeout = "20s"
material = {slices = 16, size = 256}
"""


def _dcmtk(name: str) -> str:
    """DCMTK's program, not the one of the same name that pynetdicom puts before it on the PATH."""
    found = shutil.which(name, path="/usr/bin:/usr/local/bin")
    if found is None:
        raise SystemExit(f"{name} of DCMTK is needed")
    return found


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _answers(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args} ended with {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise RuntimeError(f"{process.args} does not listen")


@contextlib.contextmanager
def _running(command: list[str], port: int, **options: Any) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
    try:
        _answers(port, process)
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def peer(name: str, scratch: Path) -> Iterator[tuple[str, str]]:
    """A running peer: its address and its version."""
    port, folder = _free_port(), scratch / name
    folder.mkdir()
    if name == "dicore":
        command = [sys.executable, "-m", "dicore", "serve", str(folder), "--port", str(port)]
        version, title = dicore.__version__, "DICORE"
    elif name == "storescp":
        command = [_dcmtk("storescp"), "--fork", "-od", str(folder), "-pm", str(port)]
        version, title = _version([_dcmtk("storescp"), "--version"]), "STORESCP"
    elif name == "dcmqrscp":
        conf = folder / "dcmqrscp.cfg"
        (folder / "db").mkdir()
        conf.write_text(
            f"NetworkTCPPort = {port}\nMaxPDUSize = 131072\nMaxAssociations = 64\n"
            "HostTable BEGIN\nHostTable END\nVendorTable BEGIN\nVendorTable END\n"
            f"AETable BEGIN\nQR {folder / 'db'} RW (1000000, 1024gb) ANY\nAETable END\n"
        )
        command = ["dcmqrscp", "-c", str(conf)]
        version, title = _version(["dcmqrscp", "--version"]), "QR"
    elif name == "pynetdicom":
        import pynetdicom

        command = [sys.executable, "-m", "pynetdicom", "storescp", str(port), "-od", str(folder), "-q"]
        version, title = pynetdicom.__version__, "STORESCP"
    else:
        http = _free_port()
        conf = folder / "orthanc.json"
        settings = {
            "Name": "loadtest", "StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db"),
            "DicomPort": port, "HttpPort": http, "DicomAlwaysAllowStore": True, "DicomCheckCalledAet": False,
            "RemoteAccessAllowed": False, "AuthenticationEnabled": False, "DicomThreadsCount": 16, "Plugins": [],
        }  # fmt: skip
        conf.write_text(json.dumps(settings))
        command = ["/usr/sbin/Orthanc", str(conf)]
        version, title = _version([*command[:1], "--version"]), "ORTHANC"
    with _running(command, port, cwd=folder):
        yield f"{title}@127.0.0.1:{port}", version


def _version(command: list[str]) -> str:
    said = subprocess.run(command, capture_output=True, text=True).stdout
    words = said.split()
    for number, word in enumerate(words):
        if word.startswith("v3.") or (number and words[number - 1] == "Orthanc"):
            return word
    return words[1] if len(words) > 1 else "?"


def _line(what: str, got: str, wanted: str) -> None:
    print(f"{what:<58}{got:>26}   {wanted}", flush=True)


def echoes(scratch: Path, processes: int) -> lt.Result:
    """5,000 C-ECHO a second."""
    with peer("dicore", scratch / _new(scratch)) as (target, _):
        result = run_loop(lambda: lt.run(lt.parse(ECHO), target, processes=processes))
    one = result.streams[0]
    rate = one.operations / result.duration
    _line("C-ECHO a second of 5,000", f"{rate:,.1f} ({rate / 50 - 100:+.2f} %)", "within 1 %")
    p99 = one.response.percentile(99)
    _line("  response, 99 %; verdict", f"{(p99 or 0) / 1000:.2f} ms; {result.judgement.verdict}", "")
    for reason in result.judgement.reasons:
        print(f"    {reason}")
    return result


def stores(scratch: Path) -> None:
    """Instances of 131 KB a second of CPU, beside four storescu at once, against the same SCP."""
    files = scratch / "files"
    dicore.synth.write(files, 1, 60, slices=16, size=256)
    count = sum(1 for _ in files.rglob("*.dcm"))
    ours: list[tuple[float, float]] = []
    theirs: list[tuple[float, float]] = []
    for _ in range(2):
        with peer("dicore", scratch / _new(scratch)) as (target, _):
            result = run_loop(lambda: lt.run(lt.parse(STORE), target))
            one = result.streams[0]
            assert one.errors == 0, one.failures
            ours.append((one.operations / result.duration, result.health["cpu_seconds"] / one.operations))
            port = target.rpartition(":")[2]
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            begin = time.perf_counter()
            folders = sorted(files.iterdir())
            sending = [
                subprocess.Popen(
                    [_dcmtk("storescu"), "+sd", "+r", "-aec", "DICORE", "127.0.0.1", port, *map(str, folders[n::4])]
                )
                for n in range(4)
            ]
            assert [one.wait() for one in sending] == [0] * 4
            seconds = time.perf_counter() - begin
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            theirs.append((count / seconds, cpu / count))
    our_cpu, their_cpu = min(cpu for _, cpu in ours), min(cpu for _, cpu in theirs)
    _line("instances of 131 KB a second, 4 associations", f"{max(r for r, _ in ours):,.0f}", "")
    _line("  generator's CPU for each", f"{our_cpu * 1e6:,.0f} us", "")
    _line("  4 x storescu", f"{max(r for r, _ in theirs):,.0f}", "")
    _line("  CPU for each", f"{their_cpu * 1e6:,.0f} us", "")
    _line("  as many with the same CPU", f"{their_cpu / our_cpu:.1f} x storescu", ">= 5 x")


def many(scratch: Path, seconds: int) -> lt.Result:
    """2,000 associations at once."""
    with peer("dicore", scratch / _new(scratch)) as (target, _):
        result = run_loop(lambda: lt.run(lt.parse(MANY.replace("SECONDS", str(seconds))), target, processes=2))
    one = result.streams[0]
    most = max(second.associations for second in one.seconds.values())
    _line("associations at once, errors", f"{most:,}, {one.errors:,}", "2,000, 0")
    p99 = one.response.percentile(99)
    _line("  response, 99 %; verdict", f"{(p99 or 0) / 1000:.1f} ms; {result.judgement.verdict}", "")
    for reason in result.judgement.reasons:
        print(f"    {reason}")
    for failure in one.failures:
        print(f"    {failure.count:,} x {failure.kind}: {failure.detail}")
    return result


def _new(scratch: Path) -> str:
    name = f"run{len(list(scratch.iterdir()))}"
    (scratch / name).mkdir()
    return name


def breakpoints(scratch: Path, names: list[str], trial: float, hold: float) -> list[lt.Result]:
    """The breakpoint of each peer for instances of 131 KB."""
    results = []
    print(f"\n{'peer':<12}{'version':<12}{'breakpoint/s':>14}{'p50 ms':>10}{'p99 ms':>10}  trials, verdict")
    for name in names:
        base = scratch / _new(scratch)
        with peer(name, base) as (target, version):
            result = run_loop(
                lambda: lt.search(lt.parse(PEER), target, start=40, trial=trial, hold=hold, ceiling=20_000)
            )
        shutil.rmtree(base, ignore_errors=True)
        result.name, result.versions["target"] = f"{name} {version}", version
        one = result.streams[0]
        p50, p99 = (one.response.percentile(p) or 0 for p in (50, 99))
        print(
            f"{name:<12}{version:<12}{result.breakpoint or 0:>14,.0f}{p50 / 1000:>10,.1f}{p99 / 1000:>10,.1f}"
            f"  {len(result.trials)}, {result.judgement.verdict} {'; '.join(result.judgement.reasons)[:90]}",
            flush=True,
        )
        results.append(result)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["echo", "store", "many", "peers"], action="append")
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--peer", action="append", choices=["dicore", "storescp", "dcmqrscp", "pynetdicom", "orthanc"])
    parser.add_argument("--seconds", type=int, default=60, help="of the 2,000 associations")
    parser.add_argument("--processes", type=int, default=1, help="of the echoes")
    parser.add_argument("--trial", type=float, default=5.0)
    parser.add_argument("--hold", type=float, default=10.0)
    parser.add_argument("--reports", type=Path, help="keep each run's JSON and HTML here")
    options = parser.parse_args()
    parts = options.only or ["echo", "store", "many", *(["peers"] if options.peers else [])]
    kept: list[tuple[str, lt.Result]] = []
    with tempfile.TemporaryDirectory(prefix="dicore-bench-") as folder:
        scratch = Path(folder)
        if "echo" in parts:
            kept.append(("echo", echoes(scratch, options.processes)))
        if "store" in parts:
            stores(scratch)
        if "many" in parts:
            kept.append(("many", many(scratch, options.seconds)))
        if "peers" in parts:
            names = options.peer or ["storescp", "dcmqrscp", "pynetdicom", "orthanc"]
            found = breakpoints(scratch, names, options.trial, options.hold)
            kept += [(name, result) for name, result in zip(names, found, strict=True)]
    if options.reports:
        options.reports.mkdir(parents=True, exist_ok=True)
        for name, result in kept:
            result.save(options.reports / f"{name}.json")
            (options.reports / f"{name}.html").write_text(lt.page(result), encoding="utf-8")


if __name__ == "__main__":
    main()
