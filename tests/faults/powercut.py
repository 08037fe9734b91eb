"""A power cut, for dicore and for others: instances are sent over eight associations to a receiver whose disk is
recorded block by block; the disk is rebuilt as it was at its flushes, with a random part of what was written behind
them, and asked for every instance that had been acknowledged by then.

    unshare --mount python tests/faults/powercut.py --receiver dicore --cuts 40

Prints one line of JSON. `--per-flush N`: so many cuts at every flush; `--cuts N`: so many of all these. `--moments N`:
instead N cuts at random times, for receivers that do not flush at all; `--pace SECONDS` between an answer and the next
instance. `--recovery N`: after so many of the cuts the recovery itself is recorded and cut as well.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import random
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import disks  # noqa: E402

import dicore  # noqa: E402
import wire  # noqa: E402

SIDES = (16, 64, 100, 181, 256)
LANE_SIDE = 2200  # more than 8 MiB: written as it arrives


def part10(name: str, data: bytes) -> bytes:
    meta = b"".join(
        [
            wire.explicit(0x00020001, "OB", b"\0\1"),
            wire.explicit(0x00020002, "UI", wire.uid(wire.CT_IMAGE)),
            wire.explicit(0x00020003, "UI", wire.uid(name)),
            wire.explicit(0x00020010, "UI", wire.uid(wire.EXPLICIT)),
            wire.explicit(0x00020012, "UI", wire.uid("1.2.3.4")),
        ]
    )
    return bytes(128) + b"DICM" + wire.explicit(0x00020000, "UL", len(meta).to_bytes(4, "little")) + meta + data


def pixels_of(data: bytes) -> bytes:
    """The value of Pixel Data, the last element of our data sets: what no receiver may change."""
    at = data.index(b"\xe0\x7f\x10\x00OW")
    return data[at + 12 :]


@dataclass
class Load:
    """What is sent, and when which acknowledgement came: at what time, at how many log entries."""

    data: dict[str, bytes]
    digests: dict[str, bytes]
    acknowledged: list[tuple[float, int, str]] = field(default_factory=list)
    samples: list[tuple[float, int]] = field(default_factory=list)  # all the while: the log had so many entries
    refused: int = 0

    @classmethod
    def make(cls, count: int, lanes: int, seed: int) -> Load:
        chance, data = random.Random(seed), {}
        for n in range(count):
            name = wire.instance_uid(n)
            side = LANE_SIDE if lanes and n % (count // lanes) == count // lanes // 2 else chance.choice(SIDES)
            data[name] = wire.ct_data_set(name, side=side, fill=f"{n:08}".encode(), patient=f"CUT{n // 20:05}")
        return cls(data, {name: hashlib.sha256(value).digest() for name, value in data.items()})

    async def send(self, port: int, ae: str, associations: int, pace: float, position: Any) -> None:
        items = list(self.data.items())

        async def sample() -> None:
            while True:
                self.samples.append((time.monotonic(), position()))
                await asyncio.sleep(0.01)

        async def one(share: list[tuple[str, bytes]]) -> None:
            left = share[::-1]
            while left:
                with contextlib.suppress(dicore.NetworkError):  # refused, or the connection broke: the next one
                    await through(left)

        async def through(left: list[tuple[str, bytes]]) -> None:
            context = [(wire.CT_IMAGE, [wire.EXPLICIT])]
            async with dicore.connect(f"{ae}@127.0.0.1:{port}", calling="CUT", contexts=context) as association:
                while left:
                    name, data = left.pop()
                    try:
                        status = await association.c_store(part10(name, data))
                    except dicore.NetworkError:
                        self.refused += 1
                        raise
                    if status == 0:
                        self.acknowledged.append((time.monotonic(), position(), name))
                    else:
                        self.refused += 1
                    if pace:
                        await asyncio.sleep(pace * random.uniform(0.5, 1.5))

        sampling = asyncio.create_task(sample())
        await asyncio.gather(*(one(items[n::associations]) for n in range(associations)))
        sampling.cancel()


# ---- receivers
class Receiver:
    name, ae = "", "ANY"

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options

    def command(self, place: Path, port: int) -> list[str]:
        raise NotImplementedError

    def version(self) -> str:
        raise NotImplementedError

    def prepare(self, place: Path) -> None:
        """Make what it needs on its disk."""

    def check(self, place: Path, due: set[str], load: Load) -> dict[str, Any]:
        """Of what is due: what is lost; and what is there but wrong."""
        raise NotImplementedError


class Dicore(Receiver):
    name, ae = "dicore", "DICORE"

    def command(self, place: Path, port: int) -> list[str]:
        size = ["--segment-size", str(self.options.segment_size)]
        durable = ["--durability", self.options.durability, "--driver", self.options.driver]
        return [
            sys.executable,
            str(HERE / "serve_small.py"),
            str(place / "store"),
            "--port",
            str(port),
            *size,
            *durable,
        ]

    def version(self) -> str:
        return str(dicore.__version__)

    def check(self, place: Path, due: set[str], load: Load) -> dict[str, Any]:
        """Opened twice: the second time there is nothing left to repair, and the same is there."""
        wrong: list[str] = []
        torn = 0  # what was never acknowledged, left in the middle of a segment and named by `verify`
        held: list[str] = []
        for turn in range(2):
            with contextlib.ExitStack() as stack:
                if not (place / "store").exists():
                    break
                store = stack.enter_context(dicore.Store(place / "store", segment_size=self.options.segment_size))
                names = sorted(store)
                if any(hashlib.sha256(body(file)).digest() != load.digests[name] for name, file in store.scan_source()):
                    wrong.append("bytes differ")
                report = store.verify()
                torn = len(report.problems)
                if sorted(row["SOPInstanceUID"] for row in store.find("IMAGE")) != names:
                    wrong.append("the index differs")
                if turn and len(store.recovered) > torn:
                    wrong.append(f"repaired twice: {store.recovered[0]}")
                if turn and names != held:
                    wrong.append("the second opening finds something else")
                held = names
        return {"lost": sorted(due - set(held)), "there": len(held), "wrong": wrong, "torn": torn}


class Storescp(Receiver):
    name = "storescp"

    def prepare(self, place: Path) -> None:
        (place / "in").mkdir()

    def command(self, place: Path, port: int) -> list[str]:
        return ["storescp", "--fork", "-od", str(place / "in"), str(port)]

    def version(self) -> str:
        return "DCMTK " + subprocess.run([self.name, "--version"], capture_output=True, text=True).stdout.split()[2]

    def files(self, place: Path) -> Iterator[Path]:
        return (path for path in (place / "in").iterdir() if path.is_file())

    def check(self, place: Path, due: set[str], load: Load) -> dict[str, Any]:
        there: set[str] = set()
        short = 0
        names = re.compile(rb"1\.2\.826\.0\.1\.3680043\.10\.1338\.8\.\d+")
        for path in self.files(place):
            raw = path.read_bytes()
            found = names.search(raw)
            if found is None:
                short += 1
                continue
            name = found[0].decode()
            whole = name in load.data and raw.endswith(pixels_of(load.data[name]))
            short += not whole
            if whole:
                there.add(name)
        return {
            "lost": sorted(due - there),
            "there": len(there),
            "wrong": [f"{short} files are damaged"] if short else [],
        }


class Dcmqrscp(Storescp):
    name, ae = "dcmqrscp", "CUTQR"

    def prepare(self, place: Path) -> None:
        super().prepare(place)
        (place.parent / "dcmqrscp.cfg").write_text(
            "NetworkTCPPort = 1\nMaxPDUSize = 131072\nMaxAssociations = 64\nHostTable BEGIN\nHostTable END\n"
            f"VendorTable BEGIN\nVendorTable END\n"
            f"AETable BEGIN\nCUTQR {place / 'in'} RW (1000000, 1024gb) ANY\nAETable END\n"
        )

    def command(self, place: Path, port: int) -> list[str]:
        return ["dcmqrscp", "-c", str(place.parent / "dcmqrscp.cfg"), str(port)]

    def files(self, place: Path) -> Iterator[Path]:
        return (
            path for path in (place / "in").iterdir() if path.is_file() and path.name not in ("index.dat", "lockfile")
        )


class Orthanc(Receiver):
    name, ae = "orthanc", "ORTHANC"

    def prepare(self, place: Path) -> None:
        (place / "db").mkdir()

    def command(self, place: Path, port: int) -> list[str]:
        file = place.parent / "orthanc.json"
        file.write_text(
            json.dumps(
                {
                    "Name": "CUT", "StorageDirectory": str(place / "db"), "IndexDirectory": str(place / "db"),
                    "DicomPort": port, "DicomAet": "ORTHANC", "DicomCheckCalledAet": False, "HttpServerEnabled": False,
                    "DicomAlwaysAllowStore": True, "RemoteAccessAllowed": False, "Plugins": [],
                }
            )
        )  # fmt: skip
        return ["/usr/sbin/Orthanc", str(file)]

    def version(self) -> str:
        said = subprocess.run(["/usr/sbin/Orthanc", "--version"], capture_output=True, text=True).stdout
        return said.split()[1]

    def check(self, place: Path, due: set[str], load: Load) -> dict[str, Any]:
        """An instance is there when the index, as SQLite recovers it, names a file that holds it whole."""
        there, damaged = set(), 0
        if (place / "db/index").exists():
            try:
                with contextlib.closing(sqlite3.connect(place / "db/index")) as database:
                    rows = database.execute(
                        "SELECT t.value, f.uuid FROM DicomIdentifiers t JOIN AttachedFiles f ON f.id = t.id "
                        "WHERE t.tagGroup = 8 AND t.tagElement = 24 AND f.fileType = 1"
                    ).fetchall()
            except sqlite3.Error:
                rows = []
            for name, uuid in rows:
                path = place / "db" / uuid[:2] / uuid[2:4] / uuid
                whole = path.exists() and path.read_bytes().endswith(pixels_of(load.data[name.strip("\0 ")]))
                damaged += not whole
                if whole:
                    there.add(name.strip("\0 "))
        return {
            "lost": sorted(due - there),
            "there": len(there),
            "wrong": [f"{damaged} of the index are damaged or missing"] if damaged else [],
        }


RECEIVERS = {kind.name: kind for kind in (Dicore, Storescp, Dcmqrscp, Orthanc)}


def body(file: memoryview | bytes) -> memoryview:
    """The data set of a Part 10 file."""
    return memoryview(file)[144 + int.from_bytes(file[140:144], "little") :]


# ---- the run
def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def serve(command: list[str], port: int, log: Path) -> subprocess.Popen[bytes]:
    with open(log, "wb") as file:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True)
    for _ in range(600):
        if process.poll() is not None:
            raise RuntimeError(f"{command[0]} ended: {log.read_text(errors='replace')[-1000:]}")
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return process
        time.sleep(0.05)
    raise RuntimeError(f"{command[0]} does not listen")


def in_child(check: Any, *arguments: Any) -> dict[str, Any]:
    """check(...) in a process of its own: its maps are gone when it ends."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ours)
        try:
            answer = check(*arguments)
        except BaseException as error:
            answer = {"lost": sorted(arguments[1]), "there": 0, "wrong": [f"{type(error).__name__}: {error}"]}
        with os.fdopen(theirs, "w") as out:
            json.dump(answer, out)
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as answer_file:
        text = answer_file.read()
    os.waitpid(child, 0)
    return dict(json.loads(text)) if text else {"lost": [], "there": 0, "wrong": ["the check died"]}


