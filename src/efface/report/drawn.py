"""The report on a diffusion model: whom it draws, before and after, from the same noise."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from efface.report import DrawnEvidence, DrawnRow, drawn_tables, figures
from efface.report.drawn_verdict import ACC, FORGOTTEN_ACC, FORGOTTEN_TAR, TAR, WEAKENED_ACC, drawn_verdict
from efface.report.html import filled, thumbnail
from efface.report.numbers import MODELS, plain, value
from efface.report.pictures import Picture, data_uri
from efface.report.tables import all_numbers, attempts

SHOWN = {"forget": 6, "anchor": 4, "neighbours": 4, "retain": 4, "holdout": 3}
"""People of each group whose pictures are shown, at most."""
FIRST = 3
"""Forgotten people shown on top, each with the anchor and the nearest look-alike."""
MOST = 6
"""Pictures of each by each model, at most."""
SIDE = 112
"""Side of a picture on the page, in pixels of the file."""
WORDS = figures.Compared(
    "cosine of a picture with a person", "share of pictures", "with another person", "own person, others",
    "own person, forgotten",
)  # fmt: skip


def render(evidence: DrawnEvidence) -> str:
    """The whole page."""
    return filled("drawn.html", evidence.audit, evidence.audit["groups"]["forget"], _content(evidence))


def _content(evidence: DrawnEvidence) -> dict[str, Any]:
    audit = evidence.audit
    frozen = audit.get("thresholds", {}).get("recogniser", {}).get("far=1e-2", {}).get("value")
    groups = {group: audit["groups"].get(group, [])[:most] for group, most in SHOWN.items()}
    models = [m for m in MODELS if m in audit["models"]]
    return {
        "verdict": drawn_verdict(audit),
        "forgotten_acc": FORGOTTEN_ACC,
        "forgotten_tar": FORGOTTEN_TAR,
        "weakened_acc": WEAKENED_ACC,
        "value": lambda model, group, metric: value(audit, model, group, metric),
        "both": "unlearned" in models,
        "models": models,
        "tables": drawn_tables,
        "words": MODELS,
        "blocks": {"": audit, **audit.get("judges", {})},
        "attempts": attempts(audit, "attacks.diffusion"),
        "numbers": all_numbers(audit),
        "ACC": ACC,
        "TAR": TAR,
        "threshold": frozen,
        "first": [_strip(evidence, name, title, frozen) for name, title in _first(audit, evidence.rows)],
        "strips": {
            drawn_tables.GROUPS[group]: [_strip(evidence, name, "", frozen) for name in who]
            for group, who in groups.items()
            if who
        },
        "histograms": _histograms(evidence, frozen),
        "curve": _curve(audit.get("curves", [])),
    }


@dataclass(frozen=True)
class Shown:
    """One picture, how alike it is to the person, and whether it is accepted as the person."""

    uri: str
    cosine: float | None
    accepted: bool | None


@dataclass(frozen=True)
class Strip:
    """One person: a photo, and what each model draws."""

    name: str
    title: str
    photo: str | None
    pictures: dict[str, list[Shown]]


def _first(audit: Any, rows: Any) -> Iterable[tuple[str, str]]:
    """(who, in which part) is shown on top: the forgotten, their anchors and look-alikes, and one retained person."""
    chosen: dict[str, str] = {}
    for person in audit["groups"]["forget"][:FIRST]:
        chosen.setdefault(person, "forgotten")
        if person in audit["anchors"]:
            chosen.setdefault(audit["anchors"][person], f"anchor of {person}")
        for other in audit["neighbours"].get(person, ())[:1]:
            chosen.setdefault(other, f"look-alike of {person}")
    for person in audit["groups"]["retain"]:
        if person not in chosen:
            chosen[person] = "retained"
            break
    return [(name, title) for name, title in chosen.items() if name in rows]


def _strip(evidence: DrawnEvidence, name: str, title: str, frozen: float | None) -> Strip:
    row: DrawnRow = evidence.rows[name]
    pictures = {}
    for model in MODELS:
        if model in row.pictures:
            pairs = zip(row.pictures[model][:MOST], row.likeness[model][:MOST], strict=True)
            pictures[model] = [_shown(pixels, cosine, frozen) for pixels, cosine in pairs]
    return Strip(name, title, None if row.photo is None else thumbnail(row.photo, SIDE), pictures)


def _shown(pixels: Tensor, cosine: float | None, frozen: float | None) -> Shown:
    accepted = None if cosine is None or frozen is None else cosine > frozen
    return Shown(thumbnail(pixels, SIDE), cosine, accepted)


def _histograms(evidence: DrawnEvidence, frozen: float | None) -> list[Picture]:
    top = figures.highest_share(evidence.scores.values())
    made = []
    for model, one in evidence.scores.items():
        title = MODELS[model].capitalize()
        means = (float(np.mean(v)) if len(v) else None for v in (one.forgotten, one.others, one.impostors))
        told = "mean cosine {} of pictures with a forgotten person, {} with others who are meant, {} with somebody else"
        where = "" if frozen is None else f"; threshold {plain(frozen)}"
        alt = f"{title}: {told.format(*map(plain, means))}{where}."
        data = figures.histograms(one, frozen, "1e-2", title, top, WORDS)
        made.append(Picture(data_uri(data, "png"), alt))
    return made


def _curve(curves: list[dict[str, list[float]]]) -> Picture | None:
    """The training curve; None for a method without steps."""
    curves = [curve for curve in curves if curve["step"]]
    if not curves:
        return None
    ends = (
        f"{name} {plain(v[0], 4)} → {plain(v[-1], 4)}" for c in curves[-1:] for name, v in c.items() if name != "step"
    )
    alt = f"Terms of the loss by optimiser step; in the last stage from first to last: {', '.join(ends)}."
    return Picture(data_uri(figures.loss_terms(curves), "png"), alt)
