"""Triangles into a depth buffer. Compiled (numba), one thread, no fast-math: the
same input gives the same bits.

Screen points are (x, y, w): pixels, the first pixel's centre being (0, 0), and w = 1 / depth, which is linear on the
screen; larger is nearer, 0 is nothing.
"""

import numpy as np
from numba import njit


@njit(cache=True)
def project(points, rotation, origin, fx, cx, cy, out):
    """World points [n, 3] -> screen points [n, 3], written to `out`.

    rotation: rows are the camera's right, down and forward axes. fx, cx, cy: pixels.
    """
    for i in range(len(points)):
        x, y, z = points[i, 0] - origin[0], points[i, 1] - origin[1], points[i, 2] - origin[2]
        depth = rotation[2, 0] * x + rotation[2, 1] * y + rotation[2, 2] * z
        w = 1.0 / max(depth, 1e-3)
        out[i, 0] = cx + fx * w * (rotation[0, 0] * x + rotation[0, 1] * y + rotation[0, 2] * z)
        out[i, 1] = cy + fx * w * (rotation[1, 0] * x + rotation[1, 1] * y + rotation[1, 2] * z)
        out[i, 2] = w


@njit(cache=True)
def fill(screen, triangles, depth, index, weights, cull):
    """Draw triangles [t, 3] of screen points; where one is nearest, write its number to `index` [h, w] and the
    perspective-correct weights of its second and third corner to `weights` [h, w, 2].

    cull: skip triangles that turn their back (clockwise on the screen, whose y points down)."""
    height, width = depth.shape
    for t in range(len(triangles)):
        a, b, c = triangles[t]
        ax, ay, aw = screen[a]
        bx, by, bw = screen[b]
        cx, cy, cw = screen[c]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0.0 or (cull and area > 0.0):
            continue
        x0, x1 = max(0, int(np.ceil(min(ax, bx, cx)))), min(width - 1, int(np.floor(max(ax, bx, cx))))
        y0, y1 = max(0, int(np.ceil(min(ay, by, cy)))), min(height - 1, int(np.floor(max(ay, by, cy))))
        inverse = 1.0 / area
        for y in range(y0, y1 + 1):
            for x in range(x0, x1 + 1):
                v = ((x - ax) * (cy - ay) - (y - ay) * (cx - ax)) * inverse
                u = ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) * inverse
                if v < -1e-6 or u < -1e-6 or u + v > 1.000001:
                    continue
                w = aw + v * (bw - aw) + u * (cw - aw)
                if w > depth[y, x]:
                    depth[y, x] = w
                    index[y, x] = t
                    weights[y, x, 0] = v * bw / w
                    weights[y, x, 1] = u * cw / w


@njit(cache=True)
def normals(points, triangles, out):
    """Unit vertex normals (sum of the area-weighted normals of the triangles around), written to `out` [n, 3]."""
    out[:] = 0.0
    for t in range(len(triangles)):
        a, b, c = triangles[t]
        ux, uy, uz = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1], points[b, 2] - points[a, 2]
        vx, vy, vz = points[c, 0] - points[a, 0], points[c, 1] - points[a, 1], points[c, 2] - points[a, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for i in (a, b, c):
            out[i, 0] += nx
            out[i, 1] += ny
            out[i, 2] += nz
    for i in range(len(out)):
        length = np.sqrt(out[i, 0] ** 2 + out[i, 1] ** 2 + out[i, 2] ** 2)
        if length > 0.0:
            out[i] /= length


def buffers(height, width):
    """Empty buffers for `fill`: depth float32 [h, w], index int32 [h, w] (-1: nothing), weights float32 [h, w, 2]."""
    return (
        np.zeros((height, width), np.float32),
        np.full((height, width), -1, np.int32),
        np.zeros((height, width, 2), np.float32),
    )


@njit(cache=True)
def fill_height(screen, triangles, height):
    """`fill` without all but the depth: keeps in `height` [k, k] the largest third coordinate of what covers a pixel,
    from both sides."""
    rows, columns = height.shape
    for t in range(len(triangles)):
        a, b, c = triangles[t]
        ax, ay, aw = screen[a]
        bx, by, bw = screen[b]
        cx, cy, cw = screen[c]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0.0:
            continue
        x0, x1 = max(0, int(np.ceil(min(ax, bx, cx)))), min(columns - 1, int(np.floor(max(ax, bx, cx))))
        y0, y1 = max(0, int(np.ceil(min(ay, by, cy)))), min(rows - 1, int(np.floor(max(ay, by, cy))))
        inverse = 1.0 / area
        for y in range(y0, y1 + 1):
            for x in range(x0, x1 + 1):
                v = ((x - ax) * (cy - ay) - (y - ay) * (cx - ax)) * inverse
                u = ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) * inverse
                if v >= -1e-6 and u >= -1e-6 and u + v <= 1.000001:
                    w = aw + v * (bw - aw) + u * (cw - aw)
                    if w > height[y, x]:
                        height[y, x] = w


@njit(cache=True)
def mix(base, offsets, chosen, amounts, out):
    """base [V, 3] + Σ amounts[k] · offsets[chosen[k]], added in this order, written to `out`."""
    out[:] = base
    for k in range(len(chosen)):
        shape, amount = offsets[chosen[k]], amounts[k]
        for i in range(len(base)):
            out[i, 0] += amount * shape[i, 0]
            out[i, 1] += amount * shape[i, 1]
            out[i, 2] += amount * shape[i, 2]