def look(receiver: Receiver, image: Path, place: Path, due: set[str], load: Load) -> dict[str, Any]:
    try:
        with disks.mounted(image, place):
            return in_child(receiver.check, place, due, load)
    except OSError as error:
        return {"lost": [], "there": 0, "wrong": [f"the file system: {error}"]}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--receiver", choices=RECEIVERS, default="dicore")
    parser.add_argument("--instances", type=int, default=300)
    parser.add_argument("--lanes", type=int, default=1, help="how many of them are larger than 8 MiB")
    parser.add_argument("--associations", type=int, default=8)
    parser.add_argument("--cuts", type=int, default=0)
    parser.add_argument("--per-flush", type=int, default=5)
    parser.add_argument("--moments", type=int, default=0)
    parser.add_argument("--pace", type=float, default=0)
    parser.add_argument("--recovery", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--size", type=int, default=256 << 20)
    parser.add_argument("--segment-size", type=int, default=4 << 20)
    parser.add_argument("--durability", default="durable")
    parser.add_argument("--driver", default="auto")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="dicore-cut-"))
    try:
        disks.run("mount", "-t", "tmpfs", "-o", "size=8g", "tmpfs", folder)
        print(json.dumps(power_cuts(options, folder)))
    finally:
        subprocess.run(["umount", "-l", folder], capture_output=True)
        folder.rmdir()


