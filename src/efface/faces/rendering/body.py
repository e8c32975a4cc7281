"""The morphable head made ready to be drawn: which triangles are what, shoulders, occlusion and texture coordinates.
None of it depends on the person."""

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np

from efface.faces.rendering import raster
from efface.faces.rendering.heads import Heads

SKIN, EYE, TEETH, MOUTH, SOCKET, FRAME = range(6)
"""What a triangle shows. FRAME is that of glasses."""

PARTS = {
    "M_Face": SKIN,
    "M_BackHead": SKIN,
    "M_ScleraLeft": EYE,
    "M_ScleraRight": EYE,
    "M_Teeth": TEETH,
    "M_GumsTongue": MOUTH,
}
"""Materials that are drawn. The lids' own shadow and wetness (M_EyeOcclusion, M_LacrimalFluid, M_EyeBlend), the inner
eyeball behind the cornea and the eyelash cards are not: the eyes are painted on the outer eyeball."""

SOCKETS = (11248, 14062)
"""Vertices of M_BackHead that line the mouth and the eye sockets (ICT-FaceKit's README)."""

EYES = ((21451, 22221), (23021, 23791))
"""Vertices of the outer eyeballs, the person's left one first (ICT-FaceKit's README, as packed)."""

FACE_TEXELS, BACK_TEXELS = (384, 384), (384, 192)
"""Height and width of the texture of the face, and beside it that of the back of the head."""

SKIRT = ((1.25, 5.0), (1.45, 14.0), (1.5, 40.0))
"""Rings that continue the shoulders: widening, and cm downwards."""


@dataclass(frozen=True)
class Body:
    """The mesh that is drawn. Vertices are those of `heads` (which has the skirt's vertices too)."""

    heads: Heads
    triangles: np.ndarray
    """int32 [T, 3]."""
    part: np.ndarray
    """uint8 [T], SKIN and so on."""
    texels: np.ndarray
    """Where a triangle's corners lie in the texture, (x, y) in texels, float32 [T, 3, 2]; of skin only."""

    @classmethod
    def of(cls, heads: Heads) -> "Body":
        kept = np.isin(heads.material, [heads.materials.index(name) for name in PARTS])
        triangles, material = heads.triangles[kept], heads.material[kept]
        part = np.array([PARTS.get(name, SKIN) for name in heads.materials], np.uint8)[material]
        part[(triangles >= SOCKETS[0]).all(1) & (triangles < SOCKETS[1]).all(1)] = SOCKET
        texels = _texels(heads.uv[heads.corners[kept]])
        heads, skirt = _with_skirt(heads, triangles)
        return cls(
            heads,
            np.ascontiguousarray(np.concatenate([triangles, skirt])),
            np.concatenate([part, np.full(len(skirt), SKIN, np.uint8)]),
            np.concatenate([texels, np.zeros((len(skirt), 3, 2), np.float32)]),
        )

    @cached_property
    def occlusion(self) -> np.ndarray:
        """Share of the sky that each vertex of the mean face sees, weighted by the cosine, float32 [V]: the depth
        buffers of 64 directions, spread evenly over the sphere (Fibonacci)."""
        points, count, side = self.heads.base, 64, 224
        facing = np.zeros_like(points)
        raster.normals(points, self.triangles, facing)
        seen, most = np.zeros(len(points)), np.zeros(len(points))
        for i in range(count):
            up = 1 - (2 * i + 1) / count
            turn = np.pi * (1 + 5**0.5) * i
            light = np.array([np.cos(turn) * (1 - up**2) ** 0.5, up, np.sin(turn) * (1 - up**2) ** 0.5])
            view = Shadow.towards(light.astype(np.float32), side)
            view.add(points, self.triangles)
            cosine = (facing @ light).clip(0)
            seen += cosine * view.lit(points + 0.35 * facing, 0.25)
            most += cosine
        return (seen / most.clip(1e-6)).astype(np.float32)

    @cached_property
    def _chart(self) -> tuple[np.ndarray, np.ndarray]:
        """The vertices of the triangle on which each texel lies, [h, w, 3], and their weights [h, w, 3]; texels outside
        take those of the nearest inside."""
        height, width = FACE_TEXELS[0], FACE_TEXELS[1] + BACK_TEXELS[1]
        rows = np.flatnonzero(self.part == SKIN)
        rows = rows[self.texels[rows].any((1, 2))]
        screen = np.ones((len(rows) * 3, 3), np.float32)
        screen[:, :2] = self.texels[rows].reshape(-1, 2)
        depth, index, weights = raster.buffers(height, width)
        raster.fill(screen, np.arange(len(screen), dtype=np.int32).reshape(-1, 3), depth, index, weights, False)
        shares = np.concatenate([1 - weights.sum(-1, keepdims=True), weights], -1)
        return _spread(self.triangles[rows[index]], index >= 0), _spread(shares, index >= 0)

    @cached_property
    def positions(self) -> np.ndarray:
        """Where on the mean face each texel lies, float32 [h, w, 3] in cm."""
        corners, shares = self._chart
        return np.einsum("hwcd,hwc->hwd", self.heads.base[corners], shares).astype(np.float32)

    def over_texture(self, values: np.ndarray) -> np.ndarray:
        """A value per vertex [V] -> per texel, float32 [h, w]."""
        corners, shares = self._chart
        return (values[corners] * shares).sum(-1).astype(np.float32)


