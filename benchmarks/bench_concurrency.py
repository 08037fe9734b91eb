"""Ten thousand associations, and eight that want their share beside a hundred slow ones or a bulk sender.

    python -m benchmarks.bench_concurrency [--driver engine|asyncio] [--associations 10000] [--storing 2000] [--quick]

The client is `csrc/tests/load_client.c`, one process over `dicore_association`; `dicore.connect` does the
same beside it. Every answer is checked before a figure is printed: an error of any kind ends the run.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.material import ROOT

SOURCES = 4  # addresses of the loopback to connect from
SIZE = 131_072
CSRC = Path(__file__).resolve().parent.parent / "csrc"


@functools.cache
def load_client() -> Path:
    """The client, compiled with the parts of libdicore that it needs."""
    sources = [CSRC / "tests" / "load_client.c"]
    for column in ("base", "dataset", "net"):
        sources += sorted((CSRC / column).glob("*.c"))
    binary = ROOT / "load_client"
    if not binary.exists() or binary.stat().st_mtime < max(one.stat().st_mtime for one in sources):
        ROOT.mkdir(parents=True, exist_ok=True)
        options = ["-O2", "-std=gnu11", "-D_GNU_SOURCE", f"-I{CSRC / 'include'}", f"-I{CSRC}"]
        subprocess.run(["gcc", *options, "-o", binary, *map(str, sources), "-lz"], check=True)
    return binary


@dataclass
class Server:
    process: subprocess.Popen[str]
    port: int
    folder: Path
    wanted: dict[str, Any] = field(default_factory=dict)

    @property
    def rss(self) -> int:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) * 1024


@contextlib.contextmanager
def serving(driver: str) -> Iterator[Server]:
    """`dicore serve`, relaxed, over a fresh store."""
    ROOT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="concurrency-", dir=ROOT) as folder:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "dicore", "serve", f"{folder}/store", "--port", "0", "--json"),
                *("--durability", "relaxed", "--driver", driver),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout is not None
        try:
            yield Server(process, json.loads(process.stdout.readline())["port"], Path(folder))
        finally:
            process.terminate()
            process.wait(60)
            process.stdout.close()


def client(*arguments: object) -> list[str]:
    return [str(load_client()), *map(str, arguments)]


def answer(line: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(line)
    if result["failed"]:
        raise SystemExit(f"FAILED: {line}")
    return result


def many(driver: str, associations: int, storing: int) -> dict[str, Any]:
    """Open and echo, memory while idle, echo on all, store on some."""
    with serving(driver) as server:
        before = server.rss
        command = client("many", server.port, SOURCES, associations, storing, SIZE)
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            opened = answer(process.stdout.readline())
            idle = (server.rss - before) / associations
            process.stdin.write("\n")
            process.stdin.flush()
            echoed = answer(process.stdout.readline())
            stored = answer(process.stdout.readline())
    return {"opened": opened, "idle": idle, "echoed": echoed, "stored": stored}


def churn(driver: str, cycles: int) -> dict[str, Any]:
    with serving(driver) as server:
        done = subprocess.run(
            client("churn", server.port, SOURCES, cycles, 64), capture_output=True, text=True, check=True
        )
    return answer(done.stdout)


def connected(driver: str, associations: int) -> dict[str, float]:
    """The same with `dicore.connect`, in this process."""
    import dicore

    async def main(port: int) -> tuple[float, float]:
        gate = asyncio.Semaphore(256)

        async def one(number: int) -> Any:
            async with gate:
                association = await dicore.connect(
                    f"DICORE@127.0.0.1:{port}",
                    contexts=["1.2.840.10008.1.1"],
                    source=f"127.0.0.{number % SOURCES + 1}",
                )
                await association.c_echo()
                return association

        began = time.perf_counter()
        opened = await asyncio.gather(*(one(number) for number in range(associations)))
        middle = time.perf_counter()
        await asyncio.gather(*(each.c_echo() for each in opened))
        end = time.perf_counter()
        await asyncio.gather(*(each.release() for each in opened))
        return middle - began, end - middle

    with serving(driver) as server:
        opening, echoing = asyncio.run(main(server.port))
    return {"open": opening, "echo": echoing}


class SlowLoris:
    """A hundred peers that send a byte now and then: half of them their request, half a data set."""

    def __init__(self, port: int, count: int = 100) -> None:
        sys.path.insert(0, str(CSRC.parent / "tests"))
        import wire

        data = wire.store_message("1.2.3", bytes(60_000))
        self.peers: list[tuple[socket.socket, bytes]] = []
        for number in range(count):
            if number % 2:
                self.peers.append((wire.connect(port), wire.associate_rq()))
            else:
                self.peers.append((wire.associate(port), data))
        self.at = 0

    def step(self) -> None:
        for connection, data in self.peers:
            connection.sendall(data[self.at : self.at + 1])
        self.at += 1

    def close(self) -> None:
        for connection, _ in self.peers:
            connection.close()


def paced(port: int, seconds: int, loris: SlowLoris | None) -> dict[str, Any]:
    """Eight peers at 200 instances a second in all; latency from the intended start."""
    command = client("paced", port, 1, 8, 200, seconds, SIZE)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            if loris is not None:
                loris.step()
            time.sleep(0.1)
        assert process.stdout is not None
        return answer(process.stdout.read())


def fairness(driver: str, seconds: int, rounds: int) -> dict[str, float]:
    """p99 in milliseconds alone, beside slow loris, beside a bulk sender at half of what it could do alone."""
    found: dict[str, list[float]] = {"alone": [], "loris": [], "bulk": []}
    with serving(driver) as server:
        flood = subprocess.run(
            client("flood", server.port, 1, 1, max(2, seconds // 2), 525_000), capture_output=True, text=True
        )
        alone = json.loads(flood.stdout)
        half = max(1, int(alone["done"] / alone["ms"] * 1000 / 2))
        for _ in range(rounds):
            found["alone"].append(paced(server.port, seconds, None)["p99"])
            loris = SlowLoris(server.port)
            found["loris"].append(paced(server.port, seconds, loris)["p99"])
            loris.close()
            bulk = subprocess.Popen(
                client("paced", server.port, 1, 1, half, seconds + 2, 525_000), stdout=subprocess.DEVNULL
            )
            time.sleep(0.5)
            found["bulk"].append(paced(server.port, seconds, None)["p99"])
            bulk.kill()
            bulk.wait()
    return {name: statistics.median(values) for name, values in found.items()} | {"half": half}


def row(what: str, value: str, wanted: str) -> None:
    print(f"{what:<58} {value:>16}   {wanted}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--driver", default="engine")
    parser.add_argument("--associations", type=int, default=10_000)
    parser.add_argument("--storing", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a tenth of everything")
    a = parser.parse_args()
    count, storing = (a.associations // 10, a.storing // 10) if a.quick else (a.associations, a.storing)
    rounds, seconds = (1, 3) if a.quick else (a.rounds, 8)
    print(f"driver {a.driver}; client and server share the machine; medians of {rounds}; no errors, else this ends")
    runs = [many(a.driver, count, storing) for _ in range(rounds)]
    median = statistics.median
    opening = median(run["opened"]["ms"] for run in runs)
    row(f"{count} associations open and echoed", f"{opening / 1000:.2f} s", "must 1, reach 0.5")
    row(
        "  completion, max / median",
        f"{median(run['opened']['max'] / run['opened']['median'] for run in runs):.2f}",
        "must 3",
    )
    row("resident per idle association", f"{median(run['idle'] for run in runs) / 1024:.2f} KB", "must 4, reach 2")
    row("C-ECHO on all at once", f"{count / median(run['echoed']['ms'] for run in runs):.0f} k/s", "")
    row(f"{storing} of them store {SIZE} bytes at once", f"{median(run['stored']['ms'] for run in runs):.0f} ms", "")
    row(
        "  completion, max / median",
        f"{median(run['stored']['max'] / run['stored']['median'] for run in runs):.2f}",
        "must 3",
    )
    cycles = 3000 if a.quick else 30_000
    rate = median(cycles / churn(a.driver, cycles)["ms"] * 1000 for _ in range(rounds))
    row("associate + echo + release", f"{rate:,.0f}/s", "must 10,000, reach 15,000")
    ours = connected(a.driver, count)
    row(f"the same {count} by dicore.connect: open and echo", f"{ours['open']:.2f} s", "reported")
    row("  C-ECHO on all", f"{count / ours['echo'] / 1000:.1f} k/s", "reported")
    fair = fairness(a.driver, seconds, rounds)
    row("8 peers at 200/s in all, p99 from the intended start", f"{fair['alone']:.2f} ms", "")
    row("  beside 100 slow loris", f"{fair['loris'] / fair['alone']:.2f}x", "must 1.2x")
    row(f"  beside a bulk sender at {fair['half']:.0f}/s of 525 KB", f"{fair['bulk'] / fair['alone']:.2f}x", "must 3x")


if __name__ == "__main__":
    main()