def power_cuts(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    receiver = RECEIVERS[options.receiver](options)
    load = Load.make(options.instances, options.lanes, options.seed)
    with dicore.Store(folder / "warm", segment_size=1 << 20) as store:  # what it imports is there for all children then
        store.append(wire.CT_IMAGE, "1.2", wire.EXPLICIT, [load.data[wire.instance_uid(0)]])
        store.find("IMAGE")
    with disks.Recorder(folder / "load", disks.ext4(folder / "empty.img", options.size)) as recorder:
        receiver.prepare(recorder.place)
        os.sync()
        port = free_port()
        first = recorder.position()
        server = serve(receiver.command(recorder.place, port), port, folder / "log")
        try:
            asyncio.run(load.send(port, receiver.ae, options.associations, options.pace, recorder.position))
        finally:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
        last = recorder.position()
    replay = disks.Replay(recorder)
    chance = random.Random(options.seed)
    if options.moments:
        cuts = sorted(
            (
                (
                    replay.cut_at(end, chance.getrandbits(32)),
                    {name for at, _, name in load.acknowledged if at <= moment},
                )
                for moment, end in chance.choices(load.samples, k=options.moments)
            ),
            key=lambda item: item[0].flush,
        )
    else:
        cuts = [
            (cut, {name for _, at, name in load.acknowledged if at <= cut.end})
            for cut in replay.cuts(options.cuts, options.per_flush, range(first, last + 1), options.seed)
        ]
    result: dict[str, Any] = {
        "receiver": receiver.name, "version": receiver.version(), "instances": options.instances,
        "acknowledged": len(load.acknowledged), "refused": load.refused, "entries": len(replay.entries),
        "flushes": sum(first <= f <= last for f in replay.flushes), "cuts": 0, "due": 0, "lost": 0, "cuts_with_loss": 0,
        "cuts_with_damage": 0, "cuts_with_torn": 0, "recovery_cuts": 0, "recovery_lost": 0, "wrong": [],
    }  # fmt: skip
    again = set(chance.sample(range(len(cuts)), min(options.recovery, len(cuts))))
    for number, (cut, due) in enumerate(cuts):
        image = replay.image(cut)
        if number in again:
            disks.run("cp", "--sparse=always", image, folder / "again.img")
        seen = look(receiver, image, folder / "m", due, load)
        result["cuts"] += 1
        result["due"] += len(due)
        result["lost"] += len(seen["lost"])
        result["cuts_with_loss"] += bool(seen["lost"])
        result["cuts_with_damage"] += bool(seen["wrong"])
        result["cuts_with_torn"] += bool(seen.get("torn"))
        result["wrong"] += [f"cut {cut}: {what}" for what in seen["wrong"]]
        result["wrong"] += [f"cut {cut}: {name} lost" for name in seen["lost"][:3]]
        if number in again:
            while_recovering(receiver, folder, cut, due, load, result)
    result["wrong"] = result["wrong"][:10]
    return result


def while_recovering(
    receiver: Receiver, folder: Path, cut: disks.Cut, due: set[str], load: Load, result: dict[str, Any]
) -> None:
    """The recovery from this cut is recorded as well, and cut."""
    place = folder / f"recovery-{result['recovery_cuts']}"
    with disks.Recorder(place, folder / "again.img") as recorder:
        in_child(receiver.check, recorder.place, due, load)
    replay = disks.Replay(recorder)
    for inner in replay.cuts(4, 2, range(len(replay.entries)), cut.seed):
        seen = look(receiver, replay.image(inner), folder / "m", due, load)
        result["recovery_cuts"] += 1
        result["recovery_lost"] += len(seen["lost"])
        result["wrong"] += [f"cut {cut}, then {inner} while recovering: {what}" for what in seen["wrong"]]
    replay.close()
    disks.run("rm", "-r", place)


if __name__ == "__main__":
    main()
