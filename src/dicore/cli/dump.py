"""`dicore dump`: what is in a file, in the look of dcmdump."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dicore.cli.output import escape, say, show, show_json
from dicore.errors import DicoreError

if TYPE_CHECKING:
    from dicore.dataset import Dataset, Element

_SHOWN = 80  # characters of a value, unless --full
_SHORT = 1024  # bytes of a value that --json writes inline, unless --full
_BYTES = {"OB", "UN"}
_WORDS = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}
_NUMBERS = {"US", "SS", "UL", "SL", "UV", "SV", "FL", "FD"}


def dump(
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="DICOM files; - is standard input.")],
    path: Annotated[
        list[str] | None,
        typer.Option(
            "--path", "-P", metavar="PATH", help="Only this element: a keyword, a tag, or a path into sequences."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="DICOM JSON (PS3.18 F), one line a file.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse what deviates from the standard.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Print values whole, however long.")] = False,
) -> None:
    """Print what is in DICOM files, as dcmdump does.

    Warnings about deviations from the standard go to stderr. A file that cannot be read is told and the next one is
    printed; the exit status is then 1.

    \b
    Examples:
      dicore dump ct.dcm
      dicore dump ct.dcm --path PatientName --path 'ReferencedStudySequence[0].ReferencedSOPInstanceUID'
      dicore dump --json *.dcm | jq '."00100010".Value[0].Alphabetic'
    """
    import dicore

    failed = 0
    for file in files:
        try:
            source: Any = sys.stdin.buffer.read() if file == "-" else file
            dataset = dicore.read(source, strict=strict)
            where = "standard input" if file == "-" else file
            if as_json:
                show_json(_as_json(dataset, path or [], file, full))
            else:
                _print(dataset, path or [], file if len(files) > 1 else None, full)
            for warning in dataset.warnings:
                say(f"dicore: warning: {escape(where)}: {escape(str(warning))}")
        except (DicoreError, OSError) as error:
            if isinstance(error, BrokenPipeError):
                raise
            failed += 1
            text = str(error) if isinstance(error, DicoreError) else error.strerror or str(error)
            say(f"dicore: {escape(text if file in text else f'{file}: {text}')}")
    if failed:
        raise typer.Exit(1)


def _print(dataset: Dataset, paths: list[str], heading: str | None, full: bool) -> None:
    if heading:
        show(f"# {escape(heading)}")
    if paths:
        for path in paths:
            for line in _lines_of(dataset.element(path), 0, full):
                show(line)
        return
    from dicore import uid

    show("\n# Dicom-File-Format\n\n# Dicom-Meta-Information-Header")
    for line in _lines(dataset.file_meta, 0, full):
        show(line)
    show(f"\n# Dicom-Data-Set\n# Used TransferSyntax: {escape(uid.name(dataset.transfer_syntax))}")
    for line in _lines(dataset, 0, full):
        show(line)


def _lines(dataset: Dataset, depth: int, full: bool) -> Iterator[str]:
    for element in dataset:
        yield from _lines_of(element, depth, full)


def _lines_of(element: Element, depth: int, full: bool) -> Iterator[str]:
    indent = "  " * depth
    tag = int(element.tag)
    value, count = _value(element, full)
    keyword = element.keyword or ("PrivateCreator" if tag >> 16 & 1 and 0x10 <= tag & 0xFFFF <= 0xFF else "Unknown")
    head = f"{indent}({tag >> 16:04x},{tag & 0xFFFF:04x}) {element.vr} {value}"
    yield f"{head:<{56 + len(indent)}}# {element.length:>3}, {count} {keyword}"
    if element.vr == "SQ":
        for item in element.value:
            yield f"{indent}  (fffe,e000) na (Item)"
            yield from _lines(item, depth + 2, full)


def _value(element: Element, full: bool) -> tuple[str, int]:
    """The value as text, on one line and safe for a terminal, and its multiplicity."""
    vr = element.vr
    if vr == "SQ":
        items = len(element.value)
        return f"(Sequence #={items})", items
    length = element.length
    if length == 0:
        return "(no value available)", 0
    if vr in _BYTES or vr in _WORDS:
        if element.undefined_length:
            return "(PixelSequence)", 1
        size = _WORDS.get(vr, 1)
        raw = element.raw
        return _hex(raw, size, full), max(1, length // size) if size > 1 else 1
    try:
        value = element.value
    except DicoreError as error:
        say(f"dicore: warning: {escape(str(error))}")
        return _hex(element.raw, 1, full), 1
    if vr == "UI":
        return _uid_text(value)
    if vr in _NUMBERS or vr == "AT":
        values = value if isinstance(value, list) else [value]
        return _cut(
            "\\".join(_tag_text(v) if vr == "AT" else f"{v:.9g}" if vr == "FL" else str(v) for v in values), full
        ), len(values)
    if vr in ("DS", "IS"):  # as stored, not as converted
        text = bytes(element.raw).decode("latin-1").strip(" \0")
        return f"[{_cut(escape(text), full)}]", text.count("\\") + 1
    if isinstance(value, list):
        return f"[{_cut(escape(chr(92).join(map(str, value))), full)}]", len(value)
    return f"[{_cut(escape(str(value)), full)}]", 1


def _uid_text(value: Any) -> tuple[str, int]:
    from dicore import uid

    values = value if isinstance(value, list) else [value]
    names = [uid.name(str(v)) for v in values]
    if len(values) == 1 and names[0] != str(values[0]):
        return f"={names[0]}", 1
    return f"[{escape(chr(92).join(map(str, values)))}]", len(values)


def _tag_text(tag: Any) -> str:
    return f"({int(tag) >> 16:04x},{int(tag) & 0xFFFF:04x})"


def _hex(raw: Any, size: int, full: bool) -> str:
    wanted = len(raw) if full else min(len(raw), _SHOWN // 3 * size)
    head = bytes(raw[: wanted - wanted % size] if size > 1 else raw[:wanted])
    words = [head[i : i + size][::-1].hex() for i in range(0, len(head), size)]
    return "\\".join(words) + ("..." if wanted < len(raw) else "")


def _cut(text: str, full: bool) -> str:
    return text if full or len(text) <= _SHOWN else text[:_SHOWN] + "..."


def _as_json(dataset: Dataset, paths: list[str], file: str, full: bool) -> dict[str, Any]:
    """PS3.18 F.2, as pydicom writes it; a long binary value is a BulkDataURI that names the file and the tag."""
    whole = dataset.to_pydicom()
    where = "" if file == "-" else Path(file).resolve().as_uri()
    converted: dict[str, Any] = whole.to_json_dict(
        bulk_data_threshold=1 << 62 if full else _SHORT,
        bulk_data_element_handler=lambda element: f"{where}?tag={int(element.tag):08X}",
        suppress_invalid_tags=True,
    )
    return converted
