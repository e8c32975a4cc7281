"""What the reports on models that draw have in common: strips of pictures, histograms, the training curve."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from efface.report import DrawnRow, figures, pictures
from efface.report.html import thumbnail
from efface.report.numbers import MODELS, plain
from efface.report.pictures import Picture, data_uri
from efface.report.scores import Scores

SIDE = 112
"""Side of a picture on the page, in pixels of the file."""
WORDS = figures.Compared(
    "cosine of a picture with a person", "share of pictures", "with another person", "own person, others",
    "own person, forgotten",
)  # fmt: skip


@dataclass(frozen=True)
class Shown:
    """One picture, what it is, how alike it is to the person, and whether it is accepted as the person."""

    uri: str
    label: str
    cosine: float | None
    accepted: bool | None


@dataclass(frozen=True)
class Strip:
    """One person: a photo, and what each model draws."""

    name: str
    title: str
    photo: str | None
    pictures: dict[str, list[Shown]]


def strip(row: DrawnRow, name: str, title: str, labels: Sequence[str], frozen: float | None) -> Strip:
    """What each model drew of one person, as many pictures as there are labels. frozen: the threshold."""
    pictures = {
        model: [
            Shown(thumbnail(pixels, SIDE), label, cosine, _accepted(cosine, frozen))
            for label, pixels, cosine in zip(labels, row.pictures[model], row.likeness[model], strict=False)
        ]
        for model in MODELS
        if model in row.pictures
    }
    return Strip(name, title, None if row.photo is None else thumbnail(row.photo, SIDE), pictures)


def _accepted(cosine: float | None, frozen: float | None) -> bool | None:
    return None if cosine is None or frozen is None else cosine > frozen


def histograms(scores: Mapping[str, Scores], frozen: float | None) -> list[Picture]:
    """Cosines of pictures with people, under each model, with the threshold."""
    told = "mean cosine {} of pictures with a forgotten person, {} with others who are meant, {} with somebody else"
    return pictures.histograms(scores, frozen, "1e-2", told, WORDS)


def curve(curves: list[dict[str, list[float]]]) -> Picture | None:
    """The training curve; None for a method without steps."""
    curves = [one for one in curves if one["step"]]
    if not curves:
        return None
    ends = (
        f"{name} {plain(v[0], 4)} → {plain(v[-1], 4)}" for c in curves[-1:] for name, v in c.items() if name != "step"
    )
    alt = f"Terms of the loss by optimiser step; in the last stage from first to last: {', '.join(ends)}."
    return Picture(data_uri(figures.loss_terms(curves), "png"), alt)
