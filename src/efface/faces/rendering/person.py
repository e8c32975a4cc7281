"""A person: everything that does not change from photo to photo."""

from dataclasses import dataclass

import numpy as np

from efface.faces.rendering.glasses import Glasses, draw_glasses
from efface.faces.rendering.hair import Hair, draw_hair
from efface.faces.rendering.skin import Skin, draw_skin

IRISES = np.array(
    [
        [0.060, 0.026, 0.010],
        [0.110, 0.050, 0.018],
        [0.17, 0.10, 0.035],
        [0.13, 0.16, 0.07],
        [0.11, 0.20, 0.32],
        [0.17, 0.21, 0.24],
    ]
)
"""Linear RGB of irises: dark brown, brown, hazel, green, blue, grey (ours, by eye)."""


@dataclass(frozen=True)
class Person:
    """Who it is."""

    shape: np.ndarray
    """Coefficients of the head's identity modes, float32 [modes]."""
    skin: Skin
    hair: Hair
    glasses: Glasses
    iris: tuple[float, ...]
    """Linear RGB."""
    iris_size: float
    """Sine of the angle from the eye's axis to the iris' rim."""
    redness: float
    """Of the eyes' corners."""


def draw_person(rng: np.random.Generator, modes: int) -> Person:
    """A person. Shape coefficients are standard normal within ±3; hair and eyes are seldom light where the skin is
    dark."""
    shape = rng.standard_normal(modes).clip(-3, 3).astype(np.float32)
    skin = draw_skin(rng)
    light = float(np.clip(1.15 - skin.melanin, 0.02, 1))
    chances = np.array([1.0, 1.0, 0.7 * light, 0.35 * light, 0.9 * light**2, 0.35 * light**2])
    iris = IRISES[rng.choice(len(IRISES), p=chances / chances.sum())] * np.exp(rng.normal(0, 0.22, 3))
    hair = draw_hair(rng)
    while hair.colour().mean() > 0.03 + 0.5 * light and hair.grey == 0 and rng.random() > 0.03:
        hair = draw_hair(rng)
    return Person(
        shape=shape,
        skin=skin,
        hair=hair,
        glasses=draw_glasses(rng),
        iris=tuple(float(v) for v in iris.clip(0.005, 0.5)),
        iris_size=float(rng.uniform(0.385, 0.43)),
        redness=float(rng.uniform(0.1, 0.7)),
    )
