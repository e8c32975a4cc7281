"""Strands of hair on a deformed head: placed, shaded and drawn into the buffers that hold the triangles already.
Compiled (numba), one thread, no fast-math: the same input gives the same bits.

Shading is that of Kajiya & Kay 1989 (diffuse by the angle between light and fibre) with Marschner et al. 2003's two
highlights, white towards the root and tinted towards the tip, as Scheuermann 2004 puts them: two shifted tangents.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit


@dataclass(frozen=True)
class Strands:
    """A person's hair, beard, brows and lashes: S strands of at most P points, each a root on a triangle and offsets
    from that root in head space, so that it moves with the mesh."""

    triangle: np.ndarray
    """The root's triangle, a row of `Heads.triangles`, int32 [S]."""
    weights: np.ndarray
    """The root's weights of the triangle's second and third corner, float32 [S, 2]."""
    offsets: np.ndarray
    """From the root to each point, cm, float32 [S, P, 3]."""
    count: np.ndarray
    """How many of the P points a strand has, 2 to P, int32 [S]."""
    radius: np.ndarray
    """At the root, cm, float32 [S]; a drawn strand stands for many hairs."""
    colour: np.ndarray
    """Linear RGB albedo, float32 [S, 3]."""
    open: np.ndarray
    """Share of the surrounding light that reaches each point through the hair around it, float32 [S, P]."""
    gloss: np.ndarray
    """Strength of the highlights, float32 [S]."""


@njit(cache=True)
def _place(triangle, weights, offsets, count, triangles, points, out):
    for s in range(len(triangle)):
        a, b, c = triangles[triangle[s]]
        second, third = weights[s]
        first = np.float32(1) - second - third
        for k in range(3):
            root = first * points[a, k] + second * points[b, k] + third * points[c, k]
            for p in range(count[s]):
                out[s, p, k] = root + offsets[s, p, k]


@njit(cache=True)
def _cast(placed, count, radius, matrix, shadow):
    rows, columns = shadow.shape
    scale = np.sqrt(matrix[0, 0] ** 2 + matrix[0, 1] ** 2 + matrix[0, 2] ** 2)
    for s in range(0, len(placed), 2):
        half = max(1.5 * radius[s] * scale, 0.5)
        if radius[s] < 0.04:
            continue
        x0 = y0 = h0 = np.float32(0)
        for p in range(count[s]):
            x, y, z = placed[s, p]
            x1 = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2] * z + matrix[0, 3]
            y1 = matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2] * z + matrix[1, 3]
            h1 = matrix[2, 0] * x + matrix[2, 1] * y + matrix[2, 2] * z + matrix[2, 3]
            if p > 0:
                steps = int(max(abs(x1 - x0), abs(y1 - y0))) + 1
                for i in range(steps):
                    t = (i + 0.5) / steps
                    cx, cy, h = x0 + t * (x1 - x0), y0 + t * (y1 - y0), h0 + t * (h1 - h0)
                    for row in range(max(0, int(np.ceil(cy - half))), min(rows - 1, int(np.floor(cy + half))) + 1):
                        left, right = max(0, int(np.ceil(cx - half))), min(columns - 1, int(np.floor(cx + half)))
                        for column in range(left, right + 1):
                            if h > shadow[row, column]:
                                shadow[row, column] = h
            x0, y0, h0 = x1, y1, h1


@njit(cache=True)
def _span(x0, y0, w0, c0, r0, x1, y1, w1, c1, r1, steep, depth, colour):
    """One piece of a ribbon from column x0 to x1 (rows if `steep`), its colour, 1 / depth and half width (pixels
    across the columns) running evenly between the ends."""
    if x1 < x0:
        x0, y0, w0, c0, r0, x1, y1, w1, c1, r1 = x1, y1, w1, c1, r1, x0, y0, w0, c0, r0
    height, width = depth.shape
    columns, rows = (height, width) if steep else (width, height)
    first, last = max(0, int(np.ceil(x0))), min(columns - 1, int(np.ceil(x1)) - 1)
    inverse = np.float32(1) / max(x1 - x0, np.float32(1e-6))
    for x in range(first, last + 1):
        t = (np.float32(x) - x0) * inverse
        y, half, w = y0 + t * (y1 - y0), r0 + t * (r1 - r0), w0 + t * (w1 - w0)
        low, high = (
            max(0, int(np.floor(y - half + np.float32(0.5)))),
            min(rows - 1, int(np.ceil(y + half - np.float32(0.5)))),
        )
        for row in range(low, high + 1):
            i, j = (x, row) if steep else (row, x)
            if w <= depth[i, j]:
                continue
            cover = min(y + half, row + np.float32(0.5)) - max(y - half, row - np.float32(0.5))
            if cover <= np.float32(0.02):
                continue
            for k in range(3):
                colour[i, j, k] += cover * (c0[k] + t * (c1[k] - c0[k]) - colour[i, j, k])
            if cover > np.float32(0.5):
                depth[i, j] = w


