"""Whole-slide files: 20,000 tiles in one value. One tile costs one tile, and iterating costs no memory."""

from __future__ import annotations

import itertools
import os
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import dicore
from vectors.deviations import IDS, MODALITY, PATIENT, element, item, part10

TILES = 20_000
SIDE = 64
SYNTAX = "1.2.840.10008.1.2.4.80"


def head(frames: int, extra: bytes = b"") -> bytes:
    values = [
        (0x00280002, "US", struct.pack("<H", 1)),
        (0x00280004, "CS", b"MONOCHROME2 "),
        (0x00280008, "IS", str(frames).encode().rjust(len(str(frames)) + len(str(frames)) % 2)),
        (0x00280010, "US", struct.pack("<H", SIDE)),
        (0x00280011, "US", struct.pack("<H", SIDE)),
        (0x00280100, "US", struct.pack("<H", 8)),
        (0x00280101, "US", struct.pack("<H", 8)),
        (0x00280102, "US", struct.pack("<H", 7)),
        (0x00280103, "US", b"\0\0"),
    ]
    return IDS + MODALITY + PATIENT + b"".join(element(*v) for v in values) + extra


def tile(number: int) -> np.ndarray:
    """Tile `number`, unlike any other."""
    image = np.full((SIDE, SIDE), number % 251, np.uint8)
    image[0, :4] = [number & 255, number >> 8 & 255, 1, 2]
    return image


def write_slide(path: Path, table: str, tiles: int = TILES, fragments: int = 1, lie: int = 0) -> None:
    """`tiles` tiles of JPEG-LS, of which sixteen differ in the body, and all in the first row by their number."""
    import imagecodecs

    streams = []
    for number in range(tiles):
        if number < 300:
            streams.append(bytes(imagecodecs.jpegls_encode(tile(number))))
        else:
            streams.append(streams[number % 300])
    parts, offsets, lengths, at = [], [], [], 0
    for stream in streams:
        offsets.append(at)
        lengths.append(len(stream))
        cut = -(-len(stream) // fragments) + 1 & ~1
        for start in range(0, len(stream), cut):
            piece = stream[start : start + cut]
            piece += bytes(len(piece) % 2)
            parts.append(item(piece))
            at += len(piece) + 8
    if lie:
        offsets[lie] += 2
    extra, basic = b"", b""
    if table == "basic":
        basic = struct.pack(f"<{tiles}I", *offsets)
    if table == "extended":
        extra = element(0x7FE00001, "OV", struct.pack(f"<{tiles}Q", *offsets))
        extra += element(0x7FE00002, "OV", struct.pack(f"<{tiles}Q", *lengths))
    stored = part10(head(tiles, extra) + element(0x7FE00010, "OB", item(basic), 0xFFFFFFFF), SYNTAX)
    path.write_bytes(stored + b"".join(parts) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0))


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("slides")
    for table in ("basic", "extended", "none"):
        write_slide(folder / table, table)
    return {table: folder / table for table in ("basic", "extended", "none")}


@pytest.mark.parametrize("table", ["basic", "extended", "none"])
def test_any_tile_is_the_right_one(slides, table):
    ds = dicore.read(slides[table])
    for number in (0, 1, 299, 7, 10_000, TILES - 1, -1):
        want = tile(number % TILES % 300)
        np.testing.assert_array_equal(ds.pixels(frames=number), want)
        np.testing.assert_array_equal(dicore.read(slides[table], mmap=True).pixels(frames=number), want)


def reads(strace: str, path: Path, code: str) -> list[str]:
    """The system calls that read a slide."""
    program = f"import dicore, imagecodecs\nfrom dicore import pixel\nds = dicore.read({str(path)!r})\n{code}"
    done = subprocess.run(
        [strace, "-f", "-qq", "-e", "trace=pread64", sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ,
    )
    return [line for line in done.stderr.splitlines() if "pread64" in line]


@pytest.mark.parametrize("table", ["basic", "extended"])
def test_with_a_table_only_the_tile_that_is_asked_for_is_read(slides, table, strace):
    some = reads(strace, slides[table], "ds.pixels(frames=15000)")
    more = reads(strace, slides[table], "ds.pixels(frames=15000)\nfor n in range(100): ds.pixels(frames=n * 150)")
    assert len(more) - len(some) <= 300  # the table's entries, an item's header, its value: of one tile each
    assert len(some) < 120  # the head, and the table once


def test_without_a_table_the_items_are_passed_once(slides, strace):
    some = reads(strace, slides["none"], "ds.pixels(frames=15000)")
    more = reads(strace, slides["none"], "ds.pixels(frames=15000)\nfor n in range(100): ds.pixels(frames=n * 150)")
    assert TILES <= len(some) < 2 * TILES
    assert len(more) - len(some) == 100


def test_a_table_that_lies_is_rebuilt_when_it_is_met(tmp_path):
    write_slide(tmp_path / "lie", "basic", 400, lie=200)
    ds = dicore.read(tmp_path / "lie")
    for number in (3, 199, 200, 201, 5):
        np.testing.assert_array_equal(ds.pixels(frames=number), tile(number % 300))


@pytest.mark.parametrize("table", ["basic", "none"])
def test_tiles_of_several_fragments(tmp_path, table):
    write_slide(tmp_path / "parts", table, 300, fragments=3)
    ds = dicore.read(tmp_path / "parts")
    for number in (299, 0, 17):
        np.testing.assert_array_equal(ds.pixels(frames=number), tile(number))
    np.testing.assert_array_equal(ds.pixels(), dicore.read((tmp_path / "parts").read_bytes()).pixels())


@pytest.mark.parametrize("table", ["basic", "extended", "none"])
def test_iterating_takes_no_memory(slides, table):
    ds = dicore.read(slides[table])
    frames = ds.iter_frames()
    next(frames)
    tracemalloc.start()
    try:
        for _ in itertools.islice(frames, 100):
            pass
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        for count, frame in enumerate(frames, 101):  # noqa: B007
            pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == TILES - 1
    np.testing.assert_array_equal(frame, tile((TILES - 1) % 300))
    assert peak - before < 1 << 18


@pytest.mark.skipif(sys.platform != "linux", reason="VmHWM is Linux's")
def test_resident_memory_stays_flat(slides):
    program = f"""
import dicore, imagecodecs
def resident(): return int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1]) * 1024
ds = dicore.read({str(slides["basic"])!r})
frames = ds.iter_frames()
for _ in range(200): next(frames)
before = resident()
for frame in frames: pass
print(resident() - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 2 << 20


def test_an_edit_forgets_where_the_frames_were(slides):
    ds = dicore.read(slides["basic"])
    assert ds.pixels(frames=5).shape == (SIDE, SIDE)
    ds.NumberOfFrames = 2
    ds.Rows = SIDE
    assert ds.pixels(frames=1).shape == (SIDE, SIDE)
    with pytest.raises(dicore.PixelDataError, match="no such frame"):
        ds.pixels(frames=5)
