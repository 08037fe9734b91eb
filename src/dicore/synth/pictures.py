"""Pictures of what is not a slice of a body: radiographs, ultrasound fans, vessels, traces. Each looks like its kind.

Every function gives a picture of a wanted size out of random numbers: the same numbers, the same picture.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from dicore.synth import phantom

__all__ = ["activity", "angiogram", "bone_scan", "breast", "chest", "histology", "photograph", "ultrasound"]

Plane = npt.NDArray[np.floating[Any]]
_COARSE = 256  # of the phantoms that are projected


def _resized(image: Plane, rows: int, columns: int) -> Plane:
    """Linear, both ways."""

    def along(values: Plane, size: int) -> Plane:
        n = values.shape[0]
        at = np.clip((np.arange(size) + 0.5) * n / size - 0.5, 0, n - 1)
        low = np.minimum(at.astype(int), n - 2)
        t = (at - low).astype(np.float32)[:, None]
        moved: Plane = values[low] * (1 - t) + values[low + 1] * t
        return moved

    resized: Plane = along(along(image, rows).T, columns).T
    return np.ascontiguousarray(resized)


def _white(rng: np.random.Generator, rows: int, columns: int) -> Plane:
    return rng.standard_normal((rows, columns), dtype=np.float32)


def _smooth(rng: np.random.Generator, rows: int, columns: int, grain: int) -> Plane:
    """Noise without detail below `grain` pixels, about -1 to 1."""
    coarse = _white(rng, max(3, rows // grain + 3), max(3, columns // grain + 3))
    if grain >= 16:  # without the corners of a linear interpolation
        high, wide = coarse.shape
        coarse = _blurred(_resized(coarse, 4 * high, 4 * wide), 3)
    return _resized(coarse, rows, columns)


@functools.cache
def _projection() -> Plane:
    """The trunk seen from the front: how much of the beam is left, (DEPTH, _COARSE)."""
    volume = phantom.trunk(_COARSE)
    density = np.clip(volume + 1000, 0, 2600) / 1000
    density = density[:, : int(_COARSE * 0.83)]  # without the couch
    bone = np.clip(density - 1.15, 0, None)
    return np.asarray((density + 2.5 * bone).sum(axis=1), np.float32)


def chest(rng: np.random.Generator, size: int, lateral: bool = False) -> npt.NDArray[np.uint16]:
    """A radiograph of the chest, 12 bits, bright where much is in the way."""
    if lateral:
        volume = phantom.trunk(_COARSE)
        density = np.clip(volume + 1000, 0, 2600) / 1000
        density[:, int(_COARSE * 0.83) :] = 0
        path = np.asarray((density + 2.5 * np.clip(density - 1.15, 0, None)).sum(axis=2), np.float32)
    else:
        path = _projection()
    path = path[: int(phantom.DEPTH * 0.72)]
    image = _resized(path, size, size)
    image = np.sqrt(image / image.max())  # the film's curve
    if not lateral:
        image += _ribs(size)
    image = image * np.float32(float(rng.uniform(0.94, 1.0)))
    image += np.float32(0.012) * _smooth(rng, size, size, max(2, size // 90))
    image += np.float32(0.006) * _white(rng, size, size)
    half = slice(int(size * 0.04), int(size * 0.07))
    image[half, int(size * 0.88) : int(size * 0.90)] = 1.0  # the side marker, L
    image[int(size * 0.065) : int(size * 0.07), int(size * 0.88) : int(size * 0.915)] = 1.0
    return np.asarray(np.clip(image * 3900 + 60, 0, 4095), np.uint16)


@functools.lru_cache(maxsize=4)
def _ribs(size: int) -> Plane:
    """Shadows of ribs, collar bones and the heart on a radiograph from behind."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    x = x - np.float32(0.5)
    side = np.abs(x)
    out = np.zeros((size, size), np.float32)
    within = np.clip((0.375 - side) * 30, 0, 1) * np.clip((side - 0.06) * 30, 0, 1) * np.clip((0.80 - y) * 12, 0, 1)
    for rib in range(9):
        behind = y - (0.085 + 0.082 * rib + 0.55 * (side - 0.05) ** 2)  # falls outwards
        before = y - (0.20 + 0.095 * rib - 0.34 * (0.36 - side))  # rises outwards
        for arc, half, weight in ((behind, 0.017, 0.045), (before, 0.021, 0.022)):
            band = np.clip((half - np.abs(arc)) * 260, 0, 1)
            rim = np.exp(-(((np.abs(arc) - half) / 0.0032) ** 2))
            out += np.float32(weight) * (0.7 * band + 0.8 * rim) * within
    collar = y - (0.095 - 0.10 * (side - 0.06))
    out += np.float32(0.07) * np.clip((0.016 - np.abs(collar)) * 240, 0, 1) * ((side > 0.04) & (side < 0.36))
    heart = np.hypot((x - 0.060 - 0.06 * (y - 0.6)) / 0.150, (y - 0.615) / 0.165)
    out += np.float32(0.10) * np.clip((1 - heart) * 5, 0, 1) * np.clip((side - 0.02) * 14, 0, 1)
    arch = np.hypot((x - 0.055) / 0.05, (y - 0.33) / 0.05)
    out += np.float32(0.04) * np.clip((1 - arch) * 4, 0, 1)
    return out


