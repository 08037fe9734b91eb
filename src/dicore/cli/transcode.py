"""`dicore transcode`: files and folders into another transfer syntax."""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Annotated, Any

import typer

from dicore.cli.output import escape, human_bytes, progress, say, show, show_json

_JOURNAL = ".dicore-transcode.journal"


def transcode(
    sources: Annotated[
        list[Path], typer.Argument(metavar="PATH...", exists=True, help="Files and folders (searched whole).")
    ],
    syntax: Annotated[
        str, typer.Option("--to", "-t", metavar="SYNTAX", help="UID, keyword or name: JPEGLSLossless, RLE, HTJ2K ...")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT", help="A file for one file, else a folder (made).")
    ],
    quality: Annotated[int | None, typer.Option("--quality", min=1, max=100, help="Of a lossy syntax.")] = None,
    near: Annotated[int | None, typer.Option("--near", min=0, max=255, help="Greatest error in JPEG-LS.")] = None,
    ratio: Annotated[
        float | None, typer.Option("--ratio", help="As good as makes frames that many times smaller.")
    ] = None,
    effort: Annotated[int | None, typer.Option("--effort", min=1, max=9, help="Of JPEG XL.")] = None,
    codec: Annotated[str | None, typer.Option("--codec", help="Force a library, as `dicore codecs` names it.")] = None,
    no_verify: Annotated[bool, typer.Option("--no-verify", help="Do not decode again and compare.")] = False,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, max=64, help="Files at once, or frames of one file.")] = 2,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget what an earlier run has done.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON per file.")] = False,
) -> None:
    """Write DICOM files with their frames in another transfer syntax.

    Lossless results are decoded again and compared before they are written. A file that fails is told and the next one
    is done; the exit status is then 1. Into a folder, what is done is noted in a journal there: the same command goes
    on where it was stopped, and does again what has changed since. Files without pixel data are copied.

    \b
    Examples:
      dicore transcode ct.dcm -t JPEGLSLossless -o small.dcm
      dicore transcode archive/ -t HTJ2KLossless -o archive-ht/ -j 4
      dicore transcode cine.dcm -t JPEGBaseline --quality 85 -o cine-small.dcm
    """
    import dicore
    from dicore import pixel, uid
    from dicore.transcode import syntax_uid

    options: dict[str, Any] = {
        "quality": quality,
        "near": near,
        "ratio": ratio,
        "effort": effort,
        "codec": codec,
        "verify": not no_verify,
    }
    try:
        pixel.Options(**{k: v for k, v in options.items() if v is not None and k not in ("codec", "verify")})
        target = syntax_uid(syntax)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--to") from None
    one = len(sources) == 1 and sources[0].is_file() and not output.is_dir()
    if one:
        pairs = [(sources[0], output)]
        journal = None
    else:
        pairs = _pairs(sources, output)
        output.mkdir(parents=True, exist_ok=True)
        journal = _Journal(output / _JOURNAL, target, options, fresh)
    failed = skipped = 0
    before = after = 0

    def work(source: Path, to: Path) -> dict[str, Any]:
        to.parent.mkdir(parents=True, exist_ok=True)
        ds = dicore.read(source)
        if not any(k in ds for k in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
            ds.write(to)
            return {"file": str(source), "output": str(to), "frames": 0, "copied": True}
        made = dicore.transcode(ds, target, out=to, threads=jobs if one else 1, **options)
        return {"file": str(source), "output": str(to), "frames": int(made.get("NumberOfFrames") or 1), "copied": False}

    with progress("transcoding", "files") as update, ThreadPoolExecutor(1 if one else jobs) as pool:
        left = iter(pairs)
        running: dict[Future[dict[str, Any]], tuple[Path, Path]] = {}
        done = 0
        while True:
            while len(running) < (1 if one else jobs) and (pair := next(left, None)) is not None:
                if journal is not None and journal.has(*pair):
                    skipped += 1
                    done += 1
                    continue
                running[pool.submit(work, *pair)] = pair
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                source, to = running.pop(future)
                done += 1
                update(done, len(pairs))
                try:
                    result = future.result()
                except (dicore.DicoreError, OSError, ValueError, MemoryError) as error:
                    failed += 1
                    text = str(error)
                    say(f"dicore: {escape(text if str(source) in text else f'{source}: {text}')}")
                    continue
                sizes = source.stat().st_size, to.stat().st_size
                before, after = before + sizes[0], after + sizes[1]
                if journal is not None:
                    journal.add(source, to)
                if as_json:
                    show_json(result | {"before": sizes[0], "after": sizes[1]})
    if not as_json:
        count = len(pairs) - failed - skipped
        note = f"{human_bytes(before)} to {human_bytes(after)}" if after else "nothing written"
        more = f", {skipped} done before" if skipped else ""
        show(f"{count} files to {uid.name(target)}: {note}{more}{f', {failed} failed' if failed else ''}")
    if failed:
        raise typer.Exit(1)


def _pairs(sources: list[Path], output: Path) -> list[tuple[Path, Path]]:
    """(file, where it goes): below its folder as it is there. Two files for one place: a usage error."""
    found: dict[Path, Path] = {}
    inside = output.resolve()
    for source in sources:
        if source.is_file():
            files = [(source, Path(source.name))]
        else:
            files = []
            for folder, names, leaves in os.walk(source):
                names[:] = sorted(n for n in names if (Path(folder) / n).resolve() != inside)
                files += [(Path(folder) / n, (Path(folder) / n).relative_to(source)) for n in sorted(leaves)]
        for path, below in files:
            if path.name == "DICOMDIR" or path.name.startswith("."):
                continue
            to = output / below
            if to in found:
                raise typer.BadParameter(f"{found[to]} and {path} would both become {to}", param_hint="PATH")
            if to.resolve() == path.resolve():
                raise typer.BadParameter(f"{path} would be written over itself", param_hint="--output")
            found[to] = path
    return [(path, to) for to, path in found.items()]


class _Journal:
    """A line of JSON a file that was done: its path, size, time of modification and where it went. The first line says
    what was asked for; another question begins anew. A line that was cut short is not there."""

    def __init__(self, path: Path, target: str, options: dict[str, Any], fresh: bool) -> None:
        asked = hashlib.sha256(json.dumps([target, options], sort_keys=True).encode()).hexdigest()[:16]
        head = json.dumps({"transcode": target, "asked": asked})
        self.done: set[tuple[str, int, int, str]] = set()
        lines = [] if fresh or not path.exists() else path.read_text(errors="replace").splitlines(keepends=True)
        if lines and lines[0].strip() == head:
            for line in lines[1:]:
                if line.endswith("\n"):
                    try:
                        self.done.add(tuple(json.loads(line)))
                    except ValueError:
                        continue
            self.file = path.open("a")
            if not lines[-1].endswith("\n"):
                self.file.write("\n")
        else:
            self.file = path.open("w")
            self.file.write(head + "\n")
        self.file.flush()

    @staticmethod
    def _line(source: Path, to: Path) -> tuple[str, int, int, str]:
        known = source.stat()
        return str(source.resolve()), known.st_size, known.st_mtime_ns, str(to.resolve())

    def has(self, source: Path, to: Path) -> bool:
        return to.exists() and self._line(source, to) in self.done

    def add(self, source: Path, to: Path) -> None:
        self.file.write(json.dumps(self._line(source, to)) + "\n")
        self.file.flush()
