"""Skin: where pigment and blood lie on the face, and the colour that they make."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numba import njit

from efface.faces.rendering.body import Body
from efface.faces.rendering.noise import value

DERMIS = np.array([0.90, 0.72, 0.625], np.float32)
"""Linear RGB of skin without pigment or blood (ours, by eye)."""
MELANIN = np.array([1.02, 1.27, 1.45], np.float32)
"""Absorbance of one unit of melanin in R, G, B: falls with the wavelength (ours, set by
eye so that 0.05 to 2.5 units go from very light to very dark skin)."""
BLOOD = np.array([0.10, 0.74, 0.62], np.float32)
"""Absorbance of one unit of haemoglobin (ours; green is absorbed most)."""


@dataclass(frozen=True)
class Skin:
    """What is the person's own in their skin."""

    melanin: float
    """0.04 (lightest) to 2.04 (darkest)."""
    blood: float
    """Haemoglobin everywhere, 0.1 to 0.34."""
    flush: float
    """More of it on cheeks, nose and ears."""
    uneven: float
    """Strength of the patches of more or less melanin."""
    freckles: int
    """How many."""
    moles: int
    rings: float
    """Darkness around the eyes."""
    lips: tuple[float, float]
    """Haemoglobin and melanin of the lips, added."""
    stubble: float
    """Darkness of a shaven beard, 0 to 1."""
    shine: float
    """Strength of the skin's highlight."""
    lines: float
    """Strength of the folds from nose to mouth and of the forehead's lines."""
    seed: int


def draw_skin(rng: np.random.Generator) -> Skin:
    """A person's skin. Light tones are commoner than dark ones (median 0.65 units of melanin), and the very darkest are
    not drawn; freckles are commoner on light skin."""
    melanin = float(0.04 + 2.0 * rng.random() ** 1.7)
    fair = max(0.0, 1 - melanin / 0.7)
    freckled = rng.random() < 0.12 + 0.35 * fair
    return Skin(
        melanin=melanin,
        blood=float(rng.uniform(0.1, 0.34)),
        flush=float(rng.uniform(0.02, 0.24)),
        uneven=float(rng.uniform(0.02, 0.07)),
        freckles=int(rng.integers(30, 260)) if freckled else 0,
        moles=int(rng.poisson(2.2)),
        rings=float(rng.uniform(0, 0.22)),
        lips=(float(rng.uniform(0.25, 0.95)), float(rng.uniform(0.0, 0.35))),
        stubble=float(rng.uniform(0.25, 0.9)) if rng.random() < 0.25 else 0.0,
        shine=float(rng.uniform(0.5, 1.5)),
        lines=float(rng.random() ** 2),
        seed=int(rng.integers(2**31)),
    )


