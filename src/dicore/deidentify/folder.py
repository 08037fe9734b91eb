"""De-identifying files and folders: many at once, whole files or none, and again from where it was interrupted."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dicore.dataset import read
from dicore.deidentify import Report, deidentify_bytes
from dicore.deidentify.profile import policy
from dicore.errors import DicomFormatError, DicoreError

__all__ = ["FolderReport", "deidentify_files"]

_WAITING = 4  # files per thread that are being read, treated or written: bounds the memory


@dataclass
class FolderReport:
    """What became of the files. `done` counts what was written, `present` what was there already, byte for byte;
    `skipped` files found in folders that hold no instance (not DICOM, or a DICOMDIR); `failures`: (path, reason)."""

    done: int = 0
    present: int = 0
    skipped: int = 0
    bytes: int = 0
    failures: list[tuple[Path, str]] = field(default_factory=list)
    report: Report = field(default_factory=Report)

    def as_dict(self) -> dict[str, Any]:
        """As JSON. The paths of failures are the caller's own and may name patients; nothing else in it does."""
        return {
            "done": self.done,
            "present": self.present,
            "skipped": self.skipped,
            "bytes": self.bytes,
            "failures": [{"path": str(path), "reason": reason} for path, reason in self.failures],
            **self.report.as_dict(),
        }


@dataclass(frozen=True)
class _Outcome:
    kind: str  # "done", "present", "skipped", "failed"
    reason: str = ""
    size: int = 0
    report: Report | None = None


def deidentify_files(
    paths: Iterable[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    profile: str = "basic",
    options: Sequence[str] = (),
    key: bytes,
    mapping: Mapping[str, str | tuple[str, str]] | None = None,
    threads: int = 1,
    progress: Callable[[int, int], None] | None = None,
    into: FolderReport | None = None,
) -> FolderReport:
    """De-identify files, and folders taken whole, into the folder `out`: each as <new SOP Instance UID>.dcm.

    A file is written beside its name and then renamed, so that one that is there is whole; with the same key, a
    second call goes on where the first ended. A file that cannot be treated is a row of `failures`, never an
    exception; so is a second one with the same UID and other bytes. `progress(done, total)` is called from this
    thread, `total` 0 while folders are still being listed. `into` is filled while it goes, and returned.

    Raises ValueError as `deidentify` does, OSError when `out` cannot be made or is full.
    """
    policy(profile, options, key)  # before anything is touched
    result = into if into is not None else FolderReport()
    target = Path(out)
    target.mkdir(parents=True, exist_ok=True)
    how: dict[str, Any] = {"profile": profile, "options": tuple(options), "key": key, "mapping": mapping}
    pending: dict[Future[_Outcome], Path] = {}
    seen = finished = 0

    def collect(block: bool) -> None:
        nonlocal finished
        if not pending:
            return
        done, _ = wait(pending, return_when=FIRST_COMPLETED, timeout=None if block else 0)
        for future in done:
            path = pending.pop(future)
            _add(result, path, future.result())
            finished += 1
        if progress is not None and done:
            progress(finished, total)

    total = 0
    with ThreadPoolExecutor(max_workers=max(1, threads), thread_name_prefix="dicore-deidentify") as pool:
        try:
            for path, named in _files(paths, target):
                pending[pool.submit(_one, path, named, target, how)] = path
                seen += 1
                collect(block=len(pending) >= _WAITING * max(1, threads))
            total = seen
            while pending:
                collect(block=True)
        except BaseException:
            for future in pending:
                future.cancel()
            raise
    return result


def _add(result: FolderReport, path: Path, outcome: _Outcome) -> None:
    if outcome.kind == "failed":
        result.failures.append((path, outcome.reason))
    elif outcome.kind == "done":
        result.done += 1
        result.bytes += outcome.size
    elif outcome.kind == "present":
        result.present += 1
    else:
        result.skipped += 1
    if outcome.report is not None:
        result.report.update(outcome.report)


def _files(paths: Iterable[str | os.PathLike[str]], target: Path) -> Iterator[tuple[Path, bool]]:
    """(file, whether it was named itself), folders depth first in order of their names, without what is in `target`."""
    skip = target.resolve()
    for given in paths:
        path = Path(given)
        if not path.is_dir():
            yield path, True
            continue
        for folder, folders, names in os.walk(path):
            folders[:] = sorted(name for name in folders if (Path(folder) / name).resolve() != skip)
            if Path(folder).resolve() == skip:
                folders.clear()
                continue
            for name in sorted(names):
                yield Path(folder) / name, False


def _one(path: Path, named: bool, target: Path, how: dict[str, Any]) -> _Outcome:
    report = Report()
    try:
        new = deidentify_bytes(path.read_bytes(), report=report, path=path, **how)
        uid = read(new).file_meta.get("MediaStorageSOPInstanceUID")
    except DicomFormatError as error:
        if not named and _is_no_instance(path, error):
            return _Outcome("skipped")
        return _Outcome("failed", str(error))
    except (DicoreError, LookupError, ValueError, OSError) as error:
        return _Outcome("failed", str(error))
    try:
        kind = _write(target, f"{uid}.dcm", new)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        return _Outcome("failed", str(error))
    if kind == "other":
        return _Outcome("failed", "another file with the same SOP Instance UID, and other content, was written before")
    return _Outcome(kind, size=len(new), report=report)


def _is_no_instance(path: Path, error: DicomFormatError) -> bool:
    if "DICOMDIR" in str(error):
        return True
    try:
        read(path)
    except DicoreError:
        return True  # no DICOM at all
    return False


def _write(target: Path, name: str, data: bytes) -> str:
    """'done'; 'present' when the same bytes are there already, 'other' when others are. Never a part of a file."""
    if "/" in name or "\\" in name or "\0" in name:  # a UID that is kept (retain_uids) is text of the file
        raise OSError(errno.EINVAL, "the SOP Instance UID is no file name")
    path = target / name
    descriptor, part = _fresh(target)
    try:
        with os.fdopen(descriptor, "wb") as out:
            out.write(data)
        try:
            os.link(part, path)  # never over another one, unlike rename
        except FileExistsError:
            return "present" if path.stat().st_size == len(data) and path.read_bytes() == data else "other"
        except OSError:  # a file system without hard links
            if path.exists():
                return "present" if path.read_bytes() == data else "other"
            os.rename(part, path)
        return "done"
    finally:
        part.unlink(missing_ok=True)


def _fresh(target: Path) -> tuple[int, Path]:
    import tempfile

    descriptor, name = tempfile.mkstemp(dir=target, prefix=".part-")
    os.chmod(name, 0o666 & ~_umask())
    return descriptor, Path(name)


def _umask() -> int:
    try:
        text = Path("/proc/self/status").read_text()
        return int(next(line.split()[1] for line in text.splitlines() if line.startswith("Umask:")), 8)
    except (OSError, StopIteration, ValueError):
        return 0o077
