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
    diff: Annotated[
        bool, typer.Option("--diff", help="Compare two files element by element; exit status 1 when they differ.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse what deviates from the standard.")] = False,
    report: Annotated[bool, typer.Option("--sr", help="The text of structured reports instead.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Print values whole, however long.")] = False,
) -> None:
    """Print what is in DICOM files, as dcmdump does.

    Warnings about deviations from the standard go to stderr. A file that cannot be read is told and the next one is
    printed; the exit status is then 1. --diff A B prints the elements that differ, nested ones too, each with its path.

    \b
    Examples:
      dicore dump ct.dcm
      dicore dump ct.dcm --path PatientName --path 'ReferencedStudySequence[0].ReferencedSOPInstanceUID'
      dicore dump --diff before.dcm after.dcm
      dicore dump --json *.dcm | jq '."00100010".Value[0].Alphabetic'
    """
    import dicore

    if diff:
        if len(files) != 2 or as_json:
            raise typer.BadParameter("compares two files as text", param_hint="--diff")
        if _differ(files, path or [], strict, full):
            raise typer.Exit(1)
        return
    failed = 0
    for file in files:
        try:
            source: Any = sys.stdin.buffer.read() if file == "-" else file
            dataset = dicore.read(source, strict=strict)
            where = "standard input" if file == "-" else file
            if as_json:
                show_json(_as_json(dataset, path or [], where, full))
            elif report:
                for line in dataset.sr_text().splitlines():
                    show(escape(line))
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


def _as_json(dataset: Dataset, paths: list[str], where: str, full: bool) -> dict[str, Any]:
    """DICOM JSON (PS3.18 F.2); a long binary value is a BulkDataURI that names the file and the path.

    Of paths, the elements they lead to; for one inside a sequence, without what is around it.
    """
    base = Path(where).resolve().as_uri() if Path(where).exists() else ""
    found = dataset.to_json_dict(bulk_data_threshold=_SHORT, bulk_data_uri=None if full else base)
    if not paths:
        return found
    chosen: dict[str, Any] = {}
    for path in paths:
        at = _at(dataset, path)
        if _is_item(at):
            chosen |= at.to_json_dict(bulk_data_threshold=_SHORT, bulk_data_uri=None if full else base)
        else:
            around = _at(dataset, path.rpartition(".")[0]) if "." in path else dataset
            name = f"{int(at.tag):08X}"
            chosen[name] = around.to_json_dict(bulk_data_threshold=_SHORT, bulk_data_uri=None if full else base)[name]
    return chosen


# ---- two files -------------------------------------------------------------------------------------------------------


def _differ(names: list[str], paths: list[str], strict: bool, full: bool) -> bool:
    """Print what two files do not have in common, as `diff` does: - for the first, + for the second."""
    import dicore

    left, right = (dicore.read(sys.stdin.buffer.read() if name == "-" else name, strict=strict) for name in names)
    lines = [line for path in paths for line in _differences(_under(left, path), _under(right, path), full)]
    if not paths:
        lines = [*_differences(_walked(left.file_meta), _walked(right.file_meta), full)]
        lines += _differences(_walked(left), _walked(right), full)
    if lines:
        show(f"--- {escape(names[0])}\n+++ {escape(names[1])}")
    for line in lines:
        show(line)
    return bool(lines)


def _walked(dataset: Dataset) -> dict[str, Element]:
    return dict(dataset.walk())


def _under(dataset: Dataset, path: str) -> dict[str, Element]:
    if path not in dataset:
        return {}
    found = _at(dataset, path)
    if _is_item(found):
        return {f"{path}.{inner}": element for inner, element in found.walk()}
    items = found.value if found.vr == "SQ" else []
    return {path: found} | {
        f"{path}[{number}].{inner}": element for number, item in enumerate(items) for inner, element in item.walk()
    }


def _differences(left: dict[str, Element], right: dict[str, Element], full: bool) -> Iterator[str]:
    for path in sorted(left.keys() | right.keys()):
        one, other = left.get(path), right.get(path)
        if one is not None and other is not None and _same(one, other):
            continue
        for sign, element in (("-", one), ("+", other)):
            if element is not None:
                text, _ = _value(element, full)
                yield f"{sign} ({path.lower()}) {element.vr} {text} # {escape(element.keyword or element.name)}"


def _same(one: Element, other: Element) -> bool:
    if one.vr != other.vr:
        return False
    if one.vr == "SQ":  # what is in the items is told on its own
        return len(one.value) == len(other.value)
    if one.length == other.length and one.raw == other.raw and one.is_little_endian == other.is_little_endian:
        return one.vr in _BYTES or one.vr in _WORDS or bool(one.value == other.value) or "nan" in str(one.value)
    return bool(one.value == other.value)