@dataclass(frozen=True)
class Zones:
    """Soft masks over the texture, float32 [h, w] from 0 to 1, and the places of the texels [h, w, 3] (cm)."""

    positions: np.ndarray
    lips: np.ndarray
    flush: np.ndarray
    rings: np.ndarray
    beard: np.ndarray
    lids: np.ndarray
    """The rim of the upper lid: lashes."""
    lines: np.ndarray

    @classmethod
    def of(cls, body: Body) -> "Zones":
        p = body.positions
        x, y, z = np.abs(p[..., 0]), p[..., 1], p[..., 2]
        marks = body.heads.base[body.heads.landmarks]
        front = _step(z, 6.0, 8.0)
        lips = _inside(p, _smooth(marks[48:60]), 0.16) * _step(z, 9.0, 9.6)
        flush = _blob(p, (4.4, -0.6, 9.0), 2.3) + _blob(p, (0, 0.2, 12.8), 1.4) + _blob(p, (0, -6.3, 10.6), 1.2) * 0.5
        flush += _step(x, 7.3, 8.2) * _step(y, -2.5, -1.5) * (1 - _step(y, 5.5, 6.5))
        eyes = [_inside(p, marks[a:b], 0.75) for a, b in ((36, 42), (42, 48))]
        rings = np.maximum(*eyes) * front
        rings = np.maximum(rings, _blob(p, (3.0, 1.9, 9.6), 1.1))
        lids = np.maximum(*[_along(p, marks[a : a + 4], 0.13) for a in (36, 42)]) * front
        lids = np.maximum(
            lids, 0.35 * np.maximum(*[_along(p, marks[a], 0.1) for a in ([39, 40, 41, 36], [45, 46, 47, 42])]) * front
        )
        cheek = np.interp(x, [0, 0.9, 2.6, 3.6, 5.6, 7.0, 7.6], [-1.5, -1.55, -2.2, -3.0, -2.6, -0.3, 2.2])
        beard = (1 - _step(y, cheek - 0.35, cheek + 0.25)) * _step(y + 0.55 * z, -7.5, -5.0) * _step(z, 1.5, 3.0)
        beard *= (1 - lips) * (1 - 0.75 * _blob(p, (1.9, -5.0, 10.6), 0.6))
        folds = _along(p, np.array([[1.6, 0.0, 11.2], [2.5, -1.3, 10.8], [3.1, -2.9, 10.3]]), 0.22, mirrored=True)
        brow = sum(
            _along(p, np.array([[-3.4, h, 9.6], [0, h + 0.35, 11.0], [3.4, h, 9.6]]), 0.13) for h in (7.2, 7.9, 8.6)
        )
        lines = (
            np.clip(
                folds + 0.5 * brow + 0.6 * _along(p, np.array([[4.7, 3.1, 8.4], [5.9, 2.6, 7.0]]), 0.3, mirrored=True),
                0,
                1,
            )
            * front
        )
        return cls(p, *(a.astype(np.float32) for a in (lips, flush.clip(0, 1), rings, beard, lids, lines)))


def _step(values: np.ndarray, low: float | np.ndarray, high: float | np.ndarray) -> np.ndarray:
    """0 below `low`, 1 above `high`, smooth between."""
    t = ((values - low) / (high - low)).clip(0, 1)
    return t * t * (3 - 2 * t)


def _blob(p: np.ndarray, centre: tuple[float, float, float], radius: float) -> np.ndarray:
    """A soft ball on both sides of the face."""
    d = (np.abs(p[..., 0]) - centre[0]) ** 2 + (p[..., 1] - centre[1]) ** 2 + (p[..., 2] - centre[2]) ** 2
    return np.exp(-d / radius**2)


def _along(p: np.ndarray, line: np.ndarray, width: float, mirrored: bool = False) -> np.ndarray:
    """1 on a line through points [k, 3], falling off over `width`."""
    q = np.concatenate([np.abs(p[..., :1]), p[..., 1:]], -1) if mirrored else p
    nearest = np.full(p.shape[:2], np.inf)
    for a, b in pairwise(line):
        t = (((q - a) @ (b - a)) / ((b - a) @ (b - a))).clip(0, 1)[..., None]
        nearest = np.minimum(nearest, ((q - a - t * (b - a)) ** 2).sum(-1))
    return np.exp(-nearest / width**2)


