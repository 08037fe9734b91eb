"""`dicore synth`: synthetic studies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from dicore.cli.output import human_bytes, progress, show, show_json


def synth(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", file_okay=False, help="Where to write; made when missing.")
    ],
    studies: Annotated[int, typer.Option("--studies", min=1, help="How many studies.")] = 1,
    slices: Annotated[int, typer.Option("--slices", min=1, help="Images in each.")] = 40,
    modality: Annotated[Literal["CT", "MR"], typer.Option("--modality", help="What kind of study.")] = "CT",
    seed: Annotated[int, typer.Option("--seed", help="The same seed makes the same bytes.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="What was written as one line of JSON.")] = False,
) -> None:
    """Write synthetic CT and MR studies that look real.

    The patients do not exist, and every UID is derived from the seed.

    \b
    Examples:
      dicore synth phantoms/ --studies 2 --slices 60
      dicore synth phantoms/ --modality MR --seed 7 --json
    """
    import dicore.synth

    with progress("writing", "instances") as update:
        files = size = 0
        folder.mkdir(parents=True, exist_ok=True)
        for instance in dicore.synth.studies(seed, studies, modality=modality, slices=slices):
            path = folder / f"{instance.sop_instance_uid}.dcm"
            path.write_bytes(instance.data)
            files += 1
            size += len(instance.data)
            update(files, studies * slices)
    if as_json:
        show_json({"folder": str(folder), "studies": studies, "instances": files, "bytes": size, "seed": seed})
    else:
        show(f"wrote {files} instances of {studies} {modality} studies, {human_bytes(size)}, to {folder}")