def breast(rng: np.random.Generator, size: int, left: bool, oblique: bool) -> npt.NDArray[np.uint16]:
    """A mammogram, 12 bits: the breast at the chest wall, its glands, air beside it black."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    bulge = np.float32(0.72) + np.float32(0.012) * _smooth(rng, size, size, max(2, size // 2))
    centre = np.float32(0.58 if oblique else 0.5)
    r = np.hypot(x / bulge, (y - centre) / np.float32(0.44))
    inside = np.clip((1 - r) * 14, 0, 1)
    glands = sum(
        _smooth(rng, size, size, max(2, size // detail)) * np.float32(weight)
        for detail, weight in ((7, 0.5), (17, 0.35), (41, 0.25), (97, 0.14), (199, 0.08))
    )
    tissue_ = np.float32(0.40) + np.float32(0.25) * np.clip(glands, -1, 2) * np.clip(1.3 - r, 0, 1)
    nipple = np.hypot((x / bulge - 1.0) / 0.05, (y - centre) / 0.04)
    inside = np.maximum(inside, np.clip((1 - nipple) * 3, 0, 1))
    for _ in range(12):  # strands that run to the nipple
        start = float(rng.uniform(-0.4, 0.4))
        line = (y - centre) - start * np.clip(1.05 - x / bulge, 0, 1) ** 1.4
        tissue_ += np.float32(0.10) * np.exp(-((line / 0.005) ** 2)) * np.clip(1.1 - r, 0, 1)
    image = inside * np.clip(tissue_, 0.12, 1)
    if oblique:  # the pectoral muscle comes in from above
        muscle = np.clip((np.float32(0.42) - x - y * np.float32(0.62)) * 30, 0, 1)
        image = image * (1 - muscle) + muscle * np.float32(0.78)
    image += np.float32(0.008) * _white(rng, size, size) * (image > 0)
    if not left:
        image = image[:, ::-1]
    return np.asarray(np.clip(image * 3800 + 30, 0, 4095), np.uint16)


def ultrasound(rng: np.random.Generator, size: int, phase: float = 0.0) -> npt.NDArray[np.uint8]:
    """A frame of a sector scan, 8 bits: speckle, a chamber that beats with `phase` (0 to 1), shadows, a grey wedge."""
    rows = size * 3 // 4
    y, x = np.mgrid[0:rows, 0:size].astype(np.float32)
    x = (x - size / 2) / rows
    y = y / rows + np.float32(0.02)
    depth, angle = np.hypot(x, y), np.arctan2(x, y)
    fan = np.clip((np.float32(0.72) - np.abs(angle)) * 60, 0, 1) * ((depth > 0.09) & (depth < 0.98))
    beat = np.float32(1 + 0.16 * np.sin(2 * np.pi * phase))
    tissue_ = np.float32(0.55) + np.float32(0.22) * _smooth(rng, rows, size, max(2, size // 12))
    for cx, cy, a, b in ((-0.10, 0.46, 0.15, 0.20), (0.17, 0.52, 0.11, 0.17), (-0.08, 0.76, 0.14, 0.09)):
        r = np.hypot((x - cx) / (a * beat), (y - cy) / (b * beat))
        wall = np.exp(-(((r - 1.06) / 0.07) ** 2))
        tissue_ = tissue_ * np.clip((r - 0.93) * 12, 0.06, 1) + np.float32(0.35) * wall
    tissue_ *= np.clip(1.25 - 0.75 * depth, 0, 1) * (1 - 0.5 * np.exp(-(((angle - 0.42) / 0.05) ** 2)))
    speckle = np.hypot(_smooth(rng, rows, size, 2), _smooth(rng, rows, size, 2))
    image = np.clip(tissue_ * (0.35 + 0.55 * speckle), 0, 1) ** np.float32(0.8) * fan
    wedge = slice(int(rows * 0.2), int(rows * 0.6))
    image[wedge, int(size * 0.955) : int(size * 0.975)] = np.linspace(1, 0, wedge.stop - wedge.start)[:, None]
    return np.asarray(image * 250, np.uint8)


def _tree(rng: np.random.Generator) -> list[tuple[float, float, float, float, float, float]]:
    """Pieces of vessels: (x, y, x', y', radius, how far along the tree)."""
    pieces: list[tuple[float, float, float, float, float, float]] = []
    tips = [(0.34, 0.02, 1.25, 0.014, 0.0)]
    while tips and len(pieces) < 420:
        x, y, direction, radius, along = tips.pop(0)
        for _ in range(int(rng.integers(7, 12))):
            direction += float(rng.normal(0, 0.16))
            step = 0.020
            nx, ny = x + step * np.cos(direction), y + step * np.sin(direction)
            pieces.append((x, y, nx, ny, radius, along))
            x, y, along = nx, ny, along + step
            radius *= 0.985
        if radius > 0.0028 and -0.1 < x < 1.1 and y < 1.1:
            spread = float(rng.uniform(0.35, 0.75))
            tips.append((x, y, direction + spread, radius * 0.74, along))
            tips.append((x, y, direction - spread * 0.7, radius * 0.84, along))
    return pieces


def angiogram(rng: np.random.Generator, size: int, frames: int) -> npt.NDArray[np.uint8]:
    """A run of an angiography, 8 bits (frames, size, size): contrast flows into a tree of vessels and out again."""
    work = min(size, 512)
    y, x = np.mgrid[0:work, 0:work].astype(np.float32) / work
    pieces = _tree(rng)
    arrival = np.full((work, work), 9.0, np.float32)
    thick = np.zeros((work, work), np.float32)
    for x0, y0, x1, y1, radius, along in pieces:
        cx, cy = (x0 + x1) / 2, (y0 + y1) / 2
        reach = radius + 0.02
        rows = slice(max(0, int((cy - reach) * work)), max(0, int((cy + reach) * work) + 1))
        columns = slice(max(0, int((cx - reach) * work)), max(0, int((cx + reach) * work) + 1))
        if rows.start >= work or columns.start >= work or rows.stop <= rows.start or columns.stop <= columns.start:
            continue
        dx, dy = x1 - x0, y1 - y0
        px, py = x[rows, columns] - x0, y[rows, columns] - y0
        t = np.clip((px * dx + py * dy) / (dx * dx + dy * dy), 0, 1)
        distance = np.hypot(px - t * dx, py - t * dy)
        chord = np.sqrt(np.clip(radius * radius - distance * distance, 0, None)) / 0.014
        part = thick[rows, columns]
        np.maximum(part, chord, out=part)
        late = arrival[rows, columns]
        late[chord > 0] = np.minimum(late[chord > 0], along)
    ground = np.float32(0.66) + np.float32(0.05) * _smooth(rng, work, work, max(2, work // 3))
    ground -= np.float32(0.13) * np.clip((0.11 - np.abs(x - 0.66 - 0.05 * y)) * 40, 0, 1)  # the spine
    ground -= np.float32(0.02) * np.clip(np.sin((y + 0.03 * x) * 44) * 3, -1, 1) * (np.abs(x - 0.66 - 0.05 * y) < 0.10)
    dome = y - (0.86 - 0.16 * np.exp(-(((x - 0.30) / 0.34) ** 2)))
    ground -= np.float32(0.16) * np.clip(dome * 30, 0, 1)  # the diaphragm
    for rib in range(-1, 6):
        arc = y - (0.20 * rib + 0.05 + 0.30 * (x - 0.1) ** 2 - 0.16 * x)
        ground -= np.float32(0.022) * np.clip((0.026 - np.abs(arc)) * 120, 0, 1)
    longest = max(piece[5] for piece in pieces)
    out = np.empty((frames, size, size), np.uint8)
    for number in range(frames):
        now = (number + 0.5) / frames * longest * 1.7
        filled = np.clip((now - arrival) * 10, 0, 1) * np.clip((arrival + longest - now) * 6, 0.12, 1)
        image = ground * np.exp(-np.float32(0.95) * thick * filled)
        fine = image if size == work else _resized(image, size, size)
        out[number] = np.clip((fine + np.float32(0.012) * _white(rng, size, size)) * 255, 0, 255)
    return out


def activity(rng: np.random.Generator, depth: float, size: int) -> npt.NDArray[np.uint16]:
    """A slice of a positron emission tomogram: uptake of the trunk at `depth` (0 to 1), with a hot spot somewhere."""
    volume = phantom.trunk(128)
    at = depth * (phantom.DEPTH - 1)
    hounsfield = volume[int(at)]
    uptake = np.where((hounsfield > -150) & (hounsfield < 220), np.float32(0.30), np.float32(0.03))
    uptake = np.where(hounsfield > 95, np.float32(0.75), uptake)
    uptake[int(128 * 0.83) :] = 0
    y, x = np.mgrid[0:128, 0:128].astype(np.float32) / 64 - 1
    hot = np.exp(-(((x - 0.22) / 0.045) ** 2) - (((y + 0.02) / 0.045) ** 2) - (((depth - 0.42) / 0.07) ** 2))
    uptake = _blurred(uptake.astype(np.float32), 2) + np.float32(2.2) * hot.astype(np.float32)
    image = _resized(uptake, size, size)
    counts = np.clip(image * (1 + np.float32(0.16) * _smooth(rng, size, size, 3)), 0, None) * 9000
    return np.asarray(np.clip(counts, 0, 32767), np.uint16)


def _blurred(image: Plane, times: int) -> Plane:
    soft = np.asarray(image, np.float32)
    for _ in range(times):
        for axis in (0, 1):
            soft = np.asarray((np.roll(soft, 1, axis) + 2 * soft + np.roll(soft, -1, axis)) / 4, np.float32)
    return soft


def bone_scan(rng: np.random.Generator, columns: int, posterior: bool) -> npt.NDArray[np.uint16]:
    """Counts of a gamma camera over a whole body, (4 x columns, columns): the skeleton, warm."""
    rows = 4 * columns
    n = 128
    y, x = np.mgrid[0 : 4 * n, 0:n].astype(np.float32)
    x, y = (x + 0.5) / n * 2 - 1, (y + 0.5) / (4 * n)  # -1 to 1 across, 0 to 1 down

    def blob(cx: float, cy: float, a: float, b: float) -> Plane:
        return np.asarray(np.clip((1 - np.hypot((x - cx) / a, (y - cy) / b)) * 4, 0, 1))

    body = blob(0, 0.07, 0.20, 0.062) + blob(0, 0.30, 0.40, 0.20)
    bones = 1.1 * blob(0, 0.06, 0.17, 0.052) + (1.6 if posterior else 0.8) * blob(0, 0.28, 0.045, 0.17)
    bones = bones + 1.2 * blob(0, 0.47, 0.22, 0.035) + (0.2 if posterior else 0.9) * blob(0, 0.22, 0.035, 0.06)
    for side in (-1, 1):
        for rib in range(9):
            middle = 0.16 + 0.019 * rib
            arc = np.exp(-(((y - middle - 0.03 * np.abs(x) * 1.4) / 0.0035) ** 2))
            bones = bones + 0.5 * arc * ((side * x > 0.03) & (side * x < 0.22 + 0.012 * rib))
        body = body + blob(side * 0.56, 0.33, 0.13, 0.20) + blob(side * 0.20, 0.72, 0.19, 0.27)
        bones = bones + 1.0 * blob(side * 0.43, 0.155, 0.09, 0.02) + 0.7 * blob(side * 0.55, 0.24, 0.045, 0.09)
        bones = bones + 0.6 * blob(side * 0.60, 0.39, 0.04, 0.09) + 0.8 * blob(side * 0.19, 0.60, 0.055, 0.12)
        bones = bones + 1.1 * blob(side * 0.19, 0.725, 0.08, 0.02) + 0.7 * blob(side * 0.18, 0.85, 0.045, 0.11)
        if posterior:
            bones = bones + 1.3 * blob(side * 0.17, 0.355, 0.075, 0.022)  # kidneys
    bones = bones + (0.0 if posterior else 1.8) * blob(0, 0.505, 0.08, 0.018)  # bladder
    warm = _blurred(np.asarray(np.clip(body, 0, 1) * 0.35 + bones, np.float32), 2)
    mean = _resized(warm, rows, columns) * 26
    return np.asarray(rng.poisson(np.clip(mean, 0, None)), np.uint16)


def histology(rng: np.random.Generator, rows: int, columns: int, base: int) -> npt.NDArray[np.uint8]:
    """Stained tissue, haematoxylin and eosin, in colour (rows, columns, 3): glands, stroma, nuclei, glass round it.

    `base` is the width of the same picture at full size: what is smaller than a pixel is only its tint."""
    scale = columns / base
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float32)
    u, v = x / columns, y / columns  # both in the width of the slide
    wave = _smooth(rng, rows, columns, max(2, columns // 6))
    fine = _smooth(rng, rows, columns, max(2, columns // 60))
    inside = np.clip((0.36 - np.hypot((u - 0.5) * 0.82, v - rows / columns / 2) + 0.035 * wave) * 60, 0, 1)
    image = np.array([226, 158, 196], np.float32) + 16 * wave[..., None] + 14 * fine[..., None]
    density = np.full((rows, columns), 0.22, np.float32)
    for _ in range(46):  # glands: a light lumen in a ring of epithelium
        cx, cy = float(rng.uniform(0.12, 0.88)), float(rng.uniform(0.06, 0.69))
        a, b = float(rng.uniform(0.012, 0.036)), float(rng.uniform(0.010, 0.026))
        turn = float(rng.uniform(0, np.pi))
        reach = 2.2 * max(a, b)
        where = (
            slice(max(0, int((cy - reach) * columns)), max(0, int((cy + reach) * columns) + 1)),
            slice(max(0, int((cx - reach) * columns)), max(0, int((cx + reach) * columns) + 1)),
        )
        if u[where].size == 0:
            continue
        dx, dy = u[where] - cx, v[where] - cy
        p, q = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
        r = np.hypot(p / a, q / b) + np.float32(0.10) * fine[where]
        ring = np.clip((1.55 - r) * 6, 0, 1)[..., None] * np.clip((r - 0.72) * 6, 0, 1)[..., None]
        lumen = np.clip((0.80 - r) * 6, 0, 1)[..., None]
        part = image[where]
        part[:] = part * (1 - 0.75 * ring) + np.array([196, 120, 188], np.float32) * 0.75 * ring
        part[:] = part * (1 - lumen) + np.array([240, 232, 240], np.float32) * lumen
        density[where] = np.where(ring[..., 0] > 0.5, 0.85, np.where(lumen[..., 0] > 0.5, 0.0, density[where]))
    pitch = 11.0 * scale  # between nuclei
    purple = np.array([92, 56, 138], np.float32)
    if pitch >= 3:
        grid_x, grid_y = int(columns / pitch) + 2, int(rows / pitch) + 2
        shift = rng.uniform(0.15, 0.85, (grid_y, grid_x, 2)).astype(np.float32)
        chance = rng.uniform(0, 1, (grid_y, grid_x)).astype(np.float32)
        width = rng.uniform(0.20, 0.36, (grid_y, grid_x)).astype(np.float32)
        cell_x, cell_y = (x / pitch).astype(int), (y / pitch).astype(int)
        fx, fy = x / pitch - cell_x, y / pitch - cell_y
        own = shift[cell_y, cell_x]
        r = np.hypot(fx - own[..., 0], fy - own[..., 1]) / width[cell_y, cell_x]
        nuclei = np.clip((1 - r) * pitch * 0.3, 0, 1) * (chance[cell_y, cell_x] < density)
        image = image * (1 - 0.9 * nuclei[..., None]) + purple * 0.9 * nuclei[..., None]
    else:
        image = image * (1 - 0.30 * density[..., None]) + purple * 0.30 * density[..., None]
    image += 3 * _white(rng, rows, columns)[..., None]
    glass = np.array([244, 243, 246], np.float32)
    image = image * inside[..., None] + glass * (1 - inside[..., None])
    return np.asarray(np.clip(image, 0, 255), np.uint8)


def photograph(rng: np.random.Generator, rows: int, columns: int, kind: str) -> npt.NDArray[np.uint8]:
    """A colour picture (rows, columns, 3): 'skin' with a mole, or 'teeth'."""
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float32)
    x, y = x / columns * 2 - 1, (y / rows * 2 - 1) * rows / columns
    fine = _smooth(rng, rows, columns, 3)[..., None]
    if kind == "skin":
        image = np.array([222, 178, 152], np.float32) + 7 * _smooth(rng, rows, columns, 40)[..., None] + 5 * fine
        edge = np.float32(0.30) + np.float32(0.05) * _smooth(rng, rows, columns, columns // 7)
        inside = np.clip((edge - np.hypot(x - 0.05, (y + 0.03) * 1.25)) * 14, 0, 1)[..., None]
        mole = (
            np.array([92, 58, 44], np.float32) + 22 * _smooth(rng, rows, columns, columns // 16)[..., None] + 6 * fine
        )
        image = image * (1 - inside) + mole * inside
        ruler = (y > 0.60) & (y < 0.62 + 0.06 * (np.abs((x * 20) % 1) < 0.08)) & (np.abs(x) < 0.8)
        image[ruler] = (30, 30, 30)
    else:
        image = np.array([150, 62, 62], np.float32) + 12 * _smooth(rng, rows, columns, 50)[..., None] + 4 * fine
        image *= np.clip(1.25 - np.hypot(x, y) * 0.8, 0.1, 1)[..., None]
        for jaw in (-1, 1):
            for number in range(-4, 5):
                cx, wide = number * 0.185, 0.088 if abs(number) < 3 else 0.096
                cy = jaw * (0.20 - 0.010 * number * number)
                r = (np.abs((x - cx) / wide) ** 3 + np.abs((y - cy) / 0.175) ** 3) ** np.float32(1 / 3)
                cover = np.clip((1 - r) * 10, 0, 1)[..., None]
                shade = np.clip(1.1 - 0.35 * r - 0.12 * abs(number) / 4, 0, 1)[..., None]
                image = image * (1 - cover) + np.array([238, 230, 208], np.float32) * shade * cover
    return np.asarray(np.clip(image, 0, 255), np.uint8)