def _inside(p: np.ndarray, polygon: np.ndarray, soft: float) -> np.ndarray:
    """1 inside a polygon [k, 3] seen from the front, 0 outside, smooth over `soft` cm."""
    x, y = p[..., 0], p[..., 1]
    inside, nearest = np.zeros(x.shape, bool), np.full(x.shape, np.inf)
    for (ax, ay), (bx, by) in zip(polygon[:, :2], np.roll(polygon[:, :2], -1, 0), strict=True):
        t = (((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / ((bx - ax) ** 2 + (by - ay) ** 2)).clip(0, 1)
        nearest = np.minimum(nearest, np.hypot(x - ax - t * (bx - ax), y - ay - t * (by - ay)))
        with np.errstate(divide="ignore", invalid="ignore"):
            inside ^= ((ay > y) != (by > y)) & (x < (bx - ax) * (y - ay) / (by - ay) + ax)
    return _step(np.where(inside, nearest, -nearest), -soft, soft)


def _smooth(loop: np.ndarray) -> np.ndarray:
    """A closed polygon with its corners cut twice (Chaikin 1974)."""
    for _ in range(2):
        after = np.roll(loop, -1, 0)
        loop = np.stack([0.75 * loop + 0.25 * after, 0.25 * loop + 0.75 * after], 1).reshape(-1, 3)
    return loop


def paint(zones: Zones, skin: Skin, covered: np.ndarray, hair: np.ndarray) -> np.ndarray:
    """The person's skin as linear RGB, float32 [h, w, 3].

    covered: how densely hair covers each texel, [h, w] from 0 to 1. hair: its linear RGB [3].
    """
    rng = np.random.default_rng(skin.seed)
    spots = np.zeros(zones.lips.shape, np.float32)
    for _ in range(skin.freckles):
        centre = np.array([rng.normal(0, 3.0), rng.normal(0.8, 2.2)])
        _spot(spots, zones, centre, rng.uniform(0.06, 0.12), rng.uniform(0.08, 0.3))
    for _ in range(skin.moles):
        _spot(spots, zones, rng.uniform((-6.5, -7), (6.5, 8)), rng.uniform(0.08, 0.17), rng.uniform(0.5, 1.5))
    numbers = np.array(
        [skin.melanin, skin.blood, skin.flush, skin.uneven, skin.rings, *skin.lips, skin.stubble, skin.lines],
        np.float32,
    )
    out = np.empty((*spots.shape, 3), np.float32)
    _paint(
        zones.positions, zones.lips, zones.flush, zones.rings, zones.beard, zones.lids, zones.lines, spots, covered,
        hair.astype(np.float32), numbers, skin.seed, DERMIS, MELANIN, BLOOD, out,
    )  # fmt: skip
    return out


def _spot(spots: np.ndarray, zones: Zones, centre: np.ndarray, radius: float, depth: float) -> None:
    """Add melanin in a disc about (x, y) of the front of the face."""
    p = zones.positions
    # rows and columns of the front run with y and x: find the place first, then its surroundings
    column = int(np.argmin(np.abs(p[p.shape[0] // 2, :384, 0] - centre[0])))
    row = int(np.argmin(np.abs(p[:, column, 1] - centre[1])))
    area = np.s_[max(0, row - 7) : row + 8, max(0, column - 7) : column + 8]
    d = ((p[area] - p[row, column]) ** 2).sum(-1) / radius**2
    spots[area] += (depth * np.exp(-(d**1.5))).astype(np.float32)


@njit(cache=True)
def _paint(
    positions, lips, flush, rings, beard, lids, lines, spots, covered, hair, numbers, seed, dermis, absorbs, blood, out
):
    melanin, base, flushed, uneven, ringed, lip_blood, lip_melanin, stubble, lined = numbers
    height, width = lips.shape
    for r in range(height):
        for c in range(width):
            x, y, z = positions[r, c]
            broad = value(x * 0.33, y * 0.33, z * 0.33, seed)
            patch = value(x * 0.9, y * 0.9, z * 0.9, seed + 1)
            fine = value(x * 3.1, y * 3.1, z * 3.1, seed + 2)
            grain = value(x * 7.3, y * 7.3, z * 7.3, seed + 3)
            lip = lips[r, c]
            m = melanin + min(melanin, 0.8) * (uneven * (broad + 0.8 * patch) + 0.03 * fine + 0.04 * grain)
            m += 0.015 * patch + spots[r, c] + ringed * rings[r, c] + 0.10 * lined * lines[r, c]
            m = m * (1 - 0.12 * lip) + lip_melanin * lip
            h = base * (1 + 0.18 * patch + 0.10 * fine) + flushed * flush[r, c] + 0.5 * ringed * rings[r, c]
            h += lip_blood * lip * (1 + 0.15 * fine) + 0.12 * lined * lines[r, c]
            shade = 0.5 * stubble * beard[r, c] * (0.75 + 0.5 * grain)
            root = covered[r, c]
            dark = 0.55 * lids[r, c]
            for k in range(3):
                colour = dermis[k] * np.exp(-m * absorbs[k] - max(h, 0.0) * blood[k])
                colour *= 1 - shade * (1 - 0.25 * (k == 2))
                colour = colour * (1 - root) + root * hair[k] * 0.55
                out[r, c, k] = colour * (1 - dark) + 0.01 * dark
