"""Light on what the camera sees: one kernel over the pixels of the buffers."""

import numpy as np
from numba import njit

from efface.faces.rendering.body import EYE, MOUTH, SKIN, SOCKET, TEETH
from efface.faces.rendering.noise import value

WRAP = np.array([0.42, 0.20, 0.13], np.float32)
"""How far light creeps around a bend under the skin, in R, G, B (wrapped diffuse; ours, by eye)."""


@njit(cache=True)
def lookup(height, matrix, x, y, z, bias):
    """Share of light that reaches a point: comparisons in the shadow map over 3 × 3 texels, weighted bilinearly."""
    column = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2] * z + matrix[0, 3]
    row = matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2] * z + matrix[1, 3]
    here = matrix[2, 0] * x + matrix[2, 1] * y + matrix[2, 2] * z + matrix[2, 3] + bias
    rows, columns = height.shape
    c0, r0 = int(np.floor(column)), int(np.floor(row))
    if c0 < 1 or r0 < 1 or c0 >= columns - 2 or r0 >= rows - 2:
        return 1.0
    u, v = column - c0, row - r0
    total = 0.0
    for dr in range(-1, 3):
        across = 1.0 - v if dr == -1 else (v if dr == 2 else 1.0)
        for dc in range(-1, 3):
            along = 1.0 - u if dc == -1 else (u if dc == 2 else 1.0)
            if height[r0 + dr, c0 + dc] <= here:
                total += across * along
    return total / 9.0


