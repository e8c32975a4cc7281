"""Drawn people: cartoon faces made of a seed, so that tests and `--tiny` runs need no real person's photo.

What makes a person (skin, shape of the head, hair, eyes, brows, nose, mouth, glasses, beard, moles) comes from the
person's seed alone; pose, light, expression, background and noise from the photo's.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIZE = 112
"""Side of a picture in pixels; the face lies as in the ArcFace template."""
TRAINED = 1_000_000
"""People of this seed and above are the ones that the tiny recogniser was trained on: no test draws them."""

_SCALE = 2  # drawn at twice the size, then reduced: smooth edges
_SKINS = ((255, 224, 196), (241, 194, 150), (224, 172, 120), (198, 134, 84), (141, 92, 58), (92, 60, 42))
_HAIRS = ((28, 22, 20), (66, 42, 26), (120, 76, 40), (196, 152, 88), (150, 58, 30), (150, 150, 150))
_IRISES = ((70, 42, 24), (96, 70, 36), (70, 110, 70), (70, 120, 170), (100, 108, 116))

Colour = tuple[int, int, int]
Traits = dict[str, float]


def draw(person_seed: int, photo_seed: int) -> np.ndarray:
    """One photo of one drawn person: uint8 [112, 112, 3], RGB. The same seeds give the same picture."""
    traits, colours = _person(np.random.default_rng([1, person_seed]))
    rng = np.random.default_rng([2, person_seed, photo_seed])
    face = _face(traits, colours, _expression(rng))
    return _photograph(face, rng)


def _person(rng: np.random.Generator) -> tuple[Traits, dict[str, Colour]]:
    """Measures in pixels of the 112 × 112 template, and colours."""
    uniform = rng.uniform
    traits = {
        "width": uniform(30, 40),
        "height": uniform(43, 52),
        "jaw": uniform(0.62, 1.05),
        "square": uniform(2.0, 3.2),
        "hair_line": uniform(18, 40),
        "hair_side": uniform(0, 58),
        "hair_volume": uniform(2, 11),
        "parting": uniform(-22, 22),
        "bald": float(uniform() < 0.12),
        "ear": uniform(3, 9),
        "eye_gap": uniform(14.5, 21),
        "eye_y": uniform(48, 55),
        "eye_width": uniform(5.5, 9),
        "eye_height": uniform(2.4, 5.4),
        "eye_tilt": uniform(-0.22, 0.22),
        "iris": uniform(0.62, 1.0),
        "brow_y": uniform(7, 12.5),
        "brow_width": uniform(7, 11.5),
        "brow_height": uniform(0.9, 3.2),
        "brow_tilt": uniform(-0.3, 0.3),
        "brow_arch": uniform(0, 3.5),
        "nose_length": uniform(13, 25),
        "nose_width": uniform(3.5, 9),
        "mouth_y": uniform(84, 95),
        "mouth_width": uniform(8, 18),
        "mouth_height": uniform(1.6, 5.4),
        "glasses": float(uniform() < 0.25),
        "glasses_size": uniform(9.5, 13.5),
        "glasses_square": uniform(2, 6),
        "beard": float(uniform() < 0.22) * uniform(4, 16),
        "moustache": float(uniform() < 0.18) * uniform(2, 5),
        "freckles": float(uniform() < 0.15) * uniform(8, 22),
    }
    for i in range(3):  # moles: outside the picture where the person has fewer
        shown = uniform() < 0.35
        traits |= {f"mole_x{i}": uniform(-24, 24), f"mole_y{i}": uniform(58, 98) if shown else -999.0}
    colours = {
        "skin": _between(_SKINS, rng),
        "hair": _between(_HAIRS, rng),
        "iris": _between(_IRISES, rng),
        "frame": _between(((20, 20, 24), (120, 30, 30), (40, 60, 110), (150, 120, 60)), rng),
    }
    colours["lips"] = _mix(colours["skin"], (178, 52, 66), uniform(0.25, 0.75))
    return traits, colours


def _expression(rng: np.random.Generator) -> Traits:
    return {
        "smile": rng.uniform(-3, 5),
        "open": max(0.0, rng.uniform(-5, 5)),
        "lids": rng.uniform(0.45, 1.15),
        "brows": rng.uniform(-2, 2.5),
        "look": rng.uniform(-1.8, 1.8),
        "yaw": rng.uniform(-5.5, 5.5),
        "pitch": rng.uniform(-3.5, 3.5),
        "fringe": rng.uniform(-3, 3),
    }


def _face(t: Traits, colours: dict[str, Colour], e: Traits) -> Image.Image:
    """The head on nothing, RGBA, upright, at the drawing scale."""
    image = Image.new("RGBA", (SIZE * _SCALE, SIZE * _SCALE), (0, 0, 0, 0))
    pen = ImageDraw.Draw(image)
    skin, shade = colours["skin"], _mix(colours["skin"], (60, 20, 10), 0.25)
    cx, cy = 56.0 + 0.25 * e["yaw"], 64.0
    head = _head(cx, cy, t)
    if not t["bald"]:  # hair behind the head
        back = _oval(cx, cy - 6, t["width"] + t["hair_volume"], t["height"] + t["hair_volume"] - 4)
        _fill(pen, back[back[:, 1] < cy + t["hair_side"]], _mix(colours["hair"], (0, 0, 0), 0.25))
    _fill(pen, _oval(cx, 118, 0.55 * t["width"], 34), shade)  # neck
    for side in (-1, 1):
        _fill(pen, _oval(cx + side * t["width"] * 0.98 - 0.4 * e["yaw"], cy, t["ear"], t["ear"] * 1.5), shade)
    _fill(pen, head, skin)
    x, y = cx + e["yaw"], e["pitch"]  # the features turn further than the outline
    _marks(pen, t, x, y, shade)
    if t["beard"]:
        _fill(pen, head[head[:, 1] > cy + 44 - 1.6 * t["beard"]], _mix(colours["hair"], skin, 0.2))
    for side in (-1, 1):
        _eye(pen, t, colours, e, x, y, side)
    _nose(pen, t, x + 0.4 * e["yaw"], y, shade)
    _mouth(pen, t, colours, e, x, y)
    if not t["bald"]:
        _fringe(pen, t, head, cx, e, colours["hair"])
    if t["glasses"]:
        _glasses(pen, t, x, y, colours["frame"])
    return image


def _head(cx: float, cy: float, t: Traits) -> np.ndarray:
    """Outline: a superellipse whose lower half narrows towards the chin."""
    angle = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    cos, sin = np.cos(angle), np.sin(angle)
    x = np.sign(cos) * np.abs(cos) ** (2 / t["square"]) * t["width"]
    y = np.sign(sin) * np.abs(sin) ** (2 / t["square"]) * t["height"]
    narrow = 1 - (1 - t["jaw"]) * np.clip(y / t["height"], 0, 1) ** 1.5 * 0.8
    return np.stack([cx + x * narrow, cy + y], 1)


def _eye(
    pen: ImageDraw.ImageDraw, t: Traits, colours: dict[str, Colour], e: Traits, x: float, y: float, side: int
) -> None:
    ex, ey, height = x + side * t["eye_gap"], t["eye_y"] + y, t["eye_height"] * e["lids"]
    tilt = side * t["eye_tilt"]
    white = _turn(_oval(ex, ey, t["eye_width"], height), ex, ey, tilt)
    _fill(pen, _turn(_oval(ex, ey - 0.8, t["eye_width"] + 0.9, height + 0.9), ex, ey, tilt), (40, 26, 22))
    _fill(pen, white, (244, 242, 238))
    radius = min(t["iris"] * t["eye_height"], 4.6)
    for share, colour in ((1.0, colours["iris"]), (0.45, (12, 10, 10))):
        iris = _oval(ex + e["look"], ey, radius * share, min(radius * share, height))
        _fill(pen, iris, colour)
    along = np.linspace(-1, 1, 12)
    arch = t["brow_arch"] * (1 - along**2)
    upper = np.stack([ex + along * t["brow_width"], ey - t["brow_y"] - e["brows"] - arch - t["brow_height"]], 1)
    brow = np.concatenate([upper, (upper + np.array([0, 2 * t["brow_height"]]))[::-1]])
    _fill(pen, _turn(brow, ex, ey - t["brow_y"], side * t["brow_tilt"]), _mix(colours["hair"], (0, 0, 0), 0.15))


def _nose(pen: ImageDraw.ImageDraw, t: Traits, x: float, y: float, shade: Colour) -> None:
    top, bottom = t["eye_y"] + y + 3, t["eye_y"] + y + t["nose_length"]
    _fill(
        pen,
        np.array([[x - 1.2, top], [x + 1.2, top], [x + t["nose_width"], bottom], [x - t["nose_width"], bottom]]),
        shade,
    )
    _fill(pen, _oval(x, bottom, t["nose_width"], 2.6), shade)
    for side in (-1, 1):
        _fill(pen, _oval(x + side * 0.55 * t["nose_width"], bottom + 1, 1.2, 0.8), _mix(shade, (0, 0, 0), 0.5))


def _mouth(pen: ImageDraw.ImageDraw, t: Traits, colours: dict[str, Colour], e: Traits, x: float, y: float) -> None:
    along = np.linspace(-1, 1, 20)
    middle = np.stack(
        [x + along * (t["mouth_width"] + 0.4 * e["smile"]), t["mouth_y"] + y + e["smile"] * (0.5 - along**2)], 1
    )
    thick = t["mouth_height"] * np.sqrt(np.clip(1 - along**2, 0, 1))
    if t["moustache"]:
        _fill(
            pen,
            _oval(x, t["mouth_y"] + y - t["mouth_height"] - 2, t["mouth_width"] * 0.95, t["moustache"]),
            colours["hair"],
        )
    rise = np.stack([np.zeros_like(along), thick], 1)
    gape = np.stack([np.zeros_like(along), e["open"] * np.sqrt(np.clip(1 - along**2, 0, 1))], 1)
    _fill(pen, np.concatenate([middle - rise, (middle + rise + gape)[::-1]]), colours["lips"])
    _fill(pen, np.concatenate([middle - 0.25, (middle + gape + 0.25)[::-1]]), (70, 20, 24))


def _fringe(pen: ImageDraw.ImageDraw, t: Traits, head: np.ndarray, cx: float, e: Traits, hair: Colour) -> None:
    """Hair over the forehead: all of the head above a line that dips away from the parting."""
    line = t["hair_line"] + e["fringe"] - 4
    top = head[head[:, 1] < line + 12]
    top = top[np.argsort(top[:, 0])]
    crown = top * [1.0, 1.0] - [0, t["hair_volume"] * 0.6]
    along = top[::-1, 0]
    edge = line + 0.012 * (along - cx - t["parting"]) ** 2
    _fill(pen, np.concatenate([crown, np.stack([along, edge], 1)]), hair)


def _glasses(pen: ImageDraw.ImageDraw, t: Traits, x: float, y: float, colour: Colour) -> None:
    ey, size = t["eye_y"] + y + 1, t["glasses_size"]
    for side in (-1, 1):
        ex = x + side * t["eye_gap"]
        rim = _oval(ex, ey, min(size, t["eye_gap"] - 1.5), size * 0.8, t["glasses_square"])
        _line(pen, np.concatenate([rim, rim[:2]]), colour, 1.7)
        _line(pen, np.array([[ex + side * size, ey], [56 + side * t["width"], ey - 2]]), colour, 1.5)
    _line(pen, np.array([[x - 2.5, ey - 1], [x + 2.5, ey - 1]]), colour, 1.7)


def _marks(pen: ImageDraw.ImageDraw, t: Traits, x: float, y: float, shade: Colour) -> None:
    for i in range(3):
        _fill(pen, _oval(x + t[f"mole_x{i}"], t[f"mole_y{i}"] + y, 1.5, 1.5), (62, 34, 26))
    for i in range(int(t["freckles"])):  # a fixed spiral over the cheeks
        radius, angle = 3 + 0.9 * i, 2.4 * i
        _fill(pen, _oval(x + 1.3 * radius * np.cos(angle), 70 + y + 0.5 * radius * np.sin(angle), 0.7, 0.7), shade)


def _photograph(face: Image.Image, rng: np.random.Generator) -> np.ndarray:
    """Pose, background, light, blur and noise."""
    angle, scale = np.deg2rad(rng.normal(0, 5)), rng.uniform(0.92, 1.08)
    shift = rng.normal(0, 2.2, 2)
    cos, sin, centre = np.cos(angle) / scale, np.sin(angle) / scale, np.array([56.0, 64.0])
    inverse = np.array([[cos, sin], [-sin, cos]])
    offset = (centre - inverse @ (centre + shift)) * _SCALE
    head = face.transform(
        face.size,
        Image.Transform.AFFINE,
        (*inverse[0], offset[0], *inverse[1], offset[1]),
        Image.Resampling.BILINEAR,
    )
    picture = _background(rng, face.size)
    picture.paste(head, (0, 0), head)
    picture = picture.resize((SIZE, SIZE), Image.Resampling.BOX)
    picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.9)))
    pixels = np.asarray(picture, np.float64) * _light(rng)
    pixels = 255 * np.clip(pixels / 255, 0, 1) ** rng.uniform(0.8, 1.25)
    return np.clip(pixels + rng.normal(0, rng.uniform(1, 6), pixels.shape), 0, 255).astype(np.uint8)


def _background(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    picture = Image.new("RGB", size, _colour(rng.uniform(30, 230, 3)))
    pen = ImageDraw.Draw(picture)
    for _ in range(rng.integers(0, 5)):
        x, y, w, h = rng.uniform(0, SIZE, 4)
        _fill(pen, _oval(x, y, 0.5 * w, 0.5 * h, 6.0), _colour(rng.uniform(20, 240, 3)))
    _fill(pen, _oval(56, 128, rng.uniform(44, 60), 26), _colour(rng.uniform(20, 235, 3)))  # clothes
    return picture


def _light(rng: np.random.Generator) -> np.ndarray:
    """Brightness [112, 112, 3]: a gain, a slope across the picture, a tint."""
    angle, slope = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.45)
    y, x = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
    ramp = 1 + slope * (np.cos(angle) * x + np.sin(angle) * y)
    tint = 1 + rng.normal(0, 0.05, 3)
    return rng.uniform(0.7, 1.25) * ramp[:, :, None] * tint


def _oval(x: float, y: float, width: float, height: float, square: float = 2.0) -> np.ndarray:
    """Points [48, 2] of a superellipse with these half axes."""
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    cos, sin = np.cos(angle), np.sin(angle)
    px, py = (np.sign(v) * np.abs(v) ** (2 / square) for v in (cos, sin))
    return np.stack([x + width * px, y + height * py], 1)


def _turn(points: np.ndarray, x: float, y: float, angle: float) -> np.ndarray:
    cos, sin = np.cos(angle), np.sin(angle)
    return (points - [x, y]) @ np.array([[cos, sin], [-sin, cos]]) + [x, y]


def _fill(pen: ImageDraw.ImageDraw, points: np.ndarray, colour: Colour) -> None:
    if len(points) > 2:
        pen.polygon([tuple(p) for p in points * _SCALE], fill=colour)


def _line(pen: ImageDraw.ImageDraw, points: np.ndarray, colour: Colour, width: float) -> None:
    pen.line([tuple(p) for p in points * _SCALE], fill=colour, width=round(width * _SCALE), joint="curve")


def _between(palette: Sequence[Colour], rng: np.random.Generator) -> Colour:
    """A colour between two neighbours of the palette."""
    i = int(rng.integers(len(palette) - 1))
    return _mix(palette[i], palette[i + 1], float(rng.uniform()))


def _mix(a: Colour, b: Colour, share: float) -> Colour:
    return _colour(np.asarray(a) * (1 - share) + np.asarray(b) * share)


def _colour(values: np.ndarray) -> Colour:
    r, g, b = (int(v) for v in np.clip(values, 0, 255))
    return r, g, b
