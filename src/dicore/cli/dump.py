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
                show_json(_as_json(dataset, path or [], where, full))
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
            found = _at(dataset, path)
            for line in _lines(found, 0, full) if _is_item(found) else _lines_of(found, 0, full):
                show(line)
        return
    from dicore import uid

    show("\n# Dicom-File-Format\n\n# Dicom-Meta-Information-Header")
    for line in _lines(dataset.file_meta, 0, full):
        show(line)
    show(f"\n# Dicom-Data-Set\n# Used TransferSyntax: {escape(uid.name(dataset.transfer_syntax))}")
    for line in _lines(dataset, 0, full):
        show(line)


def _at(dataset: Dataset, path: str) -> Any:
    """The element at a path, or the item if it ends in [n]."""
    try:
        return dataset[path]
    except DicoreError:
        raise
    except (KeyError, ValueError) as error:  # not the path of anything
        raise typer.BadParameter(str(error.args[0] if error.args else error), param_hint="--path") from None


def _is_item(found: Any) -> bool:
    return not hasattr(found, "tag")


def _lines(dataset: Dataset, depth: int, full: bool) -> Iterator[str]:
    for element in dataset:
        yield from _lines_of(element, depth, full)


def _lines_of(element: Element, depth: int, full: bool) -> Iterator[str]:
    indent = "  " * depth
    text, count = _value(element, full)
    head = f"{indent}({element.tag.group:04x},{element.tag.element:04x}) {element.vr} {text}"
    length = "u/l" if element.is_undefined_length else element.length
    yield f"{head:<{55 + len(indent)}} # {length:>3}, {count} {escape(element.keyword or element.name)}"
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
    if element.is_empty:
        return "(no value available)", 0
    if vr in _BYTES or vr in _WORDS:
        if element.is_undefined_length:
            return f"(PixelSequence, {len(element.raw)} bytes)", 1
        return _hex(element.raw, _WORDS.get(vr, 1), full), 1
    try:
        value = element.value
    except DicoreError as error:
        say(f"dicore: warning: {escape(str(error))}")
        return _hex(element.raw, 1, full), 1
    values = value if isinstance(value, list) else [value]
    if vr in _NUMBERS:
        return _cut("\\".join(f"{v:.9g}" if vr == "FL" else str(v) for v in values), full), len(values)
    if vr == "AT":
        return _cut("\\".join(f"({int(v) >> 16:04x},{int(v) & 0xFFFF:04x})" for v in values), full), len(values)
    if vr == "UI" and len(values) == 1:
        from dicore import uid

        name = uid.name(str(value))
        if name != str(value):
            return f"={escape(name)}", 1
    stored = vr in ("DS", "IS")  # the text of the file, not of the number
    text = bytes(element.raw).decode("latin-1").strip(" \0") if stored else "\\".join(map(str, values))
    return f"[{_cut(escape(text), full)}]", len(values)


def _hex(raw: Any, size: int, full: bool) -> str:
    wanted = len(raw) if full else min(len(raw), _SHOWN // 3 * size)
    head = bytes(raw[: wanted - wanted % size] if size > 1 else raw[:wanted])
    words = [head[i : i + size][::-1].hex() for i in range(0, len(head), size)]
    return "\\".join(words) + ("..." if wanted < len(raw) else "")


def _cut(text: str, full: bool) -> str:
    return text if full or len(text) <= _SHOWN else text[:_SHOWN] + "..."


def _as_json(dataset: Dataset, paths: list[str], where: str, full: bool) -> Any:
    """PS3.18 F.2, as pydicom writes it; a long binary value is a BulkDataURI that names the file and the tag.

    Of paths, the elements they lead to; for one inside a sequence, without what is around it.
    """
    import warnings

    from pydicom import Dataset as PydicomDataset

    base = Path(where).resolve().as_uri() if Path(where).exists() else ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ours are told
            chosen = whole = dataset.to_pydicom()
            if paths:
                chosen = PydicomDataset()
                for path in paths:
                    found = _in_pydicom(whole, dataset, path)
                    chosen.update(found) if isinstance(found, PydicomDataset) else chosen.add(found)
            return chosen.to_json_dict(
                bulk_data_threshold=1 << 62 if full else _SHORT,
                bulk_data_element_handler=lambda element: f"{base}?tag={int(element.tag):08X}",
            )
    except (DicoreError, OSError, typer.BadParameter):
        raise
    except Exception as error:  # whatever pydicom makes of a value that is none
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise DicoreError(f"{where}: pydicom cannot make JSON of it: {reason}; dump it without --json") from error


def _in_pydicom(whole: Any, dataset: Dataset, path: str) -> Any:
    """The pydicom element (or item) where `path` leads in `dataset`."""
    from dicore.dataset.dictionary import keyword_to_tag

    _at(dataset, path)  # says what is wrong with the path
    found = whole
    for step in path.split("."):
        name, _, number = step.partition("[")
        tag = keyword_to_tag(name)
        found = found[int(name.replace(",", ""), 16) if tag is None else tag]
        if number:
            found = found.value[int(number.rstrip("]"))]
    return found
