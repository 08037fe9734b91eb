"""Files that are larger than memory should have to be: sparse ones, so that the disk does not mind."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import dicore
from vectors.deviations import IDS, MODALITY, PATIENT, RLE, element, item, part10

GIB = 1 << 30
ROWS = COLUMNS = 512


def image_head(frames: int, bits: int = 8) -> bytes:
    values = [
        (0x00280002, "US", struct.pack("<H", 1)), (0x00280004, "CS", b"MONOCHROME2 "),
        (0x00280008, "IS", str(frames).encode().rjust(len(str(frames)) + len(str(frames)) % 2)),
        (0x00280010, "US", struct.pack("<H", ROWS)), (0x00280011, "US", struct.pack("<H", COLUMNS)),
        (0x00280100, "US", struct.pack("<H", bits)), (0x00280101, "US", struct.pack("<H", bits)),
        (0x00280102, "US", struct.pack("<H", bits - 1)), (0x00280103, "US", b"\0\0"),
    ]  # fmt: skip
    return IDS + MODALITY + PATIENT + b"".join(element(*v) for v in values)


@pytest.fixture
def native(tmp_path: Path) -> Path:
    """1 GiB of 4,096 frames of 512 x 512 bytes; frame n begins with n; an element behind the pixels."""
    path = tmp_path / "native.dcm"
    head = part10(image_head(4096) + element(0x7FE00010, "OW", b"", GIB))
    with open(path, "wb") as out:
        out.write(head)
        for n in (0, 1, 4095):
            out.seek(len(head) + n * ROWS * COLUMNS)
            out.write(struct.pack("<I", n))
        out.seek(len(head) + GIB)
        out.write(element(0xFFFCFFFC, "OB", b"\1\2"))
    return path


FRAMES = 300
FRAGMENT = 1 << 22


@pytest.fixture
def encapsulated(tmp_path: Path) -> Path:
    """1.2 GiB of RLE: 300 frames in fragments of 4 MiB, of which nearly all is a hole."""
    path = tmp_path / "rle.dcm"
    head = part10(image_head(FRAMES) + element(0x7FE00010, "OB", item(b""), 0xFFFFFFFF), RLE)
    with open(path, "wb") as out:
        out.write(head)
        at = len(head)
        for n in range(FRAMES):
            out.seek(at)
            runs = b"".join(bytes((256 - 127, n % 256)) for _ in range(ROWS * COLUMNS // 128))
            out.write(struct.pack("<HHI", 0xFFFE, 0xE000, FRAGMENT) + struct.pack("<16I", 1, 64, *[0] * 14) + runs)
            at += 8 + FRAGMENT
        out.seek(at)
        out.write(struct.pack("<HHI", 0xFFFE, 0xE0DD, 0) + element(0xFFFCFFFC, "OB", b"\1\2"))
    return path


def growth(code: str, path: Path) -> int:
    """Bytes by which the peak resident size of a fresh process grows while `code` runs."""
    program = f"""
import resource, sys, dicore, dicore.dataset
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
path = {str(path)!r}
{code.partition("---")[0]}
before = peak()
{code.partition("---")[2]}
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return int(done.stdout)


HEADER = """_ = dicore.read(path).get("Rows")
---
ds = dicore.read(path)
assert (ds.PatientID, ds.Rows, ds.Columns, int(ds.NumberOfFrames) > 1) == ("4711", 512, 512, True)
assert ds.get("StudyDescription") is None
assert "PixelData" in ds and len(ds) == 15 and ds["PixelData"].length > 1 << 29
assert ds[0xFFFC, 0xFFFC].value == b"\\1\\2"
assert [w.code for w in ds.warnings] == []
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss in KiB is Linux's: 2 tests")
@pytest.mark.parametrize("kind", ["native", "encapsulated"])
def test_the_header_of_a_gigabyte_takes_less_than_one_megabyte(kind, request) -> None:
    assert growth(HEADER, request.getfixturevalue(kind)) < 1 << 20


FRAME_LOOP = """
import numpy
ds = dicore.read(path)
frames = ds.iter_frames()
_ = next(frames)
---
ds = dicore.read(path)
for count, frame in enumerate(ds.iter_frames()):
    if count == 150: break
assert frame.shape == (512, 512)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss in KiB is Linux's: 2 tests")
@pytest.mark.parametrize("kind", ["native", "encapsulated"])
def test_frames_come_one_by_one_in_constant_memory(kind, request) -> None:
    assert growth(FRAME_LOOP, request.getfixturevalue(kind)) < 16 << 20


def test_frames_of_a_native_file_are_the_right_ones(native) -> None:
    ds = dicore.read(native)
    frames = ds.iter_frames()
    assert [int.from_bytes(next(frames).tobytes()[:4], "little") for _ in range(2)] == [0, 1]
    assert int.from_bytes(ds.pixels(frames=4095).tobytes()[:4], "little") == 4095
    assert ds.pixels(frames=-1).tobytes() == ds.pixels(frames=4095).tobytes()


