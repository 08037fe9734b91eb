"""The anatomy: a trunk in Hounsfield units and a head in MR signal, as volumes that are made once and then only sliced.

Organs are ellipses whose axes change along the body, painted back to front with soft edges in coordinates that smooth
noise has bent: nothing is quite round, and neighbouring slices agree. A series takes slices of such a volume, zooms
them to its patient, and adds the scanner: noise, and for MR the bias of the coil.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["DEPTH", "brain", "noise_field", "trunk"]

Volume = npt.NDArray[np.float32]
Plane = npt.NDArray[np.floating[Any]]

#: Slices in a phantom; a series interpolates between them.
DEPTH = 40
_SEED = 0x5EED


def noise_field(rng: np.random.Generator, shape: tuple[int, ...], scale: tuple[float, ...]) -> npt.NDArray[np.float32]:
    """Band-limited noise of unit deviation: white noise without the detail below about `scale` samples an axis."""
    spectrum = np.fft.rfftn(rng.standard_normal(shape, dtype=np.float32))
    for axis, (length, width) in enumerate(zip(shape, scale, strict=True)):
        last = axis == len(shape) - 1
        frequency = np.fft.rfftfreq(length) if last else np.fft.fftfreq(length)
        fall = np.exp(-2.0 * (np.pi * frequency * width / 2.5) ** 2)
        spectrum *= fall.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    field = np.fft.irfftn(spectrum, s=shape, axes=range(len(shape)))
    return np.asarray((field - field.mean()) / (field.std() + 1e-9), np.float32)


class _Canvas:
    """One slice in bent coordinates: x from -1 (the patient's right) to 1, y from -1 (anterior) to 1."""

    def __init__(self, x: Plane, y: Plane, background: float) -> None:
        self.x, self.y = x, y
        self.size = x.shape[0]
        self.image = np.full(x.shape, background, np.float32)

    def cover(
        self, cx: float, cy: float, a: float, b: float, tilt: float = 0.0, soft: float = 1.2, power: float = 2.0
    ) -> tuple[Any, Plane]:
        """Where and how much an ellipse covers: a window into the image and 0..1 in it. `soft` is the edge in pixels,
        `power` above 2 makes it boxier."""
        reach = max(a, b) + 0.12
        half = self.size / 2
        rows = slice(max(0, int((cy - reach + 1) * half)), max(0, int((cy + reach + 1) * half) + 2))
        cols = slice(max(0, int((cx - reach + 1) * half)), max(0, int((cx + reach + 1) * half) + 2))
        x, y = self.x[rows, cols] - np.float32(cx), self.y[rows, cols] - np.float32(cy)
        if tilt:
            c, s = np.float32(np.cos(tilt)), np.float32(np.sin(tilt))
            x, y = c * x + s * y, c * y - s * x
        u, v = np.abs(x) / np.float32(max(a, 1e-3)), np.abs(y) / np.float32(max(b, 1e-3))
        r = np.sqrt(u * u + v * v) if power == 2.0 else (u**power + v**power) ** np.float32(1 / power)
        edge = (1 - r) * np.float32(min(a, b) * half / soft) + np.float32(0.5)
        return (rows, cols), np.clip(edge, 0, 1, out=edge)

    def ellipse(
        self,
        value: float | Plane,
        cx: float,
        cy: float,
        a: float,
        b: float,
        tilt: float = 0.0,
        soft: float = 1.2,
        alpha: float = 1.0,
        power: float = 2.0,
    ) -> None:
        if a <= 0.004 or b <= 0.004 or alpha <= 0:
            return
        where, cover = self.cover(cx, cy, a, b, tilt, soft, power)
        part = self.image[where]
        shade = value[where] if isinstance(value, np.ndarray) else np.float32(value)
        part += (shade - part) * (cover * np.float32(alpha))

    def paint(self, value: float | Plane, cover: Plane) -> None:
        self.image += (value - self.image) * cover


def _ramp(z: float, start: float, stop: float) -> float:
    """0 before start, 1 behind stop, smooth between."""
    t = min(1.0, max(0.0, (z - start) / (stop - start)))
    return t * t * (3 - 2 * t)


def _grid(size: int) -> tuple[Plane, Plane]:
    axis = (np.arange(size, dtype=np.float32) + 0.5) / (size / 2) - 1
    return np.meshgrid(axis, axis, indexing="xy")


def _fine(field: npt.NDArray[np.float32], size: int) -> npt.NDArray[np.float32]:
    """Bring smooth fields (..., n, n) to size x size, linearly."""
    n = field.shape[-1]
    at = np.clip((np.arange(size) + 0.5) * n / size - 0.5, 0, n - 1)
    low = np.minimum(at.astype(int), n - 2)
    t = (at - low).astype(np.float32)
    rows = field[..., low, :] * (1 - t)[:, None] + field[..., low + 1, :] * t[:, None]
    fine: npt.NDArray[np.float32] = rows[..., low] * (1 - t) + rows[..., low + 1] * t
    return fine


@functools.lru_cache(maxsize=4)
def trunk(size: int) -> Volume:
    """A trunk from the apex of the lungs to the kidneys: (DEPTH, size, size) in HU, read-only."""
    rng = np.random.default_rng(_SEED)
    n = min(size, 128)
    bend = noise_field(rng, (2, DEPTH, n, n), (0.01, 14, n / 4, n / 4)) * np.float32(0.016)
    wobble = noise_field(rng, (2, DEPTH, n, n), (0.01, 8, n / 12, n / 12)) * np.float32(0.005)
    texture = noise_field(rng, (DEPTH, n, n), (3, n / 40, n / 40))
    vessels = np.abs(noise_field(rng, (DEPTH, n, n), (4, n / 22, n / 22)))
    gas = noise_field(rng, (DEPTH, n, n), (4, n / 14, n / 14))
    x0, y0 = _grid(size)
    volume = np.empty((DEPTH, size, size), np.float32)
    for index in range(DEPTH):
        z = index / (DEPTH - 1)
        dx, dy = _fine(bend[:, index] + wobble[:, index], size)
        grain = _fine(texture[index], size)
        tubes = _fine(vessels[index], size)
        c = _Canvas(x0 + dx, y0 + dy, -1000)
        _couch(c, x0, y0)
        belly, chest = _ramp(z, 0.45, 0.8), 1 - _ramp(z, 0.5, 0.68)
        wide = 0.80 - 0.10 * (1 - _ramp(z, 0, 0.22)) + 0.02 * belly
        deep = 0.50 + 0.04 * _ramp(z, 0, 0.3) + 0.03 * belly
        _wall(c, z, wide, deep, chest, grain)
        _organs(c, z, wide, deep, chest, grain, tubes)
        _lungs(c, z, wide, deep, grain, tubes)
        _middle(c, z, grain)
        _bowel(c, z, grain, _fine(gas[index], size))
        _spine(c, z, grain)
        volume[index] = c.image
    volume.flags.writeable = False
    return volume


def _couch(c: _Canvas, x: Plane, y: Plane) -> None:
    curve = y - np.float32(0.70) + np.float32(0.10) * x * x
    inside = (np.abs(x) < 0.86).astype(np.float32)
    pixel = np.float32(c.size / 2)
    for depth, thick, value in ((0.012, 0.010, -150.0), (0.055, 0.035, -930.0), (0.098, 0.008, -200.0)):
        c.paint(value, np.clip((thick - np.abs(curve - depth)) * pixel + np.float32(0.5), 0, 1) * inside)


def _wall(c: _Canvas, z: float, wide: float, deep: float, chest: float, grain: Plane) -> None:
    """Skin, fat, muscle, ribs, and the fat or the cavity inside."""
    c.ellipse(25, 0, 0, wide, deep, power=2.35, soft=1.0)
    fat = 0.036 + 0.020 * _ramp(z, 0.4, 0.9)
    c.ellipse(-105 + 7 * grain, 0, -0.002, wide - 0.008, deep - 0.008, power=2.35)
    muscle = 0.050 - 0.010 * _ramp(z, 0.5, 0.65)
    c.ellipse(52 + 9 * grain, 0, 0.008, wide - fat, deep - fat, power=2.3)
    if chest > 0.05:  # pectoral muscles under their fat
        for side in (-1, 1):
            c.ellipse(
                55 + 9 * grain,
                side * 0.40 * wide,
                -deep + 0.085,
                0.36 * wide * (1 - 0.45 * _ramp(z, 0.1, 0.5)),
                0.040,
                side * 0.20,
                alpha=chest,
            )
    inner_w, inner_d = wide - fat - muscle, deep - fat - muscle
    c.ellipse(-95 + 8 * grain, 0, 0.005, inner_w, inner_d, power=2.25)
    c.ellipse(40 + 6 * grain, 0, 0.005, inner_w, inner_d, power=2.25, alpha=0.85 * chest)
    if chest > 0.02:  # ribs: they descend, so a slice cuts each obliquely, as an arc
        ring_w, ring_d = wide - fat - muscle * 0.45, deep - fat - muscle * 0.45
        theta = np.arctan2(c.y / np.float32(ring_d), c.x / np.float32(ring_w))
        u, v = np.abs(c.x) / np.float32(ring_w), np.abs(c.y) / np.float32(ring_d)
        r = (u**2.3 + v**2.3) ** np.float32(1 / 2.3)
        band = np.clip(
            (np.float32(0.021) - np.abs(r - 1) * np.float32(min(wide, deep))) * np.float32(c.size / 2)
            + np.float32(0.5),
            0,
            1,
        )
        back = np.abs(np.abs(theta) - np.float32(np.pi / 2))
        phase = np.float32(9.0) * np.abs(theta - np.float32(np.pi / 2)) + np.float32(z * 46)
        pieces = np.clip((np.sin(phase) - np.float32(0.10)) * 5, 0, 1) * np.clip((back - np.float32(0.12)) * 12, 0, 1)
        bone = band * pieces * np.float32(min(1.0, chest * 1.5))
        core = np.clip(band - np.float32(0.5), 0, 1) * 2
        c.paint(620 - 330 * core + 60 * grain, bone)
    if z < 0.56:  # sternum
        c.ellipse(430, 0, -deep + fat + 0.050, 0.085, 0.026, power=3)
        c.ellipse(170 + 40 * grain, 0, -deep + fat + 0.050, 0.068, 0.014, power=3)
    if z < 0.30:  # shoulder blades
        fade = 1 - _ramp(z, 0.2, 0.3)
        for side in (-1, 1):
            c.ellipse(520, side * (wide - 0.19), 0.285, 0.155, 0.016, side * -0.62, alpha=fade)
            c.ellipse(260 + 30 * grain, side * (wide - 0.19), 0.285, 0.130, 0.007, side * -0.62, alpha=fade)


def _lungs(c: _Canvas, z: float, wide: float, deep: float, grain: Plane, tubes: Plane) -> None:
    """Two lungs that grow from the apex and end over the domes of the diaphragm."""
    for side in (-1, 1):
        top = 0.45 + 0.55 * _ramp(z, -0.12, 0.20)
        floor = 1 - _ramp(z, 0.44 + (0.05 if side > 0 else 0), 0.66)
        if floor <= 0.02:
            continue
        a = (wide - 0.145) * 0.46 * top
        b = (deep - 0.095) * 0.94 * top
        cx = side * (wide - 0.115 - a)
        where, cover = c.cover(cx, -0.005, a, b, side * 0.07, power=2.35)
        if floor < 1:  # the dome rises from below: the lung is left at the rim, behind it first
            dome, rise = c.cover(cx - side * 0.03, -0.07, a * 1.18 * (1 - 0.85 * floor), b * 1.12 * (1 - 0.8 * floor))
            mask = np.zeros_like(c.image)
            mask[dome] = rise
            cover = cover * (1 - mask[where])
        depth = np.clip((c.y[where] + np.float32(0.4)) * 60, 0, 70)  # lower parts are denser
        air = -880 + depth + 14 * grain[where]
        r = np.hypot((c.x[where] - np.float32(side * 0.16)) / np.float32(a), c.y[where] / np.float32(b))
        thin = np.float32(0.25) * np.clip(np.float32(1.35) - r * np.float32(0.8), np.float32(0.15), 1)
        branch = np.clip((thin - tubes[where]) / np.float32(0.05), 0, 1) ** np.float32(1.5)
        air += branch * 860
        part = c.image[where]
        part += (air - part) * cover
    if z < 0.38:  # the air tube, and its two branches
        split = _ramp(z, 0.20, 0.38)
        for side in (-1, 1):
            gap = 0.10 * split * side
            c.ellipse(60, gap, -0.02 + 0.08 * split, 0.052 - 0.012 * split, 0.056 - 0.015 * split)
            c.ellipse(-985, gap, -0.02 + 0.08 * split, 0.043 - 0.012 * split, 0.047 - 0.015 * split)


def _middle(c: _Canvas, z: float, grain: Plane) -> None:
    """Heart, great vessels, gullet: contrast medium is in the blood."""
    if z < 0.62:
        fade = 1 - _ramp(z, 0.54, 0.62)
        c.ellipse(-70 + 10 * grain, 0.0, -0.06, 0.15, 0.26, alpha=0.75 * fade)
        c.ellipse(45 + 8 * grain, 0.0, 0.02, 0.12, 0.17, alpha=0.8 * fade)
    if z < 0.16:  # arch and its branches
        for cx, cy, r in ((-0.11, -0.13, 0.036), (0.05, -0.09, 0.032), (0.12, -0.04, 0.034), (-0.02, -0.17, 0.040)):
            c.ellipse(230 + 8 * grain, cx, cy, r, r * 1.1)
    elif z < 0.27:
        t = _ramp(z, 0.14, 0.18) * (1 - _ramp(z, 0.22, 0.27))
        c.ellipse(240 + 8 * grain, 0.06, -0.02, 0.075, 0.17, -0.35, alpha=t)
    if 0.18 < z < 0.62:
        c.ellipse(240 + 8 * grain, -0.05, -0.10, 0.062, 0.062, alpha=_ramp(z, 0.18, 0.25) * (1 - _ramp(z, 0.36, 0.44)))
        c.ellipse(215 + 8 * grain, -0.15, -0.09, 0.040, 0.045, alpha=1 - _ramp(z, 0.40, 0.48))
        trunk_of_lung = _ramp(z, 0.24, 0.29) * (1 - _ramp(z, 0.33, 0.38))
        c.ellipse(225 + 8 * grain, 0.06, -0.12, 0.12, 0.05, 0.5, alpha=trunk_of_lung)
    heart = _ramp(z, 0.30, 0.40) * (1 - _ramp(z, 0.56, 0.66))
    if heart > 0.02:
        s = 0.45 + 0.55 * heart
        c.ellipse(-85 + 8 * grain, 0.09, -0.135, 0.285 * s, 0.225 * s, 0.50)
        c.ellipse(95 + 8 * grain, 0.09, -0.125, 0.262 * s, 0.200 * s, 0.50)
        c.ellipse(225 + 9 * grain, 0.175, -0.095, 0.120 * s, 0.088 * s, 0.62, soft=2.5)
        c.ellipse(205 + 9 * grain, 0.035, -0.205, 0.125 * s, 0.070 * s, 0.45, soft=2.5)
        c.ellipse(200 + 9 * grain, -0.105, -0.115, 0.085 * s, 0.090 * s, 0.2, soft=2.5)
        c.ellipse(220 + 9 * grain, 0.025, 0.005, 0.110 * s, 0.055 * s, 0.1, soft=2.5)
    if z > 0.16:  # descending aorta, then before the spine
        c.ellipse(
            235 + 8 * grain, 0.115 - 0.085 * _ramp(z, 0.45, 0.8), 0.145 - 0.015 * _ramp(z, 0.45, 0.8), 0.053, 0.053
        )
        c.ellipse(35 + 8 * grain, 0.025, 0.105, 0.030, 0.024, alpha=1 - _ramp(z, 0.50, 0.58))
    if z > 0.46:  # inferior vena cava
        c.ellipse(165 + 8 * grain, -0.115, 0.075, 0.052, 0.043, 0.2, alpha=_ramp(z, 0.46, 0.52))


def _organs(c: _Canvas, z: float, wide: float, deep: float, chest: float, grain: Plane, tubes: Plane) -> None:
    """Liver, spleen, stomach, kidneys."""
    liver = _ramp(z, 0.42, 0.60) * (1 - 0.75 * _ramp(z, 0.82, 1.05))
    if liver > 0.03:
        a, b = 0.40 * liver**0.6, 0.36 * liver**0.6
        bright = np.clip((np.float32(0.10) - tubes) / np.float32(0.06), 0, 1)
        tissue = 108 + 7 * grain + 62 * bright
        c.ellipse(tissue, -(wide - 0.13) + a, -0.055, a, b, 0.10, power=2.4)
        c.ellipse(tissue, -0.04, -0.225, 0.30 * liver, 0.125 * liver, -0.14, alpha=1 - _ramp(z, 0.78, 0.9))
        c.ellipse(
            14 + 3 * grain, -0.245, -0.135, 0.072, 0.050, -0.5, alpha=_ramp(z, 0.74, 0.78) * (1 - _ramp(z, 0.88, 0.93))
        )
    spleen = _ramp(z, 0.46, 0.58) * (1 - _ramp(z, 0.74, 0.86))
    if spleen > 0.03:
        c.ellipse(122 + 6 * grain, wide - 0.255, 0.145, 0.115 * spleen, 0.205 * spleen, -0.35, power=2.2)
    stomach = _ramp(z, 0.48, 0.58) * (1 - _ramp(z, 0.80, 0.92))
    if stomach > 0.03:
        c.ellipse(75, 0.315, -0.145, 0.205 * stomach, 0.175 * stomach, 0.35)
        c.ellipse(22 + 16 * grain, 0.315, -0.145, 0.185 * stomach, 0.155 * stomach, 0.35, soft=2)
        where, bubble = c.cover(0.315, -0.145, 0.178 * stomach, 0.148 * stomach, 0.35)
        above = np.clip((np.float32(-0.185) - c.y[where]) * np.float32(c.size / 2) + np.float32(0.5), 0, 1)
        part = c.image[where]
        part += (-960 - part) * bubble * above
    if z > 0.60:  # pancreas
        c.ellipse(
            88 + 14 * grain, 0.06, -0.015, 0.185, 0.040, -0.22, alpha=_ramp(z, 0.62, 0.68) * (1 - _ramp(z, 0.78, 0.86))
        )
    for side, shift in ((-1, 0.05), (1, 0.0)):
        kidney = _ramp(z, 0.62 + shift, 0.76 + shift) * (1 - 0.5 * _ramp(z, 0.97, 1.2))
        if kidney <= 0.03:
            continue
        cx, cy = side * 0.335, 0.165
        c.ellipse(-100, cx, cy, 0.165 * kidney, 0.155 * kidney)
        c.ellipse(195 + 8 * grain, cx, cy, 0.122 * kidney, 0.112 * kidney, side * 0.5)
        c.ellipse(135 + 14 * grain, cx - side * 0.012, cy, 0.082 * kidney, 0.070 * kidney, side * 0.5, soft=3)
        c.ellipse(-60, cx - side * 0.062, cy - 0.008, 0.060 * kidney, 0.036 * kidney, side * 0.2, soft=2.5)
        c.ellipse(150, cx - side * 0.10, cy - 0.012, 0.055 * kidney, 0.014, side * 0.15)


def _bowel(c: _Canvas, z: float, grain: Plane, gas: Plane) -> None:
    """Loops in front, from below the stomach on, some with air in them."""
    amount = _ramp(z, 0.72, 0.86)
    if amount <= 0.02:
        return
    loops = (
        (0.30, -0.17, 0.115),
        (0.08, -0.24, 0.10),
        (0.47, -0.02, 0.085),
        (0.13, -0.08, 0.085),
        (-0.14, -0.25, 0.080),
        (0.29, 0.01, 0.075),
        (-0.02, -0.11, 0.060),
        (-0.50, 0.02, 0.075 * _ramp(z, 0.86, 0.95)),
    )
    for number, (cx, cy, r) in enumerate(loops):
        r *= amount * (0.85 + 0.25 * np.sin(9 * z + number * 2.1))
        cx += 0.03 * np.sin(11 * z + number)
        if r < 0.045:
            continue
        c.ellipse(82 + 8 * grain, cx, cy, r, r * 0.82, number)
        where, inside = c.cover(cx, cy, r - 0.018, r * 0.82 - 0.018, number)
        air = np.clip(
            (gas[where] - np.float32(0.35 + 0.35 * (number % 3))) * 6 - (c.y[where] - np.float32(cy)) * 22, 0, 1
        )
        part = c.image[where]
        part += (np.float32(28) - air * 960 + 18 * grain[where] - part) * inside


def _spine(c: _Canvas, z: float, grain: Plane) -> None:
    """A vertebra: body, canal, arch and processes; between two of them the disc shows."""
    disc = max(0.0, np.sin(z * 2 * np.pi * 8.0) - 0.72) / 0.28
    size = 0.112 + 0.026 * z
    cy = 0.245
    for side in (-1, 1):  # back muscles
        c.ellipse(58 + 10 * grain, side * 0.155, cy + 0.155, 0.125, 0.088, side * 0.35)
    c.ellipse(-60 + 8 * grain, 0, cy + 0.20, 0.018, 0.06)
    c.ellipse(560 - 380 * disc, 0, cy, size, size * 0.80, power=2.3)
    c.ellipse(230 - 120 * disc + (34 + 10 * disc) * grain, 0, cy, size - 0.017, size * 0.80 - 0.017, power=2.3)
    arch = 1 - 0.55 * disc
    for side in (-1, 1):
        c.ellipse(500, side * 0.066, cy + 0.118, 0.022, 0.046, side * 0.25, alpha=arch)
        c.ellipse(450, side * 0.125, cy + 0.128, 0.082, 0.020, side * -0.30, alpha=arch)
        c.ellipse(240 + 30 * grain, side * 0.125, cy + 0.128, 0.066, 0.010, side * -0.30, alpha=arch)
        c.ellipse(500, side * 0.040, cy + 0.172, 0.050, 0.015, side * 0.55, alpha=arch)
    c.ellipse(470, 0, cy + 0.225, 0.015, 0.058, alpha=arch)
    c.ellipse(-20, 0, cy + 0.127, 0.058, 0.046)
    c.ellipse(32 + 4 * grain, 0, cy + 0.127, 0.050, 0.040)
    c.ellipse(52, 0, cy + 0.127, 0.026, 0.020, soft=2)


@functools.lru_cache(maxsize=4)
def brain(size: int) -> tuple[Volume, Volume]:
    """A head from the base of the skull to the vertex: two volumes (DEPTH, size, size) of signal, T1 and T2 weighted,
    about 0 to 1000, read-only."""
    rng = np.random.default_rng(_SEED + 1)
    n = min(size, 192)
    bend = noise_field(rng, (2, DEPTH, n, n), (0.01, 16, n / 4, n / 4)) * np.float32(0.011)
    fold = noise_field(rng, (2, DEPTH, n, n), (0.01, 7, n / 13, n / 13)) * np.float32(0.030)
    ridge = np.abs(noise_field(rng, (DEPTH, n, n), (5, n / 17, n / 17)))
    deep = np.abs(noise_field(rng, (DEPTH, n, n), (6, n / 9, n / 9)))
    texture = noise_field(rng, (DEPTH, n, n), (2, n / 50, n / 50))
    x0, y0 = _grid(size)
    first, second = (np.empty((DEPTH, size, size), np.float32) for _ in range(2))
    for index in range(DEPTH):
        z = index / (DEPTH - 1)
        dx, dy = _fine(bend[:, index], size)
        fx, fy = _fine(fold[:, index], size)
        planes = (_fine(ridge[index], size), _fine(deep[index], size), _fine(texture[index], size))
        for weighting, volume in enumerate((first, second)):
            volume[index] = _head(_Canvas(x0 + dx, y0 + dy, 0), z, fx, fy, planes, weighting)
    first.flags.writeable = second.flags.writeable = False
    return first, second


# signal of (T1, T2) weighted images
_FAT, _BONE, _CSF, _GREY, _WHITE, _MUSCLE, _MARROW, _DEEP = (
    (900, 560), (55, 40), (130, 980), (400, 520), (620, 330), (330, 200), (560, 300), (450, 430))  # fmt: skip


def _head(c: _Canvas, z: float, fx: Plane, fy: Plane, planes: tuple[Plane, Plane, Plane], w: int) -> Plane:
    ridge, deep, grain = planes
    up = max(0.0, (z - 0.42) / 0.66)
    scale = float(np.sqrt(max(0.03, 1 - up * up))) * (0.90 + 0.10 * _ramp(z, 0, 0.35))
    a, b = 0.62 * scale, 0.775 * scale
    grain = grain * np.float32(10)
    c.ellipse(_FAT[w] * 0.6 + grain, 0, 0.01, a + 0.012, b + 0.012, soft=1.5)
    c.ellipse(_FAT[w] + 3 * grain, 0, 0.01, a, b, soft=1.5)
    low = 1 - _ramp(z, 0.16, 0.38)
    if low > 0:  # muscles of temple and neck
        for side in (-1, 1):
            c.ellipse(_MUSCLE[w] + 3 * grain, side * (a - 0.055), -0.10, 0.060, 0.30, side * 0.10, alpha=low)
            c.ellipse(_MUSCLE[w] + 3 * grain, side * 0.20, b - 0.10, 0.20, 0.085, side * -0.25, alpha=low)
    c.ellipse(_BONE[w], 0, 0.0, a - 0.035, b - 0.035)
    c.ellipse(_MARROW[w] + 4 * grain, 0, 0.0, a - 0.048, b - 0.048, alpha=0.55)
    c.ellipse(_BONE[w], 0, 0.0, a - 0.062, b - 0.062)
    if low > 0:
        _face(c, low, grain, w)
    ia, ib = a - 0.080, b - 0.085 - 0.06 * low
    if ia < 0.06:
        return c.image
    cy = 0.035 * low
    c.ellipse(_CSF[w], 0, cy, ia, ib)
    # the brain: a folded sheet of grey over white, cut by furrows that reach in from outside
    xf, yf = c.x + fx, c.y + fy - np.float32(cy)
    r = np.hypot(c.x / np.float32(ia), (c.y - np.float32(cy)) / np.float32(ib))
    rf = np.hypot(xf / np.float32(ia), yf / np.float32(ib))
    pixel = np.float32(c.size / 2 * ia)
    surface = np.clip((np.float32(0.965) - r) * pixel / 1.5, 0, 1)
    rind = np.clip((r - np.float32(0.60)) / np.float32(0.30), 0, 1)
    furrow = np.clip((np.float32(0.20) * rind - ridge) / np.float32(0.07), 0, 1) * np.clip(
        (r - np.float32(0.62)) * 9, 0, 1
    )
    gully = np.clip((np.float32(0.13) * rind - deep) / np.float32(0.05), 0, 1) * np.clip(
        (r - np.float32(0.50)) * 9, 0, 1
    )
    furrow = np.maximum(furrow, gully)
    c.paint(_GREY[w] + grain, surface)
    near = np.minimum(ridge, deep * np.float32(1.3))  # grey follows the furrows down
    core = np.clip((np.float32(0.86) - rf) * 16, 0, 1)
    inner = np.clip(
        (near - np.float32(0.66) * np.clip((r - np.float32(0.42)) / np.float32(0.36), 0, 1)) * 9 + np.float32(0.4), 0, 1
    )
    c.paint(_WHITE[w] + grain, core * inner * surface)
    c.paint(_CSF[w], furrow * surface * np.float32(0.92))
    gap = np.abs(c.x + np.float32(0.35) * fx)
    split = np.clip((np.float32(0.010) - gap) * np.float32(c.size / 2) + np.float32(0.5), 0, 1)
    ends = np.clip((np.abs(c.y - np.float32(cy)) / np.float32(ib) - np.float32(0.40 if z < 0.72 else 0.0)) * 10, 0, 1)
    edge = np.clip((np.float32(0.040) - gap) * np.float32(c.size / 5), 0, 1) * ends * surface
    c.paint(_GREY[w] + grain, edge * np.float32(0.9))
    c.paint(_CSF[w], split * ends * surface)
    _inside(c, z, grain, w)
    if low > 0.05:
        _hind(c, z, low, ib, cy, ridge, grain, w)
    return c.image


def _inside(c: _Canvas, z: float, grain: Plane, w: int) -> None:
    """Ventricles, the nuclei beside them, the insula."""
    middle = _ramp(z, 0.30, 0.42) * (1 - _ramp(z, 0.66, 0.76))
    body = _ramp(z, 0.46, 0.54) * (1 - _ramp(z, 0.70, 0.78))
    third = _ramp(z, 0.32, 0.38) * (1 - _ramp(z, 0.50, 0.56))
    nuclei = _ramp(z, 0.34, 0.42) * (1 - _ramp(z, 0.56, 0.64))
    for side in (-1, 1):
        if nuclei > 0.02:
            c.ellipse(_DEEP[w] + grain, side * 0.080, 0.085, 0.072, 0.105, side * -0.35, soft=4, alpha=nuclei)
            c.ellipse(_GREY[w] * 1.04 + grain, side * 0.205, -0.075, 0.045, 0.140, side * -0.22, soft=4, alpha=nuclei)
            c.ellipse(_GREY[w] + grain, side * 0.345, -0.045, 0.022, 0.150, side * -0.10, soft=3, alpha=nuclei)
            c.ellipse(_CSF[w], side * 0.378, -0.035, 0.014, 0.135, side * -0.12, soft=3, alpha=nuclei * 0.85)
        if middle > 0.02:
            c.ellipse(_GREY[w] + grain, side * 0.112, -0.225, 0.034, 0.072, side * -0.35, soft=3, alpha=middle * 0.9)
            c.ellipse(_CSF[w], side * 0.066, -0.225, 0.030, 0.098, side * -0.42, soft=2.5, alpha=middle)
            c.ellipse(
                _CSF[w], side * 0.165, 0.290, 0.036, 0.115, side * 0.50, soft=2.5, alpha=middle * (1 - body * 0.3)
            )
        if body > 0.02:
            c.ellipse(_CSF[w], side * 0.064, 0.010, 0.034, 0.215, side * -0.08, soft=2.5, alpha=body)
    c.ellipse(_CSF[w], 0, 0.065, 0.013, 0.090, soft=2, alpha=third)
    if middle > 0.02:  # corpus callosum
        c.ellipse(_WHITE[w] * 1.05, 0, -0.330, 0.085, 0.026, soft=3, alpha=middle)
        c.ellipse(_WHITE[w] * 1.05, 0, 0.235, 0.080, 0.030, soft=3, alpha=middle)


def _hind(c: _Canvas, z: float, low: float, ib: float, cy: float, ridge: Plane, grain: Plane, w: int) -> None:
    """Cerebellum and brain stem behind and below."""
    y = cy + 0.36
    c.ellipse(_CSF[w], 0, y - 0.02, 0.40, 0.255, alpha=low)
    for side in (-1, 1):
        c.ellipse(_GREY[w] + grain, side * 0.165, y, 0.185, 0.205, side * -0.25, alpha=low)
    lines = np.clip(np.sin((c.y - np.float32(y)) * 88 + np.abs(c.x) * 40 + ridge * 3), -1, 1)
    where, cover = c.cover(0, y, 0.31, 0.185)
    part = c.image[where]
    part += (_WHITE[w] - _GREY[w]) * np.float32(0.33) * np.clip(lines[where], 0, 1) * cover * np.float32(low)
    for side in (-1, 1):
        c.ellipse(_WHITE[w] + grain, side * 0.140, y - 0.03, 0.085, 0.070, side * 0.5, soft=7, alpha=0.8 * low)
    c.ellipse(_CSF[w], 0, y - 0.165, 0.045, 0.030, soft=3, alpha=low)
    c.ellipse(_CSF[w], 0, y - 0.30, 0.185, 0.110, soft=2, alpha=low)
    c.ellipse(_WHITE[w] * 0.93 + grain, 0, y - 0.265, 0.120, 0.090, soft=3, alpha=low)


def _face(c: _Canvas, low: float, grain: Plane, w: int) -> None:
    """Orbits, nose and the air beside it."""
    for side in (-1, 1):
        c.ellipse(_FAT[w] * 0.95 + 3 * grain, side * 0.255, -0.545, 0.135, 0.150, side * -0.3, alpha=low)
        c.ellipse(_CSF[w] * 1.0, side * 0.260, -0.590, 0.088, 0.088, alpha=low)
        c.ellipse((250, 420)[w], side * 0.260, -0.648, 0.040, 0.020, alpha=low)
        c.ellipse(_MUSCLE[w], side * 0.195, -0.475, 0.018, 0.085, side * -0.45, alpha=low)
        c.ellipse(25, side * 0.065, -0.545, 0.045, 0.125, alpha=low)
    c.ellipse(_MUSCLE[w] * 1.1, 0, -0.55, 0.012, 0.13, alpha=low)
