"""Photos as a worker of `efface render` sends them, without the renderer: for tests of what is written and read."""

import io

import numpy as np
from PIL import Image

from efface.faces.alignment import TEMPLATE, alignment_of
from efface.faces.rendering.heads import Heads
from efface.faces.rendering.record import PhotoRecord

EXPRESSIONS = ("browDown_L", "jawOpen", "mouthSmile_L", "mouthSmile_R")


def heads() -> Heads:
    """Heads of one triangle, for what needs only their names."""
    empty = np.zeros((1, 3), np.float32)
    return Heads(
        empty, empty[None], np.zeros((4, 1, 3), np.float32), EXPRESSIONS, np.zeros((1, 3), np.int32),
        np.zeros((1, 3), np.int32), np.zeros((1, 2), np.float32), np.zeros(1, np.uint8), ("M_Face",),
        np.zeros(68, np.int64),
    )  # fmt: skip


def photo(person: int, number: int, size: int = 48) -> tuple[bytes, PhotoRecord]:
    """A small picture and a record of random numbers, fixed by person and number."""
    random = np.random.default_rng([person, number])
    five = (TEMPLATE * size / 112 + random.normal(0, 0.5, (5, 2))).astype(np.float32)
    record = PhotoRecord(
        person=f"person-{person:03d}",
        photo=number,
        camera=random.normal(0, 1, 25).astype(np.float32),
        landmarks=random.normal(size / 2, size / 4, (68, 2)).astype(np.float32),
        five=five,
        alignment=alignment_of(five).astype(np.float32),
        expression={name: float(random.uniform(-0.2, 1)) for name in EXPRESSIONS[: number % 4]} | {"jawOpen": 0.00004},
        light={name: random.normal(0, 1, n).tolist() for name, n in (("key", 6), ("fill", 6), ("ambient", 3))},
        glasses=bool(random.integers(2)),
    )
    file = io.BytesIO()
    Image.fromarray(random.integers(0, 256, (size, size, 3), dtype=np.uint8)).save(file, "JPEG")
    return file.getvalue(), record
