"""python -m benchmarks.bench_kernels: every kernel at every level as a share of memcpy, bytes read and written counted.

Each level's result is compared with the plain C kernel's on the same bytes before it is timed; a memcpy that moves as
many bytes runs in the same round. 0.5 MB lies in L2, 8 MB in L3 of the box that the wanted figures were taken on. The
verdict is on the level that this processor gets: where memcpy has the registers of AVX-512, so have the kernels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.rows import Row, Section, main, paired
from dicore._native import kernels

SIZES = {"0.5 MB": 1 << 19, "8 MB": 8 << 20}
#: kernels that only move data: they must reach MUST of memcpy at the best level, and should reach REACH
MOVES = (
    "swap16", "swap32", "swap64", "unpack1", "pack1", "unpack12", "pack12", "interleave8", "interleave16", "separate8",
    "separate16", "expand422", "keep16", "bit16",
)  # fmt: skip
MUST, REACH = 0.6, 0.9
OTHERS = tuple(name for name in kernels.WORK if name not in (*MOVES, "memcpy"))


def rates(name: str, level: str, size: int, rounds: int) -> tuple[list[float], list[float]]:
    """GB/s moved by the kernel and by memcpy, a pair a round, each the best of three short runs: whoever is interrupted
    only loses. Raises when the level's result is not the plain kernel's."""
    ours, theirs = [], []
    repeats = max(1, (4 << 20) // size)
    for _ in range(3 * rounds):
        took: list[float] = []
        for what in ("memcpy", name):
            seconds, moved, equal = kernels.measure(what, level, size, repeats)
            took.append(moved / seconds / 1e9)
            if not equal:
                raise AssertionError(f"{what} at {level} gives something else than the plain kernel")
        theirs.append(took[0])
        ours.append(took[1])
    best = [slice(3 * i, 3 * i + 3) for i in range(rounds)]
    return [max(ours[s]) for s in best], [max(theirs[s]) for s in best]


def sections(rounds: int, only: Sequence[str] = ()) -> Iterator[Section]:
    """`only`: names of kernels, or "moves"."""
    wanted = [n for n in (*MOVES, *OTHERS) if not only or n in only or ("moves" in only and n in MOVES)]
    last = kernels.levels()[-1]
    for label, size in SIZES.items():
        rows = []
        for name in wanted:
            for level in kernels.levels():
                ours, copied = rates(name, level, size, rounds)
                must, reach = (MUST, REACH) if name in MOVES and level == last else (None, None)
                rows.append(Row(f"{name}, {level}", ours, paired(ours, copied), must, reach))
        yield Section(
            f"Kernels, {label}", "GB/s", rows, "of memcpy", "bytes read and written; the best level is judged"
        )


if __name__ == "__main__":
    raise SystemExit(main(sections, __doc__))
