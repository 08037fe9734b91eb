"""`make soak`: hours in minutes. All services at once, over plain TCP and TLS, with random aborts and hostile bytes
among them, against `dicore serve`; afterwards memory, descriptors and threads are where they were, the store is whole,
and every acknowledged instance is in it.

    SOAK_SECONDS=600 python tests/soak.py [--driver engine|asyncio|both] [--json FILE]

Each driver runs for SOAK_SECONDS. First a fifth of it as a warm-up (caches fill, the allocator takes its arenas), then
rest, when everything is measured; then the others, and rest again."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent / "faults")]

import attacks  # noqa: E402
import trustme  # noqa: E402

import dicore  # noqa: E402
import wire  # noqa: E402
from conftest import counts_of  # noqa: E402
from dicore.net.tls import client_context  # noqa: E402

MIB = 1 << 20
STORES = 25.0  # a second, at most: the table of UIDs grows with the store, and is no leak
SERIES = {
    "StudyInstanceUID": "1.2.826.0.1.3680043.10.1338.7.1",
    "SeriesInstanceUID": "1.2.826.0.1.3680043.10.1338.7.2",
}  # of all that wire.ct_data_set makes
KEPT = 400  # data sets that are compared byte by byte in the end


class Server:
    """A `dicore serve` process and what the kernel knows of it."""

    def __init__(self, folder: Path, name: str, driver: str, *options: str) -> None:
        self.store = folder / name
        self.log = folder / f"{name}.log"
        command = [
            sys.executable,
            "-m",
            "dicore",
            "serve",
            str(self.store),
            "--port",
            "0",
            "--json",
            "--driver",
            driver,
        ]
        timers = ["--timeout", "artim=3", "--timeout", "network=3", "--metrics-port", "0"]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [*command, *timers, *options], stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{name} did not start: {self.log.read_text()[-1000:]}")
        said = json.loads(line)
        self.port, self.metrics = said["port"], said["metrics_port"]

    def counters(self) -> dict[str, int]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/metrics", timeout=30) as answer:
            return counts_of(answer.read().decode())

    def measure(self) -> dict[str, int]:
        place = Path(f"/proc/{self.process.pid}")
        status = dict(line.split(":", 1) for line in (place / "status").read_text().splitlines())
        return {
            "memory": int(status["RssAnon"].split()[0]) * 1024,
            "descriptors": len(list((place / "fd").iterdir())),
            "threads": int(status["Threads"]),
        }

    def rest(self) -> dict[str, int]:
        """Nothing is open and nothing in flight; then what it holds."""
        deadline = time.monotonic() + 60
        while True:
            now = self.counters()
            if now["associations_open"] == 0 and now["in_flight"] == 0:
                break
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"at rest {now['associations_open']} associations are open, {now['in_flight']} bytes"
                )
            time.sleep(0.05)
        time.sleep(0.5)
        return self.measure()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status


@dataclass
class Soak:
    """What is under way, and what came of it."""

    main: Server
    secure: Server
    tls: ssl.SSLContext
    sink: dict[str, int] = field(default_factory=dict)
    done: Counter[str] = field(default_factory=Counter)
    acknowledged: dict[str, bytes] = field(default_factory=dict)  # b"" where the bytes are not kept
    over_tls: set[str] = field(default_factory=set)
    number: int = 0
    stopping: bool = False
    order: random.Random = field(default_factory=lambda: random.Random(22))

    @property
    def address(self) -> str:
        return f"DICORE@127.0.0.1:{self.main.port}"

    def instance(self) -> tuple[str, bytes, bytes]:
        """(SOP Instance UID, data set, the whole file), one that nobody has."""
        self.number += 1
        name = wire.instance_uid(10_000_000 + self.number)
        data = wire.ct_data_set(name, side=self.order.choice((16, 64, 256)), fill=f"{self.number:08}".encode())
        meta = b"".join(
            wire.explicit(tag, "UI", wire.uid(text))
            for tag, text in ((0x00020002, wire.CT_IMAGE), (0x00020003, name), (0x00020010, wire.EXPLICIT))
        )
        group = wire.explicit(0x00020000, "UL", len(meta).to_bytes(4, "little"))
        return name, data, bytes(128) + b"DICM" + group + meta + data

    def known(self) -> str | None:
        return self.order.choice(list(self.acknowledged)[-500:]) if self.acknowledged else None

    # -- the services, each an association or a few

    async def echo(self) -> None:
        async with dicore.connect(self.address) as assoc:
            for _ in range(self.order.randrange(1, 20)):
                await assoc.c_echo()
                self.done["echo"] += 1

    async def store(self) -> None:
        async with dicore.connect(self.address, contexts=[wire.CT_IMAGE]) as assoc:
            for _ in range(self.order.randrange(1, 15)):
                name, data, file = self.instance()
                begin = time.monotonic()
                if await assoc.c_store(file) == 0:
                    keep = (
                        len([one for one in self.acknowledged.values() if one]) < KEPT
                        if self.number % 10 == 0
                        else False
                    )
                    self.acknowledged[name] = data if keep else b""
                    self.done["store"] += 1
                await asyncio.sleep(max(0.0, 4 / STORES - (time.monotonic() - begin)))

    async def store_and_abort(self) -> None:
        """Aborted in the middle of what it sends: what was acknowledged before counts."""
        name, data, _ = self.instance()

        def talk() -> bool:
            with wire.associate(self.main.port) as connection:
                stored = wire.store(connection, name, data) == 0
                message = wire.store_message(wire.instance_uid(9_000_000), wire.ct_data_set("1.2.3", side=256))
                connection.sendall(message[: self.order.randrange(len(message))])
                if self.order.random() < 0.5:
                    connection.setsockopt(1, 13, attacks.RESET)
                return stored

        if await asyncio.to_thread(talk):
            self.acknowledged[name] = b""
            self.done["store, then abort"] += 1

    async def find(self) -> None:
        async with dicore.connect(self.address) as assoc:
            async for _ in assoc.c_find(level="STUDY", PatientID=self.order.choice(("WIRE*", "*", "NOBODY"))):
                self.done["match"] += 1

    async def get(self) -> None:
        if name := self.known():
            async with dicore.connect(self.address, receive=True) as assoc:
                async for ds in assoc.c_get(level="IMAGE", **SERIES, SOPInstanceUID=name):
                    assert str(ds.SOPInstanceUID) == name
                    self.done["get"] += 1

    async def move(self) -> None:
        if name := self.known():
            async with dicore.connect(self.address) as assoc:
                async for _ in assoc.c_move(destination="SINK", level="IMAGE", **SERIES, SOPInstanceUID=name):
                    pass
                assert self.sink.get(name), "C-MOVE brought nothing"
                self.done["move"] += 1

    async def commit(self) -> None:
        if name := self.known():
            async with dicore.connect(self.address) as assoc:
                result = await assoc.request_commitment([(wire.CT_IMAGE, name)])
                assert result.committed == ((wire.CT_IMAGE, name),), result
                self.done["commitment"] += 1

    async def mpps(self) -> None:
        async with dicore.connect(self.address) as assoc:
            step = await assoc.mpps_begin(PerformedStationAETitle="CT1", PatientName="Doe^Jane")
            await assoc.mpps_end(step, PerformedProcedureStepEndDate="20260105")
            self.done["procedure step"] += 1

    async def secure_store(self) -> None:
        to = f"dicoms://DICORE@127.0.0.1:{self.secure.port}"
        async with dicore.connect(to, tls=self.tls, contexts=[wire.CT_IMAGE, wire.VERIFICATION]) as assoc:
            await assoc.c_echo()
            for _ in range(self.order.randrange(1, 8)):
                name, _, file = self.instance()
                if await assoc.c_store(file) == 0:
                    self.over_tls.add(name)
                    self.done["store over TLS"] += 1
                await asyncio.sleep(0.3)

    async def cancelled(self) -> None:
        """The client itself is torn away."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.order.random() * 0.05):
                async with dicore.connect(self.address) as assoc:
                    while True:
                        await assoc.c_echo()
        self.done["torn away"] += 1

    async def hostile(self) -> None:
        table = [one for one in attacks.table(endless_bytes=MIB) if not one.timer and "64 MiB" not in one.name]
        attack = self.order.choice([one for one in table if "1,000,000" not in one.name and "endless" not in one.name])
        port = self.order.choice((self.main.port, self.main.port, self.secure.port))

        def talk() -> None:
            if port == self.secure.port:  # anything but a TLS hello
                attacks.plain(self.order.randbytes(200), associated=False)(port, 5)
                return
            if self.order.random() < 0.5:
                said = attack.run(port, 10)
                assert said.answer.startswith(attack.right), f"{attack.name}: {said.answer}"
                return
            data = bytearray(attacks.GOOD_RQ + wire.store_message("1.2.3.4.5", wire.ct_data_set("1.2.3.4.5", side=4)))
            for _ in range(self.order.randrange(1, 6)):
                data[self.order.randrange(len(data))] = self.order.randrange(256)
            with wire.connect(port) as connection:
                attacks.send(connection, [bytes(data)])
                attacks.listen_to(connection, self.order.random())

        await asyncio.to_thread(talk)
        self.done["hostile"] += 1

    # -- together

    async def over_and_over(self, service: Callable[[], Awaitable[None]], until: float, pause: float) -> None:
        while time.monotonic() < until:
            await service()
            await asyncio.sleep(self.order.random() * pause)

    async def run(self, seconds: float, samples: list[tuple[float, int]]) -> None:
        until = time.monotonic() + seconds

        async def sample() -> None:
            while time.monotonic() < until:
                await asyncio.sleep(min(1.0, seconds / 30))
                samples.append((time.monotonic(), self.main.measure()["memory"]))

        async with asyncio.TaskGroup() as group:
            group.create_task(sample())
            for service, count, pause in (
                (self.echo, 3, 0.2), (self.store, 4, 0.1), (self.store_and_abort, 1, 1.0), (self.find, 2, 0.5),
                (self.get, 2, 0.3), (self.move, 1, 0.5), (self.commit, 1, 0.5), (self.mpps, 1, 1.0),
                (self.secure_store, 1, 0.3), (self.cancelled, 1, 0.5), (self.hostile, 2, 0.3),
            ):  # fmt: skip
                for _ in range(count):
                    group.create_task(self.over_and_over(service, until, pause))


