"""What is measured on, and the conditions under which a figure means something on a virtual machine.

Files are made from a seed and kept in `build/bench` between runs. The three conditions (docs/how-dicore-is-tested.md):
memory is touched and freed before each timed stretch, nothing is deleted just before one, page cache of the outputs is
dropped after it.
"""

from __future__ import annotations

import functools
import hashlib
import mmap
import os
import platform
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pydicom
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

ROOT = Path(__file__).resolve().parent.parent / "build" / "bench"
CSRC = ROOT.parent.parent / "csrc"
UID = "1.2.826.0.1.3680043.10.1338.1."


@functools.cache
def c_client(name: str) -> Path:
    """The client csrc/tests/`name`.c, compiled with the parts of libdicore that it needs."""
    sources = [CSRC / "tests" / f"{name}.c"]
    for column in ("base", "dataset", "net"):
        sources += sorted((CSRC / column).glob("*.c"))
    binary = ROOT / name
    if not binary.exists() or binary.stat().st_mtime < max(one.stat().st_mtime for one in sources):
        ROOT.mkdir(parents=True, exist_ok=True)
        options = ["-O2", "-std=gnu11", "-D_GNU_SOURCE", f"-I{CSRC / 'include'}", f"-I{CSRC}"]
        subprocess.run(["gcc", *options, "-o", binary, *map(str, sources), "-lz"], check=True)
    return binary


def _pixels(ds: Dataset, side: int) -> None:
    ds.Rows = ds.Columns = side
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.PixelData = bytes(2 * side * side)
    ds["PixelData"].VR = "OW"


def _lean(side: int) -> Dataset:
    """A CT slice with the elements that an archive needs and little else: about 1 KB before the pixels."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.SOPClassUID = CTImageStorage
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = "20260101"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = "120000"
    ds.AccessionNumber, ds.Modality, ds.Manufacturer = "A0000001", "CT", "dicore benchmark"
    ds.StudyDescription, ds.SeriesDescription = "CT Thorax", "axial 1.0"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Bench^Mark", "BENCH00001", "19700101", "O"
    ds.SliceThickness, ds.KVP, ds.ExposureTime, ds.XRayTubeCurrent = "1.0", "120", "500", "200"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = UID + "2.1", UID + "3.1"
    ds.StudyID, ds.SeriesNumber, ds.InstanceNumber = "1", "1", "0000001"
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [-125, -125, 0], [1, 0, 0, 0, 1, 0]
    ds.FrameOfReferenceUID = UID + "4.1"
    ds.PixelSpacing, ds.WindowCenter, ds.WindowWidth = [0.9, 0.9], "40", "400"
    ds.RescaleIntercept, ds.RescaleSlope = "-1024", "1"
    _pixels(ds, side)
    return ds


def _real(side: int) -> Dataset:
    """The header of a real GE scanner (pydicom's CT_small.dcm, 258 elements, private ones included), larger pixels."""
    ds = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    _pixels(ds, side)
    del ds[0xFFFCFFFC]
    return ds


@functools.cache
def ct(kind: str, side: int, count: int) -> list[Path]:
    """`count` CT files of side x side 16-bit pixels, `kind` 'lean' or 'real' header, each its own UID and pixels."""
    folder = ROOT / f"ct-{kind}-{side}-{count}"
    complete = folder.with_suffix(".complete")  # beside it: the folder itself holds nothing but what is sent
    if not complete.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        ds = {"lean": _lean, "real": _real}[kind](side)
        model_uid = UID + "1.1000000"
        ds.SOPInstanceUID = model_uid
        ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, model_uid
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.save_as(folder / "model", enforce_file_format=True)
        head = (folder / "model").read_bytes()[: -2 * side * side]
        (folder / "model").unlink()
        random = np.random.default_rng(1)
        for i in range(count):
            body = random.integers(0, 4096, side * side, np.uint16).tobytes()
            data = head.replace(model_uid.encode(), f"{UID}1.{1_000_000 + i}".encode()) + body
            (folder / f"{i:05}.dcm").write_bytes(data)
        os.sync()
        complete.touch()
    files = sorted(folder.glob("*.dcm"))
    assert len(files) == count
    return files


def data_set(part10: bytes | memoryview) -> bytes | memoryview:
    """The bytes after the file meta group of a Part 10 file: what a C-STORE carries."""
    if bytes(part10[128:132]) != b"DICM" or bytes(part10[132:138]) != b"\x02\x00\x00\x00UL":
        raise ValueError("not a Part 10 file with a group length")
    return part10[144 + int.from_bytes(part10[140:144], "little") :]


def digest(data: bytes | memoryview) -> bytes:
    return hashlib.sha256(data).digest()


@functools.cache
def sent(files: tuple[Path, ...]) -> frozenset[bytes]:
    """Digests of the data sets in `files`: what every receiver must hold afterwards."""
    return frozenset(digest(data_set(f.read_bytes())) for f in files)


# --- conditions ------------------------------------------------------------------------------------------------------
def touch(gib: float = 2.5) -> None:
    """Write to `gib` of fresh memory and free it, so that the host backs what the next seconds will use."""
    size = int(gib * (1 << 30)) & ~4095
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
    mmap.mmap(-1, size, flags=flags).close()


def warm(files: Iterable[Path]) -> None:
    """Have the inputs in the page cache."""
    for f in files:
        with open(f, "rb", buffering=0) as opened:
            while opened.read(1 << 20):
                pass


def drop(folder: Path) -> None:
    """Write out and drop the cached pages of every file below `folder`."""
    os.sync()
    for f in folder.rglob("*"):
        if f.is_file():
            fd = os.open(f, os.O_RDONLY)
            try:
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(fd)


# --- the machine -----------------------------------------------------------------------------------------------------
def machine() -> str:
    named = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    cpu = named[0].split(":")[1].strip() if named else platform.machine()
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    where = ["findmnt", "--noheadings", "--output", "FSTYPE", "--target", "."]
    kind = subprocess.run(where, capture_output=True, text=True).stdout.strip()
    return (
        f"{os.cpu_count()} x {cpu}, {pages / (1 << 30):.0f} GiB, Linux {platform.release()}, {kind}, "
        f"Python {platform.python_version()}"
    )


def versions() -> Iterator[tuple[str, str]]:
    for package in ("dicore", "pydicom", "pynetdicom", "fastdicom", "uvloop", "numpy"):
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue
    if path := shutil.which("storescp"):
        words = subprocess.run([path, "--version"], capture_output=True, text=True).stdout.split()
        if len(words) > 2:  # else it is another's program of that name
            yield "DCMTK", words[2].lstrip("v")