@njit(cache=True)
def _draw(
    placed, count, radius, tint, open_, gloss, rotation, origin, fx, cx, cy,
    lights, strengths, ambient, matrix, shadow, depth, colour,
):  # fmt: skip
    height, width = depth.shape
    most = placed.shape[1]
    screen = np.empty((most, 3), np.float32)
    shaded = np.empty((most, 3), np.float32)
    seen = np.empty(most, np.bool_)
    one, zero = np.float32(1), np.float32(0)
    for s in range(len(placed)):
        n = count[s]
        some = False
        for p in range(n):
            x, y, z = placed[s, p, 0] - origin[0], placed[s, p, 1] - origin[1], placed[s, p, 2] - origin[2]
            w = one / max(rotation[2, 0] * x + rotation[2, 1] * y + rotation[2, 2] * z, np.float32(1e-3))
            px = cx + fx * w * (rotation[0, 0] * x + rotation[0, 1] * y + rotation[0, 2] * z)
            py = cy + fx * w * (rotation[1, 0] * x + rotation[1, 1] * y + rotation[1, 2] * z)
            w *= np.float32(1.0008)  # 0.08 % nearer, that a lying hair is not lost in the skin
            screen[p, 0], screen[p, 1], screen[p, 2] = px, py, w
            near = -8 < px < width + 8 and -8 < py < height + 8
            if near:
                i, j = min(max(int(py + 0.5), 0), height - 1), min(max(int(px + 0.5), 0), width - 1)
                near = w * np.float32(1.004) > depth[i, j]
            seen[p] = near
            some = some or near
        if not some:
            continue
        jitter = np.float32(((s * 2654435761) & 1023) / 1023.0 - 0.5)
        for p in range(n):
            if not (seen[p] or (p > 0 and seen[p - 1]) or (p + 1 < n and seen[p + 1])):
                continue
            x, y, z = placed[s, p]
            a, b = max(p - 1, 0), min(p + 1, n - 1)
            tx, ty, tz = (
                placed[s, b, 0] - placed[s, a, 0],
                placed[s, b, 1] - placed[s, a, 1],
                placed[s, b, 2] - placed[s, a, 2],
            )
            inverse = one / np.sqrt(max(tx * tx + ty * ty + tz * tz, np.float32(1e-12)))
            tx, ty, tz = tx * inverse, ty * inverse, tz * inverse
            # outwards from the head's axis: the normal of the body of hair
            nx, ny, nz = x, y - min(y, np.float32(4)), z - one
            inverse = one / np.sqrt(max(nx * nx + ny * ny + nz * nz, np.float32(1e-12)))
            nx, ny, nz = nx * inverse, ny * inverse, nz * inverse
            vx, vy, vz = origin[0] - x, origin[1] - y, origin[2] - z
            inverse = one / np.sqrt(max(vx * vx + vy * vy + vz * vz, np.float32(1e-12)))
            vx, vy, vz = vx * inverse, vy * inverse, vz * inverse
            along = np.float32(p) / np.float32(n - 1)
            free = open_[s, p]
            base = np.float32(0.7) + np.float32(0.3) * along
            red, green, blue = (
                free * ambient[0] * tint[s, 0],
                free * ambient[1] * tint[s, 1],
                free * ambient[2] * tint[s, 2],
            )
            for k in range(len(lights)):
                lx, ly, lz = lights[k]
                facing = (nx * lx + ny * ly + nz * lz + np.float32(0.4)) / np.float32(1.4)
                if facing <= zero:
                    continue
                reached = free
                if k == 0:
                    column = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2] * z + matrix[0, 3]
                    row = matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2] * z + matrix[1, 3]
                    own = matrix[2, 0] * x + matrix[2, 1] * y + matrix[2, 2] * z + matrix[2, 3]
                    i = min(max(int(row + 0.5), 0), shadow.shape[0] - 1)
                    j = min(max(int(column + 0.5), 0), shadow.shape[1] - 1)
                    below = max(shadow[i, j] - own - np.float32(0.15), zero)
                    reached = one / (one + below * (one + below))  # cm of hair or head between here and the light
                along_light = tx * lx + ty * ly + tz * lz
                diffuse = facing * np.sqrt(max(one - along_light * along_light, zero)) * reached * base
                hx, hy, hz = lx + vx, ly + vy, lz + vz
                inverse = one / np.sqrt(max(hx * hx + hy * hy + hz * hz, np.float32(1e-12)))
                along_half = (tx * hx + ty * hy + tz * hz) * inverse
                outward_half = (nx * hx + ny * hy + nz * hz) * inverse
                white = along_half - (np.float32(0.08) + np.float32(0.14) * jitter) * outward_half
                tinted = along_half + (np.float32(0.12) + np.float32(0.14) * jitter) * outward_half
                white, tinted = max(one - white * white, zero), max(one - tinted * tinted, zero)
                white *= white
                white *= white
                white *= white
                white *= white
                white *= white
                tinted *= tinted
                tinted *= tinted
                tinted *= tinted
                shine = facing * reached * gloss[s]
                white, tinted = np.float32(0.06) * shine * white, np.float32(0.7) * shine * tinted
                red += strengths[k, 0] * (tint[s, 0] * (diffuse + tinted) + white)
                green += strengths[k, 1] * (tint[s, 1] * (diffuse + tinted) + white)
                blue += strengths[k, 2] * (tint[s, 2] * (diffuse + tinted) + white)
            shaded[p, 0], shaded[p, 1], shaded[p, 2] = red, green, blue
        for p in range(n - 1):
            if not (seen[p] or seen[p + 1]):
                continue
            x0, y0, w0 = screen[p]
            x1, y1, w1 = screen[p + 1]
            dx, dy = x1 - x0, y1 - y0
            length = np.sqrt(dx * dx + dy * dy)
            steep = abs(dy) > abs(dx)
            major = max(abs(dx), abs(dy))
            if major < np.float32(1e-3):
                continue
            slant = fx * radius[s] * min(length / major, np.float32(1.4143))
            # even for two thirds of its length, then down to a quarter
            r0 = slant * w0 * min(one, np.float32(2.5) - np.float32(2.25) * p / (n - 1))
            r1 = slant * w1 * min(one, np.float32(2.5) - np.float32(2.25) * (p + 1) / (n - 1))
            if steep:
                _span(y0, x0, w0, shaded[p], r0, y1, x1, w1, shaded[p + 1], r1, True, depth, colour)
            else:
                _span(x0, y0, w0, shaded[p], r0, x1, y1, w1, shaded[p + 1], r1, False, depth, colour)


