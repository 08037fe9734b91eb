"""Disks that fail: images on a tmpfs, recorded block by block, shut down, slow, or with bad sectors. Linux, root.

Everything here is to run in a mount namespace of its own (`unshare --mount`), so that the kernel clears away what is
left when the process dies: loop devices are freed with their mounts.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SECTOR = 512
FLUSH, FUA, DISCARD = 1, 2, 4  # flags of an entry in the log
SHUTDOWN = (2 << 30) | (4 << 16) | (ord("X") << 8) | 125  # FS_IOC_SHUTDOWN


def run(*command: str | Path | int) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{' '.join(map(str, command))}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def missing(*programs: str) -> list[str]:
    """What of these is not installed, or not allowed."""
    lacking = [name for name in programs if shutil.which(name) is None]
    if os.geteuid() != 0:
        lacking.append("root")
    return lacking + [device for device in ("/dev/loop-control", "/dev/fuse") if not os.path.exists(device)]


def ext4(image: Path, size: int) -> Path:
    """An empty file system of `size` bytes, everything written by mkfs and nothing later."""
    with open(image, "wb") as file:
        file.truncate(size)
    run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", image)
    return image


def xfs(image: Path, size: int) -> Path:
    with open(image, "wb") as file:
        file.truncate(size)
    run("mkfs.xfs", "-q", "-f", image)
    return image


def unmount(place: Path) -> None:
    for _ in range(100):
        done = subprocess.run(["umount", place], capture_output=True, text=True)
        if done.returncode == 0 or "not mounted" in done.stderr:
            return
        time.sleep(0.05)
    raise OSError(f"umount {place}: {done.stderr.strip()}")


@contextlib.contextmanager
def mounted(image: Path, place: Path, options: str = "loop") -> Iterator[Path]:
    place.mkdir(exist_ok=True)
    run("mount", "-o", options, image, place)
    try:
        yield place
    finally:
        unmount(place)


def shut_down(place: Path, mode: int) -> None:
    """All that was not flushed is lost now; every write fails. 1: the log is flushed before, 2: not even that."""
    handle = os.open(place, os.O_RDONLY)
    try:
        fcntl.ioctl(handle, SHUTDOWN, struct.pack("I", mode))
    finally:
        os.close(handle)


class Recorder:
    """A file system whose every block write and flush is written down: `place` is where it is mounted, `position()` how
    many entries the log has. qemu-storage-daemon's blklogwrites under a FUSE file on a loop device; the format is that
    of dm-log-writes."""

    def __init__(self, folder: Path, image: Path) -> None:
        folder.mkdir()
        self.base, self.log, self.place = folder / "base.img", folder / "log.img", folder / "m"
        self._folder, self._data, self._export = folder, folder / "data.img", folder / "fuse.img"
        run("cp", "--sparse=always", image, self._data)
        run("cp", "--sparse=always", image, self.base)
        with open(self.log, "wb") as file:
            file.truncate(16 << 30)
        self._export.touch()

    def __enter__(self) -> Recorder:
        export = f"type=fuse,id=e,node-name=lw,mountpoint={self._export},writable=on"
        log = "driver=blklogwrites,node-name=lw,file=f,log=l,log-super-update-interval=1"
        run(
            "qemu-storage-daemon",
            "--blockdev", f"driver=file,node-name=f,filename={self._data}",
            "--blockdev", f"driver=file,node-name=l,filename={self.log}",
            "--blockdev", log, "--export", export, "--daemonize", "--pidfile", self._folder / "pid",
        )  # fmt: skip
        self._pid = int((self._folder / "pid").read_text())
        for _ in range(100):
            if self._export.stat().st_size:
                break
            time.sleep(0.02)
        self._file = os.open(self.log, os.O_RDONLY)
        self.place.mkdir()
        run("mount", "-o", "loop", self._export, self.place)
        return self

    def position(self) -> int:
        (count,) = struct.unpack("<Q", os.pread(self._file, 8, 16))
        return int(count)

    def __exit__(self, *exc: object) -> None:
        unmount(self.place)
        os.close(self._file)
        os.kill(self._pid, 15)
        with contextlib.suppress(ProcessLookupError):
            for _ in range(500):
                os.kill(self._pid, 0)
                time.sleep(0.01)
        subprocess.run(["umount", self._export], capture_output=True)


@dataclass(frozen=True)
class Entry:
    sector: int
    sectors: int
    flags: int
    at: int  # of its data in the log


@dataclass(frozen=True)
class Cut:
    """The disk has everything up to the flush at `flush` and, of what was written behind it before `end`, some."""

    flush: int
    end: int
    seed: int


class Replay:
    """The disk as a power cut would have left it. Cuts are made in rising order of their flush."""

    def __init__(self, recorder: Recorder) -> None:
        self._log = open(recorder.log, "rb")
        magic, _, count, sector = struct.unpack("<QQQI", self._log.read(28))
        assert magic == 0x6A736677736872, "not a log"
        self._sector = sector
        self.entries: list[Entry] = []
        at = sector
        for _ in range(count):
            self._log.seek(at)
            where, sectors, flags, _ = struct.unpack("<QQQQ", self._log.read(32))
            self.entries.append(Entry(where, sectors, flags, at + sector))
            at += sector + (0 if flags & DISCARD else sectors * sector)
        self.flushes = [n for n, entry in enumerate(self.entries) if entry.flags & FLUSH]
        self._state, self._done = recorder.base, 0
        self._image = recorder.base.with_name("cut.img")

    def close(self) -> None:
        self._log.close()

    def _data(self, entry: Entry) -> bytes:
        if entry.flags & DISCARD:
            return b""
        self._log.seek(entry.at)
        return self._log.read(entry.sectors * self._sector)

    def next_flush(self, flush: int) -> int:
        return next((n for n in self.flushes if n > flush), len(self.entries))

    def image(self, cut: Cut) -> Path:
        """All up to the flush; of the writes behind it each whole, in part (512-byte sectors) or not at all. What is
        dropped while a later one stays is what a disk that reorders would leave."""
        with open(self._state, "r+b") as disk:
            for entry in self.entries[self._done : cut.flush + 1]:
                disk.seek(entry.sector * self._sector)
                disk.write(self._data(entry))
            self._done = max(self._done, cut.flush + 1)
        run("cp", "--sparse=always", self._state, self._image)
        chance = random.Random(cut.seed)
        share = chance.choice([0, 0.2, 0.5, 0.8, 1])
        with open(self._image, "r+b") as disk:
            for entry in self.entries[cut.flush + 1 : cut.end]:
                data = self._data(entry)
                forced = entry.flags & FUA
                if not data or not (forced or chance.random() < share):
                    continue
                if forced or chance.random() < 0.7:
                    disk.seek(entry.sector * self._sector)
                    disk.write(data)
                    continue
                for n in range(0, len(data), SECTOR):  # torn
                    if chance.random() < 0.5:
                        disk.seek(entry.sector * self._sector + n)
                        disk.write(data[n : n + SECTOR])
        return self._image

    def cut_at(self, end: int, seed: int) -> Cut:
        """When the log had `end` entries."""
        return Cut(max((f for f in self.flushes if f < end), default=-1), end, seed)

    def cuts(self, wanted: int, per_flush: int, within: range, seed: int) -> list[Cut]:
        """`per_flush` cuts behind each flush within these entries, or if `wanted` so many of them. One of each flush is
        just before the next flush is done: everything that was acknowledged by then is due."""
        chance = random.Random(seed)
        cuts = []
        for flush in self.flushes:
            if flush not in within:
                continue
            following = self.next_flush(flush)
            for n in range(per_flush):
                end = following if n == 0 else chance.randint(flush + 1, max(flush + 1, following))
                cuts.append(Cut(flush, end, chance.getrandbits(32)))
        if wanted and len(cuts) > wanted:
            cuts = sorted(chance.sample(cuts, wanted), key=lambda cut: cut.flush)
        return cuts
