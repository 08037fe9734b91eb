"""python -m benchmarks.bench_kernels: every kernel at every level as a share of memcpy, bytes read and written counted.

Each level's result is compared with the plain C kernel's on the same bytes before it is timed; a memcpy that moves as
many bytes runs in the same round. A row gives the best of the rounds. 0.5 MB lies in L2, 8 MB
in L3 of the box that the wanted figures were taken on. The verdict is on 8 MB, what images are; inside L2 memcpy has
the 64-byte registers of AVX-512 where the processor has them, and kernels of 32-byte stores cannot always follow it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from dicore._native import kernels

SIZES = {"0.5 MB": 1 << 19, "8 MB": 8 << 20}
#: kernels that only move data: with AVX2 they must reach MUST % of memcpy on the larger size, and should reach REACH %
MOVES = (
    "swap16", "swap32", "swap64", "unpack1", "pack1", "unpack12", "pack12", "interleave8", "interleave16", "separate8",
    "separate16", "expand422", "keep16", "bit16",
)  # fmt: skip
MUST, REACH = 60.0, 90.0
OTHERS = tuple(name for name in kernels.WORK if name not in (*MOVES, "memcpy"))


def share(name: str, level: str, size: int, rounds: int, bytes_a_round: int = 8 << 20) -> tuple[float, float]:
    """(percent of memcpy, GB/s moved), each the best of its rounds: whoever is interrupted only loses.

    Raises when the level's result is not the plain kernel's.
    """
    repeats = max(2, bytes_a_round // size)
    kernel, copy = 0.0, 0.0
    for _ in range(rounds):
        seconds, moved, _ = kernels.measure("memcpy", level, size, repeats)
        copy = max(copy, moved / seconds)
        seconds, moved, equal = kernels.measure(name, level, size, repeats)
        kernel = max(kernel, moved / seconds)
        if not equal:
            raise AssertionError(f"{name} at {level} gives something else than the plain kernel")
    return 100 * kernel / copy, kernel / 1e9


def rows(rounds: int) -> list[tuple[str, str, dict[str, float]]]:
    """(kernel, level, {size: percent of memcpy}) for all that this processor has."""
    return [
        (name, level, {label: share(name, level, size, rounds)[0] for label, size in SIZES.items()})
        for name in (*MOVES, *OTHERS)
        for level in kernels.levels()
    ]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args(argv)
    found = rows(args.rounds)
    levels = kernels.levels()
    print(f"percent of memcpy ({' / '.join(SIZES)}), results equal to the plain kernel's")
    print(f"{'kernel':18}" + "".join(f"{level:>16}" for level in levels) + "   wanted of the last")
    missed = []
    for name in (*MOVES, *OTHERS):
        of = {level: shares for n, level, shares in found if n == name}
        cells = "".join(f"{' / '.join(f'{v:.0f}' for v in of[level].values()):>16}" for level in levels)
        wanted = ""
        if name in MOVES and levels[-1] == "avx2":
            worst = list(of["avx2"].values())[-1]
            wanted = (
                f"{MUST:.0f} {'held' if worst >= MUST else 'MISSED'}{f', {REACH:.0f} too' if worst >= REACH else ''}"
            )
            missed += [name] if worst < MUST else []
        print(f"{name:18}{cells}   {wanted}")
    return 3 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
