"""Our codecs beside those that a Python user can install: MB/s of decoded bytes, one thread.

`python -m benchmarks.bench_pixel` prints the table (`--only rle "CT 512"`, `--rounds 5`). What it takes care of:

- Every codec goes through 16 different frames in turn: one frame repeated trains the branch predictor, and RLE looks
  twice as fast. Decoders of C speed write into one array where they can (`out=`).
- The answers are compared with the original before anything is timed, all of ours and four of each peer's.
- Ours and the peers take turns within a round; the figure is the median of the rounds' rates, so that a minute in which
  the machine did something else does not count for one of them alone. The ratio is the median of each round's ratio.
- The images are made here: a body of smooth tissue in air with noise, JPEG Lossless ratio 2.4 to 2.8, the range of real
  CT. With a corpus (DICORE_CORPUS, or ../shared/corpus) its eight WG04 files in JPEG Lossless are measured too.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt

from benchmarks.rows import Row, Section, main, paired, peak
from dicore import pixel
from dicore._native import pixel as native
from dicore.dataset.encode import encapsulated

Array = npt.NDArray[Any]
FRAMES = 16
SYNTAX = {"jpeg-lossless": "1.2.840.10008.1.2.4.70", "rle": "1.2.840.10008.1.2.5", "jpeg-ls": "1.2.840.10008.1.2.4.80"}


def tissue(side: int, seed: int, noise: float) -> Array:
    """A 12-bit slice: an ellipse of about 1,000 with structures, in air, noisy."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side * 512
    body = np.hypot((x - 256 - rng.integers(-9, 9)) * 0.9, y - 250) < 215
    image = np.where(body, 1000 + 80 * np.sin(x / 17 + seed) + 60 * np.cos(y / 13), 20)
    for _ in range(12):
        cx, cy, radius = rng.integers(120, 390), rng.integers(120, 390), rng.integers(5, 30)
        image = np.where(np.hypot(x - cx, y - cy) < radius, image + rng.integers(-600, 1200), image)
    image = image + rng.normal(0, 1, image.shape) * np.where(body, noise * 1.6, noise * 0.8)
    return np.clip(image, 0, 4095).astype(np.uint16)


