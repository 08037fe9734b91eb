"""`dicore render`: images as PNG, as they are to be seen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dicore.cli.output import escape, progress, say, show

if TYPE_CHECKING:
    from dicore import Dataset

_MOST = 400  # thumbnails of a contact sheet


def render(
    source: Annotated[Path, typer.Argument(help="A DICOM file, or a folder of them.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The PNG to write, or the folder for several. [default: beside the source]"),
    ] = None,
    frame: Annotated[int | None, typer.Option(help="Frame number, from 0; negative ones count from the end.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every frame, a PNG each.")] = False,
    animated: Annotated[bool, typer.Option("--animated", help="All frames in one animated PNG.")] = False,
    contact_sheet: Annotated[
        bool, typer.Option("--contact-sheet", help="One PNG with a thumbnail of every image, or of every frame.")
    ] = False,
    window: Annotated[
        str | None,
        typer.Option(help="'C,W' (centre and width), the name or number of one of the file's windows, or 'auto'."),
    ] = None,
    overlay: Annotated[bool, typer.Option("--overlay", help="Burn overlay planes in.")] = False,
    state: Annotated[Path | None, typer.Option(help="A presentation state (PR) to apply.")] = None,
) -> None:
    """Show images: write them as PNG, contact sheet or animation.

    Modality and VOI look-up, window, palettes, colour spaces and presentation come from the file. A folder is rendered
    into a folder, one PNG a file with the same name; files without pixels are passed over.

    \b
    Examples:
      dicore render ct.dcm -o ct.png --window 40,400
      dicore render cine.dcm --animated
      dicore render study/ --contact-sheet -o study.png
    """
    import dicore

    if sum((frame is not None, every, animated)) > 1:
        raise typer.BadParameter("--frame, --all and --animated exclude each other")
    if contact_sheet and animated:
        raise typer.BadParameter("--contact-sheet and --animated exclude each other")
    how: dict[str, Any] = {"window": _window(window), "overlays": overlay}
    if state is not None:
        how["state"] = dicore.read(state)
    if not source.exists():
        raise FileNotFoundError(2, "no such file or folder", str(source))
    if contact_sheet:
        _sheet(source, out or source.with_name(f"{source.resolve().name}.sheet.png"), every, frame, how)
    elif source.is_dir():
        _folder(source, out or source.with_name(f"{source.resolve().name}-png"), every, animated, frame, how)
    else:
        for path in _one(dicore.read(source), source, out, every, animated, frame, how):
            show(escape(str(path)))


def _window(text: str | None) -> tuple[float, float] | str | int | None:
    if text is None:
        return None
    try:
        if "," in text:
            center, width = (float(part) for part in text.split(","))
            return center, width
        return int(text)
    except ValueError:
        if "," in text:
            raise typer.BadParameter(f"--window {text}: two numbers are wanted, centre and width") from None
        return text


def _one(
    ds: Dataset, source: Path, out: Path | None, every: bool, animated: bool, frame: int | None, how: dict[str, Any]
) -> Iterator[Path]:
    """Render one file; yields what was written."""
    if every:
        folder = out or source.with_name(f"{source.stem}-png")
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(ds.pixel_layout().frames):
            path = folder / f"{source.stem}-{number:05}.png"
            ds.to_png(path, number, **how)
            yield path
        return
    path = out if out is not None and not out.is_dir() else (out or source.parent) / f"{source.stem}.png"
    ds.to_png(path, None if animated else frame or 0, **how)
    yield path


def _images(folder: Path) -> list[tuple[Path, Dataset]]:
    """The files of a folder that hold pixels, in the order of series, instance number and path."""
    import dicore

    found = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        try:
            ds = dicore.read(path)
            ds.pixel_layout()
        except dicore.DicoreError:
            continue
        series, number = str(ds.get("SeriesInstanceUID") or ""), ds.get("InstanceNumber")
        found.append(((series, number if isinstance(number, int) else 0), path, ds))
    if not found:
        raise dicore.errors.DicomFormatError(f"{folder}: no file with pixels in it")
    return [(path, ds) for _, path, ds in sorted(found, key=lambda f: f[:2])]


def _folder(source: Path, out: Path, every: bool, animated: bool, frame: int | None, how: dict[str, Any]) -> None:
    import dicore

    images, failed = _images(source), 0
    out.mkdir(parents=True, exist_ok=True)
    with progress("render", "images") as tell:
        for done, (path, ds) in enumerate(images):
            target = out / path.relative_to(source).with_suffix("" if every else ".png")
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                for _ in _one(ds, path, target, every, animated, frame, how):
                    pass
            except (dicore.DicoreError, ValueError) as error:
                failed += 1
                say(f"dicore: {escape(str(path))}: {escape(str(error))}")
            tell(done + 1, len(images))
    show(f"{len(images) - failed} images in {escape(str(out))}")
    if failed:
        raise typer.Exit(1)


def _sheet(source: Path, out: Path, every: bool, frame: int | None, how: dict[str, Any]) -> None:
    import dicore
    from dicore import pixel

    alone = not source.is_dir()
    images = [(source, dicore.read(source))] if alone else _images(source)
    jobs = [
        (path, ds, number)
        for path, ds in images
        for number in (range(ds.pixel_layout().frames) if (alone or every) and frame is None else (frame or 0,))
    ]
    if len(jobs) > _MOST:  # evenly chosen
        say(f"dicore: {_MOST} of {len(jobs)} images are shown")
        jobs = [jobs[i * len(jobs) // _MOST] for i in range(_MOST)]
    tiles = []
    with progress("render", "images") as tell:
        for done, (path, ds, number) in enumerate(jobs):
            try:
                tiles.append(pixel.thumbnail(ds.render(number, **how), 256))
            except (dicore.DicoreError, ValueError) as error:
                say(f"dicore: {escape(str(path))}: {escape(str(error))}")
            tell(done + 1, len(jobs))
    out.write_bytes(pixel.contact_sheet(tiles))
    show(escape(str(out)))
    if len(tiles) < len(jobs):
        raise typer.Exit(1)
