"""The walk in C: nanoseconds an element, over 400 different CT headers, one after the other.

One header repeated trains the branch predictor, and the walk looks twice as fast; so each of the 400 lacks some
elements of a real scanner's header and has values of other lengths. `python -m benchmarks.bench_walk`.
"""

from __future__ import annotations

import functools
import random
import struct
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.material import ROOT, ct, data_set
from benchmarks.rows import Row, Section, main, paired

HERE = Path(__file__).resolve().parent
COUNT = 400
LONG = frozenset((b"OB", b"OW", b"OF", b"SQ", b"UT", b"UN"))


def elements(data: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """(tag, VR, value) of the top level of an explicit VR little endian data set without undefined lengths."""
    at = 0
    while at < len(data):
        tag, vr = data[at : at + 4], data[at + 4 : at + 6]
        size = struct.unpack_from("<I", data, at + 8)[0] if vr in LONG else struct.unpack_from("<H", data, at + 6)[0]
        at += 12 if vr in LONG else 8
        yield tag, vr, data[at : at + size]
        at += size


def varied(head: bytes, seed: int) -> bytes:
    """Like `head`: an eighth of its elements missing, a third of its values longer or shorter."""
    chance = random.Random(seed)
    out = []
    for tag, vr, value in elements(head):
        creator = tag[0] & 1 and tag[3] == 0  # what they reserve would be without it
        if chance.random() < 0.12 and not creator and tag not in (b"\x08\0\x18\0", b"\x28\0\x11\0"):
            continue
        if vr in (b"LO", b"SH", b"PN", b"DS", b"IS", b"UI", b"CS", b"ST") and chance.random() < 0.33:
            value = value[: 2 * chance.randrange(len(value) // 2 + 1)] + b" " * (2 * chance.randrange(8))
        size = struct.pack("<HI", 0, len(value)) if vr in LONG else struct.pack("<H", len(value))
        out.append(tag + vr + size + value)
    return b"".join(out)


@functools.cache
def material() -> Path:
    path = ROOT / f"walk-{COUNT}.bin"
    if not path.exists():
        head = bytes(data_set(ct("real", 128, 5000)[0].read_bytes()))[: -12 - 2 * 128 * 128]
        ROOT.mkdir(parents=True, exist_ok=True)
        sets = [varied(head, seed) for seed in range(COUNT)]
        path.write_bytes(b"".join(struct.pack("<Q", len(one)) + one for one in sets))
    return path


@functools.cache
def program() -> Path:
    """Linked from the sources of libdicore, with its own optimisation."""
    binary = ROOT / "walk_floor"
    csrc = HERE.parent / "csrc"
    sources = [
        HERE / "peers" / "walk_floor.c",
        *sorted((csrc / "dataset").glob("*.c")),
        *sorted((csrc / "base").glob("*.c")),
    ]
    newest = max(path.stat().st_mtime for path in [*sources, *(csrc / "dataset").glob("*.h")])
    if not binary.exists() or binary.stat().st_mtime < newest:
        ROOT.mkdir(parents=True, exist_ok=True)
        flags = ["-O2", "-std=gnu11", "-D_GNU_SOURCE", f"-I{csrc}", f"-I{csrc / 'include'}"]
        subprocess.run(["gcc", *flags, "-o", binary, *sources, "-lz"], check=True)
    return binary


def sections(rounds: int, only: Sequence[str] = ()) -> Iterator[Section]:
    command = [str(program()), str(material()), str(1 + 20 * rounds)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[1:]
    walk, tape, select, floor, some = zip(*[[float(word) for word in line.split()[:5]] for line in lines], strict=True)
    four = [4.0] * len(walk)
    yield Section(
        f"Walk of {COUNT} different CT headers",
        "ns per element",
        [
            Row(
                "dicore_walk_some, 32 at a time",
                some,
                paired(some, four),
                must=1,
                reach=0.63,
                most=True,
                note="of 4 ns",
            ),
            Row("dicore_walk_next, a call for each", walk, paired(walk, four), note="of 4 ns"),
            Row("dicore_tape_read, into memory that is there", tape, paired(tape, four), note="of 4 ns"),
            Row("floor: headers loaded where one knows them to be", floor),
            Row("dicore_select of 20 tags, ns per data set", select),
        ],
        "ratio",
    )


if __name__ == "__main__":
    raise SystemExit(main(sections, __doc__))
