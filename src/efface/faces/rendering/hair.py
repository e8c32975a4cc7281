"""Hair, beard, brows and lashes: what a person wears (`draw_hair`) and the strands of it (`grow`).

Strands are combed by the cut, pulled down, pushed out of the head, gathered into locks and curled. Places are told on
the mean face of the morphable head (cm, see `Heads`), so that a hairline follows any person's features.
"""

from dataclasses import dataclass, field

import numpy as np

from efface.faces.rendering.heads import Heads
from efface.faces.rendering.strands import Strands

AXIS = np.array([0, 4, 1], np.float32)
"""Where the head's vertical axis ends: above it places are told by the direction from here, below by the direction
from the axis, cm."""

SOCKETS = 11248
"""Vertices from here on line the mouth and the eye sockets (ICT-FaceKit's README)."""

LINE = np.array(
    [
        [0, 11.0], [15, 11.0], [28, 10.8], [40, 10.2], [50, 9.1], [57, 7.5], [62, 5.4], [66, 3.0], [70, 0.8],
        [76, -0.2], [83, 0.2], [86, 4.1], [100, 4.5], [108, 4.2], [113, 1.8], [117, -1.8], [126, -3.4], [150, -4.4],
        [180, -4.8],
    ],
    np.float32,
)  # fmt: skip
"""The hairline: azimuth from the front in degrees, height in cm."""

UPPER_LIP = np.array([[0, -2.5], [0.7, -2.4], [1.7, -2.8], [2.5, -3.5], [3.2, -4.4]], np.float32)
LOWER_LIP = np.array([[0, -4.4], [1.0, -4.3], [1.8, -4.1], [2.5, -3.5], [3.2, -3.0]], np.float32)
CHEEK = np.array([[15, -3.0], [30, -2.9], [45, -2.3], [58, -1.0], [68, 0.8], [86, 0.9]], np.float32)
THROAT = np.array([[0, -9.0], [40, -8.2], [70, -6.4], [86, -4.6]], np.float32)
BROW = np.array([[0.9, 5.6], [1.5, 5.85], [2.4, 6.15], [3.8, 6.3], [4.9, 5.95], [5.9, 5.2]], np.float32)
LID = np.array([[1.7, 3.3], [2.2, 3.75], [2.8, 3.97], [3.5, 3.98], [3.9, 3.9], [4.5, 3.4]], np.float32)


@dataclass(frozen=True, kw_only=True)
class Style:
    """A cut in numbers. Lengths in cm."""

    top: float
    side: float
    back: float
    edge: float = 8.5
    """Height at which the sides become the top."""
    blend: float = 3.0
    """Over how many cm they do."""
    lift: float = 0.5
    """How steeply hair leaves the scalp: 0 lying, 1 upright."""
    forward: float = 0.0
    """Comb of the top: 1 to the front, -1 to the back."""
    across: float = 0.0
    """Comb of the top away from the parting, 0 to 1."""
    sweep: float = 0.0
    """The same to one side only, -1 to 1 (1: to the person's left)."""
    fall: float = 0.2
    """How fast gravity turns a strand, 1/cm."""
    layer: float = 0.6
    """Thickness of the body of hair."""
    loose: float = 0.3
    """How far strands may rise above that."""
    wave: float = 0.0
    """Radius of waves or curls."""
    pitch: float = 4.0
    """Length of one turn."""
    round: float = 0.0
    """0: flat waves, 1: helices."""
    lock: float = 0.4
    """How far strands gather into locks, 0 to 1."""
    frizz: float = 0.1
    """Disorder of directions."""
    fringe: float = 0.0
    """Share of the front's width that is combed over the forehead, 0 to 1."""
    brim: float = 1.0
    """How far above the brows hair on the forehead ends."""
    hem: float = -40.0
    """Height at which all hair is cut off."""
    knot: float = 0.0
    """Elevation, seen from AXIS, of the place at the back where hair is tied, in degrees; 0: untied."""
    tail: float = 0.0
    """Length of what hangs from the knot; 0: a bun."""
    recede: float = 0.0
    """How far the hairline has moved back at the temples."""
    thin: float = 0.0
    """Share of the hair missing at the crown and behind the forehead."""
    dense: float = 4.0
    """Strands per cm² of scalp."""
    width: float = 0.09
    """Radius of a strand."""
    points: float = 6.0
    """Points of a strand."""


