"""What a scan gives: batches of rows in columns, and the table of all of them."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, NamedTuple, Self

from dicore._native import scan as native
from dicore._native.status import status_text
from dicore.scan.columns import Column, Field

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

__all__ = ["RecordBatch", "ScanError", "Table", "Writer", "cell", "row_json", "unreadable"]

_STATUS = {
    2: "bad-value", 3: "limit", 4: "io", 100: "truncated", 101: "bad-vr", 102: "bad-length", 103: "bad-tag",
    104: "too-deep", 105: "not-dicom", 106: "bad-meta", 107: "bad-charset", 109: "bad-deflate",
}  # fmt: skip
_NO_VALUE = "not a value of the column's type"
_VALUE_TEXT = {2: _NO_VALUE, 102: _NO_VALUE, 3: "does not fit the column"}
_VALUE_TEXT |= {101: "its VR does not fit the column's type", 107: "its character set is not known"}


class ScanError(NamedTuple):
    """A file that gave no row, or (in `Table.invalid`, with `column`) a value that became null.

    `status` is a short name: 'not-dicom', 'io', 'truncated', 'bad-meta', 'bad-deflate', 'too-deep', 'limit',
    'archive', or of a value 'bad-value', 'bad-length', 'bad-vr', 'bad-charset', 'limit'. `offset` is the byte in the
    file.
    """

    path: str
    status: str
    offset: int
    message: str
    tag: int = 0
    column: str | None = None


def _problem(columns: Sequence[Column], problem: native.Problem) -> ScanError:
    path, status, system, offset, tag, column = problem
    name = _STATUS.get(status, status_text(status).replace(" ", "-"))
    if column >= 0:
        message = _VALUE_TEXT.get(status, status_text(status))
        return ScanError(os.fsdecode(path), name, offset, message, tag, columns[column].name)
    return ScanError(os.fsdecode(path), name, offset, os.strerror(system) if status == 4 else status_text(status), tag)


def unreadable(path: str, error: Exception) -> ScanError:
    """A folder or an archive that could not be gone through."""
    if isinstance(error, OSError) and error.errno:
        return ScanError(path, "io", 0, os.strerror(error.errno))
    return ScanError(path, "archive", 0, f"{type(error).__name__}: {error}")


class _Columns:
    """Names and types of columns, shared by batches and tables."""

    _request: native.Request
    _all: tuple[Column, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The names: 'path', then what was asked for."""
        return tuple(column.name for column in self._all[: self._request.visible])

    @property
    def schema(self) -> tuple[Field, ...]:
        """Names and types. They depend on what was asked for, never on the files."""
        return tuple(column.field for column in self._all[: self._request.visible])

    def _index(self, name: str) -> int:
        try:
            return self.columns.index(name)
        except ValueError:
            raise KeyError(f"no column {name!r}; there are {', '.join(self.columns)}") from None

    def __arrow_c_schema__(self) -> object:
        """The schema as an Arrow PyCapsule."""
        return self._request.arrow_schema()


