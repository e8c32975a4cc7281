"""Noise in space: the same number for the same place and seed, on every machine."""

from numba import njit


@njit(cache=True)
def _corner(i, j, k, seed):
    """A value in [−1, 1) for a lattice point (integer hash, 32 bits)."""
    h = (i * 0x8DA6B343 + j * 0xD8163841 + k * 0xCB1AB31F + seed * 0x9E3779B1) & 0xFFFFFFFF
    h ^= h >> 15
    h = (h * 0x2C1B3C6D) & 0xFFFFFFFF
    h ^= h >> 12
    h = (h * 0x297A2D39) & 0xFFFFFFFF
    h ^= h >> 15
    return h / 2147483648.0 - 1.0


@njit(cache=True)
def value(x, y, z, seed):
    """Smooth value noise in about [−1, 1], one lattice cell a unit."""
    i, j, k = int(x // 1), int(y // 1), int(z // 1)
    u, v, w = x - i, y - j, z - k
    u, v, w = u * u * (3 - 2 * u), v * v * (3 - 2 * v), w * w * (3 - 2 * w)
    total = 0.0
    for a in range(2):
        for b in range(2):
            for c in range(2):
                share = (u if a else 1 - u) * (v if b else 1 - v) * (w if c else 1 - w)
                total += share * _corner(i + a, j + b, k + c, seed)
    return total