CUTS: dict[str, tuple[float, dict[str, tuple[float, float]]]] = {
    "buzz": (7, dict(
        top=(0.4, 1.0), side=(0.25, 0.6), back=(0.25, 0.6), lift=(0.6, 0.9), forward=(0.2, 0.6), loose=(9, 9),
        layer=(0.2, 0.3), lock=(0, 0), fall=(0, 0.1), frizz=(0.2, 0.4), dense=(6, 7), width=(0.045, 0.055),
        points=(3, 3))),
    "crop": (14, dict(
        top=(2.0, 4.0), side=(0.6, 1.5), back=(0.6, 1.6), lift=(0.35, 0.7), forward=(0.4, 1.0), sweep=(-0.7, 0.7),
        fall=(0.05, 0.2), loose=(0.3, 1), layer=(0.5, 1.1), lock=(0.2, 0.6), frizz=(0.12, 0.3), brim=(1.6, 2.6),
        dense=(4.6, 4.6), width=(0.07, 0.08), points=(5, 5))),
    "textured": (12, dict(
        top=(3.0, 6.0), side=(1.0, 2.6), back=(1.0, 2.6), lift=(0.6, 0.9), forward=(0, 0.8), sweep=(-0.6, 0.6),
        fall=(0.03, 0.12), loose=(0.8, 1.5), layer=(1.2, 2.4), wave=(0.25, 0.5), pitch=(1.8, 3.2), round=(0.6, 1),
        lock=(0.4, 0.7), frizz=(0.3, 0.5), brim=(1.2, 2.2), dense=(3.6, 3.6), width=(0.08, 0.1), points=(9, 9))),
    "parted": (14, dict(
        top=(6, 10), side=(1.2, 3.0), back=(1.2, 3.0), edge=(7.5, 9), blend=(4, 6), lift=(0.4, 0.65),
        forward=(-0.5, 0.1), across=(0.8, 1), fall=(0.12, 0.25), layer=(0.8, 1.6), wave=(0, 0.15),
        lock=(0.3, 0.6), frizz=(0.08, 0.2), brim=(1.6, 2.4), dense=(3.6, 3.6), width=(0.08, 0.09), points=(7, 7))),
    "back": (7, dict(
        top=(6, 10), side=(1.5, 4), back=(2, 4), blend=(4, 6), lift=(0.4, 0.8), forward=(-1, -0.8), fall=(0.08, 0.2),
        layer=(0.7, 1.6), wave=(0, 0.2), lock=(0.3, 0.7), frizz=(0.06, 0.2), dense=(3.6, 3.6), width=(0.08, 0.09),
        points=(7, 7))),
    "undercut": (6, dict(
        top=(6, 10), side=(0.3, 0.5), back=(0.3, 0.5), edge=(9, 10.2), blend=(0.4, 0.8), lift=(0.4, 0.7),
        forward=(-0.8, 0.2), sweep=(-1, 1), fall=(0.1, 0.2), loose=(0.2, 0.8), layer=(0.7, 1.4), lock=(0.3, 0.6),
        frizz=(0.08, 0.2), brim=(1.6, 2.6), dense=(4.2, 4.2), width=(0.07, 0.08), points=(7, 7))),
    "medium": (10, dict(
        top=(13, 18), side=(10, 14), back=(9, 14), lift=(0.3, 0.6), forward=(-0.4, 0.2), across=(0.7, 1),
        fall=(0.2, 0.35), layer=(1.0, 2.2), wave=(0, 0.5), pitch=(5, 9), lock=(0.3, 0.6), frizz=(0.06, 0.18),
        brim=(1.6, 3.4), dense=(2.8, 2.8), width=(0.1, 0.11), points=(10, 10))),
    "bob": (9, dict(
        top=(22, 24), side=(18, 20), back=(14, 16), lift=(0.2, 0.4), forward=(0, 0.2), across=(0.8, 1),
        fall=(0.3, 0.45), layer=(0.9, 1.8), lock=(0.2, 0.4), frizz=(0.03, 0.08), fringe=(0.8, 1), brim=(0.5, 1.4),
        hem=(-7.5, -3), dense=(2.8, 2.8), width=(0.1, 0.11), points=(11, 11))),
    "long": (12, dict(
        top=(32, 46), side=(26, 40), back=(26, 40), lift=(0.15, 0.4), forward=(-0.3, 0.1), across=(0.8, 1),
        fall=(0.3, 0.45), layer=(0.8, 2.0), wave=(0, 0.2), pitch=(9, 14), lock=(0.2, 0.5), frizz=(0.03, 0.1),
        brim=(1.6, 3.4), dense=(2.4, 2.4), width=(0.11, 0.12), points=(14, 14))),
    "wavy": (10, dict(
        top=(26, 42), side=(24, 36), back=(24, 36), lift=(0.3, 0.55), forward=(-0.4, 0.1), across=(0.7, 1),
        fall=(0.25, 0.4), loose=(0.5, 1), layer=(1.6, 3.0), wave=(0.5, 1.1), pitch=(6, 10), round=(0, 0.5),
        lock=(0.5, 0.8), frizz=(0.06, 0.16), brim=(1.6, 3.4), dense=(2.3, 2.3), width=(0.1, 0.12), points=(18, 18))),
    "curly": (7, dict(
        top=(16, 26), side=(14, 24), back=(14, 24), lift=(0.6, 0.9), forward=(-0.3, 0.2), across=(0.4, 0.8),
        fall=(0.12, 0.22), loose=(1.5, 2.5), layer=(2.5, 4.5), wave=(0.6, 0.95), pitch=(3.2, 4.6), round=(0.8, 1),
        lock=(0.4, 0.7), frizz=(0.2, 0.35), brim=(2.2, 4.2), dense=(2.2, 2.2), width=(0.11, 0.13), points=(22, 22))),
    "afro": (7, dict(
        top=(3, 9), side=(2.5, 7.5), back=(3, 8), edge=(6, 7), blend=(8, 8), lift=(1, 1), fall=(0, 0.01),
        loose=(99, 99), layer=(0, 0), wave=(0.35, 0.5), pitch=(1.4, 2.0), round=(1, 1), lock=(0.1, 0.3),
        frizz=(0.35, 0.5), dense=(4.5, 4.5), width=(0.1, 0.12), points=(10, 10))),
    "tied": (9, dict(
        top=(30, 30), side=(30, 30), back=(30, 30), lift=(0.05, 0.2), fall=(0, 0), layer=(0.15, 0.5), lock=(0.1, 0.3),
        frizz=(0.02, 0.08), knot=(5, 75), tail=(8, 28), dense=(3, 3), width=(0.09, 0.1), points=(13, 13))),
    "receding": (6, dict(
        top=(0.8, 3), side=(0.7, 1.6), back=(0.7, 1.6), lift=(0.3, 0.7), forward=(-0.6, 0.6), sweep=(-0.5, 0.5),
        fall=(0.05, 0.2), layer=(0.3, 0.6), lock=(0.2, 0.5), frizz=(0.1, 0.3), recede=(2, 4.5), thin=(0.2, 0.85),
        brim=(2, 3), dense=(4.6, 4.6), width=(0.06, 0.07), points=(5, 5))),
    "bald": (2, dict(
        top=(0, 0), side=(0, 0), back=(0, 0), dense=(0, 0), points=(3, 3))),
}  # fmt: skip
"""Weight of each cut among people, and the ranges its numbers are drawn from."""

