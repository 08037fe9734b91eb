"""The small files beside the segments: sidecars (what a sealed segment holds) and marks (how far an open one is sound).

Both are shortcuts: without them, or when they do not fit, the segment itself is read (docs/store-format.md).
"""

from __future__ import annotations

import contextlib
import logging
import os
import struct
from typing import NamedTuple

from dicore._native import store as native

log = logging.getLogger("dicore.store")

SIDECAR_MAGIC, MARK_MAGIC, VERSION = b"DICORIDX", b"DICORMRK", 1
_SIDECAR = struct.Struct("<8sIIQQQI16x")  # magic, version, entries, segment, nonce, end, CRC of the entries
_MARK = struct.Struct("<8sIIQQQ20x")  # magic, version, clean, segment, nonce, end
_HEADER = 64
ENTRY = struct.Struct("<16sQIIII")  # UID hash, received, unit, units, data CRC, flags


class Sidecar(NamedTuple):
    nonce: int
    end: int
    entries: bytes


class Mark(NamedTuple):
    nonce: int
    end: int
    clean: bool


def segment_name(segment: int) -> str:
    return f"{segment:010d}.seg"


def segments(folder: int) -> list[int]:
    """The numbers of all segments in the folder, ascending."""
    found = []
    for name in os.listdir(folder):
        stem, dot, kind = name.partition(".")
        if dot and kind == "seg" and stem.isascii() and stem.isdigit() and segment_name(int(stem)) == name:
            found.append(int(stem))
    return sorted(found)


def sync_folder(path: str | os.PathLike[str]) -> None:
    """Make the names in a folder durable. OSError."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _with_crc(header: bytes) -> bytes:
    return header + native.crc32c(header).to_bytes(4, "little")


def _read(folder: int, name: str) -> bytes | None:
    try:
        file = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return None
    try:
        with open(file, "rb") as stream:
            data = stream.read()
    except OSError as error:  # it says nothing that the segment does not
        log.warning("%s: %s", name, error)
        return None
    sound = (
        len(data) >= _HEADER and native.crc32c(data[: _HEADER - 4]).to_bytes(4, "little") == data[_HEADER - 4 : _HEADER]
    )
    return data if sound else None


def write_sidecar(folder: int, segment: int, nonce: int, end: int, entries: bytes) -> None:
    """Write it whole or not at all: temporary file, fsync, rename, fsync of the folder."""
    header = _SIDECAR.pack(
        SIDECAR_MAGIC, VERSION, len(entries) // ENTRY.size, segment, nonce, end, native.crc32c(entries)
    )
    name, temporary = f"{segment:010d}.idx", f".{segment:010d}.idx.new"
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666, dir_fd=folder)
    try:
        with open(file, "wb") as stream:
            stream.write(_with_crc(header))
            stream.write(entries)
            stream.flush()
            os.fsync(stream.fileno())
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=folder)
        raise
    os.fsync(folder)


def read_sidecar(folder: int, segment: int) -> Sidecar | None:
    """The sidecar of a segment, or None when there is none that can be believed."""
    data = _read(folder, f"{segment:010d}.idx")
    if data is None:
        return None
    magic, version, count, number, nonce, end, crc = _SIDECAR.unpack_from(data)
    entries = data[_HEADER:]
    if (magic, version, number) != (SIDECAR_MAGIC, VERSION, segment) or len(entries) != count * ENTRY.size:
        return None
    return Sidecar(nonce, end, entries) if native.crc32c(entries) == crc else None


def write_mark(folder: int, segment: int, nonce: int, end: int, *, clean: bool) -> None:
    """Write down that all below `end` is sound, and with `clean` that nothing stands behind it. Durable only when
    clean: a mark that is lost or torn costs a longer scan."""
    header = _MARK.pack(MARK_MAGIC, VERSION, clean, segment, nonce, end)
    file = os.open(f"{segment:010d}.mark", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666, dir_fd=folder)
    try:
        os.pwrite(file, _with_crc(header), 0)
        if clean:
            os.fdatasync(file)
    finally:
        os.close(file)


def read_mark(folder: int, segment: int) -> Mark | None:
    data = _read(folder, f"{segment:010d}.mark")
    if data is None:
        return None
    magic, version, clean, number, nonce, end = _MARK.unpack_from(data)
    return Mark(nonce, end, bool(clean)) if (magic, version, number) == (MARK_MAGIC, VERSION, segment) else None


def exists(folder: int, segment: int) -> bool:
    try:
        os.stat(segment_name(segment), dir_fd=folder)
    except FileNotFoundError:
        return False
    return True


def remove(folder: int, segment: int, *kinds: str) -> int:
    """Unlink `<segment>.<kind>` for each kind that is there; how many were."""
    removed = 0
    for kind in kinds:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{segment:010d}.{kind}", dir_fd=folder)
            removed += 1
    return removed


def write_new(folder: int, name: str, data: memoryview | bytes) -> None:
    """Write a file whole or not at all, replacing another of that name; `name` has no slash."""
    temporary = f".{name}.new"
    file = os.open(
        temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666, dir_fd=folder
    )
    try:
        with open(file, "wb") as stream:
            stream.write(data)
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=folder)
        raise
