"""Where files come from: paths, folders, archives, and whatever offers records of its own."""

from __future__ import annotations

import os
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

from dicore._native import scan as native

__all__ = ["Archive", "Records", "Source", "Unit", "Unreadable", "members", "records", "survey"]

PathLike = str | os.PathLike[str]

_ZIP = (".zip",)
_TAR = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_FIRST = 1 << 16  # bytes of an archive's member that are read first
_FILES, _BYTES = 512, 16 << 20  # of a batch from memory


@runtime_checkable
class Source(Protocol):
    """What a scan can read beside files: a `dicore.Store`, or anything that does this."""

    def scan_source(self) -> Iterator[tuple[str, Any]]:
        """(name, buffer with a whole DICOM file) of each instance. The buffer is used before the next one is asked
        for."""
        ...


class Archive(NamedTuple):
    """A tar or zip file, whose members are scanned."""

    path: str


class Records(NamedTuple):
    source: Source


class Unreadable(NamedTuple):
    """A folder that cannot be listed, or an archive that is damaged."""

    path: str
    error: Exception


Unit = list[str] | Archive | Records | Unreadable


def survey(source: Any, *, chunk: int, recursive: bool, archives: bool) -> Iterator[Unit]:
    """What is to be scanned, in a stable order: lists of at most `chunk` paths, and between them what is not a file. A
    folder's files come in the order of their names, then its folders. Links to folders are not followed."""
    if isinstance(source, list):
        for start in range(0, len(source), chunk):
            part = source[start : start + chunk]
            if native.plain_files(part, 0, len(part)):
                yield part
            else:
                yield from _survey(part, chunk, recursive, archives)
    else:
        yield from _survey(source, chunk, recursive, archives)


def _survey(source: Any, chunk: int, recursive: bool, archives: bool) -> Iterator[Unit]:
    paths: list[str] = []
    for item in _items(source, recursive):
        if isinstance(item, str):
            if archives and item.lower().endswith(_ZIP + _TAR):
                item = Archive(item)
            else:
                paths.append(item)
                if len(paths) == chunk:
                    yield paths
                    paths = []
                continue
        if paths:
            yield paths
            paths = []
        yield item
    if paths:
        yield paths


def _items(source: Any, recursive: bool) -> Iterator[str | Archive | Records | Unreadable]:
    if isinstance(source, str | os.PathLike):
        path = os.fspath(source)
        if not isinstance(path, str):
            path = os.fsdecode(path)
        if os.path.isdir(path):
            yield from _folder(path, recursive)
        else:
            yield path
    elif isinstance(source, Source):
        yield Records(source)
    elif isinstance(source, bytes) or not isinstance(source, Iterable):
        raise TypeError(f"paths, a folder or a store are needed, not {type(source).__name__}")
    else:
        listed = source if isinstance(source, list | tuple) else iter(source)
        for item in listed:
            if isinstance(item, str) and "." in os.path.basename(item)[1:]:
                yield item  # a folder has seldom a suffix: the scan looks again at what it cannot read
            else:
                yield from _items(item, recursive)


def _folder(path: str, recursive: bool) -> Iterator[str | Unreadable]:
    waiting = [path]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
            folders = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
            files = [entry.path for entry in entries if not entry.is_dir(follow_symlinks=False) and entry.is_file()]
        except OSError as error:
            yield Unreadable(folder, error)
            continue
        yield from files
        if recursive:
            waiting += reversed(folders)


def members(archive: Archive, worker: native.Worker) -> Iterator[native.Batch | Unreadable]:
    """Scan what is in an archive; a member's path is 'archive.zip/member'. Read as far as needed, never as a whole."""
    try:
        if archive.path.lower().endswith(_ZIP):
            yield from _zip_members(archive.path, worker)
        else:
            yield from _tar_members(archive.path, worker)
    except Exception as error:  # tarfile, zipfile, zlib, lzma and bz2 have each their own
        yield Unreadable(archive.path, error)
    batch = worker.take()
    if batch is not None:
        yield batch


def _zip_members(path: str, worker: native.Worker) -> Iterator[native.Batch | Unreadable]:
    with zipfile.ZipFile(path) as opened:
        for info in opened.infolist():
            if info.is_dir():
                continue
            try:
                with opened.open(info) as stream:
                    _add(worker, f"{path}/{info.filename}", stream)
            except Exception as error:  # this member only: encrypted, or damaged
                yield Unreadable(f"{path}/{info.filename}", error)
            yield from _full(worker)


def _tar_members(path: str, worker: native.Worker) -> Iterator[native.Batch]:
    mode = "r:" if path.lower().endswith(".tar") else "r|*"
    with tarfile.open(path, mode) as opened:  # type: ignore[call-overload]
        for info in opened:
            opened.members = []  # else every member seen is kept
            if info.isreg():
                stream = opened.extractfile(info)
                if stream is not None:
                    _add(worker, f"{path}/{info.name}", stream)
                    yield from _full(worker)


def _add(worker: native.Worker, name: str, stream: Any) -> None:
    data = bytearray(stream.read(_FIRST))
    whole = len(data) < _FIRST
    while need := worker.add(name, data, whole):
        more = max(need, 2 * len(data)) - len(data)
        piece = stream.read(more)
        data += piece
        whole = len(piece) < more


def _full(worker: native.Worker) -> Iterator[native.Batch]:
    files, size = worker.pending
    if files >= _FILES or size >= _BYTES:
        batch = worker.take()
        if batch is not None:
            yield batch


def records(source: Source, worker: native.Worker) -> Iterator[native.Batch]:
    """Scan what a store offers."""
    for name, data in source.scan_source():
        worker.add(name, data, True)
        yield from _full(worker)
    batch = worker.take()
    if batch is not None:
        yield batch
