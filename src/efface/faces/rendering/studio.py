"""A seed and a number give a person; a person and a number give a photo."""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image

from efface.faces.alignment import TEMPLATE, similarity
from efface.faces.rendering import glasses, hair, raster, shading, skin, strands
from efface.faces.rendering.body import EYES, FRAME, Body, Shadow
from efface.faces.rendering.camera import Camera
from efface.faces.rendering.heads import Heads
from efface.faces.rendering.person import Person, draw_person
from efface.faces.rendering.picture import backdrop, develop, exposure
from efface.faces.rendering.record import PhotoRecord
from efface.faces.rendering.shot import Shot, draw_shot, other_view
from efface.faces.rendering.skin import Zones

SAMPLES = 2
"""Samples per pixel and axis."""
GREY = 0.35
"""Linear brightness of the plain backdrop in the picture."""
SHADOW = 176
"""Side of the shadow map."""


class Studio:
    """Renders the endless population of one seed."""

    def __init__(self, heads: Heads, seed: int = 0) -> None:
        self.body, self.seed = Body.of(heads), seed

    @cached_property
    def zones(self) -> Zones:
        """The masks of the skin."""
        return Zones.of(self.body)

    def person(self, number: int) -> Person:
        """The person of that number."""
        return draw_person(np.random.default_rng([self.seed, number]), len(self.body.heads.identity))

    def shot(self, number: int, photo: int, person: Person) -> Shot:
        """The conditions of that photo."""
        rng = np.random.default_rng([self.seed, number, photo + 1])
        return draw_shot(rng, self.body.heads.expressions, person.glasses.wearing)

    def photos(
        self, person: int, photos: Iterable[int], size: int = 128, views: int = 0
    ) -> Iterator[tuple[bytes, PhotoRecord]]:
        """JPEG bytes and record of each of the person's photos. The same (seed, person, photo, size) give the same
        bytes, whatever else was rendered before.

        views: after each photo the same moment again, so many times, in front of a plain grey: the first time by the
        photo's own camera, then by others. A photo's number is then (1 + views) times what it is without them.
        """
        who = self.person(person)
        model = Model.of(self.body, self.zones, who)
        for number in photos:
            shot = self.shot(person, number, who)
            points = model.posed(shot)
            pixels, gain = render(model, points, shot, size)
            first, name = number * (1 + views), f"person-{person:03d}"
            yield _jpeg(pixels, shot), _record(model, points, shot, name, first, size)
            for view in range(views):
                seen = other_view(np.random.default_rng([self.seed, person, number + 1, view]), shot, view == 0)
                pixels, _ = render(model, points, seen, size, gain)
                yield _jpeg(pixels, seen), _record(model, points, seen, name, first + 1 + view, size)


@dataclass(frozen=True)
class Model:
    """One person's mesh, textures and hair, ready for photos."""

    body: Body
    person: Person
    neutral: np.ndarray
    """Vertices float32 [V, 3]."""
    texture: np.ndarray
    strands: hair.Strands
    frame: tuple[np.ndarray, np.ndarray]
    """Vertices and triangles of the glasses."""

    @classmethod
    def of(cls, body: Body, zones: Zones, person: Person) -> "Model":
        heads = body.heads
        neutral = np.empty_like(heads.base)
        raster.mix(heads.base, heads.identity, np.arange(len(person.shape)), person.shape, neutral)
        covered = body.over_texture(person.hair.scalp_mask(heads))
        texture = skin.paint(zones, person.skin, covered, person.hair.colour())
        grown = hair.grow(heads, neutral, person.hair, np.random.default_rng(person.skin.seed))
        sides = heads.base[:9409]
        left = int(np.argmax(np.where(np.abs(sides[:, 1] - 3.6) < 0.8, sides[:, 0], -99)))
        right = int(np.argmin(np.where(np.abs(sides[:, 1] - 3.6) < 0.8, sides[:, 0], 99)))
        frame = glasses.build(person.glasses, neutral[heads.landmarks], neutral[[left, right]])
        return cls(body, person, neutral, texture, grown, frame)

    def posed(self, shot: Shot) -> np.ndarray:
        """Vertices with the photo's expression and gaze. The eyeballs turn about their centres; the shapes of the
        lids do not move them."""
        heads = self.body.heads
        chosen = np.array([heads.expressions.index(name) for name in shot.expression], np.int64)
        amounts = np.array(list(shot.expression.values()), np.float32)
        points = np.empty_like(self.neutral)
        raster.mix(self.neutral, heads.expression, chosen, amounts, points)
        turn = _turned(shot.gaze)
        for first, last in EYES:
            ball = self.neutral[first:last]
            centre = _ball_centre(ball)
            points[first:last] = (ball - centre) @ turn.T + centre
        return points

    def eyes(self, shot: Shot) -> np.ndarray:
        """What shading needs to know of both eyes, float32 [2, 12]."""
        forward = _turned(shot.gaze) @ np.array([0, 0, 1.0])
        person = self.person
        rest = [*person.iris, person.iris_size, person.iris_size * 0.42, person.redness]
        return np.array([[*_ball_centre(self.neutral[a:b]), *forward, *rest] for a, b in EYES], np.float32)


