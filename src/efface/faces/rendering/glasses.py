"""Spectacles: a thin frame of tubes around the eyes."""

from dataclasses import dataclass

import numpy as np

SIDES = 6
"""Corners of a tube's section."""


@dataclass(frozen=True)
class Glasses:
    """The person's own pair."""

    wearing: float
    """Share of the photos that show them."""
    width: float
    """Half the width of a lens, cm."""
    height: float
    squareness: float
    """Exponent of the outline: 2 is an ellipse, 6 nearly a rectangle."""
    thickness: float
    """Radius of the tube, cm."""
    colour: tuple[float, ...]
    """Linear RGB."""


def draw_glasses(rng: np.random.Generator) -> Glasses:
    """One person in five wears glasses, most of these often."""
    metal = rng.random() < 0.35
    tone = rng.uniform(0.15, 0.5) if metal else rng.uniform(0.004, 0.06)
    tint = np.exp(rng.normal(0, 0.12 if metal else 0.45, 3))
    return Glasses(
        wearing=float(rng.uniform(0.3, 0.9)) if rng.random() < 0.2 else float(0.02 * (rng.random() < 0.3)),
        width=float(rng.uniform(2.35, 2.9)),
        height=float(rng.uniform(1.6, 2.4)),
        squareness=float(rng.uniform(2.0, 5.0)),
        thickness=float(rng.uniform(0.06, 0.10) if metal else rng.uniform(0.10, 0.2)),
        colour=tuple(float(v) for v in (tone * tint).clip(0.002, 0.8)),
    )


def build(glasses: Glasses, marks: np.ndarray, ears: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices float32 [n, 3] and triangles int32 [t, 3] of the frame.

    marks: the 68 landmarks [68, 3] of the person's neutral face. ears: where the temples end [2, 3], the left ear
    (the person's) first.
    """
    bridge = marks[27] * 0.5 + marks[28] * 0.5
    front = max(bridge[2] + 0.45, marks[[36, 39, 42, 45], 2].max() + 1.3)
    tubes = []
    turn = np.linspace(0, 2 * np.pi, 37)
    for side, eye in ((1, marks[42:48].mean(0)), (-1, marks[36:42].mean(0))):
        power = 2 / glasses.squareness
        u = np.sign(np.cos(turn)) * np.abs(np.cos(turn)) ** power
        v = np.sign(np.sin(turn)) * np.abs(np.sin(turn)) ** power
        centre = np.array([side * (abs(eye[0]) + 0.12), eye[1] - 0.25, front])
        x = centre[0] + glasses.width * u
        bow = 0.05 * (np.abs(x) - 1.0).clip(0) ** 2  # the front follows the face
        tubes.append(np.stack([x, centre[1] + glasses.height * v, front - bow], 1))
        outer = side * (abs(centre[0]) + glasses.width)
        hinge = np.array([outer, eye[1] + 0.45, front - 0.05 * max(abs(outer) - 1, 0) ** 2])
        ear = ears[0 if side > 0 else 1]
        tubes.append(np.linspace(hinge, ear + np.array([side * 0.25, 0.35, 0]), 10))
    inner = abs(marks[42:48].mean(0)[0]) + 0.12 - glasses.width
    top = marks[42:48].mean(0)[1] + 0.2
    tubes.append(
        np.stack([np.linspace(-inner, inner, 7), top + 0.25 * np.cos(np.linspace(-1.5, 1.5, 7)), np.full(7, front)], 1)
    )
    points, triangles, first = [], [], 0
    for line in tubes:
        made, joined = _tube(line, glasses.thickness)
        points.append(made)
        triangles.append(joined + first)
        first += len(made)
    return np.concatenate(points).astype(np.float32), np.concatenate(triangles).astype(np.int32)


def _tube(line: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """A tube around a line [k, 3]."""
    ahead = np.gradient(line, axis=0)
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
    up = np.where(np.abs(ahead[:, 2:]) > 0.8, [0.0, 1.0, 0.0], [0.0, 0.0, 1.0])
    across = np.cross(ahead, up)
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    other = np.cross(ahead, across)
    turn = 2 * np.pi * np.arange(SIDES) / SIDES
    section = np.cos(turn)[None, :, None] * across[:, None] + np.sin(turn)[None, :, None] * other[:, None]
    points = (line[:, None] + radius * section).reshape(-1, 3)
    i, j = np.meshgrid(np.arange(len(line) - 1), np.arange(SIDES), indexing="ij")
    a, b = i * SIDES + j, i * SIDES + (j + 1) % SIDES
    c, d = a + SIDES, b + SIDES
    corners = np.stack([np.stack([a, b, c], -1), np.stack([b, d, c], -1)], -2)
    return points, corners.reshape(-1, 3)