@dataclass(frozen=True)
class Shadow:
    """An orthographic depth map: what a light far away sees of the head."""

    matrix: np.ndarray
    """From head space (cm, homogeneous) to (column, row, height along the light), float32 [3, 4]."""
    height: np.ndarray
    """float32 [k, k]; the height, plus LIFT, of what is nearest to the light; 0 where there is nothing."""

    LIFT = 100.0
    REACH = 17.0
    """Half the side of the map in cm, around CENTRE."""
    CENTRE = np.array([0.0, 1.0, 2.0])

    @classmethod
    def towards(cls, light: np.ndarray, side: int) -> "Shadow":
        """An empty map. light: unit vector towards the light."""
        across = np.cross(light, [0, 1, 0] if abs(light[1]) < 0.95 else [1, 0, 0])
        across /= np.linalg.norm(across)
        axes = np.stack([across, np.cross(light, across), light])
        scale = np.array([side / (2 * cls.REACH)] * 2 + [1])
        offset = -axes @ cls.CENTRE * scale + np.array([(side - 1) / 2, (side - 1) / 2, cls.LIFT])
        matrix = np.hstack([axes * scale[:, None], offset[:, None]]).astype(np.float32)
        return cls(matrix, np.zeros((side, side), np.float32))

    def add(self, points: np.ndarray, triangles: np.ndarray) -> None:
        """Draw a mesh into the map."""
        screen = (points @ self.matrix[:, :3].T + self.matrix[:, 3]).astype(np.float32)
        raster.fill_height(screen, triangles, self.height)

    def lit(self, points: np.ndarray, bias: float) -> np.ndarray:
        """Whether nothing lies more than `bias` cm above each point, float64 [n] of 0 and 1."""
        at = points @ self.matrix[:, :3].T + self.matrix[:, 3]
        column, row = (np.rint(at[:, i]).astype(int).clip(0, len(self.height) - 1) for i in (0, 1))
        return (self.height[row, column] <= at[:, 2] + bias).astype(float)


def _texels(uv: np.ndarray) -> np.ndarray:
    """Texture coordinates of the face (0 ≤ u ≤ 1) and the back (1 ≤ u ≤ 2) -> texels of the one picture that holds
    both side by side."""
    back = uv[:, :, 0].mean(1) > 1
    u = np.where(back[:, None], FACE_TEXELS[1] + (uv[..., 0] - 1) * BACK_TEXELS[1], uv[..., 0] * FACE_TEXELS[1])
    return np.stack([u - 0.5, (1 - uv[..., 1]) * FACE_TEXELS[0] - 0.5], -1).astype(np.float32)


def _with_skirt(heads: Heads, triangles: np.ndarray) -> tuple[Heads, np.ndarray]:
    """The head with further rings of vertices below the edge of the shoulders, and the triangles between the rings."""
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    there = {(int(a), int(b)) for a, b in edges}
    rim = np.array(sorted((a, b) for a, b in there if (b, a) not in there and heads.base[[a, b], 1].max() < -8))
    loop = np.unique(rim)
    ring = {int(v): i for i, v in enumerate(loop)}
    first, added = len(heads.base), []
    rings = [loop] + [first + len(loop) * k + np.arange(len(loop)) for k in range(len(SKIRT))]
    for upper, lower in pairwise(rings):
        a, b = (np.array([ring[int(v)] for v in rim[:, i]]) for i in (0, 1))
        added += [np.stack([upper[b], upper[a], lower[a]], 1), np.stack([upper[b], lower[a], lower[b]], 1)]

    def grown(values: np.ndarray, down: bool) -> np.ndarray:
        own = values[..., loop, :]
        more = [
            own * np.array([w, 1, w], np.float32) - np.array([0, d if down else 0, 0], np.float32) for w, d in SKIRT
        ]
        return np.ascontiguousarray(np.concatenate([values, *more], -2))

    longer = replace(
        heads,
        base=grown(heads.base, True),
        identity=grown(heads.identity, False),
        expression=grown(heads.expression, False),
    )
    return longer, np.concatenate(added).astype(np.int32)


def _spread(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Fill what is not known from its neighbours, ring by ring."""
    values, known = values.copy(), known.copy()
    for _ in range(24):
        for axis, step in ((0, 1), (0, -1), (1, 1), (1, -1)):
            near, there = np.roll(values, step, axis), np.roll(known, step, axis)
            fresh = there & ~known
            values[fresh], known = near[fresh], known | fresh
    return values