def render(
    model: Model, points: np.ndarray, shot: Shot, size: int, gain: float | None = None
) -> tuple[np.ndarray, float]:
    """One photo, uint8 [size, size, 3] RGB, and its exposure. points: the posed vertices. gain: the exposure of another
    photo of the same moment; the backdrop is then a plain grey."""
    body, side = model.body, size * SAMPLES
    triangles, part, texels = body.triangles, body.part, body.texels
    canonical, occlusion = body.heads.base, body.occlusion
    if shot.glasses:
        more, joined = model.frame
        triangles = np.concatenate([triangles, joined + len(points)])
        part = np.concatenate([part, np.full(len(joined), FRAME, np.uint8)])
        texels = np.concatenate([texels, np.zeros((len(joined), 3, 2), np.float32)])
        points, canonical = np.concatenate([points, more]), np.concatenate([canonical, more])
        occlusion = np.concatenate([occlusion, np.ones(len(more), np.float32)])
    facing = np.empty_like(points)
    raster.normals(points, triangles, facing)
    camera = Camera.of(shot)
    axes, place = camera.axes.astype(np.float32), camera.place.astype(np.float32)
    focal, centre = np.float32(camera.focal * side), np.float32(side / 2 - 0.5)
    screen = np.empty_like(points)
    raster.project(points, axes, place, focal, centre, centre, screen)
    depth, index, weights = raster.buffers(side, side)
    raster.fill(screen, triangles, depth, index, weights, True)
    shadow = Shadow.towards(shot.key[0], SHADOW)
    shadow.add(points, triangles)
    hairs = strands.place(model.strands, body.heads.triangles, points)
    strands.cast(model.strands, hairs, shadow.matrix, shadow.height)
    lights = np.stack([shot.key[0], shot.fill[0]]).astype(np.float32)
    strengths = np.stack([shot.key[1], shot.fill[1]]).astype(np.float32)
    colour = backdrop(shot, side) if gain is None else np.full((side, side, 3), GREY / gain, np.float32)
    frame = np.asarray(model.person.glasses.colour, np.float32)
    shading.shade(
        index, weights, triangles, part, texels, points, facing, canonical, occlusion, model.texture, model.eyes(shot),
        shot.cloth, np.float32(shot.collar), frame, place, lights, strengths, shot.ambient, shadow.height,
        shadow.matrix, np.float32(model.person.skin.shine), model.person.skin.seed, colour,
    )  # fmt: skip
    view = axes, place, float(focal), float(centre), float(centre)
    strands.draw(
        model.strands, hairs, view, lights, strengths, shot.ambient, shadow.matrix, shadow.height, depth, colour
    )
    gain = exposure(colour, index, shot) if gain is None else gain
    return develop(colour, gain, shot, size), gain


def _jpeg(pixels: np.ndarray, shot: Shot) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=shot.quality, subsampling=2, optimize=True)
    return file.getvalue()


def _record(model: Model, points: np.ndarray, shot: Shot, name: str, photo: int, size: int) -> PhotoRecord:
    camera = Camera.of(shot)
    marks = camera.pixels(points[model.body.heads.landmarks].astype(np.float64), size)
    five = np.stack([marks[36:42].mean(0), marks[42:48].mean(0), marks[30], marks[48], marks[54]])
    light = {
        "key": [*shot.key[0].tolist(), *shot.key[1].tolist()],
        "fill": [*shot.fill[0].tolist(), *shot.fill[1].tolist()],
        "ambient": shot.ambient.tolist(),
    }
    return PhotoRecord(
        name,
        photo,
        camera.numbers(),
        marks.astype(np.float32),
        five.astype(np.float32),
        similarity(five, TEMPLATE).astype(np.float32),
        shot.expression,
        light,
        shot.glasses,
    )


def _ball_centre(points: np.ndarray) -> np.ndarray:
    """Centre of an eyeball: the middle of its extent sideways and upwards, one radius in front of its back (the cornea
    bulges at the front)."""
    low, high = points.min(0), points.max(0)
    radius = (high[0] - low[0] + high[1] - low[1]) / 4
    return np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2] + radius], np.float32)


def _turned(gaze: tuple[float, float]) -> np.ndarray:
    """Rotation [3, 3] of an eye: to the person's left, then up."""
    a, b = gaze
    turn = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    lift = np.array([[1, 0, 0], [0, np.cos(b), np.sin(b)], [0, -np.sin(b), np.cos(b)]])
    return (turn @ lift).astype(np.float32)