def place(strands: Strands, triangles: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The strands' points on the mesh of vertices `points` float32 [V, 3] -> float32 [S, P, 3] cm; what lies beyond a
    strand's `count` is undefined. triangles: `Heads.triangles`."""
    out = np.empty(strands.offsets.shape, np.float32)
    _place(strands.triangle, strands.weights, strands.offsets, strands.count, triangles, points, out)
    return out


def cast(strands: Strands, placed: np.ndarray, matrix: np.ndarray, shadow: np.ndarray) -> None:
    """Draw the strands into the height map of a light, float32 [k, k], as `raster.fill_height` does with triangles.

    matrix: float32 [3, 4], from head space to (column, row, height). Hair thinner than 0.04 cm casts no shadow; of
    the rest every other strand is drawn, half as wide again.
    """
    _cast(placed, strands.count, strands.radius, matrix, shadow)


def draw(
    strands: Strands,
    placed: np.ndarray,
    camera: tuple[np.ndarray, np.ndarray, float, float, float],
    lights: np.ndarray,
    strengths: np.ndarray,
    ambient: np.ndarray,
    matrix: np.ndarray,
    shadow: np.ndarray,
    depth: np.ndarray,
    colour: np.ndarray,
) -> None:
    """Shade the strands and draw them over `colour` float32 [h, w, 3] (linear RGB) where nearer than `depth`.

    camera: rotation float32 [3, 3], origin float32 [3] and fx, cx, cy in pixels, as `raster.project` takes them.
    lights: unit vectors towards the lights in head space, float32 [L, 3]; strengths: RGB, float32 [L, 3];
    ambient: RGB, float32 [3]; matrix, shadow: the height map of the first light, hair included (`cast`).
    """
    rotation, origin, fx, cx, cy = camera
    fx, cx, cy = np.float32(fx), np.float32(cx), np.float32(cy)
    _draw(
        placed, strands.count, strands.radius, strands.colour, strands.open, strands.gloss, rotation, origin,
        fx, cx, cy, lights, strengths, ambient, matrix, shadow, depth, colour,
    )  # fmt: skip
