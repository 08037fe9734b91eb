"""`scan`: a few elements of very many files, as a table.

table = dicore.scan("archive/", tags=["PatientID", "StudyDate", "Rows"], where="Modality == 'CT'") table["PatientID"],
len(table), table.errors, table.to_polars()

Only the head of each file is read, in C and without the GIL, by io_uring where the kernel allows it. A file that
cannot be read is an entry in `errors`, never an exception.
"""

from __future__ import annotations

import errno
import os
import sys
import types
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from dicore._native import scan as native
from dicore.scan.columns import DEFAULT_TAGS, Field, TagLike, make_request
from dicore.scan.sources import Archive, Records, Source, Unit, Unreadable, members, records, survey
from dicore.scan.table import RecordBatch, ScanError, Table, Writer, unreadable
from dicore.scan.where import Where

__all__ = [
    "DEFAULT_TAGS",
    "Field",
    "RecordBatch",
    "Scan",
    "ScanError",
    "Source",
    "Table",
    "Writer",
    "scan",
    "scan_batches",
]

Progress = Callable[[int, int], object]

_CHUNK = 512  # files of a batch
_AHEAD = 256  # batches whose paths are known before they are scanned
_IS_A_FOLDER = (4, errno.EISDIR)


class Scan:
    """A scan that has not begun: iterate over it for its batches, in the order of the files, while it goes on.

    The arguments are those of `scan`. `columns` and `schema` are known beforehand; `done` and `total` say how far it
    is, `total` being 0 as long as it is not known.
    """

    def __init__(
        self,
        source: Any,
        tags: Sequence[TagLike] = (),
        *,
        where: str | None = None,
        threads: int | None = None,
        progress: Progress | None = None,
        recursive: bool = True,
        archives: bool = True,
        dictionary: bool = True,
        io: str = "auto",
        limit: int = 0,
    ) -> None:
        if isinstance(tags, str):
            tags = tuple(name.strip() for name in tags.split(",") if name.strip())
        condition = Where(where) if where else None
        self._request, self._columns = make_request(
            tuple(tags) or DEFAULT_TAGS, condition.names if condition else (), dictionary=dictionary, io=io, limit=limit
        )
        self._where = condition
        self._keep = condition.bind(self._columns) if condition else None
        self._source, self._recursive, self._archives, self._progress = source, recursive, archives, progress
        if threads is not None and threads < 1:
            raise ValueError("threads must be at least 1")
        self.threads = threads or min(8, _cpus())
        if native.IO[io] == native.IO["uring"]:
            native.Worker(self._request)  # say at once that the kernel does not allow it
        self._idle: list[native.Worker] = []
        self._process = os.getpid()
        self.done = self.total = 0

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        return self.new_table().columns

    @property
    def schema(self) -> tuple[Field, ...]:
        """Names and types of the columns."""
        return self.new_table().schema

    def new_table(self) -> Table:
        """An empty table for batches of this scan."""
        return Table(self._request, self._columns)

    def table(self) -> Table:
        """Run it and keep everything."""
        return Table(self._request, self._columns, self)

    def writer(self, path: str | os.PathLike[str]) -> Writer:
        """A file for the batches of this scan."""
        return Writer(path, self._request, self._columns)

    def __iter__(self) -> Iterator[RecordBatch]:
        return self.batches()

    def batches(self) -> Generator[RecordBatch, None, None]:
        """The batches; `close()` stops the scan."""
        self.done = self.total = 0
        folders: list[str] = []
        yield from self._run(self._source, folders)
        while folders:  # were named like files
            yield from self._run(folders.pop(0), folders)
        self.total = self.done

    # ---- work

    @contextmanager
    def _worker(self) -> Iterator[native.Worker]:
        if self._process != os.getpid():  # after a fork: a ring belongs to the process that made it
            self._idle, self._process = [], os.getpid()
        try:
            worker = self._idle.pop()
        except IndexError:
            worker = native.Worker(self._request)
        yield worker
        self._idle.append(worker)

    def _filtered(self, batch: native.Batch) -> native.Batch:
        if self._keep is None or self._where is None:
            return batch
        names = [column.name for column in self._columns]
        at = [names.index(name.partition(":")[0]) for name in self._where.names]
        keep = self._keep([batch.column(i) for i in at], len(batch))
        return batch if all(keep) else batch.filter(keep)

    def _files(self, paths: list[str]) -> list[native.Batch]:
        with self._worker() as worker:
            return [self._filtered(batch) for batch in worker.run(paths)]

    def _given(self, batch: native.Batch, folders: list[str]) -> RecordBatch:
        out = RecordBatch(self._request, self._columns, batch)
        if any(problem[1:3] == _IS_A_FOLDER for problem in batch.problems):
            found = [problem[0] for problem in batch.problems if problem[1:3] == _IS_A_FOLDER]
            folders += found
            out.errors = [error for error in out.errors if error.path not in found]
            out.scanned -= len(found)
        self._tell(out.scanned)
        return out

    def _tell(self, scanned: int) -> None:
        self.done += scanned
        if self._progress is not None:
            self._progress(self.done, self.total)

    def _apart(self, unit: Archive | Records | Unreadable) -> Iterator[RecordBatch]:
        """What is no list of files: scanned here, in its turn."""
        if isinstance(unit, Unreadable):
            yield RecordBatch(self._request, self._columns, None, [unreadable(*unit)])
            return
        with self._worker() as worker:
            found = members(unit, worker) if isinstance(unit, Archive) else records(unit.source, worker)
            for batch in found:
                if isinstance(batch, Unreadable):
                    yield RecordBatch(self._request, self._columns, None, [unreadable(*batch)])
                    self._tell(1)
                else:
                    yield self._given(self._filtered(batch), [])

    def _units(self, source: Any) -> tuple[Iterator[Unit], int]:
        chunk, known = _CHUNK, 0
        if isinstance(source, list | tuple):
            known = len(source)
            chunk = min(_CHUNK, max(64, -(-known // self.threads)))
        return survey(source, chunk=chunk, recursive=self._recursive, archives=self._archives), known

    def _run(self, source: Any, folders: list[str]) -> Iterator[RecordBatch]:
        units, known = self._units(source)
        self.total = self.done + known if known else 0
        if self.threads == 1 and self._progress is None:
            for unit in units:
                if isinstance(unit, list):
                    for batch in self._files(unit):
                        yield self._given(batch, folders)
                else:
                    yield from self._apart(unit)
            return
        waiting: deque[Future[list[native.Batch]] | Archive | Records | Unreadable] = deque()
        pool = ThreadPoolExecutor(self.threads, thread_name_prefix="dicore-scan")
        found, before = 0, self.done
        try:
            for unit in units:
                if isinstance(unit, list):
                    found += len(unit)
                    waiting.append(pool.submit(self._files, unit))
                else:
                    waiting.append(unit)
                while waiting and (len(waiting) > _AHEAD or (isinstance(waiting[0], Future) and waiting[0].done())):
                    yield from self._next(waiting, folders)
            if not known:
                self.total = before + found
            while waiting:
                yield from self._next(waiting, folders)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _next(self, waiting: deque[Any], folders: list[str]) -> Iterator[RecordBatch]:
        unit = waiting.popleft()
        if isinstance(unit, Future):
            for batch in unit.result():
                yield self._given(batch, folders)
        else:
            yield from self._apart(unit)


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def scan(source: Any, tags: Sequence[TagLike] = (), **options: Any) -> Table:
    """Read a few elements of many DICOM files into a table.

    `source` is a folder, a path, a list of these, a `dicore.Store`, or anything with `scan_source()`. Members of .zip
    and .tar files are scanned too; their paths are 'archive.zip/member'.

    `tags` are the columns: keywords, tags (0x00100020, (0x10, 0x20), '0010,0020') and paths of nested elements
    ('ReferencedStudySequence[0].ReferencedSOPInstanceUID'), ':VR' behind a private tag gives its VR ('0019,1001:DS').
    Empty: `DEFAULT_TAGS`. In front of them always stands 'path'.

    Types come from the data dictionary, so that any two scans for the same tags have the same schema: IS int64, DS
    float64, DA date32, TM time64[us], US SS UL SL UV SV FL FD their numbers, O* binary, all others utf8 (UI, CS and
    LO of one value as dictionary<utf8>, unless `dictionary=False`); what may have several values is a list. An empty
    or absent element is null; a value that is not of its type is null too, and an entry in `Table.invalid`.

    A file is read up to the last wanted tag, so an element that stands out of order behind a larger one is not seen.

    `where` is a condition on rows ("Modality == 'CT' and StudyDate >= '20240101' and PatientName ~ 'DOE*'", see
    `dicore.scan.where.Where`), also on elements that are no columns. `threads` are worker threads, by default one for
    each CPU, 8 at most. `progress(done, total)` is called after each batch, with total 0 as long as it is not known.
    `recursive` goes into folders of folders, `archives` into archives. `io` is "auto", "pread" or "uring" (OSError
    when the kernel does not allow it). `limit` is how many bytes of one file are read at most (0: 64 MiB).

    Raises ValueError for tags and conditions that cannot be, TypeError for another source; nothing because of a file.
    """
    return Scan(source, tags, **options).table()


def scan_batches(source: Any, tags: Sequence[TagLike] = (), **options: Any) -> Iterator[RecordBatch]:
    """As `scan`, but give the batches while the scan goes on, and keep none."""
    return iter(Scan(source, tags, **options))


class _Callable(types.ModuleType):
    """`dicore.scan` is this package, and `dicore.scan(...)` its function, whichever of the two was imported first."""

    def __call__(self, source: Any, tags: Sequence[TagLike] = (), **options: Any) -> Table:
        return scan(source, tags, **options)


_Callable.__call__.__doc__ = scan.__doc__
sys.modules[__name__].__class__ = _Callable
