"""The figures of a report, each with what it shows in words."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from efface.report import Evidence, figures
from efface.report.numbers import MODELS, percent, plain
from efface.report.scores import Scores, scores
from efface.targets.cosines import cosines, unit_rows

MOST_STRIPS, MOST_MATCHES = 3, 5
"""Forgotten people whose photos are laid side by side, and photos of each beside the template."""

PAIRS = "mean cosine {} for pairs of a forgotten person, {} for pairs of another person, {} for strangers"
"""What a histogram of photos says in words."""


@dataclass(frozen=True)
class Picture:
    """A figure, and what it shows in words for who cannot see it."""

    uri: str
    alt: str


def data_uri(data: bytes, kind: str) -> str:
    """A picture file of that kind (png, jpeg) as text that a page can hold."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def pictures(evidence: Evidence, forgotten: Sequence[str], frozen: float | None, far: str) -> dict[str, Any]:
    """`histograms` and `det`, lists of pictures; `pairs`, how many pairs they show; and, where there is an unlearned
    model, `faces` and `map`.

    forgotten: the people who are numbered on the map. frozen: threshold at the false accept rate `far`.
    """
    models = [m for m in MODELS if m in evidence.embeddings]
    found = {m: scores(evidence.crops, evidence.split, evidence.embeddings[m]) for m in models}
    original, split = found["original"], evidence.split
    content: dict[str, Any] = {
        "histograms": histograms(found, frozen, far, PAIRS),
        "det": _det(found, frozen),
        "pairs": {name: len(getattr(original, name)) for name in ("forgotten", "others", "impostors")},
    }
    if "unlearned" in found and forgotten and split.retain + split.holdout:
        content["map"] = _map(evidence, forgotten)
        content["faces"] = _faces(evidence, forgotten, frozen)
    return content


def _faces(evidence: Evidence, forgotten: Sequence[str], frozen: float | None) -> Picture | None:
    """Unseen photos of forgotten people, each person followed by the nearest look-alike."""
    near = evidence.audit.get("neighbours", {})
    rows: list[tuple[str, str]] = []
    for number, person in enumerate(forgotten[:MOST_STRIPS], 1):
        rows.append((f"Person {number},\nforgotten", person))
        rows += [(f"Look-alike of\nperson {number}", other) for other in near.get(person, ())[:1]]
    strips = [_strip(evidence, title, who) for title, who in rows if len(evidence.split.unseen[who]) > 1]
    if not strips:
        return None
    said = []
    for strip in strips:
        before = "–" if frozen is None else sum(match.before > frozen for match in strip.matches)
        after = "–" if frozen is None else sum(match.after > frozen for match in strip.matches)
        said.append(f"{' '.join(strip.title.split())}: {before} → {after} of {len(strip.matches)} photos accepted")
    alt = f"Photos that the method never saw, beside the enrolled one, before → after. {'; '.join(said)}."
    return Picture(data_uri(figures.faces(strips, frozen), "png"), alt)


def _strip(evidence: Evidence, title: str, person: str) -> figures.Strip:
    """The person's first unseen photo as the template, and the next ones compared with it."""
    template, *others = evidence.split.unseen[person][: MOST_MATCHES + 1]
    pixels = evidence.crops.pixels.permute(0, 2, 3, 1)
    before, after = (
        cosines(rows[[template]], rows[others])[0]
        for rows in (unit_rows(evidence.embeddings[model]) for model in ("original", "unlearned"))
    )
    matches = (
        figures.Match(pixels[i].numpy(), float(b), float(a)) for i, b, a in zip(others, before, after, strict=True)
    )
    return figures.Strip(title, pixels[template].numpy(), tuple(matches))


def histograms(
    found: Mapping[str, Scores], frozen: float | None, far: str, told: str, words: figures.Compared = figures.PHOTOS
) -> list[Picture]:
    """Cosines under each model, with the threshold. told: the words beside the picture, with {} for the mean of the
    forgotten, of others and of impostors."""
    top = figures.highest_share(found.values())
    made = []
    for model, one in found.items():
        title = MODELS[model].capitalize()
        means = (float(np.mean(v)) if len(v) else None for v in (one.forgotten, one.others, one.impostors))
        where = "" if frozen is None else f"; threshold {plain(frozen)}"
        alt = f"{title}: {told.format(*map(plain, means))}{where}."
        made.append(Picture(data_uri(figures.histograms(one, frozen, far, title, top, words), "png"), alt))
    return made


def _det(found: Mapping[str, Scores], frozen: float | None) -> list[Picture]:
    styles = {"original": "--", "unlearned": "-", "retrained": ":"}
    sides = (("forgotten", "Forgotten people", figures.FORGOTTEN), ("others", "Everybody else", figures.OTHERS))
    made = []
    for side, title, colour in sides:
        curves = [
            figures.Curve(MODELS[m], getattr(s, side), s.impostors, frozen, colour, styles[m])
            for m, s in found.items()
            if len(getattr(s, side))
        ]
        missed = []
        for curve in curves:
            share = None if frozen is None else float((curve.genuine <= frozen).mean())
            missed.append(f"{percent(share)} of own photos missed {curve.label}")
        alt = f"{title}: at the frozen threshold {', '.join(missed)}."
        made.append(Picture(data_uri(figures.det(curves, title), "png"), alt))
    return made


def _map(evidence: Evidence, forgotten: Sequence[str]) -> dict[str, Any]:
    """The plane in which people's mean embeddings differ most under the original model, and where photos went in it."""
    split, before = evidence.split, evidence.embeddings["original"]
    everybody = (*split.forget, *split.retain, *split.holdout)
    photos = {p: split.photos.get(p) or (*split.seen.get(p, ()), *split.unseen[p]) for p in everybody}
    means = torch.stack([before[list(photos[p])].mean(0) for p in everybody])
    centre = means.mean(0)
    plane = _upright(torch.linalg.svd(means - centre, full_matrices=False)[2][:2])
    start, end = (((evidence.embeddings[m] - centre) @ plane.T).numpy() for m in ("original", "unlearned"))
    spread = before - before.mean(0)
    told = float((spread @ plane.T).pow(2).sum() / spread.pow(2).sum())
    shown = {i: (split.seen.get(p, ()), split.unseen[p]) for i, p in enumerate(forgotten, 1)}
    pale = [i for p in (*split.retain, *split.holdout) for i in photos[p]]
    pale = pale[:: max(1, -(-len(pale) // figures.MOST_DOTS))]
    alt = (
        "Map of the embeddings: arrows from where photos of forgotten people were to where they are, among pale dots "
        "of everybody else's photos."
    )
    return {
        "picture": Picture(data_uri(figures.sphere(start, end, shown, pale), "png"), alt),
        "told": told,
        "dots": len(pale),
    }


def _upright(plane: Tensor) -> Tensor:
    """Directions [2, d] with the sign that makes the largest entry positive: a direction has no sign of its own."""
    largest = plane.gather(1, plane.abs().argmax(1, keepdim=True))
    return plane * largest.sign()