def slope(samples: list[tuple[float, int]]) -> float:
    """Bytes per ten minutes, by least squares."""
    if len(samples) < 3:
        return 0.0
    mean_x = sum(x for x, _ in samples) / len(samples)
    mean_y = sum(y for _, y in samples) / len(samples)
    above = sum((x - mean_x) * (y - mean_y) for x, y in samples)
    return 600 * above / sum((x - mean_x) ** 2 for x, _ in samples)


async def soak(driver: str, seconds: float, folder: Path) -> dict[str, Any]:
    """One driver; the figures. Raises AssertionError with what did not end where it began."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(folder / "node.pem")
    moved: dict[str, int] = {}

    def took(request: Any, data: Any) -> int:
        moved[request.sop_instance_uid] = len(data)
        return 0

    async with dicore.listen(port=0, on_c_store=took) as sink:
        main = Server(folder, "main", driver, "--destination", f"SINK=127.0.0.1:{sink.port}")
        secure = Server(folder, "secure", "asyncio", "--tls-cert", str(folder / "node.pem"))
        try:
            it = Soak(main, secure, client_context(ca=folder / "ca.pem"), moved)
            warm: list[tuple[float, int]] = []
            measured: list[tuple[float, int]] = []
            await it.run(seconds / 5, warm)
            before = await asyncio.to_thread(main.rest), await asyncio.to_thread(secure.rest)
            await it.run(seconds * 4 / 5, measured)
            after = await asyncio.to_thread(main.rest), await asyncio.to_thread(secure.rest)
            counters = main.counters()
            statuses = await asyncio.to_thread(main.stop), await asyncio.to_thread(secure.stop)
        finally:
            main.process.kill()
            secure.process.kill()
    for server in (main, secure):
        assert "Traceback" not in server.log.read_text(), server.log.read_text()[-3000:]
    assert statuses == (0, 0), statuses
    lazy = 1 if seconds >= 300 else 8  # a short warm-up does not start all threads of the pools
    for was, now in zip(before, after, strict=True):
        assert now["descriptors"] <= was["descriptors"] + 2 * lazy, (  # a thread of a pool opens the index for itself
            f"descriptors: {was['descriptors']}, then {now['descriptors']}"
        )
        assert now["threads"] <= was["threads"] + lazy, f"threads: {was['threads']}, then {now['threads']}"
    with dicore.Store(main.store, read_only=True) as store, dicore.Store(secure.store, read_only=True) as other:
        assert store.verify().ok
        assert other.verify().ok
        assert it.acknowledged.keys() <= set(store), "an acknowledged instance is gone"
        assert it.over_tls <= set(other), "an instance acknowledged over TLS is gone"
        for name, data in it.acknowledged.items():
            assert not data or bytes(store.record(name)).endswith(data), f"{name} differs"
    return {
        "driver": driver,
        "seconds": seconds,
        "done": dict(it.done),
        "acknowledged": len(it.acknowledged) + len(it.over_tls),
        "connections": counters["connections"],
        "violations": counters["violations"],
        "before": before[0],
        "after": after[0],
        "slope": slope(measured),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--driver", choices=["engine", "asyncio", "both"], default="both")
    parser.add_argument("--json", type=Path)
    a = parser.parse_args()
    seconds = float(os.environ.get("SOAK_SECONDS", "600"))
    results = []
    for driver in ("engine", "asyncio") if a.driver == "both" else (a.driver,):
        with tempfile.TemporaryDirectory(prefix="dicore-soak-") as folder:
            result = asyncio.run(soak(driver, seconds, Path(folder)))
        results.append(result)
        was, now = result["before"], result["after"]
        print(f"{driver}, {seconds:g} s: {', '.join(f'{n} {what}' for what, n in result['done'].items())}")
        print(
            f"  {result['connections']} connections, {result['violations']} violations;"
            f" {result['acknowledged']} acknowledged, all there"
        )
        print(
            f"  memory {was['memory'] / MIB:.1f} -> {now['memory'] / MIB:.1f} MiB,"
            f" {result['slope'] / MIB:+.2f} MiB in ten minutes;"
            f" descriptors {was['descriptors']} -> {now['descriptors']}, threads {was['threads']} -> {now['threads']}",
            flush=True,
        )
    if a.json:
        a.json.write_text(json.dumps(results))
    leaks = [one["driver"] for one in results if seconds >= 300 and one["slope"] >= MIB]
    if leaks:
        print(f"memory grows by a MiB in ten minutes or more: {', '.join(leaks)}")
    return 1 if leaks else 0


if __name__ == "__main__":
    raise SystemExit(main())
