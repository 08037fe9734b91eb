"""A hospital in a scenario: exams a year become streams, rates and sizes that one can read, argue about and change."""

from __future__ import annotations

from dataclasses import dataclass

from dicore.loadtest.arrivals import HOURS

__all__ = ["MODALITIES", "Modality", "exams_a_year", "hospital"]

WORKING_DAYS = 300  # a year, weekends counted as half days
PEAK_SHARE = max(HOURS) / sum(HOURS)  # of a day's exams, in its busiest hour


@dataclass(frozen=True, slots=True)
class Modality:
    """What one kind of exam weighs: its share of all exams, series and images of each, the side of an image."""

    name: str
    share: float
    series: int
    images: int  # a series
    size: int  # pixels a side
    word: str
    weight: float = 2.0  # bytes of an instance for each pixel of such a square: frames, colours, oblong pictures


# orders of magnitude of a general hospital; change them in the scenario, which is why it is written out
MODALITIES = (
    Modality("CR", 0.38, 1, 2, 2048, "plain radiographs"),
    Modality("US", 0.20, 1, 24, 640, "ultrasound", 2.25),
    Modality("CT", 0.17, 3, 220, 512, "computed tomography"),
    Modality("MR", 0.11, 6, 40, 384, "magnetic resonance"),
    Modality("MG", 0.06, 1, 4, 3072, "mammography"),
    Modality("XA", 0.03, 4, 2, 1024, "angiography", 15.0),
    Modality("PT", 0.02, 2, 200, 200, "positron emission"),
    Modality("NM", 0.03, 1, 4, 256, "nuclear medicine", 16.0),
)


def exams_a_year(studies_an_hour: float) -> float:
    """Exams a year of a hospital whose busiest hour has so many."""
    return studies_an_hour / PEAK_SHARE * WORKING_DAYS


def busiest_hour(exams: float) -> float:
    """Exams in the busiest hour of a hospital with so many a year."""
    return exams / WORKING_DAYS * PEAK_SHARE


def hospital(exams: int, *, name: str = "hospital", minutes: float = 10.0, archive: str = "", seed: int = 1) -> str:
    """A commented scenario, as TOML: the busiest hour of a hospital with `exams` exams a year, for `minutes`.

    `archive` is the AE title to which the target may C-MOVE; without one, prefetch and reading use C-GET.
    ValueError for fewer than 1,000 exams.
    """
    if exams < 1000 or minutes <= 0:
        raise ValueError("a hospital has 1,000 exams a year or more, a run takes some minutes")
    hour = busiest_hour(exams)
    rate = hour / 3600
    lines = [
        f"# A hospital with {exams:,} exams a year, in its busiest hour: {hour:,.0f} exams ({PEAK_SHARE:.1%} of a",
        f"# day of {exams / WORKING_DAYS:,.0f}, {WORKING_DAYS} working days). Change what is not yours:",
        "# shares, sizes and rates are plain figures below.",
        "#",
        f"#   {'kind':<22}{'exams/h':>9}{'images/exam':>13}{'images/s':>10}{'MB/s':>8}",
    ]
    images_total = size_total = 0.0
    for one in MODALITIES:
        images = one.series * one.images
        a_second = rate * one.share * images
        size = a_second * one.size * one.size * one.weight / 1e6
        images_total, size_total = images_total + a_second, size_total + size
        lines.append(f"#   {one.word:<22}{hour * one.share:>9,.0f}{images:>13,}{a_second:>10,.1f}{size:>8,.1f}")
    lines += [f"#   {'all':<22}{hour:>9,.0f}{'':>13}{images_total:>10,.1f}{size_total:>8,.1f}", ""]
    lines += [
        f'name = "{name}: {exams:,} exams a year"',
        f"seed = {seed}",
        f'duration = "{minutes:g}m"',
        'warmup = "15s"       # shown in the plots, left out of the percentiles',
        'ledger = "find"      # afterwards each acknowledged instance is looked for: off, find, get',
        "",
        "[objective]           # what must hold, counted from the moment an operation was due",
        'p99 = "5s"',
        "errors = 0.001",
        "lost = 0",
        "",
        "[safety]",
        f"rate = {max(200.0, 4 * (images_total + 10 * rate)):.0f}           # operations a second, never exceeded",
        f'data = "{max(1, round(size_total * minutes * 60 / 1000 * 3))}GB"',
        "",
        "# -- before the exam: the modality asks for its worklist, the archive is asked for priors and sends them",
        *_stream("worklist", "worklist", rate * 2, 16, "image", "each modality asks twice an exam"),
        *_stream("look for priors", "find", rate, 16, "image", "one C-FIND an exam"),
        *_fetch("prefetch", rate * 0.4, archive, "four of ten patients have priors"),
        "# -- the exam: images arrive series by series",
    ]  # fmt: skip
    for one in MODALITIES:
        material = f'{{modality = "{one.name}", series = {one.series}, slices = {one.images}, size = {one.size}}}'
        lines += _stream(
            f"{one.name} images", "store", rate * one.share * one.series * one.images, 32, "series",
            f"{hour * one.share:,.0f} exams an hour of {one.series} x {one.images} images", f"material = {material}",
        )  # fmt: skip
    lines += [
        "# -- after it: the radiologist opens the study and what was before",
        *_stream("reading list", "find", rate * 3, 32, "kept", "lists are refreshed all day"),
        *_fetch("reading", rate, archive, "each study is opened once"),
    ]
    return "\n".join(lines) + "\n"


def _stream(
    name: str, operation: str, rate: float, associations: int, association: str, note: str, extra: str = ""
) -> list[str]:
    return [
        "[[stream]]",
        f'name = "{name}"',
        f'operation = "{operation}"',
        f"arrivals = {{model = \"poisson\", rate = {rate:.4g}}}   # a second; {note}",
        f"associations = {associations}   # at most so many at once",
        f'association = "{association}"',
        *([extra] if extra else []),
        "",
    ]  # fmt: skip


def _fetch(name: str, rate: float, archive: str, note: str) -> list[str]:
    if archive:
        return _stream(name, "move", rate, 16, "image", note, f'destination = "{archive}"')
    return _stream(name, "get", rate, 16, "image", note)