def colour(side: int, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    planes = [128 + 90 * np.sin((x + 40 * s + seed * 9) / (60 + 9 * s)) * np.cos(y / (70 - 8 * s)) for s in range(3)]
    return np.clip(np.stack(planes, -1) + rng.normal(0, 2.2, (side, side, 3)), 0, 255).astype(np.uint8)


@functools.cache
def images(kind: str) -> tuple[Array, ...]:
    if kind == "CT 512":
        return tuple(tissue(512, i, 7) for i in range(FRAMES))
    if kind == "CR 2048":
        return tuple(tissue(2048, i, 7) for i in range(FRAMES))
    if kind == "RGB 1024":
        return tuple(colour(1024, i) for i in range(FRAMES))
    return real()


@functools.cache
def real() -> tuple[Array, ...]:
    """What the WG04 JPLL files of the corpus hold, or nothing."""
    import dicore

    corpus = Path(os.environ.get("DICORE_CORPUS", Path(__file__).parents[2] / "shared" / "corpus"))
    files = sorted(corpus.glob("dev/dicom-test-files/data/WG04/JPLL/*"))
    return tuple(np.ascontiguousarray(dicore.read(f).pixels()).view(np.uint16) for f in files)


def bits_of(image: Array) -> int:
    return 8 if image.dtype == np.uint8 else max(12, int(image.max()).bit_length())


@dataclass
class Way:
    """One way to do a job: `run(i)` does it for frame i; `check(i)` does it and gives the result."""

    name: str
    run: Callable[[int], Any]
    check: Callable[[int], Any]
    rates: list[float] = field(default_factory=list)


@dataclass
class Case:
    title: str
    frames: Sequence[Array]
    ways: list[Way]  # ours first
    wanted: dict[str, tuple[float, float]]  # peer: (must, reach)
    note: str = ""


# ---- the codecs ------------------------------------------------------------------------------------------------------


def layout_of(image: Array, syntax: str) -> pixel.FrameLayout:
    elements = {
        "Rows": image.shape[0],
        "Columns": image.shape[1],
        "SamplesPerPixel": image.shape[2] if image.ndim == 3 else 1,
        "BitsAllocated": image.dtype.itemsize * 8,
        "BitsStored": bits_of(image),
        "PhotometricInterpretation": "RGB" if image.ndim == 3 else "MONOCHROME2",
    }
    return pixel.layout_from(elements.get, syntax)


def by_pydicom(frames: Sequence[Array], streams: Sequence[bytes], syntax: str, plugin: str = "") -> Way:
    """pydicom's decoder as it comes: the plug-in it takes first, or the one named."""
    from pydicom.pixels import get_decoder

    decoder = get_decoder(syntax)
    options = [
        {
            "rows": f.shape[0],
            "columns": f.shape[1],
            "number_of_frames": 1,
            "samples_per_pixel": f.shape[2] if f.ndim == 3 else 1,
            "bits_allocated": f.dtype.itemsize * 8,
            "bits_stored": bits_of(f),
            "pixel_representation": 0,
            "photometric_interpretation": "RGB" if f.ndim == 3 else "MONOCHROME2",
            "pixel_keyword": "PixelData",
            **({"planar_configuration": 0} if f.ndim == 3 else {}),
        }
        for f in frames
    ]
    items = [encapsulated([s + bytes(len(s) % 2)]) for s in streams]

    def decode(i: int) -> Any:
        return decoder.as_array(items[i], raw=True, decoding_plugin=plugin, **options[i])[0]

    return Way(f"pydicom ({plugin})" if plugin else "pydicom default", decode, decode)


def decoding(
    frames: Sequence[Array],
    streams: Sequence[bytes],
    syntax: str,
    ours: Callable[[bytes, Array], None],
    peers: Iterable[Way],
) -> list[Way]:
    targets = [np.zeros_like(f) for f in frames[:1]] if len({f.shape for f in frames}) == 1 else None
    outs = [targets[0]] * len(frames) if targets else [np.zeros_like(f) for f in frames]
    layouts = [layout_of(f, syntax) for f in frames]
    items = [encapsulated([s + bytes(len(s) % 2)]) for s in streams]

    def check(i: int) -> Array:
        outs[i][...] = 0
        ours(streams[i], outs[i])
        return outs[i]

    def whole(i: int) -> Array:
        return pixel.decode(layouts[i], items[i], raw=True)

    def copy(i: int) -> Array:
        np.copyto(outs[i], frames[i])
        return outs[i]

    return [
        Way("dicore", lambda i: ours(streams[i], outs[i]), check),
        Way("dicore.pixel.decode", whole, whole),
        *peers,
        Way("floor: memcpy", copy, copy),
    ]


def jpeg_lossless(kind: str) -> Iterator[Case]:
    frames = images(kind)
    syntax = SYNTAX["jpeg-lossless"]
    colours = {"colorspace": "RGB", "outcolorspace": "RGB"} if kind.startswith("RGB") else {}
    streams = [
        bytes(imagecodecs.jpeg8_encode(f, lossless=True, predictor=1, bitspersample=bits_of(f), **colours))
        for f in frames
    ]
    outs = [np.zeros_like(f) for f in frames]

    def turbo(i: int) -> Any:
        return imagecodecs.jpeg8_decode(streams[i], out=outs[i], **colours)

    peers = [Way("libjpeg-turbo 3 (imagecodecs)", turbo, turbo), by_pydicom(frames, streams, syntax)]
    strict = not colours
    yield Case(
        f"JPEG Lossless decode, {kind}",
        frames,
        decoding(frames, streams, syntax, native.jpeg_lossless_decode, peers),
        {"libjpeg-turbo 3 (imagecodecs)": (2.5, 4), "pydicom default": (15, 24)} if strict else {},
        ratio_of(frames, streams),
    )

    def back(stream: Any) -> Any:
        return imagecodecs.jpeg8_decode(stream, **colours)

    def encode(i: int) -> bytes:
        return native.jpeg_lossless_encode(frames[i], bits_of(frames[i]))

    def lj92(i: int) -> Any:
        return imagecodecs.ljpeg_encode(frames[i], bitspersample=bits_of(frames[i]))

    def turbo_encode(i: int) -> Any:
        return imagecodecs.jpeg8_encode(
            frames[i], lossless=True, predictor=1, bitspersample=bits_of(frames[i]), **colours
        )

    ways = [
        Way("dicore", encode, lambda i: back(encode(i))),
        Way("libjpeg-turbo 3 (imagecodecs)", turbo_encode, lambda i: back(turbo_encode(i))),
    ]
    if strict:
        ways.insert(1, Way("liblj92 (imagecodecs)", lj92, lambda i: imagecodecs.ljpeg_decode(lj92(i))))
    sizes = [len(encode(i)) for i in range(len(frames))]
    yield Case(
        f"JPEG Lossless encode, {kind}",
        frames,
        ways,
        {"liblj92 (imagecodecs)": (5, 10)} if strict else {},
        f"{sum(sizes) / sum(map(len, streams)):.4f} of libjpeg-turbo's size",
    )


def rle(kind: str) -> Iterator[Case]:
    import rle as pylibjpeg_rle
    from pydicom.pixels import get_encoder

    frames = images(kind)
    syntax = SYNTAX["rle"]
    headers = [
        {
            "rows": f.shape[0],
            "columns": f.shape[1],
            "bits_allocated": f.dtype.itemsize * 8,
            "samples_per_pixel": f.shape[2] if f.ndim == 3 else 1,
        }
        for f in frames
    ]

    def theirs(i: int) -> bytes:
        return bytes(pylibjpeg_rle.encode_pixel_data(raw[i], byteorder="<", **headers[i]))

    raw = [f.tobytes() for f in frames]
    strict = not kind.startswith("RGB")
    for origin, streams in (
        ("our frames", [native.rle_encode(f) for f in frames]),
        ("pylibjpeg-rle's frames", [theirs(i) for i in range(len(frames))]),
    ):

        def planes(i: int, streams: Sequence[bytes] = streams) -> Any:
            return imagecodecs.dicomrle_decode(streams[i], frames[i].dtype)

        def woven(i: int, planes: Callable[[int], Any] = planes) -> Array:
            flat = np.frombuffer(planes(i), frames[i].dtype).reshape(-1, *frames[i].shape[:2])
            return np.moveaxis(flat, 0, -1).reshape(frames[i].shape)

        peers = [
            Way("imagecodecs", planes, woven),
            by_pydicom(frames, streams, syntax, "pylibjpeg"),
            by_pydicom(frames, streams, syntax, "pydicom"),
        ]
        yield Case(
            f"RLE decode, {origin}, {kind}",
            frames,
            decoding(frames, streams, syntax, native.rle_decode, peers),
            {"imagecodecs": (2.2, 3), "pydicom (pydicom)": (30, 40)} if strict else {},
            ratio_of(frames, streams),
        )

    def back(i: int, stream: bytes) -> Array:
        out = np.zeros_like(frames[i])
        native.rle_decode(stream, out)
        return out

    def encode(i: int) -> bytes:
        return native.rle_encode(frames[i])

    encoder = get_encoder(syntax)

    def own(i: int) -> bytes:
        color = {"photometric_interpretation": "RGB" if frames[i].ndim == 3 else "MONOCHROME2", "number_of_frames": 1}
        extra = {"bits_stored": bits_of(frames[i]), "pixel_representation": 0}
        extra |= {"planar_configuration": 0} if frames[i].ndim == 3 else {}
        return bytes(encoder.encode(raw[i], encoding_plugin="pydicom", **headers[i], **color, **extra))

    sizes = sum(len(encode(i)) for i in range(len(frames))) / sum(len(theirs(i)) for i in range(len(frames)))
    yield Case(
        f"RLE encode, {kind}",
        frames,
        [
            Way("dicore", encode, lambda i: back(i, encode(i))),
            Way("pylibjpeg-rle", theirs, lambda i: back(i, theirs(i))),
            *([] if frames[0].nbytes > 1 << 21 else [Way("pydicom", own, lambda i: back(i, own(i)))]),  # 8 MB/s
        ],
        {"pylibjpeg-rle": (20, 40)} if strict else {},
        f"{sizes:.3f} of pylibjpeg-rle's size",
    )


def jpeg_ls(kind: str) -> Iterator[Case]:
    import jpeg_ls as pyjpegls

    strict = not kind.startswith("RGB")
    originals = images(kind)
    for near, title, must in ((0, "lossless", (1.5, 2)), (3, "near 3", (1.2, 2))):
        streams = [
            bytes(pyjpegls.encode_array(f, lossy_error=near, interleave_mode=2 if f.ndim == 3 else 0))
            for f in originals
        ]
        frames = [imagecodecs.jpegls_decode(s) for s in streams]
        syntax = SYNTAX["jpeg-ls"] if near == 0 else SYNTAX["jpeg-ls"][:-2] + "81"

        def charls(i: int, streams: Sequence[bytes] = streams) -> Any:
            return imagecodecs.jpegls_decode(streams[i])

        peers = [Way("CharLS (imagecodecs)", charls, charls), by_pydicom(frames, streams, syntax)]
        yield Case(
            f"JPEG-LS decode, {title}, {kind}",
            frames,
            decoding(frames, streams, syntax, native.jpeg_ls_decode, peers),
            {"CharLS (imagecodecs)": must} if strict else {},
            ratio_of(frames, streams),
        )


CODECS: dict[str, Callable[[str], Iterator[Case]]] = {
    "jpeg-lossless": jpeg_lossless,
    "rle": rle,
    "jpeg-ls": jpeg_ls,
}
KINDS = ("CT 512", "CR 2048", "WG04 JPLL", "RGB 1024")


# ---- measuring -------------------------------------------------------------------------------------------------------


def ratio_of(frames: Sequence[Array], streams: Sequence[bytes]) -> str:
    return f"{sum(f.nbytes for f in frames) / sum(map(len, streams)):.2f}:1"


def measure(case: Case, rounds: int, budget: float) -> None:
    """Each way takes `budget` seconds a round, whole turns through the frames; slow ways take fewer frames.

    All that we make is compared; of a peer the first four frames.
    """
    for way in case.ways:
        for i, frame in enumerate(case.frames if way is case.ways[0] else case.frames[:4]):
            if not np.array_equal(np.asarray(way.check(i)).reshape(frame.shape), frame):
                raise AssertionError(f"{case.title}: {way.name} gets frame {i} wrong")
    count = len(case.frames)
    for _ in range(rounds):
        for way in case.ways:
            done, turn = 0, 0
            start = time.perf_counter()
            while (spent := time.perf_counter() - start) < budget or turn < min(count, 2):
                way.run(turn % count)
                done += case.frames[turn % count].nbytes
                turn += 1
                if turn % count == 0 and spent > budget:
                    break
            way.rates.append(done / (time.perf_counter() - start) / 1e6)


def section(case: Case) -> Section:
    ours = case.ways[0]
    rows = []
    for way in case.ways:
        must, reach = case.wanted.get(way.name, (None, None))
        ratio = None if way is ours else paired(ours.rates, way.rates)
        grown = peak(functools.partial(way.check, 0))
        rows.append(Row(way.name, way.rates, ratio, must, reach, peak=grown))
    return Section(f"{case.title} ({case.note})", "MB/s", rows)


def sections(rounds: int, only: Sequence[str] = (), seconds: float = 0.15) -> Iterator[Section]:
    """`only`: codecs and kinds of images, as they are called in CODECS and KINDS. A way takes `seconds` in a round."""
    codecs, kinds = [name for name in CODECS if name in only], [kind for kind in KINDS if kind in only]
    for name in codecs or CODECS:
        for kind in kinds or KINDS:
            if not images(kind):
                continue
            for case in CODECS[name](kind):
                measure(case, rounds, seconds)
                yield section(case)


if __name__ == "__main__":
    raise SystemExit(main(sections, __doc__))