@njit(cache=True)
def shade(
    index, weights, triangles, part, texels, points, facing, canonical, occlusion, texture, eyes, cloth, collar,
    frame, camera, lights, strengths, ambient, height, matrix, shine, seed, colour
):  # fmt: skip
    """Write the linear RGB of every covered pixel to `colour` [h, w, 3].

    index, weights: of `raster.fill`. points, facing, canonical [V, 3]: place, normal and place on the mean face.
    eyes [2, 12]: centre (3), forward (3), iris' outer RGB (3), sine of the iris' radius, of the pupil's, redness.
    lights [2, 3], strengths [2, 3]: main light and fill. height, matrix: the main light's shadow map.
    """
    rows, columns = index.shape
    base = np.empty(3, np.float32)
    wrap = np.empty(3, np.float32)
    for r in range(rows):
        for c in range(columns):
            t = index[r, c]
            if t < 0:
                continue
            q, s = weights[r, c, 0], weights[r, c, 1]
            p = 1.0 - q - s
            i, j, k = triangles[t]
            x = p * points[i, 0] + q * points[j, 0] + s * points[k, 0]
            y = p * points[i, 1] + q * points[j, 1] + s * points[k, 1]
            z = p * points[i, 2] + q * points[j, 2] + s * points[k, 2]
            nx = p * facing[i, 0] + q * facing[j, 0] + s * facing[k, 0]
            ny = p * facing[i, 1] + q * facing[j, 1] + s * facing[k, 1]
            nz = p * facing[i, 2] + q * facing[j, 2] + s * facing[k, 2]
            size = max(np.sqrt(nx * nx + ny * ny + nz * nz), 1e-6)
            nx, ny, nz = nx / size, ny / size, nz / size
            hidden = p * occlusion[i] + q * occlusion[j] + s * occlusion[k]
            kx = p * canonical[i, 0] + q * canonical[j, 0] + s * canonical[k, 0]
            ky = p * canonical[i, 1] + q * canonical[j, 1] + s * canonical[k, 1]
            kz = p * canonical[i, 2] + q * canonical[j, 2] + s * canonical[k, 2]
            kind = part[t]
            gloss, power, soft = 0.0, 20.0, 0.0
            wrap[:] = 0.0
            if kind == SKIN and ky < collar + 0.06 * kx * kx - 0.03 * (kz - 6.0) * abs(kz - 6.0) * (kz < 6.0):
                fold = 0.86 + 0.14 * value(kx * 0.5, ky * 0.25, kz * 0.5, seed)
                for d in range(3):
                    base[d] = cloth[d] * fold
                hidden = 0.35 + 0.65 * hidden
            elif kind == SKIN:
                tx = p * texels[t, 0, 0] + q * texels[t, 1, 0] + s * texels[t, 2, 0]
                ty = p * texels[t, 0, 1] + q * texels[t, 1, 1] + s * texels[t, 2, 1]
                tx = min(max(tx, 0.0), texture.shape[1] - 1.001)
                ty = min(max(ty, 0.0), texture.shape[0] - 1.001)
                a, b = int(tx), int(ty)
                u, v = tx - a, ty - b
                for d in range(3):
                    base[d] = (texture[b, a, d] * (1 - u) + texture[b, a + 1, d] * u) * (1 - v) + (
                        texture[b + 1, a, d] * (1 - u) + texture[b + 1, a + 1, d] * u
                    ) * v
                wrap[:] = WRAP
                oily = np.exp(-(kx * kx) / 3.0) * (ky > -2.0) + 0.35
                gloss, power, soft = 0.045 * shine * oily, 18.0, 1.0
            elif kind == EYE:
                side = 0 if kx > 0 else 1
                ex, ey, ez = x - eyes[side, 0], y - eyes[side, 1], z - eyes[side, 2]
                length = np.sqrt(ex * ex + ey * ey + ez * ez)
                ahead = (ex * eyes[side, 3] + ey * eyes[side, 4] + ez * eyes[side, 5]) / length
                away = np.sqrt(max(0.0, 1.0 - ahead * ahead)) if ahead > 0 else 1.0
                iris, pupil, red = eyes[side, 9], eyes[side, 10], eyes[side, 11]
                edge = min(max((away - iris) / 0.05 + 0.5, 0.0), 1.0)
                hole = min(max((away - pupil) / 0.04 + 0.5, 0.0), 1.0)
                ring = 1.0 - 0.65 * min(max((away - 0.80 * iris) / (0.2 * iris), 0.0), 1.0)
                streak = 0.85 + 0.3 * value(ex / length * 14.0, ey / length * 14.0, 3.0, seed + 7)
                corner = red * min(1.0, max(0.0, (away - 0.55) * 2.0))
                for d in range(3):
                    white = 0.58 - 0.03 * (d == 2) - corner * (0.10 if d == 0 else 0.26)
                    inner = eyes[side, 6 + d] * ring * streak * (1.25 - 0.5 * away / iris) * hole + 0.004
                    base[d] = white * edge + inner * (1.0 - edge)
                hidden = 0.30 + 0.55 * hidden
                gloss, power = 0.5, 260.0
            elif kind == TEETH:
                fade = np.exp(min(0.0, (kz - 10.3) / 1.6))
                base[0], base[1], base[2] = 0.62 * fade, 0.56 * fade, 0.46 * fade
                hidden = 0.25 + 0.4 * fade
                gloss, power = 0.12, 60.0
            elif kind == MOUTH:
                fade = np.exp(min(0.0, (kz - 10.3) / 1.5))
                base[0], base[1], base[2] = 0.34 * fade, 0.10 * fade, 0.09 * fade
                hidden = 0.25 + 0.3 * fade
                gloss, power = 0.05, 40.0
            elif kind == SOCKET:
                base[0], base[1], base[2] = 0.05, 0.018, 0.014
                hidden = 0.2
            else:
                base[0], base[1], base[2] = frame[0], frame[1], frame[2]
                hidden = 0.8
                gloss, power = 0.25, 60.0
            vx, vy, vz = camera[0] - x, camera[1] - y, camera[2] - z
            size = np.sqrt(vx * vx + vy * vy + vz * vz)
            vx, vy, vz = vx / size, vy / size, vz / size
            facing_us = max(nx * vx + ny * vy + nz * vz, 0.0)
            rim = (1.0 - facing_us) ** 5
            above = 0.5 + 0.5 * ny
            for d in range(3):
                colour[r, c, d] = base[d] * ambient[d] * hidden * (0.62 + 0.38 * above)
                colour[r, c, d] += soft * 0.10 * rim * ambient[d] * hidden
            for light in range(2):
                lx, ly, lz = lights[light]
                cosine = nx * lx + ny * ly + nz * lz
                shadow = 1.0
                if light == 0:
                    shadow = lookup(height, matrix, x + 0.18 * nx, y + 0.18 * ny, z + 0.18 * nz, 0.22)
                else:
                    shadow = 0.35 + 0.65 * hidden
                hx, hy, hz = lx + vx, ly + vy, lz + vz
                size = max(np.sqrt(hx * hx + hy * hy + hz * hz), 1e-6)
                half = max((nx * hx + ny * hy + nz * hz) / size, 0.0)
                fresnel = 0.35 + 0.65 * (1.0 - max((vx * hx + vy * hy + vz * hz) / size, 0.0)) ** 3 * 4.0
                glint = gloss * fresnel * (power + 8.0) / 25.0 * half**power if cosine > 0 else 0.0
                for d in range(3):
                    bent = max(0.0, (cosine + wrap[d]) / (1.0 + wrap[d]))
                    # under the skin light also creeps a little into a shadow's edge, red the furthest
                    open_ = shadow + (1.0 - shadow) * 0.5 * wrap[d] * shadow if soft > 0 else shadow
                    colour[r, c, d] += strengths[light, d] * (
                        base[d] * bent * open_ + glint * shadow * max(cosine, 0.0)
                    )
