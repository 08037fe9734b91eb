"""Studies out of a seed: patients, series with a geometry that stacks, and instances as Part 10 bytes."""

from __future__ import annotations

import asyncio
import datetime
import functools
import hashlib
import math
import os
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from dicore.dataset import new
from dicore.dataset.encode import Element, encode_element, file_meta
from dicore.pixel.images import window
from dicore.synth import phantom, radiotherapy
from dicore.synth.kinds import KINDS, Place
from dicore.synth.people import Patient, Staff, patient, staff
from dicore.uid import EXPLICIT_LITTLE

__all__ = ["MODALITIES", "Instance", "Modality", "preview", "stream", "studies", "write"]

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
Modality = Literal["CT", "MR", "CR", "DX", "MG", "US", "XA", "PT", "NM", "XC", "SM", "RT", "SR", "ECG", "DOC"]
MODALITIES: tuple[Modality, ...] = get_args(Modality)


@dataclass(frozen=True, slots=True)
class Instance:
    """One synthetic SOP instance. `data` is a whole Part 10 file in explicit VR little endian."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax: str
    data: bytes = field(repr=False)
    study_uid: str = ""
    series_uid: str = ""
    patient_id: str = ""
    modality: str = ""
    series: int = 0
    number: int = 0


def studies(
    seed: int = 0,
    count: int = 1,
    modality: Modality | Literal["mixed"] = "CT",
    slices: int = 24,
    size: int = 512,
    series: int = 1,
) -> Iterator[Instance]:
    """`count` studies of `series` series of `slices` instances each: CT and MR slices of `size` x `size` pixels, 16
    bits (12 stored); or one of the other `MODALITIES`, whose pictures have about that size (an angiography is a run of
    frames, a document has no pixels). A series of SM is the four levels of one slide's pyramid, then of the next slide.
    RT is a series of CT, and for each of structures, plan and dose a series of one instance.

    The same arguments give the same bytes. Study n of a seed does not depend on `count`. A second CT series is a sharp
    reconstruction of the same slices, a second MR series is T2 weighted; `mixed` takes turns of
    CT and MR. ValueError for a size outside 16 to 4096 or counts below 1 (`count` may be 0).
    """
    if not 16 <= size <= 4096 or slices < 1 or series < 1 or count < 0:
        raise ValueError(f"size {size}, {slices} slices, {series} series, {count} studies")
    if modality not in (*MODALITIES, "mixed"):
        raise ValueError(f"modality {modality!r}: {', '.join(MODALITIES)} or mixed")
    for number in range(count):
        kind: Modality = ("CT", "MR")[number % 2] if modality == "mixed" else modality
        study = _study(seed, number, kind)
        for index in range(series):
            make = _series if kind in ("CT", "MR") else _therapy if kind == "RT" else _objects
            yield from make(study, index, slices, size)


async def stream(seed: int = 0, count: int = 1, **options: Any) -> AsyncIterator[Instance]:
    """`studies(seed, count, **options)` for `async for`: each instance is made in a thread while the loop goes on."""
    instances = studies(seed, count, **options)
    while (instance := await asyncio.to_thread(next, instances, None)) is not None:
        yield instance


def write(
    folder: str | os.PathLike[str],
    seed: int = 0,
    count: int = 1,
    *,
    progress: Callable[[int], object] | None = None,
    **options: Any,
) -> list[Path]:
    """Write `studies(seed, count, **options)` below `folder`, which is made; `progress` hears how many files there are.

    `CT0001/1/00001.dcm` is the first instance of the first series of the first study. Gives the paths in order; a file
    that is there already is replaced."""
    root, paths = Path(folder), []
    numbers: dict[str, int] = {}
    for instance in studies(seed, count, **options):
        number = numbers.setdefault(instance.study_uid, len(numbers) + 1)
        place = root / f"{instance.modality}{number:04d}" / str(instance.series)
        place.mkdir(parents=True, exist_ok=True)
        path = place / f"{instance.number:05d}.dcm"
        path.write_bytes(instance.data)
        paths.append(path)
        if progress is not None:
            progress(len(paths))
    return paths


def preview(seed: int = 0, modality: Modality = "CT", slices: int = 6, size: int = 256, series: int = 0) -> list[Any]:
    """The images of a study's series as they would be shown: uint8 arrays (size, size), for a contact sheet."""
    scan = _Scan(_study(seed, 0, modality), series, slices, size)
    return [window(scan.stored(i).astype(np.float32) + scan.intercept, scan.center, scan.width) for i in range(slices)]


