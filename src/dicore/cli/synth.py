"""`dicore synth`: synthetic studies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from dicore.cli.output import escape, human_bytes, progress, show, show_json


def synth(
    folder: Annotated[
        Path | None, typer.Argument(metavar="FOLDER", file_okay=False, help="Where to write; made when missing.")
    ] = None,
    studies: Annotated[int, typer.Option("--studies", min=1, help="How many studies.")] = 1,
    slices: Annotated[int, typer.Option("--slices", min=1, help="Images in each series.")] = 40,
    series: Annotated[int, typer.Option("--series", min=1, help="Series in each study.")] = 1,
    size: Annotated[int, typer.Option("--size", min=16, max=4096, help="Rows and columns.")] = 512,
    modality: Annotated[
        Literal["CT", "MR", "CR", "DX", "MG", "US", "XA", "PT", "NM", "XC", "SM", "RT", "SR", "ECG", "DOC", "mixed"],
        typer.Option("--modality", help="What kind of study; mixed takes turns of CT and MR."),
    ] = "CT",
    seed: Annotated[int, typer.Option("--seed", help="The same seed makes the same bytes.")] = 1,
    contact_sheet: Annotated[
        Path | None,
        typer.Option("--contact-sheet", metavar="PNG", dir_okay=False, help="All kinds on one picture, instead."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="What was written as one line of JSON.")] = False,
) -> None:
    """Write synthetic studies that look real.

    The patients do not exist, and every UID is derived from the seed.

    \b
    Examples:
      dicore synth phantoms/ --studies 2 --slices 60
      dicore synth phantoms/ --modality MR --seed 7 --json
      dicore synth --contact-sheet kinds.png
    """
    from dicore import synth

    if contact_sheet is not None:
        contact_sheet.write_bytes(synth.all_modalities(seed, size))
        return show(f"wrote {escape(str(contact_sheet))}")
    if folder is None:
        raise typer.BadParameter("where to?", param_hint="FOLDER")
    with progress("writing", "instances") as update:
        paths = synth.write(
            folder,
            seed,
            studies,
            modality=modality,
            slices=slices,
            series=series,
            size=size,
            progress=lambda done: update(done, studies * series * slices),
        )
    written = sum(path.stat().st_size for path in paths)
    if as_json:
        show_json({"folder": str(folder), "studies": studies, "instances": len(paths), "bytes": written, "seed": seed})
    else:
        what = f"{len(paths)} instances of {studies} {modality} studies, {human_bytes(written)}"
        show(f"wrote {what}, to {escape(str(folder))}")