BEARDS = {"none": 66, "moustache": 5, "goatee": 6, "short": 13, "long": 4, "sideburns": 6}
"""Weights of facial hair (stubble is the skin's matter)."""

MELANIN = {
    "black": (24, (3.0, 6.0), (0.0, 0.3)),
    "dark brown": (24, (1.4, 2.8), (0.05, 0.3)),
    "brown": (18, (0.7, 1.4), (0.1, 0.4)),
    "blond": (14, (0.12, 0.5), (0.1, 0.3)),
    "red": (7, (0.1, 0.45), (0.7, 1.5)),
    "white": (5, (0.0, 0.03), (0.0, 0.02)),
}
"""Weight, and ranges of eumelanin and pheomelanin concentration (in Donner & Jensen 2006's unit)."""


@dataclass(frozen=True, kw_only=True)
class Hair:
    """What one person wears."""

    cut: str
    style: Style
    part: float
    """Where hair is parted, cm to the person's left."""
    edge: np.ndarray = field(repr=False)
    """Amplitudes (cm) of the hairline's own course: rows are cosine and sine, columns 1 to 4 periods a turn, [2, 4]."""
    height: float
    """How much higher the hairline is than the mean over the forehead, cm."""
    peak: float
    """Depth of the widow's peak, cm."""
    eumelanin: float
    pheomelanin: float
    grey: float
    """About the share of white hair; strands are white in part."""
    beard: str
    beard_length: float
    beard_dense: float
    """Share of the full density, 0 to 1."""
    brow_thick: float
    """Height, cm."""
    brow_arch: float
    """How much its middle is raised, cm."""
    brow_reach: float
    """Its length, as a share of the mean."""
    brow_dense: float
    lashes: float
    """Length, cm."""

    def colour(self) -> np.ndarray:
        """Linear RGB albedo of hair that is not white, float32 [3]."""
        return albedo(self.eumelanin, self.pheomelanin)

    def scalp_mask(self, heads: Heads) -> np.ndarray:
        """How densely hair covers the skin at each vertex, 0 to 1, float32 [V]; 0 outside the skin."""
        out = np.zeros(len(heads.base), np.float32)
        if self.cut != "bald":
            out[:SOCKETS] = _scalp(self, heads.base[:SOCKETS])
        return out


def albedo(eumelanin: float, pheomelanin: float) -> np.ndarray:
    """Linear RGB colour of a head of hair, float32 [3]: absorption by the two melanins (d'Eon et al. 2011, the values
    of pbrt-v4), seen through many hairs (Chiang et al. 2016, ln c = -k √σ; their k 5.9, ours 2.6, which puts measured
    blond and brown where photos have them)."""
    absorbed = eumelanin * np.array([0.419, 0.697, 1.37]) + pheomelanin * np.array([0.187, 0.4, 1.05])
    return (0.62 * np.exp(-2.6 * np.sqrt(absorbed))).astype(np.float32)


def draw_hair(rng: np.random.Generator) -> Hair:
    """Hair of a person. Cut, colour, beard and brows are drawn independently of one another."""
    cut = _choose(rng, {name: weight for name, (weight, _) in CUTS.items()})
    numbers = {name: float(rng.uniform(*bounds)) for name, bounds in CUTS[cut][1].items()}
    if cut == "tied" and rng.random() < 0.5:
        numbers["tail"] = 0.0
    shade = _choose(rng, {name: weight for name, (weight, *_) in MELANIN.items()})
    beard = _choose(rng, BEARDS)
    return Hair(
        cut=cut,
        style=Style(**numbers),
        part=float(rng.choice([-1, 1, 0], p=[0.4, 0.4, 0.2]) * rng.uniform(1.5, 4.2)),
        edge=(rng.normal(0, 1, (2, 4)) * [0.12, 0.15, 0.15, 0.12]).astype(np.float32),
        height=float(rng.normal(0.1, 0.55)),
        peak=float(max(0.0, rng.normal(0, 0.5))),
        eumelanin=float(rng.uniform(*MELANIN[shade][1])),
        pheomelanin=float(rng.uniform(*MELANIN[shade][2])),
        grey=float(rng.uniform(0.1, 0.8) if rng.random() < 0.14 else 0.0),
        beard=beard,
        beard_length=float(rng.uniform(3, 9) if beard == "long" else rng.uniform(0.5, 1.6)),
        beard_dense=float(rng.uniform(0.6, 1)),
        brow_thick=float(rng.uniform(0.55, 1.3)),
        brow_arch=float(rng.normal(0, 0.16)),
        brow_reach=float(rng.uniform(0.86, 1.05)),
        brow_dense=float(rng.uniform(0.45, 1)),
        lashes=float(rng.uniform(0.45, 0.9)),
    )


def grow(heads: Heads, points: np.ndarray, hair: Hair, rng: np.random.Generator) -> Strands:
    """The strands of a person.

    points: vertices of the person's neutral face, float32 [V, 3] cm. The same arguments, generator included, give the
    same strands.
    """
    mesh = _Mesh.of(heads, points)
    parts = [_brows(mesh, hair, rng), _lashes(mesh, hair, rng)]
    if hair.beard != "none":
        parts.append(_beard(mesh, hair, rng))
    if hair.cut != "bald":
        hull = _Hull(mesh, ears=hair.style.top > 5 and not hair.style.knot)
        parts.append(_head(mesh, hull, hair, rng))
        if hair.style.knot:
            parts.append(_bun(mesh, hull, hair, rng))
    return _join(parts, rng)


