"""`dicore demo`: the main job end to end, with nothing to configure."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from dicore.cli.output import escape, human_bytes, progress, say, show, show_json, show_table

if TYPE_CHECKING:
    from dicore.pixel.sheet import Row
    from dicore.store import Store

T = TypeVar("T")

_STUDIES: tuple[tuple[Literal["CT", "MR"], int, int], ...] = (
    ("CT", 2, 60),
    ("MR", 2, 40),
)  # modality, studies, slices in each
_COLUMNS = 6  # thumbnails of a study


@dataclass(slots=True)
class _Step:
    """One line of the table."""

    name: str
    instances: int
    bytes: int
    seconds: float


class _Clock:
    """Times the steps, in order."""

    def __init__(self) -> None:
        self.steps: list[_Step] = []

    def time(self, name: str, work: Callable[[], T], *, instances: int = 0, size: int = 0) -> T:
        start = time.perf_counter()
        result = work()
        self.steps.append(_Step(name, instances, size, time.perf_counter() - start))
        return result


@dataclass(frozen=True, slots=True)
class _Sent:
    """What was sent, to be recognised when it comes back."""

    dataset: bytes  # SHA-256 of the data set as sent
    pixels: bytes  # SHA-256 of its decoded pixels


def demo(
    folder: Annotated[Path | None, typer.Option("--dir", file_okay=False, help="Keep files and store here.")] = None,
    out: Annotated[Path, typer.Option("--out", dir_okay=False, help="The contact sheet.")] = Path(
        "demo-output/contact-sheet.png"
    ),
    associations: Annotated[int, typer.Option("--associations", "-n", min=1, max=256, help="How many at once.")] = 8,
    seed: Annotated[int, typer.Option("--seed", help="The same seed makes the same studies.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="The figures as one line of JSON.")] = False,
) -> None:
    """Send, store, query, decode and check synthetic studies, in seconds.

    A server on a free loopback port over a fresh durable store; CT and MR studies sent to it over several associations;
    queried back; every instance compared with what was sent, byte for byte and pixel for pixel; a contact sheet.

    \b
    Examples:
      dicore demo
      dicore demo --dir /tmp/demo --associations 32 --out sheet.png
    """
    with ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dicore-demo-")))
        elif (folder / "store").exists():
            raise typer.BadParameter(
                f"{folder / 'store'} exists already; the demo wants a fresh one", param_hint="--dir"
            )
        clock, count, failures = _run(folder, associations, seed, out)
    if as_json:
        show_json(
            {
                "instances": count,
                "failures": failures,
                "picture": str(out),
                "steps": [
                    {"step": s.name, "instances": s.instances, "bytes": s.bytes, "seconds": round(s.seconds, 6)}
                    for s in clock.steps
                ],
            }
        )
    else:
        _report(clock)
        for failure in failures:
            show(escape(failure))
        if not failures:
            show(f"\nevery hash verified: {count} of {count} instances came back bit-identical, data sets and pixels")
        show(f"contact sheet: {escape(str(out))}")
    if failures:
        raise typer.Exit(1)


def _run(folder: Path, associations: int, seed: int, out: Path) -> tuple[_Clock, int, list[str]]:
    import asyncio

    import dicore
    from dicore import pixel
    from dicore.pixel import sheet

    clock, files = _Clock(), folder / "files"
    files.mkdir(parents=True, exist_ok=True)
    say("dicore: making the studies")
    sent, size = clock.time("synthesise", lambda: _synthesise(files, seed))
    clock.steps[-1].instances, clock.steps[-1].bytes = len(sent), size
    with dicore.Store(folder / "store", segment_size=256 << 20) as store:
        say(f"dicore: sending them over {associations} associations")
        report = asyncio.run(_send(store, files, associations))
        clock.steps.append(_Step(f"send and store, {associations} at once", report.sent, report.bytes, report.seconds))
        failures = [f"{path}: {reason}" for path, reason in report.failures]
        say("dicore: looking at what was stored")
        studies = clock.time("query the studies", lambda: store.find(level="STUDY"), instances=report.sent)
        clock.time(
            "compare the data sets", lambda: _compare_datasets(store, sent, failures), instances=len(sent), size=size
        )
        decoded = clock.time(
            "decode and compare the pixels", lambda: _compare_pixels(store, sent, failures), instances=len(sent)
        )
        clock.steps[-1].bytes = decoded
        whole = clock.time("verify the store's checksums", store.verify, instances=len(sent), size=size)
        failures += [str(problem) for problem in whole.problems]
        expected = sum(count for _, count, _ in _STUDIES)
        if len(studies) != expected:
            failures.append(f"{expected} studies were sent, the query finds {len(studies)}")
        rows = clock.time("draw the contact sheet", lambda: _rows(store, studies))
        title = f"dicore {dicore.__version__} demo: {len(sent)} instances, {human_bytes(size)}, from the store"
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(pixel.png(sheet.draw(title, rows)))
    return clock, len(sent), failures


def _synthesise(files: Path, seed: int) -> tuple[dict[str, _Sent], int]:
    import dicore.synth

    sent: dict[str, _Sent] = {}
    size, total = 0, sum(studies * slices for _, studies, slices in _STUDIES)
    with progress("synthesising", "instances") as update:
        for number, (modality, studies, slices) in enumerate(_STUDIES):
            for instance in dicore.synth.studies(seed + number, studies, modality=modality, slices=slices):
                (files / f"{len(sent):05d}.dcm").write_bytes(instance.data)
                source = dicore.read(instance.data)
                digests = _sha256(source.dataset_bytes()), _sha256(source.pixels().tobytes())
                sent[instance.sop_instance_uid] = _Sent(*digests)
                size += len(instance.data)
                update(len(sent), total)
    return sent, size


async def _send(store: Store, files: Path, associations: int) -> Any:
    import dicore

    with progress("sending", "instances") as update:
        async with dicore.serve(store, port=0, ae_title="DEMO") as server:
            to = f"DEMO@127.0.0.1:{server.port}"
            return await dicore.send(
                [files], to=to, associations=associations, progress=lambda state: update(state.done, state.total)
            )


def _compare_datasets(store: Store, sent: dict[str, _Sent], failures: list[str]) -> None:
    for uid, expected in sent.items():
        if uid not in store:
            failures.append(f"{uid}: not in the store")
        elif _sha256(store[uid].dataset_bytes()) != expected.dataset:
            failures.append(f"{uid}: the stored data set differs from the one sent")


def _compare_pixels(store: Store, sent: dict[str, _Sent], failures: list[str]) -> int:
    """Decode every instance from the store and compare it with its source; returns the bytes decoded."""
    size = 0
    for uid, expected in sent.items():
        if uid not in store:
            continue  # told already
        pixels = store[uid].pixels()
        size += pixels.nbytes
        if _sha256(pixels.tobytes()) != expected.pixels:
            failures.append(f"{uid}: the pixels decoded from the store differ from the source's")
    return size


def _sha256(data: Any) -> bytes:
    return hashlib.sha256(data).digest()


def _rows(store: Store, studies: list[dict[str, str]]) -> list[Row]:
    from dicore import pixel
    from dicore.pixel.sheet import Row

    rows = []
    for study in sorted(studies, key=lambda row: (row["ModalitiesInStudy"], row["PatientName"])):
        images = store.find(level="IMAGE", StudyInstanceUID=study["StudyInstanceUID"])
        images.sort(key=lambda row: int(row.get("InstanceNumber") or 0))
        step = max(1.0, len(images) / _COLUMNS)
        picked = [images[int(step * (k + 0.5))] for k in range(min(_COLUMNS, len(images)))]
        tiles = []
        for row in picked:
            dataset = store[row["SOPInstanceUID"]]
            tiles.append(
                pixel.render(
                    dataset.pixels(),
                    slope=float(dataset.get("RescaleSlope", 1)),
                    intercept=float(dataset.get("RescaleIntercept", 0)),
                    center=_first(dataset.get("WindowCenter")),
                    width=_first(dataset.get("WindowWidth")),
                )
            )
        size = f"{dataset.Columns} x {dataset.Rows}" if picked else ""
        name = study["PatientName"].replace("^", " ")
        rows.append(
            Row(
                f"{dataset.get('Modality', '')} {name}",
                f"{study['StudyDescription']}  {len(images)} images, {size}",
                tiles,
            )
        )
    return rows


def _first(value: Any) -> float | None:
    """The first of a multi-valued number, or None."""
    if isinstance(value, list):
        value = value[0] if value else None
    return None if value is None else float(value)


def _report(clock: _Clock) -> None:
    rows = []
    for step in clock.steps:
        rate = f"{step.instances / step.seconds:,.0f}/s" if step.instances and step.bytes else ""
        throughput = f"{human_bytes(step.bytes / step.seconds)}/s" if step.bytes else ""
        took = f"{step.seconds:.2f} s" if step.seconds >= 0.1 else f"{step.seconds * 1e3:.1f} ms"
        rows.append(
            [step.name, step.instances or "", human_bytes(step.bytes) if step.bytes else "", took, rate, throughput]
        )
    show_table(["step", "instances", "size", "time", "instances/s", "bytes/s"], rows, right=(1, 2, 3, 4, 5), drawn=True)