def test_frames_of_an_encapsulated_file_are_the_right_ones(encapsulated) -> None:
    ds = dicore.read(encapsulated)
    assert ds.pixels(frames=299).min() == ds.pixels(frames=299).max() == 299 % 256
    for number, frame in zip(range(5), ds.iter_frames(), strict=False):
        assert (frame.min(), frame.max(), frame.shape) == (number, number, (ROWS, COLUMNS))


def test_small_files_give_the_same_frames_by_path_and_by_bytes(tmp_path) -> None:
    random = np.random.default_rng(1).integers(0, 256, (7, ROWS, COLUMNS), np.uint8)
    for bits, stored in ((8, random.tobytes()), (16, random.tobytes() * 2), (1, np.packbits(random & 1, bitorder="little").tobytes())):
        data = part10(image_head(7, bits) + element(0x7FE00010, "OW" if bits > 8 else "OB", stored))
        path = tmp_path / "frames.dcm"
        path.write_bytes(data)
        mine, whole = list(dicore.read(path).iter_frames()), dicore.read(data).pixels()
        assert len(mine) == 7
        assert all((a == b).all() for a, b in zip(mine, whole, strict=True))
        assert (dicore.read(path).pixels(frames=3) == whole[3]).all()


def test_a_file_that_changes_between_frames_is_refused(native) -> None:
    frames = dicore.read(native).iter_frames()
    next(frames)
    os.truncate(native, 1 << 20)
    with pytest.raises(dicore.DicomFormatError, match="changed"):
        list(frames)


def test_values_and_offsets_beyond_four_gigabytes(tmp_path) -> None:
    """One value of 4 GiB - 2, and an element behind it; and an encapsulated one of more than 4 GiB."""
    path = tmp_path / "four.dcm"
    head = part10(MODALITY + PATIENT + element(0x00420011, "OB", b"", 0xFFFFFFFE))
    with open(path, "wb") as out:
        out.write(head)
        out.seek(len(head) + 0xFFFFFFFE)
        out.write(element(0xFFFCFFFC, "OB", b"\1\2"))
    ds = dicore.read(path)
    assert (ds.PatientID, ds[0x00420011].length, ds[0xFFFCFFFC].value) == ("4711", 0xFFFFFFFE, b"\1\2")
    assert ds[0xFFFCFFFC].offset > 1 << 32
    assert ds.warnings == []

    path = tmp_path / "five.dcm"
    head = part10(image_head(2) + element(0x7FE00010, "OB", item(b""), 0xFFFFFFFF), RLE)
    with open(path, "wb") as out:
        out.write(head)
        for _ in range(2):
            out.write(struct.pack("<HHI", 0xFFFE, 0xE000, 0xA0000000) + struct.pack("<16I", 1, 64, *[0] * 14))
            out.seek(0xA0000000 - 64, os.SEEK_CUR)
        out.write(struct.pack("<HHI", 0xFFFE, 0xE0DD, 0) + element(0xFFFCFFFC, "OB", b"\1\2"))
    ds = dicore.read(path)
    assert (ds[0xFFFCFFFC].value, ds["PixelData"].length) == (b"\1\2", 2 * (0xA0000000 + 8) + 8)
    assert ds["PixelData"].length > 1 << 32
    assert ds.warnings == []


def per_frame(frames: int) -> bytes:
    """A segmentation's functional groups as highdicom writes them: five nested sequences a frame."""
    shared = element(0x52009229, "SQ", item(element(0x00289110, "SQ", item(element(0x00280030, "DS", b"0.5\\0.5 ")))))
    groups = []
    for n in range(frames):
        position = f"{n}\\0\\{n * 1.5}".encode()
        groups.append(item(
            element(0x00089124, "SQ", item(element(0x00082112, "SQ", item(
                element(0x00081150, "UI", b"1.2.840.10008.5.1.4.1.1.2\0") + element(0x00081155, "UI", b"1.2.826.0.1.3680043.%06d" % n + b"\0")))))
            + element(0x00209111, "SQ", item(element(0x00209157, "UL", struct.pack("<2I", 1, n))))
            + element(0x00209113, "SQ", item(element(0x00200032, "DS", position + b" " * (len(position) % 2))))
            + element(0x0062000A, "SQ", item(element(0x0062000B, "US", b"\1\0")))))  # fmt: skip
    return shared + element(0x52009230, "SQ", b"".join(groups))


def test_a_segmentation_of_12000_frames_opens_in_one_pass(tmp_path) -> None:
    path = tmp_path / "seg.dcm"
    frames = 12_000
    path.write_bytes(part10(image_head(frames, 1) + per_frame(frames) + element(0x7FE00010, "OB", bytes(frames * 64))))
    start = time.perf_counter()
    ds = dicore.read(path)
    value = ds["PerFrameFunctionalGroupsSequence[11999].PlanePositionSequence[0].ImagePositionPatient"].value
    took = time.perf_counter() - start
    assert value == [11999.0, 0.0, 17998.5]
    assert len(ds.PerFrameFunctionalGroupsSequence) == frames
    print(f"{took * 1e3:.1f} ms")