@dataclass(frozen=True)
class _Mesh:
    """The skin of one person beside that of the mean face."""

    rows: np.ndarray
    """Its triangles' rows in `Heads.triangles`, int64 [n]."""
    triangles: np.ndarray
    """int32 [n, 3]."""
    mean: np.ndarray
    """float32 [V, 3]."""
    points: np.ndarray
    """float32 [V, 3]."""
    across: np.ndarray
    """Normals, their length twice the area, float32 [n, 3]."""

    @classmethod
    def of(cls, heads: Heads, points: np.ndarray) -> "_Mesh":
        skin = np.isin(heads.material, [heads.materials.index("M_Face"), heads.materials.index("M_BackHead")])
        rows = np.flatnonzero(skin & (heads.triangles < SOCKETS).all(1))
        triangles = heads.triangles[rows]
        a, b, c = (points[triangles[:, i]] for i in range(3))
        return cls(rows, triangles, heads.base, points, np.cross(b - a, c - a))

    def roots(self, region, dense: float, rng: np.random.Generator) -> "_Roots":
        """Roots spread evenly by area, `dense` per cm² where `region` (of places on the mean face, [n, 3]) is 1."""
        inside = region(self.mean[:SOCKETS]) > 0
        at = np.flatnonzero(inside[self.triangles].any(1))
        reach = np.cumsum(np.linalg.norm(self.across[at], axis=1) / 2)
        count = round(dense * reach[-1]) if len(at) else 0
        even = (np.arange(count) + rng.random(count)) / max(count, 1) * (reach[-1] if count else 0)
        at = at[np.searchsorted(reach, even).clip(0, max(len(at) - 1, 0))] if count else at[:0]
        second, third = rng.random((2, len(at))).astype(np.float32)
        over = second + third > 1
        second[over], third[over] = 1 - second[over], 1 - third[over]
        weights = np.stack([1 - second - third, second, third], 1)[..., None]
        mean = (self.mean[self.triangles[at]] * weights).sum(1)
        kept = rng.random(len(at)) < region(mean)
        at, weights = at[kept], weights[kept]
        place = (self.points[self.triangles[at]] * weights).sum(1)
        return _Roots(self.rows[at].astype(np.int32), weights[:, 1:, 0], mean[kept], place, _unit(self.across[at]))


@dataclass(frozen=True)
class _Roots:
    triangle: np.ndarray
    weights: np.ndarray
    mean: np.ndarray
    """Places on the mean face, float32 [S, 3]."""
    place: np.ndarray
    """Places on the person, float32 [S, 3]."""
    normal: np.ndarray
    """Outwards, unit, float32 [S, 3]."""


@dataclass(frozen=True)
class _Part:
    """Strands of one kind, all of the same number of points."""

    roots: _Roots
    path: np.ndarray
    """On the person, float32 [S, P, 3]."""
    count: np.ndarray
    open: np.ndarray
    radius: np.ndarray
    colour: np.ndarray
    gloss: np.ndarray


