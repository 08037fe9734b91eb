"""`dicore scan`: an index of many files."""

from __future__ import annotations

import contextlib
import itertools
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dicore.cli.output import escape, progress, say, show, show_json, show_table

if TYPE_CHECKING:
    from dicore.scan import Table

_SHOWN = 20  # rows on a terminal without -o


def scan(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH", exists=True, help="Folders, files, .zip and .tar archives, stores.")
    ],
    tags: Annotated[
        str, typer.Option("--tags", "-t", help="Keywords, tags, paths, with commas between; else the usual ones.")
    ] = "",
    where: Annotated[
        str | None, typer.Option("--where", "-w", metavar="EXPR", help="Only rows for which this holds; see below.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="index.parquet, .arrow, .csv or .jsonl.")
    ] = None,
    threads: Annotated[int | None, typer.Option("--threads", "-j", min=1, help="Else one a CPU.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Do not name files that cannot be read.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The report, or without -o the rows, as JSON.")] = False,
) -> None:
    """Read a few elements of many files into one table.

    Files that are not DICOM, or damaged, are named on stderr and do not fail the command. Ctrl-C keeps the rows read
    so far. EXPR knows == != < <= > >=, in (...), ~ for * and ? in text, and, or, not: Modality == 'CT' and StudyDate
    >= '20240101'. Without -o the rows are printed: as a table, or with --json as lines of JSON.

    \b
    Examples:
    dicore scan archive/ --tags PatientID,StudyDate,Modality,Rows -o index.parquet
    dicore scan archive/ -t PatientID -w "Modality in ('CT', 'MR') and PatientName ~ 'DOE*'" -o ct.csv
    dicore scan archive/ -t "PatientID,ReferencedStudySequence[0].ReferencedSOPInstanceUID" --json
    """
    from dicore.scan import Scan

    with contextlib.ExitStack() as stack:
        sources = [_source(path, stack) for path in paths]
        update = stack.enter_context(progress("scanning", "files", rate=True))
        try:
            job = Scan(
                sources[0] if len(sources) == 1 else sources,
                tags,
                where=where,
                threads=threads,
                progress=update,
                dictionary=False,
            )
            target = stack.enter_context(job.writer(out)) if out is not None else None
        except (ValueError, ImportError) as error:
            raise typer.BadParameter(str(error)) from None
        table, rows, failed, invalid, interrupted = job.new_table(), 0, 0, 0, False
        with contextlib.closing(job.batches()) as batches:
            try:
                for batch in batches:
                    rows, failed, invalid = rows + len(batch), failed + len(batch.errors), invalid + batch.invalid_count
                    for bad in () if quiet else batch.errors:
                        say(f"dicore: {escape(bad.path)}: {escape(bad.message)}")
                    if target is not None:
                        target.write(batch)
                    else:
                        table.append(batch)
            except KeyboardInterrupt:
                interrupted = True
    if out is None:
        _show(table, as_json)
    elif as_json:
        report = {"path": str(out), "rows": rows, "files": job.done, "failed": failed, "invalid_values": invalid}
        show_json(report | {"complete": not interrupted})
    else:
        show(
            f"{rows} rows of {job.done} files in {escape(str(out))};"
            f" {failed} could not be read, {invalid} values were not valid"
        )
    if interrupted:
        say("interrupted: what was read is kept")
        raise typer.Exit(130)


def _source(path: Path, stack: contextlib.ExitStack) -> object:
    """The store that a folder is, or its path."""
    if not (path / "segments").is_dir():
        return str(path)
    from dicore.store import Store

    return stack.enter_context(Store(path, read_only=True))


def _show(table: Table, as_json: bool) -> None:
    """The rows: all of them as JSON or between tabs, some on a terminal."""
    from dicore.scan.table import cell, row_json

    if as_json:
        for row in table.rows():
            show(row_json(row))
        return

    shown = itertools.islice(table.rows(), _SHOWN if sys.stdout.isatty() else None)
    show_table(table.columns, ([cell(value, formulas=True) for value in row.values()] for row in shown))
    if sys.stdout.isatty() and len(table) > _SHOWN:
        show(f"... {len(table)} rows; -o FILE writes them all")
