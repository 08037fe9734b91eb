"""Disks that fail: images on a tmpfs, recorded block by block, shut down, slow, or with bad sectors. Linux, root.

Everything here is to run in a mount namespace of its own (`unshare --mount`), so that the kernel clears away what is
left when the process dies: loop devices are freed with their mounts.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import random
import shutil
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
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
        self._log = open(recorder.log, "rb")  # noqa: SIM115 closed with the disk
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


def private_mounts() -> None:
    """What this thread and the processes that it starts mount from now on is theirs alone, and goes with them."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x00020000) != 0:  # CLONE_NEWNS
        raise OSError(ctypes.get_errno(), "unshare")
    run("mount", "--make-rprivate", "/")


class NbdDisk:
    """An ext4 without a journal on a disk that can be told to fail or to be slow: nbdkit under a FUSE file on a loop
    device. `fail("pwrite")`, `heal()`; `platter(place)` mounts what is really on the disk, with no cache in between.

    Without a journal, so that a write that fails costs its file and not the file system: ext4 aborts a journal that it
    cannot write, and is read-only from then on."""

    def __init__(self, folder: Path, size: int = 256 << 20, delay: str = "") -> None:
        folder.mkdir()
        self._folder, self.place = folder, folder / "m"
        self._image, self._socket = folder / "disk.img", folder / "socket"
        (folder / "fuse").mkdir()
        (folder / "fuse/disk").touch()
        self.place.mkdir()
        with open(self._image, "wb") as file:
            file.truncate(size)
        run("mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-E", "lazy_itable_init=0", self._image)
        filters, options = ["--filter=error"], []
        for call in ("pread", "pwrite"):
            options += [f"error-{call}=EIO", f"error-{call}-rate=100%", f"error-{call}-file={folder / call}"]
        if delay:
            filters.append("--filter=delay")
            options.append(f"wdelay={delay}")
        nbdkit = ["nbdkit", "-f", "-U", self._socket, *filters, "file", self._image, *options]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._processes = [subprocess.Popen([str(word) for word in nbdkit], **quiet)]
        _until(self._socket.exists)
        fuse = ["nbdfuse", str(folder / "fuse/disk"), "--unix", str(self._socket)]
        self._processes.append(subprocess.Popen(fuse, **quiet))
        _until(lambda: (folder / "fuse/disk").stat().st_size == size)

    def __enter__(self) -> NbdDisk:
        self.mount()
        return self

    def mount(self) -> None:
        with open(self._folder / "fuse/disk", "rb") as file:  # nothing is in a cache
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        run("mount", "-o", "loop,errors=continue", self._folder / "fuse/disk", self.place)

    def unmount(self) -> None:
        unmount(self.place)

    def fail(self, call: str) -> None:
        (self._folder / call).touch()

    def heal(self) -> None:
        for call in ("pread", "pwrite"):
            (self._folder / call).unlink(missing_ok=True)

    @contextlib.contextmanager
    def platter(self) -> Iterator[Path]:
        self.unmount()
        copy = self._folder / "copy.img"
        run("cp", "--sparse=always", self._image, copy)
        try:
            with mounted(copy, self._folder / "platter") as place:
                yield place
        finally:
            self.mount()

    def __exit__(self, *exc: object) -> None:
        self.heal()
        unmount(self.place)
        subprocess.run(["umount", self._folder / "fuse/disk"], capture_output=True)
        subprocess.run(["umount", self._folder / "fuse"], capture_output=True)
        for process in reversed(self._processes):
            process.terminate()
            process.wait(20)


def _until(there: Callable[[], bool]) -> None:
    for _ in range(500):
        if there():
            return
        time.sleep(0.02)
    raise OSError("the disk does not come up")