class _Hull:
    """How far the skin is from the head's axis, by azimuth and height (see AXIS)."""

    TURN, ROWS, STEP, LOW = 72, 56, 0.75, -27.0

    def __init__(self, mesh: _Mesh, ears: bool) -> None:
        triangles = mesh.triangles
        a, b, c = (mesh.points[triangles[:, i]] for i in range(3))
        middle = (a + b + c) / 3
        mean = mesh.mean[triangles]
        kept = np.full(len(a), True) if ears else ~_ear((mean[:, 0] + mean[:, 1] + mean[:, 2]) / 3)
        wide = kept & ((mesh.across**2).sum(1) > 0.01)  # of the face's small triangles the middle is enough
        skin = np.concatenate([middle[kept], *(t[wide] for t in (a, b, c, (a + b) / 2, (b + c) / 2, (c + a) / 2))])
        turn, up, out = self.polar(skin)
        column = np.rint(turn).astype(int) % self.TURN
        row = np.rint(up).astype(int).clip(0, self.ROWS - 1)
        far = np.zeros((self.ROWS, self.TURN), np.float32)
        np.maximum.at(far, (row, column), out)
        for _ in range(self.ROWS):
            empty = far == 0
            if not empty.any():
                break
            near = np.maximum(np.maximum(np.roll(far, 1, 1), np.roll(far, -1, 1)), 0)
            near[:-1] = np.maximum(near[:-1], far[1:])
            near[1:] = np.maximum(near[1:], far[:-1])
            far[empty] = near[empty]
        self.far = far

    @classmethod
    def polar(cls, places: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Places [n, 3] -> column and row of `far` (fractions), and distance from the axis."""
        x, y, z = places[:, 0], places[:, 1] - AXIS[1], places[:, 2] - AXIS[2]
        flat = np.hypot(x, z)
        above = y > 0
        up = np.where(above, np.arctan2(y, flat) * 9, y)
        return (
            np.arctan2(x, z) * (cls.TURN / (2 * np.pi)),
            (up - cls.LOW) / cls.STEP,
            np.where(above, np.hypot(flat, y), flat),
        )

    def reach(self, turn: np.ndarray, up: np.ndarray) -> np.ndarray:
        """The skin's distance from the axis, float32 [n]."""
        up = up.clip(0, self.ROWS - 1.001)
        column, row = np.floor(turn).astype(int), up.astype(int)
        s, t = (turn - column).astype(np.float32), (up - row).astype(np.float32)
        left, right = column % self.TURN, (column + 1) % self.TURN
        flat = self.far.ravel()
        low, high = row * self.TURN, (row + 1) * self.TURN
        below = flat[low + left] * (1 - s) + flat[low + right] * s
        above = flat[high + left] * (1 - s) + flat[high + right] * s
        return below * (1 - t) + above * t

    def hold(self, places: np.ndarray, least: np.ndarray | float, most: np.ndarray | float = np.inf) -> np.ndarray:
        """Places [n, 3] moved so that they are at least `least` cm above the skin and, on the head (not beside the
        neck), hardly more than `most`."""
        turn, up, out = self.polar(places)
        above = out - self.reach(turn, up)
        over = (above - most).clip(0) * 0.7 * _smooth((places[:, 1] - 1) / 4)
        axis = np.stack([np.zeros_like(out), np.minimum(places[:, 1], AXIS[1]), np.full_like(out, AXIS[2])], 1)
        return places + (places - axis) * (((least - above).clip(0) - over) / out.clip(1e-3))[:, None]


def _head(mesh: _Mesh, hull: _Hull, hair: Hair, rng: np.random.Generator) -> _Part:
    """Hair of the head."""
    style = hair.style
    roots = mesh.roots(lambda mean: _scalp(hair, mean), style.dense, rng)
    n, p = len(roots.mean), round(style.points)
    # locks: every strand belongs to the nearest of some chosen strands
    chosen = rng.permutation(n)[: max(8, n // 22)]
    member = _nearest(roots.mean, roots.mean[chosen])
    if style.knot:
        path, step = _gathered(roots, hull, style, rng)
    else:
        path, step = _combed(roots, hull, hair, member, rng)
    if style.lock:
        along = np.linspace(0, 1, p, dtype=np.float32)[None, :, None] ** 1.5
        path += 0.85 * style.lock * along * (path[chosen][member] - path)
    if style.wave:
        path = _curl(path, style, step, member, rng)
    if style.top > 5 or style.wave:
        flat = np.ascontiguousarray(path[:, 2:]).reshape(-1, 3)
        path[:, 2:] = hull.hold(flat, 0.06).reshape(n, p - 2, 3)
    # hair on the forehead ends above the brows
    count = np.full(n, p, np.int32)
    brim = 6.3 + style.brim + rng.normal(0, 0.15 + 0.3 * style.frizz, n)
    _trim(path, count, style.hem + rng.normal(0, 0.15, n), brim)
    gloss = 0.25 + 0.75 / (1 + 2 * style.frizz + 3 * style.wave * style.round)
    open_, tint = _open(path, count, hull), _tint(hair, n, rng, member)
    return _Part(roots, path, count, open_, style.width * rng.uniform(0.75, 1.15, n), tint, np.full(n, gloss))


def _combed(
    roots: _Roots, hull: _Hull, hair: Hair, member: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Loose hair: combed by the cut, falling, kept off the head and out of the face -> (path [n, P, 3], cm between
    points [n])."""
    style, normal = hair.style, roots.normal
    n, p = len(roots.mean), round(style.points)
    x, y, z = roots.mean.T
    azimuth = np.degrees(np.arctan2(x, z - AXIS[2]))
    high = _smooth((y - style.edge) / style.blend + 0.5)
    behind = _smooth((np.abs(azimuth) - 105) / 30)
    length = style.side + (style.back - style.side) * behind
    length = length + (style.top - length) * high
    length = length * rng.uniform(0.8, 1.05, n) * (0.55 + 0.45 * _smooth((y - _line(hair, azimuth)) / 3))
    step = (length / (p - 1)).astype(np.float32)
    # the comb; the parting ends at the crown
    crown = _smooth((z + 5) / 5)
    side = np.sign(x - hair.part * crown + rng.normal(0, 0.25 + 2.5 * (1 - crown), n))
    top = np.stack([side * style.across * (0.3 + 0.7 * crown) + style.sweep, crown - 1.15, style.forward + 0 * y], 1)
    top[:, 2] -= 0.5 * style.across * (1 - crown)
    flank = np.stack([0.2 * side, np.full(n, -0.9), np.full(n, -0.35)], 1)
    comb = top * high[:, None] + flank * (1 - high[:, None])
    fringe = (np.abs(x) < 6.2 * style.fringe) & (z > 2.5 + 0.5 * np.abs(x) * (1 - style.fringe)) & (y > 9)
    comb[fringe] = np.stack([0.12 * x[fringe], np.full(fringe.sum(), -0.25), np.full(fringe.sum(), 1.0)], 1)
    lying = _unit(comb - (comb * normal).sum(1, keepdims=True) * normal)
    whirl = rng.normal(0, 1, (member.max() + 1, 3))[member] * 0.6 + rng.normal(0, 1, (n, 3))
    flow = _unit(lying * (1 - 0.75 * style.lift) + normal * style.lift + whirl * style.frizz)
    aside = np.where(fringe, 0, side * (54 + 12 * rng.random(n)))
    layer = 0.06 + style.layer * rng.random(n) ** 0.8
    turn, up, out = hull.polar(roots.place)
    lead = out - hull.reach(turn, up)  # below 0 where the hull lies above the root
    path = np.empty((p, n, 3), np.float32)
    path[0] = here = roots.place
    for i in range(1, p):
        gone = step * i
        flow[:, 1] -= style.fall * step * (1 + 0.5 * (i > 1))
        there = _aside(here + _unit(flow) * step[:, None], aside)
        least = np.minimum(layer * (1 - np.exp(-gone / 1.5)), 0.7 * gone)
        least = np.where(gone < 3, np.minimum(least, lead + 0.8 * gone), least)
        there = hull.hold(there, least, np.maximum(least, 0) + style.loose)
        flow = _unit(0.35 * _unit(flow) + 0.65 * _unit(there - here))
        path[i] = here = there
    return np.ascontiguousarray(path.transpose(1, 0, 2)), step


def _gathered(roots: _Roots, hull: _Hull, style: Style, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Hair that is drawn over the head to the knot: as `_combed`."""
    n, p = len(roots.mean), round(style.points)
    knot = _knot(hull, style)
    layer = 0.06 + style.layer * rng.random(n)
    frizz = style.frizz * rng.normal(0, 1, (n, 3))
    turn, up, out = hull.polar(roots.place)
    lead = out - hull.reach(turn, up)
    path = np.empty((p, n, 3), np.float32)
    path[0] = here = roots.place
    left = np.linalg.norm(knot - here, axis=1)
    step = 1.15 * left / (p - 1)
    for i in range(1, p):
        share = i / (p - 1)
        there = here + (knot - here) / (p - i) + frizz * (1 - share)
        least = np.minimum(layer * 4 * share * (1 - share) + 0.06, lead + 0.8 * step * i)
        path[i] = here = hull.hold(there, least, np.maximum(least, 0) + 0.1)
    return np.ascontiguousarray(path.transpose(1, 0, 2)), step


def _knot(hull: _Hull, style: Style) -> np.ndarray:
    """Where hair is tied, float32 [3]."""
    up = np.radians(style.knot)
    away = np.array([0, np.sin(up), -np.cos(up)])
    row = np.array([(9 * up - hull.LOW) / hull.STEP])
    return (AXIS + away * (hull.reach(np.array([hull.TURN / 2]), row) + 0.5)).astype(np.float32)


def _bun(mesh: _Mesh, hull: _Hull, hair: Hair, rng: np.random.Generator) -> _Part:
    """What is tied: a bun, wound about the knot, or a tail that hangs from it."""
    style = hair.style
    knot = _knot(hull, style)
    near = mesh.points[mesh.triangles].mean(1) - knot
    at = np.full(240 if style.tail else 140, (near * near).sum(1).argmin())
    thirds = np.full((len(at), 3, 1), 1 / 3, np.float32)
    mean, place = ((points[mesh.triangles[at]] * thirds).sum(1) for points in (mesh.mean, mesh.points))
    roots = _Roots(mesh.rows[at].astype(np.int32), thirds[:, 1:, 0], mean, place, _unit(mesh.across[at]))
    away = _unit(knot - AXIS)
    n, p = len(at), 12
    path = np.empty((n, p, 3), np.float32)
    if style.tail:
        here = knot + rng.normal(0, 0.35, (n, 3))
        flow = _unit(away + rng.normal(0, 0.13, (n, 3)))
        step = (style.tail * rng.uniform(0.75, 1, n) / (p - 1))[:, None]
        for i in range(p):
            path[:, i] = here
            flow = _unit(flow - np.array([0, 0.5, 0]) * step)
            here = hull.hold(here + flow * step, 0.3)
    else:
        size = 1.5 + 1.6 * style.layer
        pole = _unit(away + rng.normal(0, 0.75, (n, 3)))
        first = _unit(np.cross(pole, rng.normal(0, 1, (n, 3))))
        angle = np.linspace(0, 4.5, p)[None, :, None]
        ring = np.cos(angle) * first[:, None] + np.sin(angle) * np.cross(pole, first)[:, None]
        path[:] = knot + 0.6 * size * away + size * rng.uniform(0.6, 1, (n, 1, 1)) * ring
    count = np.full(n, p, np.int32)
    open_, tint = _open(path, count, hull), _tint(hair, n, rng, None)
    return _Part(roots, path, count, open_, 0.13 * rng.uniform(0.8, 1.2, n), tint, np.full(n, 0.8))


def _brows(mesh: _Mesh, hair: Hair, rng: np.random.Generator) -> _Part:
    def course(mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        along = np.abs(mean[:, 0]) / hair.brow_reach
        middle = np.interp(along, *BROW.T) + hair.brow_arch * np.sin((along - 0.9) * np.pi / 5)
        half = np.interp(along, [0.8, 1.0, 1.7, 3.6, 5.9, 6.0], [0, 0.35, 0.5, 0.42, 0.12, 0]) * hair.brow_thick
        return (mean[:, 1] - middle) / half.clip(0.02), along

    def region(mean: np.ndarray) -> np.ndarray:
        off, along = course(mean)
        return ((1.15 - np.abs(off)) * 2.5).clip(0, 1) * ((along > 0.8) & (along < 6) & (mean[:, 2] > 6))

    roots = mesh.roots(region, 60 * hair.brow_dense, rng)
    n = len(roots.mean)
    off, along = course(roots.mean)
    outer = ((along - 1.0) / 4).clip(0, 1)
    sign = np.sign(roots.mean[:, 0])
    comb = np.stack([sign * (0.25 + 1.2 * outer), 1.0 - 1.6 * outer - 0.45 * off, -0.5 * outer], 1)
    flow = _unit(_unit(comb) + 0.28 * roots.normal + rng.normal(0, 0.13, (n, 3)))
    return _short(roots, flow, rng.uniform(0.45, 0.85, n), 0.25, 3, 0.03, 0.7 * _tint(hair, n, rng, None), rng)


def _lashes(mesh: _Mesh, hair: Hair, rng: np.random.Generator) -> _Part:
    def region(mean: np.ndarray) -> np.ndarray:
        at = np.abs(mean[:, 0])
        near = np.abs(mean[:, 1] - np.interp(at, *LID.T)) < 0.14
        return (near & (at > 1.9) & (at < 4.6) & (mean[:, 2] > 8) & (mean[:, 2] < 10)).astype(np.float32)

    roots = mesh.roots(region, 40, rng)
    n, sign = len(roots.mean), np.sign(roots.mean[:, 0])
    flow = _unit(
        np.stack([0.35 * (roots.mean[:, 0] - sign * 2.9), np.full(n, 0.15), np.full(n, 1.0)], 1)
        + rng.normal(0, 0.1, (n, 3))
    )
    length = hair.lashes * rng.uniform(0.7, 1, n)
    return _short(roots, flow, length, -0.9, 3, 0.022, np.tile(0.25 * hair.colour(), (n, 1)), rng)


def _beard(mesh: _Mesh, hair: Hair, rng: np.random.Generator) -> _Part:
    kind = hair.beard

    def region(mean: np.ndarray) -> np.ndarray:
        x, y, z = np.abs(mean[:, 0]), mean[:, 1], mean[:, 2]
        turn = np.degrees(np.arctan2(x, z - AXIS[2]))
        upper, lower = np.interp(x, *UPPER_LIP.T), np.interp(x, *LOWER_LIP.T)
        soft = np.float32(0.35)
        lip = _smooth((y - upper - 0.1) / soft) * _smooth(
            (np.minimum(upper + 1.25, -1.45 + 0.5 * (x - 1.3).clip(0)) - y) / soft + 0.5
        )
        moustache = lip * (x < 3.0) * (z > 8)
        ring = _smooth((lower - 0.35 - y) / soft) * _smooth((y + 9.0) / soft) * (z > 4)
        if kind == "moustache":
            return moustache
        if kind == "goatee":
            corner = ((x > 2.5) & (x < 3.4) & (y < -2.6) & (y > -6)).astype(np.float32)
            return np.maximum(np.maximum(moustache, corner), ring * _smooth((3.1 + 0.1 * y + 0.7 - x) / 0.6))
        full = _smooth((np.interp(turn, *CHEEK.T) - y) / 0.7) * _smooth((y - np.interp(turn, *THROAT.T)) / 0.8)
        full *= (turn < 87) & ~((x < 3.3) & (y > lower - 0.35))
        if kind == "sideburns":
            return full * _smooth((turn - 56 + 2 * y) / 5) * _smooth((y + 3.2) / 0.5)
        return np.maximum(full, moustache)

    roots = mesh.roots(region, 9 if kind == "long" else 17 * hair.beard_dense, rng)
    n = len(roots.mean)
    x, y, z = roots.mean.T
    lip = (y > -3.4) & (np.abs(x) < 3) & (z > 9)
    comb = np.stack([0.12 * x + np.where(lip, np.sign(x) * 0.7, 0), np.full(n, -1.0), np.full(n, 0.15)], 1)
    flow = _unit(comb + (0.3 if kind == "sideburns" else 0.5) * roots.normal + rng.normal(0, 0.25, (n, 3)))
    below = _smooth((-y - 2.5) / 4)
    length = np.where(lip, min(hair.beard_length, 1.1), hair.beard_length * (0.45 + 0.55 * below)) * rng.uniform(
        0.7, 1.05, n
    )
    tint = _tint(hair, n, rng, None) * np.array([0.95, 0.85, 0.8], np.float32)
    return _short(roots, flow, length, 0.15, 6 if kind == "long" else 4, 0.05, tint, rng)


def _short(
    roots: _Roots,
    flow: np.ndarray,
    length: np.ndarray,
    fall: float,
    points: int,
    radius: float,
    colour: np.ndarray,
    rng: np.random.Generator,
) -> _Part:
    """Short hair that leaves the skin along `flow` [S, 3], bends down by `fall` per cm, and gathers into no locks."""
    n = len(length)
    path = np.empty((n, points, 3), np.float32)
    path[:, 0] = here = roots.place + 0.01 * roots.normal
    step = (length / (points - 1))[:, None]
    for i in range(1, points):
        flow = flow - np.array([0, fall, 0], np.float32) * step
        flow = _unit(flow + (0.12 if points > 3 else 0) * rng.normal(0, 1, (n, 3)))
        path[:, i] = here = here + flow * step
    open_ = np.tile(np.linspace(0.7, 1, points, dtype=np.float32), (n, 1))
    count, radii = np.full(n, points, np.int32), radius * rng.uniform(0.8, 1.2, n)
    return _Part(roots, path, count, open_, radii, colour, np.full(n, 0.4))


def _join(parts: list[_Part], rng: np.random.Generator) -> Strands:
    """One set of strands, in no order of place, so that neighbours do not always cover one another the same way."""
    most = max(part.path.shape[1] for part in parts)
    ready: list[list[np.ndarray]] = []
    for part in parts[::-1]:
        order = rng.permutation(len(part.count))
        wide = ((0, 0), (0, most - part.path.shape[1]))
        offsets = np.pad(part.path - part.roots.place[:, None], (*wide, (0, 0)))
        fields = [part.roots.weights, offsets, part.radius, part.colour, np.pad(part.open, wide), part.gloss]
        whole = [part.roots.triangle.astype(np.int32), part.count.astype(np.int32)]
        ready.append([values[order] for values in whole + [field.astype(np.float32) for field in fields]])
    triangle, count, weights, offsets, radius, colour, open_, gloss = map(np.concatenate, zip(*ready, strict=True))
    return Strands(triangle, weights, offsets, count, radius, colour, open_, gloss)


def _line(hair: Hair, azimuth: np.ndarray) -> np.ndarray:
    """Height of the hairline at an azimuth in degrees, positive to the person's left."""
    turn = np.radians(azimuth)
    own = sum(hair.edge[0, k - 1] * np.cos(k * turn) + hair.edge[1, k - 1] * np.sin(k * turn) for k in range(1, 5))
    away = np.abs(azimuth)
    front = _smooth((62 - away) / 20)
    temple = np.exp(-(((away - 38) / 14) ** 2))
    peak = hair.peak * np.exp(-((away / 9) ** 2))
    return (
        np.interp(away, *LINE.T)
        + own
        + front * (hair.height + 0.5 * hair.style.recede)
        - peak
        + temple * 0.6 * hair.style.recede
    )


def _scalp(hair: Hair, mean: np.ndarray) -> np.ndarray:
    """How densely hair grows at places of the mean face [n, 3], 0 to 1, float32 [n]."""
    x, y, z = mean.T
    azimuth = np.degrees(np.arctan2(x, z - AXIS[2]))
    dense = _smooth((y - _line(hair, azimuth)) / 0.9) * (np.abs(x) < 8.6)
    dense = dense * ~_ear(mean)
    if hair.style.thin:
        crown = np.exp(-(x**2 + (z + 4) ** 2) / 30) * (y > 8)
        front = _smooth((z - 1.5) / 5) * _smooth((y - 9) / 2) * _smooth((6.5 - np.abs(x)) / 3)
        dense = dense * (1 - hair.style.thin * np.maximum(crown, front))
    return dense.astype(np.float32)


def _ear(mean: np.ndarray) -> np.ndarray:
    """Which places of the mean face are on an ear, bool [n]."""
    x, y, z = np.abs(mean[:, 0]), mean[:, 1], mean[:, 2]
    return (y > -2.6) & (y < 4.0) & (z < 2.2) & (z > -3) & (x > 7.55 - 0.12 * (z + 3).clip(0, 2))


def _aside(places: np.ndarray, aside: np.ndarray) -> np.ndarray:
    """Hair that comes down in front of the face is turned about the head's axis to the azimuth `aside` (degrees; 0 is
    left where it is)."""
    x, z = places[:, 0], places[:, 2] - AXIS[2]
    turn = np.degrees(np.arctan2(x, z))
    sign = np.sign(aside)
    left = (aside - turn) * sign
    move = np.where((left > 0) & (np.abs(turn) < 95), left * sign, 0)
    move = np.radians(move * 0.85 * _smooth((11.5 - places[:, 1]) / 4) * _smooth((places[:, 1] + 9) / 3))
    cos, sin = np.cos(move), np.sin(move)
    return np.stack([x * cos + z * sin, places[:, 1], z * cos - x * sin + AXIS[2]], 1)


def _curl(path: np.ndarray, style: Style, step: np.ndarray, member: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Strands [n, P, 3] with waves or helices about their course, those of a lock in step."""
    n, p, _ = path.shape
    along = _unit(np.gradient(path, axis=1))
    axis = np.stack([0 * path[..., 0], np.minimum(path[..., 1], AXIS[1]), np.full((n, p), AXIS[2])], -1)
    beside = _unit(np.cross(along, path - axis))
    outward = np.cross(beside, along)
    gone = step[:, None] * np.arange(p)
    locks = member.max() + 1
    pace = (rng.uniform(0.8, 1.25, locks)[member] * rng.uniform(0.95, 1.05, n))[:, None]
    phase = (rng.uniform(0, 2 * np.pi, locks)[member] + rng.normal(0, 0.5, n))[:, None]
    angle = (2 * np.pi / style.pitch) * gone * pace + phase
    size = style.wave * rng.uniform(0.75, 1.2, n)[:, None] * (1 - np.exp(-gone / (0.6 * style.pitch)))
    curled = (
        path + (size * np.cos(angle))[..., None] * beside + (size * style.round * np.sin(angle))[..., None] * outward
    )
    return curled.astype(np.float32)


def _trim(path: np.ndarray, count: np.ndarray, hem: np.ndarray, brim: np.ndarray) -> None:
    """Cut strands off at the height `hem` [n], or `brim` in front of the face; `path` and `count` are changed."""
    x, y, z = path[..., 0], path[..., 1], path[..., 2]
    face = (np.abs(x) < 1.1 * (z - AXIS[2])) & (y > -7)
    limit = np.where(face, np.maximum(hem, brim)[:, None], hem[:, None])
    under = y[:, 1:] < limit[:, 1:]
    rows = np.flatnonzero(under.any(1))
    at = under[rows].argmax(1)
    high, low = path[rows, at], path[rows, at + 1]
    share = (high[:, 1] - limit[rows, at + 1]) / (high[:, 1] - low[:, 1]).clip(1e-6)
    path[rows, at + 1] = high + share[:, None].clip(0.05, 1) * (low - high)
    count[rows] = at + 2


def _open(path: np.ndarray, count: np.ndarray, hull: _Hull) -> np.ndarray:
    """Share of the surrounding light that reaches each point [n, P]: less, the more hair is further out."""
    n, p, _ = path.shape
    turn, up, out = hull.polar(path.reshape(-1, 3))
    cells = (np.rint(up / 2).astype(int).clip(0, 40), np.rint(turn / 2).astype(int) % (hull.TURN // 2))
    top = np.zeros((41, hull.TURN // 2), np.float32)
    there = (np.arange(p) < count[:, None]).ravel()
    np.maximum.at(top, (cells[0][there], cells[1][there]), out[there])
    return (0.22 + 0.78 * np.exp(-(top[cells] - out) / 1.0)).reshape(n, p)


def _tint(hair: Hair, n: int, rng: np.random.Generator, member: np.ndarray | None) -> np.ndarray:
    """Colours of n strands, those of a lock (`member`) being alike, float32 [n, 3]."""
    vary = rng.normal(0, 0.13, n)
    if member is not None:
        vary += rng.normal(0, 0.14, member.max() + 1)[member]
    white = _smooth((1.6 * hair.grey - rng.random(n)) / 0.8)[:, None]
    tint = hair.colour() * np.exp(vary)[:, None] * (1 - white) + np.array([0.42, 0.41, 0.395]) * white
    return tint.astype(np.float32)


def _nearest(places: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """The row of `chosen` that is nearest to each place, int64 [n]; without a matrix product, whose last bits may
    depend on the number of threads."""
    away = np.zeros((len(places), len(chosen)), np.float32)
    for i in range(3):
        away += np.square(places[:, i : i + 1] - chosen[:, i])
    return away.argmin(1)


def _choose(rng: np.random.Generator, weights: dict[str, float] | dict[str, int]) -> str:
    share = np.array(list(weights.values()), float)
    return str(rng.choice(list(weights), p=share / share.sum()))


def _smooth(t: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, and smoothly between."""
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)


def _unit(vectors: np.ndarray) -> np.ndarray:
    """float32, of length 1 along the last axis."""
    vectors = vectors.astype(np.float32)
    return vectors / np.sqrt((vectors * vectors).sum(-1, keepdims=True)).clip(1e-6)