class RecordBatch(_Columns):
    """Some rows of a scan. `errors` are the files among those read that gave no row, `invalid` the values that became
    null (the first thousand of `invalid_count`), `scanned` how many files were read.

    Any library that knows the Arrow PyCapsule interface takes it without a copy: `pyarrow.record_batch(batch)`.
    """

    def __init__(
        self,
        request: native.Request,
        columns: tuple[Column, ...],
        batch: native.Batch | None,
        errors: Iterable[ScanError] = (),
    ) -> None:
        self._request, self._all, self._batch = request, columns, batch
        self.errors: list[ScanError] = list(errors)
        self.invalid: list[ScanError] = []
        self.invalid_count = 0 if batch is None else batch.invalid
        self.scanned = 0 if batch is None else batch.scanned
        for problem in () if batch is None else batch.problems:
            (self.invalid if problem[5] >= 0 else self.errors).append(_problem(columns, problem))

    def __len__(self) -> int:
        return 0 if self._batch is None else len(self._batch)

    def __getitem__(self, name: str) -> list[Any]:
        """The values of a column as Python objects, None where there is none."""
        number = self._index(name)
        return [] if self._batch is None else self._batch.column(number)

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows as dictionaries by column name."""
        if self._batch is None:
            return
        names = self.columns
        for row in zip(*(self._batch.column(i) for i in range(len(names))), strict=True):
            yield dict(zip(names, row, strict=True))

    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]:
        """The columns as Arrow PyCapsules (schema, array), without a copy. `requested_schema` is not heeded."""
        if self._batch is None:
            raise ValueError("this batch has no rows, only errors")
        return self._request.arrow_schema(), self._batch.arrow_array()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._request.arrow_stream([] if self._batch is None else [self._batch])

    def __repr__(self) -> str:
        return f"<RecordBatch: {len(self)} rows, {len(self.errors)} errors>"


class Table(_Columns):
    """The rows of a scan in columns: `table["PatientID"]` are values, `len(table)` rows, `table.schema` types.

    `errors` has an entry for each file that gave no row; `invalid` for values that could not be read as their
    column's type and are null (a thousand a batch are kept, `invalid_count` has them all).

    It leaves as an Arrow stream without a copy: `to_arrow()`, `to_pandas()`, `to_polars()`, or by itself into
    whatever has `__arrow_c_stream__`: `polars.DataFrame(table)`, `pyarrow.table(table)`, `duckdb.sql("from table")`.
    """

    def __init__(
        self, request: native.Request, columns: tuple[Column, ...], batches: Iterable[RecordBatch] = ()
    ) -> None:
        self._request, self._all = request, columns
        self.batches: list[RecordBatch] = []
        self.errors: list[ScanError] = []
        self.invalid: list[ScanError] = []
        self.invalid_count = 0
        for batch in batches:
            self.append(batch)

    def append(self, batch: RecordBatch) -> None:
        """Add a batch of the same scan."""
        self.errors += batch.errors
        self.invalid += batch.invalid
        self.invalid_count += batch.invalid_count
        if len(batch):
            self.batches.append(batch)

    def __len__(self) -> int:
        return sum(map(len, self.batches))

    def __getitem__(self, name: str) -> list[Any]:
        """The values of a column as Python objects, None where there is none. KeyError for a name that is no column."""
        self._index(name)
        return [value for batch in self.batches for value in batch[name]]

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows as dictionaries by column name."""
        for batch in self.batches:
            yield from batch.rows()

    __iter__ = rows

    @property
    def nbytes(self) -> int:
        """Bytes that the columns hold."""
        return sum(batch._batch.nbytes for batch in self.batches if batch._batch is not None)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """The batches as an Arrow PyCapsule, without a copy; it may be asked for any number of times and keeps the
        columns alive. `requested_schema` is not heeded, as the interface allows."""
        return self._request.arrow_stream([batch._batch for batch in self.batches if batch._batch is not None])

    def to_arrow(self) -> pyarrow.Table:
        """A `pyarrow.Table` on the same memory. ImportError that says what to install."""
        return _needs("pyarrow", "to_arrow()").table(self)

    def to_pandas(self, **options: Any) -> pandas.DataFrame:
        """A `pandas.DataFrame`, by pyarrow; `options` are those of `pyarrow.Table.to_pandas`. Dictionaries become
        categories."""
        _needs("pandas", "to_pandas()")
        return _needs("pyarrow", "to_pandas()").table(self).to_pandas(**options)

    def to_polars(self) -> polars.DataFrame:
        """A `polars.DataFrame`."""
        return _needs("polars", "to_polars()").DataFrame(self)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write all rows to a file: .parquet and .arrow (by pyarrow), .csv or .jsonl."""
        with Writer(path, self._request, self._all) as writer:
            for batch in self.batches:
                writer.write(batch)

    def __repr__(self) -> str:
        return f"<Table: {len(self)} rows, {len(self.columns)} columns, {len(self.errors)} errors>"


def _needs(name: str, method: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = "dicore[parquet]" if name == "pyarrow" else name
        raise ImportError(f"{method} needs {name}: pip install {package}") from error


# ---- files -----------------------------------------------------------------------------------------------------------

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def cell(value: Any, *, formulas: bool = False) -> str:
    """A value as CSV has it: lists with backslashes between, as DICOM writes them. What a spreadsheet would take for
    a formula gets an apostrophe in front (OWASP, CSV injection) unless `formulas`; numbers do not need it."""
    if value is None:
        return ""
    if isinstance(value, list):
        value = "\\".join("" if one is None else str(one) for one in value)
    elif isinstance(value, int | float):
        return str(value)
    elif isinstance(value, bytes):
        return value.hex()
    text = str(value)
    if not formulas and text.startswith(_FORMULA) and not _is_numbers(text):
        return f"'{text}"
    return text


def _is_numbers(text: str) -> bool:
    try:
        return all(float(part) is not None for part in text.split("\\"))
    except ValueError:
        return False


def _json(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else str(value)


def row_json(row: dict[str, Any]) -> str:
    """A row as one line of JSON; NaN, which JSON has not, as null."""
    try:
        return json.dumps(row, default=_json, allow_nan=False)
    except ValueError:
        plain = {name: _finite(value) for name, value in row.items()}
        return json.dumps(plain, default=_json, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and value - value != 0 else value


class Writer:
    """Writes batches to a file as they come; the file is there, whole, when it is closed. The suffix says which kind:
    .parquet, .arrow (or .feather: Arrow's file format), .csv, .jsonl. ValueError for another, ImportError when
    pyarrow is needed."""

    def __init__(self, path: str | os.PathLike[str], request: native.Request, columns: tuple[Column, ...]) -> None:
        self.path = os.fspath(path)
        self._new = f"{self.path}.part"
        self._table = Table(request, columns)
        self._sink: Any = None
        self._text: IO[str] | None = None
        self._arrow: Any = None
        kind = os.path.splitext(self.path)[1].lower()
        if kind in (".parquet", ".arrow", ".feather"):
            self._arrow = _needs("pyarrow", f"a {kind} file")
            self._schema = _plain(self._arrow, self._arrow.schema(self._table))
            if kind == ".parquet":
                import pyarrow.parquet as parquet

                self._sink = parquet.ParquetWriter(self._new, self._schema)
            else:
                self._sink = self._arrow.ipc.new_file(self._new, self._schema)
        elif kind in (".csv", ".jsonl", ".ndjson"):
            self._text = open(self._new, "w", encoding="utf-8", newline="")  # noqa: SIM115 (closed by close)
            if kind == ".csv":
                self._sink = csv.writer(self._text, lineterminator="\n")
                self._sink.writerow(self._table.columns)
        else:
            raise ValueError(f"{self.path}: a suffix .parquet, .arrow, .csv or .jsonl says which kind of file to write")

    def write(self, batch: RecordBatch) -> None:
        """Append the rows of a batch."""
        if not len(batch):
            return
        if self._arrow is not None:
            rows = self._arrow.table(batch)
            self._sink.write_table(rows.cast(self._schema))
        elif self._sink is not None:
            values = [batch[name] for name in batch.columns]
            self._sink.writerows([cell(value) for value in row] for row in zip(*values, strict=True))
        elif self._text is not None:
            self._text.writelines(f"{row_json(row)}\n" for row in batch.rows())

    def close(self) -> None:
        """Finish the file and give it its name."""
        if self._arrow is not None:
            self._sink.close()
        if self._text is not None:
            self._text.close()
        os.replace(self._new, self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _plain(arrow: Any, schema: Any) -> Any:
    """Without dictionaries, which each batch has of its own: a file has room for one."""
    is_dictionary = arrow.types.is_dictionary
    fields = [f.with_type(f.type.value_type) if is_dictionary(f.type) else f for f in schema]
    return arrow.schema(fields)
