"""Ten thousand associations, and eight that want their share beside a hundred slow ones or a bulk sender.

    python -m benchmarks.bench_concurrency [--driver engine|asyncio] [--only many churn connect fairness] [--quick]

The client is `csrc/tests/load_client.c`, one process over `dicore_association`; `dicore.connect` does the
same beside it. Every answer is checked before a figure is printed: an error of any kind ends the run.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.material import ROOT, c_client, machine, touch

SOURCES = 4  # addresses of the loopback to connect from
SIZE = 131_072


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
    return [str(c_client("load_client")), *map(str, arguments)]


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


def started(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(client(*arguments), stdout=subprocess.PIPE, text=True)


def paced(port: int, seconds: int) -> dict[str, Any]:
    """Eight peers at 200 instances a second in all; latency from the intended start."""
    done = subprocess.run(client("paced", port, 1, 8, 200, seconds, SIZE), capture_output=True, text=True, check=False)
    return answer(done.stdout)


def fairness(driver: str, seconds: int, rounds: int) -> dict[str, Any]:
    """Latencies in milliseconds alone, beside a hundred slow loris (half of them amid their A-ASSOCIATE-RQ, half amid a
    data set, a byte each every 100 ms in even turns), beside a bulk sender at half of what it did alone. The ratios are
    those within a round. `lag`: how late the client itself was; on two cores that is part of every latency."""
    found: dict[str, list[dict[str, Any]]] = {"alone": [], "loris": [], "bulk": []}
    with serving(driver) as server:
        touch(4)
        flood = json.loads(
            subprocess.run(client("flood", server.port, 1, 1, 2, 525_000), capture_output=True, text=True).stdout
        )
        half = max(1, int(flood["done"] / flood["ms"] * 1000 / 2))
        for _ in range(rounds):
            found["alone"].append(paced(server.port, seconds))
            with started("loris", server.port, 1, 100, 100, seconds + 1) as loris:
                assert loris.stdout is not None
                answer(loris.stdout.readline())
                found["loris"].append(paced(server.port, seconds))
                answer(loris.stdout.readline())
            touch(4)
            with started("paced", server.port, 1, 1, half, seconds + 1, 525_000) as bulk:
                time.sleep(0.3)
                found["bulk"].append(paced(server.port, seconds))
                assert bulk.stdout is not None
                did = answer(bulk.stdout.readline())
                kept = did["done"] / did["ms"] * 1000
    result: dict[str, Any] = {"half": half, "kept": kept}
    for name, runs in found.items():
        pairs = zip(runs, found["alone"], strict=True)
        result[name] = {key: statistics.median(run[key] for run in runs) for key in ("median", "p99", "max", "lag_p99")}
        result[name]["ratio"] = statistics.median(run["p99"] / alone["p99"] for run, alone in pairs)
    return result


def row(what: str, value: str, wanted: str) -> None:
    print(f"{what:<58} {value:>16}   {wanted}", flush=True)


PARTS = ("many", "churn", "connect", "fairness")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--driver", default="engine")
    parser.add_argument("--associations", type=int, default=10_000)
    parser.add_argument("--storing", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5, help="of each run of the fairness part")
    parser.add_argument("--only", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--quick", action="store_true", help="a tenth of everything, once")
    a = parser.parse_args()
    count, storing = (a.associations // 10, a.storing // 10) if a.quick else (a.associations, a.storing)
    rounds, seconds = (1, 3) if a.quick else (a.rounds, a.seconds)
    print(f"driver {a.driver}; client and server share the machine; medians of {rounds}; no errors, else this ends")
    print(machine(), flush=True)
    median = statistics.median
    if "many" in a.only:
        runs = [many(a.driver, count, storing) for _ in range(rounds)]
        opening = median(run["opened"]["ms"] for run in runs)
        row(f"{count} associations open and echoed", f"{opening / 1000:.2f} s", "must 1, reach 0.5")
        relative = median(run["opened"]["max"] / run["opened"]["median"] for run in runs)
        row("  completion, max / median", f"{relative:.2f}", "must 3")
        row("resident per idle association", f"{median(run['idle'] for run in runs) / 1024:.2f} KB", "must 4, reach 2")
        row("C-ECHO on all at once", f"{count / median(run['echoed']['ms'] for run in runs):.0f} k/s", "")
        elapsed = median(run["stored"]["ms"] for run in runs)
        row(f"{storing} of them store {SIZE} bytes at once", f"{elapsed:.0f} ms", "must 0 errors")
        relative = median(run["stored"]["max"] / run["stored"]["median"] for run in runs)
        row("  completion, max / median", f"{relative:.2f}", "must 3")
    if "churn" in a.only:
        cycles = 3000 if a.quick else 30_000
        rate = median(cycles / churn(a.driver, cycles)["ms"] * 1000 for _ in range(rounds))
        row("associate + echo + release", f"{rate:,.0f}/s", "must 10,000, reach 15,000")
    if "connect" in a.only:
        ours = connected(a.driver, count)
        row(f"the same {count} by dicore.connect: open and echo", f"{ours['open']:.2f} s", "reported")
        row("  C-ECHO on all", f"{count / ours['echo'] / 1000:.1f} k/s", "reported")
    if "fairness" in a.only:
        fair = fairness(a.driver, seconds, rounds)
        for name, what, wanted in (
            ("alone", "8 peers at 200/s in all", ""),
            ("loris", "  beside 100 slow loris", "must 1.2x"),
            ("bulk", f"  beside a bulk sender at {fair['half']}/s of 525 KB", "must 3x"),
        ):
            one = fair[name]
            row(what, f"{one['ratio']:.2f}x", wanted)
            print(
                f"    median {one['median']:.2f} ms, p99 {one['p99']:.2f} ms, max {one['max']:.2f} ms; "
                f"the client itself late by {one['lag_p99']:.2f} ms (p99)"
            )
        print(f"    the bulk sender kept up {fair['kept']:.0f}/s", flush=True)


if __name__ == "__main__":
    main()