@dataclass(frozen=True, slots=True)
class _Study:
    seed: int
    number: int
    modality: Modality
    uid: str
    frame_of_reference: str
    patient: Patient
    staff: Staff
    when: datetime.datetime
    accession: str


def _study(seed: int, number: int, modality: Modality) -> _Study:
    rng = np.random.default_rng([seed & 0xFFFFFFFFFFFFFFFF, number, 1])
    when = datetime.datetime(2023, 1, 2, 7) + datetime.timedelta(
        days=int(rng.integers(700)), minutes=int(rng.integers(13 * 60)), seconds=int(rng.integers(60))
    )
    return _Study(
        seed=seed,
        number=number,
        modality=modality,
        uid=_uid(seed, number, modality, "study"),
        frame_of_reference=_uid(seed, number, modality, "frame"),
        patient=patient(rng, number, when.date()),
        staff=staff(rng),
        when=when,
        accession=f"A{int(rng.integers(10**9)):09d}",
    )


def _uid(*parts: Any) -> str:
    """A UID below 2.25 (PS3.5 B.2) out of anything: the same parts, the same UID."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=16, person=b"dicore.synth").digest()
    return f"2.25.{int.from_bytes(digest, 'big')}"


@functools.lru_cache(maxsize=8)
def _grain(size: int, scale: float, seed: int) -> npt.NDArray[np.float32]:
    """A stock of scanner noise that slices take windows of: twice the size of a slice, of unit deviation."""
    return phantom.noise_field(np.random.default_rng(seed), (2 * size, 2 * size), (scale, scale))


class _Scan:
    """The pixels and the geometry of one series."""

    def __init__(self, study: _Study, index: int, slices: int, size: int) -> None:
        self.rng = np.random.default_rng([study.seed & 0xFFFFFFFFFFFFFFFF, study.number, 2, index])
        shared = np.random.default_rng([study.seed & 0xFFFFFFFFFFFFFFFF, study.number, 3])  # same body in every series
        self.slices, self.size, self.modality, self.index = slices, size, study.modality, index
        heavy = float(np.clip((study.patient.kilograms / study.patient.metres**2 - 25) / 15, -0.5, 0.9))
        if study.modality == "CT":
            self.volume = phantom.trunk(size)
            self.field_of_view = 360.0 + 60.0 * max(0.0, heavy)
            length, self.step, self.intercept = 420.0, 420.0 / max(slices, 24), -1024.0
            self.sharp = index % 2 == 1
            self.center, self.width = ((40.0, 400.0), (-550.0, 1600.0))[self.sharp]
            self.noise, self.scale = ((9.0 + 5 * max(0.0, heavy), 2.0), (34.0, 0.9))[self.sharp]
            self.tilt = 0.0
            low, high = 0.0, 1.0
        else:
            self.volume = phantom.brain(size)[index % 2]
            self.field_of_view = 240.0
            length, self.step, self.intercept = 160.0, 160.0 / max(slices, 14), 0.0
            self.center, self.width = ((430.0, 900.0), (520.0, 1150.0))[index % 2]
            self.noise, self.scale = 16.0, 1.0
            self.tilt = math.radians(float(shared.uniform(4, 14)))
            low, high = 0.06, 0.97
        self.step = round(self.step, 2)
        self.thickness = min(self.step, 5.0)
        self.spacing = round(self.field_of_view / size, 6)
        stop = low + (high - low) * min(1.0, (slices - 1) * self.step / length)
        start = float(shared.uniform(low, high - (stop - low)))
        self.depths = np.linspace(start, start + stop - low, slices) * (phantom.DEPTH - 1)
        zoom_x, zoom_y = 1 / (1 + 0.07 * heavy + 0.02 * shared.uniform(-1, 1)), 1 / (1 + 0.10 * heavy)
        self.columns = self._zoom(zoom_x, float(shared.uniform(-0.03, 0.03)))
        self.rows = self._zoom(zoom_y, float(shared.uniform(-0.02, 0.02)))
        self.gain = float(shared.uniform(0.97, 1.03))
        self.first = float(shared.uniform(-900, -300)) if study.modality == "CT" else -40.0
        self.bias = self._bias(shared) if study.modality == "MR" else None

    def _zoom(self, factor: float, shift: float) -> npt.NDArray[np.intp]:
        at = ((np.arange(self.size) + 0.5) / self.size * 2 - 1) * factor + shift
        return np.clip((at + 1) * self.size / 2, 0, self.size - 1).astype(np.intp)

    def _bias(self, rng: np.random.Generator) -> npt.NDArray[np.float32]:
        """The coil hears what is near it best: a smooth factor over the slice."""
        axis = np.linspace(-1, 1, self.size, dtype=np.float32)
        x, y = np.meshgrid(axis, axis)
        a, b, c, d = (float(v) for v in rng.uniform(-1, 1, 4))
        return (
            1
            + np.float32(0.12) * (a * x + b * y)
            + np.float32(0.10) * (x * x + y * y)
            + np.float32(0.04) * (c * x * y + d)
        )

    def stored(self, index: int) -> npt.NDArray[np.uint16]:
        """Slice `index` as stored: uint16 of 12 bits."""
        depth = float(self.depths[index])
        low = min(int(depth), phantom.DEPTH - 2)
        t = np.float32(depth - low)
        image = self.volume[low] * (1 - t)
        image += self.volume[low + 1] * t
        image = image[self.rows[:, None], self.columns]
        rng = np.random.default_rng([*self.rng.bit_generator.seed_seq.entropy, index])  # type: ignore[attr-defined]
        top, left, top2, left2 = (int(v) for v in rng.integers(0, self.size, 4))
        field = _grain(self.size, self.scale, 7)
        noise = field[top : top + self.size, left : left + self.size]
        if self.bias is None:
            image += noise * np.float32(self.noise)
            image -= np.float32(self.intercept)
        else:  # MR shows the magnitude of a complex number with noise in both parts (Rician)
            image *= self.bias
            image *= np.float32(self.gain)
            image += noise * np.float32(self.noise)
            other = field[top2 : top2 + self.size, left2 : left2 + self.size] * np.float32(self.noise)
            image *= image
            image += other * other
            np.sqrt(image, out=image)
        np.clip(image, 0, 4095, out=image)
        image += np.float32(0.5)
        stored: npt.NDArray[np.uint16] = image.astype(np.uint16)
        return stored

    def position(self, index: int) -> tuple[float, float, float]:
        """Of the centre of the first pixel, in mm (PS3.3 C.7.6.2.1.1): slices stand one step apart on their normal."""
        half = self.field_of_view / 2 - self.spacing / 2
        along = index * self.step
        c, s = math.cos(self.tilt), math.sin(self.tilt)
        if self.modality == "CT":
            return (-half, -half, self.first - along)
        return (-half, -half * c - along * s, self.first - half * s + along * c)

    @property
    def orientation(self) -> tuple[float, ...]:
        return (1.0, 0.0, 0.0, 0.0, math.cos(self.tilt), math.sin(self.tilt))


def _series(study: _Study, index: int, slices: int, size: int) -> Iterator[Instance]:
    scan = _Scan(study, index, slices, size)
    sop_class = CT_IMAGE if study.modality == "CT" else MR_IMAGE
    series_uid = _uid(study.uid, "series", index)
    charset = study.patient.charset
    same = {
        tag: encode_element(tag, vr, value, charset) for tag, vr, value in _series_elements(study, scan, series_uid)
    }
    begin = study.when + datetime.timedelta(minutes=2 + 4 * index)
    for number in range(slices):
        uid = _uid(study.uid, "instance", index, number)
        pixels = scan.stored(number)
        taken = begin + datetime.timedelta(seconds=number * (0.4 if study.modality == "CT" else 2.5))
        x, y, z = scan.position(number)
        clock = taken.strftime("%H%M%S.%f")
        parts = dict(same)
        for tag, vr, value in (
            (0x00080018, "UI", uid),
            (0x00080023, "DA", taken.strftime("%Y%m%d")),
            (0x00080032, "TM", clock),
            (0x00080033, "TM", clock),
            (0x00200013, "IS", number + 1),
            (0x00200032, "DS", (f"{x:.6g}", f"{y:.6g}", f"{z:.8g}")),
            (0x00201041, "DS", f"{z:.8g}"),
            (0x00280106, "US", int(pixels.min())),
            (0x00280107, "US", int(pixels.max())),
        ):
            parts[tag] = encode_element(tag, vr, value)
        parts[0x7FE00010] = encode_element(0x7FE00010, "OW", pixels.astype("<u2", copy=False).tobytes())
        data = b"".join([file_meta(sop_class, uid), *(parts[tag] for tag in sorted(parts))])
        yield Instance(
            sop_class_uid=sop_class,
            sop_instance_uid=uid,
            transfer_syntax=EXPLICIT_LITTLE,
            data=data,
            study_uid=study.uid,
            series_uid=series_uid,
            patient_id=study.patient.identifier,
            modality=study.modality,
            series=index + 1,
            number=number + 1,
        )


def _therapy(study: _Study, index: int, slices: int, size: int) -> Iterator[Instance]:
    """A CT, and a treatment that is planned on it: four series."""
    ct = replace(study, modality="CT")
    first = 4 * index
    scan = _Scan(ct, first, slices, size)
    images = list(_series(ct, first, slices, size))
    yield from images
    uids = [_uid(study.uid, "instance", first + n, 0) for n in (1, 2, 3)]
    planned = radiotherapy.Planned(
        study=study.uid,
        series=images[0].series_uid,
        frame_of_reference=study.frame_of_reference,
        uids=[one.sop_instance_uid for one in images],
        positions=[
            tuple(float(f"{v:.6g}") for v in scan.position(n))  # type: ignore[misc]
            for n in range(slices)
        ],
        spacing=scan.spacing,
        step=scan.step,
        hounsfield=lambda n: scan.stored(n).astype(np.float32) + np.float32(scan.intercept),
        structure_set=uids[0],
        plan=uids[1],
        day=study.when.strftime("%Y%m%d"),
        time=study.when.strftime("%H%M%S"),
    )
    for number, (modality, sop_class, make) in enumerate(
        (
            ("RTSTRUCT", radiotherapy.STRUCTURES, radiotherapy.structures),
            ("RTPLAN", radiotherapy.PLAN, radiotherapy.plan),
            ("RTDOSE", radiotherapy.DOSE, radiotherapy.dose),
        ),
        1,
    ):
        same = _same(study, first + number, modality, "Lung")
        same |= {"OperatorsName": study.staff.performing}
        instance = {"SOPInstanceUID": uids[number - 1], "InstanceNumber": 1}
        made = {**same, **instance, **make(planned)}
        yield Instance(
            sop_class_uid=sop_class,
            sop_instance_uid=uids[number - 1],
            transfer_syntax=EXPLICIT_LITTLE,
            data=new(sop_class, made).to_bytes(),
            study_uid=study.uid,
            series_uid=same["SeriesInstanceUID"],
            patient_id=study.patient.identifier,
            modality=modality,
            series=first + number + 1,
            number=1,
        )


def _same(study: _Study, index: int, modality: str, description: str) -> dict[str, Any]:
    """What all instances of a series share that is neither CT nor MR."""
    series_uid = _uid(study.uid, "series", index)
    who, begin = study.patient, study.when + datetime.timedelta(minutes=2 + 4 * index)
    day, clock = study.when.strftime("%Y%m%d"), begin.strftime("%H%M%S")
    return {
        "StudyDate": day,
        "SeriesDate": day,
        "StudyTime": study.when.strftime("%H%M%S"),
        "SeriesTime": clock,
        "AccessionNumber": study.accession,
        "Modality": modality,
        "Manufacturer": "dicore",
        "ManufacturerModelName": "Synthesiser",
        "DeviceSerialNumber": "1",
        "SoftwareVersions": "dicore synth 1",
        "InstitutionName": "TEST",
        "ReferringPhysicianName": study.staff.referring,
        "StudyDescription": description,
        "SeriesDescription": description,
        "PatientName": who.name,
        "PatientID": who.identifier,
        "PatientBirthDate": who.birth,
        "PatientSex": who.sex,
        "PatientAge": f"{who.age:03d}Y",
        "PatientSize": who.metres,
        "PatientWeight": who.kilograms,
        "StudyInstanceUID": study.uid,
        "SeriesInstanceUID": series_uid,
        "StudyID": str(study.number + 1),
        "SeriesNumber": index + 1,
    } | ({"SpecificCharacterSet": who.charset} if who.charset else {})


def _objects(study: _Study, index: int, slices: int, size: int) -> Iterator[Instance]:
    """A series of what is neither CT nor MR."""
    kind = KINDS[study.modality]
    same = _same(study, index, kind.modality, kind.description)
    series_uid = same["SeriesInstanceUID"]
    begin = study.when + datetime.timedelta(minutes=2 + 4 * index)
    day, clock = same["StudyDate"], same["SeriesTime"]
    if kind.modality != "SR":
        same["AcquisitionDateTime"] = day + clock
    if kind.modality not in ("SR", "DOC"):
        same |= {"AcquisitionDate": day, "AcquisitionTime": clock, "AcquisitionNumber": 1}
    for number in range(slices):
        rng = np.random.default_rng([study.seed & 0xFFFFFFFFFFFFFFFF, study.number, 4, index, number])
        taken = begin + datetime.timedelta(seconds=8 * number)
        shared = np.random.default_rng([study.seed & 0xFFFFFFFFFFFFFFFF, study.number, 5, index, number // 4])
        clock_now = taken.strftime("%H%M%S")
        at = Place(rng, shared, index, number, slices, size, clock_now, study.frame_of_reference, study.uid)
        sop_class, own = kind.make(at)
        uid = _uid(study.uid, "instance", index, number)
        instance = {"SOPInstanceUID": uid, "InstanceNumber": number + 1, "ContentDate": day, "ContentTime": at.time}
        yield Instance(
            sop_class_uid=sop_class,
            sop_instance_uid=uid,
            transfer_syntax=EXPLICIT_LITTLE,
            data=new(sop_class, {**same, **instance, **own}).to_bytes(),
            study_uid=study.uid,
            series_uid=series_uid,
            patient_id=study.patient.identifier,
            modality=kind.modality,
            series=index + 1,
            number=number + 1,
        )


def _series_elements(study: _Study, scan: _Scan, series_uid: str) -> list[Element]:
    """What all instances of a series share."""
    who, day = study.patient, study.when.strftime("%Y%m%d")
    ct = study.modality == "CT"
    begin = (study.when + datetime.timedelta(minutes=2 + 4 * scan.index)).strftime("%H%M%S")
    t2 = not ct and scan.index % 2 == 1
    description = ("Thorax/Abdomen B30f", "Thorax B70f")[scan.index % 2] if ct else ("t1_se_tra", "t2_tse_tra")[t2]
    elements: list[Element] = [
        (0x00080008, "CS", ("ORIGINAL", "PRIMARY", "AXIAL") if ct else ("ORIGINAL", "PRIMARY", "M", "NORM")),
        (0x00080016, "UI", CT_IMAGE if ct else MR_IMAGE),
        (0x00080020, "DA", day),
        (0x00080021, "DA", day),
        (0x00080022, "DA", day),
        (0x00080030, "TM", study.when.strftime("%H%M%S")),
        (0x00080031, "TM", begin),
        (0x00080050, "SH", study.accession),
        (0x00080060, "CS", study.modality),
        (0x00080070, "LO", "dicore"),
        (0x00080080, "LO", "TEST"),
        (0x00080090, "PN", study.staff.referring),
        (0x00081010, "SH", f"{study.modality}0{1 + study.number % 3}"),
        (0x00081030, "LO", "CT Thorax/Abdomen with contrast" if ct else "MR Head"),
        (0x0008103E, "LO", description),
        (0x00081050, "PN", study.staff.performing),
        (0x00081090, "LO", "Synthesiser"),
        (0x00100010, "PN", who.name),
        (0x00100020, "LO", who.identifier),
        (0x00100030, "DA", who.birth),
        (0x00100040, "CS", who.sex),
        (0x00101010, "AS", f"{who.age:03d}Y"),
        (0x00101020, "DS", who.metres),
        (0x00101030, "DS", who.kilograms),
        (0x00180015, "CS", "CHEST" if ct else "HEAD"),
        (0x00180050, "DS", scan.thickness),
        (0x00180088, "DS", scan.step),
        (0x00181020, "LO", "dicore synth 1"),
        (0x00181030, "LO", "Thorax/Abdomen routine" if ct else "Head routine"),
        (0x00185100, "CS", "HFS"),
        (0x0020000D, "UI", study.uid),
        (0x0020000E, "UI", series_uid),
        (0x00200010, "SH", str(study.number + 1)),
        (0x00200011, "IS", scan.index + 1),
        (0x00200012, "IS", 1),
        (0x00200037, "DS", tuple(f"{v:.8g}" for v in scan.orientation)),
        (0x00200052, "UI", study.frame_of_reference),
        (0x00201040, "LO", ""),
        (0x00280002, "US", 1),
        (0x00280004, "CS", "MONOCHROME2"),
        (0x00280010, "US", scan.size),
        (0x00280011, "US", scan.size),
        (0x00280030, "DS", (scan.spacing, scan.spacing)),
        (0x00280100, "US", 16),
        (0x00280101, "US", 12),
        (0x00280102, "US", 11),
        (0x00280103, "US", 0),
        (0x00281050, "DS", scan.center),
        (0x00281051, "DS", scan.width),
    ]
    if who.charset:
        elements.append((0x00080005, "CS", who.charset))
    if ct:
        elements += [
            (0x00180010, "LO", "Iodine"),
            (0x00180022, "CS", "HELICAL MODE"),
            (0x00180060, "DS", 120),
            (0x00180090, "DS", 500),
            (0x00181100, "DS", round(scan.field_of_view, 1)),
            (0x00181110, "DS", 1085.6),
            (0x00181120, "DS", 0),
            (0x00181130, "DS", 150),
            (0x00181140, "CS", "CW"),
            (0x00181150, "IS", 500),
            (0x00181151, "IS", 210),
            (0x00181210, "SH", ("B30f", "B70f")[scan.index % 2]),
            (0x00281052, "DS", int(scan.intercept)),
            (0x00281053, "DS", 1),
            (0x00281054, "LO", "HU"),
        ]
    else:
        elements += [
            (0x00180020, "CS", "SE"),
            (0x00180021, "CS", "SK" if t2 else "NONE"),
            (0x00180022, "CS", None),
            (0x00180023, "CS", "2D"),
            (0x00180080, "DS", 4200 if t2 else 520),
            (0x00180081, "DS", 96 if t2 else 12),
            (0x00180083, "DS", 1),
            (0x00180084, "DS", 123.25),
            (0x00180085, "SH", "1H"),
            (0x00180087, "DS", 3),
            (0x00180091, "IS", 15 if t2 else 1),
            (0x00181312, "CS", "ROW"),
            (0x00181314, "DS", 150 if t2 else 90),
        ]
    return elements
