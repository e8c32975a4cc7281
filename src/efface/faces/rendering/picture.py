"""From light to a photo: background, exposure, lens, sensor."""

import numpy as np
from numba import njit

from efface.faces.rendering.shot import Shot


def backdrop(shot: Shot, side: int) -> np.ndarray:
    """A blurred room or garden: linear RGB float32 [side, side, 3]."""
    rng = np.random.default_rng(shot.backdrop)
    coarse = int(rng.integers(4, 12))
    level = np.exp(rng.normal(-1.3, 0.7))
    hue = np.exp(rng.normal(0, 1, 3) * [0.16, 0.05, 0.16])  # along yellow to blue, as indoors and out
    spread = rng.uniform(0.05, 0.8)
    grid = (
        level
        * hue
        * np.exp(
            spread
            * (rng.normal(0, 1, (coarse, coarse, 1)) + rng.normal(0, 1, (coarse, coarse, 3)) * [0.12, 0.07, 0.14])
        )
    )
    if rng.random() < 0.5:  # an edge: a door, the horizon
        axis, at = int(rng.integers(2)), int(rng.integers(1, coarse))
        part = [slice(None), slice(None)]
        part[axis] = slice(at, None)
        grid[tuple(part)] *= np.exp(rng.normal(0, 0.7)) * np.exp(rng.normal(0, 1, 3) * [0.12, 0.06, 0.12])
    out = np.empty((side, side, 3), np.float32)
    _enlarge(grid.clip(0.003, 1.4).astype(np.float32), out)
    return out


@njit(cache=True)
def _enlarge(grid, out):
    """Smooth enlargement of a small picture [n, n, 3], n ≥ 3 (quadratic B-spline; the outermost cells are half
    outside)."""
    n, side = len(grid), len(out)
    share = np.empty((side, 3), np.float32)
    first = np.empty(side, np.int64)
    for r in range(side):
        at = (r + 0.5) / side * (n - 2)
        cell = min(int(at), n - 3)
        t = at - cell
        first[r] = cell
        share[r, 0], share[r, 1], share[r, 2] = 0.5 * (1 - t) ** 2, 0.5 + t * (1 - t), 0.5 * t * t
    for r in range(side):
        for c in range(side):
            for d in range(3):
                total = np.float32(0.0)
                for i in range(3):
                    for j in range(3):
                        total += share[r, i] * share[c, j] * grid[first[r] + i, first[c] + j, d]
                out[r, c, d] = total


def exposure(colour: np.ndarray, index: np.ndarray, shot: Shot) -> float:
    """Gain of an automatic exposure on the head: three fifths of the way, so that dark skin stays darker. colour:
    linear RGB [side, side, 3]; index: the head's triangle at each place, negative where there is none."""
    middle = np.s_[len(colour) // 4 : 3 * len(colour) // 4]
    face = colour[middle, middle][index[middle, middle] >= 0]
    usual = float(np.exp(np.log(face.mean(1, dtype=np.float64) + 0.01).mean())) if len(face) else 0.2
    return 1.15 * shot.exposure * (0.20 / usual) ** 0.62


def develop(colour: np.ndarray, gain: float, shot: Shot, size: int) -> np.ndarray:
    """Linear RGB [s·size, s·size, 3] -> the photo uint8 [size, size, 3]: exposure, lens blur, tone curve, sRGB,
    noise."""
    samples = len(colour) // size
    small = np.empty((size, size, 3), np.float32)
    spread = np.hypot(0.42, shot.blur * size / 128) * samples
    reach = int(np.ceil(2.5 * spread + samples / 2))
    at = np.arange(-reach, reach + samples) - (samples - 1) / 2
    kernel = np.exp(-0.5 * (at / spread) ** 2)
    _shrink(colour, (kernel / kernel.sum()).astype(np.float32), reach, samples, small)
    rng = np.random.default_rng(shot.backdrop + 1)
    grain = rng.standard_normal(small.shape, np.float32)
    grain[1:, 1:] += 0.5 * grain[:-1, :-1]
    out = np.empty((size, size, 3), np.uint8)
    _tone(
        small,
        np.float32(gain),
        np.float32(shot.contrast),
        np.float32(shot.saturation),
        grain,
        np.float32(shot.noise),
        out,
    )
    return out


@njit(cache=True)
def _shrink(colour, kernel, reach, samples, out):
    """Filter with a separable kernel and keep every `samples`-th pixel; the border is repeated."""
    side, size = len(colour), len(out)
    half = np.zeros((size, side, 3), np.float32)
    for r in range(size):
        for k in range(len(kernel)):
            y = min(max(r * samples - reach + k, 0), side - 1)
            weight = kernel[k]
            for c in range(side):
                half[r, c, 0] += weight * colour[y, c, 0]
                half[r, c, 1] += weight * colour[y, c, 1]
                half[r, c, 2] += weight * colour[y, c, 2]
    out[:] = 0.0
    for r in range(size):
        for c in range(size):
            for k in range(len(kernel)):
                x = min(max(c * samples - reach + k, 0), side - 1)
                for d in range(3):
                    out[r, c, d] += kernel[k] * half[r, x, d]


@njit(cache=True)
def _tone(small, gain, contrast, saturation, grain, noise, out):
    """Exposure, saturation, a curve that rolls off the highlights, contrast about the middle, sRGB, noise."""
    size = len(small)
    for r in range(size):
        for c in range(size):
            grey = gain * (0.2126 * small[r, c, 0] + 0.7152 * small[r, c, 1] + 0.0722 * small[r, c, 2])
            for d in range(3):
                v = max(grey + saturation * (gain * small[r, c, d] - grey), 0.0)
                if v > 0.6:
                    v = 0.6 + 0.4 * (1.0 - np.exp(-(v - 0.6) / 0.4))
                s = 12.92 * v if v < 0.0031308 else 1.055 * v ** (1 / 2.4) - 0.055
                s = 0.5 + contrast * (s - 0.5)
                value = 255.0 * s + noise * grain[r, c, d]
                out[r, c, d] = np.uint8(min(max(value + 0.5, 0.0), 255.0))
