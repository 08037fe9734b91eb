"""A copy of a store that is in use. What is durable at one moment is copied; a sealed segment only once."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dicore._native import store as native
from dicore.errors import StoreError
from dicore.store import files
from dicore.store.compaction import alone

if TYPE_CHECKING:
    from dicore.store.store import Store

CHUNK = 8 << 20


def backup(store: Store, folder: Path, progress: Callable[[int, int], object] | None) -> int:
    """As `Store.backup`."""
    segments = folder / "segments"
    if not segments.is_dir() and folder.is_dir() and any(folder.iterdir()):
        raise StoreError(f"{folder} is neither empty nor a store: give a folder of its own")
    if segments.resolve() == (store.path / "segments").resolve():
        raise StoreError("a store cannot be backed up onto itself")
    segments.mkdir(parents=True, exist_ok=True)
    target = os.open(segments, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with alone(store):  # no segment is compacted away meanwhile
            store.refresh()
            wanted = {n: end for n, end in store._readable().items() if end > native.SEGMENT_HEADER}
            had = {n: _known(target, n) for n in files.segments(target)}
            total, copied = sum(wanted.values()), 0
            for number, end in sorted(wanted.items()):
                copied += _copy(store, target, number, end, had.get(number))
                if progress is not None:
                    progress(copied, total)
        os.fsync(target)
        for number in set(had) - set(wanted):  # compacted away; only when all else is there
            files.remove(target, number, "idx", "mark", "seg")
        os.fsync(target)
    finally:
        os.close(target)
    return copied


def _known(target: int, number: int) -> tuple[int, int] | None:
    """(nonce, end) of a segment in the copy, as far as it is known to be complete."""
    for read in (files.read_sidecar, files.read_mark):
        found = read(target, number)
        if found is not None:
            return found.nonce, found.end
    return None


def _copy(store: Store, target: int, number: int, end: int, had: tuple[int, int] | None) -> int:
    segment = native.Segment(store._folder, number)
    name = files.segment_name(number)
    try:
        size = segment.size
        end = min(end, size)
        start = had[1] if had is not None and had[0] == segment.nonce else 0
        if start < end:
            if not start:
                files.remove(target, number, "idx", "mark")
            out = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666, dir_fd=target)
            try:
                os.ftruncate(out, size)
                at = start
                while at < end:
                    piece = os.pread(segment.fileno(), min(CHUNK, end - at), at)
                    if not piece:
                        raise StoreError(f"{name} ends at byte {at}: it was cut; see verify")
                    at += os.pwrite(out, piece, at)
                os.fsync(out)
            finally:
                os.close(out)
            files.write_mark(target, number, segment.nonce, end, clean=True)
        sidecar = files.read_sidecar(store._folder, number)
        if sidecar is not None and sidecar.nonce == segment.nonce and files.read_sidecar(target, number) is None:
            files.write_sidecar(target, number, sidecar.nonce, sidecar.end, sidecar.entries)
            with contextlib.suppress(FileNotFoundError):
                files.remove(target, number, "mark")
        return max(0, end - start)
    finally:
        segment.close()
