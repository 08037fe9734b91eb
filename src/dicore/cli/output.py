"""What every verb prints with: data on stdout, talk on stderr, and nothing of a peer's or a file's text taken for a
terminal command or for Rich markup."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

__all__ = [
    "SETTINGS",
    "Progress",
    "escape",
    "human_bytes",
    "log_to_stderr",
    "progress",
    "say",
    "show",
    "show_json",
    "show_table",
]

Progress = Callable[[int, int], None]
"""`progress(done, total)`: called as often as the work likes."""

SETTINGS: dict[str, Any] = {  # of every Typer here
    "add_completion": False,
    "rich_markup_mode": "rich",
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}

_LINE_EVERY = 5.0  # seconds between progress lines where there is no terminal


def escape(text: str) -> str:
    r"""`text` on one line without anything a terminal would obey: an escape character becomes `\x1b`, a bidi override
    `\u202e`. Printable text of any script is unchanged."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escaped(ord(char)) for char in text)


def _escaped(code: int) -> str:
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def show(text: str) -> None:
    """A line of data on stdout. The caller has escaped what is not its own."""
    sys.stdout.write(text + "\n")


def say(text: str) -> None:
    """A line of talk on stderr. The caller has escaped what is not its own."""
    sys.stdout.flush()  # so that the two stay in order on one terminal
    print(text, file=sys.stderr, flush=True)


def show_json(value: Any) -> None:
    """`value` as one line of JSON on stdout; in ASCII, so it is safe on a terminal too."""
    show(json.dumps(value, default=str))


def show_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[int] = (), drawn: bool = False
) -> None:
    """A table on stdout: drawn on a terminal or when `drawn`, else tab-separated with a header line.

    Columns in `right` are numbers.
    """
    cells = ([escape(str(cell)) for cell in row] for row in rows)
    if not (drawn or sys.stdout.isatty()):
        for row in [list(columns), *cells]:
            show("\t".join(row))
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index in right else "left", overflow="fold")
    for row in cells:
        table.add_row(*(Text(cell) for cell in row))
    console = Console(highlight=False)
    if not console.is_terminal and not os.environ.get("COLUMNS"):
        console.width = 120  # nobody's screen is 80 columns wide any more, and a file has no width
    console.print(table)


def log_to_stderr(level: str, *, json: bool = False) -> None:
    """Let `dicore.*` log to stderr from `level` on: a record a line, with nothing in it that a terminal would obey; as
    `json` with the fields of associations."""
    import logging

    class OneLine(logging.Formatter):
        def formatMessage(self, record: logging.LogRecord) -> str:
            return escape(super().formatMessage(record))

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    if json:
        from dicore.net.record import JsonLines

        handler.setFormatter(JsonLines())
    root = logging.getLogger("dicore")
    root.handlers = [handler]
    root.setLevel(level)
    root.propagate = False


def human_bytes(size: float) -> str:
    """`size` bytes in the decimal unit a person would use: '131 kB', '1.05 GB'."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}" if unit != "B" else f"{size:.0f} B"
        size /= 1000
    return f"{size:.3g} TB"


@contextmanager
def progress(label: str, unit: str, *, rate: bool = False) -> Iterator[Progress]:
    """Show how far some work is, on stderr: a bar with the time left on a terminal, else a line every five seconds.

    `unit` is what is counted, "instances" or "bytes"; `rate` shows how many a second.
    """
    if not sys.stderr.isatty():
        yield _lines(label, unit)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        ProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bars

    amount: list[ProgressColumn] = [DownloadColumn()] if unit == "bytes" else [MofNCompleteColumn(), TextColumn(unit)]
    if rate:
        amount.append(TextColumn("{task.fields[rate]}/s"))
    started = time.monotonic()

    def update(done: int, total: int) -> None:
        speed = f"{done / max(time.monotonic() - started, 1e-3):,.0f}"
        bars.update(task, completed=done, total=total or None, rate=speed)

    with Bars(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        *amount,
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bars:
        task = bars.add_task(label, total=None, rate="0")
        yield update


def _lines(label: str, unit: str) -> Progress:
    next_line = time.monotonic() + _LINE_EVERY

    def update(done: int, total: int) -> None:
        nonlocal next_line
        if time.monotonic() >= next_line:
            next_line = time.monotonic() + _LINE_EVERY
            amounts = [human_bytes(n) if unit == "bytes" else f"{n}" for n in (done, total)]
            say(f"{label}: {' of '.join(amounts)}{'' if unit == 'bytes' else f' {unit}'}")

    return update
