"""A data set as HTML for notebooks: one table, sequences folded away. Everything from the file is escaped."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING

from dicore.dataset.text import printable, value_text

if TYPE_CHECKING:
    from dicore.dataset.dataset import Dataset

__all__ = ["dataset_html"]

_ELEMENTS = 5_000  # shown at most, nested ones included
_ITEMS = 100  # of one sequence
_STYLE = "text-align:left;vertical-align:top;font-family:monospace;padding:1px 8px"


def dataset_html(dataset: Dataset) -> str:
    """The data set as a fragment of HTML: 5,000 elements and 100 items of a sequence at most, the rest is counted."""
    left = [_ELEMENTS]
    rows = "".join(_rows(dataset, left))
    heading = escape(printable(repr(dataset).strip("<>")))
    return f"<div><p>{heading}</p>{_table(rows)}</div>"


def _table(rows: str) -> str:
    return f"<table><tbody>{rows}</tbody></table>"


def _cell(text: str) -> str:
    return f'<td style="{_STYLE}">{text}</td>'


def _rows(dataset: Dataset, left: list[int]) -> Iterator[str]:
    shown = 0
    for element in dataset:
        if left[0] <= 0:
            yield f"<tr>{_cell(f'{len(dataset) - shown} more elements')}</tr>"
            return
        left[0] -= 1
        shown += 1
        if element.vr == "SQ":
            value = _sequence(element.value, left)
        else:
            value = escape(value_text(element))
        cells = (escape(str(element.tag)), escape(printable(element.name)), escape(element.vr), value)
        yield f"<tr>{''.join(map(_cell, cells))}</tr>"


def _sequence(items: list[Dataset], left: list[int]) -> str:
    parts = []
    for number, item in enumerate(items[:_ITEMS]):
        if left[0] <= 0:
            break
        parts.append(f"<tr>{_cell(str(number))}{_cell(_table(''.join(_rows(item, left))))}</tr>")
    if len(parts) < len(items):
        parts.append(f"<tr>{_cell(f'{len(items) - len(parts)} more items')}</tr>")
    noun = "item" if len(items) == 1 else "items"
    return f"<details><summary>{len(items)} {noun}</summary>{_table(''.join(parts))}</details>"
