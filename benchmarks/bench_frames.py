"""python -m benchmarks.bench_frames: frames of many, transcoding, and pydicom with and without our decoders.

Answers are compared first. Each ratio is the median over rounds of the ratio within a round, peers in turn, sixteen
different frames in rotation (one repeated frame trains the branch predictor)."""

from __future__ import annotations

import argparse
import functools
import random
import statistics
import struct
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import dicore
from dicore import pixel, uid
from dicore.dataset.encode import encapsulated

P = "1.2.840.10008.1.2.4."
TILES = 20_000


def ct(seed: int, side: int = 512) -> np.ndarray[Any, Any]:
    """A 12-bit slice whose lossless JPEG is 2.2 to 2.8 times smaller."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side
    body = 1000 * ((x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.16) + 200 * np.sin(9 * x + seed) * np.cos(7 * y)
    return (body + 1000 + rng.normal(0, 8, (side, side))).clip(0, 4095).astype("u2")


def rgb(seed: int, side: int = 512) -> np.ndarray[Any, Any]:
    grey = ct(seed, side) >> 4
    return np.stack([grey, 255 - grey, (grey * 3 + 20) % 256], axis=-1).astype("u1")


def instance(frames: list[np.ndarray[Any, Any]], bits: int) -> dicore.Dataset:
    first = frames[0]
    samples = first.shape[2] if first.ndim == 3 else 1
    return dicore.new(
        "1.2.840.10008.5.1.4.1.1.7.3",
        {
            "SamplesPerPixel": samples,
            "PhotometricInterpretation": "RGB" if samples == 3 else "MONOCHROME2",
            **({"PlanarConfiguration": 0} if samples == 3 else {}),
            "NumberOfFrames": len(frames),
            "Rows": first.shape[0],
            "Columns": first.shape[1],
            "BitsAllocated": first.dtype.itemsize * 8,
            "BitsStored": bits,
            "HighBit": bits - 1,
            "PixelRepresentation": 0,
            "PixelData": b"".join(f.tobytes() for f in frames),
        },
    )


def timed(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def ratio(peer: Callable[[], Any], ours: Callable[[], Any], rounds: int) -> float:
    """How many times longer the peer takes."""
    peer(), ours()
    return statistics.median(timed(peer) / timed(ours) for _ in range(rounds))


def row(what: str, value: str, wanted: str = "", held: bool | None = None) -> None:
    print(f"{what:<72}{value:>14}  {wanted:<12}{'' if held is None else 'held' if held else 'MISSED'}", flush=True)


# ---- one tile of a whole-slide file ----------------------------------------------------------------------------------


def slide(path: Path, table: bool) -> None:
    """20,000 tiles of 256 x 256 in RGB."""
    ds = instance([rgb(n, 256) for n in range(16)], 8)
    made = dicore.transcode(ds, P + "50")
    _, items = made._frame_source()
    streams = [bytes(items.frame(n)) for n in range(16)]
    many = made.edit(
        {"NumberOfFrames": TILES, "PixelData": encapsulated([streams[n % 16] for n in range(TILES)], table)}
    )
    many.write(path)


def whole_slide(folder: Path) -> None:
    for table in (True, False):
        path = folder / "slide.dcm"
        slide(path, table)
        start = time.perf_counter()
        ds = dicore.read(path)
        opened = time.perf_counter() - start
        ds.pixels(frames=0)
        first = ds.pixels(frames=5)
        assert (ds.pixels(frames=5 + 16 * 1000) == first).all()
        ask = random.Random(1)
        each = [timed(lambda: ds.pixels(frames=ask.randrange(TILES))) for _ in range(500)]  # noqa: B023
        find = [timed(lambda: ds._frame_source()[1].frame(ask.randrange(TILES))) for _ in range(500)]  # noqa: B023
        name = "basic offset table" if table else "no offset table"
        size = path.stat().st_size / 1e6
        row(f"20,000 tiles ({size:.0f} MB), {name}: open", f"{opened * 1e6:.0f} us")
        middle = statistics.median(each) * 1e3
        row("  one random tile of 256 x 256 RGB, baseline JPEG, decoded", f"{middle:.2f} ms", "1 ms", middle < 1)
        row("  of which finding and reading it", f"{statistics.median(find) * 1e6:.0f} us")


# ---- frames ----------------------------------------------------------------------------------------------------------


def views() -> None:
    frames = [ct(n) for n in range(16)]
    ds = instance(frames, 12)
    got = ds.pixels()
    assert np.shares_memory(got, np.frombuffer(ds.part10_bytes(), np.uint8))
    row("uncompressed frames are a view of the file's bytes", "yes", "", True)


def threads(rounds: int) -> None:
    frames = [ct(n) for n in range(16)] * 2
    for end, name in (("70", "JPEG Lossless"), ("80", "JPEG-LS"), ("90", "JPEG 2000")):
        ds = dicore.transcode(instance(frames, 12), P + end, threads=2, verify=False)
        out = np.zeros((32, 512, 512), "u2")
        assert (ds.pixels(threads=2) == frames).all()
        found = ratio(lambda: ds.pixels(out=out), lambda: ds.pixels(out=out, threads=2), rounds)  # noqa: B023
        row(f"two threads, {name}, 32 frames", f"{found:.2f}x", "1.8x", found >= 1.8)


def with_pydicom(rounds: int) -> None:
    """pydicom's default plug-in against ours: its pixel_array, and our pixels() over the same bytes."""
    from pydicom.pixels.decoders.base import get_decoder

    cases = [
        ("JPEG Lossless, CT: pydicom's own pixel_array, accelerated", P + "70", "ct", 8.0, True),
        ("JPEG Lossless, CT: pixels()", P + "70", "ct", 15.0, False),
        ("HTJ2K lossless, CT: pixels()", P + "201", "ct", 2.0, False),
        ("JPEG baseline, RGB: pixels()", P + "50", "rgb", 5.0, False),
        ("JPEG 2000 lossless, CT: pixels()", P + "90", "ct", 0.95, False),
        ("JPEG-LS, CT: pydicom's own pixel_array, accelerated", P + "80", "ct", 0, True),
        ("RLE, CT: pydicom's own pixel_array, accelerated", "1.2.840.10008.1.2.5", "ct", 0, True),
    ]
    for name, syntax, kind, wanted, plugged in cases:
        count = 6 if syntax.endswith((".90", ".201")) else 16
        frames = [ct(n) if kind == "ct" else rgb(n) for n in range(count)]
        ds = dicore.transcode(instance(frames, 12 if kind == "ct" else 8), syntax, verify=False, quality=90)
        theirs = ds.to_pydicom()

        plugin = next(iter(get_decoder(syntax)._available))  # the first: pydicom's default

        def fresh(name: str = plugin, data: Any = theirs) -> Any:
            data.pixel_array_options(decoding_plugin=name)
            data._pixel_id, data._pixel_array = None, None  # or it gives the array of last time
            return data.pixel_array

        undo = dicore.accelerate_pydicom() if plugged else None
        ours = functools.partial(fresh, "dicore") if plugged else ds.pixels
        off = np.abs(fresh().astype(int) - ours().astype(int))
        assert off.max() <= (16 if syntax == P + "50" else 0), (name, off.max())
        assert off.mean() < 1, name
        found = ratio(fresh, ours, rounds)
        if undo is not None:
            undo()
        row(name, f"{found:.2f}x", f"{wanted:g}x" if wanted else "", found >= wanted if wanted else None)


def transcoding(rounds: int) -> None:
    frames = [ct(n) for n in range(16)]
    ds = instance(frames, 12)
    size = sum(f.nbytes for f in frames) / 1e6
    for end in (P + "70", P + "80", P + "90", P + "201", P + "110", "1.2.840.10008.1.2.5"):
        made = dicore.transcode(ds, end)
        assert (made.pixels() == frames).all()
        stored = len(made["PixelData"].raw) / 1e6
        took = statistics.median(timed(lambda: dicore.transcode(ds, end)) for _ in range(min(3, rounds)))  # noqa: B023
        row(
            f"transcode, verified, one thread: {uid.name(end)[:40]}",
            f"{size / took:.0f} MB/s",
            f"{size / stored:.2f} to 1",
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    assert struct.calcsize("P") == 8
    assert pixel.codecs()
    with tempfile.TemporaryDirectory() as folder:
        whole_slide(Path(folder))
    views()
    threads(asked.rounds)
    with_pydicom(asked.rounds)
    transcoding(asked.rounds)


if __name__ == "__main__":
    main()
