"""`dicore edit`: change elements of a file, or its transfer syntax."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dicore.cli.output import escape, say, show_json
from dicore.errors import DicoreError

if TYPE_CHECKING:
    from dicore.dataset import Dataset


def edit(
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="DICOM files; - is standard input.")],
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            "-s",
            metavar="PATH=VALUE",
            help="A new value for a keyword, a tag or a path; [*] is every item. Values are separated by a backslash. "
            "VR:VALUE says the VR of a private element.",
        ),
    ] = None,
    deletes: Annotated[
        list[str] | None,
        typer.Option("--delete", "-d", metavar="PATH", help="Remove an element or, as PATH[n], an item."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="OUT", help="Where to write: a file, a folder, or - for standard output."
        ),
    ] = None,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Write over the files themselves, each atomically.")
    ] = False,
    transfer_syntax: Annotated[
        str | None,
        typer.Option(
            "--transfer-syntax",
            "-t",
            metavar="SYNTAX",
            help="UID or keyword of an uncompressed or the deflated syntax.",
        ),
    ] = None,
    canonical: Annotated[
        bool, typer.Option("--canonical", help="Sort elements, pad odd values, give sequences defined lengths.")
    ] = False,
    blank_preamble: Annotated[
        bool, typer.Option("--blank-preamble", help="Fill the 128 bytes before DICM with zeros.")
    ] = False,
    fsync: Annotated[bool, typer.Option("--fsync", help="Return when the bytes are on the disk.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON for each file that was written.")] = False,
) -> None:
    """Change elements of DICOM files, or their transfer syntax.

    What is not named stays as it is, byte for byte; pixel data is copied, not decoded. Files are written whole or not
    at all. A file that cannot be read or changed is told and the next one is done; the exit status is then 1.

    \b
    Examples:
      dicore edit ct.dcm -s PatientID=X1 -s 'PatientName=DOE^JANE' -d 0010,0030 -o out.dcm
      dicore edit *.dcm -s 'ReferencedSeriesSequence[*].SeriesInstanceUID=1.2.3' -o edited/
      dicore edit ct.dcm -t ExplicitVRLittleEndian --canonical --in-place
    """
    import dicore

    if in_place == (output is not None):
        raise typer.BadParameter("say where to write: --output OUT, or --in-place", param_hint="--output")
    several = len(files) > 1 or (output is not None and output.is_dir())
    if several and output is not None:
        if str(output) == "-":
            raise typer.BadParameter("standard output takes one file", param_hint="--output")
        if output.exists() and not output.is_dir():
            raise typer.BadParameter(f"{output} is no folder", param_hint="--output")
        output.mkdir(parents=True, exist_ok=True)
    changes = [_change(text) for text in sets or []] + [(path, dicore.DELETE) for path in deletes or []]
    failed, taken = 0, set()
    for file in files:
        try:
            if in_place and file == "-":
                raise typer.BadParameter("standard input cannot be edited in place", param_hint="--in-place")
            source: Any = sys.stdin.buffer.read() if file == "-" else file
            edited = _edited(dicore.read(source), changes)
            if in_place:
                target: Path | None = Path(file)
            elif output is not None and several:
                target = output / (Path(file).name if file != "-" else "stdin.dcm")
                if target in taken:
                    raise typer.BadParameter(f"two files are called {target.name}", param_hint="FILE")
                taken.add(target)
            else:
                target = output if str(output) != "-" else None
            edited.write(
                target if target is not None else sys.stdout.buffer,
                transfer_syntax,
                fsync=fsync,
                canonical=canonical,
                blank_preamble=blank_preamble,
            )
            if as_json and target is not None:
                show_json({"file": file, "output": str(target), "bytes": target.stat().st_size})
        except (DicoreError, OSError, ValueError) as error:
            if isinstance(error, BrokenPipeError):
                raise
            failed += 1
            text = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
            say(f"dicore: {escape(text if file in text else f'{file}: {text}')}")
    if failed:
        raise typer.Exit(1)


def _change(text: str) -> tuple[str, str]:
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise typer.BadParameter(f"{text!r}: PATH=VALUE is needed", param_hint="--set")
    return path, value


def _edited(dataset: Dataset, changes: list[tuple[str, Any]]) -> Dataset:
    """Each change by the VR that its element has: text, numbers, bytes in hex."""
    from dicore.dataset import DELETE

    made: dict[str, Any] = {}
    for path, value in changes:
        made[path] = value if value is DELETE else _value(dataset, path, value)
    return dataset.edit(made)


_WHOLE = {"US", "SS", "UL", "SL", "UV", "SV"}
_REAL = {"FL", "FD"}
_BYTES = {"OB", "OD", "OF", "OL", "OV", "OW", "UN"}
_TEXTS = {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"}
_VRS = _WHOLE | _REAL | _BYTES | _TEXTS | {"AT", "SQ"}


def _value(dataset: Dataset, path: str, text: str) -> Any:
    """What a word of the command line means for the VR of an element."""
    from dicore.dataset import Typed

    places = dataset._targets(path)
    vr = places[0][0]._current_vr(places[0][1]) if places else None
    private = bool(places and places[0][1] >> 16 & 1)
    if (private or vr in (None, "UN")) and text[2:3] == ":" and text[:2] in _VRS:
        return Typed(text[:2], _by_vr(text[:2], text[3:]))
    if vr is None and places:
        raise ValueError(f"{path}: its VR is not known; say it: {path}=LO:{text}")
    return _by_vr(vr or "LO", text)


def _by_vr(vr: str, text: str) -> Any:
    if not text:
        return None if vr != "SQ" else []
    parts = text.split("\\")
    if vr in _WHOLE:
        return [int(part, 0) for part in parts]
    if vr in _REAL:
        return [float(part) for part in parts]
    if vr == "AT":
        return [int(part.strip("()").replace(",", ""), 16) for part in parts]
    if vr in _BYTES:
        return bytes.fromhex(text.replace("\\", " "))
    if vr == "SQ":
        raise ValueError("a sequence can be emptied or have its items' elements set, PATH[n].KEYWORD=VALUE")
    return text
