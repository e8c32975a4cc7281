"""How well people are told apart while a network is trained: three of the audit's numbers, nobody being forgotten."""

import numpy as np

from efface.faces.crops import Crops
from efface.faces.splits import Split
from efface.metrics.protocol import Evaluation
from efface.metrics.recognition.genuine_auc import GenuineAuc
from efface.metrics.recognition.rank import Rank
from efface.metrics.recognition.tar import TrueAcceptRate
from efface.targets.recognition import RecognitionTarget

NUMBERS = (Rank(k=1), TrueAcceptRate(far=1e-3), GenuineAuc())

Figures = dict[str, float | None]
"""Key of the number -> value; None where there are too few photos for it."""


def validate(model: RecognitionTarget, crops: Crops) -> Figures:
    """Rank-1, TAR@FAR 1e-3 and AUC of the people of `crops`, all of them as the protocol's holdout with all photos
    unseen, means over people."""
    photos: dict[str, list[int]] = {}
    for i, person in enumerate(crops.identities):
        photos.setdefault(person, []).append(i)
    positions = {person: tuple(own) for person, own in photos.items()}
    split = Split((), (), tuple(photos), {}, positions, photos=positions)
    evaluation = Evaluation(split, model.embed(crops.pixels))
    values = {number.key: number.measure(evaluation, "holdout").values for number in NUMBERS}
    return {key: None if np.isnan(v).all() else round(float(np.nanmean(v)), 5) for key, v in values.items()}


def better(figures: dict[str, Figures]) -> str:
    """Which of several models: by TAR, then AUC, then the later one."""
    return max(reversed(list(figures)), key=lambda name: [figures[name][n.key] or 0.0 for n in NUMBERS[1:]])
